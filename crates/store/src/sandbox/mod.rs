//! Programs as builders, each in namespaces of its own (user, mount, process, network, host name, IPC).
//!
//! What the program sees: `/usr` of a Debian layer, read-only; the closure of its inputs in `/nix/store`, read-only;
//! `/build`, `/tmp` and its outputs' places, writable; a minimal `/dev` and `/etc`; no network but the loopback, unless its
//! output has a fixed hash. It runs as user 1000 without capabilities.
//!
//! - `arguments`: environment and files, as Nix gives them;
//! - `process`: the child, its set-up stages, its output and its end.
//!
//! Not here: where a layer's tree comes from.

mod arguments;
mod process;

use crate::error::StoreError;
use crate::graph::{Built, Event, Failure, Job};
use crate::tree;
use std::collections::VecDeque;
use std::fs;
use std::path::{Path, PathBuf};

use process::{End, Mount, Spec};

/// Runs the builder of a job. `usr` is the folder that becomes /usr.
///
/// # Errors
/// The sandbox cannot be made, the program fails, is stopped, or runs out of time.
pub fn run(job: &Job<'_>, usr: &Path) -> Result<Built, Failure> {
    let folder = job.store.temporary("build")?;
    let result = run_in(job, usr, &folder);
    let failed = matches!(result, Err(Failure::Other { .. }));
    if failed && job.options.keep_failed {
        let kept = keep(job, &folder);
        return result.map_err(|failure| match failure {
            Failure::Other { reason, log, hint, .. } => Failure::Other { reason, log, kept, hint },
            other => other,
        });
    }
    tree::remove_tree(&folder)?;
    result
}

/// Moves the build folder of a failed program to where it stays.
fn keep(job: &Job<'_>, folder: &Path) -> Option<PathBuf> {
    let kept = job.store.var().join("failed");
    fs::create_dir_all(&kept).ok()?;
    (0..1000).map(|number| kept.join(format!("{}-{number}", job.name))).find(|place| fs::rename(folder.join("build"), place).is_ok())
}

fn run_in(job: &Job<'_>, usr: &Path, folder: &Path) -> Result<Built, Failure> {
    let root = folder.join("root");
    let build = folder.join("build");
    make_root(&root, job)?;
    fs::create_dir_all(&build).map_err(StoreError::io("create", &build))?;
    let arguments = arguments::prepare(job, &build)?;

    let mut mounts = vec![Mount::read_only(usr, &root.join("usr")), Mount::writable(&build, &root.join("build"))];
    for input in job.inputs {
        let place = job.store.physical(input);
        let base = input.rsplit('/').next().unwrap_or(input);
        let target = root.join("nix/store").join(base);
        let meta = fs::symlink_metadata(&place).map_err(StoreError::io("read", &place))?;
        if meta.is_symlink() {
            let to = fs::read_link(&place).map_err(StoreError::io("read", &place))?;
            std::os::unix::fs::symlink(to, &target).map_err(StoreError::io("create", &target))?;
            continue;
        }
        if meta.is_dir() {
            fs::create_dir(&target).map_err(StoreError::io("create", &target))?;
        } else {
            fs::write(&target, "").map_err(StoreError::io("create", &target))?;
        }
        mounts.push(Mount::read_only(&place, &target));
    }
    for device in DEVICES {
        mounts.push(Mount::writable(&Path::new("/dev").join(device), &root.join("dev").join(device)));
    }
    let spec = Spec {
        root,
        mounts,
        program: arguments.program,
        words: arguments.words,
        env: arguments.env,
        has_network: job.drv.is_fixed(),
        timeout: job.options.timeout,
    };
    let mut log: VecDeque<String> = VecDeque::new();
    let end = process::run(&spec, &mut |line| {
        job.progress.event(Event::Log { name: job.name, line });
        if log.len() >= job.options.log_lines.max(1) {
            log.pop_front();
        }
        log.push_back(line.to_owned());
    }, &|| job.progress.is_interrupted())?;
    let log: Vec<String> = log.into();
    let fail = |reason: String| Failure::Other { reason, log: log.clone(), kept: None, hint: None };
    match end {
        End::Exit(0) => {}
        End::Exit(code) => return Err(fail(format!("its builder ended with exit code {code}"))),
        End::Signal(signal) => return Err(fail(format!("its builder was ended by signal {signal}"))),
        End::Timeout(limit) => {
            return Err(fail(format!("its builder did not end within {} s", limit.as_secs())).hint("the setting `timeout` is the limit"));
        }
        End::Interrupted => return Err(Failure::Interrupted),
    }
    for output in job.outputs.values() {
        let base = output.path.rsplit('/').next().unwrap_or(&output.path);
        let made = spec.root.join("nix/store").join(base);
        if made.symlink_metadata().is_ok() {
            make_movable(&made)?;
            fs::rename(&made, &output.place).map_err(StoreError::io("move", &made))?;
        } else {
            return Err(fail(format!("its builder ended well but did not make its output `{}`", output.path)));
        }
    }
    Ok(Built::default())
}

/// A folder without write permission cannot be renamed by an ordinary user.
fn make_movable(made: &Path) -> Result<(), StoreError> {
    use std::os::unix::fs::PermissionsExt;
    let meta = fs::symlink_metadata(made).map_err(StoreError::io("read", made))?;
    if meta.is_dir() {
        fs::set_permissions(made, fs::Permissions::from_mode(0o755)).map_err(StoreError::io("set the mode of", made))?;
    }
    Ok(())
}

/// Devices of the host that every program may need.
const DEVICES: &[&str] = &["null", "zero", "full", "random", "urandom", "tty"];

/// Makes what a root file system has before anything is mounted.
fn make_root(root: &Path, job: &Job<'_>) -> Result<(), StoreError> {
    for dir in ["usr", "build", "tmp", "proc", "dev/shm", "dev/pts", "etc", "nix/store", "var/tmp", "run", "root"] {
        let place = root.join(dir);
        fs::create_dir_all(&place).map_err(StoreError::io("create", &place))?;
    }
    for (link, target) in [
        ("bin", "usr/bin"), ("sbin", "usr/bin"), ("lib", "usr/lib"), ("lib64", "usr/lib64"), ("lib32", "usr/lib32"),
        ("dev/fd", "/proc/self/fd"), ("dev/stdin", "/proc/self/fd/0"), ("dev/stdout", "/proc/self/fd/1"), ("dev/stderr", "/proc/self/fd/2"),
        ("dev/ptmx", "pts/ptmx"),
    ] {
        let place = root.join(link);
        std::os::unix::fs::symlink(target, &place).map_err(StoreError::io("create", &place))?;
    }
    let mut files = vec![
        ("etc/passwd", "root:x:0:0:Nix build user:/build:/noshell\nnixbld:x:1000:100:Nix build user:/build:/noshell\nnobody:x:65534:65534:Nobody:/:/noshell\n".to_owned()),
        ("etc/group", "root:x:0:\nnixbld:!:100:\nnogroup:x:65534:\n".to_owned()),
        ("etc/hosts", "127.0.0.1 localhost\n::1 localhost\n".to_owned()),
        ("etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files dns\n".to_owned()),
    ];
    for device in DEVICES {
        let place = root.join("dev").join(device);
        fs::write(&place, "").map_err(StoreError::io("create", &place))?;
    }
    if job.drv.is_fixed() {
        for name in ["etc/resolv.conf", "etc/services"] {
            if let Ok(text) = fs::read_to_string(Path::new("/").join(name)) {
                files.push((name, text));
            }
        }
    }
    for (name, text) in files {
        let place = root.join(name);
        fs::write(&place, text).map_err(StoreError::io("write", &place))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
