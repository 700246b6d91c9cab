//! The control channel's protocol, as `src/c/wire.h` has it too.
//!
//! One byte stream (a virtio-serial port) carries *frames* in both directions: a head of 8 bytes, then the body.
//!
//! | bytes | field |
//! | --- | --- |
//! | 0 | type |
//! | 1 | 0 |
//! | 2..4 | channel, u16 |
//! | 4..8 | length of the body, u32, at most [`BODY_MAX`] |
//!
//! All numbers are little-endian. A byte 0 where a head is expected is skipped.
//!
//! **Greeting.** The host sends [`FRAME_MAX`] bytes 0, then [`HELLO`] (magic, 16 random bytes, version u32). The zeros complete
//! whatever frame an earlier connection left unfinished, so that the guest is at a head again; the content never matters.
//! The guest kills what the former host left open, drops what it had queued, and answers [`GUEST_HELLO`] (magic, the
//! same random bytes, version u32, window u32: 65536); the host skips all until it sees magic and its own random bytes. Then the guest
//! repeats the notices that it remembers. This serves the first connection, a later one, and a machine that was restored.
//!
//! **Channels.** The host chooses a free channel number and sends [`OPEN`] (a long one as [`OPEN_PART`]s before it):
//! flags u32, credit u32, rows u16, columns u16, number of arguments u32, number of variables u32, then strings, each with a NUL
//! at its end: user (empty: as control, root), folder (empty: the user's home), the arguments, the environment. The guest answers
//! [`STARTED`] (process u32) or [`FAILED`] (error number u32, text), which ends the channel. Then [`STDOUT`], [`STDERR`],
//! [`END`] (u8: 1 standard output, 2 standard error), [`EXIT`] (0 and the status, or 1 and the signal; two u32) in any order, and
//! [`CLOSED`] last: the number is free again. [`CLOSE`] kills a program that has not ended,
//! with everything that it started, and is answered by [`CLOSED`].
//!
//! **Credit.** Data for a program's input may be sent as far as the guest gave credit: the window of its greeting at first, more by
//! [`GUEST_CREDIT`] (u32). Output comes as far as the host gave credit: that of [`OPEN`], more by [`CREDIT`]; both outputs share it.

use std::io::{self, Read};

/// Version of the protocol.
pub const VERSION: u32 = 1;
/// Length of a head.
pub const HEAD: usize = 8;
/// The longest frame, head included.
pub const FRAME_MAX: usize = 32768;
/// The longest body.
pub const BODY_MAX: usize = FRAME_MAX - HEAD;
/// Begins both greetings.
pub const MAGIC: [u8; 16] = *b"nbv-control\r\n\0\xff\n";

/// Host: greeting.
pub const HELLO: u8 = 1;
/// Host: run a program.
pub const OPEN: u8 = 2;
/// Host: a part of what [`OPEN`] ends.
pub const OPEN_PART: u8 = 3;
/// Host: data for the program's standard input.
pub const STDIN: u8 = 4;
/// Host: its end.
pub const STDIN_END: u8 = 5;
/// Host: signal number u8, scope u8.
pub const SIGNAL: u8 = 6;
/// Host: rows u16, columns u16.
pub const WINDOW_SIZE: u8 = 7;
/// Host: so many more bytes of output, u32.
pub const CREDIT: u8 = 8;
/// Host: give the channel up, kill everything in it.
pub const CLOSE: u8 = 9;
/// Host: up to 64 bytes that come back.
pub const PING: u8 = 10;
/// Host: seconds s64, nanoseconds u32.
pub const CLOCK: u8 = 11;
/// Host: random bytes for the kernel's pool, which then reseeds.
pub const ENTROPY: u8 = 12;
/// Host: files to write; for each mode u32, length u32, name with a NUL at its end, content.
pub const FILES: u8 = 13;

/// Guest: greeting.
pub const GUEST_HELLO: u8 = 0x81;
/// Guest: the program runs.
pub const STARTED: u8 = 0x82;
/// Guest: it does not.
pub const FAILED: u8 = 0x83;
/// Guest: standard output.
pub const STDOUT: u8 = 0x84;
/// Guest: standard error.
pub const STDERR: u8 = 0x85;
/// Guest: end of an output.
pub const END: u8 = 0x86;
/// Guest: the program ended.
pub const EXIT: u8 = 0x87;
/// Guest: credit for standard input, u32.
pub const GUEST_CREDIT: u8 = 0x88;
/// Guest: the channel is over.
pub const CLOSED: u8 = 0x89;
/// Guest: answer to [`PING`].
pub const PONG: u8 = 0x8a;
/// Guest: u8 (1 when repeated after a greeting), then text as `sd_notify` has it.
pub const NOTICE: u8 = 0x8b;
/// Guest: error number u32 (0: done) for [`CLOCK`], [`ENTROPY`] and [`FILES`].
pub const DONE: u8 = 0x8c;
/// Guest: the program reads no input any more.
pub const STDIN_GONE: u8 = 0x8d;

/// Flag of [`OPEN`]: on a terminal of its own.
pub const FLAG_PTY: u32 = 1;
/// Flag of [`OPEN`]: standard error goes where standard output goes.
pub const FLAG_MERGE: u32 = 2;
/// Flag of [`OPEN`]: standard input is empty.
pub const FLAG_STDIN_NULL: u32 = 4;
/// Flag of [`OPEN`]: both outputs are thrown away.
pub const FLAG_OUTPUT_NULL: u32 = 8;
/// Flag of [`OPEN`]: no variables but the given ones.
pub const FLAG_BARE: u32 = 16;
/// Flag of [`OPEN`]: the program is bash, which may have been loaded before (`c/waiting.c`).
pub const FLAG_SHELL: u32 = 32;

/// A frame as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) channel: u16,
    pub(crate) body: Vec<u8>,
}

/// The bytes of a frame. The body must not be longer than [`BODY_MAX`].
pub(crate) fn encode(kind: u8, channel: u16, body: &[u8]) -> Vec<u8> {
    debug_assert!(body.len() <= BODY_MAX);
    let mut bytes = Vec::with_capacity(HEAD + body.len());
    bytes.extend_from_slice(&[kind, 0]);
    bytes.extend_from_slice(&channel.to_le_bytes());
    bytes.extend_from_slice(&(body.len() as u32).to_le_bytes());
    bytes.extend_from_slice(body);
    bytes
}

/// Reads the next frame.
///
/// # Errors
/// As the reader; `UnexpectedEof` when the stream ended; `InvalidData` when the bytes are no frame.
pub(crate) fn read_frame(reader: &mut impl Read) -> io::Result<Frame> {
    let mut head = [0_u8; HEAD];
    reader.read_exact(&mut head)?;
    let length = u32::from_le_bytes([head[4], head[5], head[6], head[7]]) as usize;
    if length > BODY_MAX || head[0] < 0x80 {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("the guest's control program sent no frame (type {}, length {length})", head[0]),
        ));
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    Ok(Frame { kind: head[0], channel: u16::from_le_bytes([head[2], head[3]]), body })
}

/// Number at a place of a body, 0 where it is too short.
pub(crate) fn number(body: &[u8], at: usize) -> u32 {
    body.get(at..at + 4)
        .and_then(|bytes| bytes.try_into().ok())
        .map_or(0, u32::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_back_as_they_were() {
        let frame = Frame { kind: STDOUT, channel: 513, body: b"a\0b\xff".to_vec() };
        let bytes = encode(frame.kind, frame.channel, &frame.body);
        assert_eq!(bytes[..8], [0x84, 0, 1, 2, 4, 0, 0, 0]);
        assert_eq!(read_frame(&mut bytes.as_slice()).expect("a frame"), frame);
        assert!(read_frame(&mut &bytes[..9]).is_err());
        assert!(read_frame(&mut [b'x'; 16].as_slice()).is_err());
    }

    #[test]
    fn damaged_streams_end_or_give_frames_of_the_bytes_that_are_there() {
        let samples = [[encode(GUEST_HELLO, 0, &[1; 40]), encode(STDOUT, 3, b"text"), encode(EXIT, 3, &[0; 8]), encode(NOTICE, 0, b"\0READY=1")].concat()];
        let pieces: [&[u8]; 3] = [b"\x84\0\0\0\xff\xff\xff\xff", b"\x84\0\0\0\0\0\x01\0", &MAGIC];
        nbv_damage::fuzz(&samples, &pieces, 4000, |bytes| {
            let mut rest = bytes;
            while let Ok(frame) = read_frame(&mut rest) {
                assert!(frame.kind >= 0x80 && frame.body.len() <= BODY_MAX);
                let _ = (number(&frame.body, 0), number(&frame.body, 8));
            }
        });
    }

    #[test]
    fn numbers_are_those_of_the_c_side() {
        let header = include_str!("c/wire.h");
        for (name, value) in [
            ("F_HELLO", HELLO), ("F_OPEN", OPEN), ("F_OPEN_PART", OPEN_PART), ("F_STDIN", STDIN), ("F_STDIN_END", STDIN_END),
            ("F_SIGNAL", SIGNAL), ("F_WINDOW_SIZE", WINDOW_SIZE), ("F_CREDIT", CREDIT), ("F_CLOSE", CLOSE), ("F_PING", PING),
            ("F_CLOCK", CLOCK), ("F_ENTROPY", ENTROPY), ("F_FILES", FILES),
        ] {
            assert!(header.contains(&format!("{name} = {value},")), "{name}");
        }
        for (name, value) in [
            ("G_HELLO", GUEST_HELLO), ("G_STARTED", STARTED), ("G_FAILED", FAILED), ("G_STDOUT", STDOUT), ("G_STDERR", STDERR),
            ("G_END", END), ("G_EXIT", EXIT), ("G_CREDIT", GUEST_CREDIT), ("G_CLOSED", CLOSED), ("G_PONG", PONG),
            ("G_NOTICE", NOTICE), ("G_DONE", DONE), ("G_STDIN_GONE", STDIN_GONE),
        ] {
            assert!(header.contains(&format!("{name} = {value:#x},")), "{name}");
        }
        for (name, value) in [
            ("OPEN_PTY", FLAG_PTY), ("OPEN_MERGE", FLAG_MERGE), ("OPEN_STDIN_NULL", FLAG_STDIN_NULL),
            ("OPEN_OUTPUT_NULL", FLAG_OUTPUT_NULL), ("OPEN_BARE", FLAG_BARE), ("OPEN_SHELL", FLAG_SHELL),
        ] {
            assert!(header.contains(&format!("{name} = {value},")), "{name}");
        }
    }
}
