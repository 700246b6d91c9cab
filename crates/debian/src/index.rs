//! The index of an architecture: every binary package of its suite, in a form that loads in milliseconds.
//!
//! A cached index is one file: a head, a table of packages sorted by name, a table of provided names
//! sorted likewise, their strings, and then the stanzas, cut down to the fields used here. Only what comes before
//! the stanzas is read at once; a stanza is read when it is asked for.

use crate::control::{Atom, field, relation};
use crate::error::{DebianError, Result};
use crate::files;
use crate::system::System;
use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

const MAGIC: &[u8; 8] = b"nbvidx2\n";
const HEAD: usize = 32;
const PACKAGE: usize = 24;
const PROVIDE: usize = 16;

/// Fields that are kept of a stanza.
const KEPT: [&str; 17] = [
    "Package", "Version", "Architecture", "Depends", "Pre-Depends", "Provides", "Conflicts", "Breaks", "Priority", "Essential", "Filename",
    "Size", "SHA256", "Description", "Homepage", "Section", "Installed-Size",
];

/// An opened index.
pub struct Index {
    pub system: &'static System,
    /// SHA-256 of the Packages file that it was made from, lower-case hexadecimal.
    pub hash: String,
    /// Date of the suite's Release, as written there; empty when not known.
    pub date: String,
    file: File,
    front: Vec<u8>,
    packages: usize,
    provides: usize,
    /// Where stanzas begin in the file.
    stanzas: u64,
}

/// Number of a package in its index; the order is that of the names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PackageId(u32);

/// What the index says of one package.
#[derive(Clone, Debug)]
pub struct Stanza(String);

impl Stanza {
    pub fn get(&self, name: &str) -> Option<&str> {
        field(&self.0, name)
    }
    pub fn relation(&self, name: &str) -> Vec<Vec<Atom<'_>>> {
        self.get(name).map(|t| relation(t).collect()).unwrap_or_default()
    }
    pub fn essential(&self) -> bool {
        self.get("Essential") == Some("yes")
    }
    /// Rank of the priority: smaller is more important.
    pub fn priority(&self) -> u8 {
        match self.get("Priority") {
            Some("required") => 0,
            Some("important") => 1,
            Some("standard") => 2,
            Some("optional") => 3,
            _ => 4,
        }
    }
}

fn u32_at(b: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([b[at], b[at + 1], b[at + 2], b[at + 3]])
}
fn u16_at(b: &[u8], at: usize) -> usize {
    usize::from(u16::from_le_bytes([b[at], b[at + 1]]))
}

impl Index {
    /// Makes the cached form of an index from the text of its Packages file.
    pub fn build(text: &str, dest: &Path) -> Result<()> {
        struct Entry<'a> {
            name: &'a str,
            version: &'a str,
            stanza: Vec<u8>,
            essential: bool,
            provides: Option<&'a str>,
        }
        let mut all: Vec<Entry<'_>> = Vec::new();
        for stanza in text.split("\n\n") {
            let mut e = Entry { name: "", version: "", stanza: Vec::with_capacity(768), essential: false, provides: None };
            let mut keep = false;
            let mut provides: Option<(usize, usize)> = None;
            let mut at = 0;
            for line in stanza.split_inclusive('\n') {
                let start = at;
                at += line.len();
                if line.starts_with([' ', '\t']) {
                    if keep {
                        e.stanza.extend_from_slice(line.as_bytes());
                    }
                    if let Some(p) = provides.as_mut().filter(|p| p.1 == start) {
                        p.1 = at;
                    }
                    continue;
                }
                let Some((key, value)) = line.split_once(':') else { continue };
                keep = KEPT.contains(&key);
                if !keep {
                    continue;
                }
                match key {
                    "Package" => e.name = value.trim(),
                    "Version" => e.version = value.trim(),
                    "Essential" => e.essential = value.trim() == "yes",
                    "Provides" => provides = Some((start + key.len() + 1, at)),
                    _ => {}
                }
                e.stanza.extend_from_slice(line.as_bytes());
            }
            e.provides = provides.map(|(a, b)| &stanza[a..b]);
            if !e.name.is_empty() && e.name.len() < 60_000 && e.version.len() < 60_000 {
                all.push(e);
            }
        }
        if all.is_empty() {
            return Err(DebianError::format("the index of packages", "it has no packages"));
        }
        // the highest version of a name counts
        all.sort_by(|a, b| a.name.cmp(b.name).then_with(|| crate::version::compare(b.version, a.version)));
        all.dedup_by(|b, a| a.name == b.name);

        let mut strings: Vec<u8> = Vec::new();
        let mut table: Vec<u8> = Vec::with_capacity(all.len() * PACKAGE);
        let mut at = 0u32;
        for e in &all {
            table.extend_from_slice(&(strings.len() as u32).to_le_bytes());
            table.extend_from_slice(&(e.name.len() as u16).to_le_bytes());
            table.extend_from_slice(&(e.version.len() as u16).to_le_bytes());
            table.extend_from_slice(&at.to_le_bytes());
            table.extend_from_slice(&(e.stanza.len() as u32).to_le_bytes());
            table.extend_from_slice(&u32::from(e.essential).to_le_bytes());
            table.extend_from_slice(&0u32.to_le_bytes());
            strings.extend_from_slice(e.name.as_bytes());
            strings.extend_from_slice(e.version.as_bytes());
            at += e.stanza.len() as u32;
        }
        let mut provided: Vec<(&str, u32, &str)> = Vec::new();
        for (i, e) in all.iter().enumerate() {
            for group in relation(e.provides.unwrap_or("")) {
                for a in group {
                    provided.push((a.name, i as u32, a.condition.map_or("", |c| c.1)));
                }
            }
        }
        provided.sort();
        provided.dedup();
        let mut ptable: Vec<u8> = Vec::with_capacity(provided.len() * PROVIDE);
        let mut seen: HashMap<(&str, &str), u32> = HashMap::new();
        for (name, i, version) in &provided {
            let off = *seen.entry((name, version)).or_insert_with(|| {
                let off = strings.len() as u32;
                strings.extend_from_slice(name.as_bytes());
                strings.extend_from_slice(version.as_bytes());
                off
            });
            ptable.extend_from_slice(&off.to_le_bytes());
            ptable.extend_from_slice(&(name.len() as u16).to_le_bytes());
            ptable.extend_from_slice(&(version.len() as u16).to_le_bytes());
            ptable.extend_from_slice(&i.to_le_bytes());
            ptable.extend_from_slice(&0u32.to_le_bytes());
        }
        let front = HEAD + table.len() + ptable.len() + strings.len();
        let mut out: Vec<u8> = Vec::with_capacity(front + at as usize);
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&(all.len() as u32).to_le_bytes());
        out.extend_from_slice(&(provided.len() as u32).to_le_bytes());
        out.extend_from_slice(&(front as u64).to_le_bytes());
        out.extend_from_slice(&(front as u64 + u64::from(at)).to_le_bytes());
        out.extend_from_slice(&table);
        out.extend_from_slice(&ptable);
        out.extend_from_slice(&strings);
        for e in &all {
            out.extend_from_slice(&e.stanza);
        }
        files::write(dest, &out)
    }

    /// Opens a cached index. Errors: none there, or not of this form (make it anew).
    pub fn open(path: &Path, system: &'static System, hash: &str, date: &str) -> Result<Index> {
        let bad = || DebianError::format(path.display().to_string(), "it is damaged; remove it");
        let file = File::open(path).map_err(DebianError::io("opening", path))?;
        let mut head = [0u8; HEAD];
        file.read_exact_at(&mut head, 0).map_err(|_| bad())?;
        let packages = u32_at(&head, 8) as usize;
        let provides = u32_at(&head, 12) as usize;
        let stanzas = u64::from(u32_at(&head, 16)) | u64::from(u32_at(&head, 20)) << 32;
        let end = u64::from(u32_at(&head, 24)) | u64::from(u32_at(&head, 28)) << 32;
        let size = file.metadata().map_err(DebianError::io("reading", path))?.len();
        if &head[..8] != MAGIC || end != size || stanzas > end || ((HEAD + packages * PACKAGE + provides * PROVIDE) as u64) > stanzas {
            return Err(bad());
        }
        let mut front = vec![0u8; stanzas as usize];
        file.read_exact_at(&mut front, 0).map_err(DebianError::io("reading", path))?;
        let index = Index { system, hash: hash.into(), date: date.into(), file, front, packages, provides, stanzas };
        if index.checked(end - stanzas) { Ok(index) } else { Err(bad()) }
    }

    /// All offsets lie inside (`stanzas`: bytes of stanzas), and all strings are UTF-8: so the accessors cannot fail.
    fn checked(&self, stanzas: u64) -> bool {
        let strings = HEAD + self.packages * PACKAGE + self.provides * PROVIDE;
        let Some(text) = self.front.get(strings..) else { return false };
        let Ok(text) = std::str::from_utf8(text) else { return false };
        let fits = |at: usize| {
            let from = u32_at(&self.front, at) as usize;
            let (n, v) = (u16_at(&self.front, at + 4), u16_at(&self.front, at + 6));
            text.is_char_boundary(from) && text.is_char_boundary(from + n) && text.is_char_boundary(from + n + v)
        };
        let is_there = |at: usize| u64::from(u32_at(&self.front, at + 8)) + u64::from(u32_at(&self.front, at + 12)) <= stanzas;
        (0..self.packages).all(|i| fits(HEAD + i * PACKAGE) && is_there(HEAD + i * PACKAGE))
            && (0..self.provides).all(|i| {
                let at = HEAD + self.packages * PACKAGE + i * PROVIDE;
                fits(at) && (u32_at(&self.front, at + 8) as usize) < self.packages
            })
    }

    fn strings(&self, at: usize) -> (&str, &str) {
        let base = HEAD + self.packages * PACKAGE + self.provides * PROVIDE;
        let from = base + u32_at(&self.front, at) as usize;
        let (n, v) = (u16_at(&self.front, at + 4), u16_at(&self.front, at + 6));
        let s = |a: usize, b: usize| std::str::from_utf8(&self.front[a..b]).unwrap_or("");
        (s(from, from + n), s(from + n, from + n + v))
    }

    pub fn len(&self) -> usize {
        self.packages
    }
    pub fn is_empty(&self) -> bool {
        self.packages == 0
    }
    pub fn name(&self, id: PackageId) -> &str {
        self.strings(HEAD + id.0 as usize * PACKAGE).0
    }
    pub fn version(&self, id: PackageId) -> &str {
        self.strings(HEAD + id.0 as usize * PACKAGE).1
    }
    /// Name and version of every package, sorted by name.
    pub fn packages(&self) -> impl Iterator<Item = (&str, &str)> {
        (0..self.packages).map(|i| self.strings(HEAD + i * PACKAGE))
    }
    /// Packages that the archive marks as essential.
    pub fn essential(&self) -> impl Iterator<Item = PackageId> {
        (0..self.packages).filter(|i| u32_at(&self.front, HEAD + i * PACKAGE + 16) == 1).map(|i| PackageId(i as u32))
    }
    pub fn find(&self, name: &str) -> Option<PackageId> {
        let (mut lo, mut hi) = (0, self.packages);
        while lo < hi {
            let mid = (lo + hi) / 2;
            match self.strings(HEAD + mid * PACKAGE).0.cmp(name) {
                std::cmp::Ordering::Less => lo = mid + 1,
                std::cmp::Ordering::Greater => hi = mid,
                std::cmp::Ordering::Equal => return Some(PackageId(mid as u32)),
            }
        }
        None
    }
    fn provide(&self, i: usize) -> (&str, &str, PackageId) {
        let at = HEAD + self.packages * PACKAGE + i * PROVIDE;
        let (name, version) = self.strings(at);
        (name, version, PackageId(u32_at(&self.front, at + 8)))
    }
    /// Packages that provide a name, with the version that they provide ("" when none), sorted by name.
    pub fn providers(&self, name: &str) -> impl Iterator<Item = (PackageId, &str)> {
        let (mut lo, mut hi) = (0, self.provides);
        while lo < hi {
            let mid = (lo + hi) / 2;
            if self.provide(mid).0 < name { lo = mid + 1 } else { hi = mid }
        }
        let name = name.to_string();
        (lo..self.provides).map(|i| self.provide(i)).take_while(move |p| p.0 == name).map(|p| (p.2, p.1))
    }
    /// Every provided name with its provider, sorted by provided name.
    pub fn provided(&self) -> impl Iterator<Item = (&str, &str)> {
        (0..self.provides).map(|i| self.provide(i)).map(|(n, _, id)| (n, self.name(id)))
    }
    /// The stanza of a package, read from the disk.
    pub fn stanza(&self, id: PackageId) -> Result<Stanza> {
        let at = HEAD + id.0 as usize * PACKAGE;
        let bad = |why: String| DebianError::format(format!("the cached index of {}", self.system.nix), why);
        let mut buf = vec![0u8; u32_at(&self.front, at + 12) as usize];
        self.file
            .read_exact_at(&mut buf, self.stanzas + u64::from(u32_at(&self.front, at + 8)))
            .map_err(|e| bad(e.to_string()))?;
        String::from_utf8(buf).map(Stanza).map_err(|e| bad(e.to_string()))
    }
    /// Names like a wrong one, the nearest first, for messages.
    pub fn similar(&self, name: &str) -> Vec<String> {
        let mut near: Vec<(usize, &str)> = self
            .packages()
            .map(|p| p.0)
            .filter(|n| n.len().abs_diff(name.len()) <= 3)
            .map(|n| (distance(n, name), n))
            .filter(|n| n.0 <= 2.max(name.len() / 5))
            .collect();
        near.sort();
        near.into_iter().take(3).map(|n| n.1.to_string()).collect()
    }
}

/// Edit distance.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<u8> = b.bytes().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.bytes().enumerate() {
        let mut diag = row[0];
        row[0] = i + 1;
        for (j, cb) in b.iter().enumerate() {
            let next = (row[j] + 1).min(row[j + 1] + 1).min(diag + usize::from(ca != *cb));
            diag = row[j + 1];
            row[j + 1] = next;
        }
    }
    row[b.len()]
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn sample(text: &str) -> (tempfile::TempDir, Index) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("i");
        Index::build(text, &path).unwrap();
        let index = Index::open(&path, &crate::system::SYSTEMS[0], "h", "d").unwrap();
        (dir, index)
    }

    #[test]
    fn round_trip() {
        let (dir, i) = sample(
            "Package: b\nVersion: 1\nMD5sum: x\nProvides: v (= 2),\n w\nDepends: a\n\nPackage: a\nVersion: 1\nEssential: yes\n\nPackage: a\nVersion: 2\n",
        );
        assert_eq!(i.packages().collect::<Vec<_>>(), [("a", "2"), ("b", "1")]);
        assert_eq!(i.essential().count(), 0, "the stanza of the highest version counts");
        let b = i.find("b").unwrap();
        assert_eq!(i.providers("v").collect::<Vec<_>>(), [(b, "2")]);
        assert_eq!(i.providers("w").collect::<Vec<_>>(), [(b, "")]);
        let s = i.stanza(b).unwrap();
        assert_eq!(s.get("Depends"), Some("a"));
        assert_eq!(s.get("MD5sum"), None);
        assert!(i.find("c").is_none());
        let p = dir.path().join("i");
        let mut bytes = std::fs::read(&p).unwrap();
        bytes[HEAD] = 0xff;
        bytes[HEAD + 1] = 0xff;
        std::fs::write(&p, bytes).unwrap();
        assert!(Index::open(&p, &crate::system::SYSTEMS[0], "h", "d").is_err());
    }
}
