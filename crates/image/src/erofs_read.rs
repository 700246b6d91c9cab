//! Reader of erofs images as [`crate::erofs`] writes them (4 KiB blocks, no compression, no xattrs), and
//! unpacking one to a folder of the host.

use crate::erofs::{BLOCK, LAYOUT_INLINE, LAYOUT_PLAIN, MAGIC, SUPER_OFFSET};
use crate::{ImageError, Result};
use std::collections::HashMap;
use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

/// An image opened for reading.
pub struct ErofsImage {
    file: File,
    meta: u64,
    root: u64,
    /// Seconds since 1970 of everything in the image.
    pub time: u64,
    /// Number of inodes.
    pub inodes: u64,
}

/// An inode as read.
#[derive(Clone, Debug)]
pub struct Stat {
    pub nid: u64,
    /// Type and permission bits as in `st_mode`.
    pub mode: u16,
    pub uid: u32,
    pub gid: u32,
    pub nlink: u32,
    pub size: u64,
    layout: u16,
    /// First block, or the device number.
    pub raw: u32,
    inline_at: u64,
}

impl Stat {
    pub fn is_dir(&self) -> bool {
        self.mode & 0o170000 == 0o040000
    }
    pub fn is_symlink(&self) -> bool {
        self.mode & 0o170000 == 0o120000
    }
    pub fn is_file(&self) -> bool {
        self.mode & 0o170000 == 0o100000
    }
}

fn bad(why: impl Into<String>) -> ImageError {
    ImageError::BadImage { why: why.into() }
}
fn u16_at(b: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([b[at], b[at + 1]])
}
fn u32_at(b: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([b[at], b[at + 1], b[at + 2], b[at + 3]])
}
fn u64_at(b: &[u8], at: usize) -> u64 {
    u64::from(u32_at(b, at)) | u64::from(u32_at(b, at + 4)) << 32
}

impl ErofsImage {
    pub fn open(path: &Path) -> Result<ErofsImage> {
        let file = File::open(path).map_err(ImageError::io(format!("opening {}", path.display())))?;
        let mut sb = [0u8; 128];
        file.read_exact_at(&mut sb, SUPER_OFFSET as u64)
            .map_err(ImageError::io(format!("reading the superblock of {}", path.display())))?;
        if u32_at(&sb, 0) != MAGIC {
            return Err(bad(format!("{} does not begin like one", path.display())));
        }
        if sb[12] != 12 || u32_at(&sb, 80) != 0 {
            return Err(bad("compressed, or with other blocks than of 4096 bytes"));
        }
        Ok(ErofsImage {
            meta: u64::from(u32_at(&sb, 40)) * BLOCK,
            root: u64::from(u16_at(&sb, 14)),
            time: u64_at(&sb, 24),
            inodes: u64_at(&sb, 16),
            file,
        })
    }

    fn at(&self, buf: &mut [u8], at: u64) -> Result<()> {
        self.file.read_exact_at(buf, at).map_err(ImageError::io("reading an erofs image"))
    }

    pub fn root(&self) -> Result<Stat> {
        self.stat(self.root)
    }

    fn stat(&self, nid: u64) -> Result<Stat> {
        let at = nid.checked_mul(32).and_then(|n| n.checked_add(self.meta)).ok_or_else(|| bad("an inode number"))?;
        let mut b = [0u8; 64];
        self.at(&mut b[..32], at)?;
        let format = u16_at(&b, 0);
        let layout = (format >> 1) & 7;
        if u16_at(&b, 2) != 0 || !matches!(layout, LAYOUT_PLAIN | LAYOUT_INLINE) {
            return Err(bad("an inode with extended attributes or a layout that is not written here"));
        }
        let mode = u16_at(&b, 4);
        Ok(if format & 1 == 0 {
            Stat {
                nid,
                mode,
                nlink: u32::from(u16_at(&b, 6)),
                size: u64::from(u32_at(&b, 8)),
                raw: u32_at(&b, 16),
                uid: u32::from(u16_at(&b, 24)),
                gid: u32::from(u16_at(&b, 26)),
                layout,
                inline_at: at + 32,
            }
        } else {
            self.at(&mut b, at)?;
            Stat {
                nid,
                mode,
                size: u64_at(&b, 8),
                raw: u32_at(&b, 16),
                uid: u32_at(&b, 24),
                gid: u32_at(&b, 28),
                nlink: u32_at(&b, 44),
                layout,
                inline_at: at + 64,
            }
        })
    }

    /// Gives the bytes of a file, folder or link in order, in chunks.
    pub fn for_each_chunk(&self, st: &Stat, mut sink: impl FnMut(&[u8]) -> std::io::Result<()>) -> Result<()> {
        let tail = if st.layout == LAYOUT_INLINE { st.size % BLOCK } else { 0 };
        let mut left = st.size - tail;
        let mut at = u64::from(st.raw) * BLOCK;
        let mut buf = vec![0u8; left.max(tail).min(1 << 20) as usize];
        while left > 0 {
            let n = buf.len().min(left as usize);
            self.at(&mut buf[..n], at)?;
            sink(&buf[..n]).map_err(ImageError::io("writing what an erofs image has"))?;
            at += n as u64;
            left -= n as u64;
        }
        if tail > 0 {
            let n = tail as usize;
            self.at(&mut buf[..n], st.inline_at)?;
            sink(&buf[..n]).map_err(ImageError::io("writing what an erofs image has"))?;
        }
        Ok(())
    }

    pub fn read(&self, st: &Stat) -> Result<Vec<u8>> {
        let mut out = Vec::new();
        self.for_each_chunk(st, |c| {
            out.extend_from_slice(c);
            Ok(())
        })?;
        Ok(out)
    }

    /// Name and inode of all that is in a folder, without `.` and `..`, in byte order.
    pub fn list(&self, dir: &Stat) -> Result<Vec<(Vec<u8>, Stat)>> {
        if !dir.is_dir() {
            return Err(bad("a folder was expected"));
        }
        let data = self.read(dir)?;
        let mut out = Vec::new();
        for block in data.chunks(BLOCK as usize) {
            if block.len() < 12 {
                return Err(bad("a folder's block is too short"));
            }
            let count = usize::from(u16_at(block, 8)) / 12;
            if count == 0 || count * 12 > block.len() {
                return Err(bad("a folder's block has no entries"));
            }
            for i in 0..count {
                let from = usize::from(u16_at(block, i * 12 + 8));
                let to = if i + 1 < count { usize::from(u16_at(block, i * 12 + 20)) } else { block.len() };
                let mut name = block.get(from..to).ok_or_else(|| bad("a name outside its block"))?;
                if let Some(z) = name.iter().position(|&b| b == 0) {
                    name = &name[..z];
                }
                if name.contains(&b'/') {
                    return Err(bad("a name with a slash"));
                }
                if name != b"." && name != b".." {
                    out.push((name.to_vec(), self.stat(u64_at(block, i * 12))?));
                }
            }
        }
        Ok(out)
    }

    /// The inode at a path (relative to the root of the image; links are not followed), if there is one.
    pub fn lookup(&self, path: &[u8]) -> Result<Option<Stat>> {
        let mut st = self.root()?;
        for c in path.split(|&b| b == b'/').filter(|c| !c.is_empty()) {
            if !st.is_dir() {
                return Ok(None);
            }
            match self.list(&st)?.into_iter().find(|(n, _)| n == c) {
                Some((_, s)) => st = s,
                None => return Ok(None),
            }
        }
        Ok(Some(st))
    }

    /// Unpacks everything to `dest`, which is made and must not be there yet or be empty. Owners are those
    /// of the caller; setuid and setgid bits and device nodes are left out: the result is for a sandbox
    /// of an ordinary user. Times are the image's.
    pub fn unpack(&self, dest: &Path) -> Result<()> {
        std::fs::create_dir_all(dest).map_err(ImageError::io(format!("making {}", dest.display())))?;
        let mut links: HashMap<u64, std::path::PathBuf> = HashMap::new();
        self.unpack_dir(&self.root()?, dest, &mut links)
    }

    fn unpack_dir(&self, dir: &Stat, dest: &Path, links: &mut HashMap<u64, std::path::PathBuf>) -> Result<()> {
        for (name, st) in self.list(dir)? {
            let path = dest.join(std::ffi::OsStr::from_bytes(&name));
            let io = |e| ImageError::Io { what: format!("making {}", path.display()), source: e };
            if st.is_dir() {
                std::fs::create_dir(&path).map_err(io)?;
                self.unpack_dir(&st, &path, links)?;
            } else if st.is_symlink() {
                let target = self.read(&st)?;
                std::os::unix::fs::symlink(std::ffi::OsStr::from_bytes(&target), &path).map_err(io)?;
            } else if st.is_file() {
                if st.nlink > 1 {
                    if let Some(first) = links.get(&st.nid) {
                        std::fs::hard_link(first, &path).map_err(io)?;
                        continue;
                    }
                    links.insert(st.nid, path.clone());
                }
                let mode = u32::from(st.mode) & 0o777;
                let mut f = std::fs::OpenOptions::new()
                    .write(true)
                    .create_new(true)
                    .mode(mode | 0o200)
                    .open(&path)
                    .map_err(io)?;
                self.for_each_chunk(&st, |c| std::io::Write::write_all(&mut f, c))?;
                let meta = f.metadata().map_err(io)?;
                if meta.permissions().mode() & 0o777 != mode {
                    f.set_permissions(std::fs::Permissions::from_mode(mode)).map_err(io)?;
                }
                let t = std::time::UNIX_EPOCH + std::time::Duration::from_secs(self.time);
                f.set_modified(t).map_err(io)?;
            }
        }
        // u+w so that the folder can be removed again
        let mode = (u32::from(dir.mode) & 0o777) | 0o700;
        std::fs::set_permissions(dest, std::fs::Permissions::from_mode(mode))
            .map_err(ImageError::io(format!("setting the mode of {}", dest.display())))
    }
}
