//! Captures: frames as pcapng, written by a thread of their own so that a slow disk holds up no frame.
//!
//! Not here: the file format ([`crate::pcapng`]).

use std::io::Write;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use crate::pcapng;

/// Bytes of a capture that wait to be written; frames beyond are left out of it.
const WAITING_MAX: usize = 16 << 20;

/// What a capture takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tap {
    /// All frames from and to the ports of a machine (what precedes `/` in a port's name).
    Machine(String),
    /// All frames that enter a segment, at the ports where they enter.
    Segment(u32),
    /// All frames from and to all machines.
    All,
}

/// A running capture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct CaptureId(pub(crate) u64);

pub(crate) struct Capture {
    pub(crate) tap: Tap,
    /// Names of the interfaces in the order of their numbers.
    interfaces: Vec<Interface>,
    /// Bytes of frames that it still takes.
    left: u64,
    buffer: Arc<Buffer>,
}

struct Interface {
    name: String,
    /// Frames that were left out because the disk was slow.
    left_out: u64,
}

impl Interface {
    fn new(name: String) -> Self {
        Self { name, left_out: 0 }
    }
}

#[derive(Default)]
struct Buffer {
    state: Mutex<Waiting>,
    changed: Condvar,
}

#[derive(Default)]
struct Waiting {
    bytes: Vec<u8>,
    /// Nothing more comes.
    is_over: bool,
    /// The writer has written all, or cannot.
    is_written: bool,
}

impl Buffer {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes what comes until the end or until nobody reads.
    fn write_out(&self, mut out: impl Write) {
        loop {
            let mut state = self.lock();
            while state.bytes.is_empty() && !state.is_over {
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            let (bytes, is_over) = (std::mem::take(&mut state.bytes), state.is_over);
            drop(state);
            let is_bad = out.write_all(&bytes).is_err();
            if is_bad || is_over {
                let _ = out.flush();
                let mut state = self.lock();
                (state.is_over, state.is_written) = (true, true);
                state.bytes = Vec::new();
                self.changed.notify_all();
                return;
            }
        }
    }
}

impl Capture {
    /// Starts one that writes to `out`; `interfaces` are there from the start, in this order. It ends with the frame that exceeds `limit` bytes.
    pub(crate) fn start(tap: Tap, interfaces: Vec<String>, limit: u64, out: impl Write + Send + 'static) -> std::io::Result<Self> {
        let buffer = Arc::new(Buffer::default());
        {
            let mut state = buffer.lock();
            pcapng::header(&mut state.bytes);
            interfaces.iter().for_each(|name| pcapng::interface(name, &mut state.bytes));
        }
        let writer = Arc::clone(&buffer);
        std::thread::Builder::new().name("capture".into()).spawn(move || writer.write_out(out))?;
        Ok(Self { tap, interfaces: interfaces.into_iter().map(Interface::new).collect(), left: limit, buffer })
    }

    /// Adds a frame at the port `name`; `time` is in nanoseconds since 1970.
    pub(crate) fn add(&mut self, name: &str, time: u64, is_from_machine: bool, frame: &[u8]) {
        let mut state = self.buffer.lock();
        if state.is_over || self.left == 0 {
            return;
        }
        let was_empty = state.bytes.is_empty();
        let number = self.interfaces.iter().position(|known| known.name == name).unwrap_or_else(|| {
            pcapng::interface(name, &mut state.bytes);
            self.interfaces.push(Interface::new(name.to_owned()));
            self.interfaces.len() - 1
        });
        if state.bytes.len() > WAITING_MAX {
            self.interfaces[number].left_out += 1;
            return;
        }
        self.left = self.left.saturating_sub(frame.len() as u64);
        pcapng::frame(u32::try_from(number).unwrap_or(u32::MAX), time, is_from_machine, frame, &mut state.bytes);
        drop(state);
        if was_empty {
            self.buffer.changed.notify_all();
        }
    }

    /// Ends it at a time (nanoseconds since 1970); what was captured is still written, and how much was left out. Gives what waits for that.
    pub(crate) fn end(self, time: u64) -> impl FnOnce() {
        let mut state = self.buffer.lock();
        for (number, interface) in self.interfaces.iter().enumerate().filter(|(_, interface)| interface.left_out > 0) {
            pcapng::left_out(u32::try_from(number).unwrap_or(u32::MAX), time, interface.left_out, &mut state.bytes);
        }
        state.is_over = true;
        self.buffer.changed.notify_all();
        drop(state);
        let buffer = Arc::clone(&self.buffer);
        move || {
            let mut state = buffer.lock();
            while !state.is_written {
                state = buffer.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_disk_leaves_frames_out_and_the_file_says_how_many() {
        let (reader, writer) = std::os::unix::net::UnixStream::pair().unwrap();
        let mut capture = Capture::start(Tap::All, vec!["a/eth1".into()], u64::MAX, writer).unwrap();
        // Nobody reads: the writer has a piece that the socket does not take, the rest waits, up to the bound.
        let frames = 3 * WAITING_MAX / 60_000;
        for _ in 0..frames {
            capture.add("a/eth1", 1, true, &[7; 60_000]);
        }
        let left_out = capture.interfaces[0].left_out;
        assert!(left_out > frames as u64 / 4, "{left_out}");
        let wait = capture.end(2);
        let mut file = Vec::new();
        std::io::Read::read_to_end(&mut &reader, &mut file).unwrap();
        wait();
        let (mut at, mut kinds, mut last) = (0, std::collections::BTreeMap::<u8, usize>::new(), 0);
        while at < file.len() {
            *kinds.entry(file[at]).or_default() += 1;
            last = at;
            at += u32::from_le_bytes(file[at + 4..at + 8].try_into().unwrap()) as usize;
        }
        assert_eq!(kinds[&6] as u64 + left_out, frames as u64);
        assert_eq!((kinds[&5], u64::from_le_bytes(file[last + 24..last + 32].try_into().unwrap())), (1, left_out));
    }
}
