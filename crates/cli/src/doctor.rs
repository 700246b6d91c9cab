//! `doctor`: what this host can do, and what is missing.

use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use nbv_driver::Host;
use nbv_driver::doctor::{Finding, Grade, machines};

use crate::args::Build;
use crate::build;
use crate::exit::Exit;
use crate::progress::bytes;

/// Room that a first build of two architectures needs, bytes.
const ROOM: u64 = 2_000_000_000;

/// Looks at QEMU, accelerator, ssh, store, mirror and user namespaces; prints a line each. Exit 1 when a network cannot be
/// built or run here.
pub(crate) fn examine(host: &Host) -> Exit {
    let settings = match build::settings(&Build::default()) {
        Ok(settings) => settings,
        Err(exit) => return exit,
    };
    let mut findings = machines(host);
    let store = settings.text("store").map_or_else(build::default_store, Into::into);
    findings.push(store_finding(&store));
    findings.push(mirror_finding(settings.text("debian-mirror")));
    findings.push(sandbox_finding());
    let width = findings.iter().map(|finding| finding.subject.len()).max().unwrap_or(0);
    let mut out = std::io::stdout().lock();
    for finding in &findings {
        let grade = match finding.grade {
            Grade::Good => "ok     ",
            Grade::Fair => "note   ",
            Grade::Missing => "MISSING",
        };
        let _closed = writeln!(out, "{grade}  {:width$}  {}", finding.subject, finding.text);
    }
    if findings.iter().any(|finding| finding.grade == Grade::Missing) { Exit::Input } else { Exit::Done }
}

fn finding(subject: &str, grade: Grade, text: impl Into<String>) -> Finding {
    Finding { subject: subject.into(), grade, text: text.into() }
}

fn store_finding(store: &Path) -> Finding {
    let there = store.ancestors().find(|folder| folder.exists()).unwrap_or(Path::new("/"));
    let Some(free) = free_bytes(there) else {
        return finding("store", Grade::Missing, format!("{} cannot be looked at", there.display()));
    };
    let text = format!("{}, {} free", store.display(), bytes(free));
    if !is_writable(there) {
        return finding("store", Grade::Missing, format!("{text}, but {} is not writable; choose another place with the setting `store`", there.display()));
    }
    if free < ROOM {
        return finding("store", Grade::Fair, format!("{text}; a first build needs about {}", bytes(ROOM)));
    }
    finding("store", Grade::Good, text)
}

fn mirror_finding(mirror: Option<&str>) -> Finding {
    let mut config = nbv_debian::Config::new(build::cache_dir());
    config.mirror = mirror.map(str::to_owned);
    match nbv_debian::Archive::new(config, Arc::new(nbv_debian::Silent)).mirror() {
        Ok(address) => finding("Debian's archive", Grade::Good, address),
        Err(error) => {
            let mut text = error.to_string();
            let mut cause = std::error::Error::source(&error);
            while let Some(error) = cause {
                text.push_str(&format!(": {error}"));
                cause = error.source();
            }
            finding("Debian's archive", Grade::Missing, text)
        }
    }
}

/// Only builders that are programs need them.
fn sandbox_finding() -> Finding {
    let unshare = Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount", "true"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    match unshare {
        Ok(status) if status.success() => finding("user namespaces", Grade::Good, "yes (builds that run programs have a sandbox)"),
        Ok(_) => finding("user namespaces", Grade::Fair, "no; networks are built without them, builds that run programs (runCommand) are not"),
        Err(_) => finding("user namespaces", Grade::Fair, "not known: the program unshare (package util-linux) is missing"),
    }
}

fn c_path(path: &Path) -> Option<std::ffi::CString> {
    std::ffi::CString::new(path.as_os_str().as_bytes()).ok()
}

fn free_bytes(path: &Path) -> Option<u64> {
    let path = c_path(path)?;
    // SAFETY: `statvfs` is plain data for which all zeroes is a valid value.
    let mut stat: libc::statvfs = unsafe { std::mem::zeroed() };
    // SAFETY: the path ends with a zero byte, and `stat` is valid for the call.
    let done = unsafe { libc::statvfs(path.as_ptr(), &raw mut stat) };
    (done == 0).then(|| stat.f_bavail.saturating_mul(stat.f_frsize))
}

fn is_writable(path: &Path) -> bool {
    // SAFETY: the path ends with a zero byte.
    c_path(path).is_some_and(|path| unsafe { libc::access(path.as_ptr(), libc::W_OK) } == 0)
}
