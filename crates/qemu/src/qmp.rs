//! QEMU's monitor: commands with their answers, and events.
//!
//! One thread reads; any thread may ask. Each question has a deadline, so a QEMU that hangs holds nobody.

use std::collections::{HashMap, VecDeque};
use std::io::{BufRead, BufReader, IoSlice, Write};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};
use serde_json::{Value, json};

/// What QEMU reports by itself.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// The machine ends.
    Shutdown {
        /// Why: `guest-shutdown`, `guest-reset`, `host-qmp-quit`, ...
        reason: String,
    },
    /// The guest said that it panicked.
    Panicked,
    /// The machine was stopped (paused).
    Stop,
    /// The machine runs again.
    Resume,
    /// The monitor is closed: QEMU has ended. The last event.
    Closed,
    /// Any other.
    Other {
        /// Its name.
        name: String,
        /// Its data.
        data: Value,
    },
}

impl Event {
    fn parse(message: &Value) -> Option<Self> {
        let data = message.get("data").cloned().unwrap_or(Value::Null);
        Some(match message.get("event")?.as_str()? {
            "SHUTDOWN" => Self::Shutdown { reason: data.get("reason").and_then(Value::as_str).unwrap_or("unknown").to_owned() },
            "GUEST_PANICKED" => Self::Panicked,
            "STOP" => Self::Stop,
            "RESUME" => Self::Resume,
            name => Self::Other { name: name.to_owned(), data },
        })
    }
}

/// Why a command had no good answer.
#[derive(Debug, thiserror::Error)]
pub enum QmpError {
    /// QEMU refused.
    #[error("QEMU refused `{command}`: {reason}")]
    Refused {
        /// The command.
        command: String,
        /// QEMU's words.
        reason: String,
    },
    /// No answer in time.
    #[error("QEMU did not answer `{command}` within {} s", .deadline.as_secs_f32())]
    Late {
        /// The command.
        command: String,
        /// How long was waited.
        deadline: Duration,
    },
    /// The monitor is closed: the machine ended.
    #[error("the machine ended before it answered `{command}`")]
    Closed {
        /// The command.
        command: String,
    },
}

type Answer = Result<Value, String>;

/// Events that are kept for those who ask later.
const EVENTS_MAX: usize = 256;

/// The last events as QEMU wrote them; they are numbered from 0.
#[derive(Default)]
struct Events {
    /// The number of the first that is kept.
    first: u64,
    kept: VecDeque<Value>,
    is_closed: bool,
}

#[derive(Default)]
struct Waiting {
    next: u64,
    answers: HashMap<u64, Sender<Answer>>,
    is_closed: bool,
}

/// A connection to a monitor.
pub struct Qmp {
    stream: Mutex<UnixStream>,
    waiting: Arc<Mutex<Waiting>>,
    events: Arc<(Mutex<Events>, Condvar)>,
}

impl Qmp {
    /// Takes our end of the monitor's socket. The commands that open the session are sent at once, so
    /// QEMU may be started before or after. `on_event` is called from the reading thread.
    ///
    /// # Errors
    /// No threads or descriptors left.
    pub fn open(socket: OwnedFd, mut on_event: impl FnMut(Event) + Send + 'static) -> std::io::Result<Self> {
        let stream = UnixStream::from(socket);
        stream.set_write_timeout(Some(Duration::from_secs(5)))?;
        let waiting = Arc::new(Mutex::new(Waiting::default()));
        let events = Arc::<(Mutex<Events>, Condvar)>::default();
        let reader = BufReader::new(stream.try_clone()?);
        std::thread::Builder::new().name("monitor".into()).spawn({
            let (waiting, events) = (Arc::clone(&waiting), Arc::clone(&events));
            move || {
                read(reader, &waiting, &events, &mut on_event);
                events.0.lock().unwrap_or_else(PoisonError::into_inner).is_closed = true;
                events.1.notify_all();
            }
        })?;
        (&stream).write_all(b"{\"execute\":\"qmp_capabilities\"}\n")?;
        Ok(Self { stream: Mutex::new(stream), waiting, events })
    }

    /// Runs a command and waits for its answer.
    ///
    /// # Errors
    /// QEMU refuses, does not answer in time, or has ended.
    pub fn execute(&self, command: &str, arguments: Value, deadline: Duration) -> Result<Value, QmpError> {
        self.ask(command, arguments, None, deadline)
    }

    /// Gives QEMU a descriptor under a name, by which the next command that wants one takes it.
    ///
    /// # Errors
    /// As [`Self::execute`].
    pub fn give_fd(&self, name: &str, fd: BorrowedFd<'_>, deadline: Duration) -> Result<(), QmpError> {
        self.ask("getfd", json!({ "fdname": name }), Some(fd), deadline).map(drop)
    }

    fn ask(&self, command: &str, arguments: Value, fd: Option<BorrowedFd<'_>>, deadline: Duration) -> Result<Value, QmpError> {
        let closed = || QmpError::Closed { command: command.to_owned() };
        let (sender, answer) = channel();
        let id = {
            let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            if waiting.is_closed {
                return Err(closed());
            }
            waiting.next += 1;
            let id = waiting.next;
            waiting.answers.insert(id, sender);
            id
        };
        let mut message = json!({ "execute": command, "id": id });
        if !arguments.is_null() {
            message["arguments"] = arguments;
        }
        let sent = {
            let mut stream = self.stream.lock().unwrap_or_else(PoisonError::into_inner);
            send(&mut stream, format!("{message}\n").as_bytes(), fd)
        };
        let answer = if sent.is_ok() { answer.recv_timeout(deadline) } else { Err(RecvTimeoutError::Disconnected) };
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).answers.remove(&id);
        match answer {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(reason)) => Err(QmpError::Refused { command: command.to_owned(), reason }),
            Err(RecvTimeoutError::Timeout) => Err(QmpError::Late { command: command.to_owned(), deadline }),
            Err(RecvTimeoutError::Disconnected) => Err(closed()),
        }
    }

    /// The number that the next event will have.
    #[must_use]
    pub fn next_event(&self) -> u64 {
        let events = self.events.0.lock().unwrap_or_else(PoisonError::into_inner);
        events.first + events.kept.len() as u64
    }

    /// The event of that number as QEMU wrote it, with its number: a later one where it is no longer kept. Waits for it; `None` when it
    /// did not come in time, or QEMU ended without.
    #[must_use]
    pub fn event(&self, number: u64, deadline: Duration) -> Option<(u64, Value)> {
        let end = Instant::now() + deadline;
        let mut events = self.events.0.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let number = number.max(events.first);
            if let Some(event) = usize::try_from(number - events.first).ok().and_then(|index| events.kept.get(index)) {
                return Some((number, event.clone()));
            }
            let left = end.saturating_duration_since(Instant::now());
            if events.is_closed || left.is_zero() {
                return None;
            }
            events = self.events.1.wait_timeout(events, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Runs a command of the monitor for people and gives its text.
    ///
    /// # Errors
    /// As [`Self::execute`].
    pub fn human(&self, command: &str, deadline: Duration) -> Result<String, QmpError> {
        let answer = self.execute("human-monitor-command", json!({ "command-line": command }), deadline)?;
        Ok(answer.as_str().unwrap_or_default().to_owned())
    }
}

/// Sends a whole message, with a descriptor beside its first byte.
fn send(stream: &mut UnixStream, bytes: &[u8], fd: Option<BorrowedFd<'_>>) -> std::io::Result<()> {
    let Some(fd) = fd else { return stream.write_all(bytes) };
    let fds = [fd];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !ancillary.push(SendAncillaryMessage::ScmRights(&fds)) {
        return Err(std::io::Error::other("no room for a descriptor"));
    }
    let sent = rustix::net::sendmsg(&*stream, &[IoSlice::new(bytes)], &mut ancillary, SendFlags::NOSIGNAL)?;
    stream.write_all(&bytes[sent..])
}

fn read(mut reader: impl BufRead, waiting: &Mutex<Waiting>, events: &(Mutex<Events>, Condvar), on_event: &mut dyn FnMut(Event)) {
    let mut line = Vec::new();
    loop {
        line.clear();
        match reader.read_until(b'\n', &mut line) {
            Ok(0) | Err(_) => break,
            Ok(_) => {}
        }
        let Ok(message) = serde_json::from_slice::<Value>(&line) else { continue };
        if let Some(event) = Event::parse(&message) {
            let mut kept = events.0.lock().unwrap_or_else(PoisonError::into_inner);
            kept.kept.push_back(message);
            if kept.kept.len() > EVENTS_MAX {
                kept.kept.pop_front();
                kept.first += 1;
            }
            drop(kept);
            events.1.notify_all();
            on_event(event);
        } else if let Some(id) = message.get("id").and_then(Value::as_u64) {
            let answer = match message.get("error") {
                Some(error) => Err(error.get("desc").and_then(Value::as_str).unwrap_or("no reason given").to_owned()),
                None => Ok(message.get("return").cloned().unwrap_or(Value::Null)),
            };
            let sender = waiting.lock().unwrap_or_else(PoisonError::into_inner).answers.remove(&id);
            if let Some(sender) = sender {
                let _ = sender.send(answer);
            }
        }
    }
    let mut waiting = waiting.lock().unwrap_or_else(PoisonError::into_inner);
    waiting.is_closed = true;
    waiting.answers.clear();
    drop(waiting);
    on_event(Event::Closed);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A QEMU without a machine, which answers and ends.
    #[test]
    fn a_real_monitor_answers_refuses_reports_and_closes() {
        let Some(program) = crate::find::in_path("qemu-system-x86_64", std::env::var_os("PATH").as_deref()) else {
            panic!("qemu-system-x86_64 is needed for this test: install qemu-system-x86");
        };
        let (ours, theirs) = UnixStream::pair().unwrap();
        let theirs = OwnedFd::from(theirs);
        let number = std::os::fd::AsRawFd::as_raw_fd(&theirs);
        let args = ["-nodefaults", "-no-user-config", "-display", "none", "-M", "none", "-mon", "chardev=m,mode=control", "-chardev"];
        let mut args: Vec<std::ffi::OsString> = args.iter().map(std::ffi::OsString::from).collect();
        args.push(format!("socket,id=m,fd={number}").into());
        let (exited, exits) = channel();
        let line = crate::process::CommandLine { program, args, fds: vec![theirs] };
        let _process = crate::process::spawn(line, move |exit| exited.send(exit).unwrap_or(())).unwrap();
        let (sender, events) = channel();
        let qmp = Qmp::open(ours.into(), move |event| sender.send(event).unwrap_or(())).unwrap();
        let deadline = Duration::from_secs(30);
        assert!(qmp.execute("query-status", Value::Null, deadline).unwrap().get("running").is_some());
        assert!(matches!(qmp.execute("no-such", Value::Null, deadline), Err(QmpError::Refused { .. })));
        assert!(qmp.human("info version", deadline).unwrap().contains('.'));
        qmp.execute("quit", Value::Null, deadline).unwrap();
        assert_eq!(events.recv_timeout(deadline).unwrap(), Event::Shutdown { reason: "host-qmp-quit".into() });
        let (number, event) = qmp.event(0, deadline).unwrap();
        assert_eq!((number, event.get("event").and_then(Value::as_str), qmp.next_event()), (0, Some("SHUTDOWN"), 1));
        assert_eq!(qmp.event(1, deadline), None, "QEMU has ended");
        assert_eq!(events.recv_timeout(deadline).unwrap(), Event::Closed);
        assert_eq!(exits.recv_timeout(deadline).unwrap().code, Some(0));
        assert!(matches!(qmp.execute("query-status", Value::Null, deadline), Err(QmpError::Closed { .. })));
    }
}
