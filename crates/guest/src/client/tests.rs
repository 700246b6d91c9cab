//! The control program, run on this host over a socket pair.

use super::*;
use std::fs;
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};
use std::time::Instant;

struct Host {
    client: Client,
    child: Child,
    _folder: tempfile::TempDir,
}

impl Drop for Host {
    fn drop(&mut self) {
        self.client.disconnect();
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn program(folder: &std::path::Path) -> std::path::PathBuf {
    let system = if cfg!(target_arch = "x86_64") { "x86_64-linux" } else { "i686-linux" };
    let path = folder.join("control");
    fs::write(&path, crate::programs(system).expect("supported").control).expect("written");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("executable");
    path
}

fn start(path: &std::path::Path, end: UnixStream) -> Child {
    let fd = end.as_raw_fd();
    let mut command = Command::new(path);
    command.arg0("@nbv-control").args(["--fd", "3"]);
    // SAFETY: only dup2, which is async-signal-safe, is called between fork and exec; `end` lives until spawn returned.
    unsafe {
        command.pre_exec(move || {
            if fd == 3 {
                if libc::fcntl(3, libc::F_SETFD, 0) < 0 {
                    return Err(std::io::Error::last_os_error());
                }
            } else if libc::dup2(fd, 3) < 0 {
                return Err(std::io::Error::last_os_error());
            }
            Ok(())
        });
    }
    command.spawn().expect("control starts")
}

fn host() -> Host {
    let folder = tempfile::tempdir().expect("a folder");
    let path = program(folder.path());
    let (ours, theirs) = UnixStream::pair().expect("a pair");
    let child = start(&path, theirs);
    let client = Client::connect(ours, Duration::from_secs(30)).expect("a greeting");
    Host { client, child, _folder: folder }
}

const LONG: Option<Duration> = Some(Duration::from_secs(20));

/// A shell script; control's own PATH is that of a guest, which has nothing here.
fn script(text: &str) -> Spec {
    Spec::new(["/bin/sh", "-c", text]).env("PATH", "/usr/bin:/bin")
}

fn limited(limit: Option<Duration>) -> RunOptions<'static> {
    RunOptions { timeout: limit, ..RunOptions::default() }
}

fn sh(host: &Host, text: &str) -> Output {
    host.client.run_with(&script(text), &limited(LONG)).expect(text)
}

#[test]
fn runs_a_program_and_tells_its_end() {
    let host = host();
    let output = sh(&host, "echo out; echo err >&2; printf 'a\\000b\\377'; exit 7");
    assert_eq!(output.status, ExitStatus::Code(7));
    assert_eq!(output.stdout, b"out\na\0b\xff");
    assert_eq!(output.stderr, b"err\n");
    assert_eq!(sh(&host, "kill -9 $$").status, ExitStatus::Signal(9));
    assert_eq!(sh(&host, "true").status.shell_code(), 0);
    let error = host.client.run(["/no/such/program"], LONG).expect_err("no program");
    assert!(matches!(&error, Error::Start { errno: 2, .. }), "{error}");
    let error = host.client.run(["no-such-program"], LONG).expect_err("no program");
    assert!(error.to_string().contains("no-such-program"), "{error}");
    assert_eq!(host.client.run(["true"], LONG).expect("found along PATH").status, ExitStatus::Code(0));
}

#[test]
fn environment_folder_and_long_arguments() {
    let host = host();
    let spec = Spec::new(["sh", "-c", "echo \"$HOME|$USER|$A|$PATH\"; pwd; umask; ulimit -Sn"]).env("A", "b=c").cwd("/tmp");
    let output = host.client.run_with(&spec, &RunOptions::default()).expect("runs");
    let text = String::from_utf8(output.stdout).expect("text");
    assert!(text.contains("|b=c|/run/wrappers/bin:"), "{text}");
    assert!(text.contains("\n/tmp\n0022\n1024\n"), "{text}");
    let mut bare = Spec::new(["/usr/bin/env"]);
    bare.bare = true;
    assert_eq!(host.client.run_with(&bare, &RunOptions::default()).expect("runs").stdout, b"");
    // many frames: 120 KB in one argument (the kernel's limit is 128 KiB), 1 MB together
    let long = "x".repeat(120_000);
    let argv = ["sh", "-c", "echo $# ${#1}", "sh"].into_iter().chain(std::iter::repeat_n(long.as_str(), 9));
    assert_eq!(host.client.run(argv, LONG).expect("runs").stdout, b"9 120000\n");
    let output = host.client.run_with(
        &Spec::new(["cat"]).user("no-such-user"),
        &RunOptions::default(),
    );
    assert!(output.expect_err("no user").to_string().contains("user"));
}

#[test]
fn input_goes_through_and_ends() {
    let host = host();
    let data: Vec<u8> = (0..3_000_000_u32).map(|i| (i * 7 >> 3) as u8).collect();
    let options = RunOptions { stdin: &data, timeout: LONG, ..RunOptions::default() };
    let output = host.client.run_with(&Spec::new(["cat"]), &options).expect("runs");
    assert!(output.stdout == data);
    // a program that does not read its input does not stop the host
    let output = host.client.run_with(&script("exec <&-; sleep 0.1; echo done"), &options).expect("runs");
    assert_eq!(output.stdout, b"done\n");
    // magic and frames in the data are only data
    let trap = [vec![0; 9], crate::protocol::MAGIC.to_vec(), crate::protocol::encode(1, 0, &[7; 36])].concat();
    let options = RunOptions { stdin: &trap, timeout: LONG, ..RunOptions::default() };
    assert_eq!(host.client.run_with(&Spec::new(["cat"]), &options).expect("runs").stdout, trap);
}

#[test]
fn hundred_megabytes() {
    let host = host();
    let output = host.client.run(["head", "-c", "100000000", "/dev/zero"], Some(Duration::from_secs(60))).expect("runs");
    assert_eq!(output.stdout.len(), 100_000_000);
}

#[test]
fn twenty_at_once_while_one_reader_is_slow() {
    let host = host();
    // nobody reads this one
    let stuck = host.client.open(&Spec::new(["cat", "/dev/zero"])).expect("runs");
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..20)
            .map(|i| {
                let host = &host;
                scope.spawn(move || {
                    let output = sh(host, &format!("head -c 1000000 /dev/zero; echo {i} >&2; exit {i}"));
                    assert_eq!(output.stdout.len(), 1_000_000);
                    assert_eq!(output.status, ExitStatus::Code(i));
                })
            })
            .collect();
        for thread in threads {
            thread.join().expect("it ran");
        }
    });
    assert!(stuck.wait_timeout(Duration::ZERO).expect("connected").is_none());
    stuck.kill(15, Scope::Process).expect("sent");
    assert_eq!(stuck.wait().expect("ended"), ExitStatus::Signal(15));
}

#[test]
fn timeout_kills_what_was_started() {
    let host = host();
    let mark = format!("{}.25", 1000 + std::process::id());
    let text = format!("echo before; sleep {mark} & sleep {mark}");
    let limit = limited(Some(Duration::from_millis(300)));
    let error = host.client.run_with(&script(&text), &limit).expect_err("too long");
    match error {
        Error::Timeout { stdout, .. } => assert_eq!(stdout, b"before\n"),
        other => panic!("{other}"),
    }
    let end = Instant::now() + Duration::from_secs(30);
    while Command::new("pgrep").args(["-f", &format!("sleep {mark}")]).output().expect("pgrep").status.success() {
        assert!(Instant::now() < end, "still running");
        std::thread::sleep(Duration::from_millis(20));
    }
    // the channel goes on
    assert_eq!(sh(&host, "echo ok").stdout, b"ok\n");
}

#[test]
fn background_programs_outlive_their_command() {
    let host = host();
    let options = RunOptions { timeout: LONG, linger: Some(Duration::from_millis(100)), ..RunOptions::default() };
    let output = host.client.run_with(&script("sleep 100 & echo $!"), &options).expect("runs");
    let pid = String::from_utf8(output.stdout).expect("a number");
    assert!(sh(&host, &format!("kill -0 {pid}")).status.success());
    assert!(sh(&host, &format!("kill {pid}")).status.success());
}

#[test]
fn terminal() {
    let host = host();
    let mut session = host
        .client
        .open(&script("tty; stty size; read x; stty size; echo got $x >&2").pty(24, 80))
        .expect("runs");
    let mut stdout = session.stdout.take().expect("a stream");
    let mut text = Vec::new();
    let mut byte = [0; 256];
    while !String::from_utf8_lossy(&text).contains("24 80") {
        let n = stdout.read(&mut byte).expect("read");
        assert!(n > 0 && text.len() < 1000, "{}", String::from_utf8_lossy(&text));
        text.extend_from_slice(&byte[..n]);
    }
    session.resize(50, 132).expect("sent");
    session.stdin.as_mut().expect("input").write_all(b"hello\n").expect("sent");
    stdout.read_to_end(&mut text).expect("read");
    let text = String::from_utf8_lossy(&text);
    assert!(text.contains("/dev/pts/"), "{text}");
    assert!(text.contains("50 132"), "{text}");
    assert!(text.contains("got hello"), "{text}");
    assert_eq!(session.wait().expect("ended"), ExitStatus::Code(0));
}

#[test]
fn dropping_a_session_kills_it() {
    let host = host();
    let session = host.client.open(&Spec::new(["sleep", "1000"])).expect("runs");
    let pid = session.pid().expect("a number");
    drop(session);
    let end = Instant::now() + Duration::from_secs(30);
    while std::path::Path::new(&format!("/proc/{pid}")).exists() {
        assert!(Instant::now() < end, "still running");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn small_requests_are_all_answered() {
    let host = host();
    for _ in 0..100 {
        host.client.ping(Duration::from_secs(30)).expect("an answer");
    }
    for _ in 0..20 {
        sh(&host, "exit 0");
    }
}

/// QEMU's side of the port: the guest's end stays while the host's is replaced.
#[test]
fn a_new_connection_finds_the_guest_amid_an_old_frame() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = program(folder.path());
    let (mut port, theirs) = UnixStream::pair().expect("a pair");
    let mut child = start(&path, theirs);
    // an earlier host by hand: a greeting, a program, and a frame that it never completed
    let hello = [crate::protocol::MAGIC.as_slice(), &[9; 16], &1_u32.to_le_bytes()].concat();
    let mut open = [0_u8; 20];
    open[6] = 1;
    open[12] = 2;
    let open = [open.as_slice(), b"\0\0sleep\x001000\0"].concat();
    port.write_all(&crate::protocol::encode(crate::protocol::HELLO, 0, &hello)).expect("written");
    port.write_all(&crate::protocol::encode(crate::protocol::OPEN, 1, &open)).expect("written");
    let mut answer = [0; 48 + 12];
    port.read_exact(&mut answer).expect("a greeting and a start");
    assert_eq!(answer[48], crate::protocol::STARTED);
    let pid = crate::protocol::number(&answer, 56);
    port.write_all(&[crate::protocol::STDIN, 0, 1, 0, 0xff, 0x70, 0, 0, 1, 2, 3]).expect("written");
    let client = Client::connect(port, Duration::from_secs(30)).expect("a greeting");
    assert_eq!(client.run(["echo", "again"], LONG).expect("runs").stdout, b"again\n");
    let end = Instant::now() + Duration::from_secs(30);
    while std::path::Path::new(&format!("/proc/{pid}")).exists() {
        assert!(Instant::now() < end, "the former host's program still runs");
        std::thread::sleep(Duration::from_millis(10));
    }
    let _ = child.kill();
    let _ = child.wait();
}

#[test]
fn files_are_written_without_a_program_and_what_fails_is_said() {
    let host = host();
    let folder = tempfile::tempdir().expect("a folder");
    let name = |file: &str| folder.path().join(file).to_str().expect("text").to_owned();
    fs::write(name("a"), "longer than before").expect("written");
    let (a, b) = (name("a"), name("b"));
    host.client.write_files(&[(0o600, &a, b"one\0two"), (0o640, &b, b"")]).expect("written");
    assert_eq!(fs::read(&a).expect("there"), b"one\0two");
    assert_eq!(fs::metadata(&b).expect("there").permissions().mode() & 0o777, 0o640);
    assert!(matches!(host.client.write_files(&[(0o600, &name("no/such"), b"x")]), Err(Error::Refused { errno: 2, .. })));
    assert!(matches!(host.client.write_files(&[(0o600, &a, &[0; 40_000])]), Err(Error::Request(_))));
    host.client.ping(Duration::from_secs(10)).expect("still there");
}
