//! What can go wrong with the store and with a build.

use std::io;
use std::path::{Path, PathBuf};

/// Result of an operation on the store.
pub type Result<T, E = StoreError> = std::result::Result<T, E>;

/// Why an operation on the store failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The system said no.
    #[error("cannot {action} `{path}`")]
    Io {
        /// A verb: `read`, `create`.
        action: &'static str,
        /// Where.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// No space, or no quota, left.
    #[error("no space left on the disk of `{path}`")]
    Full {
        /// What was being written.
        path: PathBuf,
    },
    /// A path that should be there is not.
    #[error("path `{0}` is not in the store")]
    Missing(String),
    /// A text that is no store path.
    #[error("`{0}` is not a store path")]
    NotStorePath(String),
    /// Something that the store cannot hold.
    #[error("`{0}` is neither a file, a folder nor a symbolic link")]
    FileType(PathBuf),
    /// An image could not be written.
    #[error("cannot write the image `{path}`")]
    Image {
        /// The image.
        path: PathBuf,
        /// Why.
        #[source]
        source: nbv_image::ImageError,
    },
}

impl StoreError {
    /// Names the action and the path of an I/O error.
    pub fn io(action: &'static str, path: impl AsRef<Path>) -> impl FnOnce(io::Error) -> Self {
        let path = path.as_ref().to_path_buf();
        move |source| match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full { path },
            _ => Self::Io { action, path, source },
        }
    }

    /// Names the image of an error of crate `image`.
    pub fn image(path: impl AsRef<Path>) -> impl FnOnce(nbv_image::ImageError) -> Self {
        let path = path.as_ref().to_path_buf();
        move |source| match &source {
            nbv_image::ImageError::Io { source: inner, .. }
                if matches!(inner.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) =>
            {
                Self::Full { path }
            }
            _ => Self::Image { path, source },
        }
    }

    /// Whether the disk is full.
    pub fn is_full(&self) -> bool {
        matches!(self, Self::Full { .. })
    }
}

/// Why derivations could not be realised.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A derivation's builder failed.
    #[error("building `{name}` failed: {reason}")]
    Failed {
        /// The derivation's name.
        name: String,
        /// Path of the derivation.
        drv: String,
        /// What the builder said.
        reason: String,
        /// The last lines of its output.
        log: Vec<String>,
        /// Its folder, when failed builds are kept.
        kept: Option<PathBuf>,
        /// What can be done, if anything is known.
        hint: Option<String>,
        /// Names of the derivations on the way to one that was asked for.
        needed_by: Vec<String>,
    },
    /// An input is not in the graph and not in the store.
    #[error("`{input}`, which `{drv}` needs, is neither in the store nor known how to build")]
    NoInput {
        /// The derivation that needs it.
        drv: String,
        /// What it needs.
        input: String,
    },
    /// Derivations need each other.
    #[error("`{0}` needs itself to be built")]
    Cycle(String),
    /// The user stopped it.
    #[error("interrupted")]
    Interrupted,
}
