//! Writes `library.rs`: the files and folders of `nix/` as sorted tables, and their hash.
//!
//! Hidden files, editors' backups and `nix/tests` are left out; the hash covers names and contents of what is in.

use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

/// Folder (relative to the root, "" for itself) to its entries: name and whether it is a folder.
type Folders = BTreeMap<String, BTreeMap<String, bool>>;

fn walk(
    root: &Path,
    relative: &str,
    files: &mut BTreeMap<String, PathBuf>,
    folders: &mut Folders,
) -> io::Result<()> {
    folders.entry(relative.to_owned()).or_default();
    for entry in fs::read_dir(root.join(relative))? {
        let entry = entry?;
        let name = entry
            .file_name()
            .into_string()
            .map_err(|name| io::Error::other(format!("file name that is not UTF-8: {name:?}")))?;
        if name.starts_with('.') || name.ends_with('~') || (relative.is_empty() && name == "tests")
        {
            continue;
        }
        let path = if relative.is_empty() {
            name.clone()
        } else {
            format!("{relative}/{name}")
        };
        let is_dir = entry.file_type()?.is_dir();
        if is_dir {
            walk(root, &path, files, folders)?;
        } else {
            files.insert(path, entry.path());
        }
        folders
            .entry(relative.to_owned())
            .or_default()
            .insert(name, is_dir);
    }
    Ok(())
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let manifest = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?);
    let root = manifest.join("../../nix").canonicalize()?;
    println!("cargo::rerun-if-changed={}", root.display());
    println!("cargo::rerun-if-changed=build.rs");

    let mut files = BTreeMap::new();
    let mut folders = Folders::new();
    walk(&root, "", &mut files, &mut folders)?;

    let mut hash = Sha256::new();
    let mut out = String::from("pub(crate) static FILES: &[(&str, &[u8])] = &[\n");
    for (name, path) in &files {
        let content = fs::read(path)?;
        hash.update((name.len() as u64).to_le_bytes());
        hash.update(name);
        hash.update((content.len() as u64).to_le_bytes());
        hash.update(&content);
        writeln!(
            out,
            "    ({name:?}, include_bytes!({:?})),",
            path.display().to_string()
        )?;
    }
    out.push_str("];\npub(crate) static DIRS: &[(&str, &[(&str, Kind)])] = &[\n");
    for (name, entries) in &folders {
        writeln!(out, "    ({name:?}, &[")?;
        for (entry, is_dir) in entries {
            let kind = if *is_dir { "Dir" } else { "File" };
            writeln!(out, "        ({entry:?}, Kind::{kind}),")?;
        }
        out.push_str("    ]),\n");
    }
    let mut hex = String::new();
    for byte in hash.finalize() {
        write!(hex, "{byte:02x}")?;
    }
    writeln!(
        out,
        "];\n/// SHA-256 of names and contents, in hexadecimal.\npub static HASH: &str = {hex:?};"
    )?;
    fs::write(PathBuf::from(env::var("OUT_DIR")?).join("library.rs"), out)?;
    Ok(())
}
