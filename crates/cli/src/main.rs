//! The command `nixos-build-vms`: arguments, settings, progress, diagnostics, exit codes.
//!
//! Not here: anything that a user of the libraries would miss.

mod analyze;
mod args;
mod build;
mod doctor;
mod exit;
mod gc;
mod git;
mod graph;
mod help;
mod links;
mod options;
mod nix_instantiate;
mod progress;
mod running;
mod screens;
mod settings;
mod snapshot;
mod test;
mod world;

use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;

use args::Command;
use exit::Exit;

fn main() -> ExitCode {
    std::panic::set_hook(Box::new(|info| {
        let _closed = writeln!(
            std::io::stderr(),
            "internal error: please report it, with this text and what you ran: nixos-build-vms {}: {info}",
            env!("CARGO_PKG_VERSION")
        );
    }));
    let mut words = std::env::args_os();
    let own_name = words.next().unwrap_or_default();
    if std::path::Path::new(&own_name).file_name().is_some_and(|name| name == "nix-instantiate") {
        return nix_instantiate::main(words.collect()).into();
    }
    dispatch(words.collect()).into()
}

fn dispatch(words: Vec<OsString>) -> Exit {
    let command = match args::parse(words) {
        Ok(command) => command,
        Err(error) => return build::fail(&format!("{error}\ntry `nixos-build-vms --help`"), Exit::Usage),
    };
    match command {
        Command::Help => help::show_manual(),
        Command::CommandHelp(name) => help::show_command(name),
        Command::Version => {
            let _closed = writeln!(std::io::stdout(), "nixos-build-vms {}", env!("CARGO_PKG_VERSION"));
        }
        Command::Build(flags) => match build::build(&flags) {
            Ok(built) => {
                let _closed = writeln!(std::io::stdout(), "{}", built.path.display());
            }
            Err(exit) => return exit,
        },
        Command::Run(flags, words) => match build::build(&flags) {
            Ok(built) => {
                let mut runner: Vec<OsString> = vec!["--result".into(), built.path.into()];
                runner.extend(words);
                return running::run(runner);
            }
            Err(exit) => return exit,
        },
        Command::Other(name, words) => {
            return match name {
                "internal-run" => running::run(words),
                "internal-driver" => test::driver(words),
                "test" => test::test(words),
                "doctor" => running::doctor(&words),
                "gc" => gc::gc(words),
                "options" => options::show(&words),
                "analyze" => analyze::act(words),
                "graph" => graph::show(words),
                "link" | "block" | "unblock" | "partition" | "capture" => links::act(name, words),
                "snapshot" => snapshot::act(words),
                "screenshot" | "vnc" => screens::act(name, words),
                name => running::act(name, words),
            };
        }
    }
    Exit::Done
}
