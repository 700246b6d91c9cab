//! Writer of newc cpio archives, uncompressed, as the kernel unpacks them for an initramfs
//! (Documentation/driver-api/early-userspace/buffer-format.rst of the kernel).

use crate::{ImageError, Result};
use std::io::Write;

const REGULAR: u32 = 0o100000;
const DIRECTORY: u32 = 0o040000;
const SYMLINK: u32 = 0o120000;
const CHARDEV: u32 = 0o020000;

/// Writes one archive member after another; [`CpioWriter::finish`] ends it. All times are 0 and inode
/// numbers count up, so equal calls give equal bytes. Parents must be written before what is in them.
pub struct CpioWriter<W: Write> {
    out: W,
    written: u64,
    ino: u32,
}

impl<W: Write> CpioWriter<W> {
    pub fn new(out: W) -> Self {
        CpioWriter { out, written: 0, ino: 0 }
    }

    /// `path` relative, `mode` permission bits.
    pub fn file(&mut self, path: &str, mode: u32, data: &[u8]) -> Result<()> {
        self.entry(path, REGULAR | (mode & 0o7777), data, (0, 0))
    }
    pub fn dir(&mut self, path: &str, mode: u32) -> Result<()> {
        self.entry(path, DIRECTORY | (mode & 0o7777), b"", (0, 0))
    }
    pub fn symlink(&mut self, path: &str, target: &str) -> Result<()> {
        self.entry(path, SYMLINK | 0o777, target.as_bytes(), (0, 0))
    }
    pub fn char_device(&mut self, path: &str, mode: u32, major: u32, minor: u32) -> Result<()> {
        self.entry(path, CHARDEV | (mode & 0o7777), b"", (major, minor))
    }

    fn entry(&mut self, path: &str, mode: u32, data: &[u8], rdev: (u32, u32)) -> Result<()> {
        if path.is_empty() || path.starts_with('/') || path.contains('\0') || path.len() > 4000 {
            return Err(ImageError::BadPath { path: path.into(), why: "cpio needs a short relative path" });
        }
        self.ino += 1;
        let ino = self.ino;
        self.raw(path, ino, mode, data, rdev)
    }

    fn raw(&mut self, path: &str, ino: u32, mode: u32, data: &[u8], rdev: (u32, u32)) -> Result<()> {
        let size = u32::try_from(data.len())
            .map_err(|_| ImageError::TooLarge { what: format!("'{path}' is over 4 GiB") })?;
        let nlink = if mode & 0o170000 == DIRECTORY { 2 } else { 1 };
        let mut head = String::with_capacity(110);
        head.push_str("070701");
        for v in [ino, mode, 0, 0, nlink, 0, size, 0, 0, rdev.0, rdev.1, path.len() as u32 + 1, 0] {
            head.push_str(&format!("{v:08x}"));
        }
        self.put(head.as_bytes())?;
        self.put(path.as_bytes())?;
        self.put(b"\0")?;
        self.pad(4)?;
        self.put(data)?;
        self.pad(4)
    }

    fn put(&mut self, b: &[u8]) -> Result<()> {
        self.written += b.len() as u64;
        self.out.write_all(b).map_err(ImageError::io("writing a cpio archive"))
    }

    fn pad(&mut self, to: u64) -> Result<()> {
        let n = (to - self.written % to) % to;
        self.put(&[0u8; 512][..n as usize])
    }

    /// Writes the end mark, fills up to 512 bytes and gives the sink back.
    pub fn finish(mut self) -> Result<W> {
        self.raw("TRAILER!!!", 0, 0, b"", (0, 0))?;
        self.pad(512)?;
        Ok(self.out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layout() {
        let mut w = CpioWriter::new(Vec::new());
        w.dir("d", 0o755).unwrap();
        w.file("d/f", 0o644, b"hello").unwrap();
        w.char_device("d/c", 0o600, 5, 1).unwrap();
        let v = w.finish().unwrap();
        assert_eq!(v.len() % 512, 0);
        assert_eq!(&v[..6], b"070701");
        // header 110 + "d\0" = 112, so the second member starts there
        assert_eq!(&v[112..118], b"070701");
        assert_eq!(&v[112 + 110..112 + 110 + 4], b"d/f\0");
        // 112 + 110 + 4 = 226, padded to 228
        assert_eq!(&v[228..233], b"hello");
        assert!(CpioWriter::new(Vec::new()).file("/abs", 0o644, b"").is_err());
    }
}
