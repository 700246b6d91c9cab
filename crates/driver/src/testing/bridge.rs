//! What a test script asks of its machines: a line of JSON each, answered from a thread of its own.
//!
//! An answer is a line `{"id": N, "ok": VALUE, "blobs": [LENGTH, ...]}` with the bytes of its blobs behind it, or
//! `{"id": N, "error": TEXT}`. What machines do is in [`super::machine`].

use std::ffi::OsString;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::Deserialize;
use serde_json::{Value, json};

use super::error::TestError;
use super::machine::{Command, CommandOutput, MONITOR, USUAL, Wait};
use super::network::Shared;
use super::steps::Runner;
use super::{Outcome, Subtest, TestOptions, Work};
use crate::host::Host;
use crate::link;
use crate::network::Reboots;
use crate::screen;

/// The least time for a look at something.
const LOOK: Duration = Duration::from_secs(10);

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
    Connect { timeout: f64 },
    Stop,
    Crash,
    Reboot,
    WaitOff { timeout: Option<f64> },
    NoLimit,
    Exec { command: String, timeout: Option<f64>, wait: bool },
    Look { wanted: Wait, last: bool, timeout: f64 },
    CopyTo { source: PathBuf, target: String },
    CopyFrom { source: String, folder: PathBuf },
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
    Capture { path: PathBuf, segment: Option<u32> },
    EndCapture { capture: usize },
    Forward { host: u16, guest: u16 },
    Subtest { name: String, seconds: f64, failure: Option<String> },
    Failed { place: Vec<(u32, String)>, message: String },
    Serial { on: bool },
    Steps,
    Done,
}

struct Bridge {
    shared: Arc<Shared>,
    work: Work,
    place: String,
    is_interactive: bool,
    has_ocr: bool,
    /// Where programs of the host are.
    path: Option<OsString>,
    /// This program.
    program: String,
    outcome: Arc<Mutex<Outcome>>,
    /// Captures that the script started.
    captures: Mutex<Vec<nbv_switch::CaptureId>>,
}

/// An answer: a value, and bytes.
type Answer = (Value, Vec<Vec<u8>>);

/// Answers what comes over the socket until its other end closes.
pub(super) fn serve(shared: &Arc<Shared>, stream: UnixStream, options: &TestOptions, host: &Host, outcome: Arc<Mutex<Outcome>>) -> std::io::Result<()> {
    let bridge = Arc::new(Bridge {
        shared: Arc::clone(shared),
        work: options.work.clone(),
        place: options.place.clone(),
        is_interactive: options.interactive,
        has_ocr: options.enable_ocr,
        path: host.path.clone(),
        program: host.exe.display().to_string(),
        outcome,
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
                    return reply(&writer, &json!({ "id": id, "error": "the driver does not understand the request" }), &[]);
                };
                let id = ask.id;
                match bridge.answer(ask) {
                    Ok((value, blobs)) => {
                        let lengths: Vec<usize> = blobs.iter().map(Vec::len).collect();
                        reply(&writer, &json!({ "id": id, "ok": value, "blobs": lengths }), &blobs);
                    }
                    Err(error) => reply(&writer, &json!({ "id": id, "error": error }), &[]),
                }
            });
        }
    })?;
    Ok(())
}

fn reply(writer: &Mutex<UnixStream>, value: &Value, blobs: &[Vec<u8>]) {
    let mut writer = writer.lock().unwrap_or_else(PoisonError::into_inner);
    // The script may have ended.
    let _ = writer.write_all(format!("{value}\n").as_bytes());
    blobs.iter().for_each(|blob| drop(writer.write_all(blob)));
}

impl Bridge {
    fn answer(&self, ask: Ask) -> Result<Answer, String> {
        let said = |error: TestError| crate::machine::chain(&error);
        let machine = || self.shared.machine(ask.machine.as_deref().unwrap_or_default()).map_err(said);
        let value = |value: Value| Ok((value, Vec::new()));
        let done = |result: Result<(), TestError>| result.map(|()| (Value::Null, Vec::new())).map_err(said);
        let output = |output: CommandOutput| (json!({ "status": output.status }), vec![output.stdout, output.stderr]);
        let network = &self.shared.network;
        match ask.what {
            What::Setup => {
                let names: Vec<&str> = network.machines().map(|(_, machine)| machine.name.as_str()).collect();
                let segments = link::segments(network);
                let state_dir = network.settings().state_dir.display().to_string();
                let script = match &self.work {
                    Work::Script(script) => Value::from(script.as_str()),
                    Work::Steps(_) => Value::Null,
                };
                value(json!({ "machines": names, "segments": segments, "script": script, "outDir": self.shared.out_dir.display().to_string(),
                              "stateDir": state_dir, "interactive": self.is_interactive, "program": self.program, "keep": network.settings().keep_vm_state }))
            }
            What::View => {
                let view = network.view(machine()?.id());
                let is_connected = view.guest.as_ref().is_some_and(|guest| guest.client().is_ok());
                value(json!({ "running": view.phase.is_running(), "connected": is_connected, "pid": view.pid, "starts": view.starts, "phase": view.phase }))
            }
            What::Start { reboots } => {
                let machine = machine()?;
                done(if reboots && !machine.is_running() { machine.start_with(Reboots::Allowed) } else { machine.start() })
            }
            What::Connect { timeout } => done(machine()?.within(limit(timeout)).connect()),
            What::Stop => {
                network.stop(machine()?.id());
                done(Ok(()))
            }
            What::Crash => done(machine()?.crash()),
            What::Reboot => done(machine()?.reboot()),
            What::WaitOff { timeout } => done(machine()?.within(timeout.map_or(super::FOREVER, limit)).wait_for_shutdown()),
            What::NoLimit => {
                self.outcome().has_no_limit = true;
                done(Ok(()))
            }
            What::Exec { command, timeout, wait } => {
                let command = Command { is_detached: !wait, ..Command::from(command.as_str()) };
                machine()?.within(timeout.map_or(super::FOREVER, limit)).execute(&command).map(output).map_err(said)
            }
            What::Look { wanted, last, timeout } => {
                let found = machine()?.within(limit(timeout).max(LOOK)).look(&wanted, last).map_err(said)?;
                Ok((json!({ "is_so": found.is_so, "status": found.output.status }), vec![found.output.stdout, found.output.stderr]))
            }
            What::CopyTo { source, target } => done(machine()?.copy_to(&source, &target)),
            What::CopyFrom { source, folder } => done(machine()?.copy_from(&source, &folder)),
            What::Console => value(Value::String(machine()?.console_log())),
            What::SendConsole { text } => done(machine()?.send_console(&text)),
            What::Monitor { command } => machine()?.send_monitor_command(&command).map(|said| (Value::String(said), Vec::new())).map_err(said),
            What::Keys { keys } => {
                let monitor = machine()?.screen().map_err(said)?;
                screen::press(&monitor, &keys).map_err(|error| error.to_string())?;
                done(Ok(()))
            }
            What::Mouse { x, y, button, down } => {
                let monitor = machine()?.screen().map_err(said)?;
                if let (Some(x), Some(y)) = (x, y) {
                    screen::move_mouse(&monitor, x, y).map_err(|error| error.to_string())?;
                }
                if let Some(button) = button {
                    screen::mouse_button(&monitor, &button, down).map_err(|error| error.to_string())?;
                }
                done(Ok(()))
            }
            What::Screenshot => {
                let png = machine()?.picture().map_err(said)?.png().map_err(|error| error.to_string())?;
                value(Value::String(BASE64.encode(png)))
            }
            What::ScreenText { one } => {
                if !self.has_ocr {
                    return Err("text on a screen was asked for, but enableOCR is false: set `enableOCR = true;` in the test".into());
                }
                let texts = machine()?.picture().map_err(said)?.text(one, self.path.as_deref()).map_err(|error| error.to_string())?;
                value(json!(texts))
            }
            What::Qmp { command, arguments } => {
                let said = machine()?.monitor().map_err(said)?.execute(&command, arguments, MONITOR);
                value(said.map_err(|error| error.to_string())?)
            }
            What::QmpEvent { after, timeout } => {
                let monitor = machine()?.monitor().map_err(said)?;
                let Some(after) = after else { return value(json!({ "next": monitor.next_event() })) };
                value(monitor.event(after, limit(timeout)).map_or(Value::Null, |(number, event)| json!({ "next": number + 1, "event": event })))
            }
            What::Link { up } => {
                let machine = machine()?;
                if up { machine.unblock() } else { machine.block() }
                done(Ok(()))
            }
            What::Links => {
                let name = machine()?.name().to_owned();
                let status = crate::Status::of(network);
                let own = status.machines.into_iter().find(|machine| machine.name == name).map(|machine| machine.links);
                serde_json::to_value(own).map(|own| (own, Vec::new())).map_err(|error| error.to_string())
            }
            What::SetLink { segment: Some(segment), change } => link::change_segment(network, segment, &change).map(|()| (Value::Null, Vec::new())),
            What::SetLink { segment: None, change } => link::change(network, machine()?.id(), &change).map(|()| (Value::Null, Vec::new())),
            What::Partition { groups } => link::partition(network, &groups).map(|()| (Value::Null, Vec::new())),
            What::Capture { path, segment } => {
                let tap = link::tap(network, ask.machine.as_deref(), segment)?;
                let capture = link::capture(network, tap, &path, u64::MAX)?;
                let mut captures = self.captures.lock().unwrap_or_else(PoisonError::into_inner);
                captures.push(capture);
                value(json!(captures.len() - 1))
            }
            What::EndCapture { capture } => {
                let found = self.captures.lock().unwrap_or_else(PoisonError::into_inner).get(capture).copied();
                network.switch().end_capture(found.ok_or("no such capture")?);
                done(Ok(()))
            }
            What::Forward { host, guest } => done(machine()?.forward_port(host, guest)),
            What::Subtest { name, seconds, failure } => {
                self.outcome().subtests.push(Subtest { name, took: limit(seconds), failure });
                done(Ok(()))
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
                done(Ok(()))
            }
            What::Serial { on } => {
                self.outcome().is_serial_off = !on;
                done(Ok(()))
            }
            What::Steps => self.steps().map(|()| (Value::Null, Vec::new())),
            What::Done => {
                self.outcome().is_done = true;
                done(Ok(()))
            }
        }
    }

    /// Runs the test's steps for a person at the prompt.
    fn steps(&self) -> Result<(), String> {
        let Work::Steps(steps) = &self.work else { return Err("this test has a script, no steps".to_owned()) };
        // The prompt has the terminal's output.
        let say = |line: &str| drop(writeln!(std::io::stderr(), "{line}"));
        Runner { shared: Arc::clone(&self.shared), say: &say, subtests: Mutex::default() }.run_all(steps)
    }

    fn outcome(&self) -> MutexGuard<'_, Outcome> {
        super::lock(&self.outcome)
    }
}

fn limit(seconds: f64) -> Duration {
    if seconds.is_nan() { USUAL } else { Duration::try_from_secs_f64(seconds.clamp(0.0, 1e7)).unwrap_or(USUAL) }
}
