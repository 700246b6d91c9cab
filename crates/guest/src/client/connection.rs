//! The stream: greeting, reader thread, notices, small requests.

use super::session::{Channel, Session};
use super::{Error, Result, Spec};
use crate::protocol::{self as p, encode, number};
use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Credit for output that is given at first, bytes.
pub(crate) const WINDOW: u32 = 1 << 20;

/// A word of the guest about itself, as `sd_notify` has it: lines `READY=1`, `STATUS=...`, `X_SYSTEMD_UNIT_ACTIVE=...`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// The text.
    pub text: String,
    /// Whether it was told before, to an earlier connection.
    pub repeated: bool,
}

type OnNotice = Box<dyn Fn(&Notice) + Send + Sync>;
type Ender = Box<dyn FnOnce() + Send>;

/// How to connect.
#[derive(Default)]
pub struct Options {
    /// Called by the reading thread for each notice; must not block and must not call the client.
    pub on_notice: Option<OnNotice>,
}

#[derive(Default)]
struct State {
    writer_generation: u64,
    connected: bool,
    channels: HashMap<u16, Arc<Channel>>,
    next: u16,
    ready: bool,
    status: Option<String>,
    answers: HashMap<u16, (u8, Vec<u8>)>,
    ender: Option<Ender>,
}

struct Writer {
    generation: u64,
    stream: Option<Box<dyn Write + Send>>,
}

pub(crate) struct Inner {
    state: Mutex<State>,
    changed: Condvar,
    writer: Mutex<Writer>,
    on_notice: Option<OnNotice>,
}

/// A connection to a guest's control program. Clones share it. When the last clone and session are gone, it ends.
#[derive(Clone)]
pub struct Client {
    inner: Arc<Inner>,
    // apart from `Inner`, which the reading thread holds too
    _last: Arc<Last>,
}

struct Last(std::sync::Weak<Inner>);

impl Drop for Last {
    fn drop(&mut self) {
        if let Some(inner) = self.0.upgrade() {
            inner.disconnect(None);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn nonce() -> io::Result<[u8; 16]> {
    let mut bytes = [0; 16];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// Skips what an earlier connection left, up to the answer to our greeting.
fn find_greeting(reader: &mut impl Read, nonce: &[u8; 16]) -> io::Result<(u32, u32)> {
    let mut want = p::MAGIC.to_vec();
    want.extend_from_slice(nonce);
    let mut window = vec![0_u8; want.len()];
    reader.read_exact(&mut window)?;
    let mut byte = [0_u8; 1];
    while window != want {
        reader.read_exact(&mut byte)?;
        window.remove(0);
        window.push(byte[0]);
    }
    let mut rest = [0_u8; 8];
    reader.read_exact(&mut rest)?;
    Ok((number(&rest, 0), number(&rest, 4)))
}

impl Client {
    /// Connects over a socket (QEMU's chardev of the port `nbv.control`). `limit` is the time until the guest must have greeted: its
    /// whole start until the control program runs.
    ///
    /// # Errors
    /// [`Error::NoGreeting`], [`Error::Version`], [`Error::Io`].
    pub fn connect(stream: UnixStream, limit: Duration) -> Result<Client> {
        Client::connect_with(stream, limit, Options::default())
    }

    /// The same with options.
    ///
    /// # Errors
    /// As [`Client::connect`].
    pub fn connect_with(stream: UnixStream, limit: Duration, options: Options) -> Result<Client> {
        let client = Client::unconnected(options);
        client.reconnect(stream, limit)?;
        Ok(client)
    }

    /// A client that is to be connected by [`Client::reconnect`] or [`Client::reconnect_over`].
    pub fn unconnected(options: Options) -> Client {
        let inner = Arc::new(Inner {
            state: Mutex::default(),
            changed: Condvar::new(),
            writer: Mutex::new(Writer { generation: 0, stream: None }),
            on_notice: options.on_notice,
        });
        Client { _last: Arc::new(Last(Arc::downgrade(&inner))), inner }
    }

    /// Connects again: after the stream was lost, or the machine was restored. Sessions of before end with [`Error::Disconnected`];
    /// their programs are killed by the guest.
    ///
    /// # Errors
    /// As [`Client::connect`].
    pub fn reconnect(&self, stream: UnixStream, limit: Duration) -> Result<()> {
        let reader = stream.try_clone()?;
        let ender = stream.try_clone()?;
        self.reconnect_over(
            reader,
            stream,
            Box::new(move || {
                let _ = ender.shutdown(std::net::Shutdown::Both);
            }),
            limit,
        )
    }

    /// Connects over any two halves of a stream; `ender` must make a blocked read end.
    ///
    /// # Errors
    /// As [`Client::connect`].
    pub fn reconnect_over(
        &self,
        mut reader: impl Read + Send + 'static,
        mut writer: impl Write + Send + 'static,
        ender: Ender,
        limit: Duration,
    ) -> Result<()> {
        self.inner.disconnect(None);
        let generation = {
            let mut state = lock(&self.inner.state);
            state.writer_generation += 1;
            state.ender = Some(ender);
            state.writer_generation
        };
        let nonce = nonce()?;
        let mut hello = p::MAGIC.to_vec();
        hello.extend_from_slice(&nonce);
        hello.extend_from_slice(&p::VERSION.to_le_bytes());
        let (sender, receiver) = std::sync::mpsc::channel();
        let inner = Arc::clone(&self.inner);
        std::thread::Builder::new().name("guest-control".into()).spawn(move || {
            let mut reader = io::BufReader::with_capacity(2 * p::FRAME_MAX, &mut reader);
            match find_greeting(&mut reader, &nonce) {
                Ok(greeting) => {
                    // whoever waits for the greeting makes the connection count before any frame is read
                    let (go, wait) = std::sync::mpsc::channel::<()>();
                    if sender.send(Ok((greeting, go))).is_err() || wait.recv().is_err() {
                        return;
                    }
                }
                Err(error) => {
                    let _ = sender.send(Err(error));
                    return;
                }
            }
            while let Ok(frame) = p::read_frame(&mut reader) {
                inner.take(generation, frame);
            }
            inner.disconnect(Some(generation));
        })?;
        // The greeting may block: a guest that is not up yet reads nothing (it fits into a socket's buffer).
        let greeting = [vec![0; p::FRAME_MAX], encode(p::HELLO, 0, &hello)].concat();
        let sent = writer.write_all(&greeting).and_then(|()| writer.flush());
        let answer = match sent {
            Ok(()) => receiver.recv_timeout(limit).map_err(|_| Error::NoGreeting(limit)),
            Err(error) => Err(error.into()),
        };
        let go = match answer {
            Ok(Ok(((p::VERSION, super::session::STDIN_WINDOW), go))) => {
                let mut state = lock(&self.inner.state);
                if state.writer_generation != generation {
                    return Err(Error::Disconnected);
                }
                state.connected = true;
                *lock(&self.inner.writer) = Writer { generation, stream: Some(Box::new(writer)) };
                state.next = 1;
                drop(state);
                self.inner.changed.notify_all();
                go
            }
            other => {
                self.inner.disconnect(None);
                return Err(match other {
                    Ok(Ok(((version, _), _))) => Error::Version(version),
                    Ok(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => Error::Disconnected,
                    Ok(Err(error)) => error.into(),
                    Err(error) => error,
                });
            }
        };
        let _ = go.send(());
        Ok(())
    }

    /// Whether the stream is open.
    pub fn is_connected(&self) -> bool {
        lock(&self.inner.state).connected
    }

    /// Ends the connection; sessions end with [`Error::Disconnected`].
    pub fn disconnect(&self) {
        self.inner.disconnect(None);
    }

    /// Runs a program.
    ///
    /// # Errors
    /// [`Error::Start`] when the guest cannot, [`Error::Disconnected`].
    pub fn open(&self, spec: &Spec) -> Result<Session> {
        let session = self.open_only(spec)?;
        session.started(&spec.program())?;
        Ok(session)
    }

    /// As [`Client::open`], without waiting for the guest to say that it runs.
    pub(crate) fn open_only(&self, spec: &Spec) -> Result<Session> {
        let mut flags = 0;
        for (set, flag) in [
            (spec.pty.is_some(), p::FLAG_PTY),
            (spec.merge_stderr, p::FLAG_MERGE),
            (spec.stdin_null && spec.pty.is_none(), p::FLAG_STDIN_NULL),
            (spec.output_null && spec.pty.is_none(), p::FLAG_OUTPUT_NULL),
            (spec.bare, p::FLAG_BARE),
            (spec.may_wait, p::FLAG_SHELL),
        ] {
            if set {
                flags |= flag;
            }
        }
        if spec.argv.is_empty() {
            return Err(Error::Request("there is no program to run"));
        }
        let (rows, columns) = spec.pty.unwrap_or((0, 0));
        let mut body = Vec::new();
        body.extend_from_slice(&flags.to_le_bytes());
        body.extend_from_slice(&WINDOW.to_le_bytes());
        body.extend_from_slice(&rows.to_le_bytes());
        body.extend_from_slice(&columns.to_le_bytes());
        body.extend_from_slice(&(spec.argv.len() as u32).to_le_bytes());
        body.extend_from_slice(&(spec.env.len() as u32).to_le_bytes());
        let mut text = |bytes: &[u8]| {
            if bytes.contains(&0) {
                return Err(Error::Request("a program's name, argument, variable, folder or user has a NUL in it"));
            }
            body.extend_from_slice(bytes);
            body.push(0);
            Ok(())
        };
        text(spec.user.as_deref().unwrap_or_default().as_bytes())?;
        text(spec.cwd.as_deref().unwrap_or_default())?;
        for argument in &spec.argv {
            text(argument)?;
        }
        for (name, value) in &spec.env {
            text(&[name.as_slice(), b"=", value].concat())?;
        }
        let window = super::session::STDIN_WINDOW;
        let channel = self.inner.add_channel(window, flags)?;
        let id = channel.id;
        let session = Session::new(self.clone(), channel, spec);
        let mut rest = body.as_slice();
        while rest.len() > p::BODY_MAX {
            let (part, more) = rest.split_at(p::BODY_MAX);
            self.inner.send(p::OPEN_PART, id, part)?;
            rest = more;
        }
        self.inner.send(p::OPEN, id, rest)?;
        Ok(session)
    }

    fn ask(&self, kind: u8, body: &[u8], limit: Duration) -> Result<(u8, Vec<u8>)> {
        let id = self.inner.add_request()?;
        let sent = self.inner.send(kind, id, body);
        let end = Instant::now() + limit;
        let mut state = lock(&self.inner.state);
        let result = loop {
            if let Some(answer) = state.answers.remove(&id) {
                break if answer.0 == 0 { Err(Error::NoAnswer(limit)) } else { Ok(answer) };
            }
            if sent.is_err() || !state.connected {
                break Err(Error::Disconnected);
            }
            let now = Instant::now();
            if now >= end {
                break Err(Error::NoAnswer(limit));
            }
            state = self
                .inner
                .changed
                .wait_timeout(state, end - now)
                .unwrap_or_else(std::sync::PoisonError::into_inner)
                .0;
        };
        state.channels.remove(&id);
        drop(state);
        sent?;
        result
    }

    /// Asks the guest for a sign of life; the time it took.
    ///
    /// # Errors
    /// [`Error::NoAnswer`], [`Error::Disconnected`].
    pub fn ping(&self, limit: Duration) -> Result<Duration> {
        let start = Instant::now();
        self.ask(p::PING, b"ping", limit)?;
        Ok(start.elapsed())
    }

    /// Sets the guest's clock.
    ///
    /// # Errors
    /// [`Error::Refused`], [`Error::NoAnswer`], [`Error::Disconnected`].
    pub fn set_clock(&self, time: SystemTime) -> Result<()> {
        let time = time.duration_since(UNIX_EPOCH).map_err(|_| Error::Request("the time is before 1970"))?;
        let mut body = time.as_secs().to_le_bytes().to_vec();
        body.extend_from_slice(&time.subsec_nanos().to_le_bytes());
        self.done(p::CLOCK, &body, "set the clock")
    }

    /// Adds random bytes (at most 4096) to the guest's pool, which then reseeds its generator: after a machine was restored.
    ///
    /// # Errors
    /// [`Error::Refused`], [`Error::NoAnswer`], [`Error::Disconnected`].
    pub fn add_entropy(&self, bytes: &[u8]) -> Result<()> {
        if bytes.is_empty() || bytes.len() > 4096 {
            return Err(Error::Request("entropy must be 1 to 4096 bytes"));
        }
        self.done(p::ENTROPY, bytes, "take entropy")
    }

    /// Writes small files, in place, without a program in the guest: mode, name (from the machine's root), content; all together at most
    /// [`crate::protocol::BODY_MAX`] bytes.
    ///
    /// # Errors
    /// [`Error::Refused`] when one cannot be written, [`Error::NoAnswer`], [`Error::Disconnected`].
    pub fn write_files(&self, files: &[(u32, &str, &[u8])]) -> Result<()> {
        let mut body = Vec::new();
        for (mode, name, content) in files {
            body.extend_from_slice(&mode.to_le_bytes());
            body.extend_from_slice(&u32::try_from(content.len()).unwrap_or(u32::MAX).to_le_bytes());
            body.extend_from_slice(name.as_bytes());
            body.push(0);
            body.extend_from_slice(content);
        }
        if body.len() > p::BODY_MAX || files.iter().any(|(_, name, _)| name.contains('\0')) {
            return Err(Error::Request("files of more than 32 kB together, or with a NUL in their names"));
        }
        self.done(p::FILES, &body, "write files")
    }

    fn done(&self, kind: u8, body: &[u8], what: &'static str) -> Result<()> {
        let (_, answer) = self.ask(kind, body, Duration::from_secs(30))?;
        match number(&answer, 0) {
            0 => Ok(()),
            errno => Err(Error::Refused { what, errno: errno as i32 }),
        }
    }

    /// Whether the guest said `READY=1`.
    pub fn is_ready(&self) -> bool {
        lock(&self.inner.state).ready
    }

    /// The guest's last `STATUS=`.
    pub fn status(&self) -> Option<String> {
        lock(&self.inner.state).status.clone()
    }

    /// Waits until the guest said `READY=1`: its init has started everything. False when the time ended first.
    ///
    /// # Errors
    /// [`Error::Disconnected`].
    pub fn wait_ready(&self, limit: Duration) -> Result<bool> {
        let end = Instant::now() + limit;
        let mut state = lock(&self.inner.state);
        loop {
            if state.ready {
                return Ok(true);
            }
            if !state.connected {
                return Err(Error::Disconnected);
            }
            let now = Instant::now();
            if now >= end {
                return Ok(false);
            }
            state = self
                .inner
                .changed
                .wait_timeout(state, end - now)
                .unwrap_or_else(std::sync::PoisonError::into_inner)
                .0;
        }
    }

    pub(crate) fn inner(&self) -> &Inner {
        &self.inner
    }
}

impl Inner {
    /// Writes a frame.
    pub(crate) fn send(&self, kind: u8, channel: u16, body: &[u8]) -> Result<()> {
        let bytes = encode(kind, channel, body);
        let mut writer = lock(&self.writer);
        let Some(stream) = writer.stream.as_mut() else { return Err(Error::Disconnected) };
        match stream.write_all(&bytes).and_then(|()| stream.flush()) {
            Ok(()) => Ok(()),
            Err(error) => {
                let generation = writer.generation;
                drop(writer);
                self.disconnect(Some(generation));
                if matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset) {
                    Err(Error::Disconnected)
                } else {
                    Err(error.into())
                }
            }
        }
    }

    fn free_id(state: &mut State) -> Result<u16> {
        for _ in 0..u16::MAX {
            let id = state.next.max(1);
            state.next = id.wrapping_add(1);
            if !state.channels.contains_key(&id) {
                return Ok(id);
            }
        }
        Err(Error::Request("too many programs at once"))
    }

    fn add_channel(&self, window: u32, flags: u32) -> Result<Arc<Channel>> {
        let mut state = lock(&self.state);
        if !state.connected {
            return Err(Error::Disconnected);
        }
        let id = Self::free_id(&mut state)?;
        let channel = Arc::new(Channel::new(id, window, flags));
        state.channels.insert(id, Arc::clone(&channel));
        Ok(channel)
    }

    fn add_request(&self) -> Result<u16> {
        let channel = self.add_channel(0, 0)?;
        lock(&self.state).answers.remove(&channel.id);
        Ok(channel.id)
    }

    fn take(&self, generation: u64, frame: p::Frame) {
        match frame.kind {
            p::NOTICE => {
                let repeated = frame.body.first() == Some(&1);
                let text = String::from_utf8_lossy(frame.body.get(1..).unwrap_or_default()).into_owned();
                {
                    let mut state = lock(&self.state);
                    for line in text.lines() {
                        if line == "READY=1" {
                            state.ready = true;
                        } else if let Some(status) = line.strip_prefix("STATUS=") {
                            state.status = Some(status.to_owned());
                        }
                    }
                }
                self.changed.notify_all();
                if let Some(on_notice) = &self.on_notice {
                    on_notice(&Notice { text, repeated });
                }
            }
            p::PONG | p::DONE => {
                lock(&self.state).answers.insert(frame.channel, (frame.kind, frame.body));
                self.changed.notify_all();
            }
            kind => {
                let mut state = lock(&self.state);
                if state.writer_generation != generation {
                    return;
                }
                let over = kind == p::CLOSED || kind == p::FAILED;
                let channel = if over {
                    state.channels.remove(&frame.channel)
                } else {
                    state.channels.get(&frame.channel).cloned()
                };
                drop(state);
                if let Some(channel) = channel {
                    channel.take(kind, frame.body);
                }
            }
        }
    }

    /// Ends the connection (only that of a generation, when one is named).
    fn disconnect(&self, generation: Option<u64>) {
        let (channels, ender) = {
            let mut state = lock(&self.state);
            if generation.is_some_and(|generation| generation != state.writer_generation) {
                return;
            }
            state.connected = false;
            state.ready = false;
            state.answers.clear();
            (std::mem::take(&mut state.channels), state.ender.take())
        };
        // first what makes a blocked write end, then the lock that it holds
        if let Some(ender) = ender {
            ender();
        }
        lock(&self.writer).stream = None;
        for channel in channels.into_values() {
            channel.lose();
        }
        self.changed.notify_all();
    }
}
