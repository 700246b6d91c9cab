//! Files of the cache: made whole or not at all.

use crate::error::{DebianError, Result};
use std::fs::File;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// A file without a name until [`NewFile::publish`]: if the program is killed before, nothing is left.
/// Where the file system cannot do that, a hidden name is used and removed on drop.
pub(crate) struct NewFile {
    pub(crate) file: File,
    dest: PathBuf,
    hidden: Option<PathBuf>,
}

static COUNT: AtomicU64 = AtomicU64::new(0);

impl NewFile {
    pub(crate) fn create(dest: &Path) -> Result<NewFile> {
        let dir = dest.parent().unwrap_or(Path::new("."));
        std::fs::create_dir_all(dir).map_err(DebianError::io("making", dir))?;
        let unnamed = std::fs::OpenOptions::new().read(true).write(true).custom_flags(libc::O_TMPFILE).mode(0o644).open(dir);
        match unnamed {
            Ok(file) => Ok(NewFile { file, dest: dest.to_path_buf(), hidden: None }),
            Err(e) if matches!(e.raw_os_error(), Some(libc::EOPNOTSUPP | libc::EISDIR | libc::ENOENT | libc::EINVAL)) => {
                NewFile::named(dest)
            }
            Err(e) => Err(DebianError::io("making a file in", dir)(e)),
        }
    }

    fn hidden_name(dest: &Path) -> PathBuf {
        let n = COUNT.fetch_add(1, Ordering::Relaxed);
        let base = dest.file_name().unwrap_or_default().to_string_lossy();
        dest.with_file_name(format!(".{base}.{}.{n}", std::process::id()))
    }

    fn named(dest: &Path) -> Result<NewFile> {
        let hidden = NewFile::hidden_name(dest);
        let file = std::fs::OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(0o644)
            .open(&hidden)
            .map_err(DebianError::io("making", &hidden))?;
        Ok(NewFile { file, dest: dest.to_path_buf(), hidden: Some(hidden) })
    }

    /// Gives the file its name, in place of what has it.
    pub(crate) fn publish(mut self) -> Result<PathBuf> {
        let hidden = match self.hidden.take() {
            Some(h) => h,
            None => {
                let h = NewFile::hidden_name(&self.dest);
                link_fd(&self.file, &h).map_err(DebianError::io("naming", &h))?;
                h
            }
        };
        std::fs::rename(&hidden, &self.dest).map_err(|e| {
            let _ = std::fs::remove_file(&hidden);
            DebianError::io("naming", &self.dest)(e)
        })?;
        Ok(self.dest.clone())
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if let Some(h) = &self.hidden {
            let _ = std::fs::remove_file(h);
        }
    }
}

fn link_fd(file: &File, to: &Path) -> std::io::Result<()> {
    let from = std::ffi::CString::new(format!("/proc/self/fd/{}", file.as_raw_fd()))?;
    let to = std::ffi::CString::new(to.as_os_str().as_bytes())?;
    // SAFETY: both strings are NUL-terminated and live over the call.
    let r = unsafe { libc::linkat(libc::AT_FDCWD, from.as_ptr(), libc::AT_FDCWD, to.as_ptr(), libc::AT_SYMLINK_FOLLOW) };
    if r == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
}

/// Writes a whole small file so.
pub(crate) fn write(dest: &Path, data: &[u8]) -> Result<()> {
    let mut f = NewFile::create(dest)?;
    f.file.write_all(data).map_err(DebianError::io("writing", dest))?;
    f.publish().map(|_| ())
}
