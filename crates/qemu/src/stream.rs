//! QEMU's stream of a machine's state, with the machine's memory taken out into a file of its own.
//!
//! A file that has each page at its place can be mapped by the machine that resumes: nothing is read before it is needed, and what
//! nobody writes is shared by all that map it. The rest (devices, and the small memories of the firmware) stays a stream that QEMU
//! loads as ever; that no page of the main memory comes in it does not disturb it.
//!
//! Layout of the stream (QEMU's docs/devel/migration.rst, version 3; numbers are big-endian): magic and version, the configuration,
//! then sections, each with a footer; iterative ones (start, part, end) come first, and the main memory's is one of them.

use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::os::unix::fs::FileExt;

const MAGIC: u32 = 0x5145_564d;
const VERSION: u32 = 3;
const SECTION_START: u8 = 1;
const SECTION_PART: u8 = 2;
const SECTION_END: u8 = 3;
const SECTION_FULL: u8 = 4;
const CONFIGURATION: u8 = 7;
const FOOTER: u8 = 0x7e;

/// A page of the x86 targets; the low bits of its address hold flags.
const PAGE: usize = 4096;
const FLAG_ZERO: u64 = 0x02;
const FLAG_SIZES: u64 = 0x04;
const FLAG_PAGE: u64 = 0x08;
const FLAG_END: u64 = 0x10;
const FLAG_SAME_BLOCK: u64 = 0x20;
/// Pages that are written to the file at once.
const RUN_MAX: usize = 1 << 20;

/// Why a stream was not taken apart.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    /// It could not be read or written.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// It is not as expected; it must be kept whole.
    #[error("the state of this QEMU has an unknown form ({0})")]
    Unknown(&'static str),
}

/// Reads a stream to its end; pages of the memory block `name` go to `memory`, an empty file, and all else to `rest`.
///
/// Gives the length of that block in bytes; `memory` has that length and holes where there is nothing but zeros.
///
/// # Errors
/// Files fail, or the stream has another form than expected.
pub fn split(stream: impl Read, name: &str, memory: &File, rest: impl Write) -> Result<u64, StreamError> {
    let mut split = Split {
        from: BufReader::with_capacity(256 * 1024, stream),
        to: io::BufWriter::with_capacity(64 * 1024, rest),
        memory,
        name: name.as_bytes().to_vec(),
        block: Vec::new(),
        len: None,
        run: Vec::with_capacity(RUN_MAX),
        run_at: 0,
        written_to: 0,
    };
    split.all()?;
    split.write_run()?;
    split.to.flush()?;
    let len = split.len.ok_or(StreamError::Unknown("the main memory is not in it"))?;
    memory.set_len(len)?;
    Ok(len)
}

struct Split<'a, R: Read, W: Write> {
    from: BufReader<R>,
    to: io::BufWriter<W>,
    memory: &'a File,
    name: Vec<u8>,
    /// Whose pages come without a name.
    block: Vec<u8>,
    len: Option<u64>,
    /// Pages that follow each other, and where they begin.
    run: Vec<u8>,
    run_at: u64,
    /// No page from here on was written.
    written_to: u64,
}

impl<R: Read, W: Write> Split<'_, R, W> {
    fn all(&mut self) -> Result<(), StreamError> {
        if self.pass_u32()? != MAGIC || self.pass_u32()? != VERSION {
            return Err(StreamError::Unknown("its head"));
        }
        let mut memory_section = None;
        loop {
            let kind = self.pass_u8()?;
            match kind {
                CONFIGURATION => {
                    let len = self.pass_u32()?;
                    self.pass(u64::from(len))?;
                }
                SECTION_START => {
                    let id = self.pass_u32()?;
                    let name = self.pass_text()?;
                    self.pass(8)?;
                    // Nothing else is iterative in machines of ours.
                    if name != b"ram" {
                        return Err(StreamError::Unknown("another iterative section"));
                    }
                    memory_section = Some(id);
                    self.pages()?;
                    self.footer(id)?;
                }
                SECTION_PART | SECTION_END => {
                    let id = self.pass_u32()?;
                    if memory_section != Some(id) {
                        return Err(StreamError::Unknown("a part of nothing"));
                    }
                    self.pages()?;
                    self.footer(id)?;
                }
                SECTION_FULL if memory_section.is_some() => {
                    // Devices; no page comes any more.
                    io::copy(&mut self.from, &mut self.to)?;
                    return Ok(());
                }
                _ => return Err(StreamError::Unknown("its order")),
            }
        }
    }

    fn footer(&mut self, id: u32) -> Result<(), StreamError> {
        if self.pass_u8()? == FOOTER && self.pass_u32()? == id { Ok(()) } else { Err(StreamError::Unknown("a section's end")) }
    }

    /// The body of a section of memory.
    fn pages(&mut self) -> Result<(), StreamError> {
        let mut page = [0; PAGE];
        loop {
            let word = self.u64()?;
            let (at, flags) = (word & !(PAGE as u64 - 1), word & (PAGE as u64 - 1));
            if flags & FLAG_SIZES != 0 {
                self.to.write_all(&word.to_be_bytes())?;
                let mut left = at;
                while left > 0 {
                    let name = self.pass_text()?;
                    let len = self.u64()?;
                    self.to.write_all(&len.to_be_bytes())?;
                    left = left.checked_sub(len).filter(|_| len > 0).ok_or(StreamError::Unknown("sizes of memories"))?;
                    if name == self.name {
                        self.len = Some(len);
                    }
                }
                continue;
            }
            if flags == FLAG_END {
                self.to.write_all(&word.to_be_bytes())?;
                return Ok(());
            }
            if flags & !FLAG_SAME_BLOCK != FLAG_ZERO && flags & !FLAG_SAME_BLOCK != FLAG_PAGE {
                return Err(StreamError::Unknown("a page's flags"));
            }
            if flags & FLAG_SAME_BLOCK == 0 {
                self.block = self.text()?;
            }
            let is_zero = flags & FLAG_ZERO != 0;
            let filled = if is_zero { &mut page[..1] } else { &mut page[..] };
            self.from.read_exact(filled)?;
            if self.block == self.name {
                let len = self.len.ok_or(StreamError::Unknown("a page before the sizes"))?;
                if at.checked_add(PAGE as u64).is_none_or(|end| end > len) {
                    return Err(StreamError::Unknown("a page beyond its memory"));
                }
                if is_zero {
                    page.fill(0);
                }
                self.keep(at, &page)?;
            } else {
                self.to.write_all(&(at | flags & !FLAG_SAME_BLOCK).to_be_bytes())?;
                self.to.write_all(&[u8::try_from(self.block.len()).unwrap_or(u8::MAX)])?;
                self.to.write_all(&self.block)?;
                self.to.write_all(if is_zero { &page[..1] } else { &page[..] })?;
            }
        }
    }

    /// A page of the main memory.
    fn keep(&mut self, at: u64, page: &[u8; PAGE]) -> io::Result<()> {
        // A hole reads as zeros; but a page may come again.
        if at >= self.written_to && page.iter().all(|byte| *byte == 0) {
            return Ok(());
        }
        if self.run_at + self.run.len() as u64 != at || self.run.len() >= RUN_MAX {
            self.write_run()?;
            self.run_at = at;
        }
        self.run.extend_from_slice(page);
        self.written_to = self.written_to.max(at + PAGE as u64);
        Ok(())
    }

    fn write_run(&mut self) -> io::Result<()> {
        self.memory.write_all_at(&self.run, self.run_at)?;
        self.run.clear();
        Ok(())
    }

    fn bytes<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        let mut bytes = [0; N];
        self.from.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    fn u64(&mut self) -> io::Result<u64> {
        self.bytes().map(u64::from_be_bytes)
    }

    /// A length in one byte, and so many bytes.
    fn text(&mut self) -> io::Result<Vec<u8>> {
        let [len] = self.bytes()?;
        let mut text = vec![0; usize::from(len)];
        self.from.read_exact(&mut text)?;
        Ok(text)
    }

    fn pass_text(&mut self) -> io::Result<Vec<u8>> {
        let text = self.text()?;
        self.to.write_all(&[u8::try_from(text.len()).unwrap_or(u8::MAX)])?;
        self.to.write_all(&text)?;
        Ok(text)
    }

    fn pass_u8(&mut self) -> io::Result<u8> {
        let bytes: [u8; 1] = self.bytes()?;
        self.to.write_all(&bytes)?;
        Ok(bytes[0])
    }

    fn pass_u32(&mut self) -> io::Result<u32> {
        let bytes = self.bytes()?;
        self.to.write_all(&bytes)?;
        Ok(u32::from_be_bytes(bytes))
    }

    fn pass(&mut self, len: u64) -> io::Result<()> {
        let copied = io::copy(&mut (&mut self.from).take(len), &mut self.to)?;
        if copied == len { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn section(kind: u8, more: &[u8], body: &[&[u8]]) -> Vec<u8> {
        [&[kind, 0, 0, 0, 2], more, &body.concat(), &[FOOTER, 0, 0, 0, 2]].concat()
    }

    fn stream(pages: &[&[u8]]) -> Vec<u8> {
        let mut stream = [MAGIC.to_be_bytes(), VERSION.to_be_bytes()].concat();
        stream.extend([CONFIGURATION, 0, 0, 0, 1, b'm']);
        let end = FLAG_END.to_be_bytes();
        let sizes = [&(6 * PAGE as u64 | FLAG_SIZES).to_be_bytes()[..], b"\x03big", &(4 * PAGE as u64).to_be_bytes(), b"\x02fw", &(2 * PAGE as u64).to_be_bytes()];
        stream.extend(section(SECTION_START, b"\x03ram\0\0\0\0\0\0\0\x04", &[&sizes.concat(), &end]));
        stream.extend(section(SECTION_PART, &[], &[&pages.concat(), &end]));
        stream.extend(section(SECTION_END, &[], &[&end]));
        stream.extend([SECTION_FULL, 1, 2, 3]);
        stream
    }

    fn word(at: u64, flags: u64) -> [u8; 8] {
        (at * PAGE as u64 | flags).to_be_bytes()
    }

    #[test]
    fn pages_go_to_their_places_and_the_rest_stays_a_stream() {
        let (ones, twos) = ([1; PAGE], [2; PAGE]);
        let full = stream(&[
            &word(1, FLAG_PAGE), b"\x03big", &ones, &word(2, FLAG_ZERO | FLAG_SAME_BLOCK), b"\0", &word(3, FLAG_PAGE | FLAG_SAME_BLOCK), &twos,
            &word(0, FLAG_PAGE), b"\x02fw", &twos, &word(1, FLAG_ZERO | FLAG_SAME_BLOCK), b"\0",
        ]);
        let (memory, mut rest) = (tempfile::tempfile().unwrap(), Vec::new());
        assert_eq!(split(full.as_slice(), "big", &memory, &mut rest).unwrap(), 4 * PAGE as u64);
        let mut bytes = vec![9; 4 * PAGE];
        memory.read_exact_at(&mut bytes, 0).unwrap();
        assert!(bytes == [[0; PAGE], ones, [0; PAGE], twos].concat());
        assert!(rest == stream(&[&word(0, FLAG_PAGE), b"\x02fw", &twos, &word(1, FLAG_ZERO), b"\x02fw", b"\0"]));
    }

    #[test]
    fn a_page_that_comes_again_as_zeros_is_zeros() {
        let full = stream(&[&word(1, FLAG_PAGE), b"\x03big", &[1; PAGE], &word(1, FLAG_ZERO | FLAG_SAME_BLOCK), b"\0"]);
        let memory = tempfile::tempfile().unwrap();
        split(full.as_slice(), "big", &memory, io::sink()).unwrap();
        let mut bytes = vec![9; 4 * PAGE];
        memory.read_exact_at(&mut bytes, 0).unwrap();
        assert!(bytes.iter().all(|byte| *byte == 0));
    }

    #[test]
    fn every_cut_and_every_foreign_form_is_an_error() {
        let full = stream(&[&word(1, FLAG_PAGE), b"\x03big", &[1; PAGE]]);
        let memory = tempfile::tempfile().unwrap();
        for len in (0..full.len() - 4).filter(|len| *len < 200 || len % 97 == 0) {
            assert!(split(&full[..len], "big", &memory, io::sink()).is_err(), "{len}");
        }
        assert!(matches!(split(full.as_slice(), "other", &memory, io::sink()), Err(StreamError::Unknown(_))));
        let beyond = stream(&[&word(4, FLAG_PAGE), b"\x03big", &[1; PAGE]]);
        assert!(matches!(split(beyond.as_slice(), "big", &memory, io::sink()), Err(StreamError::Unknown(_))));
        for at in 0..80 {
            let mut bad = full.clone();
            bad[at] ^= 0x55;
            // Whatever comes of it, it is no panic.
            let _ = split(bad.as_slice(), "big", &memory, io::sink());
        }
    }
}
