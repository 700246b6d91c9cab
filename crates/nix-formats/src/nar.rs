//! Archives of trees (NAR): written and read as streams, and hashed.
//!
//! An archive holds a file (with one bit: executable), a symbolic link or a folder; names in a folder are sorted by bytes.

use crate::hash::{Algo, Hash, Hasher};
use bstr::{BString, ByteSlice};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::{self, Read, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

const MAGIC: &[u8] = b"nix-archive-1";

/// A tree in memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Node {
    /// A file.
    Regular {
        /// Whether it may be executed.
        executable: bool,
        /// Its bytes.
        content: Vec<u8>,
    },
    /// A symbolic link.
    Symlink {
        /// Where it leads.
        target: BString,
    },
    /// A folder.
    Directory(BTreeMap<BString, Node>),
}

impl Node {
    /// Writes its archive.
    pub fn dump(&self, out: &mut impl Write) -> io::Result<()> {
        let mut writer = Writer::new(out)?;
        self.write(&mut writer)?;
        writer.finish().map(drop)
    }

    fn write<W: Write>(&self, out: &mut Writer<W>) -> io::Result<()> {
        match self {
            Self::Regular {
                executable,
                content,
            } => out.regular(*executable, content.len() as u64, &mut content.as_slice()),
            Self::Symlink { target } => out.symlink(target),
            Self::Directory(entries) => {
                out.open_folder()?;
                for (name, node) in entries {
                    out.entry(name)?;
                    node.write(out)?;
                    out.end_entry()?;
                }
                out.close_folder()
            }
        }
    }
}

/// Writes an archive, driven by its caller. One node is [`Self::regular`], or [`Self::symlink`], or [`Self::open_folder`]
/// with for each entry in byte order [`Self::entry`], a node, [`Self::end_entry`], and [`Self::close_folder`].
pub struct Writer<W> {
    out: W,
}

impl<W: Write> Writer<W> {
    /// Starts an archive.
    pub fn new(out: W) -> io::Result<Self> {
        let mut writer = Self { out };
        writer.string(MAGIC)?;
        Ok(writer)
    }

    /// A file of `size` bytes, read from `content`; an error when it has fewer.
    pub fn regular(
        &mut self,
        executable: bool,
        size: u64,
        content: &mut dyn Read,
    ) -> io::Result<()> {
        self.strings(&[b"(", b"type", b"regular"])?;
        if executable {
            self.strings(&[b"executable", b""])?;
        }
        self.string(b"contents")?;
        self.out.write_all(&size.to_le_bytes())?;
        let copied = io::copy(&mut content.take(size), &mut self.out)?;
        if copied != size {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                format!("file shrank from {size} to {copied} bytes while it was read"),
            ));
        }
        self.pad(size)?;
        self.string(b")")
    }

    /// A symbolic link.
    pub fn symlink(&mut self, target: &[u8]) -> io::Result<()> {
        self.strings(&[b"(", b"type", b"symlink", b"target", target, b")"])
    }

    /// Opens a folder.
    pub fn open_folder(&mut self) -> io::Result<()> {
        self.strings(&[b"(", b"type", b"directory"])
    }

    /// Opens an entry of a folder.
    pub fn entry(&mut self, name: &[u8]) -> io::Result<()> {
        self.strings(&[b"entry", b"(", b"name", name, b"node"])
    }

    /// Closes an entry.
    pub fn end_entry(&mut self) -> io::Result<()> {
        self.string(b")")
    }

    /// Closes a folder.
    pub fn close_folder(&mut self) -> io::Result<()> {
        self.string(b")")
    }

    /// Flushes, and gives the underlying writer back.
    pub fn finish(mut self) -> io::Result<W> {
        self.out.flush()?;
        Ok(self.out)
    }

    fn strings(&mut self, all: &[&[u8]]) -> io::Result<()> {
        all.iter().try_for_each(|s| self.string(s))
    }

    fn string(&mut self, s: &[u8]) -> io::Result<()> {
        self.out.write_all(&(s.len() as u64).to_le_bytes())?;
        self.out.write_all(s)?;
        self.pad(s.len() as u64)
    }

    fn pad(&mut self, len: u64) -> io::Result<()> {
        let rest = (len % 8) as usize;
        if rest == 0 {
            Ok(())
        } else {
            self.out.write_all(&[0; 8][rest..])
        }
    }
}

/// Writes the archive of what stands at `path` on disk.
pub fn dump_path(path: &Path, out: &mut impl Write) -> io::Result<()> {
    let mut writer = Writer::new(io::BufWriter::with_capacity(1 << 16, out))?;
    dump_node(path, &mut writer)?;
    writer.finish().map(drop)
}

fn dump_node<W: Write>(path: &Path, out: &mut Writer<W>) -> io::Result<()> {
    let named = |e: io::Error| io::Error::new(e.kind(), format!("{}: {e}", path.display()));
    let meta = std::fs::symlink_metadata(path).map_err(named)?;
    if meta.is_dir() {
        let mut names: Vec<Vec<u8>> = std::fs::read_dir(path)
            .map_err(named)?
            .map(|e| e.map(|e| e.file_name().into_vec()))
            .collect::<Result<_, _>>()
            .map_err(named)?;
        names.sort_unstable();
        out.open_folder()?;
        for name in names {
            out.entry(&name)?;
            dump_node(&path.join(OsStr::from_bytes(&name)), out)?;
            out.end_entry()?;
        }
        out.close_folder()
    } else if meta.is_symlink() {
        out.symlink(
            std::fs::read_link(path)
                .map_err(named)?
                .as_os_str()
                .as_bytes(),
        )
    } else if meta.is_file() {
        let mut file = std::fs::File::open(path).map_err(named)?;
        let executable = meta.permissions().mode() & 0o100 != 0;
        out.regular(executable, meta.len(), &mut file)
            .map_err(named)
    } else {
        Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!(
                "{}: is neither a file, a folder nor a symbolic link",
                path.display()
            ),
        ))
    }
}

/// SHA-256 and size in bytes of the archive of what stands at `path` on disk.
pub fn hash_path(path: &Path) -> io::Result<(Hash, u64)> {
    let mut hasher = Hasher::new(Algo::Sha256);
    dump_path(path, &mut hasher)?;
    let len = hasher.len();
    Ok((hasher.finish(), len))
}

/// What a reader makes of an archive, node by node. `path` is relative to the root, without a leading `/`; the root is empty.
pub trait Visitor {
    /// A folder begins.
    fn folder(&mut self, path: &[u8]) -> io::Result<()>;
    /// A file; `content` ends after `size` bytes.
    fn regular(
        &mut self,
        path: &[u8],
        executable: bool,
        size: u64,
        content: &mut dyn Read,
    ) -> io::Result<()>;
    /// A symbolic link.
    fn symlink(&mut self, path: &[u8], target: &[u8]) -> io::Result<()>;
    /// A folder ended.
    fn folder_end(&mut self, _path: &[u8]) -> io::Result<()> {
        Ok(())
    }
}

/// Reads one archive; bytes behind it are left in `input`. Errors of kind [`io::ErrorKind::InvalidData`] tell what is wrong in it.
pub fn read(input: &mut dyn Read, visitor: &mut dyn Visitor) -> io::Result<()> {
    let mut reader = Reader { input };
    if reader.string(MAGIC.len())? != MAGIC {
        return Err(bad("it does not begin with 'nix-archive-1'"));
    }
    reader.node(&mut Vec::new(), visitor, 0)
}

/// Reads an archive into memory.
pub fn parse(input: &mut dyn Read) -> io::Result<Node> {
    struct Build {
        stack: Vec<(BString, BTreeMap<BString, Node>)>,
        root: Option<Node>,
    }
    impl Build {
        fn put(&mut self, path: &[u8], node: Node) {
            match self.stack.last_mut() {
                Some((_, entries)) => {
                    entries.insert(BString::from(file_name(path)), node);
                }
                None => self.root = Some(node),
            }
        }
    }
    impl Visitor for Build {
        fn folder(&mut self, path: &[u8]) -> io::Result<()> {
            self.stack.push((BString::from(path), BTreeMap::new()));
            Ok(())
        }
        fn regular(
            &mut self,
            path: &[u8],
            executable: bool,
            _: u64,
            data: &mut dyn Read,
        ) -> io::Result<()> {
            let mut content = Vec::new();
            data.read_to_end(&mut content)?;
            self.put(
                path,
                Node::Regular {
                    executable,
                    content,
                },
            );
            Ok(())
        }
        fn symlink(&mut self, path: &[u8], target: &[u8]) -> io::Result<()> {
            self.put(
                path,
                Node::Symlink {
                    target: target.into(),
                },
            );
            Ok(())
        }
        fn folder_end(&mut self, _: &[u8]) -> io::Result<()> {
            if let Some((path, entries)) = self.stack.pop() {
                self.put(&path, Node::Directory(entries));
            }
            Ok(())
        }
    }
    let mut build = Build {
        stack: Vec::new(),
        root: None,
    };
    read(input, &mut build)?;
    build.root.ok_or_else(|| bad("it is empty"))
}

/// Unpacks an archive to `target`, which must not exist.
pub fn unpack(input: &mut dyn Read, target: &Path) -> io::Result<()> {
    struct Disk<'a>(&'a Path);
    impl Disk<'_> {
        fn at(&self, path: &[u8]) -> std::path::PathBuf {
            if path.is_empty() {
                self.0.to_owned()
            } else {
                self.0.join(OsStr::from_bytes(path))
            }
        }
    }
    impl Visitor for Disk<'_> {
        fn folder(&mut self, path: &[u8]) -> io::Result<()> {
            std::fs::create_dir(self.at(path))
        }
        fn regular(
            &mut self,
            path: &[u8],
            executable: bool,
            _: u64,
            data: &mut dyn Read,
        ) -> io::Result<()> {
            let mut file = std::fs::OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(if executable { 0o777 } else { 0o666 })
                .open(self.at(path))?;
            io::copy(data, &mut file).map(drop)
        }
        fn symlink(&mut self, path: &[u8], target: &[u8]) -> io::Result<()> {
            std::os::unix::fs::symlink(OsStr::from_bytes(target), self.at(path))
        }
    }
    read(input, &mut Disk(target))
}

fn file_name(path: &[u8]) -> &[u8] {
    path.rsplit_once_str("/").map_or(path, |(_, name)| name)
}

fn bad(what: impl std::fmt::Display) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("bad archive: {what}"))
}

/// Longest token, name or link target that is read.
const MAX_STRING: usize = 1 << 16;
/// Deepest nesting of folders that is read.
const MAX_DEPTH: usize = 2048;

struct Reader<'a> {
    input: &'a mut dyn Read,
}

impl Reader<'_> {
    fn size(&mut self) -> io::Result<u64> {
        let mut bytes = [0; 8];
        self.input.read_exact(&mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }

    fn string(&mut self, max: usize) -> io::Result<Vec<u8>> {
        let size = self.size()?;
        let len = usize::try_from(size)
            .ok()
            .filter(|n| *n <= max)
            .ok_or_else(|| bad(format!("a text of {size} bytes")))?;
        let mut out = vec![0; len];
        self.input.read_exact(&mut out)?;
        self.padding(size)?;
        Ok(out)
    }

    fn padding(&mut self, len: u64) -> io::Result<()> {
        let rest = (len % 8) as usize;
        if rest != 0 {
            let mut pad = [0; 8];
            self.input.read_exact(&mut pad[rest..])?;
            if pad != [0; 8] {
                return Err(bad("padding is not zero"));
            }
        }
        Ok(())
    }

    fn token(&mut self) -> io::Result<Vec<u8>> {
        self.string(32)
    }

    fn expect(&mut self, token: &str) -> io::Result<()> {
        let found = self.token()?;
        if found == token.as_bytes() {
            Ok(())
        } else {
            Err(bad(format!(
                "expected '{token}', found '{}'",
                found.as_bstr()
            )))
        }
    }

    fn node(
        &mut self,
        path: &mut Vec<u8>,
        visitor: &mut dyn Visitor,
        depth: usize,
    ) -> io::Result<()> {
        if depth > MAX_DEPTH {
            return Err(bad("folders are nested too deep"));
        }
        self.expect("(")?;
        self.expect("type")?;
        match self.token()?.as_slice() {
            b"regular" => self.regular(path, visitor),
            b"symlink" => {
                self.expect("target")?;
                let target = self.string(MAX_STRING)?;
                if target.contains(&0) {
                    return Err(bad("a link target with a zero byte"));
                }
                visitor.symlink(path, &target)?;
                self.expect(")")
            }
            b"directory" => {
                visitor.folder(path)?;
                let mut last: Option<Vec<u8>> = None;
                loop {
                    match self.token()?.as_slice() {
                        b")" => break,
                        b"entry" => {}
                        other => {
                            return Err(bad(format!(
                                "expected 'entry', found '{}'",
                                other.as_bstr()
                            )));
                        }
                    }
                    self.expect("(")?;
                    self.expect("name")?;
                    let name = self.string(MAX_STRING)?;
                    if name.is_empty()
                        || name == b"."
                        || name == b".."
                        || name.iter().any(|b| matches!(b, b'/' | 0))
                    {
                        return Err(bad(format!("'{}' cannot be a name", name.as_bstr())));
                    }
                    if last.as_ref().is_some_and(|l| *l >= name) {
                        return Err(bad(format!("name '{}' is out of order", name.as_bstr())));
                    }
                    self.expect("node")?;
                    let len = path.len();
                    if len > 0 {
                        path.push(b'/');
                    }
                    path.extend_from_slice(&name);
                    self.node(path, visitor, depth + 1)?;
                    path.truncate(len);
                    self.expect(")")?;
                    last = Some(name);
                }
                visitor.folder_end(path)
            }
            other => Err(bad(format!("unknown type '{}'", other.as_bstr()))),
        }
    }

    fn regular(&mut self, path: &[u8], visitor: &mut dyn Visitor) -> io::Result<()> {
        let mut executable = false;
        let mut token = self.token()?;
        if token == b"executable" {
            executable = true;
            self.expect("")?;
            token = self.token()?;
        }
        if token == b")" {
            // An empty file may lack its content.
            return visitor.regular(path, executable, 0, &mut io::empty());
        }
        if token != b"contents" {
            return Err(bad(format!(
                "expected 'contents', found '{}'",
                token.as_bstr()
            )));
        }
        let size = self.size()?;
        let mut data = (&mut *self.input).take(size);
        visitor.regular(path, executable, size, &mut data)?;
        io::copy(&mut data, &mut io::sink())?;
        if data.limit() != 0 {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "bad archive: it ends in a file",
            ));
        }
        self.padding(size)?;
        self.expect(")")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Node {
        let file = |content: &[u8], executable| Node::Regular {
            executable,
            content: content.to_vec(),
        };
        Node::Directory(
            [
                ("a".into(), file(b"hello\n", false)),
                ("a-b".into(), file(b"12345678", true)),
                ("a.b".into(), Node::Directory(BTreeMap::new())),
                (
                    "d".into(),
                    Node::Directory([("x".into(), file(b"", false))].into()),
                ),
                (
                    "link".into(),
                    Node::Symlink {
                        target: "../no where".into(),
                    },
                ),
            ]
            .into(),
        )
    }

    fn bytes(node: &Node) -> Vec<u8> {
        let mut out = Vec::new();
        node.dump(&mut out).unwrap();
        out
    }

    #[test]
    fn archives_read_back() {
        let text = bytes(&sample());
        assert_eq!(parse(&mut text.as_slice()).unwrap(), sample());
    }

    #[test]
    fn disk_and_memory_agree() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("tree");
        let text = bytes(&sample());
        unpack(&mut text.as_slice(), &target).unwrap();
        let mut again = Vec::new();
        dump_path(&target, &mut again).unwrap();
        assert_eq!(again, text);
        let (hash, len) = hash_path(&target).unwrap();
        assert_eq!(
            (hash, len),
            (Hash::of(Algo::Sha256, &text), text.len() as u64)
        );
    }

    #[test]
    fn cut_archives_are_refused() {
        let text = bytes(&sample());
        for end in 0..text.len() {
            assert!(parse(&mut &text[..end]).is_err(), "{end}");
        }
    }

    #[test]
    fn names_out_of_order_or_leading_away_are_refused() {
        for names in [["b", "a"], ["a", "a"], ["..", "a"], ["a", "b/c"], ["", "a"]] {
            let mut w = Writer::new(Vec::new()).unwrap();
            w.open_folder().unwrap();
            for name in names {
                w.entry(name.as_bytes()).unwrap();
                w.symlink(b"x").unwrap();
                w.end_entry().unwrap();
            }
            w.close_folder().unwrap();
            let text = w.finish().unwrap();
            assert!(parse(&mut text.as_slice()).is_err(), "{names:?}");
        }
    }
}
