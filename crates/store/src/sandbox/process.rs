//! The child: stages of its set-up, its output, its end.
//!
//! Stages: `clone` with new namespaces; identity; mounts; new root; `execve`. Everything that the child needs is made
//! before, so that it allocates nothing (other threads of the parent may hold the allocator's lock). A failed stage is
//! told by number and errno over a pipe that closes at `execve`.
//!
//! The child is the first process of its process namespace: when it ends or is killed, all of its children are killed; it is
//! killed when the parent's thread ends.

use crate::error::StoreError;
use crate::graph::Failure;
use std::ffi::CString;
use std::io::{self, Read};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// A bind mount.
pub(super) struct Mount {
    source: CString,
    target: CString,
    /// Flags of the second call that makes it read-only; none leaves it writable.
    remount: Option<libc::c_ulong>,
}

fn c_path(path: &Path) -> CString {
    // Paths of the store and of its folders have no zero bytes: the system gave or took them before.
    CString::new(path.as_os_str().as_bytes()).unwrap_or_default()
}

impl Mount {
    pub(super) fn writable(source: &Path, target: &Path) -> Self {
        Self { source: c_path(source), target: c_path(target), remount: None }
    }

    pub(super) fn read_only(source: &Path, target: &Path) -> Self {
        let source = c_path(source);
        let mut flags = libc::MS_REMOUNT | libc::MS_BIND | libc::MS_RDONLY;
        // SAFETY: all zeroes is a valid value of this plain struct.
        let mut stat: libc::statvfs = unsafe { std::mem::zeroed() };
        // SAFETY: the path ends with a zero byte; `stat` is writable.
        if unsafe { libc::statvfs(source.as_ptr(), &mut stat) } == 0 {
            // Flags of the mount below are locked in a user namespace: they must be repeated.
            for (have, want) in [
                (libc::ST_NOSUID, libc::MS_NOSUID), (libc::ST_NODEV, libc::MS_NODEV), (libc::ST_NOEXEC, libc::MS_NOEXEC),
                (libc::ST_NOATIME, libc::MS_NOATIME), (libc::ST_NODIRATIME, libc::MS_NODIRATIME), (libc::ST_RELATIME, libc::MS_RELATIME),
            ] {
                if stat.f_flag & have != 0 {
                    flags |= want;
                }
            }
        }
        Self { source, target: c_path(target), remount: Some(flags) }
    }
}

/// What to run.
pub(super) struct Spec {
    pub(super) root: PathBuf,
    pub(super) mounts: Vec<Mount>,
    pub(super) program: CString,
    pub(super) words: Vec<CString>,
    pub(super) env: Vec<CString>,
    pub(super) has_network: bool,
    pub(super) timeout: Option<Duration>,
}

/// How it ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum End {
    Exit(i32),
    Signal(i32),
    Timeout(Duration),
    Interrupted,
}

/// The stages of the child; the number goes through the pipe.
#[derive(Debug, Clone, Copy)]
#[repr(i32)]
enum Stage {
    Identity = 1,
    Mounts,
    Root,
    Program,
}

/// Everything of the child, made before it is.
struct Prepared {
    root: CString,
    old_root: CString,
    dot: CString,
    build: CString,
    none: CString,
    proc_type: CString,
    proc_target: CString,
    host_proc: CString,
    tmpfs: CString,
    shm: CString,
    devpts: CString,
    pts: CString,
    pts_options: CString,
    setgroups: CString,
    deny: &'static [u8],
    uid_map: CString,
    uid_text: Vec<u8>,
    gid_map: CString,
    gid_text: Vec<u8>,
    host: &'static [u8],
    null: CString,
    words: Vec<*const libc::c_char>,
    env: Vec<*const libc::c_char>,
}

fn pointers(texts: &[CString]) -> Vec<*const libc::c_char> {
    texts.iter().map(|text| text.as_ptr()).chain([std::ptr::null()]).collect()
}

fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let mut ends = [0; 2];
    // SAFETY: the call fills the two elements.
    if unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: both descriptors are new and nobody else's.
    Ok(unsafe { (OwnedFd::from_raw_fd(ends[0]), OwnedFd::from_raw_fd(ends[1])) })
}

/// Runs a program. `line` gets each line of its output; `is_stopped` is asked a few times a second.
pub(super) fn run(spec: &Spec, line: &mut dyn FnMut(&str), is_stopped: &dyn Fn() -> bool) -> Result<End, Failure> {
    let fail = |error: io::Error| Failure::Store(StoreError::io("prepare", &spec.root)(error));
    let (output, output_end) = pipe().map_err(fail)?;
    let (trouble, trouble_end) = pipe().map_err(fail)?;
    let mut flags = libc::CLONE_NEWNS | libc::CLONE_NEWPID | libc::CLONE_NEWIPC | libc::CLONE_NEWUTS;
    if !spec.has_network {
        flags |= libc::CLONE_NEWNET;
    }
    // SAFETY: these calls take nothing and cannot fail.
    let (uid, gid) = unsafe { (libc::geteuid(), libc::getegid()) };
    let text = |text: &str| CString::new(text).unwrap_or_default();
    let prepared = Prepared {
        root: c_path(&spec.root),
        old_root: text("."),
        dot: text("."),
        build: text("/build"),
        none: text("none"),
        proc_type: text("proc"),
        proc_target: c_path(&spec.root.join("proc")),
        host_proc: text("/proc"),
        tmpfs: text("tmpfs"),
        shm: c_path(&spec.root.join("dev/shm")),
        devpts: text("devpts"),
        pts: c_path(&spec.root.join("dev/pts")),
        pts_options: text("newinstance,mode=0620,ptmxmode=0666"),
        setgroups: text("/proc/self/setgroups"),
        deny: b"deny",
        uid_map: text("/proc/self/uid_map"),
        uid_text: format!("1000 {uid} 1").into_bytes(),
        gid_map: text("/proc/self/gid_map"),
        gid_text: format!("100 {gid} 1").into_bytes(),
        host: b"localhost",
        null: text("/dev/null"),
        words: pointers(&spec.words),
        env: pointers(&spec.env),
    };
    let mut with_user = true;
    let pid = loop {
        let all = flags | if with_user { libc::CLONE_NEWUSER } else { 0 };
        // SAFETY: without a stack of its own this is `fork` in new namespaces. The child calls only `child`, which
        // allocates nothing and does not return.
        let pid = unsafe { libc::syscall(libc::SYS_clone, all | libc::SIGCHLD, 0, 0, 0, 0) };
        if pid == 0 {
            child(spec, &prepared, with_user, output_end.as_raw_fd(), trouble_end.as_raw_fd());
        }
        if pid > 0 {
            break libc::pid_t::try_from(pid).unwrap_or(libc::pid_t::MAX);
        }
        let error = io::Error::last_os_error();
        if with_user && uid == 0 {
            // Root can do without a user namespace where those are forbidden.
            with_user = false;
            continue;
        }
        return Err(no_namespaces(&error));
    };
    let mut child = Child { pid, is_reaped: false };
    drop(output_end);
    drop(trouble_end);
    let deadline = spec.timeout.map(|limit| (limit, Instant::now() + limit));
    let mut reader = Lines::default();
    let ended = loop {
        match wait_readable(&output, Duration::from_millis(100)).map_err(fail)? {
            true => {
                if !reader.read(&output, line).map_err(fail)? {
                    break None;
                }
            }
            // A process that the builder left behind may hold the pipe; the builder's own end counts.
            false if child.has_ended() => break None,
            false => {}
        }
        if is_stopped() {
            break Some(End::Interrupted);
        }
        if let Some((limit, at)) = deadline
            && Instant::now() >= at
        {
            break Some(End::Timeout(limit));
        }
    };
    reader.finish(line);
    if let Some(end) = ended {
        child.kill();
        return Ok(end);
    }
    // The output closed; the program may still run.
    let status = loop {
        if child.has_ended() {
            break child.reap();
        }
        if is_stopped() {
            child.kill();
            return Ok(End::Interrupted);
        }
        if let Some((limit, at)) = deadline
            && Instant::now() >= at
        {
            child.kill();
            return Ok(End::Timeout(limit));
        }
        std::thread::sleep(Duration::from_millis(1));
    };
    let mut told = Vec::new();
    let _ = std::fs::File::from(trouble).read_to_end(&mut told);
    if let (Some(stage), Some(errno)) = (number(&told, 0), number(&told, 4)) {
        return Err(stage_failure(stage, &io::Error::from_raw_os_error(errno), &spec.program));
    }
    Ok(if libc::WIFSIGNALED(status) { End::Signal(libc::WTERMSIG(status)) } else { End::Exit(libc::WEXITSTATUS(status)) })
}

fn number(bytes: &[u8], at: usize) -> Option<i32> {
    Some(i32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn no_namespaces(error: &io::Error) -> Failure {
    Failure::because(format!("a sandbox cannot be made: {error}"))
        .hint("user namespaces are forbidden here; allow them (sysctl kernel.unprivileged_userns_clone=1, kernel.apparmor_restrict_unprivileged_userns=0, user.max_user_namespaces), or build as root")
}

fn stage_failure(stage: i32, error: &io::Error, program: &CString) -> Failure {
    let program = program.to_string_lossy();
    match stage {
        s if s == Stage::Identity as i32 => no_namespaces(error),
        s if s == Stage::Mounts as i32 => no_namespaces(error),
        s if s == Stage::Root as i32 => Failure::because(format!("the root of the sandbox cannot be entered: {error}")),
        _ => Failure::because(format!("its builder `{program}` cannot be started: {error}")),
    }
}

/// Waits until there is something to read, or the time is over.
fn wait_readable(fd: &OwnedFd, time: Duration) -> io::Result<bool> {
    let mut poll = libc::pollfd { fd: fd.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    let time = libc::c_int::try_from(time.as_millis()).unwrap_or(libc::c_int::MAX);
    // SAFETY: one valid element.
    match unsafe { libc::poll(&mut poll, 1, time) } {
        n if n >= 0 => Ok(n > 0),
        _ => {
            let error = io::Error::last_os_error();
            if error.kind() == io::ErrorKind::Interrupted { Ok(false) } else { Err(error) }
        }
    }
}

/// Cuts output into lines; a line without end is cut at 64 KiB.
#[derive(Default)]
struct Lines {
    rest: Vec<u8>,
}

impl Lines {
    /// Reads once; false at the end.
    fn read(&mut self, fd: &OwnedFd, line: &mut dyn FnMut(&str)) -> io::Result<bool> {
        let mut buffer = [0u8; 1 << 14];
        // SAFETY: the buffer is writable for its length.
        let n = unsafe { libc::read(fd.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len()) };
        let Ok(n) = usize::try_from(n) else {
            let error = io::Error::last_os_error();
            return if error.kind() == io::ErrorKind::Interrupted { Ok(true) } else { Err(error) };
        };
        self.rest.extend_from_slice(&buffer[..n]);
        while let Some(end) = self.rest.iter().position(|b| *b == b'\n') {
            line(String::from_utf8_lossy(&self.rest[..end]).trim_end_matches('\r'));
            self.rest.drain(..=end);
        }
        if self.rest.len() > 1 << 16 {
            self.finish(line);
        }
        Ok(n > 0)
    }

    fn finish(&mut self, line: &mut dyn FnMut(&str)) {
        if !self.rest.is_empty() {
            line(&String::from_utf8_lossy(&self.rest));
            self.rest.clear();
        }
    }
}

/// A child of ours; killed and reaped when dropped.
struct Child {
    pid: libc::pid_t,
    is_reaped: bool,
}

impl Child {
    /// Whether it has ended; it stays to be reaped.
    fn has_ended(&self) -> bool {
        // SAFETY: all zeroes is a valid value; the call fills it.
        let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
        // SAFETY: `info` is writable; the number is our unreaped child's.
        let code = unsafe { libc::waitid(libc::P_PID, self.pid.cast_unsigned(), &mut info, libc::WEXITED | libc::WNOHANG | libc::WNOWAIT) };
        // SAFETY: `waitid` filled the field that this reads.
        code != 0 || unsafe { info.si_pid() } != 0
    }

    fn reap(&mut self) -> libc::c_int {
        let mut status = 0;
        loop {
            // SAFETY: `status` is writable; the number is our unreaped child's.
            if unsafe { libc::waitpid(self.pid, &mut status, 0) } >= 0 || io::Error::last_os_error().kind() != io::ErrorKind::Interrupted {
                self.is_reaped = true;
                return status;
            }
        }
    }

    fn kill(&mut self) {
        if !self.is_reaped {
            // SAFETY: touches no memory; the number is our unreaped child's.
            unsafe { libc::kill(self.pid, libc::SIGKILL) };
            self.reap();
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Tells the parent which stage failed, and ends.
fn die(trouble: libc::c_int, stage: Stage) -> ! {
    let errno = io::Error::last_os_error().raw_os_error().unwrap_or(0);
    let mut told = [0u8; 8];
    told[..4].copy_from_slice(&(stage as i32).to_ne_bytes());
    told[4..].copy_from_slice(&errno.to_ne_bytes());
    // SAFETY: the buffer is readable for its length; `_exit` does not return.
    unsafe {
        libc::write(trouble, told.as_ptr().cast(), told.len());
        libc::_exit(127)
    }
}

/// Writes a small file of /proc.
fn write_file(path: &CString, content: &[u8]) -> bool {
    // SAFETY: the path ends with a zero byte, the content is readable for its length, the descriptor is ours.
    unsafe {
        let fd = libc::open(path.as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC);
        if fd < 0 {
            return false;
        }
        let n = libc::write(fd, content.as_ptr().cast(), content.len());
        libc::close(fd);
        n == content.len() as isize
    }
}

/// The child's life until the program takes over. Allocates nothing.
fn child(spec: &Spec, prepared: &Prepared, with_user: bool, output: libc::c_int, trouble: libc::c_int) -> ! {
    let null = std::ptr::null();
    // SAFETY: every pointer comes from `prepared` or `spec`, which outlive this function; all texts end with a zero byte;
    // the calls are system calls that need no lock of this process.
    unsafe {
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
        libc::setsid();
        libc::umask(0o022);
        if with_user {
            write_file(&prepared.setgroups, prepared.deny);
            if !write_file(&prepared.uid_map, &prepared.uid_text) || !write_file(&prepared.gid_map, &prepared.gid_text) {
                die(trouble, Stage::Identity);
            }
        }
        libc::sethostname(prepared.host.as_ptr().cast(), prepared.host.len());
        if !spec.has_network {
            raise_loopback();
        }
        let root_dir = c"/";
        if libc::mount(null, root_dir.as_ptr(), null, libc::MS_PRIVATE | libc::MS_REC, null.cast()) != 0
            || libc::mount(prepared.root.as_ptr(), prepared.root.as_ptr(), null, libc::MS_BIND | libc::MS_REC, null.cast()) != 0
        {
            die(trouble, Stage::Mounts);
        }
        for mount in &spec.mounts {
            if libc::mount(mount.source.as_ptr(), mount.target.as_ptr(), null, libc::MS_BIND | libc::MS_REC, null.cast()) != 0 {
                die(trouble, Stage::Mounts);
            }
            if let Some(flags) = mount.remount
                && libc::mount(null, mount.target.as_ptr(), null, flags, null.cast()) != 0
            {
                die(trouble, Stage::Mounts);
            }
        }
        libc::mount(prepared.tmpfs.as_ptr(), prepared.shm.as_ptr(), prepared.tmpfs.as_ptr(), libc::MS_NOSUID | libc::MS_NODEV, null.cast());
        libc::mount(prepared.devpts.as_ptr(), prepared.pts.as_ptr(), prepared.devpts.as_ptr(), libc::MS_NOSUID | libc::MS_NOEXEC, prepared.pts_options.as_ptr().cast());
        let flags = libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC;
        if libc::mount(prepared.none.as_ptr(), prepared.proc_target.as_ptr(), prepared.proc_type.as_ptr(), flags, null.cast()) != 0 {
            // In a container that hides part of /proc a new one is refused; the container's own serves.
            libc::mount(prepared.host_proc.as_ptr(), prepared.proc_target.as_ptr(), null, libc::MS_BIND | libc::MS_REC, null.cast());
        }
        if libc::chdir(prepared.root.as_ptr()) != 0
            || libc::syscall(libc::SYS_pivot_root, prepared.dot.as_ptr(), prepared.old_root.as_ptr()) != 0
            || libc::umount2(prepared.dot.as_ptr(), libc::MNT_DETACH) != 0
            || libc::chdir(prepared.build.as_ptr()) != 0
        {
            die(trouble, Stage::Root);
        }
        let input = libc::open(prepared.null.as_ptr(), libc::O_RDONLY);
        if input < 0 || libc::dup2(input, 0) < 0 || libc::dup2(output, 1) < 0 || libc::dup2(output, 2) < 0 {
            die(trouble, Stage::Root);
        }
        // All other descriptors close at `execve`; those of Rust have the flag already.
        libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC);
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
        for signal in 1..32 {
            libc::signal(signal, libc::SIG_DFL);
        }
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&mut set);
        libc::sigprocmask(libc::SIG_SETMASK, &set, std::ptr::null_mut());
        libc::execve(spec.program.as_ptr(), prepared.words.as_ptr(), prepared.env.as_ptr());
        die(trouble, Stage::Program)
    }
}

/// Sets the loopback interface up.
fn raise_loopback() {
    // SAFETY: `request` is a plain struct that the calls read and fill; the descriptor is ours.
    unsafe {
        let fd = libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0);
        if fd < 0 {
            return;
        }
        let mut request: libc::ifreq = std::mem::zeroed();
        request.ifr_name[0] = b'l' as libc::c_char;
        request.ifr_name[1] = b'o' as libc::c_char;
        if libc::ioctl(fd, libc::SIOCGIFFLAGS as _, &mut request) == 0 {
            request.ifr_ifru.ifru_flags |= libc::IFF_UP as libc::c_short;
            libc::ioctl(fd, libc::SIOCSIFFLAGS as _, &request);
        }
        libc::close(fd);
    }
}
