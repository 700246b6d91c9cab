//! A machine's state into a file and back: memory and devices, not its disks.
//!
//! QEMU gets the open file through its monitor, so it needs neither a path nor a program of its own. The order is the caller's:
//! [`stop`] all machines of a network, [`save`] each, [`go_on`]; and a machine that was started with a [`crate::Resumption`] gets its
//! state by [`load`] and then goes on.
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
/// Wanted size of the socket's buffer from QEMU, bytes.
const BUFFER_LEN: usize = 1 << 20;
/// The name under which QEMU knows the file.
const NAME: &str = "state";

/// Why a state was not saved or loaded.
#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    /// The monitor.
    #[error(transparent)]
    Monitor(#[from] QmpError),
    /// The state's form, or a file.
    #[error(transparent)]
    Stream(#[from] crate::stream::StreamError),
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

/// Writes the state of a stopped machine to two empty files: `memory` gets the block `name` (see [`crate::stream`]), `rest` all else.
///
/// # Errors
/// QEMU refuses (a device that cannot be saved), a file cannot be written, or the state has an unknown form.
pub fn save(monitor: &Qmp, name: &str, memory: &File, rest: &File) -> Result<(), MigrateError> {
    let (reader, writer) = std::os::unix::net::UnixStream::pair().map_err(crate::stream::StreamError::from)?;
    // A smaller buffer only takes longer.
    let _ = rustix::net::sockopt::set_socket_send_buffer_size(&writer, BUFFER_LEN);
    std::thread::scope(|scope| {
        let splitter = scope.spawn(move || crate::stream::split(reader, name, memory, rest));
        let done = save_to(monitor, &writer);
        // QEMU may keep its descriptor open; what it wrote is still read.
        let _ = writer.shutdown(std::net::Shutdown::Write);
        let split = splitter.join().unwrap_or(Err(crate::stream::StreamError::Unknown("its reader ended")));
        match (done, split) {
            (Ok(()), Ok(_)) => Ok(()),
            // The reader's end is what QEMU complains about, unless it ended because QEMU did.
            (Ok(()), Err(error)) => Err(error.into()),
            (Err(error), Err(crate::stream::StreamError::Io(inner))) if inner.kind() == std::io::ErrorKind::UnexpectedEof => Err(error),
            (Err(_), Err(error)) => Err(error.into()),
            (Err(error), Ok(_)) => Err(error),
        }
    })
}

/// Lets QEMU write the state to a descriptor.
fn save_to(monitor: &Qmp, to: impl AsFd) -> Result<(), MigrateError> {
    monitor.execute("migrate-set-parameters", json!({ "max-bandwidth": BANDWIDTH }), ANSWER)?;
    monitor.give_fd(NAME, to.as_fd(), ANSWER)?;
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
    use std::io::{Read, Seek};
    use std::os::unix::fs::MetadataExt;
    use std::os::fd::{AsRawFd, OwnedFd};
    use std::os::unix::net::UnixStream;

    /// A machine without a disk, stopped in its firmware.
    fn machine(size: &str, more: &[&str], fds: Vec<OwnedFd>) -> (crate::Process, Qmp) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let theirs = OwnedFd::from(theirs);
        let number = theirs.as_raw_fd();
        let args = ["-nodefaults", "-no-user-config", "-display", "none", "-accel", "tcg", "-m", size, "-mon", "chardev=m,mode=control"];
        let mut args: Vec<std::ffi::OsString> = args.iter().chain(more).map(std::ffi::OsString::from).collect();
        args.extend(["-chardev".into(), format!("socket,id=m,fd={number}").into(), "-S".into()]);
        let program = crate::find::in_path("qemu-system-x86_64", std::env::var_os("PATH").as_deref()).unwrap();
        let fds = fds.into_iter().chain([theirs]).collect();
        let process = crate::spawn(crate::CommandLine { program, args, fds }, |_| {}).unwrap();
        (process, Qmp::open(ours.into(), |_| {}).unwrap())
    }

    fn mapped(memory: &File, size: &str) -> (crate::Process, Qmp) {
        let fd = OwnedFd::from(memory.try_clone().unwrap());
        let object = format!("memory-backend-file,id=pc.ram,size={size}M,mem-path=/proc/self/fd/{},share=off", fd.as_raw_fd());
        machine(size, &["-M", "q35,memory-backend=pc.ram", "-object", &object, "-incoming", "defer"], vec![fd])
    }

    #[test]
    fn a_state_passes_through_files_stays_as_it_was_and_fits_no_other_machine() {
        let file = || tempfile::tempfile().unwrap();
        let (first, monitor) = machine("32", &["-M", "q35"], Vec::new());
        // The firmware writes to the memory.
        go_on(&monitor).unwrap();
        std::thread::sleep(Duration::from_millis(500));
        stop(&monitor).unwrap();
        let (memory, mut rest) = (file(), file());
        save(&monitor, "pc.ram", &memory, &rest).unwrap();
        let meta = memory.metadata().unwrap();
        assert!(meta.len() == 32 << 20 && meta.blocks() > 0 && meta.blocks() * 512 < 16 << 20);
        // One that was saved and went on can be saved again.
        let again = || {
            go_on(&monitor).unwrap();
            stop(&monitor).unwrap();
        };
        again();
        save(&monitor, "pc.ram", &file(), &file()).unwrap();
        let bytes = |mut file: &File| {
            let mut bytes = Vec::new();
            file.rewind().unwrap();
            file.read_to_end(&mut bytes).unwrap();
            bytes
        };
        let before = bytes(&memory);
        assert!(before.iter().any(|byte| *byte != 0));
        again();
        assert!(matches!(save(&monitor, "nothing", &file(), &file()), Err(MigrateError::Stream(_))));
        first.kill();

        rest.rewind().unwrap();
        let (second, monitor) = mapped(&memory, "32");
        load(&monitor, &rest).unwrap();
        go_on(&monitor).unwrap();
        std::thread::sleep(Duration::from_millis(200));
        stop(&monitor).unwrap();
        save(&monitor, "pc.ram", &file(), &file()).unwrap();
        second.kill();
        assert!(before == bytes(&memory), "a machine that resumed wrote to the file");

        rest.rewind().unwrap();
        memory.set_len(64 << 20).unwrap();
        let (third, monitor) = mapped(&memory, "64");
        assert!(load(&monitor, &rest).is_err());
        third.kill();
    }
}
