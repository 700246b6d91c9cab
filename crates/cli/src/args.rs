//! The command line: what was typed, as data.
//!
//! The form of the manual page, `nixos-build-vms [flags] network.nix`, and the commands beside it. A file whose name is
//! that of a command is written with a slash: `./run`.
//!
//! Not here: what the flags do; the options of commands that act on a running network (crate `driver` reads them).

use std::ffi::OsString;
use std::path::PathBuf;

use lexopt::prelude::*;

/// What the user asks for.
#[derive(Debug, PartialEq)]
pub(crate) enum Command {
    /// Build the network of a file.
    Build(Build),
    /// Build, then run; the words after the file go to the runner.
    Run(Build, Vec<OsString>),
    /// A command of its own with its words.
    Other(&'static str, Vec<OsString>),
    /// Show the manual page.
    Help,
    /// Show the options of a command.
    CommandHelp(&'static str),
    /// Show the version.
    Version,
}

/// Flags and argument of a build.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Build {
    /// The network file.
    pub(crate) network: PathBuf,
    /// `-o`, or `result`; `None` with `--no-out-link`.
    pub(crate) out_link: Option<PathBuf>,
    /// `--show-trace`.
    pub(crate) show_trace: bool,
    /// `--option NAME VALUE` and the flags that stand for one.
    pub(crate) options: Vec<(String, String)>,
    /// `-I`, in order.
    pub(crate) search_path: Vec<String>,
    /// `-q` less, `-v` more.
    pub(crate) verbosity: i32,
    /// `--lock FILE`.
    pub(crate) lock: Option<PathBuf>,
    /// `--update-lock`.
    pub(crate) update_lock: bool,
    /// `--json`: diagnostics as JSON lines.
    pub(crate) json: bool,
}

/// Why the command line was refused.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct UsageError(pub(crate) String);

impl From<lexopt::Error> for UsageError {
    fn from(error: lexopt::Error) -> Self {
        match error {
            lexopt::Error::UnexpectedOption(flag) => unknown_flag(&flag),
            other => Self(other.to_string()),
        }
    }
}

/// Commands that act on what is already built or running, and who reads their words.
pub(crate) const COMMANDS: &[&str] =
    &["run", "test", "ssh", "shell", "logs", "status", "stop", "link", "block", "unblock", "partition", "capture", "snapshot", "screenshot", "vnc", "analyze", "graph", "options", "doctor", "gc",
      "internal-run", "internal-driver", "internal-proxy"];

const FLAGS: &[&str] = &[
    "--show-trace", "--no-out-link", "--out-link", "--option", "--help", "--version", "--quiet", "--verbose", "--lock", "--update-lock", "--cores",
    "--max-jobs", "--keep-failed", "--base", "--include", "--json",
];

/// Reads the words after the program's name.
///
/// # Errors
/// Wrong usage: an unknown flag (with the nearest one), a missing value, no or two network files.
pub(crate) fn parse(words: Vec<OsString>) -> Result<Command, UsageError> {
    if let Some(first) = words.first().and_then(|word| word.to_str())
        && let Some(command) = COMMANDS.iter().find(|command| **command == first)
    {
        let rest = words[1..].to_vec();
        return match *command {
            "run" => {
                let (build, rest) = match parse_build(rest, true)? {
                    Parsed::Build(build, rest) => (build, rest),
                    Parsed::Help => return Ok(Command::CommandHelp("run")),
                    Parsed::Version => return Ok(Command::Version),
                };
                Ok(Command::Run(build, rest))
            }
            name => Ok(Command::Other(name, rest)),
        };
    }
    Ok(match parse_build(words, false)? {
        Parsed::Build(build, _) => {
            if let Some(word) = build.network.to_str()
                && !word.contains(['.', '/'])
                && !build.network.exists()
                && let Some(near) = nearest(word, COMMANDS.iter().copied().filter(|command| !command.starts_with("internal-")))
            {
                return Err(UsageError(format!("`{word}` is neither a file here nor a command; did you mean `{near}`?")));
            }
            Command::Build(build)
        }
        Parsed::Help => Command::Help,
        Parsed::Version => Command::Version,
    })
}

enum Parsed {
    Build(Build, Vec<OsString>),
    Help,
    Version,
}

/// Reads a build's flags. With `rest`, the words after the network file are handed back unread.
fn parse_build(words: Vec<OsString>, rest: bool) -> Result<Parsed, UsageError> {
    let mut build = Build { out_link: Some("result".into()), ..Build::default() };
    let mut network: Option<PathBuf> = None;
    let mut parser = lexopt::Parser::from_args(words);
    while let Some(arg) = parser.next()? {
        match arg {
            Short('h') | Long("help") => return Ok(Parsed::Help),
            Long("version") => return Ok(Parsed::Version),
            Long("show-trace") => build.show_trace = true,
            Long("no-out-link") => build.out_link = None,
            Short('o') | Long("out-link") => build.out_link = Some(parser.value()?.into()),
            Long("option") => {
                let name = text(&mut parser, "--option")?;
                // The second word is a value of its own, so it may begin with a dash.
                let value = parser
                    .raw_args()?
                    .next()
                    .ok_or_else(|| UsageError(format!("--option {name} needs a value: --option NAME VALUE")))?;
                build.options.push((name, value.into_string().map_err(|_| not_text("--option"))?));
            }
            Short('I') | Long("include") => build.search_path.push(text(&mut parser, "-I")?),
            Short('q') | Long("quiet") => build.verbosity -= 1,
            Short('v') | Long("verbose") => build.verbosity += 1,
            Long("lock") => build.lock = Some(parser.value()?.into()),
            Long("update-lock") => build.update_lock = true,
            Long("json") => build.json = true,
            Long("cores") => build.options.push(("cores".into(), text(&mut parser, "--cores")?)),
            Short('j') | Long("max-jobs") => build.options.push(("max-jobs".into(), text(&mut parser, "--max-jobs")?)),
            Short('K') | Long("keep-failed") => build.options.push(("keep-failed".into(), "true".into())),
            Long("base") => build.options.push(("base".into(), text(&mut parser, "--base")?)),
            Value(word) if network.is_none() => {
                network = Some(word.into());
                if rest {
                    let mut left: Vec<OsString> = parser.raw_args()?.collect();
                    if left.first().is_some_and(|word| word == "--") {
                        left.remove(0);
                    }
                    build.network = network.unwrap_or_default();
                    return Ok(Parsed::Build(build, left));
                }
            }
            Value(word) => {
                let first = network.unwrap_or_default();
                return Err(UsageError(format!(
                    "two network files, `{}` and `{}`; one network is built at a time",
                    first.display(),
                    word.display()
                )));
            }
            Short(flag) => return Err(unknown_flag(&format!("-{flag}"))),
            Long(flag) => return Err(unknown_flag(&format!("--{flag}"))),
        }
    }
    build.network = network.ok_or_else(|| UsageError("no network file; usage: nixos-build-vms [flags] network.nix".into()))?;
    Ok(Parsed::Build(build, Vec::new()))
}

fn text(parser: &mut lexopt::Parser, flag: &str) -> Result<String, UsageError> {
    parser.value()?.into_string().map_err(|_| not_text(flag))
}

fn not_text(flag: &str) -> UsageError {
    UsageError(format!("the value of {flag} is not valid UTF-8"))
}

fn unknown_flag(flag: &str) -> UsageError {
    let hint = nearest(flag, FLAGS.iter().copied()).map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
    UsageError(format!("unknown flag `{flag}`{hint}"))
}

/// The candidate nearest to a mistyped word, if it is near enough to be meant.
pub(crate) fn nearest<'a>(word: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let limit = word.len() / 3 + 1;
    candidates.map(|candidate| (distance(word, candidate), candidate)).filter(|(distance, _)| *distance <= limit).min().map(|(_, near)| near)
}

/// Levenshtein's distance, in bytes.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.bytes().enumerate() {
            let replace = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = replace.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Result<Command, UsageError> {
        parse(text.split_whitespace().map(OsString::from).collect())
    }

    fn build(text: &str) -> Build {
        match words(text) {
            Ok(Command::Build(build)) => build,
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn the_manual_pages_form_is_read() {
        let it = build("--show-trace --no-out-link --option cores 2 --option store -x net.nix");
        assert!(it.show_trace && it.out_link.is_none());
        assert_eq!(it.options, [("cores".into(), "2".into()), ("store".into(), "-x".into())]);
        assert_eq!(it.network, PathBuf::from("net.nix"));
        assert_eq!(build("net.nix -o there").out_link, Some("there".into()));
        assert_eq!(build("-I a=b -I c net.nix").search_path, ["a=b", "c"]);
        assert_eq!(build("-vv -q net.nix").verbosity, 1);
    }

    #[test]
    fn wrong_usage_is_refused_and_named() {
        for (line, word) in [("", "no network file"), ("a.nix b.nix", "two network files"), ("--no-such-flag a.nix", "--no-such-flag"),
            ("--show-trac a.nix", "did you mean `--show-trace`"), ("--option cores", "needs a value"), ("-o", "missing argument"), ("statsu", "did you mean `status`")] {
            let error = words(line).unwrap_err().to_string();
            assert!(error.contains(word), "{line}: {error}");
        }
    }

    #[test]
    fn words_after_the_file_of_run_go_to_the_runner() {
        let Ok(Command::Run(build, rest)) = words("run --show-trace net.nix --only a --wait-ready true") else { panic!() };
        assert!(build.show_trace);
        assert_eq!(rest, ["--only", "a", "--wait-ready", "true"]);
    }

    #[test]
    fn a_file_named_like_a_command_is_reached_with_a_slash() {
        assert_eq!(build("./run").network, PathBuf::from("./run"));
    }
}
