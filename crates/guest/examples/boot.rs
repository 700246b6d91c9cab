//! Boots one machine from a layer folder and a store image, and prints when it is ready and what QEMU used; for measuring.
//!
//! `boot LAYER_DIR SYSTEM STORE_IMAGE INIT [-M MACHINE] [--append WORDS] [--tty] [--show] [-- COMMAND...]`

use nbv_guest::client::Options;
use nbv_guest::initrd::{Interface, MachineData, Module};
use nbv_guest::{Client, Spec};
use std::io::{BufRead, BufReader};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use std::{env, fs, thread};

fn cpu(pid: u32) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |i: usize| fields.get(i).and_then(|f| f.parse::<f64>().ok()).unwrap_or(0.0);
    (ticks(11) + ticks(12)) / 100.0
}

/// The host's time stamp counter, kHz.
#[cfg(target_arch = "x86_64")]
fn tsc() -> u64 {
    // SAFETY: every x86_64 processor has rdtsc.
    let read = || unsafe { core::arch::x86_64::_rdtsc() };
    let (start, at) = (read(), Instant::now());
    thread::sleep(Duration::from_millis(50));
    ((read() - start) as f64 / at.elapsed().as_secs_f64() / 1000.0) as u64
}

#[cfg(not(target_arch = "x86_64"))]
fn tsc() -> u64 {
    0
}

/// Tries the control channel on a real machine.
fn check(client: &Client, report: &dyn Fn(&str), socket: &str) {
    let shell = |text: &str| Spec::new(["bash", "-c", text]);
    let run = |text: &str, seconds: u64| {
        let options = nbv_guest::RunOptions { timeout: Some(Duration::from_secs(seconds)), ..Default::default() };
        client.run_with(&shell(text), &options)
    };
    let time = |what: &str, f: &dyn Fn()| {
        let start = Instant::now();
        f();
        report(&format!("{what}: {:?}", start.elapsed()));
    };
    time("ten times true, no shell", &|| {
        for _ in 0..10 {
            assert!(client.run(["true"], Some(Duration::from_secs(20))).expect("true").status.success());
        }
    });
    time("ten times bash -c true", &|| {
        for _ in 0..10 {
            assert!(run("true", 20).expect("true").status.success());
        }
    });
    time("100 MB out", &|| {
        assert_eq!(run("head -c 100000000 /dev/zero", 100).expect("head").stdout.len(), 100_000_000);
    });
    time("20 MB in", &|| {
        let data: Vec<u8> = (0..20_000_000_u32).map(|i| (i >> 3) as u8).collect();
        let options = nbv_guest::RunOptions { stdin: &data, timeout: Some(Duration::from_secs(100)), ..Default::default() };
        let output = client.run_with(&shell("cat > /tmp/data; wc -c < /tmp/data; rm /tmp/data"), &options).expect("cat");
        assert_eq!(output.stdout, b"20000000\n", "{output:?}");
    });
    time("20 at once", &|| {
        thread::scope(|scope| {
            for i in 0..20 {
                let run = &run;
                scope.spawn(move || {
                    let output = run(&format!("head -c 500000 /dev/zero; sleep 0.2; exit {i}"), 60).expect("head");
                    assert_eq!((output.stdout.len(), output.status.shell_code()), (500_000, i));
                });
            }
        });
    });
    time("timeout kills all", &|| {
        let text = "setsid sleep 4242 & (setsid setsid sleep 4242 &) ; sleep 4242";
        assert!(matches!(run(text, 2), Err(nbv_guest::Error::Timeout { .. })));
        thread::sleep(Duration::from_millis(300));
        let left = run("pgrep -f 'sleep 424[2]' -a; true", 20).expect("pgrep");
        assert_eq!(left.stdout, b"", "{}", String::from_utf8_lossy(&left.stdout));
    });
    time("clock and entropy", &|| {
        client.set_clock(UNIX_EPOCH + Duration::from_secs(1_800_000_000)).expect("clock");
        client.add_entropy(&[7; 64]).expect("entropy");
        let now = format!("{:?}", run("date +%s; echo $EPOCHSECONDS", 20).expect("date"));
        assert!(now.contains("Code(0)"), "{now}");
        let now = String::from_utf8(run("date +%s", 20).expect("date").stdout).expect("text");
        assert!(now.starts_with("18000000"), "{now}");
        client.set_clock(SystemTime::now()).expect("clock");
    });
    time("terminal", &|| {
        let options = nbv_guest::RunOptions { timeout: Some(Duration::from_secs(20)), ..Default::default() };
        let output = client.run_with(&shell("tty; stty size; test -t 1").pty(33, 99), &options).expect("tty");
        assert!(String::from_utf8_lossy(&output.stdout).contains("33 99"), "{output:?}");
        assert!(output.status.success());
    });
    time("another user", &|| {
        let output = client
            .run(["id", "-un"], Some(Duration::from_secs(20)))
            .and_then(|root| {
                let options = nbv_guest::RunOptions { timeout: Some(Duration::from_secs(20)), ..Default::default() };
                client.run_with(&Spec::new(["id", "-un"]).user("nobody"), &options).map(|nobody| (root, nobody))
            })
            .expect("id");
        assert_eq!((output.0.stdout, output.1.stdout), (b"root\n".to_vec(), b"nobody\n".to_vec()));
    });
    time("connecting again amid output", &|| {
        let busy = client.open(&shell("sleep 4343 & exec cat /dev/zero")).expect("cat");
        thread::sleep(Duration::from_millis(300));
        client.disconnect();
        thread::sleep(Duration::from_millis(300));
        client.reconnect(UnixStream::connect(socket).expect("socket"), Duration::from_secs(10)).expect("a greeting");
        drop(busy);
        assert!(client.wait_ready(Duration::from_secs(5)).expect("connected"), "the notice is repeated");
        let left = run("pgrep -f 'sleep 434[3]'; pgrep -x cat; true", 20).expect("pgrep");
        assert_eq!(left.stdout, b"", "{}", String::from_utf8_lossy(&left.stdout));
    });
}

/// Listens on a port of the loopback and gives each connection an sshd of its own, over the control channel.
fn serve_ssh(client: &Client) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    println!("ssh -p {} root@127.0.0.1", listener.local_addr().expect("an address").port());
    for stream in listener.incoming().map_while(Result::ok) {
        let client = client.clone();
        thread::spawn(move || {
            let spec = Spec::new(["/usr/bin/sshd", "-i", "-f", "/run/nbv/ssh/sshd_config"]);
            let mut session = client.open(&spec).expect("sshd starts");
            let (mut input, mut output, mut errors) =
                (session.stdin.take().expect("in"), session.stdout.take().expect("out"), session.stderr.take().expect("err"));
            let (mut near, mut far) = (stream.try_clone().expect("a copy"), stream.try_clone().expect("a copy"));
            thread::spawn(move || std::io::copy(&mut near, &mut input));
            thread::spawn(move || std::io::copy(&mut errors, &mut std::io::stderr()));
            let _ = std::io::copy(&mut output, &mut far);
            let _ = far.shutdown(std::net::Shutdown::Both);
            println!("sshd: {:?}", session.wait());
        });
    }
}

fn main() {
    let args: Vec<String> = env::args().skip(1).collect();
    let (options, command) = match args.iter().position(|a| a == "--") {
        Some(at) => (&args[..at], &args[at + 1..]),
        None => (&args[..], &[][..]),
    };
    let [layer, system, store, init, rest @ ..] = options else {
        eprintln!("usage: boot LAYER_DIR SYSTEM STORE_IMAGE INIT [-M MACHINE] [--append WORDS] [--tty] [--show] [-- COMMAND...]");
        std::process::exit(2);
    };
    let value = |name: &str| rest.iter().position(|a| a == name).and_then(|at| rest.get(at + 1)).cloned();
    let has = |name: &str| rest.iter().any(|a| a == name);
    let layer = Path::new(layer);
    let json = fs::read_to_string(layer.join("kernel.json")).expect("kernel.json");
    let order: Vec<&str> = json
        .split('"')
        .filter(|word| word.ends_with(".ko"))
        .filter(|word| !has("--lean") || !["overlay.ko", "virtio_mmio.ko"].contains(word))
        .collect();
    let contents: Vec<Vec<u8>> =
        order.iter().map(|name| fs::read(layer.join("modules").join(name)).expect("a module")).collect();
    let modules: Vec<Module<'_>> = order
        .iter()
        .zip(&contents)
        .map(|(name, content)| Module { name, content, parameters: "" })
        .collect();
    let programs = nbv_guest::programs(system).expect("a supported system");
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    let data = MachineData {
        host_name: "lean".into(),
        interfaces: vec![Interface { name: "eth0".into(), addresses: vec!["10.0.2.15/24".into()] }],
        gateways: vec!["10.0.2.2".into()],
        name_servers: vec!["10.0.2.3".into()],
        time: Some((now.as_secs(), now.subsec_nanos())),
        hosts: "192.168.1.1 lean\n".into(),
        seed: fs::read("/proc/sys/kernel/random/uuid").expect("random"),
        ssh: env::var("BOOT_SSH").ok().map_or_else(Vec::new, |folder| {
            fs::read_dir(folder)
                .expect("BOOT_SSH is a folder")
                .map(|entry| entry.expect("an entry").path())
                .map(|path| {
                    (path.file_name().expect("a name").to_string_lossy().into_owned(), fs::read(&path).expect("a file"))
                })
                .collect()
        }),
        ..MachineData::default()
    };
    let mut initrd = nbv_guest::initrd::fixed(&programs, &modules).expect("an initrd");
    initrd.extend(data.archive().expect("an initrd"));
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name).display().to_string();
    fs::write(path("initrd"), &initrd).expect("written");

    let is_64 = system.starts_with("x86_64");
    let machine = value("-M").unwrap_or_else(|| if is_64 { "microvm,pcie=on".into() } else { "q35".into() });
    let mmio = machine.starts_with("microvm") && !machine.contains("pcie=on");
    let bus = if mmio { "device" } else { "pci" };
    let console = if has("--tty") { "ttyS0" } else { "hvc0" };
    let mut append = format!(
        "console={console} panic=-1 mitigations=off audit=0 apparmor=0 lsm= no_timer_check tsc=reliable tsc_early_khz={} random.trust_cpu=on \
         net.ifnames=0 nokaslr init_on_alloc=0 cryptomgr.notests nowatchdog rcupdate.rcu_expedited=1 kfence.sample_interval=0 \
         modprobe.blacklist=autofs4,ip_tables,qemu_fw_cfg systemd.show_status=0 init={init}",
        tsc()
    );
    append += if has("--show") { " loglevel=7 printk.time=1" } else { " quiet loglevel=1" };
    if !has("--tty") {
        append += " 8250.nr_uarts=0";
    }
    if let Some(more) = value("--append") {
        append += " ";
        append += &more;
    }
    let mut qemu = Command::new(if is_64 { "qemu-system-x86_64" } else { "qemu-system-i386" });
    qemu.args(["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-M", &machine, "-accel", "tcg,thread=single", "-cpu"]);
    qemu.arg(value("-cpu").unwrap_or_else(|| if is_64 { "qemu64,+rdrand".into() } else { "max".into() }));
    qemu.args(["-m", "512", "-smp", "1", "-kernel"]).arg(layer.join("kernel"));
    qemu.args(["-initrd", &path("initrd"), "-append", &append]);
    let drives = [("layer", layer.join("layer.erofs").display().to_string()), ("store", store.clone())];
    for (name, file) in drives {
        qemu.arg("-drive").arg(format!("if=none,id={name},file={file},format=raw,readonly=on,file.locking=off"));
        qemu.arg("-device").arg(format!("virtio-blk-{bus},drive={name},serial=nbv-{name}"));
    }
    qemu.args(["-netdev", "user,id=n0"]);
    qemu.arg("-device").arg(format!("virtio-net-{bus},netdev=n0{}", if mmio { "" } else { ",romfile=" }));
    qemu.arg("-device").arg(format!("virtio-serial-{bus},id=ser0"));
    qemu.args(["-chardev", "stdio,id=c0,signal=off"]);
    if has("--tty") {
        qemu.args(["-serial", "chardev:c0"]);
    } else {
        qemu.args(["-device", "virtconsole,chardev=c0,bus=ser0.0"]);
    }
    let socket = env::var("BOOT_SOCKET").unwrap_or_else(|_| path("control"));
    qemu.arg("-chardev").arg(format!("socket,id=c1,path={socket},server=on,wait=off"));
    qemu.args(["-device", "virtserialport,chardev=c1,name=nbv.control,bus=ser0.0"]);
    qemu.stdin(Stdio::null()).stdout(Stdio::piped());
    if has("--print") {
        println!("{qemu:?}");
    }
    // SAFETY: prctl is async-signal-safe and touches no memory of ours.
    unsafe {
        std::os::unix::process::CommandExt::pre_exec(&mut qemu, || {
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
            Ok(())
        });
    }
    let start = Instant::now();
    let mut child = qemu.spawn().expect("QEMU starts");
    let pid = child.id();
    let out = child.stdout.take().expect("a pipe");
    thread::spawn(move || {
        for line in BufReader::new(out).split(b'\n').map_while(Result::ok) {
            println!("{:7.3} {:6.2} {}", start.elapsed().as_secs_f64(), cpu(pid), String::from_utf8_lossy(&line).trim_end());
        }
    });
    let report = |what: &str| println!("{:7.3} {:6.2} == {what}", start.elapsed().as_secs_f64(), cpu(pid));
    let verbose = has("--notices");
    let on_notice: Option<Box<dyn Fn(&nbv_guest::Notice) + Send + Sync>> = Some(Box::new(move |notice: &nbv_guest::Notice| {
        if verbose {
            println!("{:7.3} {:6.2} -- {}", start.elapsed().as_secs_f64(), cpu(pid), notice.text.trim_end().replace('\n', "; "));
        }
    }));
    let client = Client::unconnected(Options { on_notice });
    let limit = Duration::from_secs(value("--limit").and_then(|l| l.parse().ok()).unwrap_or(120));
    let stream = loop {
        match UnixStream::connect(&socket) {
            Ok(stream) => break stream,
            Err(error) if start.elapsed() > Duration::from_secs(5) => panic!("{error}"),
            Err(_) => thread::sleep(Duration::from_millis(5)),
        }
    };
    let result = client.reconnect(stream, limit).and_then(|()| {
        report("control");
        client.wait_ready(limit)
    });
    match result {
        Ok(true) => report("READY"),
        other => report(&format!("not ready: {other:?}")),
    }
    if !command.is_empty() && client.is_connected() {
        let before = Instant::now();
        match client.run_with(
            &Spec::new(command),
            &nbv_guest::RunOptions { timeout: Some(limit), ..Default::default() },
        ) {
            Ok(output) => {
                println!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
                report(&format!("{:?} after {:?}", output.status, before.elapsed()));
            }
            Err(error) => report(&error.to_string()),
        }
        for _ in 0..3 {
            if let Ok(time) = client.ping(Duration::from_secs(5)) {
                report(&format!("ping {time:?}"));
            }
        }
    }
    if has("--check") {
        check(&client, &report, &socket);
    }
    if has("--ssh") {
        serve_ssh(&client);
    }
    if has("--hold") {
        let _ = child.wait();
    }
    let _ = child.kill();
    let _ = child.wait();
}
