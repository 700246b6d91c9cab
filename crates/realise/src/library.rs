//! The folder `/nixpkgs`: the embedded library, and in its folder `guest` the programs that are part of a machine's toplevel
//! (`/nixpkgs/guest/SYSTEM/activate`, executable).

use nbv_eval::FileKind;

const SYSTEMS: [&str; 2] = ["x86_64-linux", "i686-linux"];

/// Whether a path is here.
pub(crate) fn holds(path: &str) -> bool {
    nbv_nixlib::relative(path).is_some()
}

/// A guest program, by its path.
fn program(path: &str) -> Option<&'static [u8]> {
    let system = nbv_nixlib::relative(path)?.strip_prefix("guest/")?.strip_suffix("/activate")?;
    nbv_guest::programs(system).map(|programs| programs.activate)
}

/// Content of a file.
pub(crate) fn file(path: &str) -> Option<&'static [u8]> {
    program(path).or_else(|| nbv_nixlib::file(path))
}

/// What is at a path.
pub(crate) fn kind(path: &str) -> Option<FileKind> {
    if program(path).is_some() {
        return Some(FileKind::Regular { is_executable: true });
    }
    match nbv_nixlib::kind(path) {
        Some(kind) => Some(kind_of(kind)),
        None => dir(path).map(|_| FileKind::Directory),
    }
}

fn kind_of(kind: nbv_nixlib::Kind) -> FileKind {
    match kind {
        nbv_nixlib::Kind::Dir => FileKind::Directory,
        nbv_nixlib::Kind::File => FileKind::Regular { is_executable: false },
    }
}

/// Entries of a folder.
pub(crate) fn dir(path: &str) -> Option<Vec<(Vec<u8>, FileKind)>> {
    let folder = |name: &str| (name.as_bytes().to_vec(), FileKind::Directory);
    let relative = nbv_nixlib::relative(path)?;
    if relative == "guest" {
        return Some(SYSTEMS.iter().map(|name| folder(name)).collect());
    }
    if relative.strip_prefix("guest/").is_some_and(|system| nbv_guest::programs(system).is_some()) {
        return Some(vec![(b"activate".to_vec(), FileKind::Regular { is_executable: true })]);
    }
    let mut entries: Vec<_> =
        nbv_nixlib::dir(path)?.iter().map(|(name, kind)| (name.as_bytes().to_vec(), kind_of(*kind))).collect();
    if relative.is_empty() {
        entries.push(folder("guest"));
        entries.sort_by(|a, b| a.0.cmp(&b.0));
    }
    Some(entries)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guest_programs_are_files_of_the_library() {
        for system in SYSTEMS {
            let path = format!("/nixpkgs/guest/{system}/activate");
            assert_eq!(kind(&path), Some(FileKind::Regular { is_executable: true }));
            assert!(file(&path).is_some_and(|bytes| bytes.starts_with(b"\x7fELF")));
            assert_eq!(kind(&format!("/nixpkgs/guest/{system}")), Some(FileKind::Directory));
        }
        assert_eq!(kind("/nixpkgs/guest"), Some(FileKind::Directory));
        assert_eq!(kind("/nixpkgs/guest/vax-linux/activate"), None);
        assert!(dir("/nixpkgs").is_some_and(|entries| entries.iter().any(|(name, _)| name == b"guest")));
        assert!(file("/nixpkgs/lib/default.nix").is_some());
    }
}
