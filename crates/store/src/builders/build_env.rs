//! `builtin:build-env`: several trees merged to one of links, with the semantics of nixpkgs' buildEnv.
//!
//! A folder that one path alone has is linked whole; one that several have becomes a folder of its own, merged in turn.
//! Of two different files at one place the one of the lower priority number wins; of equal priority is an error, unless
//! they are the same: one link's target, or files of equal content. Links out of the store (a view's, to the guest's
//! /usr) count as files.

use super::check_relative;
use crate::error::StoreError;
use crate::graph::{Built, Failure, Job};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs;
use std::path::{Path, PathBuf};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Arguments {
    paths: Vec<Input>,
    #[serde(default)]
    paths_to_link: Option<Vec<String>>,
    #[serde(default)]
    ignore_collisions: Option<bool>,
    /// Folder of the output that the tree is made in.
    #[serde(default)]
    extra_prefix: Option<String>,
}

/// A path, with or without a priority.
#[derive(Deserialize)]
#[serde(untagged)]
enum Input {
    Plain(String),
    Ranked { path: String, #[serde(default)] priority: Option<i64> },
}

/// nixpkgs' default of `meta.priority`.
const DEFAULT_PRIORITY: i64 = 5;
/// Where the priorities of propagated packages begin: below every chosen one.
const PROPAGATED_PRIORITY: i64 = 1000;

enum Slot {
    /// A link to this logical path, and the physical folder that it leads to, if it is one.
    Link { target: String, folder: Option<PathBuf>, priority: i64 },
    /// A folder of its own.
    Folder,
}

struct Merge<'a, 'b> {
    job: &'a Job<'b>,
    wanted: Vec<String>,
    ignore_collisions: bool,
    /// By relative path (`bin/x`).
    slots: BTreeMap<String, Slot>,
}

pub(super) fn build(job: &Job<'_>) -> Result<Built, Failure> {
    let arguments: Arguments = job.attrs()?;
    let out = job.out()?;
    let wanted = arguments.paths_to_link.unwrap_or_else(|| vec!["/".to_owned()]);
    let mut merge = Merge {
        job,
        wanted: wanted.iter().map(|path| path.trim_matches('/').to_owned()).collect(),
        ignore_collisions: arguments.ignore_collisions.unwrap_or(false),
        slots: BTreeMap::new(),
    };
    let mut inputs: Vec<(i64, String)> = arguments
        .paths
        .into_iter()
        .map(|input| match input {
            Input::Plain(path) => (DEFAULT_PRIORITY, path),
            Input::Ranked { path, priority } => (priority.unwrap_or(DEFAULT_PRIORITY), path),
        })
        .collect();
    inputs.sort_by_key(|(priority, _)| *priority);
    let mut done: BTreeSet<String> = BTreeSet::new();
    let mut propagated: VecDeque<String> = VecDeque::new();
    for (priority, path) in inputs {
        merge.package(&path, priority, &mut done, &mut propagated)?;
    }
    let mut priority = PROPAGATED_PRIORITY;
    while let Some(path) = propagated.pop_front() {
        merge.package(&path, priority, &mut done, &mut propagated)?;
        priority += 1;
    }
    fs::create_dir(out).map_err(StoreError::io("create", out))?;
    let prefix = arguments.extra_prefix.unwrap_or_default();
    let prefix = prefix.trim_matches('/');
    if prefix.is_empty() {
        merge.write(out)?;
    } else {
        check_relative(prefix)?;
        merge.write(&out.join(prefix))?;
    }
    Ok(Built::default())
}

impl Merge<'_, '_> {
    /// Merges one package, once.
    fn package(&mut self, path: &str, priority: i64, done: &mut BTreeSet<String>, propagated: &mut VecDeque<String>) -> Result<(), Failure> {
        let path = path.trim_end_matches('/');
        if !done.insert(path.to_owned()) {
            return Ok(());
        }
        match self.resolve(path) {
            Some(place) if place.is_dir() => self.folder("", path, &place, priority)?,
            Some(_) => return Err(Failure::because(format!("`{path}` is a file; only folders can be merged"))),
            // Compat: nixpkgs' buildEnv passes by what is not there, such as `share/man` of a package without manuals.
            None => return Ok(()),
        }
        if let Some(file) = self.job.store.resolve(&format!("{path}/nix-support/propagated-user-env-packages")) {
            let text = fs::read_to_string(&file).map_err(StoreError::io("read", &file))?;
            propagated.extend(text.split_whitespace().map(str::to_owned));
        }
        Ok(())
    }

    fn resolve(&self, logical: &str) -> Option<PathBuf> {
        self.job.store.resolve(logical)
    }

    /// Merges the entries of the folder `logical` (at `place`) at `relative`.
    fn folder(&mut self, relative: &str, logical: &str, place: &Path, priority: i64) -> Result<(), Failure> {
        let mut names = Vec::new();
        for entry in fs::read_dir(place).map_err(StoreError::io("read", place))? {
            let entry = entry.map_err(StoreError::io("read", place))?;
            let kind = entry.file_type().map_err(StoreError::io("read", place))?;
            let name = entry.file_name().into_string().map_err(|name| {
                Failure::because(format!("the name {} in `{logical}` is not text", name.display()))
            })?;
            names.push((name, kind));
        }
        names.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        for (name, kind) in names {
            let child = if relative.is_empty() { name.clone() } else { format!("{relative}/{name}") };
            if self.is_left_out(&child, &name) {
                continue;
            }
            let target = format!("{logical}/{name}");
            let folder = if kind.is_dir() {
                Some(place.join(&name))
            } else if kind.is_symlink() {
                self.linked_folder(&target, &place.join(&name))
            } else {
                None
            };
            self.entry(&child, target, folder, priority)?;
        }
        Ok(())
    }

    /// The folder that a link leads to. Perf: most links of views lead out of the store, which one look tells.
    fn linked_folder(&self, logical: &str, link: &Path) -> Option<PathBuf> {
        let target = fs::read_link(link).ok()?;
        if target.is_absolute() && !target.starts_with(self.job.store.dir().as_str()) {
            return None;
        }
        self.resolve(logical).filter(|place| place.is_dir())
    }

    /// Merges one entry.
    fn entry(&mut self, relative: &str, target: String, folder: Option<PathBuf>, priority: i64) -> Result<(), Failure> {
        match self.slots.get(relative) {
            None => {
                if self.is_wanted(relative) {
                    self.slots.insert(relative.to_owned(), Slot::Link { target, folder, priority });
                } else if let Some(place) = folder {
                    self.slots.insert(relative.to_owned(), Slot::Folder);
                    self.folder(relative, &target, &place, priority)?;
                }
                Ok(())
            }
            Some(Slot::Folder) => match folder {
                Some(place) => self.folder(relative, &target, &place, priority),
                None => Err(self.collision(relative, "a folder of several packages", &target)),
            },
            Some(Slot::Link { target: old, folder: old_folder, priority: old_priority }) => {
                if *old == target {
                    return Ok(());
                }
                let (old, old_folder, old_priority) = (old.clone(), old_folder.clone(), *old_priority);
                match (old_folder, folder) {
                    (Some(old_place), Some(place)) => {
                        if old_place == place {
                            return Ok(());
                        }
                        self.slots.insert(relative.to_owned(), Slot::Folder);
                        self.folder(relative, &old, &old_place, old_priority)?;
                        self.folder(relative, &target, &place, priority)
                    }
                    (None, None) if old_priority < priority || self.are_same(&old, &target) => Ok(()),
                    (None, None) if priority < old_priority => {
                        self.slots.insert(relative.to_owned(), Slot::Link { target, folder: None, priority });
                        Ok(())
                    }
                    _ if self.ignore_collisions => Ok(()),
                    _ => Err(self.collision(relative, &old, &target)),
                }
            }
        }
    }

    fn collision(&self, relative: &str, old: &str, new: &str) -> Failure {
        Failure::because(format!("collision at `{relative}`: `{old}` and `{new}` differ"))
            .hint("give one of the packages precedence with lib.hiPrio or lib.lowPrio, or leave one out")
    }

    /// Whether two files are the same: links to one target, or equal content and mode.
    fn are_same(&self, a: &str, b: &str) -> bool {
        let place = |path: &str| self.job.store.physical(path);
        match (self.resolve(a), self.resolve(b)) {
            (Some(a), Some(b)) => a == b || have_equal_content(&a, &b),
            (None, None) => fs::read_link(place(a)).is_ok_and(|target| fs::read_link(place(b)).is_ok_and(|other| other == target)),
            _ => false,
        }
    }

    /// Whether `relative` is at or below a path that is wanted.
    fn is_wanted(&self, relative: &str) -> bool {
        self.wanted.iter().any(|wanted| {
            wanted.is_empty() || relative.strip_prefix(wanted.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        })
    }

    /// Whether something wanted is below `relative`.
    fn leads_to_wanted(&self, relative: &str) -> bool {
        self.wanted.iter().any(|wanted| wanted.strip_prefix(relative).is_some_and(|rest| rest.starts_with('/')))
    }

    /// What buildEnv never links: bookkeeping of builds, and indices that packages would fight about.
    fn is_left_out(&self, relative: &str, name: &str) -> bool {
        relative == "propagated-build-inputs"
            || relative == "nix-support"
            || relative.ends_with("info/dir")
            || (relative.starts_with("share/mime/") && !relative.starts_with("share/mime/packages"))
            || name == "perllocal.pod"
            || name == "log"
            || !(self.is_wanted(relative) || self.leads_to_wanted(relative))
    }

    fn write(&self, out: &Path) -> Result<(), Failure> {
        fs::create_dir_all(out).map_err(StoreError::io("create", out))?;
        // Parents are folders of their own; in the order of bytes a folder's path stands before those below it.
        for (relative, slot) in &self.slots {
            let place = out.join(relative);
            match slot {
                Slot::Folder => fs::create_dir(&place).map_err(StoreError::io("create", &place))?,
                Slot::Link { target, .. } => {
                    std::os::unix::fs::symlink(target, &place).map_err(StoreError::io("create", &place))?;
                }
            }
        }
        Ok(())
    }
}

fn have_equal_content(a: &Path, b: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let (Ok(x), Ok(y)) = (fs::metadata(a), fs::metadata(b)) else { return false };
    x.is_file() && y.is_file() && x.len() == y.len() && (x.mode() & 0o111) == (y.mode() & 0o111) && matches!((fs::read(a), fs::read(b)), (Ok(x), Ok(y)) if x == y)
}
