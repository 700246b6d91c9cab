//! Running a program to its end.

use super::session::Channel;
use super::{Client, Error, ExitStatus, Result, Scope, Spec};
use crate::protocol as p;
use std::time::{Duration, Instant};

/// How a program that ended did, and what it wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// How it ended.
    pub status: ExitStatus,
    /// Its standard output.
    pub stdout: Vec<u8>,
    /// Its standard error.
    pub stderr: Vec<u8>,
}

/// How to run a program to its end.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RunOptions<'a> {
    /// Its standard input.
    pub stdin: &'a [u8],
    /// How long it may take until its end and that of its outputs; then everything that it started is killed.
    pub timeout: Option<Duration>,
    /// How long after its end its outputs may stay open and silent (something that it started holds them); none: until `timeout`. What
    /// it left running then runs on.
    pub linger: Option<Duration>,
    /// The same for standard error once standard output has ended; none: as `linger`.
    pub error_linger: Option<Duration>,
}

impl Client {
    /// Runs a program without input and waits for it.
    ///
    /// # Errors
    /// [`Error::Start`], [`Error::Timeout`], [`Error::Disconnected`]. A status other than 0 is no error.
    pub fn run<A: AsRef<[u8]>>(&self, argv: impl IntoIterator<Item = A>, timeout: Option<Duration>) -> Result<Output> {
        let mut spec = Spec::new(argv);
        spec.stdin_null = true;
        self.run_with(&spec, &RunOptions { timeout, ..RunOptions::default() })
    }

    /// Runs a program and waits for its end and that of its outputs.
    ///
    /// # Errors
    /// As [`Client::run`].
    pub fn run_with(&self, spec: &Spec, options: &RunOptions<'_>) -> Result<Output> {
        let start = Instant::now();
        let deadline = options.timeout.map(|limit| start + limit);
        let session = self.open_only(spec)?;
        let channel = std::sync::Arc::clone(session.channel());
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        let mut input = options.stdin;
        let mut input_ended = spec.stdin_null && spec.pty.is_none();
        let mut ended_at = None;
        loop {
            let mut state = channel.lock();
            let mut n = state.outputs[0].take_all(&mut stdout);
            n += state.outputs[1].take_all(&mut stderr);
            if n > 0 && ended_at.is_some() {
                ended_at = Some(Instant::now());
            }
            if n > 0 && let Some(credit) = Channel::read_so_many(&mut state, n) {
                drop(state);
                self.inner().send(p::CREDIT, channel.id, &credit.to_le_bytes())?;
                continue;
            }
            if let Some(failed) = &state.failed {
                return Err(session.start_error(failed));
            }
            if state.exit.is_some() && ended_at.is_none() {
                ended_at = Some(Instant::now());
            }
            let ends = state.outputs[0].ended && state.outputs[1].ended;
            let linger = if state.outputs[0].ended { options.error_linger.or(options.linger) } else { options.linger };
            let linger_over = match (linger, ended_at) {
                (Some(linger), Some(at)) => Instant::now() >= at + linger,
                _ => false,
            };
            if let Some(status) = state.exit
                && (ends || state.closed || linger_over)
            {
                drop(state);
                return Ok(Output { status, stdout, stderr });
            }
            if state.lost || state.closed {
                return Err(Error::Disconnected);
            }
            if !input_ended {
                let gone = state.stdin_gone || state.exit.is_some();
                let n = (state.stdin_credit as usize).min(input.len()).min(p::BODY_MAX);
                if gone {
                    input_ended = true;
                } else if input.is_empty() {
                    input_ended = true;
                    drop(state);
                    self.inner().send(p::STDIN_END, channel.id, &[])?;
                    continue;
                } else if n > 0 {
                    state.stdin_credit -= n as u32;
                    drop(state);
                    let (now, later) = input.split_at(n);
                    self.inner().send(p::STDIN, channel.id, now)?;
                    input = later;
                    continue;
                }
            }
            let until = match (deadline, linger, ended_at) {
                (end, Some(linger), Some(at)) => Some(end.map_or(at + linger, |end| end.min(at + linger))),
                (end, _, _) => end,
            };
            let (state, more) = channel.wait(state, until);
            drop(state);
            if !more && deadline.is_some_and(|end| Instant::now() >= end) {
                session.kill(9, Scope::All)?;
                let mut state = channel.lock();
                state.outputs[0].take_all(&mut stdout);
                state.outputs[1].take_all(&mut stderr);
                return Err(Error::Timeout {
                    program: spec.program(),
                    limit: options.timeout.unwrap_or_default(),
                    stdout,
                    stderr,
                });
            }
        }
    }
}
