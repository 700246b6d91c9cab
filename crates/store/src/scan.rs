//! Finding references: which of some store paths a tree names, by the digest part of their names.

use crate::error::{Result, StoreError};
use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Length of a digest in a store path's name.
const DIGEST: usize = 32;

/// Base-32 digits of Nix.
const IS_DIGIT: [bool; 256] = {
    let mut table = [false; 256];
    let digits = b"0123456789abcdfghijklmnpqrsvwxyz";
    let mut i = 0;
    while i < digits.len() {
        table[digits[i] as usize] = true;
        i += 1;
    }
    table
};

struct Scanner<'a> {
    wanted: HashMap<&'a [u8], &'a str>,
    found: BTreeSet<String>,
}

impl Scanner<'_> {
    fn bytes(&mut self, data: &[u8]) {
        if data.len() < DIGEST {
            return;
        }
        let mut at = 0;
        'window: while at + DIGEST <= data.len() {
            // Perf: looks from the end of the window, so that text that is no digest is passed in long steps.
            let window = &data[at..at + DIGEST];
            for (offset, byte) in window.iter().enumerate().rev() {
                if !IS_DIGIT[*byte as usize] {
                    at += offset + 1;
                    continue 'window;
                }
            }
            if let Some(path) = self.wanted.remove(window) {
                self.found.insert(path.to_owned());
            }
            at += 1;
        }
    }

    fn file(&mut self, path: &Path) -> Result<()> {
        let mut file = fs::File::open(path).map_err(StoreError::io("read", path))?;
        let mut buffer = vec![0u8; 1 << 18];
        let mut kept = 0;
        loop {
            let n = file.read(&mut buffer[kept..]).map_err(StoreError::io("read", path))?;
            if n == 0 || self.wanted.is_empty() {
                return Ok(());
            }
            let len = kept + n;
            self.bytes(&buffer[..len]);
            let tail = len.min(DIGEST - 1);
            buffer.copy_within(len - tail..len, 0);
            kept = tail;
        }
    }

    fn node(&mut self, path: &Path, kind: fs::FileType) -> Result<()> {
        if self.wanted.is_empty() {
            return Ok(());
        }
        if kind.is_dir() {
            for entry in fs::read_dir(path).map_err(StoreError::io("read", path))? {
                let entry = entry.map_err(StoreError::io("read", path))?;
                self.bytes(entry.file_name().as_bytes());
                let child = entry.path();
                let kind = entry.file_type().map_err(StoreError::io("read", &child))?;
                self.node(&child, kind)?;
            }
        } else if kind.is_symlink() {
            let target = fs::read_link(path).map_err(StoreError::io("read", path))?;
            self.bytes(target.as_os_str().as_bytes());
        } else {
            self.file(path)?;
        }
        Ok(())
    }
}

/// The paths of `candidates` (logical, `/nix/store/DIGEST-NAME`) whose digest stands in a file, a name or a link below
/// `tree`.
///
/// # Errors
/// The tree cannot be read.
pub fn scan<'a>(tree: &Path, candidates: impl IntoIterator<Item = &'a str>) -> Result<BTreeSet<String>> {
    let mut scanner = Scanner { wanted: HashMap::new(), found: BTreeSet::new() };
    for path in candidates {
        let base = path.rsplit('/').next().unwrap_or(path);
        if let Some(digest) = base.as_bytes().get(..DIGEST) {
            scanner.wanted.insert(digest, path);
        }
    }
    if !scanner.wanted.is_empty() {
        let kind = fs::symlink_metadata(tree).map_err(StoreError::io("read", tree))?.file_type();
        scanner.node(tree, kind)?;
    }
    Ok(scanner.found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(c: char) -> String {
        format!("/nix/store/{}-x", c.to_string().repeat(DIGEST))
    }

    #[test]
    fn finds_digests_in_files_names_and_links_and_across_buffers() {
        let dir = tempfile::tempdir().unwrap();
        let all: Vec<String> = "abcdf".chars().map(candidate).collect();
        let digest = |i: usize| &all[i][11..43];
        let mut long = vec![b'!'; (1 << 18) - 7];
        long.extend(digest(0).as_bytes());
        fs::write(dir.path().join("file"), long).unwrap();
        fs::write(dir.path().join("other"), format!("zz{}", digest(1))).unwrap();
        fs::create_dir(dir.path().join(digest(2))).unwrap();
        std::os::unix::fs::symlink(&all[3], dir.path().join("link")).unwrap();
        let found = scan(dir.path(), all.iter().map(String::as_str)).unwrap();
        assert_eq!(found.into_iter().collect::<Vec<_>>(), all[..4]);
    }

    #[test]
    fn part_of_a_digest_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let path = candidate('a');
        fs::write(dir.path().join("file"), &path[11..42]).unwrap();
        assert!(scan(dir.path(), [path.as_str()]).unwrap().is_empty());
    }
}
