//! `builtin:link-farm`: a folder of links, files and copies.

use super::check_relative;
use crate::error::StoreError;
use crate::graph::{Built, Failure, Job};
use crate::store::write_file;
use crate::tree;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fs;

#[derive(Deserialize)]
struct Arguments {
    #[serde(default)]
    entries: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    name: String,
    #[serde(flatten)]
    what: What,
    #[serde(default)]
    executable: Option<bool>,
}

#[derive(Deserialize)]
enum What {
    #[serde(rename = "path")]
    Link(String),
    #[serde(rename = "text")]
    Text(String),
    #[serde(rename = "copy")]
    Copy(String),
}

pub(super) fn build(job: &Job<'_>) -> Result<Built, Failure> {
    let arguments: Arguments = job.attrs()?;
    let out = job.out()?;
    fs::create_dir(out).map_err(StoreError::io("create", out))?;
    let mut by_name: BTreeMap<&str, &Entry> = BTreeMap::new();
    for entry in &arguments.entries {
        let name = entry.name.trim_start_matches('/');
        check_relative(name)?;
        if let Some(other) = by_name.insert(name, entry) {
            return Err(Failure::because(format!("`{name}` is given twice: {} and {}", describe(other), describe(entry))));
        }
    }
    for name in by_name.keys() {
        let mut parent = *name;
        while let Some((above, _)) = parent.rsplit_once('/') {
            if let Some(other) = by_name.get(above) {
                return Err(Failure::because(format!("`{above}` is {}, so `{name}` cannot be below it", describe(other))));
            }
            parent = above;
        }
    }
    for (name, entry) in by_name {
        let place = out.join(name);
        if let Some(parent) = place.parent().filter(|_| name.contains('/')) {
            fs::create_dir_all(parent).map_err(StoreError::io("create", parent))?;
        }
        match &entry.what {
            What::Link(target) => std::os::unix::fs::symlink(target, &place).map_err(StoreError::io("create", &place))?,
            What::Text(text) => {
                write_file(&place, text.as_bytes(), if entry.executable.unwrap_or(false) { 0o755 } else { 0o644 })?;
            }
            What::Copy(path) => {
                let from = job
                    .store
                    .resolve(path)
                    .ok_or_else(|| Failure::because(format!("`{path}`, to be copied to `{name}`, does not lead to anything in the store")))?;
                tree::copy(&from, &place)?;
            }
        }
    }
    Ok(Built::default())
}

fn describe(entry: &Entry) -> String {
    match &entry.what {
        What::Link(target) => format!("a link to {target}"),
        What::Text(text) => format!("a file of {} bytes", text.len()),
        What::Copy(path) => format!("a copy of {path}"),
    }
}
