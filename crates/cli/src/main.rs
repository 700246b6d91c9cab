//! The command `nixos-build-vms`: arguments, settings, progress, diagnostics, exit codes.
//!
//! Not here: anything that a user of the libraries would miss.

mod args;
mod exit;
mod git;
mod help;
mod nix_instantiate;
mod settings;
mod world;

use std::process::ExitCode;

use args::Command;
use exit::Exit;

fn main() -> ExitCode {
    let mut words: Vec<std::ffi::OsString> = std::env::args_os().collect();
    let name = if words.is_empty() { std::ffi::OsString::new() } else { words.remove(0) };
    if std::path::Path::new(&name).file_name().is_some_and(|n| n == "nix-instantiate") {
        return nix_instantiate::main(words).into();
    }
    dispatch(words).into()
}

fn dispatch(words: Vec<std::ffi::OsString>) -> Exit {
    let command = match args::parse(words) {
        Ok(command) => command,
        Err(error) => {
            eprintln!("error: {error}");
            eprintln!("try `nixos-build-vms --help`");
            return Exit::Usage;
        }
    };
    match command {
        Command::Help => help::show_manual(),
        Command::CommandHelp(name) => help::show_command(name),
        Command::Version => println!("nixos-build-vms {}", env!("CARGO_PKG_VERSION")),
        Command::Build(_) | Command::Run(..) | Command::Other(..) => {
            eprintln!("error: not connected yet");
            return Exit::Usage;
        }
    }
    Exit::Done
}
