//! Acting on a network that another process runs: `ssh`, `shell`, `status`, `logs`, `stop`.

use std::ffi::OsString;
use std::io::{self, IsTerminal, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use nbv_plan::NetworkPlan;
use nbv_qemu::LineReader;

use crate::host::Host;
use crate::screen::Viewing;
use crate::protocol::{Reply, Request, Terminal, Word};
use crate::socket::{self, LineStream};
use crate::status::Status;
use crate::{ssh, state};

/// Why a running network could not be acted on.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// None runs.
    #[error("no network is running; start one with result/bin/run-vms")]
    None,
    /// Several run.
    #[error("several networks are running; name one with --state-dir:\n{}", list(dirs))]
    Several {
        /// Their state folders.
        dirs: Vec<PathBuf>,
    },
    /// Not there.
    #[error("no network runs in {}", dir.display())]
    NotRunning {
        /// The state folder.
        dir: PathBuf,
    },
    /// Unknown name.
    #[error("no machine `{name}` runs in this network; there are: {known}")]
    NoMachine {
        /// The name.
        name: String,
        /// Those that are there.
        known: String,
    },
    /// The runner says no.
    #[error("{0}")]
    Refused(String),
    /// The system refused.
    #[error("{action}")]
    Io {
        /// What was tried.
        action: String,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

fn list(dirs: &[PathBuf]) -> String {
    dirs.iter().map(|dir| format!("  {}", dir.display())).collect::<Vec<_>>().join("\n")
}

fn failed(action: impl Into<String>) -> impl FnOnce(io::Error) -> ClientError {
    let action = action.into();
    move |source| ClientError::Io { action, source }
}

/// A running network, seen from another process.
#[derive(Debug, Clone)]
pub struct Found {
    dir: PathBuf,
}

impl Found {
    /// Finds the network: by its state folder, else by `result` in the current folder, else the only one that runs.
    ///
    /// # Errors
    /// There is none, or there are several.
    pub fn find(state_dir: Option<&Path>, host: &Host) -> Result<Self, ClientError> {
        if let Some(dir) = state_dir.or(host.state_dir.as_deref()) {
            let found = Self { dir: dir.canonicalize().map_err(|_| ClientError::NotRunning { dir: dir.to_owned() })? };
            found.connect()?;
            return Ok(found);
        }
        let mut dirs = state::running(&host.base_dir);
        if let Ok(result) = host.current_dir.join("result").canonicalize() {
            let of_result = |dir: &&PathBuf| dir.join(state::RESULT).canonicalize().is_ok_and(|its| its == result);
            let mut matching: Vec<PathBuf> = dirs.iter().filter(of_result).cloned().collect();
            match matching.len() {
                0 => {}
                1 => return Ok(Self { dir: matching.remove(0) }),
                _ => return Err(ClientError::Several { dirs: matching }),
            }
        }
        match dirs.len() {
            0 => Err(ClientError::None),
            1 => Ok(Self { dir: dirs.remove(0) }),
            _ => Err(ClientError::Several { dirs }),
        }
    }

    /// The state folder.
    #[must_use]
    pub fn state_dir(&self) -> &Path {
        &self.dir
    }

    /// How the network is.
    ///
    /// # Errors
    /// The runner does not answer.
    pub fn status(&self) -> Result<Status, ClientError> {
        match self.ask(&Request::Status)? {
            Reply::Status(status) => Ok(*status),
            other => Err(unexpected(&other)),
        }
    }

    /// Stops the network, or one machine; returns when it is off.
    ///
    /// # Errors
    /// The runner does not answer or knows no such machine.
    pub fn stop(&self, machine: Option<&str>) -> Result<(), ClientError> {
        match self.ask(&Request::Stop { machine: machine.map(str::to_owned) }) {
            Ok(Reply::Done) => Ok(()),
            Ok(other) => Err(unexpected(&other)),
            // The runner ends when its last machine is off, maybe before it answers.
            Err(ClientError::Io { .. }) if machine.is_none() => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Changes the faults of a machine's links.
    ///
    /// # Errors
    /// The runner does not answer, or refuses a name or a value.
    pub fn change_link(&self, machine: &str, change: crate::link::Change) -> Result<(), ClientError> {
        match self.ask(&Request::SetLink { machine: machine.to_owned(), change })? {
            Reply::Done => Ok(()),
            other => Err(unexpected(&other)),
        }
    }

    /// Parts groups of machines; no groups: all are joined again.
    ///
    /// # Errors
    /// The runner does not answer or knows no such machine.
    pub fn partition(&self, groups: Vec<Vec<String>>) -> Result<(), ClientError> {
        match self.ask(&Request::Partition { groups })? {
            Reply::Done => Ok(()),
            other => Err(unexpected(&other)),
        }
    }

    /// Has the runner write a capture (pcapng) to `out` until this process ends or the network does.
    ///
    /// # Errors
    /// The runner does not answer or knows no such machine.
    pub fn capture(&self, machine: Option<&str>, segment: Option<u32>, out: impl AsFd) -> Result<(), ClientError> {
        let stream = self.connect()?;
        let line = serde_json::to_string(&Request::Capture { machine: machine.map(str::to_owned), segment }).unwrap_or_default();
        socket::send_line(&stream, &line, &[out.as_fd()]).map_err(failed("the runner does not answer"))?;
        match read_reply(&stream) {
            // The network has ended, and the capture with it.
            Ok(Reply::Done) | Err(ClientError::Io { .. }) => Ok(()),
            Ok(other) => Err(unexpected(&other)),
            Err(error) => Err(error),
        }
    }

    /// Saves the whole network as a snapshot.
    ///
    /// # Errors
    /// The runner does not answer or refuses: see [`crate::snapshot::save`].
    pub fn save_snapshot(&self, name: &str, replace: crate::snapshot::Replace) -> Result<(), ClientError> {
        self.done(&Request::SaveSnapshot { name: name.to_owned(), replace: replace == crate::snapshot::Replace::Yes })
    }

    /// Returns the whole network to a snapshot.
    ///
    /// # Errors
    /// The runner does not answer or refuses: see [`crate::snapshot::restore`].
    pub fn restore_snapshot(&self, name: &str) -> Result<(), ClientError> {
        self.done(&Request::RestoreSnapshot { name: name.to_owned() })
    }

    /// The snapshots of this network.
    ///
    /// # Errors
    /// The runner does not answer.
    pub fn list_snapshots(&self) -> Result<Vec<crate::snapshot::SnapshotInfo>, ClientError> {
        match self.ask(&Request::ListSnapshots)? {
            Reply::Snapshots(all) => Ok(all),
            other => Err(unexpected(&other)),
        }
    }

    /// Deletes a snapshot of this network.
    ///
    /// # Errors
    /// The runner does not answer, or there is none of the name.
    pub fn delete_snapshot(&self, name: &str) -> Result<(), ClientError> {
        self.done(&Request::DeleteSnapshot { name: name.to_owned() })
    }

    /// Writes a picture of a machine's screen (PNG) to `out`.
    ///
    /// # Errors
    /// The machine has no screen or is not running; `out` cannot be written.
    pub fn screenshot(&self, machine: &str, out: impl AsFd) -> Result<(), ClientError> {
        let stream = self.connect()?;
        let line = serde_json::to_string(&Request::Screenshot { machine: machine.to_owned() }).unwrap_or_default();
        socket::send_line(&stream, &line, &[out.as_fd()]).map_err(failed("the runner does not answer"))?;
        match read_reply(&stream)? {
            Reply::Done => Ok(()),
            other => Err(unexpected(&other)),
        }
    }

    /// Lets a machine's screen be looked at by VNC: on a socket in the state folder, or on a port of 127.0.0.1 (0: one that is free).
    ///
    /// # Errors
    /// The machine has no screen or is not running; the port is taken.
    pub fn vnc(&self, machine: &str, port: Option<u16>) -> Result<Viewing, ClientError> {
        match self.ask(&Request::Vnc { machine: machine.to_owned(), port })? {
            Reply::Viewing(place) => Ok(place),
            other => Err(unexpected(&other)),
        }
    }

    /// Sets the links of a machine up or down.
    ///
    /// # Errors
    /// The runner does not answer or knows no such machine.
    pub fn set_link(&self, machine: &str, up: bool) -> Result<(), ClientError> {
        match self.ask(&Request::Link { machine: machine.to_owned(), up })? {
            Reply::Done => Ok(()),
            other => Err(unexpected(&other)),
        }
    }

    /// Writes what a machine wrote on its console so far, and with `follow` what comes, to `out`, safe for a terminal.
    ///
    /// # Errors
    /// No such machine, or the log cannot be read.
    pub fn logs(&self, machine: &str, follow: bool, out: &mut dyn Write) -> Result<(), ClientError> {
        let name = self.machine(machine)?;
        let path = self.dir.join(&name).join("console.log");
        let action = || format!("cannot read {}", path.display());
        let mut file = std::fs::File::open(&path).map_err(failed(action()))?;
        let mut lines = LineReader::new();
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let len = file.read(&mut buffer).map_err(failed(action()))?;
            let mut text = String::new();
            lines.push(&buffer[..len], &mut |line| text.push_str(&format!("{line}\n")));
            if len == 0 && !follow {
                text.extend(lines.take_rest().map(|line| format!("{line}\n")));
            }
            if out.write_all(text.as_bytes()).is_err() {
                return Ok(());
            }
            if len == 0 {
                if !follow || self.connect().is_err() {
                    return Ok(());
                }
                // A log has no end to wait for; the runner's end is seen above.
                std::thread::sleep(Duration::from_millis(200));
            }
        }
    }

    /// Becomes the host's ssh, connected to a machine. Returns only when that fails.
    #[must_use]
    pub fn ssh(&self, machine: &str, command: &[OsString], host: &Host) -> ClientError {
        let (user, word) = match machine.split_once('@') {
            Some((user, word)) => (Some(user), word),
            None => (None, machine),
        };
        let name = match self.machine(word) {
            Ok(name) => name,
            Err(error) => return error,
        };
        let Some(program) = nbv_qemu::find::in_path("ssh", host.path.as_deref()) else {
            return ClientError::Refused(
                "ssh was not found in PATH; install the package openssh-client, or use `nixos-build-vms shell`, which needs none".into(),
            );
        };
        let mut ssh = Command::new(program);
        ssh.arg("-F").arg(self.dir.join(ssh::CONFIG));
        if let Some(user) = user {
            ssh.arg("-l").arg(user);
        }
        // What follows the name is the command; flags in it are its own.
        ssh.arg("--").arg(name).args(command);
        failed("cannot run ssh")(ssh.exec())
    }

    /// Connects standard input and output to the machine's private sshd until one of them ends: ssh's ProxyCommand.
    ///
    /// # Errors
    /// The machine does not answer.
    pub fn proxy(&self, machine: &str) -> Result<u8, ClientError> {
        self.session(&Request::Ssh { machine: machine.to_owned() }, false)
    }

    /// Runs a command in a machine over the control channel, or a login shell, and gives its exit status. With a
    /// terminal on standard input it has a terminal in the guest.
    ///
    /// # Errors
    /// The machine does not answer.
    pub fn shell(&self, machine: &str, command: &[String]) -> Result<u8, ClientError> {
        let has_terminal = io::stdin().is_terminal() && io::stdout().is_terminal();
        let mut env = Vec::new();
        if let (true, Ok(term)) = (has_terminal, std::env::var("TERM")) {
            env.push(("TERM".to_owned(), term));
        }
        let terminal = if has_terminal { terminal_size() } else { None };
        let request = Request::Exec { machine: machine.to_owned(), argv: command.to_vec(), env, terminal };
        self.session(&request, terminal.is_some())
    }

    /// Runs a command in a machine without input, and gives what it wrote; its errors go to standard error.
    ///
    /// # Errors
    /// The machine does not answer, or the command failed.
    pub fn output(&self, machine: &str, command: &[String]) -> Result<Vec<u8>, ClientError> {
        let action = || "cannot make a pipe".to_owned();
        let (mut reader, writer) = io::pipe().map_err(failed(action()))?;
        let null = std::fs::File::open("/dev/null").map_err(failed("cannot open /dev/null"))?;
        let stream = self.connect()?;
        let request = Request::Exec { machine: machine.to_owned(), argv: command.to_vec(), env: Vec::new(), terminal: None };
        let line = serde_json::to_string(&request).unwrap_or_default();
        socket::send_line(&stream, &line, &[null.as_fd(), writer.as_fd(), io::stderr().as_fd()]).map_err(failed("the runner does not answer"))?;
        drop(writer);
        let mut output = Vec::new();
        // It ends when the runner closes its end.
        reader.read_to_end(&mut output).map_err(failed("the runner does not answer"))?;
        match read_reply(&stream)? {
            Reply::Exit(0) => Ok(output),
            Reply::Exit(code) => Err(ClientError::Refused(format!("machine {machine}: the command ended with status {code}"))),
            other => Err(unexpected(&other)),
        }
    }

    fn session(&self, request: &Request, has_terminal: bool) -> Result<u8, ClientError> {
        let stream = self.connect()?;
        let line = serde_json::to_string(request).unwrap_or_default();
        let (stdin, stdout, stderr) = (io::stdin(), io::stdout(), io::stderr());
        let raw = if has_terminal { Raw::enter().ok() } else { None };
        socket::send_line(&stream, &line, &[stdin.as_fd(), stdout.as_fd(), stderr.as_fd()]).map_err(failed("the runner does not answer"))?;
        let _watcher = if has_terminal { watch_size(&stream) } else { None };
        let reply = read_reply(&stream);
        drop(raw);
        match reply? {
            Reply::Exit(code) => Ok(code),
            other => Err(unexpected(&other)),
        }
    }

    /// The plan of the machines that take part.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn plan(&self) -> Result<NetworkPlan, ClientError> {
        let path = self.dir.join(state::PLAN);
        let text = std::fs::read_to_string(&path).map_err(failed(format!("cannot read {}", path.display())))?;
        NetworkPlan::parse(&text).map_err(|error| ClientError::Refused(format!("{}: {error}", path.display())))
    }

    fn machine(&self, word: &str) -> Result<String, ClientError> {
        let plan = self.plan()?;
        let known = || plan.machines.iter().map(|machine| machine.name.as_str()).collect::<Vec<_>>().join(", ");
        let found = plan.find(word).map(|machine| machine.name.clone());
        found.ok_or_else(|| ClientError::NoMachine { name: word.to_owned(), known: known() })
    }

    fn connect(&self) -> Result<UnixStream, ClientError> {
        socket::connect(&self.dir.join(state::SOCKET)).map_err(|_| ClientError::NotRunning { dir: self.dir.clone() })
    }

    fn done(&self, request: &Request) -> Result<(), ClientError> {
        match self.ask(request)? {
            Reply::Done => Ok(()),
            other => Err(unexpected(&other)),
        }
    }

    fn ask(&self, request: &Request) -> Result<Reply, ClientError> {
        let stream = self.connect()?;
        let line = serde_json::to_string(request).unwrap_or_default();
        socket::send_line(&stream, &line, &[]).map_err(failed("the runner does not answer"))?;
        read_reply(&stream)
    }
}

fn read_reply(stream: &UnixStream) -> Result<Reply, ClientError> {
    let line = LineStream::new(stream).next_line().map_err(failed("the runner does not answer"))?;
    let line = line.ok_or_else(|| failed("the runner ended")(io::ErrorKind::UnexpectedEof.into()))?;
    match serde_json::from_str(&line) {
        Ok(Reply::Error(reason)) => Err(ClientError::Refused(reason)),
        Ok(reply) => Ok(reply),
        Err(error) => Err(ClientError::Refused(format!("the runner's answer is not understood: {error}"))),
    }
}

fn unexpected(reply: &Reply) -> ClientError {
    ClientError::Refused(format!("the runner's answer is not understood: {reply:?}"))
}

/// The terminal without its own line editing, until dropped.
struct Raw {
    before: rustix::termios::Termios,
}

impl Raw {
    fn enter() -> io::Result<Self> {
        let before = rustix::termios::tcgetattr(io::stdin())?;
        let mut raw = before.clone();
        raw.make_raw();
        rustix::termios::tcsetattr(io::stdin(), rustix::termios::OptionalActions::Now, &raw)?;
        Ok(Self { before })
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        let _ = rustix::termios::tcsetattr(io::stdin(), rustix::termios::OptionalActions::Now, &self.before);
    }
}

fn terminal_size() -> Option<Terminal> {
    let size = rustix::termios::tcgetwinsize(io::stdin()).ok()?;
    Some(Terminal { rows: size.ws_row, columns: size.ws_col })
}

/// Tells the runner when the terminal's size changes.
fn watch_size(stream: &UnixStream) -> Option<std::thread::JoinHandle<()>> {
    let stream = stream.try_clone().ok()?;
    let mut signals = signal_hook::iterator::Signals::new([signal_hook::consts::SIGWINCH]).ok()?;
    let watch = move || {
        for _ in signals.forever() {
            let Some(size) = terminal_size() else { continue };
            let line = serde_json::to_string(&Word::Resize(size)).unwrap_or_default();
            if socket::send_line(&stream, &line, &[]).is_err() {
                return;
            }
        }
    };
    std::thread::Builder::new().name("size".into()).spawn(watch).ok()
}
