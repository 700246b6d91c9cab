//! `builtin:store-image`: the closure of some paths as one erofs image, whose root is the guest's /nix/store.

use crate::error::StoreError;
use crate::graph::{Built, Failure, Job};
use nbv_image::{Content, ErofsOptions, Kind, Node, Tree, write_erofs};
use serde::Deserialize;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Arguments {
    /// Store paths.
    closure_of: Vec<String>,
}

pub(super) fn build(job: &Job<'_>) -> Result<Built, Failure> {
    let arguments: Arguments = job.attrs()?;
    let closure = job.store.closure(arguments.closure_of.iter().map(String::as_str))?;
    let mut tree = Tree::new();
    for path in &closure {
        let base = job.store.dir().base_name(path).map_err(|_| StoreError::NotStorePath(path.clone()))?;
        add(&mut tree, base.as_bytes(), &job.store.physical(path))?;
    }
    let out = job.out()?;
    write_erofs(out, tree, ErofsOptions { time: 1, ..ErofsOptions::default() }).map_err(StoreError::image(out))?;
    // The image holds the paths that it names.
    Ok(Built::without_references())
}

fn add(tree: &mut Tree, name: &[u8], place: &Path) -> Result<(), Failure> {
    let meta = fs::symlink_metadata(place).map_err(StoreError::io("read", place))?;
    let node = if meta.is_dir() {
        for entry in fs::read_dir(place).map_err(StoreError::io("read", place))? {
            let entry = entry.map_err(StoreError::io("read", place))?;
            let mut child = name.to_vec();
            child.push(b'/');
            child.extend(entry.file_name().as_bytes());
            add(tree, &child, &entry.path())?;
        }
        Node::dir(0o555)
    } else if meta.is_symlink() {
        let target = fs::read_link(place).map_err(StoreError::io("read", place))?;
        Node::symlink(target.as_os_str().as_bytes())
    } else {
        let mode = if meta.mode() & 0o100 != 0 { 0o555 } else { 0o444 };
        Node::new(mode, Kind::File(content(place, meta.len())?))
    };
    tree.insert(name, node).map_err(StoreError::image(place))?;
    Ok(())
}

/// Perf: small files are read at once, so that a closure of thousands keeps no descriptors and no second look-up.
fn content(place: &Path, len: u64) -> Result<Content, Failure> {
    if len <= 1 << 16 {
        return Ok(Content::from_vec(fs::read(place).map_err(StoreError::io("read", place))?));
    }
    Ok(Content::Path { path: place.to_path_buf(), len })
}
