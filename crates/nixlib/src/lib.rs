//! The embedded Nix library (folder `nix/` of the project), as data.
//!
//! It appears to evaluation as the read-only folder [`ROOT`]; nothing is written to disk. Paths given here are
//! absolute (`/nixpkgs/lib/default.nix`) and already normal (no `.`, `..` or doubled `/`; a closing `/` is allowed).
//!
//! Not here: evaluation, or any knowledge of what the files mean.

#![forbid(unsafe_code)]

/// Where the library appears to evaluation.
pub const ROOT: &str = "/nixpkgs";

/// What an entry of a folder is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A regular file.
    File,
    /// A folder.
    Dir,
}

include!(concat!(env!("OUT_DIR"), "/library.rs"));

/// The path below [`ROOT`], or nothing when `path` is elsewhere. [`ROOT`] itself is the empty text.
pub fn relative(path: &str) -> Option<&str> {
    let rest = path.strip_prefix(ROOT)?;
    if rest.is_empty() {
        return Some(rest);
    }
    Some(rest.strip_prefix('/')?.trim_end_matches('/'))
}

/// Content of the file at an absolute path below [`ROOT`].
pub fn file(path: &str) -> Option<&'static [u8]> {
    let relative = relative(path)?;
    let at = FILES
        .binary_search_by(|(name, _)| (*name).cmp(relative))
        .ok()?;
    FILES.get(at).map(|(_, content)| *content)
}

/// Entries of the folder at an absolute path ([`ROOT`] or below), sorted by name.
pub fn dir(path: &str) -> Option<&'static [(&'static str, Kind)]> {
    let relative = relative(path)?;
    let at = DIRS
        .binary_search_by(|(name, _)| (*name).cmp(relative))
        .ok()?;
    DIRS.get(at).map(|(_, entries)| *entries)
}

/// What stands at an absolute path, if it is in the library.
pub fn kind(path: &str) -> Option<Kind> {
    if dir(path).is_some() {
        Some(Kind::Dir)
    } else {
        file(path).map(|_| Kind::File)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_every_file_through_its_folders() {
        let mut folders = vec![ROOT.to_owned()];
        let mut files = 0;
        while let Some(folder) = folders.pop() {
            for (name, kind) in dir(&folder).unwrap_or_else(|| panic!("no folder {folder}")) {
                let path = format!("{folder}/{name}");
                assert_eq!(super::kind(&path), Some(*kind), "{path}");
                match kind {
                    Kind::Dir => folders.push(path),
                    Kind::File => {
                        assert!(file(&path).is_some(), "{path}");
                        files += 1;
                    }
                }
            }
        }
        assert_eq!(files, FILES.len());
    }

    #[test]
    fn answers_only_below_its_root() {
        assert_eq!(kind("/nixpkgs"), Some(Kind::Dir));
        assert_eq!(kind("/nixpkgs/"), Some(Kind::Dir));
        assert_eq!(kind("/nixpkgs/default.nix"), Some(Kind::File));
        assert_eq!(kind("/nixpkgs/lib/"), Some(Kind::Dir));
        assert_eq!(kind("/nixpkgs/no-such-file"), None);
        assert_eq!(kind("/nixpkgsx/default.nix"), None);
        assert_eq!(kind("/default.nix"), None);
        assert_eq!(HASH.len(), 64);
    }
}
