//! The copy of the running program that a result starts.
//!
//! Not here: what the copy does.

use crate::error::Error;
use nbv_nix_formats::hash::{Algo, Hasher};
use nbv_nix_formats::nar;
use nbv_store::{Store, StoreError};
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

/// Name of the program inside the copy.
pub(crate) const PROGRAM: &str = "bin/nixos-build-vms";

/// What tells one version of a file from another without reading it.
pub(crate) fn identity(program: &Path) -> Result<String, StoreError> {
    let meta = fs::metadata(program).map_err(StoreError::io("read", program))?;
    Ok(format!(
        "{}:{}:{}:{}.{}:{}.{}",
        meta.dev(), meta.ino(), meta.size(), meta.mtime(), meta.mtime_nsec(), meta.ctime(), meta.ctime_nsec()
    ))
}

/// The store path of a copy of `program`. Its hash is remembered in the folder `cache`.
///
/// # Errors
/// The program cannot be read, the store cannot be written.
pub(crate) fn copy(store: &Store, program: &Path, cache: &Path) -> Result<String, Error> {
    let identity = identity(program)?;
    let memory = cache.join("runner");
    if let Some(path) = fs::read_to_string(&memory).ok().and_then(|text| {
        let (known, path) = text.trim_end().split_once(' ')?;
        (known == identity).then(|| path.to_owned())
    }) && store.is_valid(&path)
    {
        return Ok(path);
    }
    let digest = hash(program).map_err(StoreError::io("read", program))?;
    let path = store.dir().source_path("nixos-build-vms", &digest).map_err(|e| Error::build("store::failed", e.to_string()))?;
    store.add_with(&path, &BTreeSet::new(), |to| {
        let place = to.join(PROGRAM);
        let folder = place.parent().unwrap_or(to);
        fs::create_dir_all(folder).map_err(StoreError::io("create", folder))?;
        fs::copy(program, &place).map_err(StoreError::io("copy", &place))?;
        fs::set_permissions(&place, fs::Permissions::from_mode(0o755)).map_err(StoreError::io("set the mode of", &place))
    })?;
    // Only speed is lost when it cannot be written.
    let _ = crate::cache::write(&memory, format!("{identity} {path}\n").as_bytes());
    Ok(path)
}

/// SHA-256 of the archive of a folder with the program at [`PROGRAM`].
fn hash(program: &Path) -> std::io::Result<[u8; 32]> {
    let mut file = fs::File::open(program)?;
    let size = file.metadata()?.len();
    let mut hasher = Hasher::new(Algo::Sha256);
    let mut out = nar::Writer::new(&mut hasher)?;
    for name in PROGRAM.split('/') {
        out.open_folder()?;
        out.entry(name.as_bytes())?;
    }
    out.regular(true, size, &mut file)?;
    for _ in PROGRAM.split('/') {
        out.end_entry()?;
        out.close_folder()?;
    }
    out.finish()?;
    let bytes = hasher.finish().bytes;
    bytes.as_slice().try_into().map_err(|_| std::io::Error::other("a SHA-256 has 32 bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_has_the_path_of_its_content_and_is_found_again() {
        let dir = tempfile::tempdir().unwrap();
        let program = dir.path().join("program");
        fs::write(&program, "#!/bin/sh\n").unwrap();
        let store = Store::open(&dir.path().join("store"));
        let path = copy(&store, &program, dir.path()).unwrap();
        let (hash, _) = nar::hash_path(&store.physical(&path)).unwrap();
        assert_eq!(store.dir().source_path("nixos-build-vms", hash.bytes.as_slice().try_into().unwrap()).unwrap(), path);
        assert_eq!(copy(&store, &program, dir.path()).unwrap(), path);
        fs::write(&program, "#!/bin/sh\ntrue\n").unwrap();
        assert_ne!(copy(&store, &program, dir.path()).unwrap(), path);
    }
}
