//! Whole networks: built from Debian's archive, booted, looked at from inside and outside, stopped.
//!
//! Needs QEMU, the ssh client and a mirror; `make test` sees to that. One boot covers much: the manual page's network
//! with all that is asked of access and firewall; then the web network. Store and downloads are kept below target/.

mod pty;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

const BIN: &str = env!("CARGO_BIN_EXE_nixos-build-vms");

fn scratch() -> PathBuf {
    let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("networks");
    std::fs::create_dir_all(&dir).unwrap();
    dir
}

fn command(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new(program);
    command
        .env("XDG_CACHE_HOME", scratch().join("cache"))
        .env("NIX_CONFIG", format!("store = {}", scratch().join("store").display()))
        .env("NIX_CONF_DIR", "/nonexistent")
        .env_remove("NIX_PATH");
    command
}

fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples").join(name)
}

/// Builds an example and gives the link to its result.
fn build(name: &str) -> PathBuf {
    build_file(name, &example(name))
}

/// Builds a network file and gives the link to its result.
fn build_file(name: &str, file: &Path) -> PathBuf {
    let link = scratch().join(name.trim_end_matches(".nix"));
    let output = command(BIN).arg("-o").arg(&link).arg(file).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "building {name}: {error}");
    let path = String::from_utf8(output.stdout).unwrap();
    assert_eq!(path.lines().count(), 1, "{path}");
    assert_eq!(std::fs::canonicalize(path.trim_end()).unwrap(), std::fs::canonicalize(&link).unwrap());
    link
}

/// A running network; stopped when dropped.
struct Running {
    state: PathBuf,
    runner: Child,
    log: PathBuf,
}

impl Running {
    /// Starts a result and waits until all machines are ready.
    fn start(result: &Path, name: &str) -> Self {
        let state = scratch().join(format!("{name}-state"));
        let _absent = std::fs::remove_dir_all(&state);
        let ready = scratch().join(format!("{name}-ready"));
        let _absent = std::fs::remove_file(&ready);
        let log = scratch().join(format!("{name}.log"));
        let file = std::fs::File::create(&log).unwrap();
        let runner = command(result.join("bin/run-vms"))
            .arg("--state-dir")
            .arg(&state)
            .args(["--wait-ready", "sh", "-c"])
            .arg(format!("touch '{0}'; while [ -e '{0}' ]; do sleep 0.1; done; exit 9", ready.display()))
            .stdin(Stdio::null())
            .stdout(file.try_clone().unwrap())
            .stderr(file)
            .spawn()
            .unwrap();
        let mut running = Self { state, runner, log };
        let deadline = Instant::now() + Duration::from_secs(600);
        while !ready.exists() {
            if let Some(status) = running.runner.try_wait().unwrap() {
                panic!("run-vms ended early ({status}):\n{}", running.log());
            }
            assert!(Instant::now() < deadline, "not ready in time:\n{}", running.log());
            std::thread::sleep(Duration::from_millis(100));
        }
        running
    }

    fn log(&self) -> String {
        let text = String::from_utf8_lossy(&std::fs::read(&self.log).unwrap_or_default()).into_owned();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(60)..].join("\n")
    }

    fn tool(&self, words: &[&str], input: &[u8]) -> Output {
        let mut child = command("timeout")
            .arg("180")
            .arg(BIN)
            .arg(words[0])
            .arg("--state-dir")
            .arg(&self.state)
            .args(&words[1..])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(input).unwrap();
        child.wait_with_output().unwrap()
    }

    /// Standard output of a command in a machine, over ssh or the control channel.
    #[track_caller]
    fn on(&self, way: &str, machine: &str, script: &str) -> String {
        let output = self.tool(&[way, machine, "--", "sh", "-c", &shell_word(way, script)], b"");
        assert!(
            output.status.success(),
            "{way} {machine}: `{script}` ended with {}:\n{}{}",
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
    }

    /// Ends the network through its waited-for command and gives the runner's exit code.
    fn stop(mut self, name: &str) -> Option<i32> {
        std::fs::remove_file(scratch().join(format!("{name}-ready"))).unwrap();
        let deadline = Instant::now() + Duration::from_secs(120);
        loop {
            if let Some(status) = self.runner.try_wait().unwrap() {
                return status.code();
            }
            assert!(Instant::now() < deadline, "does not stop:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ended = self.runner.kill();
        let _ended = self.runner.wait();
    }
}

/// ssh joins its words with blanks and hands them to the remote shell; `shell` passes them on as they are.
fn shell_word(way: &str, script: &str) -> String {
    match way {
        "ssh" => format!("'{}'", script.replace('\'', r"'\''")),
        _ => script.to_owned(),
    }
}

fn qemus_of(state: &Path) -> usize {
    let needle = state.as_os_str().as_encoded_bytes();
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    processes
        .filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok())
        .filter(|line| line.windows(4).any(|w| w == b"qemu") && line.windows(needle.len()).any(|w| w == needle))
        .count()
}

/// Memory (a file in /run), disks and time of both machines, before and after; and what is refused.
fn a_snapshot_brings_all_back(net: &Running) {
    let tool = |words: &[&str]| {
        let output = net.tool(&[&["snapshot"], words].concat(), b"");
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr))
    };
    let write = |text: &str| ["test1", "test2"].map(|machine| net.on("shell", machine, &format!("echo {text} | tee /root/mark > /run/mark")));
    let read = || ["test1", "test2"].map(|machine| net.on("shell", machine, "cat /root/mark /run/mark /proc/sys/kernel/random/boot_id"));
    write("one");
    let before = read();
    assert_eq!(tool(&["save", "before"]), (Some(0), String::new()));
    let (code, text) = tool(&["save", "before"]);
    assert!(code == Some(1) && text.contains("--replace"), "{text}");
    write("two");
    assert_ne!(read(), before);
    assert_eq!(tool(&["restore", "before"]), (Some(0), String::new()));
    assert_eq!(read(), before);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    for machine in ["test1", "test2"] {
        let its: u64 = net.on("ssh", machine, "date +%s").parse().unwrap();
        assert!(its.abs_diff(now) < 60, "{machine} has {its}, here it is {now}");
    }
    net.on("shell", "test1", "ping -c 1 -W 10 test2");
    let (code, text) = tool(&["restore", "befor"]);
    assert!(code == Some(1) && text.contains("did you mean `before`?"), "{text}");
    let (code, text) = tool(&["save", "../before"]);
    assert!(code == Some(1) && text.contains("no `/`"), "{text}");
    let (code, text) = tool(&["list"]);
    assert!(code == Some(0) && text.contains("before") && text.contains("test1, test2"), "{text}");
    assert_eq!(tool(&["delete", "before"]), (Some(0), String::new()));
    assert!(tool(&["list"]).1.contains("no snapshot"));
}

#[test]
fn the_manual_pages_network_runs() {
    let result = build("man-page.nix");
    let again = Instant::now();
    build("man-page.nix");
    eprintln!("nothing changed: {:?}", again.elapsed());
    let net = Running::start(&result, "man-page");

    // Names, architectures, addresses; each way of access; every name of a machine.
    for (machine, arch, address) in [("test1", "i686", "192.168.1.1/24"), ("test2", "x86_64", "192.168.1.2/24")] {
        assert_eq!(net.on("shell", machine, "hostname"), machine);
        assert_eq!(net.on("ssh", &format!("{machine}.example.net"), "uname -m"), arch);
        let addresses = net.on("shell", machine, "ip -o address");
        assert!(addresses.contains(address), "{addresses}");
        assert_eq!(net.on("shell", machine, "systemctl --failed --no-legend --plain"), "");
        let system = net.on("shell", machine, "readlink -f /run/current-system");
        assert!(system.starts_with("/nix/store/"), "{system}");
        net.on("shell", machine, "test -x /run/current-system/init");
    }

    // Status and streams pass through.
    for way in ["ssh", "shell"] {
        assert_eq!(net.tool(&[way, "test2", "--", "exit 7"], b"").status.code(), Some(if way == "ssh" { 7 } else { 127 }), "{way}");
        assert_eq!(net.tool(&[way, "test2", "--", "cat"], b"hello\0\xff").stdout, b"hello\0\xff", "{way}");
        let output = net.tool(&[way, "test2", "--", "sh", "-c", &shell_word(way, "echo out; echo err >&2; exit 3")], b"");
        assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(3), &b"out\n"[..]), "{way}");
        assert!(String::from_utf8_lossy(&output.stderr).contains("err"), "{way}");
    }
    let unknown = net.tool(&["ssh", "test9", "--", "true"], b"");
    assert!(!unknown.status.success());
    assert!(String::from_utf8_lossy(&unknown.stderr).contains("test9"));

    // The services, and the firewall as on NixOS.
    let page = net.on("shell", "test2", "lynx -dump http://localhost/");
    assert!(!page.is_empty());
    net.on("shell", "test2", "command -v lynx && ! command -v gcc");
    net.on("shell", "test1", "ping -c 1 -W 10 test2 && ping -c 1 -W 10 test2.example.net");
    let shown = net.on("shell", "test1", "ssh-keyscan -t ed25519 test2.example.net 2>/dev/null");
    let own = net.on("shell", "test2", "cut -d' ' -f2 /etc/ssh/ssh_host_ed25519_key.pub");
    assert!(own.len() > 60 && shown.contains(&own), "{shown} against {own}");
    net.on("shell", "test1", "! timeout 5 bash -c 'exec 3<>/dev/tcp/test2/80'");
    net.on("shell", "test1", "! ssh -o BatchMode=yes -o StrictHostKeyChecking=no root@test2 true");
    let status = net.tool(&["status"], b"");
    let status = String::from_utf8_lossy(&status.stdout).into_owned();
    assert!(status.contains("port 80") && status.contains("networking.firewall.allowedTCPPorts"), "{status}");

    a_snapshot_brings_all_back(&net);
    // What the boot cost.
    let chart = scratch().join("boot.svg");
    let cost = net.tool(&["analyze", "test2.example.net", "--svg", chart.to_str().unwrap()], b"");
    let cost = String::from_utf8_lossy(&cost.stdout).into_owned();
    assert!(cost.starts_with("test2: ready") && ["  kernel\n", "  activation\n", "  generators\n", "  * sshd.service\n"].iter().all(|word| cost.contains(word)), "{cost}");
    assert!(std::fs::read_to_string(chart).unwrap().contains("sshd.service</text>"));

    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&net.state).unwrap().permissions());
    assert_eq!(mode & 0o077, 0, "the state directory is its owner's alone");
    let state = net.state.clone();
    assert!(qemus_of(&state) >= 2);
    assert_eq!(net.stop("man-page"), Some(9), "the exit code is the waited-for command's");
    assert_eq!(qemus_of(&state), 0);
    on_a_terminal(&result, &state);
}

/// The same network once more (it resumes) on a terminal: the view, a shell in it, another size, Ctrl-C.
fn on_a_terminal(result: &Path, state: &Path) {
    let mut run = command(result.join("bin/run-vms"));
    run.arg("--state-dir").arg(state);
    let mut terminal = pty::Terminal::start(run, 80, 24);
    let shown = terminal.wait("2 of 2 ready");
    assert!(shown.contains("▶ test1  ● ready") && shown.contains("192.168.1.2"), "{shown}");
    terminal.type_text("\r");
    terminal.wait("test1 shell of root");
    terminal.type_text("echo $((6 * 7))-$(uname -m)\r");
    terminal.wait("42-i686");
    terminal.type_text("\x1d");
    terminal.wait("1 Machines");
    terminal.resize(40, 8);
    terminal.wait("2/2");
    terminal.type_text("b");
    terminal.wait("⊘ blocked");
    terminal.type_text("\x03");
    assert_eq!(terminal.ended().code(), Some(130));
    let text = terminal.wait("test2 is off");
    assert!(terminal.is_as_before(), "{text}");
    assert_eq!(qemus_of(state), 0);
}

#[test]
fn a_folder_of_the_host_is_shared_both_ways_and_a_missing_one_is_named() {
    let shared = tempfile::tempdir().unwrap();
    let folder = shared.path().join("folder");
    let file = scratch().join("shares.nix");
    let text = format!(
        "{{ alpha = {{ virtualisation.memorySize = 512;\n  virtualisation.sharedDirectories.work = {{ source = \"{}\"; target = \"/mnt/work\"; }}; }}; }}",
        folder.display()
    );
    std::fs::write(&file, text).unwrap();
    let result = build_file("shares.nix", &file);

    // The folder is not there yet.
    let state = scratch().join("shares-missing");
    let output = command("timeout").arg("120").arg(result.join("bin/run-vms")).arg("--state-dir").arg(&state).args(["--wait-ready", "true"]).output().unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(4), "{said}");
    assert!(said.contains("virtualisation.sharedDirectories.work") && said.contains("alpha"), "{said}");

    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("from-host"), vec![b'x'; 3_000_000]).unwrap();
    std::fs::write(shared.path().join("outside"), "secret").unwrap();
    std::os::unix::fs::symlink(shared.path().join("outside"), folder.join("link")).unwrap();
    let net = Running::start(&result, "shares");
    assert_eq!(net.on("shell", "alpha", "wc -c < /mnt/work/from-host"), "3000000");
    net.on("shell", "alpha", "printf 'from guest' > /mnt/work/from-guest");
    assert_eq!(std::fs::read_to_string(folder.join("from-guest")).unwrap(), "from guest");
    // Neither a parent folder nor a link leads out of it.
    net.on("shell", "alpha", "! cat /mnt/work/link && ! test -e /mnt/work/../outside");
    assert_eq!(net.stop("shares"), Some(9));
}

/// Frames of a pcapng file by direction: from machines, to machines. Fails when a block's lengths or an interface's number are wrong.
fn frames_of_capture(file: &Path) -> (usize, usize) {
    let bytes = std::fs::read(file).unwrap();
    let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
    let (mut at, mut interfaces, mut from, mut to, mut last) = (0, 0, 0, 0, 0);
    while at < bytes.len() {
        let (kind, len) = (word(at), word(at + 4) as usize);
        assert_eq!(word(at + len - 4) as usize, len);
        match kind {
            1 => interfaces += 1,
            6 => {
                assert!(word(at + 8) < interfaces);
                let time = u64::from(word(at + 12)) << 32 | u64::from(word(at + 16));
                // A frame that waited for its machine keeps its place.
                assert!(time + 1_000_000_000 > last, "times go forward");
                last = time;
                match word(at + 28 + (word(at + 20) as usize).next_multiple_of(4) + 4) {
                    2 => from += 1,
                    1 => to += 1,
                    other => panic!("direction {other}"),
                }
            }
            _ => assert_eq!((kind, at), (0x0a0d_0d0a, 0)),
        }
        at += len;
    }
    (from, to)
}

/// The script in data/links.nix does most; here is what it leaves behind.
#[test]
fn links_have_the_faults_of_the_network_file_and_of_scripts_and_are_captured() {
    let out = scratch().join("links-out");
    let _absent = std::fs::remove_dir_all(&out);
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/links.nix");
    let output = command("timeout").arg("600").arg(BIN).arg("test").arg("-o").arg(&out).arg(&file).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    // A ping and its answer; ARP may come between.
    let ((from, to), (entered, left)) = (frames_of_capture(&out.join("a.pcapng")), frames_of_capture(&out.join("vlan.pcapng")));
    assert!(from >= 1 && to >= 1 && entered >= 2 && left == 0, "{from} {to} {entered} {left}");
    let (from, to) = frames_of_capture(&out.join("captures/machine-b.pcapng"));
    assert!(from > 20 && to > 20, "{from} {to}");
    assert!(out.join("captures/segment-1.pcapng").exists());
}

#[test]
fn the_web_networks_pages_are_fetched_by_its_client() {
    let result = build("web.nix");
    let plan = std::fs::read_to_string(result.join("network.json")).unwrap();
    let plan = nbv_plan::NetworkPlan::parse(&plan).unwrap();
    let net = Running::start(&result, "web");
    let servers: Vec<_> = plan.machines.iter().filter(|machine| machine.listeners.iter().any(|l| l.port == 80)).collect();
    assert_eq!(servers.len(), 2, "two servers");
    assert!(servers.iter().any(|machine| machine.system == "i686-linux"), "one of them 32-bit");
    for server in servers {
        let page = net.on("shell", "client", &format!("curl -sS --max-time 60 http://{}/", server.host_name));
        assert!(page.contains(&server.host_name), "{page}");
    }

    // A killed runner leaves no machine behind.
    let state = net.state.clone();
    drop(net);
    let deadline = Instant::now() + Duration::from_secs(10);
    while qemus_of(&state) > 0 {
        assert!(Instant::now() < deadline, "QEMU outlived its runner");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// A folder for PATH that has all programs but Python.
fn path_without_python() -> PathBuf {
    let dir = scratch().join("no-python");
    let _absent = std::fs::remove_dir_all(&dir);
    std::fs::create_dir_all(&dir).unwrap();
    for folder in std::env::split_paths(&std::env::var_os("PATH").unwrap()) {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            if !entry.file_name().to_string_lossy().starts_with("python") {
                // The first of a name wins, as in PATH.
                let _taken = std::os::unix::fs::symlink(entry.path(), dir.join(entry.file_name()));
            }
        }
    }
    dir
}

#[test]
fn the_steps_of_the_example_hold_without_python() {
    let out = scratch().join("steps-out");
    let _absent = std::fs::remove_dir_all(&out);
    let mut test = command(BIN);
    test.args(["test", "--timeout", "600", "--junit-xml", "report.xml", "-o"]).arg(&out).arg(example("steps.nix"));
    let output = test.env("PATH", path_without_python()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert_eq!(std::fs::read(out.join("copies/steps.nix")).unwrap(), std::fs::read(example("steps.nix")).unwrap());
    let report = std::fs::read_to_string(out.join("report.xml")).unwrap();
    for case in ["pages", "commands", "a network in two parts", "files and console", "steps"] {
        assert!(report.contains(&format!("name=\"{case}\"")), "{report}");
    }
    assert!(std::fs::read_to_string(out.join("web.console.log")).unwrap().contains("marker"));
    assert!(std::fs::read_to_string(out.join("report.txt")).unwrap().contains("test steps: passed"));
}

#[test]
fn a_rust_test_drives_a_machine_and_commands_are_exact() {
    use nbv_driver::testing::{GuestCommand, TIMED_OUT, TestError, TestNetwork};
    let file = scratch().join("driven.nix");
    std::fs::write(&file, "{ alpha = { virtualisation.memorySize = 768; };\n  testSteps = [ { run = \"true\"; }\n    { run = \"echo some-output; exit 42\"; } ]; }\n").unwrap();

    // A step that fails is told with its place, its output and the machine's journal.
    let output = command(BIN).args(["test", "--timeout", "600"]).arg(&file).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(4), "{said}");
    for word in ["driven.nix:3:7", "3 |     { run =", "exit code 42", "    some-output", "journal of alpha"] {
        assert!(said.contains(word), "no `{word}` in:\n{said}");
    }

    let result = build_file("driven.nix", &file);
    let state = scratch().join("driven-state");
    let _absent = std::fs::remove_dir_all(&state);
    let options = nbv_driver::RunOptions { result, state_dir: Some(state.clone()), ..Default::default() };
    let network = TestNetwork::open(&options, &nbv_driver::Host::from_environment().unwrap()).unwrap();
    let alpha = network.machine("alpha").unwrap();
    alpha.wait_for_unit("multi-user.target").unwrap();
    assert_eq!(alpha.succeed("pwd; echo $USER").unwrap(), "/tmp\nroot\n");
    assert!(matches!(alpha.succeed("echo words; exit 3"), Err(TestError::Command(failure)) if failure.status == 3 && failure.stdout == "words\n"));
    alpha.fail("false | true").unwrap();

    // 100 MB through standard output, byte for byte; what is no text; standard input; signals.
    let start = Instant::now();
    let big = alpha.execute(&"head -c 100000000 /dev/zero | tr '\\0' '\\377'".into()).unwrap();
    eprintln!("100 MB in {:?}", start.elapsed());
    assert!(big.status == 0 && big.stdout.len() == 100_000_000 && big.stdout.iter().all(|byte| *byte == 255));
    let input: Vec<u8> = (0..=255).cycle().take(300_000).collect();
    let echoed = alpha.execute(&GuestCommand { stdin: Some(&input), ..GuestCommand::from("cat; echo e >&2") }).unwrap();
    assert!(echoed.stdout == input && echoed.stderr == b"e\n" && echoed.status == 0);
    assert_eq!(alpha.execute(&"kill -KILL $$".into()).unwrap().status, 128 + 9);

    // A command that takes too long goes with all that it started; what runs in the background is not waited for.
    let short = alpha.within(Duration::from_secs(3));
    assert_eq!(short.execute(&"setsid sleep 4242 & sleep 4343 & echo begun; sleep 4444".into()).unwrap().status, TIMED_OUT);
    alpha.fail("pgrep -f 'sleep 4[234]'").unwrap();
    let start = Instant::now();
    assert_eq!(alpha.execute(&"sleep 1234 >&2 & echo on".into()).unwrap().stdout, b"on\n");
    assert_eq!(alpha.execute(&"sleep 1235 & echo on".into()).unwrap().stdout, b"on\n");
    assert!(start.elapsed() < Duration::from_secs(60));
    alpha.succeed("pgrep -f 'sleep 1234' && pkill -f 'sleep 123[45]'").unwrap();

    // Twenty at a time.
    std::thread::scope(|scope| {
        let started: Vec<_> = (0..20).map(|index| (index, scope.spawn({ let alpha = alpha.clone(); move || alpha.succeed(&format!("sleep 1; seq {index} 20000 | tail -n 1; echo {index}")) }))).collect();
        for (index, thread) in started {
            assert_eq!(thread.join().unwrap().unwrap(), format!("20000\n{index}\n"));
        }
    });
    drop(network);
    assert_eq!(qemus_of(&state), 0);
}
