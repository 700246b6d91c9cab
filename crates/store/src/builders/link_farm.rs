//! `builtin:link-farm`: a folder of links, files, copies, and links to all that other folders hold.

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
    /// The name that a text has instead where a `tree` has its `name`.
    #[serde(default)]
    dropin: Option<String>,
}

#[derive(Deserialize)]
enum What {
    #[serde(rename = "path")]
    Link(String),
    #[serde(rename = "text")]
    Text(String),
    #[serde(rename = "copy")]
    Copy(String),
    /// A link for each file below a folder of the store, at its place below `name`; other entries win.
    #[serde(rename = "tree")]
    Tree(String),
}

pub(super) fn build(job: &Job<'_>) -> Result<Built, Failure> {
    let arguments: Arguments = job.attrs()?;
    let out = job.out()?;
    fs::create_dir(out).map_err(StoreError::io("create", out))?;
    let trees = links_to_trees(job, &arguments.entries)?;
    let mut by_name: BTreeMap<&str, &Entry> = BTreeMap::new();
    for entry in &arguments.entries {
        if matches!(entry.what, What::Tree(_)) {
            continue;
        }
        let own = entry.name.trim_start_matches('/');
        let name = match entry.dropin.as_deref() {
            Some(dropin) if trees.contains_key(own) => dropin,
            _ => own,
        };
        check_relative(name)?;
        if let Some(other) = by_name.insert(name, entry) {
            return Err(Failure::because(format!("`{name}` is given twice: {} and {}", describe(other), describe(entry))));
        }
    }
    for (name, entry) in &trees {
        by_name.entry(name).or_insert(entry);
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
            // not among `by_name`
            What::Tree(_) => {}
        }
    }
    Ok(Built::default())
}

/// The links that `tree` entries stand for, by name. Of two trees with one name the first gives it; a tree that is not
/// there gives none.
fn links_to_trees(job: &Job<'_>, entries: &[Entry]) -> Result<BTreeMap<String, Entry>, Failure> {
    let mut links = BTreeMap::new();
    for entry in entries {
        let What::Tree(source) = &entry.what else { continue };
        let Some(root) = job.store.resolve(source).filter(|root| root.is_dir()) else { continue };
        let mut folders = vec![String::new()];
        while let Some(folder) = folders.pop() {
            let place = root.join(&folder);
            for file in fs::read_dir(&place).map_err(StoreError::io("read", &place))? {
                let file = file.map_err(StoreError::io("read", &place))?;
                let name = file.file_name();
                let Some(name) = name.to_str() else { continue };
                let below = if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") };
                if file.file_type().map_err(StoreError::io("examine", &file.path()))?.is_dir() {
                    folders.push(below);
                    continue;
                }
                let at = format!("{}/{below}", entry.name.trim_matches('/'));
                let at = at.trim_start_matches('/').to_owned();
                check_relative(&at)?;
                let what = What::Link(format!("{}/{below}", source.trim_end_matches('/')));
                links.entry(at.clone()).or_insert(Entry { name: at, what, executable: None, dropin: None });
            }
        }
    }
    Ok(links)
}

fn describe(entry: &Entry) -> String {
    match &entry.what {
        What::Link(target) => format!("a link to {target}"),
        What::Text(text) => format!("a file of {} bytes", text.len()),
        What::Copy(path) => format!("a copy of {path}"),
        What::Tree(path) => format!("links to what is in {path}"),
    }
}
