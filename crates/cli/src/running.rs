//! Commands on a running network: the words of `internal-run`, `ssh`, `shell`, `logs`, `status`, `stop`, `doctor`.

use std::ffi::OsString;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};

use lexopt::prelude::*;
use nbv_driver::{ClientError, Found, Host, Parsed, RunOptions, Traffic};

use crate::build::{fail, fail_with};
use crate::exit::Exit;
use crate::help;

/// How often `status --watch` looks.
const WATCH_EVERY: std::time::Duration = std::time::Duration::from_secs(1);

/// Runs a result; the words are the runner's, with `--result DIR`.
pub(crate) fn run(words: Vec<OsString>) -> Exit {
    let mut options = match RunOptions::parse(words) {
        Ok(Parsed::Run(options)) => options,
        Ok(Parsed::Help) => {
            let _closed = std::io::stdout().write_all(nbv_driver::HELP.as_bytes());
            return Exit::Done;
        }
        Err(error) => return fail(&error.to_string(), Exit::Usage),
    };
    let host = match Host::from_environment() {
        Ok(host) => host,
        Err(error) => return fail_with(&error, Exit::Machine),
    };
    if let Ok(result) = options.result.canonicalize() {
        options.result = result;
    }
    let interrupts = match nbv_driver::interrupts() {
        Ok(interrupts) => interrupts,
        Err(error) => return fail_with(&error, Exit::Machine),
    };
    // A waited-for command writes to the terminal too.
    let has_view = !options.plain && !options.quiet && options.wait_ready.is_none() && nbv_view::is_wanted();
    let mut stdout = std::io::stdout();
    let mut view = |network: &nbv_driver::Network, controls| nbv_view::open(network, controls, host.has_colour);
    let show = if has_view { nbv_driver::Show::View(&mut view) } else { nbv_driver::Show::Lines(&mut stdout) };
    match nbv_driver::run(&options, &host, interrupts, show) {
        Ok(code) => Exit::Passed(code),
        Err(error @ nbv_driver::RunError::NoMachine { .. }) => fail_with(&error, Exit::Usage),
        Err(error) => fail_with(&error, Exit::Machine),
    }
}

/// Words of a command on a running network.
#[derive(Default)]
struct Words {
    state_dir: Option<PathBuf>,
    machine: Option<String>,
    command: Vec<OsString>,
    json: bool,
    follow: bool,
    watch: bool,
}

/// The running network that a command means, and the host.
pub(crate) fn find(state_dir: Option<&Path>) -> Result<(Found, Host), Exit> {
    let host = Host::from_environment().map_err(|error| fail_with(&error, Exit::Machine))?;
    let found = Found::find(state_dir, &host).map_err(|error| fail_with(&error, Exit::Input))?;
    Ok((found, host))
}

/// Acts on a running network.
pub(crate) fn act(name: &'static str, words: Vec<OsString>) -> Exit {
    let words = match help::understood(name, read(name, words)) {
        Ok(words) => words,
        Err(exit) => return exit,
    };
    let (found, host) = match find(words.state_dir.as_deref()) {
        Ok(both) => both,
        Err(exit) => return exit,
    };
    let machine = words.machine.unwrap_or_default();
    let mut out = std::io::stdout().lock();
    let done = match name {
        "ssh" => Err(found.ssh(&machine, &words.command, &host)),
        "internal-proxy" => found.proxy(&machine),
        "shell" => {
            drop(out);
            let command: Vec<String> = words.command.iter().map(|word| word.to_string_lossy().into_owned()).collect();
            found.shell(&machine, &command)
        }
        "logs" => found.logs(&machine, words.follow, &mut out).map(|()| 0),
        "stop" => found.stop(Some(machine.as_str()).filter(|machine| !machine.is_empty())).map(|()| 0),
        _ if words.watch => {
            drop(out);
            watch(&found, words.json)
        }
        _ => found.status().map(|status| {
            let text = if words.json { serde_json::to_string_pretty(&status).unwrap_or_default() + "\n" } else { status.to_text() };
            let _closed = out.write_all(text.as_bytes());
            0
        }),
    };
    match done {
        Ok(code) => Exit::Passed(code),
        Err(error) => fail_with(&error, Exit::Input),
    }
}

/// Shows the network and its traffic every second until it ends or nobody reads: on a terminal in place, else a line each time.
fn watch(found: &Found, json: bool) -> Result<u8, ClientError> {
    let mut out = std::io::stdout();
    let is_terminal = out.is_terminal();
    let mut before = found.status()?;
    if is_terminal && !json {
        let _closed = out.write_all(b"\x1b[2J");
    }
    loop {
        std::thread::sleep(WATCH_EVERY);
        let Ok(status) = found.status() else {
            // It has ended, which is no failure.
            return Ok(0);
        };
        let traffic = Traffic::between(&before, &status);
        let text = match (json, is_terminal) {
            (true, _) => serde_json::to_string(&status).unwrap_or_default() + "\n",
            (false, false) => format!("{:.0} s  {}\n", status.uptime, traffic.to_line()),
            // From the upper left corner, each line to its end, and what is left below goes.
            (false, true) => {
                let page = format!("{}\n{}", status.to_text(), traffic.to_text());
                format!("\x1b[H{}\x1b[J", page.replace('\n', "\x1b[K\n"))
            }
        };
        if out.write_all(text.as_bytes()).and_then(|()| out.flush()).is_err() {
            return Ok(0);
        }
        before = status;
    }
}

/// What this host can do; exit 1 when something that is needed is missing.
pub(crate) fn doctor(words: &[OsString]) -> Exit {
    if words.iter().any(|word| word == "--help" || word == "-h") {
        help::show_command("doctor");
        return Exit::Done;
    }
    let host = match Host::from_environment() {
        Ok(host) => host,
        Err(error) => return fail_with(&error, Exit::Machine),
    };
    crate::doctor::examine(&host)
}

fn read(name: &str, words: Vec<OsString>) -> Result<Option<Words>, String> {
    let mut read = Words::default();
    let mut parser = lexopt::Parser::from_args(words);
    let takes_command = matches!(name, "ssh" | "shell");
    while let Some(word) = parser.next().map_err(|error| error.to_string())? {
        match word {
            Short('h') | Long("help") => return Ok(None),
            Long("state-dir") => read.state_dir = Some(parser.value().map_err(|error| error.to_string())?.into()),
            Long("json") if name == "status" => read.json = true,
            Long("watch") if name == "status" => read.watch = true,
            Short('f') | Long("follow") if name == "logs" => read.follow = true,
            Value(word) if read.machine.is_none() && name != "status" => {
                read.machine = Some(word.to_string_lossy().into_owned());
                if takes_command {
                    // Flags from here on belong to the command.
                    read.command = parser.raw_args().map_err(|error| error.to_string())?.collect();
                    if read.command.first().is_some_and(|word| word == "--") {
                        read.command.remove(0);
                    }
                    break;
                }
            }
            other => return Err(other.unexpected().to_string()),
        }
    }
    if read.machine.is_none() && !matches!(name, "status" | "stop") {
        return Err(format!("`{name}` needs the name of a machine"));
    }
    Ok(Some(read))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(name: &str, line: &str) -> Result<Option<Words>, String> {
        read(name, line.split_whitespace().map(OsString::from).collect())
    }

    #[test]
    fn flags_after_the_machine_belong_to_the_command() {
        let read = words("ssh", "--state-dir /s test2 -- ls -l --json").unwrap().unwrap();
        assert_eq!((read.state_dir, read.machine.as_deref()), (Some("/s".into()), Some("test2")));
        assert_eq!(read.command, ["ls", "-l", "--json"]);
    }

    #[test]
    fn what_is_missing_or_too_much_is_said() {
        assert!(words("ssh", "").err().unwrap().contains("name of a machine"));
        assert!(words("status", "x").is_err());
        assert!(words("logs", "--json a").err().unwrap().contains("--json"));
        assert!(words("stop", "").is_ok() && words("ssh", "-h").unwrap().is_none());
    }
}
