//! A program in a guest, joined with descriptors of another process on this host.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};

use nbv_guest::{Scope, Session};
use rustix::event::{EventfdFlags, PollFd, PollFlags, poll};
use rustix::io::Errno;

use crate::guest::{Exec, Guest};
use crate::protocol::Word;
use crate::socket::LineStream;

/// Bytes passed at once.
const PIECE: usize = 64 * 1024;
/// Status of a program that is not there, as in POSIX shells.
const NOT_FOUND: u8 = 127;
/// Status of a program that cannot be executed, as in POSIX shells.
const NOT_EXECUTABLE: u8 = 126;
/// The signal that says that the other end has hung up.
const SIGHUP: u8 = 1;

/// Runs a program until it and its outputs have ended, and gives its status as a shell has it. When the caller goes away (its connection
/// closes) all that the program started is told to end.
///
/// # Errors
/// The guest cannot run it, or is gone.
pub(crate) fn serve(guest: &Guest, exec: Exec, fds: [OwnedFd; 3], lines: &mut LineStream<'_>, on_start: impl FnOnce()) -> Result<u8, String> {
    let [input, output, errors] = fds;
    let mut session = match guest.exec(&exec) {
        Ok(session) => session,
        // As a shell says of a program that is not there, or cannot be executed.
        Err(nbv_guest::Error::Start { errno, text, .. }) => {
            let _ = rustix::io::write(&errors, format!("{text}\n").as_bytes());
            return Ok(if errno == Errno::NOENT.raw_os_error() { NOT_FOUND } else { NOT_EXECUTABLE });
        }
        Err(error) => return Err(error.to_string()),
    };
    on_start();
    let (stdin, stdout, stderr) = (session.stdin.take(), session.stdout.take(), session.stderr.take());
    let is_over = rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).map_err(|error| error.to_string())?;
    let is_done = AtomicBool::new(false);
    let session = &session;
    let status = std::thread::scope(|scope| {
        if let Some(stdin) = stdin {
            let is_over = &is_over;
            scope.spawn(move || feed(&input, stdin, is_over));
        }
        let outputs = [
            stdout.map(|stream| scope.spawn(move || drain(stream, &output, session))),
            stderr.map(|stream| scope.spawn(move || drain(stream, &errors, session))),
        ];
        let stop_listening = lines.stopper();
        let is_done = &is_done;
        scope.spawn(move || listen(lines, session, is_done));
        let status = session.wait();
        outputs.into_iter().flatten().for_each(|output| drop(output.join()));
        is_done.store(true, Ordering::SeqCst);
        let _ = rustix::io::write(&is_over, &1u64.to_ne_bytes());
        stop_listening();
        status
    });
    let status = status.map_err(|error| error.to_string())?;
    Ok(u8::try_from(status.shell_code()).unwrap_or(u8::MAX))
}

/// Passes the caller's input to the program until it ends or the program does.
fn feed(input: &OwnedFd, mut stdin: impl Write, is_over: &OwnedFd) {
    let mut buffer = vec![0; PIECE];
    loop {
        let mut fds = [PollFd::new(input, PollFlags::IN), PollFd::new(is_over, PollFlags::IN)];
        match poll(&mut fds, None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(_) => return,
        }
        if !fds[1].revents().is_empty() {
            return;
        }
        if fds[0].revents().is_empty() {
            continue;
        }
        match rustix::io::read(input, &mut buffer[..]) {
            Ok(0) => return,
            Ok(len) => {
                if stdin.write_all(&buffer[..len]).is_err() {
                    return;
                }
            }
            Err(Errno::INTR | Errno::AGAIN) => {}
            Err(_) => return,
        }
    }
}

/// Passes an output of the program to the caller. A caller that reads no more ends the program, as a closed pipe does.
fn drain(mut stream: impl Read, output: &OwnedFd, session: &Session) {
    let mut buffer = vec![0; PIECE];
    while let Ok(len @ 1..) = stream.read(&mut buffer) {
        if write_all(output, &buffer[..len]).is_err() {
            let _ = session.kill(SIGHUP, Scope::All);
            return;
        }
    }
}

/// Writes everything, also to a descriptor that its owner made non-blocking.
fn write_all(output: &OwnedFd, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match rustix::io::write(output, bytes) {
            Ok(len) => bytes = &bytes[len..],
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => {
                let mut fds = [PollFd::from_borrowed_fd(output.as_fd(), PollFlags::OUT)];
                poll(&mut fds, None)?;
            }
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(())
}

/// Hears what the caller says while the program runs.
fn listen(lines: &mut LineStream<'_>, session: &Session, is_done: &AtomicBool) {
    while let Ok(Some(line)) = lines.next_line() {
        match serde_json::from_str::<Word>(&line) {
            Ok(Word::Resize(size)) => drop(session.resize(size.rows, size.columns)),
            Ok(Word::Signal(signal)) => drop(u8::try_from(signal).map(|signal| session.kill(signal, Scope::Group))),
            Err(_) => {}
        }
    }
    if !is_done.load(Ordering::SeqCst) {
        let _ = session.kill(SIGHUP, Scope::All);
    }
}
