//! A file tree in memory, sorted by path. Contents may be bytes, a piece of a shared buffer, a
//! piece of a file, or already lie in the image that is being written.

use crate::{ImageError, Result};
use std::collections::BTreeMap;
use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;

/// Where the bytes of a regular file are.
#[derive(Clone, Debug)]
pub enum Content {
    Bytes(Arc<[u8]>),
    /// A piece of a buffer that several files share.
    Slice(Arc<Vec<u8>>, Range<usize>),
    /// `len` bytes of an open file from `offset`.
    Piece { file: Arc<File>, offset: u64, len: u64 },
    /// A file of the host by name, `len` bytes long; opened only when it is written.
    Path { path: PathBuf, len: u64 },
    /// Already in the erofs image that is being written, at this block (of 4096 bytes).
    Placed { block: u64, len: u64 },
}

impl Content {
    pub fn from_vec(v: Vec<u8>) -> Content {
        Content::Bytes(v.into())
    }

    pub fn len(&self) -> u64 {
        match self {
            Content::Bytes(b) => b.len() as u64,
            Content::Slice(_, r) => r.len() as u64,
            Content::Piece { len, .. } | Content::Path { len, .. } | Content::Placed { len, .. } => *len,
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes, when they are in memory.
    pub fn bytes(&self) -> Option<&[u8]> {
        match self {
            Content::Bytes(b) => Some(b),
            Content::Slice(b, r) => b.get(r.clone()),
            _ => None,
        }
    }

    /// Gives the bytes to `sink` in order, in chunks. Errors: reading; a length other than promised.
    /// [`Content::Placed`] has no bytes of its own and is an error.
    pub fn for_each_chunk(&self, name: &str, mut sink: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
        if let Some(b) = self.bytes() {
            return sink(b);
        }
        let (file, mut at, len) = match self {
            Content::Piece { file, offset, len } => (file.clone(), *offset, *len),
            Content::Path { path, len } => {
                let f = File::open(path).map_err(ImageError::io(format!("opening {}", path.display())))?;
                (Arc::new(f), 0, *len)
            }
            _ => {
                return Err(ImageError::BadPath { path: name.into(), why: "its content is in another image" });
            }
        };
        let mut left = len;
        let mut buf = vec![0u8; 256 * 1024];
        while left > 0 {
            let want = buf.len().min(left.min(usize::MAX as u64) as usize);
            let n = match file.read_at(&mut buf[..want], at) {
                Ok(n) => n,
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(ImageError::io(format!("reading {name}"))(e)),
            };
            if n == 0 {
                return Err(ImageError::Changed { path: name.into(), expected: len, found: len - left });
            }
            sink(&buf[..n])?;
            at += n as u64;
            left -= n as u64;
        }
        Ok(())
    }
}

/// What a path is.
#[derive(Clone, Debug)]
pub enum Kind {
    File(Content),
    Dir,
    Symlink(Vec<u8>),
    /// Another name of the file at this path of the same tree.
    HardLink(Vec<u8>),
    CharDevice { major: u32, minor: u32 },
    BlockDevice { major: u32, minor: u32 },
    Fifo,
    Socket,
}

/// One path of a tree.
#[derive(Clone, Debug)]
pub struct Node {
    /// Permission bits with setuid, setgid and sticky (`0o7777`).
    pub mode: u16,
    pub uid: u32,
    pub gid: u32,
    pub kind: Kind,
}

impl Node {
    pub fn new(mode: u16, kind: Kind) -> Node {
        Node { mode: mode & 0o7777, uid: 0, gid: 0, kind }
    }
    pub fn dir(mode: u16) -> Node {
        Node::new(mode, Kind::Dir)
    }
    pub fn file(mode: u16, content: Vec<u8>) -> Node {
        Node::new(mode, Kind::File(Content::from_vec(content)))
    }
    pub fn symlink(target: impl Into<Vec<u8>>) -> Node {
        Node::new(0o777, Kind::Symlink(target.into()))
    }
    pub fn owned(mut self, uid: u32, gid: u32) -> Node {
        self.uid = uid;
        self.gid = gid;
        self
    }
    pub fn is_dir(&self) -> bool {
        matches!(self.kind, Kind::Dir)
    }
}

/// A tree: relative paths without leading or trailing slash, as bytes. The root is the empty path and
/// always there; parents that are missing are made (0755, root) when an image is written.
#[derive(Clone, Debug)]
pub struct Tree {
    nodes: BTreeMap<Vec<u8>, Node>,
}

impl Default for Tree {
    fn default() -> Self {
        Tree { nodes: BTreeMap::from([(Vec::new(), Node::dir(0o755))]) }
    }
}

impl Tree {
    pub fn new() -> Tree {
        Tree::default()
    }

    /// Puts a node at a path, in place of what was there. Errors: a path with empty, `.` or `..`
    /// components, a component over 255 bytes, or a NUL.
    pub fn insert(&mut self, path: impl AsRef<[u8]>, node: Node) -> Result<()> {
        let path = path.as_ref();
        let bad = |why| ImageError::BadPath { path: String::from_utf8_lossy(path).into_owned(), why };
        if !path.is_empty() {
            for c in path.split(|&b| b == b'/') {
                match c {
                    b"" => return Err(bad("an empty component")),
                    b"." | b".." => return Err(bad("a component '.' or '..'")),
                    c if c.len() > 255 => return Err(bad("a component of more than 255 bytes")),
                    c if c.contains(&0) => return Err(bad("a zero byte")),
                    _ => {}
                }
            }
        } else if !node.is_dir() {
            return Err(bad("the root must be a folder"));
        }
        self.nodes.insert(path.to_vec(), node);
        Ok(())
    }

    pub fn get(&self, path: impl AsRef<[u8]>) -> Option<&Node> {
        self.nodes.get(path.as_ref())
    }
    pub fn get_mut(&mut self, path: impl AsRef<[u8]>) -> Option<&mut Node> {
        self.nodes.get_mut(path.as_ref())
    }
    pub fn contains(&self, path: impl AsRef<[u8]>) -> bool {
        self.nodes.contains_key(path.as_ref())
    }
    pub fn remove(&mut self, path: impl AsRef<[u8]>) -> Option<Node> {
        self.nodes.remove(path.as_ref())
    }
    pub fn len(&self) -> usize {
        self.nodes.len()
    }
    pub fn is_empty(&self) -> bool {
        self.nodes.len() <= 1
    }
    /// All paths in byte order.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &Node)> {
        self.nodes.iter().map(|(p, n)| (p.as_slice(), n))
    }
    /// All paths below the folder `dir` (itself not), in byte order.
    pub fn below<'a>(&'a self, dir: &[u8]) -> impl Iterator<Item = (&'a [u8], &'a Node)> + use<'a> {
        let mut from = dir.to_vec();
        from.push(b'/');
        let prefix = from.clone();
        self.nodes.range(from..).take_while(move |(p, _)| p.starts_with(&prefix)).map(|(p, n)| (p.as_slice(), n))
    }

    /// Makes every missing parent a folder. Errors: a parent that is not a folder.
    pub fn complete(&mut self) -> Result<()> {
        let mut missing: Vec<Vec<u8>> = Vec::new();
        for path in self.nodes.keys() {
            let mut p = path.as_slice();
            while let Some(cut) = p.iter().rposition(|&b| b == b'/') {
                p = &p[..cut];
                match self.nodes.get(p) {
                    None => missing.push(p.to_vec()),
                    Some(n) if n.is_dir() => break,
                    Some(_) => {
                        return Err(ImageError::BadPath {
                            path: String::from_utf8_lossy(path).into_owned(),
                            why: "a parent of it is not a folder",
                        });
                    }
                }
            }
            if let Some(first) = path.iter().position(|&b| b == b'/')
                && self.nodes.get(&path[..first]).is_some_and(|n| !n.is_dir())
            {
                return Err(ImageError::BadPath {
                    path: String::from_utf8_lossy(path).into_owned(),
                    why: "a parent of it is not a folder",
                });
            }
        }
        for p in missing {
            self.nodes.entry(p).or_insert_with(|| Node::dir(0o755));
        }
        Ok(())
    }
}
