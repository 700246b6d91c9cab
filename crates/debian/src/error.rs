//! What can go wrong, in words for the user: what, where, what to do.

use crate::resolve::Unresolved;
use std::path::PathBuf;

#[derive(Debug, thiserror::Error)]
pub enum DebianError {
    #[error(
        "no Debian mirror is known: no apt source of this host is Debian's and no debootstrap is installed; \
         name one with the setting 'debian.mirror' (or the environment variable NBV_DEBIAN_MIRROR), for example the \
         'URIs:' line of a Debian machine's /etc/apt/sources.list.d/debian.sources"
    )]
    NoMirror,
    #[error("'{url}' is not an address of a mirror: {why}")]
    BadMirror { url: String, why: &'static str },
    #[error("there are no Debian packages for the system '{system}' (known: {known})")]
    UnknownSystem { system: String, known: String },
    #[error("fetching {url}: {why}")]
    Fetch { url: String, why: String },
    #[error("fetching {url}: the mirror answered {status}")]
    Status { url: String, status: u16 },
    #[error("{url} gave {found} where {expected} was expected: the mirror is being updated, or the file is damaged; try again")]
    BadHash { url: String, expected: String, found: String },
    #[error("{url} ended after {found} bytes instead of {expected}")]
    Short { url: String, expected: u64, found: u64 },
    #[error("{what}: {source}")]
    Io { what: String, source: std::io::Error },
    #[error("no space left on the disk that has {} (while {what} it)", .path.display())]
    DiskFull { path: PathBuf, what: String },
    #[error("the signature of {url} is not good: {why}")]
    Signature { url: String, why: String },
    #[error("{what} cannot be read: {why}")]
    Format { what: String, why: String },
    #[error("the package {package} (its file {file}) cannot be unpacked: {why}")]
    BadDeb { package: String, file: String, why: String },
    #[error("{}", .0.explain())]
    Unresolved(Box<Unresolved>),
    #[error(
        "the mirror no longer has these packages:{}\nif they come from a lock, make it anew with --update-lock or name a mirror that keeps old packages; \
         else the archive is changing just now: try again",
        .0.iter().map(|m| format!("\n  {m}")).collect::<String>()
    )]
    LockMoved(Vec<String>),
    #[error("the lock does not have {0}; make it anew with --update-lock")]
    LockLacks(String),
    #[error("the layer of {system} has no kernel: {why}")]
    NoKernel { system: String, why: String },
    #[error("cancelled")]
    Cancelled,
    #[error("no space left on the disk that the layer is written to ({what})")]
    LayerDiskFull { what: String },
    #[error(transparent)]
    Image(nbv_image::ImageError),
}

impl From<nbv_image::ImageError> for DebianError {
    fn from(e: nbv_image::ImageError) -> DebianError {
        match e {
            nbv_image::ImageError::Io { what, source } if disk_full(&source) => DebianError::LayerDiskFull { what },
            other => DebianError::Image(other),
        }
    }
}

fn disk_full(e: &std::io::Error) -> bool {
    matches!(e.raw_os_error(), Some(libc::ENOSPC | libc::EDQUOT))
}

pub type Result<T, E = DebianError> = std::result::Result<T, E>;

impl DebianError {
    /// Wraps an I/O error; a full disk becomes an error of its own.
    pub fn io(what: impl Into<String>, path: &std::path::Path) -> impl FnOnce(std::io::Error) -> DebianError {
        let (what, path) = (what.into(), path.to_path_buf());
        move |source| {
            if disk_full(&source) {
                DebianError::DiskFull { path, what }
            } else {
                DebianError::Io { what: format!("{what} {}", path.display()), source }
            }
        }
    }

    pub(crate) fn format(what: impl Into<String>, why: impl Into<String>) -> DebianError {
        DebianError::Format { what: what.into(), why: why.into() }
    }
}
