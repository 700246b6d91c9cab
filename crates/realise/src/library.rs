//! The folder `/nixpkgs`: the embedded library.

use nbv_eval::FileKind;

/// Whether a path is here.
pub(crate) fn holds(path: &str) -> bool {
    nbv_nixlib::relative(path).is_some()
}

/// Content of a file.
pub(crate) fn file(path: &str) -> Option<&'static [u8]> {
    nbv_nixlib::file(path)
}

/// What is at a path.
pub(crate) fn kind(path: &str) -> Option<FileKind> {
    nbv_nixlib::kind(path).map(kind_of)
}

fn kind_of(kind: nbv_nixlib::Kind) -> FileKind {
    match kind {
        nbv_nixlib::Kind::Dir => FileKind::Directory,
        nbv_nixlib::Kind::File => FileKind::Regular { is_executable: false },
    }
}

/// Entries of a folder.
pub(crate) fn dir(path: &str) -> Option<Vec<(Vec<u8>, FileKind)>> {
    Some(nbv_nixlib::dir(path)?.iter().map(|(name, kind)| (name.as_bytes().to_vec(), kind_of(*kind))).collect())
}
