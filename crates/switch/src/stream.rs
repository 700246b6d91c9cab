//! Frames in a stream of bytes, each behind its length (four bytes, big endian): what QEMU's netdevs `stream` and `socket` speak.
//!
//! Not here: sockets ([`crate::engine`]).

use std::collections::VecDeque;

/// Longest frame that QEMU sends (its NET_BUFSIZE).
pub(crate) const FRAME_MAX: usize = 4096 + 65536;
/// Bytes before a frame.
pub(crate) const LENGTH_LEN: usize = 4;
/// Ends of frames that are remembered: more than a socket's buffer holds.
const ENDS_MAX: usize = 32_768;

/// A length that no frame has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Unsound;

/// The first frame of a stream and what follows it; nothing while it is not whole.
pub(crate) fn next(bytes: &[u8]) -> Result<Option<(&[u8], &[u8])>, Unsound> {
    let Some((length, after)) = bytes.split_first_chunk::<LENGTH_LEN>() else { return Ok(None) };
    let length = u32::from_be_bytes(*length) as usize;
    if length > FRAME_MAX {
        return Err(Unsound);
    }
    Ok(after.split_at_checked(length))
}

/// Both directions of a port, as bytes.
#[derive(Default)]
pub(crate) struct Stream {
    /// The beginning of a frame whose rest has not come.
    rest: Vec<u8>,
    /// What goes out.
    out: Vec<u8>,
    /// How much of `out` is written.
    out_at: usize,
    /// Bytes given to `out` since the beginning.
    given: u64,
    /// Where frames end, counted as `given`: the last of them.
    ends: VecDeque<u64>,
}

impl Stream {
    /// Puts what was kept at the beginning of `buffer`; gives its length.
    pub(crate) fn take_rest(&mut self, buffer: &mut [u8]) -> usize {
        let len = self.rest.len();
        buffer[..len].copy_from_slice(&self.rest);
        self.rest.clear();
        len
    }

    /// Keeps the beginning of a frame.
    pub(crate) fn keep_rest(&mut self, rest: &[u8]) {
        self.rest.clear();
        self.rest.extend_from_slice(rest);
    }

    /// Adds a frame to what goes out.
    pub(crate) fn push(&mut self, frame: &[u8]) {
        self.out.extend_from_slice(&u32::try_from(frame.len()).unwrap_or(u32::MAX).to_be_bytes());
        self.out.extend_from_slice(frame);
        self.given += (LENGTH_LEN + frame.len()) as u64;
        if self.ends.len() == ENDS_MAX {
            self.ends.pop_front();
        }
        self.ends.push_back(self.given);
    }

    /// Bytes that are not written.
    pub(crate) fn waiting(&self) -> usize {
        self.out.len() - self.out_at
    }

    /// What is not written.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.out[self.out_at..]
    }

    /// So much of [`Self::bytes`] is written.
    pub(crate) fn written(&mut self, len: usize) {
        self.out_at += len;
        if self.out_at >= self.out.len() {
            self.out.clear();
            self.out_at = 0;
        }
    }

    /// Forgets what is not written.
    pub(crate) fn clear(&mut self) {
        self.out.clear();
        self.out_at = 0;
    }

    /// Takes back all that the other end has not read, `unread` of it from the socket: the whole frames in it. The rest of a frame whose
    /// beginning was read still goes out.
    pub(crate) fn take_back(&mut self, unread: &[u8]) -> Vec<Box<[u8]>> {
        let mut all = unread.to_vec();
        all.extend_from_slice(self.bytes());
        let read = self.given - all.len() as u64;
        // Where the first frame ends of which something is unread, when something of it was read.
        let is_whole = read == 0 || self.ends.contains(&read);
        let begun = if is_whole { 0 } else { self.ends.iter().find(|end| **end > read).map_or(all.len(), |end| (end - read) as usize) };
        let (begun, mut bytes) = all.split_at(begun.min(all.len()));
        let mut frames = Vec::new();
        while let Ok(Some((frame, after))) = next(bytes) {
            frames.push(Box::from(frame));
            bytes = after;
        }
        self.given = read + begun.len() as u64;
        self.ends.retain(|end| *end <= self.given);
        self.out = begun.to_vec();
        self.out_at = 0;
        frames
    }
}

/// A machine's end of a port.
#[cfg(test)]
pub(crate) struct End {
    stream: std::os::unix::net::UnixStream,
    came: std::cell::RefCell<Vec<u8>>,
}

#[cfg(test)]
impl End {
    pub(crate) fn new(fd: std::os::fd::OwnedFd) -> Self {
        let stream = std::os::unix::net::UnixStream::from(fd);
        stream.set_read_timeout(Some(std::time::Duration::from_secs(5))).unwrap();
        Self { stream, came: Default::default() }
    }

    pub(crate) fn set_patience(&self, patience: std::time::Duration) {
        self.stream.set_read_timeout(Some(patience)).unwrap();
    }

    pub(crate) fn set_nonblocking(&self, is: bool) {
        self.stream.set_nonblocking(is).unwrap();
    }

    pub(crate) fn send(&self, frame: &[u8]) -> std::io::Result<()> {
        let bytes = [&(frame.len() as u32).to_be_bytes()[..], frame].concat();
        std::io::Write::write_all(&mut &self.stream, &bytes)
    }

    /// As QEMU sends: a frame of which a part has gone is finished, another waits for room.
    pub(crate) fn send_if_room(&self, frame: &[u8]) -> bool {
        let bytes = [&(frame.len() as u32).to_be_bytes()[..], frame].concat();
        let mut at = 0;
        while at < bytes.len() {
            match std::io::Write::write(&mut &self.stream, &bytes[at..]) {
                Ok(len) => at += len,
                Err(_) if at == 0 => return false,
                Err(_) => std::thread::yield_now(),
            }
        }
        true
    }

    pub(crate) fn recv(&self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let mut came = self.came.borrow_mut();
        loop {
            if let Ok(Some((frame, after))) = next(&came) {
                let len = frame.len();
                buffer[..len].copy_from_slice(frame);
                let after = after.to_vec();
                *came = after;
                return Ok(len);
            }
            let mut piece = [0; 16 * 1024];
            match std::io::Read::read(&mut &self.stream, &mut piece)? {
                0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
                len => came.extend_from_slice(&piece[..len]),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_found_when_they_are_whole_and_nonsense_is_refused() {
        let mut out = Stream::default();
        out.push(b"one");
        out.push(b"");
        out.push(b"three");
        let bytes = out.bytes().to_vec();
        let Ok(Some((frame, after))) = next(&bytes) else { panic!() };
        assert_eq!((frame, after.len()), (&b"one"[..], 13));
        for len in 0..7 {
            assert_eq!(next(&bytes[..len]), Ok(None));
        }
        assert_eq!(next(&[0xff; 8]), Err(Unsound));
    }

    #[test]
    fn what_is_unread_is_taken_back_but_for_a_frame_that_was_begun() {
        for read in 0..24 {
            let mut stream = Stream::default();
            stream.push(b"aaaa");
            stream.push(b"bbbb");
            stream.push(b"cccc");
            let all = stream.bytes().to_vec();
            // Ten bytes are in the socket or beyond, the others are not written.
            let written = read.max(10);
            stream.written(written);
            let frames = stream.take_back(&all[read..written]);
            let begun = read.div_ceil(8);
            let expected = [&b"aaaa"[..], b"bbbb", b"cccc"];
            assert_eq!(frames.iter().map(|frame| &**frame).collect::<Vec<_>>(), expected[begun..], "{read}");
            assert_eq!(stream.bytes(), &all[read..begun * 8]);
            // What goes out now goes on from there.
            stream.push(b"dd");
            assert_eq!(stream.take_back(&[]).len(), 1);
        }
    }
}
