//! A running program: its streams, its end.

use super::connection::{Client, WINDOW};
use super::{Error, ExitStatus, Result, Scope, Spec};
use crate::protocol::{self as p, number};
use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// Bytes of input that a program's channel takes before the guest gave credit.
pub(crate) const STDIN_WINDOW: u32 = 65536;

/// Bytes that came and were not read.
#[derive(Default)]
pub(crate) struct Queue {
    pieces: VecDeque<Vec<u8>>,
    at: usize,
    pub(crate) ended: bool,
    pub(crate) dropped: bool,
}

impl Queue {
    pub(crate) fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    fn read(&mut self, to: &mut [u8]) -> usize {
        let mut done = 0;
        while done < to.len() {
            let Some(piece) = self.pieces.front() else { break };
            let n = (piece.len() - self.at).min(to.len() - done);
            to[done..done + n].copy_from_slice(&piece[self.at..self.at + n]);
            done += n;
            self.at += n;
            if self.at == piece.len() {
                self.pieces.pop_front();
                self.at = 0;
            }
        }
        done
    }

    /// Moves all to the end of `to`; how many bytes.
    pub(crate) fn take_all(&mut self, to: &mut Vec<u8>) -> usize {
        let before = to.len();
        for piece in self.pieces.drain(..) {
            to.extend_from_slice(&piece[self.at..]);
            self.at = 0;
        }
        to.len() - before
    }
}

#[derive(Default)]
pub(crate) struct ChannelState {
    pub(crate) started: Option<u32>,
    pub(crate) failed: Option<(i32, String)>,
    pub(crate) exit: Option<ExitStatus>,
    pub(crate) closed: bool,
    pub(crate) lost: bool,
    pub(crate) stdin_gone: bool,
    pub(crate) stdin_credit: u32,
    pub(crate) outputs: [Queue; 2],
    owed: u32,
}

pub(crate) struct Channel {
    pub(crate) id: u16,
    state: Mutex<ChannelState>,
    changed: Condvar,
}

impl Channel {
    pub(crate) fn new(id: u16, window: u32, flags: u32) -> Self {
        let mut state = ChannelState { stdin_credit: window, ..ChannelState::default() };
        // what the guest does not make a pipe for never ends by a frame
        if flags & p::FLAG_OUTPUT_NULL != 0 {
            state.outputs[0].ended = true;
        }
        if flags & (p::FLAG_OUTPUT_NULL | p::FLAG_MERGE | p::FLAG_PTY) != 0 {
            state.outputs[1].ended = true;
        }
        Channel { id, state: Mutex::new(state), changed: Condvar::new() }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, ChannelState> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Waits for a change, at most until `end`; false when that has passed.
    pub(crate) fn wait<'a>(
        &self,
        state: MutexGuard<'a, ChannelState>,
        end: Option<Instant>,
    ) -> (MutexGuard<'a, ChannelState>, bool) {
        match end {
            None => (self.changed.wait(state).unwrap_or_else(std::sync::PoisonError::into_inner), true),
            Some(end) => {
                let now = Instant::now();
                if now >= end {
                    return (state, false);
                }
                let state = self
                    .changed
                    .wait_timeout(state, end - now)
                    .unwrap_or_else(std::sync::PoisonError::into_inner)
                    .0;
                (state, true)
            }
        }
    }

    pub(crate) fn take(&self, kind: u8, body: Vec<u8>) {
        let mut state = self.lock();
        match kind {
            p::STARTED => state.started = Some(number(&body, 0)),
            p::FAILED => {
                let text = String::from_utf8_lossy(body.get(4..).unwrap_or_default()).into_owned();
                state.failed = Some((number(&body, 0) as i32, text));
                state.closed = true;
            }
            p::STDOUT | p::STDERR => {
                let nobody = state.outputs.iter().all(|queue| queue.dropped);
                if !nobody {
                    state.outputs[usize::from(kind == p::STDERR)].pieces.push_back(body);
                }
            }
            p::END => {
                let which = usize::from(body.first() == Some(&2));
                state.outputs[which].ended = true;
            }
            p::EXIT => {
                let value = number(&body, 4) as u8;
                state.exit = Some(if number(&body, 0) == 0 {
                    ExitStatus::Code(value)
                } else {
                    ExitStatus::Signal(value)
                });
            }
            p::GUEST_CREDIT => state.stdin_credit = state.stdin_credit.saturating_add(number(&body, 0)),
            p::STDIN_GONE => state.stdin_gone = true,
            p::CLOSED => state.closed = true,
            _ => {}
        }
        drop(state);
        self.changed.notify_all();
    }

    pub(crate) fn lose(&self) {
        self.lock().lost = true;
        self.changed.notify_all();
    }

    /// Counts bytes as read; the credit to give back now.
    pub(crate) fn read_so_many(state: &mut ChannelState, n: usize) -> Option<u32> {
        state.owed += n as u32;
        if state.owed < WINDOW / 4 || state.closed {
            return None;
        }
        Some(std::mem::take(&mut state.owed))
    }
}

/// A program in the guest. Dropping it kills the program and all that it started, unless it ended (then what it left running runs on) or
/// [`Session::detach`] was called.
pub struct Session {
    client: Client,
    channel: Arc<Channel>,
    detached: bool,
    program: String,
    /// The program's standard input (absent with `stdin_null`). Dropping it is the end of the input.
    pub stdin: Option<Stdin>,
    /// Its standard output; with a terminal all that it shows. Both outputs share their credit: who reads one for long must read or drop
    /// the other.
    pub stdout: Option<Stream>,
    /// Its standard error (absent with a terminal or `merge_stderr`).
    pub stderr: Option<Stream>,
}

impl Session {
    pub(crate) fn new(client: Client, channel: Arc<Channel>, spec: &Spec) -> Self {
        let pty = spec.pty.is_some();
        let stream = |which| Stream { client: client.clone(), channel: Arc::clone(&channel), which };
        Session {
            stdin: (pty || !spec.stdin_null)
                .then(|| Stdin { client: client.clone(), channel: Arc::clone(&channel), ended: false }),
            stdout: (pty || !spec.output_null).then(|| stream(0)),
            stderr: (!pty && !spec.output_null && !spec.merge_stderr).then(|| stream(1)),
            program: spec.program(),
            client,
            channel,
            detached: false,
        }
    }

    pub(crate) fn channel(&self) -> &Arc<Channel> {
        &self.channel
    }

    pub(crate) fn start_error(&self, failed: &(i32, String)) -> Error {
        Error::Start { program: self.program.clone(), errno: failed.0, text: failed.1.clone() }
    }

    pub(crate) fn started(&self, _program: &str) -> Result<u32> {
        let mut state = self.channel.lock();
        loop {
            if let Some(failed) = &state.failed {
                return Err(self.start_error(failed));
            }
            if let Some(pid) = state.started {
                return Ok(pid);
            }
            if state.lost {
                return Err(Error::Disconnected);
            }
            state = self.channel.wait(state, None).0;
        }
    }

    /// The process number in the guest.
    pub fn pid(&self) -> Option<u32> {
        self.channel.lock().started
    }

    /// Waits for the program's end (not that of its outputs).
    ///
    /// # Errors
    /// [`Error::Disconnected`].
    pub fn wait(&self) -> Result<ExitStatus> {
        self.wait_until(None).map(|status| status.unwrap_or(ExitStatus::Code(255)))
    }

    /// The same for a limited time; nothing when it ended first.
    ///
    /// # Errors
    /// [`Error::Disconnected`].
    pub fn wait_timeout(&self, limit: Duration) -> Result<Option<ExitStatus>> {
        self.wait_until(Some(Instant::now() + limit))
    }

    fn wait_until(&self, end: Option<Instant>) -> Result<Option<ExitStatus>> {
        let mut state = self.channel.lock();
        loop {
            if let Some(status) = state.exit {
                return Ok(Some(status));
            }
            if let Some(failed) = &state.failed {
                return Err(self.start_error(failed));
            }
            if state.lost || state.closed {
                return Err(Error::Disconnected);
            }
            let (next, more) = self.channel.wait(state, end);
            if !more {
                return Ok(None);
            }
            state = next;
        }
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// [`Error::Disconnected`]. A program that has ended is no error.
    pub fn kill(&self, signal: u8, scope: Scope) -> Result<()> {
        self.client.inner().send(p::SIGNAL, self.channel.id, &[signal, scope as u8])
    }

    /// Tells the terminal's size.
    ///
    /// # Errors
    /// [`Error::Disconnected`].
    pub fn resize(&self, rows: u16, columns: u16) -> Result<()> {
        let body = [rows.to_le_bytes(), columns.to_le_bytes()].concat();
        self.client.inner().send(p::WINDOW_SIZE, self.channel.id, &body)
    }

    /// Lets the program run on when this is dropped. Its outputs should be thrown away (`output_null`): once the credit is used up it waits.
    pub fn detach(mut self) {
        self.detached = true;
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let over = {
            let state = self.channel.lock();
            state.closed || state.lost
        };
        if !over && !self.detached {
            let _ = self.client.inner().send(p::CLOSE, self.channel.id, &[]);
        }
    }
}

/// A program's standard input.
pub struct Stdin {
    client: Client,
    channel: Arc<Channel>,
    ended: bool,
}

impl Stdin {
    /// Sends the end of the input (with a terminal the character ^D).
    ///
    /// # Errors
    /// [`Error::Disconnected`].
    pub fn end(&mut self) -> Result<()> {
        if std::mem::replace(&mut self.ended, true) {
            return Ok(());
        }
        let state = self.channel.lock();
        let over = state.closed || state.lost;
        drop(state);
        if over {
            return Ok(());
        }
        self.client.inner().send(p::STDIN_END, self.channel.id, &[])
    }
}

impl Write for Stdin {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.is_empty() {
            return Ok(0);
        }
        let mut state = self.channel.lock();
        let n = loop {
            if self.ended || state.lost || state.closed || state.stdin_gone || state.exit.is_some() {
                return Err(io::ErrorKind::BrokenPipe.into());
            }
            if state.stdin_credit > 0 {
                break (state.stdin_credit as usize).min(bytes.len()).min(p::BODY_MAX);
            }
            state = self.channel.wait(state, None).0;
        };
        state.stdin_credit -= n as u32;
        drop(state);
        self.client
            .inner()
            .send(p::STDIN, self.channel.id, &bytes[..n])
            .map_err(|error| match error {
                Error::Io(error) => error,
                _ => io::ErrorKind::BrokenPipe.into(),
            })?;
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Stdin {
    fn drop(&mut self) {
        let _ = self.end();
    }
}

/// An output of a program. Dropping it throws away what still comes.
pub struct Stream {
    client: Client,
    channel: Arc<Channel>,
    which: usize,
}

impl Read for Stream {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        if to.is_empty() {
            return Ok(0);
        }
        let mut state = self.channel.lock();
        loop {
            let n = state.outputs[self.which].read(to);
            if n > 0 {
                let other = 1 - self.which;
                let mut n_all = n;
                if state.outputs[other].dropped {
                    n_all += state.outputs[other].take_all(&mut Vec::new());
                }
                let credit = Channel::read_so_many(&mut state, n_all);
                drop(state);
                if let Some(credit) = credit {
                    let _ = self.client.inner().send(p::CREDIT, self.channel.id, &credit.to_le_bytes());
                }
                return Ok(n);
            }
            if state.outputs[self.which].ended || state.closed {
                return Ok(0);
            }
            if state.lost {
                return Err(io::Error::new(io::ErrorKind::ConnectionReset, "the control channel is closed"));
            }
            let other = 1 - self.which;
            if state.outputs[other].dropped && !state.outputs[other].is_empty() {
                let n = state.outputs[other].take_all(&mut Vec::new());
                if let Some(credit) = Channel::read_so_many(&mut state, n) {
                    drop(state);
                    let _ = self.client.inner().send(p::CREDIT, self.channel.id, &credit.to_le_bytes());
                    state = self.channel.lock();
                    continue;
                }
            }
            state = self.channel.wait(state, None).0;
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let mut state = self.channel.lock();
        state.outputs[self.which].dropped = true;
        if !(state.closed || state.lost || state.outputs[self.which].ended) && state.outputs[1 - self.which].dropped {
            // nobody reads at all: the program must not wait for that
            drop(state);
            let _ = self.client.inner().send(p::CREDIT, self.channel.id, &u32::MAX.to_le_bytes());
        }
    }
}
