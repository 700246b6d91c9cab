//! A machine's state into a file and back: memory and devices, not its disks.
//!
//! QEMU gets the open file through its monitor, so it needs neither a path nor a program of its own. The order is the caller's:
//! [`stop`] all machines of a network, [`save`] each, [`go_on`]; and a machine that was started with `is_resumed` gets its state by
//! [`load`] and then goes on.
//!
//! Not here: where states are kept and which one fits (crate `driver`).

use std::fs::File;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::qmp::{Qmp, QmpError};

/// How long one question may take.
const ANSWER: Duration = Duration::from_secs(10);
/// How long a state may take to be written or read: seconds for gigabytes from a disk.
const TRANSFER: Duration = Duration::from_secs(120);
/// How often is asked whether it is done. A transfer takes some 100 ms.
const POLL: Duration = Duration::from_millis(4);
/// Bytes a second; QEMU's own limit (128 MiB/s) is for networks.
const BANDWIDTH: u64 = 1 << 40;
/// The name under which QEMU knows the file.
const NAME: &str = "state";

/// Why a state was not saved or loaded.
#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    /// The monitor.
    #[error(transparent)]
    Monitor(#[from] QmpError),
    /// QEMU gave up.
    #[error("QEMU could not {action} the state: {reason}")]
    Failed {
        /// What it did.
        action: &'static str,
        /// Its words.
        reason: String,
    },
}

/// Stops the machine's processors; time stands still in it.
///
/// # Errors
/// QEMU does not answer.
pub fn stop(monitor: &Qmp) -> Result<(), QmpError> {
    monitor.execute("stop", Value::Null, ANSWER).map(drop)
}

/// Lets the machine's processors run (again).
///
/// # Errors
/// QEMU does not answer.
pub fn go_on(monitor: &Qmp) -> Result<(), QmpError> {
    monitor.execute("cont", Value::Null, ANSWER).map(drop)
}

/// Writes the state of a stopped machine to a file, which is empty and open for writing.
///
/// # Errors
/// QEMU refuses (a device that cannot be saved), or the file cannot be written.
pub fn save(monitor: &Qmp, file: &File) -> Result<(), MigrateError> {
    monitor.execute("migrate-set-parameters", json!({ "max-bandwidth": BANDWIDTH }), ANSWER)?;
    monitor.give_fd(NAME, file.as_fd(), ANSWER)?;
    monitor.execute("migrate", json!({ "uri": format!("fd:{NAME}") }), ANSWER)?;
    let deadline = Instant::now() + TRANSFER;
    loop {
        let answer = monitor.execute("query-migrate", Value::Null, ANSWER)?;
        match answer.get("status").and_then(Value::as_str) {
            Some("completed") => return Ok(()),
            Some("failed" | "cancelled") => {
                let reason = answer.get("error-desc").and_then(Value::as_str).unwrap_or("no reason given").to_owned();
                return Err(MigrateError::Failed { action: "save", reason });
            }
            _ if Instant::now() >= deadline => {
                let _ = monitor.execute("migrate_cancel", Value::Null, ANSWER);
                return Err(MigrateError::Failed { action: "save", reason: format!("not done after {} s", TRANSFER.as_secs()) });
            }
            _ => std::thread::sleep(POLL),
        }
    }
}

/// Reads a state into a machine that was started for it. The machine is stopped afterwards.
///
/// # Errors
/// The state is not of such a machine, or cannot be read; QEMU mostly ends then.
pub fn load(monitor: &Qmp, file: &File) -> Result<(), MigrateError> {
    monitor.give_fd(NAME, file.as_fd(), ANSWER)?;
    monitor.execute("migrate-incoming", json!({ "uri": format!("fd:{NAME}") }), ANSWER)?;
    let deadline = Instant::now() + TRANSFER;
    loop {
        // While the state is read the monitor answers late, if at all.
        let answer = monitor.execute("query-status", Value::Null, TRANSFER)?;
        match answer.get("status").and_then(Value::as_str) {
            Some("paused" | "prelaunch" | "postmigrate") => return Ok(()),
            Some("inmigrate") if Instant::now() < deadline => std::thread::sleep(POLL),
            Some("inmigrate") => return Err(MigrateError::Failed { action: "load", reason: format!("not done after {} s", TRANSFER.as_secs()) }),
            other => return Err(MigrateError::Failed { action: "load", reason: format!("the machine is {}", other.unwrap_or("in no known state")) }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Seek;
    use std::os::fd::{AsRawFd, OwnedFd};
    use std::os::unix::net::UnixStream;

    /// A machine without a disk, stopped in its firmware.
    fn machine(memory: &str, more: &[&str]) -> (crate::Process, Qmp) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let theirs = OwnedFd::from(theirs);
        let number = theirs.as_raw_fd();
        let args = ["-nodefaults", "-no-user-config", "-display", "none", "-M", "q35", "-accel", "tcg", "-m", memory, "-mon", "chardev=m,mode=control"];
        let mut args: Vec<std::ffi::OsString> = args.iter().chain(more).map(std::ffi::OsString::from).collect();
        args.extend(["-chardev".into(), format!("socket,id=m,fd={number}").into(), "-S".into()]);
        let program = crate::find::in_path("qemu-system-x86_64", std::env::var_os("PATH").as_deref()).unwrap();
        let process = crate::spawn(crate::CommandLine { program, args, fds: vec![theirs] }, |_| {}).unwrap();
        (process, Qmp::open(ours.into(), |_| {}).unwrap())
    }

    #[test]
    fn a_state_passes_through_a_file_and_fits_no_other_machine() {
        let mut file = tempfile::tempfile().unwrap();
        let (first, monitor) = machine("32", &[]);
        save(&monitor, &file).unwrap();
        go_on(&monitor).unwrap();
        first.kill();
        assert!(file.metadata().unwrap().len() > 1000);
        file.rewind().unwrap();
        let (second, monitor) = machine("32", &["-incoming", "defer"]);
        load(&monitor, &file).unwrap();
        go_on(&monitor).unwrap();
        second.kill();
        file.rewind().unwrap();
        let (third, monitor) = machine("64", &["-incoming", "defer"]);
        assert!(load(&monitor, &file).is_err());
        third.kill();
    }
}
