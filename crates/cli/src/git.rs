//! Trees of Git repositories, read with the program `git`.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};

use nbv_eval::{GitRequest, GitTree, WorldError};

/// A folder that is removed with its content.
struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

impl Scratch {
    fn new() -> std::io::Result<Self> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let name = format!("nbv-git-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path)?;
        Ok(Self(path))
    }
}

/// Runs git; gives its output, or what it said.
fn git<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Result<Vec<u8>, WorldError> {
    let output = Command::new("git")
        .args(["-c", "safe.directory=*"])
        .args(arguments)
        // `stash create` wants a name for the commit that it makes.
        .envs([("GIT_AUTHOR_NAME", "x"), ("GIT_AUTHOR_EMAIL", "x"), ("GIT_COMMITTER_NAME", "x"), ("GIT_COMMITTER_EMAIL", "x")])
        .env("GIT_TERMINAL_PROMPT", "0")
        .stdin(Stdio::null())
        .output()
        .map_err(|e| WorldError::new(format!("cannot run git: {e}")).hint("the program git reads repositories; install it"))?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let line = said.lines().rfind(|l| !l.trim().is_empty()).unwrap_or("git failed");
    Err(WorldError::new(line.trim_start_matches("fatal: ").to_owned()))
}

fn line(bytes: Vec<u8>) -> String {
    String::from_utf8_lossy(&bytes).trim().to_owned()
}

/// Fetches a tree.
pub(crate) fn fetch(request: &GitRequest) -> Result<GitTree, WorldError> {
    if request.submodules {
        return Err(WorldError::new("submodules are not fetched"));
    }
    let local = request.url.strip_prefix("file://").unwrap_or(&request.url);
    let local = local.starts_with('/').then(|| Path::new(local));
    if [Some(&request.url), request.reference.as_ref(), request.revision.as_ref()].into_iter().flatten().any(|w| w.starts_with('-')) {
        return Err(WorldError::new("a URL, ref or rev does not begin with '-'"));
    }
    let scratch = Scratch::new().map_err(|e| WorldError::new(format!("cannot make a temporary folder: {e}")))?;
    let repository = scratch.0.join("repository");
    let here = |words: &[&str]| {
        let mut all: Vec<&OsStr> = vec!["--git-dir".as_ref(), repository.as_os_str()];
        all.extend(words.iter().map(OsStr::new));
        git(all)
    };
    // A repository beside the user's, so that attributes can be set in it; of a local one it shares the objects.
    let mut clone: Vec<&OsStr> = ["clone", "--quiet", "--bare"].iter().map(OsStr::new).collect();
    if local.is_some() {
        clone.push("--shared".as_ref());
    }
    clone.extend([OsStr::new("--"), local.map_or(OsStr::new(&request.url), Path::as_os_str), repository.as_os_str()]);
    git(clone)?;
    // What an archive leaves out or fills in by itself, a checkout has as it is.
    let attributes = repository.join("info");
    std::fs::create_dir_all(&attributes)
        .and_then(|()| std::fs::write(attributes.join("attributes"), "* -export-ignore -export-subst\n"))
        .map_err(|e| WorldError::new(format!("cannot write to a temporary folder: {e}")))?;
    let mut changes = None;
    let revision = match (&request.revision, &request.reference) {
        (Some(revision), _) => line(here(&["rev-parse", "--verify", &format!("{revision}^{{commit}}")])?),
        (None, Some(reference)) => line(here(&["rev-parse", "--verify", &format!("{reference}^{{commit}}")])?),
        (None, None) => {
            if let Some(folder) = local {
                let in_folder = |words: &[&str]| {
                    let mut all: Vec<&OsStr> = vec!["-C".as_ref(), folder.as_os_str()];
                    all.extend(words.iter().map(OsStr::new));
                    git(all)
                };
                let is_bare = line(in_folder(&["rev-parse", "--is-bare-repository"])?) == "true";
                if !is_bare {
                    // A commit of the tracked files as they are; empty when nothing was changed.
                    changes = Some(line(in_folder(&["stash", "create"])?)).filter(|c| !c.is_empty());
                }
            }
            line(here(&["rev-parse", "--verify", "HEAD^{commit}"])?)
        }
    };
    let tree = changes.as_deref().unwrap_or(&revision);
    let archive = here(&["archive", "--format=tar", tree])?;
    let number = |words: &[&str]| here(words).ok().and_then(|out| line(out).parse::<i64>().ok());
    Ok(GitTree {
        archive,
        revision_count: number(&["rev-list", "--count", &revision]),
        last_modified: number(&["log", "-1", "--format=%ct", &revision]).unwrap_or(0),
        is_dirty: changes.is_some(),
        revision,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commits_and_changes_of_a_local_repository() {
        let scratch = Scratch::new().unwrap();
        let folder = scratch.0.join("r");
        let run = |words: &[&str]| git(["-C", folder.to_str().unwrap()].iter().chain(words)).unwrap();
        std::fs::create_dir(&folder).unwrap();
        run(&["init", "--quiet"]);
        std::fs::write(folder.join("a"), "1").unwrap();
        std::fs::write(folder.join(".gitattributes"), "a export-ignore\n").unwrap();
        run(&["add", "."]);
        run(&["commit", "--quiet", "-m", "x"]);
        std::fs::write(folder.join("untracked"), "").unwrap();
        let mut request =
            GitRequest { url: folder.to_str().unwrap().to_owned(), reference: None, revision: None, submodules: false };
        let clean = fetch(&request).unwrap();
        assert!(!clean.is_dirty);
        assert_eq!(clean.revision_count, Some(1));
        assert_eq!(clean.revision.len(), 40);
        assert!(clean.archive.windows(2).any(|w| w == b"a\0"), "the file is in the archive in spite of export-ignore");
        std::fs::write(folder.join("a"), "2").unwrap();
        let dirty = fetch(&request).unwrap();
        assert!(dirty.is_dirty);
        assert_ne!(dirty.archive, clean.archive);
        request.revision = Some(clean.revision.clone());
        assert_eq!(fetch(&request).unwrap(), clean);
        request.revision = Some("--help".to_owned());
        assert!(fetch(&request).is_err());
    }
}
