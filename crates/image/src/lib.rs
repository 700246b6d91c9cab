//! Writers of images: erofs, cpio, empty ext4. Nothing here knows what the images are for.
//!
//! - [`tree`]: a file tree in memory, sorted by path, whose contents may lie elsewhere;
//! - [`erofs`]: writer of plain (uncompressed) erofs images; equal trees give equal bytes;
//! - [`erofs_read`]: reader of such images, and unpacking them to a folder;
//! - [`cpio`]: writer of newc archives (initrds);
//! - [`ext4`]: makes an empty ext4 file system as a sparse file.

pub mod checksum;
pub mod cpio;
pub mod erofs;
pub mod erofs_read;
pub mod ext4;
pub mod tree;

pub use erofs::{ErofsOptions, ErofsWriter, write_erofs};
pub use erofs_read::ErofsImage;
pub use tree::{Content, Kind, Node, Tree};

/// What can go wrong when an image is written or read.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    #[error("{what}: {source}")]
    Io { what: String, source: std::io::Error },
    #[error("the path '{path}' cannot go into an image: {why}")]
    BadPath { path: String, why: &'static str },
    #[error("'{path}' is a hard link to '{target}', which is not a file of the image")]
    BadHardLink { path: String, target: String },
    #[error("'{path}' was {expected} bytes long when it was planned but gave {found}")]
    Changed { path: String, expected: u64, found: u64 },
    #[error("the image would be too large: {what}")]
    TooLarge { what: String },
    #[error("not an erofs image that this program can read: {why}")]
    BadImage { why: String },
    #[error("a file system of {size} bytes is {why}")]
    BadSize { size: u64, why: &'static str },
}

impl ImageError {
    /// Wraps an I/O error with the thing it happened to.
    pub fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> ImageError {
        let what = what.into();
        move |source| ImageError::Io { what, source }
    }
}

pub type Result<T, E = ImageError> = std::result::Result<T, E>;
