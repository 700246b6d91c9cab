//! A program on a terminal of its own, seen through a terminal emulator.

use std::fs::File;
use std::io::{Read, Write};
use std::num::NonZeroU16;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::termios::{LocalModes, Winsize};

/// The terminal and what runs on it; killed when dropped.
pub(crate) struct Terminal {
    controller: File,
    /// Kept open, so that the terminal's settings can be looked at after the program's end.
    user: OwnedFd,
    screen: Arc<Mutex<vt100::Parser>>,
    child: Child,
}

fn number(value: u16) -> NonZeroU16 {
    NonZeroU16::new(value).unwrap()
}

impl Terminal {
    pub(crate) fn start(mut command: Command, columns: u16, rows: u16) -> Self {
        let controller = rustix::pty::openpt(rustix::pty::OpenptFlags::RDWR | rustix::pty::OpenptFlags::NOCTTY).unwrap();
        rustix::pty::grantpt(&controller).unwrap();
        rustix::pty::unlockpt(&controller).unwrap();
        let name = rustix::pty::ptsname(&controller, Vec::new()).unwrap();
        let flags = rustix::fs::OFlags::RDWR | rustix::fs::OFlags::NOCTTY | rustix::fs::OFlags::CLOEXEC;
        let user = rustix::fs::open(&name, flags, rustix::fs::Mode::empty()).unwrap();
        rustix::termios::tcsetwinsize(&user, Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
        let end = || user.try_clone().unwrap();
        command.stdin(end()).stdout(end()).stderr(end()).env("TERM", "xterm-256color").env("LC_ALL", "C.UTF-8").env_remove("NO_COLOR");
        let own = || {
            rustix::process::setsid()?;
            rustix::process::ioctl_tiocsctty(std::io::stdin())?;
            Ok(())
        };
        // SAFETY: between fork and exec only system calls are made; nothing is allocated or locked.
        unsafe { command.pre_exec(own) };
        let child = command.spawn().unwrap();
        let controller = File::from(controller);
        let screen = Arc::new(Mutex::new(vt100::Parser::new(number(rows), number(columns), 0)));
        std::thread::spawn({
            let (mut from, screen) = (controller.try_clone().unwrap(), Arc::clone(&screen));
            move || {
                let mut buffer = [0; 4096];
                while let Ok(len @ 1..) = from.read(&mut buffer) {
                    screen.lock().unwrap().process(&buffer[..len]);
                }
            }
        });
        Self { controller, user, screen, child }
    }

    pub(crate) fn type_text(&mut self, text: &str) {
        self.controller.write_all(text.as_bytes()).unwrap();
    }

    pub(crate) fn resize(&self, columns: u16, rows: u16) {
        self.screen.lock().unwrap().screen_mut().set_size(number(rows), number(columns));
        rustix::termios::tcsetwinsize(self.controller.as_fd(), Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
    }

    pub(crate) fn text(&self) -> String {
        self.screen.lock().unwrap().screen().contents()
    }

    /// Waits until the screen holds a text, and gives all that it shows then.
    #[track_caller]
    pub(crate) fn wait(&self, wanted: &str) -> String {
        let deadline = Instant::now() + Duration::from_secs(300);
        loop {
            let text = self.text();
            if text.contains(wanted) {
                return text;
            }
            assert!(Instant::now() < deadline, "`{wanted}` does not come:\n{text}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Waits for the program's end.
    #[track_caller]
    pub(crate) fn ended(&mut self) -> ExitStatus {
        let deadline = Instant::now() + Duration::from_secs(120);
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "does not end:\n{}", self.text());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Whether it is as a shell wants it: lines are edited and echoed, the cursor is seen, the first screen is shown.
    pub(crate) fn is_as_before(&self) -> bool {
        let modes = rustix::termios::tcgetattr(&self.user).unwrap().local_modes;
        let screen = self.screen.lock().unwrap();
        let screen = screen.screen();
        modes.contains(LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG)
            && !(screen.alternate_screen() || screen.hide_cursor() || screen.application_cursor() || screen.bracketed_paste())
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _ended = self.child.wait();
    }
}
