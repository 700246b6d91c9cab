//! Local sockets: paths of any length, lines of JSON, and descriptors passed along.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags};

/// Longest message line.
const LINE_MAX: usize = 1 << 20;

/// A socket's path within the 107 bytes that the system takes: by way of an open folder.
fn short(path: &Path) -> io::Result<(OwnedFd, PathBuf)> {
    let dir = path.parent().unwrap_or(Path::new("/"));
    let fd = rustix::fs::open(dir, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let name = path.file_name().ok_or_else(|| io::Error::other("a socket needs a name"))?;
    let short = PathBuf::from(format!("/proc/self/fd/{}", fd.as_raw_fd())).join(name);
    Ok((fd, short))
}

/// Listens at a path; a socket that was there is replaced.
pub(crate) fn listen(path: &Path) -> io::Result<UnixListener> {
    let _ = std::fs::remove_file(path);
    let (_dir, short) = short(path)?;
    UnixListener::bind(short)
}

/// Connects to a path.
pub(crate) fn connect(path: &Path) -> io::Result<UnixStream> {
    let (_dir, short) = short(path)?;
    UnixStream::connect(short)
}

/// Sends a line, with descriptors beside its first byte.
pub(crate) fn send_line(stream: &UnixStream, line: &str, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    let text = format!("{line}\n");
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(io::Error::other("too many descriptors"));
    }
    let mut sent = rustix::net::sendmsg(stream, &[IoSlice::new(text.as_bytes())], &mut ancillary, SendFlags::NOSIGNAL)?;
    while sent < text.len() {
        sent += rustix::net::send(stream, &text.as_bytes()[sent..], SendFlags::NOSIGNAL)?;
    }
    Ok(())
}

/// Reads lines and the descriptors that came with them.
pub(crate) struct LineStream<'a> {
    stream: BorrowedFd<'a>,
    bytes: Vec<u8>,
    fds: Vec<OwnedFd>,
}

impl<'a> LineStream<'a> {
    pub(crate) fn new(stream: &'a UnixStream) -> Self {
        Self { stream: stream.as_fd(), bytes: Vec::new(), fds: Vec::new() }
    }

    /// The next line without its end; `None` at the end of the stream.
    pub(crate) fn next_line(&mut self) -> io::Result<Option<String>> {
        loop {
            if let Some(end) = self.bytes.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.bytes.drain(..=end).collect();
                return Ok(Some(String::from_utf8_lossy(&line[..end]).into_owned()));
            }
            if self.bytes.len() > LINE_MAX {
                return Err(io::Error::other("a message without end"));
            }
            let mut buffer = [0; 4096];
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
            let mut ancillary = RecvAncillaryBuffer::new(&mut space);
            let message = match rustix::net::recvmsg(self.stream, &mut [IoSliceMut::new(&mut buffer)], &mut ancillary, RecvFlags::CMSG_CLOEXEC) {
                Ok(message) => message,
                Err(rustix::io::Errno::INTR) => continue,
                Err(errno) => return Err(errno.into()),
            };
            for message in ancillary.drain() {
                if let RecvAncillaryMessage::ScmRights(fds) = message {
                    self.fds.extend(fds);
                }
            }
            if message.bytes == 0 {
                return Ok(None);
            }
            self.bytes.extend(&buffer[..message.bytes]);
        }
    }

    /// Makes reading end; to be called from another thread.
    pub(crate) fn stopper(&self) -> impl Fn() + use<'a> {
        let stream = self.stream;
        move || {
            // It fails only when the other end is gone, which ends reading too.
            let _ = rustix::net::shutdown(stream, rustix::net::Shutdown::Read);
        }
    }

    /// Takes the descriptors that came so far.
    pub(crate) fn take_fds(&mut self) -> Vec<OwnedFd> {
        std::mem::take(&mut self.fds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};

    #[test]
    fn a_line_brings_its_descriptors() {
        let (a, b) = UnixStream::pair().unwrap();
        let (mut reader, writer) = io::pipe().unwrap();
        send_line(&a, "hello", &[writer.as_fd()]).unwrap();
        send_line(&a, "again", &[]).unwrap();
        drop((a, writer));
        let mut lines = LineStream::new(&b);
        assert_eq!(lines.next_line().unwrap().as_deref(), Some("hello"));
        let mut fds = lines.take_fds();
        std::fs::File::from(fds.remove(0)).write_all(b"through").unwrap();
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(text, "through");
        assert_eq!(lines.next_line().unwrap().as_deref(), Some("again"));
        assert_eq!(lines.next_line().unwrap(), None);
    }

    #[test]
    fn a_path_may_be_longer_than_the_system_takes() {
        let dir = tempfile::tempdir().unwrap();
        let deep = dir.path().join("x".repeat(120)).join("y".repeat(120));
        std::fs::create_dir_all(&deep).unwrap();
        let path = deep.join("control.sock");
        let listener = listen(&path).unwrap();
        let _client = connect(&path).unwrap();
        listener.accept().unwrap();
        assert!(path.exists());
    }
}
