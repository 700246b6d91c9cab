//! Options of the runner, as `result/bin/run-vms` takes them.

use std::ffi::OsString;
use std::path::PathBuf;

use lexopt::prelude::*;
use nbv_qemu::Wish;

/// How to run a network.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RunOptions {
    /// The result folder that `nixos-build-vms` made (with `network.json`).
    pub result: PathBuf,
    /// `--state-dir`: where disks, sockets and logs are; a fresh place when absent.
    pub state_dir: Option<PathBuf>,
    /// `--keep-vm-state`: disks that are there are used, and stay at the end.
    pub keep_vm_state: bool,
    /// `--cold`: machines boot, whatever is saved; nothing is saved either.
    pub cold: bool,
    /// `--jobs`: machines that boot at the same time; as many as the host has processors when absent.
    pub jobs: Option<usize>,
    /// `--restore`: come back from the snapshot of this name.
    pub restore: Option<String>,
    /// `--only`: these machines; empty means all.
    pub only: Vec<String>,
    /// `--quiet`: consoles are not shown.
    pub quiet: bool,
    /// `--plain`: lines, also on a terminal.
    pub plain: bool,
    /// `--wait-ready`: run this on the host when all are ready, then stop.
    pub wait_ready: Option<Vec<OsString>>,
    /// `--accelerator`.
    pub accelerator: Wish,
    /// `--capture`: frames of each machine and each segment go to files of this folder from the start.
    pub capture: Option<Capture>,
}

/// Where frames are captured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Capture {
    /// The folder; it is made.
    pub dir: PathBuf,
    /// Bytes of frames that a file takes.
    pub limit: u64,
}

/// What the words asked for.
#[derive(Debug, PartialEq)]
pub enum Parsed {
    /// Run.
    Run(RunOptions),
    /// Show [`HELP`].
    Help,
}

/// Why the words were refused.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct UsageError(String);

/// The text of `run-vms --help`.
pub const HELP: &str = "\
usage: run-vms [options]

Starts the machines of this network, shows their consoles, and waits until all have powered off.
Ctrl-C stops them in order; a second Ctrl-C at once.

  --state-dir DIR           where disks, sockets and logs are (default: a fresh folder that goes at the end)
  --keep-vm-state           use the disks that are in the state folder, and keep them at the end
  --cold                    boot, even where the machines could resume from what an earlier run saved
  --restore NAME            come back from a snapshot (nixos-build-vms snapshot save NAME)
  --jobs N                  how many machines boot at the same time (default: one for each processor of the host)
  --only NAME,...           start these machines only
  --plain                   lines instead of the full-screen view that a terminal gets
  --quiet                   lines, without those of the consoles
  --wait-ready COMMAND...   run a command on this host once all machines are ready, then stop the network
                            and exit with the command's status (must be the last option)
  --accelerator auto|kvm|tcg
  --capture DIR             write all frames of each machine and each segment to DIR, as pcapng
  --help

While it runs, from another terminal:
  nixos-build-vms ssh|shell MACHINE [-- COMMAND...], logs MACHINE, status, stop,
  snapshot save|restore|list|delete

exit status: 0 done, 2 wrong usage, 4 a machine failed, 130 interrupted; with --wait-ready the command's
";

impl RunOptions {
    /// Reads the words after the runner's name. `--result DIR` names the result; it is what the script adds.
    ///
    /// # Errors
    /// An unknown option, a missing or useless value.
    pub fn parse(words: impl IntoIterator<Item = OsString>) -> Result<Parsed, UsageError> {
        let usage = |error: lexopt::Error| UsageError(format!("{error}; see --help"));
        let mut options = Self::default();
        let mut parser = lexopt::Parser::from_args(words);
        while let Some(word) = parser.next().map_err(usage)? {
            match word {
                Short('h') | Long("help") => return Ok(Parsed::Help),
                Long("result") => options.result = parser.value().map_err(usage)?.into(),
                Long("state-dir") => options.state_dir = Some(parser.value().map_err(usage)?.into()),
                Long("keep-vm-state" | "keep-machine-state") | Short('K') => options.keep_vm_state = true,
                Long("cold") => options.cold = true,
                Short('j') | Long("jobs") => {
                    let word = parser.value().map_err(usage)?.to_string_lossy().into_owned();
                    let jobs = word.parse().ok().filter(|jobs| *jobs > 0);
                    options.jobs = Some(jobs.ok_or_else(|| UsageError(format!("--jobs `{word}` is not a number of machines from 1 on")))?);
                }
                Long("restore") => {
                    let name = parser.value().map_err(usage)?;
                    options.restore = Some(name.into_string().map_err(|_| UsageError("the name of --restore is not text".into()))?);
                }
                Long("only") => {
                    let names = parser.value().map_err(usage)?;
                    let names = names.into_string().map_err(|_| UsageError("the names of --only are not text".into()))?;
                    options.only.extend(names.split(',').filter(|name| !name.is_empty()).map(str::to_owned));
                    if options.only.is_empty() {
                        return Err(UsageError("--only names no machine".into()));
                    }
                }
                Short('q') | Long("quiet") => options.quiet = true,
                Long("plain") => options.plain = true,
                Long("capture") => options.capture = Some(Capture { dir: parser.value().map_err(usage)?.into(), limit: u64::MAX }),
                Long("accelerator") => {
                    let word = parser.value().map_err(usage)?.to_string_lossy().into_owned();
                    options.accelerator = word.parse().map_err(UsageError)?;
                }
                Long("wait-ready") => {
                    // The command's own flags are not ours: all that is left belongs to it.
                    let mut command: Vec<OsString> = parser.raw_args().map_err(usage)?.collect();
                    if command.first().is_some_and(|word| word == "--") {
                        command.remove(0);
                    }
                    if command.is_empty() {
                        return Err(UsageError("--wait-ready needs a command: --wait-ready COMMAND...".into()));
                    }
                    options.wait_ready = Some(command);
                }
                Value(word) => return Err(UsageError(format!("unexpected word `{}`; see --help", word.to_string_lossy()))),
                other => return Err(usage(other.unexpected())),
            }
        }
        if options.restore.is_some() && (options.cold || options.keep_vm_state) {
            let other = if options.cold { "--cold" } else { "--keep-vm-state" };
            return Err(UsageError(format!("--restore and {other} exclude each other")));
        }
        if options.result.as_os_str().is_empty() {
            return Err(UsageError("no result: --result DIR names what nixos-build-vms made".into()));
        }
        Ok(Parsed::Run(options))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Parsed, UsageError> {
        RunOptions::parse(line.split_whitespace().map(OsString::from))
    }

    #[test]
    fn the_command_of_wait_ready_keeps_its_own_flags() {
        let Ok(Parsed::Run(options)) = parse("--result /r --state-dir /s --only a,b --wait-ready sh -c --quiet") else { panic!() };
        assert_eq!(options.wait_ready.unwrap(), ["sh", "-c", "--quiet"]);
        assert_eq!(options.only, ["a", "b"]);
        assert!(!options.quiet);
        assert_eq!(options.state_dir, Some("/s".into()));
    }

    #[test]
    fn wrong_words_are_named() {
        for (line, word) in [
            ("--result /r --quite", "--quite"), ("--result /r --wait-ready", "needs a command"), ("--result /r x", "`x`"),
            ("--quiet", "--result"), ("--result /r --accelerator xen", "xen"), ("--result /r --only ,", "names no machine"), ("--result /r --jobs 0", "--jobs `0`"),
            ("--result /r --restore a --cold", "--cold exclude"), ("--result /r --restore a -K", "--keep-vm-state exclude"),
        ] {
            let error = parse(line).unwrap_err().to_string();
            assert!(error.contains(word), "{line}: {error}");
        }
        assert_eq!(parse("--help --nonsense").unwrap(), Parsed::Help);
    }
}
