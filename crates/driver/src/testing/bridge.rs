//! What a test script asks of its machines: a line of JSON each, answered from a thread of its own.

use std::ffi::OsString;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use nbv_guest::Spec;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Outcome, Subtest, TestOptions};
use crate::event::{MachineId, Phase};
use crate::guest::PATH;
use crate::link;
use crate::network::{Network, Reboots};
use crate::screen::{self, Picture};

/// How long QEMU's monitor may take.
const MONITOR: Duration = Duration::from_secs(60);
/// What a program that ran out of time leaves with, as timeout(1) has it.
const TIMED_OUT: i32 = 124;

#[derive(Deserialize)]
struct Ask {
    id: u64,
    #[serde(default)]
    machine: Option<String>,
    #[serde(flatten)]
    what: What,
}

#[derive(Deserialize)]
#[serde(tag = "op", rename_all = "kebab-case")]
enum What {
    Setup,
    View,
    Start { reboots: bool },
    AllowReboot,
    Connect { timeout: f64 },
    Stop,
    Kill,
    WaitOff { timeout: f64 },
    Exec { command: String, timeout: Option<f64>, wait: bool, #[serde(default)] stdin: Option<String> },
    Console,
    SendConsole { text: String },
    Monitor { command: String },
    Keys { keys: Vec<String> },
    Mouse { #[serde(default)] x: Option<f64>, #[serde(default)] y: Option<f64>, #[serde(default)] button: Option<String>, #[serde(default)] down: bool },
    Screenshot,
    ScreenText { one: bool },
    Qmp { command: String, arguments: Value },
    QmpEvent { after: Option<u64>, timeout: f64 },
    Link { up: bool },
    Links,
    SetLink { #[serde(default)] segment: Option<u32>, change: link::Change },
    Partition { groups: Vec<Vec<String>> },
    Capture { path: std::path::PathBuf, segment: Option<u32> },
    EndCapture { capture: usize },
    Forward { host: u16, guest: u16 },
    Subtest { name: String, seconds: f64, failure: Option<String> },
    Failed { place: Vec<(u32, String)>, message: String },
    Serial { #[serde(rename = "on")] _on: bool },
    Done,
}

struct Bridge {
    network: Network,
    script: String,
    place: String,
    out_dir: String,
    is_interactive: bool,
    has_ocr: bool,
    /// Where programs of the host are.
    path: Option<OsString>,
    outcome: Arc<Mutex<Outcome>>,
    /// Machines whose systemd was seen, with the number of their start.
    connected: Mutex<std::collections::HashMap<MachineId, u64>>,
    /// Captures that the script started.
    captures: Mutex<Vec<nbv_switch::CaptureId>>,
}

/// Answers what comes over the socket until its other end closes.
pub(super) fn serve(network: &Network, stream: UnixStream, options: &TestOptions, path: Option<OsString>, outcome: Arc<Mutex<Outcome>>) -> std::io::Result<()> {
    let out_dir = options.out_dir.canonicalize()?.display().to_string();
    let bridge = Arc::new(Bridge {
        network: network.clone(),
        script: options.script.clone(),
        place: options.place.clone(),
        out_dir,
        is_interactive: options.interactive,
        has_ocr: options.enable_ocr,
        path,
        outcome,
        connected: Mutex::default(),
        captures: Mutex::default(),
    });
    let writer = Arc::new(Mutex::new(stream.try_clone()?));
    std::thread::Builder::new().name("bridge".into()).spawn(move || {
        for line in BufReader::new(stream).split(b'\n').map_while(Result::ok) {
            let (bridge, writer) = (Arc::clone(&bridge), Arc::clone(&writer));
            // Without a thread the script waits, and its limit ends it.
            let _ = std::thread::Builder::new().name("ask".into()).spawn(move || {
                let Ok(ask) = serde_json::from_slice::<Ask>(&line) else {
                    let id = serde_json::from_slice::<Value>(&line).ok().and_then(|value| value.get("id").cloned());
                    return reply(&writer, &json!({ "id": id, "error": "the driver does not understand the request" }));
                };
                let id = ask.id;
                match bridge.answer(ask) {
                    Ok(value) => reply(&writer, &json!({ "id": id, "ok": value })),
                    Err(error) => reply(&writer, &json!({ "id": id, "error": error })),
                }
            });
        }
    })?;
    Ok(())
}

fn reply(writer: &Mutex<UnixStream>, value: &Value) {
    let mut writer = writer.lock().unwrap_or_else(PoisonError::into_inner);
    // The script may have ended.
    let _ = writer.write_all(format!("{value}\n").as_bytes());
}

impl Bridge {
    fn answer(&self, ask: Ask) -> Result<Value, String> {
        let network = &self.network;
        let machine = || {
            let name = ask.machine.as_deref().unwrap_or_default();
            network.find(name).ok_or_else(|| format!("no machine `{name}` in this test"))
        };
        let done = Ok(Value::Null);
        match ask.what {
            What::Setup => {
                let names: Vec<&str> = network.machines().map(|(_, machine)| machine.name.as_str()).collect();
                let segments = link::segments(network);
                let state_dir = network.settings().state_dir.display().to_string();
                Ok(json!({ "machines": names, "segments": segments, "script": self.script, "outDir": self.out_dir, "stateDir": state_dir,
                           "interactive": self.is_interactive }))
            }
            What::View => {
                let view = network.view(machine()?);
                let is_connected = view.guest.as_ref().is_some_and(|guest| guest.client().is_ok());
                Ok(json!({ "running": view.phase.is_running(), "connected": is_connected, "pid": view.pid, "starts": view.starts, "phase": view.phase }))
            }
            What::Start { reboots } => {
                let reboots = if reboots { Reboots::Allowed } else { Reboots::End };
                network.start(machine()?, reboots).map_err(|error| crate::machine::chain(&*error))?;
                done
            }
            What::AllowReboot => {
                network.start(machine()?, Reboots::Allowed).map_err(|error| crate::machine::chain(&*error))?;
                done
            }
            What::Connect { timeout } => {
                self.connect(machine()?, limit(timeout)).map_err(|error| self.with_failure(&ask.machine, error))?;
                done
            }
            What::Stop => {
                network.stop(machine()?);
                done
            }
            What::Kill => {
                network.kill(machine()?);
                done
            }
            What::WaitOff { timeout } => {
                let id = machine()?;
                if !network.wait(id, Some(Instant::now() + limit(timeout)), |view| !view.phase.is_running()) {
                    return Err(format!("machine {} is still {} after {timeout} s", network.machine(id).name, network.view(id).phase.name()));
                }
                match network.view(id).failure {
                    Some(failure) => Err(format!("machine {} failed: {failure}", network.machine(id).name)),
                    None => done,
                }
            }
            What::Exec { command, timeout, wait, stdin } => self.exec(machine()?, &command, timeout.map(limit), wait, stdin),
            What::Console => {
                let path = network.settings().machine_dir(machine()?).join("console.log");
                Ok(Value::String(String::from_utf8_lossy(&std::fs::read(path).unwrap_or_default()).into_owned()))
            }
            What::SendConsole { text } => {
                let view = network.view(machine()?);
                let mut console = view.console.as_deref().ok_or("the machine is not running")?;
                console.write_all(text.as_bytes()).map_err(|error| error.to_string())?;
                done
            }
            What::Monitor { command } => self.monitor(machine()?)?.human(&command, MONITOR).map(Value::String).map_err(|error| error.to_string()),
            What::Keys { keys } => {
                screen::press(&*self.screen(machine()?)?, &keys).map_err(|error| error.to_string())?;
                done
            }
            What::Mouse { x, y, button, down } => {
                let monitor = self.screen(machine()?)?;
                if let (Some(x), Some(y)) = (x, y) {
                    screen::move_mouse(&monitor, x, y).map_err(|error| error.to_string())?;
                }
                if let Some(button) = button {
                    screen::mouse_button(&monitor, &button, down).map_err(|error| error.to_string())?;
                }
                done
            }
            What::Screenshot => {
                let png = self.picture(machine()?)?.png().map_err(|error| error.to_string())?;
                Ok(Value::String(BASE64.encode(png)))
            }
            What::ScreenText { one } => {
                if !self.has_ocr {
                    return Err("text on a screen was asked for, but enableOCR is false: set `enableOCR = true;` in the test".into());
                }
                let texts = self.picture(machine()?)?.text(one, self.path.as_deref()).map_err(|error| error.to_string())?;
                Ok(json!(texts))
            }
            What::Qmp { command, arguments } => self.monitor(machine()?)?.execute(&command, arguments, MONITOR).map_err(|error| error.to_string()),
            What::QmpEvent { after, timeout } => {
                let monitor = self.monitor(machine()?)?;
                let Some(after) = after else { return Ok(json!({ "next": monitor.next_event() })) };
                Ok(monitor.event(after, limit(timeout)).map_or(Value::Null, |(number, event)| json!({ "next": number + 1, "event": event })))
            }
            What::Link { up } => {
                link::set_up(network, machine()?, up);
                done
            }
            What::Links => {
                let name = network.machine(machine()?).name.clone();
                let status = crate::Status::of(network);
                let own = status.machines.into_iter().find(|machine| machine.name == name).map(|machine| machine.links);
                serde_json::to_value(own).map_err(|error| error.to_string())
            }
            What::SetLink { segment: Some(segment), change } => link::change_segment(network, segment, &change).map(|()| Value::Null),
            What::SetLink { segment: None, change } => link::change(network, machine()?, &change).map(|()| Value::Null),
            What::Partition { groups } => link::partition(network, &groups).map(|()| Value::Null),
            What::Capture { path, segment } => {
                let tap = link::tap(network, ask.machine.as_deref(), segment)?;
                let capture = link::capture(network, tap, &path, u64::MAX)?;
                let mut captures = self.captures.lock().unwrap_or_else(PoisonError::into_inner);
                captures.push(capture);
                Ok(json!(captures.len() - 1))
            }
            What::EndCapture { capture } => {
                let found = self.captures.lock().unwrap_or_else(PoisonError::into_inner).get(capture).copied();
                network.switch().end_capture(found.ok_or("no such capture")?);
                done
            }
            What::Forward { host, guest } => {
                let said = self.monitor(machine()?)?.human(&format!("hostfwd_add net0u tcp:127.0.0.1:{host}-:{guest}"), MONITOR);
                match said.map_err(|error| error.to_string())?.trim() {
                    "" => done,
                    refusal => Err(refusal.to_owned()),
                }
            }
            What::Subtest { name, seconds, failure } => {
                self.outcome().subtests.push(Subtest { name, took: limit(seconds), failure });
                done
            }
            What::Failed { place, message } => {
                let mut text = String::new();
                for (line, source) in &place {
                    text.push_str(&format!("{}, line {line}: {source}\n", self.place));
                }
                if place.is_empty() {
                    text.push_str(&format!("{}:\n", self.place));
                }
                text.push_str(&message);
                self.outcome().failure = Some(text);
                done
            }
            What::Serial { .. } => done,
            What::Done => {
                self.outcome().is_done = true;
                done
            }
        }
    }

    /// Waits until the machine's systemd can be talked to: a script's commands expect that much, as those of NixOS' own driver do.
    fn connect(&self, id: MachineId, timeout: Duration) -> Result<(), String> {
        let guest = self.network.guest(id, timeout)?;
        let view = self.network.view(id);
        let mut connected = self.connected.lock().unwrap_or_else(PoisonError::into_inner);
        if connected.get(&id) == Some(&view.starts) {
            return Ok(());
        }
        drop(connected);
        if view.phase != Phase::Ready {
            let script = "until [ -S /run/systemd/private ]; do sleep 0.1; done";
            let waited = guest.client()?.run(["/usr/bin/sh", "-c", script], Some(timeout));
            waited.map_err(|error| format!("machine {}: {error}", self.network.machine(id).name))?;
        }
        connected = self.connected.lock().unwrap_or_else(PoisonError::into_inner);
        connected.insert(id, view.starts);
        Ok(())
    }

    fn outcome(&self) -> std::sync::MutexGuard<'_, Outcome> {
        self.outcome.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An error with why the machine failed, if it did.
    fn with_failure(&self, machine: &Option<String>, error: String) -> String {
        let view = machine.as_deref().and_then(|name| self.network.find(name)).map(|id| self.network.view(id));
        match view.filter(|view| view.phase == Phase::Failed).and_then(|view| view.failure) {
            Some(failure) => format!("{error}: {failure}"),
            None => error,
        }
    }

    fn screen(&self, id: MachineId) -> Result<Arc<nbv_qemu::Qmp>, String> {
        screen::of(&self.network, id).map_err(|error| error.to_string())
    }

    fn picture(&self, id: MachineId) -> Result<Picture, String> {
        Picture::take(&*self.screen(id)?, &self.network.settings().machine_dir(id)).map_err(|error| error.to_string())
    }

    fn monitor(&self, id: MachineId) -> Result<Arc<nbv_qemu::Qmp>, String> {
        self.network.view(id).monitor.ok_or_else(|| format!("machine {} is not running", self.network.machine(id).name))
    }

    /// Runs a shell command; the answer has its status and its outputs.
    fn exec(&self, id: MachineId, command: &str, timeout: Option<Duration>, wait: bool, stdin: Option<String>) -> Result<Value, String> {
        let guest = self.network.guest(id, Duration::from_secs(1))?;
        let client = guest.client()?;
        let mut spec = Spec::new(["bash", "--norc", "-c", command]).env("PATH", PATH);
        spec.stdin_null = stdin.is_none();
        spec.output_null = !wait;
        let gone = |error: nbv_guest::Error| format!("machine {}: {error}", self.network.machine(id).name);
        let mut session = client.open(&spec).map_err(gone)?;
        if !wait {
            session.detach();
            return Ok(Value::Null);
        }
        let (input, stdout, stderr) = (session.stdin.take(), session.stdout.take(), session.stderr.take());
        if let (Some(mut input), Some(text)) = (input, stdin) {
            let bytes = BASE64.decode(text).map_err(|error| error.to_string())?;
            let feed = move || drop(input.write_all(&bytes));
            std::thread::Builder::new().name("input".into()).spawn(feed).map_err(|error| error.to_string())?;
        }
        // What it left running may hold the error output open, so only the other's end is waited for.
        let errors = collect(stderr)?;
        let output = collect(stdout)?;
        let deadline = timeout.map(|timeout| Instant::now() + timeout);
        if !output.wait(deadline) {
            // Dropping the session kills the program and what it started.
            return Ok(json!({ "status": TIMED_OUT, "stdout": output.take(), "stderr": errors.take() }));
        }
        let left = deadline.map_or(Duration::from_secs(24 * 3600), |deadline| deadline.saturating_duration_since(Instant::now()));
        let status = session.wait_timeout(left.max(Duration::from_millis(10))).map_err(gone)?;
        let Some(status) = status else {
            return Ok(json!({ "status": TIMED_OUT, "stdout": output.take(), "stderr": errors.take() }));
        };
        errors.wait(Some(Instant::now() + Duration::from_millis(20)));
        session.detach();
        Ok(json!({ "status": status.shell_code(), "stdout": output.take(), "stderr": errors.take() }))
    }
}

fn limit(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds.clamp(0.0, 1e9)).unwrap_or_default()
}

/// An output that a thread reads to its end.
struct Collected {
    bytes: Arc<Mutex<Vec<u8>>>,
    end: std::sync::mpsc::Receiver<()>,
}

fn collect(stream: Option<impl Read + Send + 'static>) -> Result<Collected, String> {
    let bytes = Arc::new(Mutex::new(Vec::new()));
    let (ended, end) = std::sync::mpsc::channel();
    if let Some(mut stream) = stream {
        let bytes = Arc::clone(&bytes);
        let read = move || {
            let mut buffer = vec![0; 64 * 1024];
            while let Ok(len @ 1..) = stream.read(&mut buffer) {
                bytes.lock().unwrap_or_else(PoisonError::into_inner).extend(&buffer[..len]);
            }
            let _ = ended.send(());
        };
        std::thread::Builder::new().name("output".into()).spawn(read).map_err(|error| error.to_string())?;
    }
    Ok(Collected { bytes, end })
}

impl Collected {
    /// Waits for the end; false when the deadline came first.
    fn wait(&self, deadline: Option<Instant>) -> bool {
        use std::sync::mpsc::RecvTimeoutError;
        match deadline {
            None => {
                let _ = self.end.recv();
                true
            }
            Some(deadline) => {
                let left = deadline.saturating_duration_since(Instant::now());
                !matches!(self.end.recv_timeout(left), Err(RecvTimeoutError::Timeout))
            }
        }
    }

    /// What came so far, in base64.
    fn take(&self) -> String {
        BASE64.encode(&*self.bytes.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
