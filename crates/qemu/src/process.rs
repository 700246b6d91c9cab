//! A QEMU process that cannot outlive us.
//!
//! It gets a process group of its own (a Ctrl-C at the terminal is ours to pass on), and the kernel kills it when the thread that
//! started it ends. That thread is therefore one that lives as long as the whole program, whatever thread calls
//! [`spawn`]. What it writes to its standard error is kept for the message that says why it ended.

use std::ffi::OsString;
use std::io::Read;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use rustix::process::{Pid, PidfdFlags, Signal};

/// Bytes kept of what a process says on its standard error: the last ones.
const STDERR_MAX: usize = 16 * 1024;

/// A program, its arguments and the descriptors that it inherits under their own numbers.
#[derive(Debug)]
pub struct CommandLine {
    /// The program's file.
    pub program: PathBuf,
    /// Arguments without the program's name.
    pub args: Vec<OsString>,
    /// Inherited descriptors.
    pub fds: Vec<OwnedFd>,
}

impl CommandLine {
    /// The line as a person would type it.
    #[must_use]
    pub fn display(&self) -> String {
        let quote = |word: &str| {
            let is_plain = !word.is_empty() && word.chars().all(|c| c.is_ascii_alphanumeric() || "-_=+./,:@%".contains(c));
            if is_plain { word.to_owned() } else { format!("'{}'", word.replace('\'', r"'\''")) }
        };
        let mut text = quote(&self.program.to_string_lossy());
        for word in &self.args {
            text.push(' ');
            text.push_str(&quote(&word.to_string_lossy()));
        }
        text
    }
}

/// Why a process could not be started.
#[derive(Debug, thiserror::Error)]
#[error("{} could not be started", program.display())]
pub struct SpawnError {
    program: PathBuf,
    #[source]
    source: std::io::Error,
}

/// How a process ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exited {
    /// Its exit code, or `None` when a signal killed it.
    pub code: Option<i32>,
    /// The signal that killed it.
    pub signal: Option<i32>,
    /// The end of what it wrote to standard output and error.
    pub stderr: String,
}

impl std::fmt::Display for Exited {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.code, self.signal) {
            (Some(code), _) => write!(f, "exit status {code}")?,
            (None, Some(signal)) => write!(f, "killed by signal {signal}")?,
            (None, None) => write!(f, "ended")?,
        }
        let said = self.stderr.trim();
        if !said.is_empty() {
            write!(f, "; it said: {said}")?;
        }
        Ok(())
    }
}

/// A running process. Dropping it does not end it.
#[derive(Debug)]
pub struct Process {
    pid: Pid,
    pidfd: OwnedFd,
}

impl Process {
    /// Its number.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.pid.as_raw_nonzero().get()
    }

    /// Kills it; a process that ended already is left alone.
    pub fn kill(&self) {
        self.signal(Signal::KILL);
    }

    /// Asks it to end.
    pub fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    fn signal(&self, signal: Signal) {
        // The only failure is that it is gone; a descriptor never names another process.
        let _ = rustix::process::pidfd_send_signal(&self.pidfd, signal);
    }
}

type Job = (Command, Sender<std::io::Result<Child>>);

/// The thread that starts processes; it lives until the program ends.
fn spawner() -> &'static Sender<Job> {
    static SPAWNER: OnceLock<Sender<Job>> = OnceLock::new();
    SPAWNER.get_or_init(|| {
        let (sender, jobs) = channel::<Job>();
        // If the thread cannot be made the receiver is dropped, and sending says so.
        let _ = std::thread::Builder::new().name("spawner".into()).spawn(move || {
            for (mut command, answer) in jobs {
                let _ = answer.send(command.spawn());
            }
        });
        sender
    })
}

/// Starts a command with the guarantees of this module; `fds` are inherited under their numbers.
///
/// # Errors
/// The program cannot be executed, or there are no processes or threads left.
pub fn spawn_bound(mut command: Command, fds: Vec<OwnedFd>) -> std::io::Result<Child> {
    let parent = rustix::process::getpid();
    let numbers: Vec<i32> = fds.iter().map(AsRawFd::as_raw_fd).collect();
    command.process_group(0);
    let before_exec = move || {
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
        // Our parent may have died before the line above; then no signal would come.
        if rustix::process::getppid() != Some(parent) {
            return Err(rustix::io::Errno::SRCH.into());
        }
        for number in &numbers {
            // SAFETY: the descriptors are open: `fds` is dropped only after the spawn.
            let fd = unsafe { std::os::fd::BorrowedFd::borrow_raw(*number) };
            rustix::io::fcntl_setfd(fd, rustix::io::FdFlags::empty())?;
        }
        Ok(())
    };
    // SAFETY: between fork and exec only system calls are made; nothing is allocated or locked.
    unsafe { command.pre_exec(before_exec) };
    let (answer, child) = channel();
    let gone = || std::io::Error::other("the thread that starts processes is gone");
    spawner().send((command, answer)).map_err(|_| gone())?;
    let child = child.recv().map_err(|_| gone())?;
    drop(fds);
    child
}

/// Starts a process; `on_exit` is called once, from another thread, when it has ended.
///
/// # Errors
/// The program cannot be executed, or there are no processes or threads left.
pub fn spawn(line: CommandLine, on_exit: impl FnOnce(Exited) + Send + 'static) -> Result<Process, SpawnError> {
    let CommandLine { program, args, fds } = line;
    let failed = |source: std::io::Error| SpawnError { program: program.clone(), source };
    let mut command = Command::new(&program);
    let (reader, writer) = std::io::pipe().map_err(failed)?;
    let errors = writer.try_clone().map_err(failed)?;
    command.args(args).stdin(Stdio::null()).stdout(writer).stderr(errors);
    let mut child = spawn_bound(command, fds).map_err(failed)?;
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let handle = pid.ok_or_else(|| std::io::Error::other("no process number")).and_then(|pid| {
        // The child is not waited for before the thread below runs, so the number is still its own.
        let pidfd = rustix::process::pidfd_open(pid, PidfdFlags::empty())?;
        Ok(Process { pid, pidfd })
    });
    let process = match handle {
        Ok(process) => process,
        Err(error) => {
            let _ = child.kill();
            let _ = child.wait();
            return Err(failed(error));
        }
    };
    let waiter = std::thread::Builder::new().name(format!("wait-{}", process.pid())).spawn(move || {
        let said = Arc::new(Mutex::new(Vec::new()));
        let collector = std::thread::Builder::new().name("stderr".into()).spawn({
            let said = Arc::clone(&said);
            move || collect(reader, &said)
        });
        let status = child.wait();
        // The pipe closes with the process: it starts no others.
        let _ = collector.map(std::thread::JoinHandle::join);
        let stderr = String::from_utf8_lossy(&said.lock().unwrap_or_else(PoisonError::into_inner)).into_owned();
        let code = status.as_ref().ok().and_then(ExitStatus::code);
        on_exit(Exited { code, signal: status.ok().and_then(|status| status.signal()), stderr });
    });
    match waiter {
        Ok(_) => Ok(process),
        Err(error) => {
            process.kill();
            Err(failed(error))
        }
    }
}

fn collect(mut reader: impl Read, said: &Mutex<Vec<u8>>) {
    let mut buffer = [0; 4096];
    loop {
        match reader.read(&mut buffer) {
            Ok(0) => return,
            Ok(len) => {
                let mut said = said.lock().unwrap_or_else(PoisonError::into_inner);
                said.extend(&buffer[..len]);
                let excess = said.len().saturating_sub(STDERR_MAX);
                said.drain(..excess);
            }
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(_) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::time::Duration;

    fn shell(script: &str, fds: Vec<OwnedFd>) -> (Process, std::sync::mpsc::Receiver<Exited>) {
        let (sender, exits) = channel();
        let line = CommandLine { program: "/bin/sh".into(), args: vec!["-c".into(), script.into()], fds };
        let process = spawn(line, move |exited| sender.send(exited).unwrap_or(())).unwrap();
        (process, exits)
    }

    fn exited(exits: &std::sync::mpsc::Receiver<Exited>) -> Exited {
        exits.recv_timeout(Duration::from_secs(20)).unwrap()
    }

    #[test]
    fn what_it_said_is_told_with_its_status() {
        let (_, exits) = shell("echo out; echo 'no such disk' >&2; exit 3", Vec::new());
        let exited = exited(&exits);
        assert_eq!(exited.code, Some(3));
        assert!(exited.to_string().contains("no such disk"), "{exited}");
    }

    #[test]
    fn descriptors_keep_their_numbers() {
        let (reader, mut writer) = std::io::pipe().unwrap();
        let number = reader.as_raw_fd();
        writer.write_all(b"through\n").unwrap();
        drop(writer);
        let (_, exits) = shell(&format!("read word </proc/self/fd/{number}; echo $word"), vec![reader.into()]);
        assert_eq!(exited(&exits).stderr, "through\n");
    }

    #[test]
    fn it_is_alone_in_its_group_and_dies_when_told() {
        let (process, exits) = shell("exec sleep 100", Vec::new());
        let group = rustix::process::getpgid(Some(process.pid)).unwrap();
        assert_eq!(group, process.pid);
        process.kill();
        assert_eq!(exited(&exits).signal, Some(9));
        process.kill();
    }

    #[test]
    fn a_missing_program_is_named() {
        let line = CommandLine { program: "/nowhere/qemu".into(), args: Vec::new(), fds: Vec::new() };
        let error = spawn(line, |_| {}).unwrap_err();
        assert!(error.to_string().contains("/nowhere/qemu"));
    }

    #[test]
    fn a_line_is_shown_as_it_would_be_typed() {
        let line = CommandLine { program: "/q".into(), args: vec!["-append".into(), "a b".into(), "it's".into()], fds: Vec::new() };
        assert_eq!(line.display(), r"/q -append 'a b' 'it'\''s'");
    }
}
