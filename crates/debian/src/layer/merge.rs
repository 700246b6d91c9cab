//! Merging packages, one after another, into the layer's tree.

use crate::deb::{EntryKind, Unpacked, read_limited};
use crate::error::{DebianError, Result};
use crate::layer::alternatives::{self, Alternative};
use crate::layer::modules::{self, Module, Modules};
use crate::layer::paths::{self, Place, place};
use crate::layer::{Manifest, PackageFiles, tables};
use crate::lock::Pin;
use nbv_image::{Content, ErofsWriter, Kind, Node, Tree};
use std::collections::BTreeMap;
use std::io::{Seek, Write};
use std::sync::Arc;

/// Most bytes that a kernel module may unpack to.
const MAX_MODULE: u64 = 1 << 28;

/// The tree that grows, and what is learnt on the way.
pub(crate) struct Merge<W: Write + Seek> {
    pub(crate) writer: ErofsWriter<W>,
    pub(crate) tree: Tree,
    pub(crate) manifest: Manifest,
    pub(crate) vmlinuz: Option<Vec<u8>>,
    pub(crate) modules: Modules,
    /// Unpacked module files by name, those that an initrd may need.
    pub(crate) early: BTreeMap<String, Arc<[u8]>>,
    pub(crate) module_folder: Option<String>,
    pub(crate) builtin: Vec<u8>,
    pub(crate) builtin_info: Vec<u8>,
    alternatives: Vec<(String, Alternative)>,
    ca: BTreeMap<String, Vec<u8>>,
    /// Folders named in ld.so.conf.d, relative to /usr.
    library_folders: Vec<String>,
}

/// A module of the kernel as its worker prepared it.
pub(crate) fn prepare_modules(p: &mut Unpacked) -> Result<Vec<(usize, Module)>> {
    let wanted: Vec<usize> = p
        .entries
        .iter()
        .enumerate()
        .filter(|(_, e)| {
            let path = e.path.strip_prefix("usr/").unwrap_or(&e.path);
            path.starts_with("lib/modules/")
                && (path.ends_with(".ko") || path.ends_with(".ko.xz"))
                && place(&e.path, &p.name, None) != Place::Nowhere
        })
        .map(|(i, _)| i)
        .collect();
    if wanted.is_empty() {
        return Ok(Vec::new());
    }
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get());
    let next = std::sync::atomic::AtomicUsize::new(0);
    let (entries, data, name) = (&p.entries, &p.data, &p.name);
    let work = || {
        let mut out = Vec::new();
        loop {
            let i = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            let Some(&i) = wanted.get(i) else { return Ok(out) };
            let e = &entries[i];
            let EntryKind::File(range) = &e.kind else { continue };
            let raw = &data[range.clone()];
            let bytes = if e.path.ends_with(".xz") {
                let unpacked = read_limited(liblzma::read::XzDecoder::new(raw), raw.len() * 4, MAX_MODULE);
                Some(unpacked.map_err(|err| DebianError::BadDeb { package: name.clone(), file: e.path.clone(), why: err.to_string() })?)
            } else {
                None
            };
            out.push((i, bytes));
        }
    };
    let all: Vec<Result<Vec<(usize, Option<Vec<u8>>)>>> = std::thread::scope(|s| {
        let handles: Vec<_> = (0..threads).map(|_| s.spawn(work)).collect();
        handles
            .into_iter()
            .map(|h| h.join().unwrap_or_else(|_| Err(DebianError::format("a kernel module", "its thread ended early"))))
            .collect()
    });
    let mut out = Vec::new();
    for part in all {
        for (i, bytes) in part? {
            let e = &mut p.entries[i];
            if let Some(b) = bytes {
                e.path.truncate(e.path.len() - ".xz".len());
                e.kind = EntryKind::Made(b);
            }
            let inner = e.path.split_once("lib/modules/").map_or("", |x| x.1);
            let inner = inner.split_once('/').map_or("", |x| x.1).to_string();
            let elf: &[u8] = match &e.kind {
                EntryKind::Made(b) => b,
                EntryKind::File(r) => &p.data[r.clone()],
                _ => continue,
            };
            if let Some(m) = modules::read(&inner, elf) {
                out.push((i, m));
            }
        }
    }
    out.sort_by_key(|m| m.0);
    Ok(out)
}

/// Modules that may have to be loaded before the layer is mounted.
pub(crate) const EARLY: [&str; 12] = [
    "virtio", "virtio_ring", "virtio_pci", "virtio_mmio", "virtio_console", "virtio_blk", "virtio_net", "virtio_rng", "erofs", "overlay", "ext4", "af_packet",
];

impl<W: Write + Seek> Merge<W> {
    pub(crate) fn new(writer: ErofsWriter<W>, manifest: Manifest) -> Self {
        Merge {
            writer,
            tree: Tree::new(),
            manifest,
            vmlinuz: None,
            modules: Modules::new(),
            early: BTreeMap::new(),
            module_folder: None,
            builtin: Vec::new(),
            builtin_info: Vec::new(),
            alternatives: Vec::new(),
            ca: BTreeMap::new(),
            library_folders: Vec::new(),
        }
    }

    /// Adds a package. The same order of packages gives the same tree.
    pub(crate) fn add(&mut self, p: Unpacked, pin: &Pin, mods: Vec<(usize, Module)>) -> Result<()> {
        let apart = pin.apart.then_some(p.name.as_str());
        let mut files = Vec::new();
        for (_, m) in mods {
            self.modules.insert(modules::module_name(&m.path), m);
        }
        // hard links of an archive come after what they name
        let mut placed: BTreeMap<String, String> = BTreeMap::new();
        for e in p.entries {
            let to = match place(&e.path, &p.name, apart) {
                Place::Usr(to) => to,
                Place::Kernel => {
                    if let EntryKind::File(r) = e.kind {
                        self.vmlinuz = Some(p.data[r].to_vec());
                    }
                    continue;
                }
                Place::Nowhere => continue,
            };
            if to.is_empty() {
                continue;
            }
            let content = match e.kind {
                EntryKind::Dir => {
                    if !self.tree.contains(&to) {
                        // var's folders are made by tmpfiles rules in the guest; only files of it are kept
                        if !paths::within(&to, "share/nbv/var") {
                            self.tree.insert(&to, Node::dir(e.mode).owned(tables::user(&e.user), tables::group(&e.group)))?;
                        }
                    } else if let Some(n) = self.tree.get(&to)
                        && !n.is_dir()
                    {
                        self.tree.insert(&to, Node::dir(e.mode))?;
                    }
                    continue;
                }
                EntryKind::Symlink(target) => {
                    let Some(target) = paths::link_target(&e.path, &to, &target, &p.name, apart) else { continue };
                    // a folder or a file that is there already stays
                    if self.tree.get(&to).is_none_or(|n| matches!(n.kind, Kind::Symlink(_))) {
                        self.tree.insert(&to, Node::symlink(target))?;
                        files.push(to);
                    }
                    continue;
                }
                EntryKind::HardLink(target) => {
                    let Some(target) = placed.get(&target) else { continue };
                    if *target != to {
                        self.tree.insert(&to, Node::new(e.mode, Kind::HardLink(target.clone().into_bytes())))?;
                    }
                    placed.insert(e.path, to.clone());
                    files.push(to);
                    continue;
                }
                EntryKind::File(r) => Content::Slice(p.data.clone(), r),
                EntryKind::Made(b) => Content::from_vec(b),
            };
            if self.tree.get(&to).is_some_and(Node::is_dir) {
                continue;
            }
            self.notice(&to, &content);
            let content = self.writer.place(content, &to)?;
            let mut mode = e.mode;
            let (user, mut group) = (tables::user(&e.user), tables::group(&e.group));
            // an owner that the guest does not have becomes root: running as root would be worse than as the caller
            if user == 0 && e.user != "root" {
                mode &= !0o4000;
            }
            if group == 0 && e.group != "root" {
                mode &= !0o2000;
            }
            if let Some((_, g, m)) = tables::MODES.iter().find(|m| m.0 == to) {
                group = tables::group(g);
                mode = *m;
            }
            let node = Node::new(mode, Kind::File(content)).owned(user, group);
            self.tree.insert(&to, node)?;
            placed.insert(e.path, to.clone());
            files.push(to);
        }
        if apart.is_none() {
            let found = alternatives::parse(&p.postinst);
            self.alternatives.extend(found.into_iter().map(|a| (p.name.clone(), a)));
        }
        files.sort();
        files.dedup();
        self.manifest.packages.insert(p.name, PackageFiles { version: pin.version.clone(), files });
        Ok(())
    }

    /// Remembers contents that the end of the work needs.
    fn notice(&mut self, to: &str, content: &Content) {
        let Some(bytes) = content.bytes() else { return };
        if let Some(rest) = to.strip_prefix("lib/modules/") {
            let Some((version, inner)) = rest.split_once('/') else { return };
            match inner {
                "modules.builtin" => self.builtin = bytes.to_vec(),
                "modules.builtin.modinfo" => self.builtin_info = bytes.to_vec(),
                _ => {}
            }
            if inner.ends_with(".ko") {
                self.module_folder = Some(format!("lib/modules/{version}"));
                // fs, lib, crypto, virtio and the like: everything an early module may depend on is small
                if !inner.starts_with("kernel/drivers/gpu") && !inner.starts_with("kernel/sound") && bytes.len() < 4 << 20 {
                    self.early.insert(modules::module_name(inner), bytes.into());
                }
            }
        } else if to.starts_with("share/ca-certificates/mozilla/") && to.ends_with(".crt") {
            self.ca.insert(to.to_string(), bytes.to_vec());
        } else if to.starts_with("share/nbv/etc/ld.so.conf.d/") {
            for line in String::from_utf8_lossy(bytes).lines() {
                let line = line.trim();
                if let Place::Usr(dir) = place(line.trim_start_matches('/'), "", None)
                    && line.starts_with('/')
                    && dir.starts_with("lib/")
                {
                    self.library_folders.push(dir);
                }
            }
        }
    }

    /// What is made from all packages together.
    pub(crate) fn complete(&mut self) -> Result<()> {
        self.link_alternatives()?;
        self.link_libraries()?;
        if !self.ca.is_empty() {
            let mut bundle = Vec::new();
            for c in self.ca.values() {
                bundle.extend_from_slice(c);
                if !c.ends_with(b"\n") {
                    bundle.push(b'\n');
                }
            }
            let to = format!("{}/ssl/certs/ca-certificates.crt", paths::ETC);
            let content = self.writer.place(Content::from_vec(bundle), &to)?;
            self.tree.insert(&to, Node::new(0o644, Kind::File(content)))?;
            if let Some(p) = self.manifest.packages.get_mut("ca-certificates") {
                p.files.push(to);
                p.files.sort();
            }
        }
        for (from, to) in paths::MOVED {
            for dir in [from.to_string(), format!("{}/{to}", paths::ASIDE)] {
                if !self.tree.contains(&dir) {
                    self.tree.insert(&dir, Node::dir(0o755))?;
                }
            }
        }
        // programs of the sandbox and of old scripts find sbin and games
        for link in ["sbin", "games"] {
            self.tree.insert(link, Node::symlink("bin"))?;
        }
        self.tree.insert("local", Node::dir(0o755))?;
        // glibc's C.UTF-8 under the name of NixOS' default locale, so that programs take it without a warning
        if self.tree.contains("lib/locale/C.utf8") && !self.tree.contains("lib/locale/en_US.utf8") {
            self.tree.insert("lib/locale/en_US.utf8", Node::symlink("C.utf8"))?;
        }
        if let Some(dir) = self.module_folder.clone() {
            let builtin = String::from_utf8_lossy(&self.builtin).into_owned();
            for (name, content) in modules::indexes(&self.modules, &builtin, &self.builtin_info) {
                let to = format!("{dir}/{name}");
                let content = self.writer.place(Content::from_vec(content), &to)?;
                self.tree.insert(&to, Node::new(0o644, Kind::File(content)))?;
            }
        }
        Ok(())
    }

    fn link_alternatives(&mut self) -> Result<()> {
        let mut best: BTreeMap<String, (i32, String, String)> = BTreeMap::new();
        let mut offer = |link: String, path: String, priority: i32, package: &str| {
            let new = (priority, package.to_string(), path);
            match best.get(&link) {
                // the highest priority; among equals the first package by name
                Some(old) if (old.0, &new.1) >= (new.0, &old.1) => {}
                _ => {
                    best.insert(link, new);
                }
            }
        };
        for (package, a) in &self.alternatives {
            let at = |p: &str| match place(p.trim_start_matches('/'), package, None) {
                Place::Usr(p) => Some(p),
                _ => None,
            };
            if let (Some(link), Some(path)) = (at(&a.link), at(&a.path)) {
                offer(link, path, a.priority, package);
            }
        }
        for (package, link, path) in tables::ALTERNATIVES {
            if self.manifest.packages.get(package).is_some_and(|p| p.files.iter().any(|f| f == path)) {
                offer(link.into(), path.into(), 10, package);
            }
        }
        for (link, (_, _, path)) in best {
            if !self.tree.contains(&path) || link == path || link.starts_with(paths::ETC) {
                continue;
            }
            // a dangling link to /etc/alternatives may be in a package
            let free = match self.tree.get(&link) {
                None => true,
                Some(Node { kind: Kind::Symlink(t), .. }) => t.starts_with(b"/etc/alternatives/"),
                Some(_) => false,
            };
            if free {
                self.tree.insert(&link, Node::symlink(paths::relative(paths::parent(&link), &path)))?;
                self.manifest.alternatives.insert(link, path);
            }
        }
        Ok(())
    }

    /// Libraries in folders of ld.so.conf.d get links where the loader always looks: /etc/ld.so.cache is the
    /// guest's, and without one the loader knows only its own folders.
    fn link_libraries(&mut self) -> Result<()> {
        let main = format!("lib/{}", self.manifest.multiarch);
        let mut folders = std::mem::take(&mut self.library_folders);
        folders.sort();
        folders.dedup();
        for dir in folders.iter().filter(|d| **d != main && *d != "lib") {
            let names: Vec<String> = self
                .tree
                .below(dir.as_bytes())
                .filter_map(|(p, _)| String::from_utf8(p.to_vec()).ok())
                .filter(|p| paths::parent(p) == dir && p.contains(".so"))
                .collect();
            for n in names {
                let file = n.rsplit('/').next().unwrap_or("");
                let to = format!("{main}/{file}");
                if !self.tree.contains(&to) {
                    self.tree.insert(&to, Node::symlink(paths::relative(&main, &n)))?;
                }
            }
        }
        Ok(())
    }
}
