//! A shell in a machine and the terminal that it believes to be on.
//!
//! Its output goes through a terminal emulator, whose screen the view draws. Input goes through a thread of its own: a guest that takes
//! none must not hold up the view.

use std::io::{Read, Write};
use std::num::NonZeroU16;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};

use nbv_driver::protocol::Terminal;
use nbv_guest::Session;

/// Bytes of output taken at once.
const PIECE: usize = 16 * 1024;

enum Input {
    Keys(Vec<u8>),
    Size(Terminal),
}

/// A shell that runs.
pub(crate) struct Shell {
    pub(crate) machine: usize,
    /// Told from an earlier shell in the same machine.
    pub(crate) number: u64,
    pub(crate) terminal: vt100::Parser,
    input: Sender<Input>,
    size: Terminal,
}

fn number(value: u16) -> NonZeroU16 {
    // A character may take two columns.
    NonZeroU16::new(value.max(2)).unwrap_or(NonZeroU16::MIN)
}

impl Shell {
    /// Takes a session; its output is passed on by `on_output`, and nothing once it has ended.
    ///
    /// # Errors
    /// No threads left, or a session without a terminal.
    pub(crate) fn new(machine: usize, id: u64, mut session: Session, size: Terminal, on_output: impl Fn(Option<Vec<u8>>) + Send + 'static) -> std::io::Result<Self> {
        let missing = || std::io::Error::other("the guest gave no terminal");
        let mut stdin = session.stdin.take().ok_or_else(missing)?;
        let mut stdout = session.stdout.take().ok_or_else(missing)?;
        let session = Arc::new(session);
        let (input, inputs) = channel();
        let resized = Arc::clone(&session);
        std::thread::Builder::new().name("shell-input".into()).spawn(move || {
            for item in inputs {
                let done = match item {
                    Input::Keys(bytes) => stdin.write_all(&bytes).and_then(|()| stdin.flush()).is_ok(),
                    Input::Size(size) => resized.resize(size.rows, size.columns).is_ok(),
                };
                if !done {
                    return;
                }
            }
        })?;
        std::thread::Builder::new().name("shell-output".into()).spawn(move || {
            let mut buffer = vec![0; PIECE];
            while let Ok(len @ 1..) = stdout.read(&mut buffer) {
                on_output(Some(buffer[..len].to_vec()));
            }
            on_output(None);
            drop(session);
        })?;
        let terminal = vt100::Parser::new(number(size.rows), number(size.columns), 0);
        Ok(Self { machine, number: id, terminal, input, size })
    }

    /// Keys for it.
    pub(crate) fn keys(&self, bytes: &[u8]) {
        // It may have ended; that is told by its output.
        let _ = self.input.send(Input::Keys(bytes.to_vec()));
    }

    /// The size of its place on the screen.
    pub(crate) fn resize(&mut self, size: Terminal) {
        if size != self.size {
            self.size = size;
            self.terminal.screen_mut().set_size(number(size.rows), number(size.columns));
            let _ = self.input.send(Input::Size(size));
        }
    }
}
