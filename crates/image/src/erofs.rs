//! Writer of plain erofs images, mountable by any kernel that has erofs (written for 6.1 and 6.12).
//!
//! On disk (Documentation/filesystems/erofs.rst of the kernel): block 0 with the superblock at byte 1024,
//! then the contents of files in the order in which they were placed, then the full blocks of large
//! folders, then the inodes with what is small kept right behind its inode. Metadata come last so that
//! contents can be written before the tree is known. Equal calls give equal bytes.

use crate::checksum::crc32c;
use crate::tree::{Content, Kind, Node, Tree};
use crate::{ImageError, Result};
use std::collections::HashMap;
use std::io::{Seek, SeekFrom, Write};

pub(crate) const BLOCK: u64 = 4096;
pub(crate) const MAGIC: u32 = 0xe0f5_e1e2;
pub(crate) const SUPER_OFFSET: usize = 1024;
const COMPAT_SB_CHECKSUM: u32 = 1;
/// Contents up to this size lie behind their inode instead of in a block of their own.
pub const INLINE_MAX: u64 = 2048;
pub(crate) const LAYOUT_PLAIN: u16 = 0;
pub(crate) const LAYOUT_INLINE: u16 = 2;

/// What an image says of itself.
#[derive(Clone, Debug, Default)]
pub struct ErofsOptions {
    /// Modification time of everything, seconds since 1970.
    pub time: u64,
    /// None: derived from the metadata.
    pub uuid: Option<[u8; 16]>,
    /// At most 15 bytes are kept.
    pub label: String,
}

/// Writes contents first, then the tree.
pub struct ErofsWriter<W: Write + Seek> {
    out: W,
    next_block: u64,
    options: ErofsOptions,
}

struct Inode<'a> {
    path: &'a [u8],
    node: &'a Node,
    nlink: u32,
    size: u64,
    /// First block of what does not lie inline.
    block: u64,
    inline: Inline<'a>,
    layout: u16,
    extended: bool,
    nid: u64,
    children: Vec<(&'a [u8], usize)>,
    parent: usize,
}

enum Inline<'a> {
    No,
    Bytes(&'a [u8]),
    Read(&'a Content),
    /// The last part of a folder's entries, this long.
    DirTail(usize),
}

fn write_err(e: std::io::Error) -> ImageError {
    ImageError::Io { what: "writing an erofs image".into(), source: e }
}

impl<W: Write + Seek> ErofsWriter<W> {
    /// `out` must be empty and at its start; it is worth buffering.
    pub fn new(mut out: W, options: ErofsOptions) -> Result<Self> {
        out.write_all(&[0u8; BLOCK as usize]).map_err(write_err)?;
        Ok(ErofsWriter { out, next_block: 1, options })
    }

    /// Writes a content now, if it is not small, and gives what to put into the tree instead.
    pub fn place(&mut self, content: Content, name: &str) -> Result<Content> {
        let len = content.len();
        if len <= INLINE_MAX || matches!(content, Content::Placed { .. }) {
            return Ok(match content {
                // do not keep a large buffer alive for a small file
                Content::Slice(b, r) => Content::Bytes(b[r].into()),
                other => other,
            });
        }
        let block = self.next_block;
        let mut written = 0u64;
        let out = &mut self.out;
        content.for_each_chunk(name, |c| {
            written += c.len() as u64;
            out.write_all(c).map_err(write_err)
        })?;
        if written != len {
            return Err(ImageError::Changed { path: name.into(), expected: len, found: written });
        }
        let pad = (BLOCK - len % BLOCK) % BLOCK;
        self.out.write_all(&[0u8; BLOCK as usize][..pad as usize]).map_err(write_err)?;
        self.next_block += len.div_ceil(BLOCK);
        Ok(Content::Placed { block, len })
    }

    /// Places what is not placed yet, writes the metadata and gives the sink back (flushed). Returns the
    /// size of the image in bytes too.
    pub fn finish(mut self, mut tree: Tree) -> Result<(W, u64)> {
        tree.complete()?;
        let paths: Vec<Vec<u8>> = tree
            .iter()
            .filter(|(_, n)| matches!(&n.kind, Kind::File(c) if c.len() > INLINE_MAX && !matches!(c, Content::Placed { .. })))
            .map(|(p, _)| p.to_vec())
            .collect();
        for p in paths {
            let name = String::from_utf8_lossy(&p).into_owned();
            if let Some(node) = tree.get_mut(&p)
                && let Kind::File(c) = &node.kind
            {
                let placed = self.place(c.clone(), &name)?;
                node.kind = Kind::File(placed);
            }
        }
        let size = self.write_metadata(&tree)?;
        self.out.flush().map_err(write_err)?;
        Ok((self.out, size))
    }

    fn write_metadata(&mut self, tree: &Tree) -> Result<u64> {
        let mut inodes = collect(tree)?;
        let total = inodes.len() as u64;

        // Sizes, then the places of inodes: each begins at a multiple of 32 bytes, and what is inline must
        // end in the block in which it begins.
        let mut at = 0u64;
        for node in inodes.iter_mut() {
            layout(node)?;
            let head = if node.extended { 64 } else { 32 };
            let tail = inline_len(&node.inline);
            let end = at + head + tail;
            if tail > 0 && (at + head) / BLOCK != (end - 1) / BLOCK {
                // move on so that inode and tail share a block
                at = at.next_multiple_of(BLOCK);
            }
            node.nid = at / 32;
            at = (at + head + tail).next_multiple_of(32);
        }
        for i in 0..inodes.len() {
            if matches!(inodes[i].node.kind, Kind::Dir) {
                let full = match inodes[i].layout {
                    LAYOUT_INLINE => inodes[i].size / BLOCK,
                    _ => inodes[i].size.div_ceil(BLOCK),
                };
                inodes[i].block = if full > 0 { self.next_block } else { 0 };
                self.next_block += full;
            }
        }
        let meta_block = self.next_block;
        let mut meta = vec![0u8; at.next_multiple_of(BLOCK) as usize];
        for i in 0..inodes.len() {
            let mut dir_bytes = Vec::new();
            if matches!(inodes[i].node.kind, Kind::Dir) {
                dir_bytes = directory(&inodes, i);
                debug_assert_eq!(dir_bytes.len() as u64, inodes[i].size);
                let cut = match inodes[i].inline {
                    Inline::DirTail(n) => dir_bytes.len() - n,
                    _ => dir_bytes.len(),
                };
                self.out.write_all(&dir_bytes[..cut]).map_err(write_err)?;
                let pad = (BLOCK - cut as u64 % BLOCK) % BLOCK;
                self.out.write_all(&vec![0u8; pad as usize]).map_err(write_err)?;
                dir_bytes.drain(..cut);
            }
            let node = &inodes[i];
            let pos = (node.nid * 32) as usize;
            encode_inode(&mut meta[pos..], node, i as u32 + 1, self.options.time)?;
            let head = pos + if node.extended { 64 } else { 32 };
            match &node.inline {
                Inline::No => {}
                Inline::Bytes(b) => meta[head..head + b.len()].copy_from_slice(b),
                Inline::DirTail(n) => meta[head..head + n].copy_from_slice(&dir_bytes),
                Inline::Read(c) => {
                    let mut p = head;
                    let end = head + c.len() as usize;
                    let name = String::from_utf8_lossy(node.path).into_owned();
                    c.for_each_chunk(&name, |b| {
                        if p + b.len() > end {
                            return Err(ImageError::Changed { path: name.clone(), expected: c.len(), found: c.len() + 1 });
                        }
                        meta[p..p + b.len()].copy_from_slice(b);
                        p += b.len();
                        Ok(())
                    })?;
                }
            }
        }
        self.out.write_all(&meta).map_err(write_err)?;
        let blocks = meta_block + meta.len() as u64 / BLOCK;
        let blocks32 =
            u32::try_from(blocks).map_err(|_| ImageError::TooLarge { what: "more than 16 TiB".into() })?;

        let uuid = self.options.uuid.unwrap_or_else(|| derive_uuid(&meta));
        let mut first = vec![0u8; BLOCK as usize];
        let sb = &mut first[SUPER_OFFSET..];
        sb[0..4].copy_from_slice(&MAGIC.to_le_bytes());
        sb[8..12].copy_from_slice(&COMPAT_SB_CHECKSUM.to_le_bytes());
        sb[12] = 12; // log2 of the block size
        sb[14..16].copy_from_slice(&(inodes[0].nid as u16).to_le_bytes());
        sb[16..24].copy_from_slice(&total.to_le_bytes());
        sb[24..32].copy_from_slice(&self.options.time.to_le_bytes());
        sb[36..40].copy_from_slice(&blocks32.to_le_bytes());
        sb[40..44].copy_from_slice(&(meta_block as u32).to_le_bytes());
        sb[48..64].copy_from_slice(&uuid);
        let label = &self.options.label.as_bytes()[..self.options.label.len().min(15)];
        sb[64..64 + label.len()].copy_from_slice(label);
        let sum = crc32c(!0, sb);
        sb[4..8].copy_from_slice(&sum.to_le_bytes());
        self.out.seek(SeekFrom::Start(0)).map_err(write_err)?;
        self.out.write_all(&first).map_err(write_err)?;
        self.out.seek(SeekFrom::End(0)).map_err(write_err)?;
        Ok(blocks * BLOCK)
    }
}

/// Writes a whole tree as an image to a file (made, or emptied). Returns its size in bytes.
pub fn write_erofs(path: &std::path::Path, tree: Tree, options: ErofsOptions) -> Result<u64> {
    let file = std::fs::File::create(path).map_err(ImageError::io(format!("making {}", path.display())))?;
    let out = std::io::BufWriter::with_capacity(1 << 20, file);
    let (_, size) = ErofsWriter::new(out, options)?.finish(tree)?;
    Ok(size)
}

/// All inodes, root first, the children of a folder together, folders in the order in which they are met.
fn collect(tree: &Tree) -> Result<Vec<Inode<'_>>> {
    let mut kids: HashMap<&[u8], Vec<(&[u8], &[u8], &Node)>> = HashMap::new();
    let mut links: HashMap<&[u8], u32> = HashMap::new();
    for (path, node) in tree.iter() {
        if let Kind::HardLink(target) = &node.kind {
            match tree.get(target) {
                Some(Node { kind: Kind::File(_), .. }) => *links.entry(target.as_slice()).or_insert(0) += 1,
                _ => {
                    return Err(ImageError::BadHardLink {
                        path: String::from_utf8_lossy(path).into_owned(),
                        target: String::from_utf8_lossy(target).into_owned(),
                    });
                }
            }
        }
        if path.is_empty() {
            continue;
        }
        let cut = path.iter().rposition(|&b| b == b'/');
        let (parent, name) = cut.map_or((&b""[..], path), |c| (&path[..c], &path[c + 1..]));
        kids.entry(parent).or_default().push((name, path, node));
    }
    let root = tree.get(b"").ok_or(ImageError::BadPath { path: String::new(), why: "no root" })?;
    let mut out: Vec<Inode<'_>> = vec![Inode::new(b"", root, 0)];
    let mut by_path: HashMap<&[u8], usize> = HashMap::new();
    let mut pending: Vec<(usize, &[u8], &[u8])> = Vec::new();
    let mut queue = std::collections::VecDeque::from([0usize]);
    while let Some(dir) = queue.pop_front() {
        let Some(list) = kids.remove(out[dir].path) else { continue };
        for (name, path, node) in list {
            if let Kind::HardLink(target) = &node.kind {
                pending.push((dir, name, target));
                continue;
            }
            let i = out.len();
            let mut inode = Inode::new(path, node, dir);
            inode.nlink = 1 + links.get(path).copied().unwrap_or(0);
            if inode.nlink > 1 {
                by_path.insert(path, i);
            }
            if node.is_dir() {
                inode.nlink = 2;
                out[dir].nlink += 1;
                queue.push_back(i);
            }
            out.push(inode);
            out[dir].children.push((name, i));
        }
    }
    for (dir, name, target) in pending {
        let i = by_path.get(target).copied().ok_or_else(|| ImageError::BadHardLink {
            path: String::from_utf8_lossy(name).into_owned(),
            target: String::from_utf8_lossy(target).into_owned(),
        })?;
        out[dir].children.push((name, i));
    }
    for node in out.iter_mut() {
        node.children.sort();
    }
    Ok(out)
}

impl<'a> Inode<'a> {
    fn new(path: &'a [u8], node: &'a Node, parent: usize) -> Self {
        let nlink = if node.is_dir() { 2 } else { 1 };
        Inode {
            path,
            node,
            nlink,
            size: 0,
            block: 0,
            inline: Inline::No,
            layout: LAYOUT_PLAIN,
            extended: false,
            nid: 0,
            children: Vec::new(),
            parent,
        }
    }
}

fn inline_len(i: &Inline<'_>) -> u64 {
    match i {
        Inline::No => 0,
        Inline::Bytes(b) => b.len() as u64,
        Inline::Read(c) => c.len(),
        Inline::DirTail(n) => *n as u64,
    }
}

fn layout(inode: &mut Inode<'_>) -> Result<()> {
    match &inode.node.kind {
        Kind::File(c) => {
            inode.size = c.len();
            match c {
                Content::Placed { block, .. } => inode.block = *block,
                c if c.is_empty() => {}
                c => {
                    inode.layout = LAYOUT_INLINE;
                    inode.inline = match c.bytes() {
                        Some(b) => Inline::Bytes(b),
                        None => Inline::Read(c),
                    };
                }
            }
        }
        Kind::Dir => {
            inode.size = directory_size(&inode.children);
            let tail = inode.size % BLOCK;
            if tail > 0 && tail <= INLINE_MAX {
                inode.layout = LAYOUT_INLINE;
                inode.inline = Inline::DirTail(tail as usize);
            }
        }
        Kind::Symlink(t) => {
            if t.is_empty() || t.len() > 4000 {
                return Err(ImageError::BadPath {
                    path: String::from_utf8_lossy(inode.path).into_owned(),
                    why: "the target of the link is empty or longer than 4000 bytes",
                });
            }
            inode.size = t.len() as u64;
            inode.layout = LAYOUT_INLINE;
            inode.inline = Inline::Bytes(t);
        }
        _ => {}
    }
    inode.extended = inode.size > u64::from(u32::MAX)
        || inode.node.uid > 0xffff
        || inode.node.gid > 0xffff
        || inode.nlink > 0xffff;
    Ok(())
}

fn encode_inode(to: &mut [u8], inode: &Inode<'_>, ino: u32, time: u64) -> Result<()> {
    let (kind_bits, union) = match &inode.node.kind {
        Kind::File(_) => (0o100000u16, None),
        Kind::Dir => (0o040000, None),
        Kind::Symlink(_) => (0o120000, None),
        Kind::CharDevice { major, minor } => (0o020000, Some(device(*major, *minor))),
        Kind::BlockDevice { major, minor } => (0o060000, Some(device(*major, *minor))),
        Kind::Fifo => (0o010000, Some(0)),
        Kind::Socket => (0o140000, Some(0)),
        Kind::HardLink(_) => (0, None),
    };
    let mode = kind_bits | (inode.node.mode & 0o7777);
    let address = match union {
        Some(v) => v,
        None => u32::try_from(inode.block).map_err(|_| ImageError::TooLarge { what: "more than 16 TiB".into() })?,
    };
    let format = (inode.layout << 1) | u16::from(inode.extended);
    to[0..2].copy_from_slice(&format.to_le_bytes());
    to[4..6].copy_from_slice(&mode.to_le_bytes());
    if inode.extended {
        to[8..16].copy_from_slice(&inode.size.to_le_bytes());
        to[16..20].copy_from_slice(&address.to_le_bytes());
        to[20..24].copy_from_slice(&ino.to_le_bytes());
        to[24..28].copy_from_slice(&inode.node.uid.to_le_bytes());
        to[28..32].copy_from_slice(&inode.node.gid.to_le_bytes());
        to[32..40].copy_from_slice(&time.to_le_bytes());
        to[44..48].copy_from_slice(&inode.nlink.to_le_bytes());
    } else {
        to[6..8].copy_from_slice(&(inode.nlink as u16).to_le_bytes());
        to[8..12].copy_from_slice(&(inode.size as u32).to_le_bytes());
        to[16..20].copy_from_slice(&address.to_le_bytes());
        to[20..24].copy_from_slice(&ino.to_le_bytes());
        to[24..26].copy_from_slice(&(inode.node.uid as u16).to_le_bytes());
        to[26..28].copy_from_slice(&(inode.node.gid as u16).to_le_bytes());
    }
    Ok(())
}

/// A device number as the kernel's new_encode_dev has it.
fn device(major: u32, minor: u32) -> u32 {
    (minor & 0xff) | (major << 8) | ((minor & !0xff) << 12)
}

fn file_type(kind: &Kind) -> u8 {
    match kind {
        Kind::File(_) | Kind::HardLink(_) => 1,
        Kind::Dir => 2,
        Kind::CharDevice { .. } => 3,
        Kind::BlockDevice { .. } => 4,
        Kind::Fifo => 5,
        Kind::Socket => 6,
        Kind::Symlink(_) => 7,
    }
}

/// The names of a folder in byte order, with `.` and `..`, cut into runs that fill a block each.
fn directory_blocks<'a>(children: &[(&'a [u8], usize)]) -> Vec<Vec<(&'a [u8], Option<usize>, bool)>> {
    let mut names: Vec<(&[u8], Option<usize>, bool)> = Vec::with_capacity(children.len() + 2);
    names.push((b".", None, false));
    names.push((b"..", None, true));
    names.extend(children.iter().map(|&(n, i)| (n, Some(i), false)));
    names.sort();
    let mut blocks = Vec::new();
    let mut run = Vec::new();
    let mut used = 0usize;
    for e in names {
        let need = 12 + e.0.len();
        if used + need > BLOCK as usize {
            blocks.push(std::mem::take(&mut run));
            used = 0;
        }
        used += need;
        run.push(e);
    }
    blocks.push(run);
    blocks
}

fn directory_size(children: &[(&[u8], usize)]) -> u64 {
    let blocks = directory_blocks(children);
    let last: usize = blocks.last().map_or(0, |b| b.iter().map(|e| 12 + e.0.len()).sum());
    (blocks.len() as u64 - 1) * BLOCK + last as u64
}

fn directory(inodes: &[Inode<'_>], dir: usize) -> Vec<u8> {
    let blocks = directory_blocks(&inodes[dir].children);
    let mut out = Vec::new();
    let last = blocks.len() - 1;
    for (b, run) in blocks.iter().enumerate() {
        let start = out.len();
        let mut name_at = run.len() * 12;
        for &(name, child, up) in run {
            let target = match child {
                Some(i) => i,
                None if up => inodes[dir].parent,
                None => dir,
            };
            out.extend_from_slice(&inodes[target].nid.to_le_bytes());
            out.extend_from_slice(&(name_at as u16).to_le_bytes());
            out.push(file_type(&inodes[target].node.kind));
            out.push(0);
            name_at += name.len();
        }
        for e in run {
            out.extend_from_slice(e.0);
        }
        if b != last {
            out.resize(start + BLOCK as usize, 0);
        }
    }
    out
}

/// 128 bits from the metadata, marked as a version 8 (free form) UUID.
fn derive_uuid(meta: &[u8]) -> [u8; 16] {
    let mut out = [0u8; 16];
    for (half, seed) in [0xcbf2_9ce4_8422_2325u64, 0x6c62_272e_07bb_0142].into_iter().enumerate() {
        let h = meta.iter().fold(seed, |h, &b| (h ^ u64::from(b)).wrapping_mul(0x0000_0100_0000_01b3));
        out[half * 8..half * 8 + 8].copy_from_slice(&h.to_be_bytes());
    }
    out[6] = (out[6] & 0x0f) | 0x80;
    out[8] = (out[8] & 0x3f) | 0x80;
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErofsImage;
    use std::process::Command;
    use std::sync::Arc;

    fn sample(dir: &std::path::Path) -> Tree {
        let mut t = Tree::new();
        let big: Vec<u8> = (0..1_000_001u32).map(|i| (i * 7 % 251) as u8).collect();
        let path = dir.join("host");
        std::fs::write(&path, &big).unwrap();
        let file = Arc::new(std::fs::File::open(&path).unwrap());
        t.insert("big", Node::new(0o644, Kind::File(Content::Path { path, len: big.len() as u64 }))).unwrap();
        t.insert("piece", Node::new(0o600, Kind::File(Content::Piece { file: file.clone(), offset: 3, len: 4096 }))).unwrap();
        t.insert("piece-small", Node::new(0o600, Kind::File(Content::Piece { file, offset: 3, len: 5 }))).unwrap();
        t.insert("bin/su", Node::file(0o4755, b"#!".to_vec()).owned(0, 4)).unwrap();
        t.insert("bin/far", Node::file(0o640, vec![1; 2048]).owned(100_000, 70_000)).unwrap();
        t.insert("empty", Node::file(0o644, Vec::new())).unwrap();
        t.insert("link", Node::symlink("bin/su")).unwrap();
        t.insert("hard", Node::new(0o644, Kind::HardLink(b"big".to_vec()))).unwrap();
        t.insert("dev/null", Node::new(0o666, Kind::CharDevice { major: 1, minor: 3 })).unwrap();
        t.insert("dev/vda", Node::new(0o660, Kind::BlockDevice { major: 253, minor: 300 })).unwrap();
        for i in 0..700 {
            t.insert(format!("many/a-long-enough-name-{i}"), Node::file(0o644, vec![b'x'; i * 5])).unwrap();
            t.insert(format!("many/+{i}"), Node::dir(0o755)).unwrap();
        }
        t
    }

    #[test]
    fn round_trip_and_same_bytes() {
        let dir = tempfile::tempdir().unwrap();
        let o = ErofsOptions { time: 1_000, uuid: None, label: "layer".into() };
        let (a, b) = (dir.path().join("a"), dir.path().join("b"));
        write_erofs(&a, sample(dir.path()), o.clone()).unwrap();
        write_erofs(&b, sample(dir.path()), o).unwrap();
        assert!(std::fs::read(&a).unwrap() == std::fs::read(&b).unwrap());
        let img = ErofsImage::open(&a).unwrap();
        let st = img.lookup(b"bin/far").unwrap().unwrap();
        assert_eq!((st.uid, st.gid, st.mode, st.size), (100_000, 70_000, 0o100640, 2048));
        assert_eq!(img.read(&img.lookup(b"piece").unwrap().unwrap()).unwrap()[0], 21);
        assert_eq!(img.lookup(b"hard").unwrap().unwrap().nid, img.lookup(b"big").unwrap().unwrap().nid);
        assert_eq!(img.list(&img.lookup(b"many").unwrap().unwrap()).unwrap().len(), 1400);
        let out = dir.path().join("out");
        img.unpack(&out).unwrap();
        assert_eq!(std::fs::read(out.join("hard")).unwrap(), std::fs::read(dir.path().join("host")).unwrap());
        assert_eq!(std::fs::read(out.join("many/a-long-enough-name-699")).unwrap().len(), 3495);
        if Command::new("fsck.erofs").arg("-V").output().is_ok() {
            let out = Command::new("fsck.erofs").arg("--extract").arg(&a).output().unwrap();
            assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        } else {
            eprintln!("fsck.erofs is not installed: not compared");
        }
    }

    #[test]
    fn wrong_trees_are_refused() {
        let mut t = Tree::new();
        assert!(t.insert("a//b", Node::dir(0o755)).is_err());
        assert!(t.insert("a/../b", Node::dir(0o755)).is_err());
        t.insert("a", Node::file(0o644, vec![])).unwrap();
        t.insert("a/b/c", Node::file(0o644, vec![])).unwrap();
        assert!(t.complete().is_err());
        let mut t = Tree::new();
        t.insert("h", Node::new(0o644, Kind::HardLink(b"none".to_vec()))).unwrap();
        let out = std::io::Cursor::new(Vec::new());
        assert!(ErofsWriter::new(out, ErofsOptions::default()).unwrap().finish(t).is_err());
    }
}
