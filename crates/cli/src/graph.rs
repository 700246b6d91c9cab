//! `graph [NETWORK|RESULT]`: a drawing of a network that is described, built, or running.

use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lexopt::prelude::*;
use nbv_driver::graph::{Drawing, dot, svg};
use nbv_plan::NetworkPlan;
use nbv_realise::Subject;

use crate::args::Build;
use crate::build::{self, fail, fail_with};
use crate::exit::Exit;
use crate::help;
use crate::progress::{Detail, Display};
use crate::running;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Format {
    Svg,
    Dot,
}

#[derive(Default)]
struct Flags {
    build: Build,
    subject: Option<PathBuf>,
    is_test: bool,
    state_dir: Option<PathBuf>,
    out: Option<PathBuf>,
    format: Option<Format>,
}

/// Draws a network.
pub(crate) fn show(words: Vec<OsString>) -> Exit {
    let flags = match help::understood("graph", read(words)) {
        Ok(flags) => flags,
        Err(exit) => return exit,
    };
    let drawing = match &flags.subject {
        None => running(flags.state_dir.as_deref()),
        Some(given) => plan(&flags, given).map(|plan| Drawing::new(&plan, None)),
    };
    let drawing = match drawing {
        Ok(drawing) => drawing,
        Err(exit) => return exit,
    };
    let text = match format(&flags) {
        Format::Svg => svg(&drawing),
        Format::Dot => dot(&drawing),
    };
    match &flags.out {
        Some(path) if path.as_os_str() != "-" => match std::fs::write(path, text) {
            Ok(()) => Exit::Done,
            Err(error) => fail(&format!("cannot write {}: {error}", path.display()), Exit::Input),
        },
        _ => {
            let _closed = std::io::stdout().write_all(text.as_bytes());
            Exit::Done
        }
    }
}

/// What was asked for, else what the file's name says.
fn format(flags: &Flags) -> Format {
    let by_name = || match flags.out.as_deref().and_then(Path::extension).and_then(|extension| extension.to_str()) {
        Some("dot" | "gv") => Format::Dot,
        _ => Format::Svg,
    };
    flags.format.unwrap_or_else(by_name)
}

fn running(state_dir: Option<&Path>) -> Result<Drawing, Exit> {
    let (found, _host) = running::find(state_dir)?;
    let refused = |error: nbv_driver::ClientError| fail_with(&error, Exit::Input);
    let (plan, status) = (found.plan().map_err(refused)?, found.status().map_err(refused)?);
    Ok(Drawing::new(&plan, Some(&status)))
}

/// The plan of a result, or of what a file evaluates to.
fn plan(flags: &Flags, given: &Path) -> Result<NetworkPlan, Exit> {
    let file = if given.is_dir() { given.join("network.json") } else { given.to_owned() };
    if file.extension().is_some_and(|extension| extension == "json") && file.exists() {
        let text = std::fs::read_to_string(&file).map_err(|error| fail(&format!("cannot read {}: {error}", file.display()), Exit::Input))?;
        return NetworkPlan::parse(&text).map_err(|error| fail(&format!("{} is no network's plan: {error}", file.display()), Exit::Input));
    }
    let build = Build { network: given.to_owned(), ..flags.build.clone() };
    let settings = build::settings(&build)?;
    let subject = if flags.is_test { Subject::Test { name: None, is_interactive: false } } else { Subject::Network };
    let options = build::options(&build, subject, &settings).map_err(|message| fail(&message, Exit::Input))?;
    let display = Arc::new(Display::new(Detail::from_flags(build.verbosity - 1)));
    let progress: Arc<dyn nbv_store::Progress> = display.clone();
    let plan = nbv_realise::plan(&options, &progress);
    display.clear();
    plan.map_err(|error| build::show(&error, &build::style(build.show_trace)))
}

fn read(words: Vec<OsString>) -> Result<Option<Flags>, String> {
    let mut flags = Flags::default();
    let mut parser = lexopt::Parser::from_args(words);
    let said = |error: lexopt::Error| error.to_string();
    while let Some(word) = parser.next().map_err(said)? {
        match word {
            Short('h') | Long("help") => return Ok(None),
            Short('o') | Long("output") => flags.out = Some(parser.value().map_err(said)?.into()),
            Long("format") => {
                flags.format = Some(match parser.value().map_err(said)?.to_string_lossy().as_ref() {
                    "svg" => Format::Svg,
                    "dot" => Format::Dot,
                    other => return Err(format!("no format `{other}`; there are svg and dot")),
                });
            }
            Long("state-dir") => flags.state_dir = Some(parser.value().map_err(said)?.into()),
            Long("test") => flags.is_test = true,
            Long("show-trace") => flags.build.show_trace = true,
            Long("base") => flags.build.options.push(("base".into(), parser.value().map_err(said)?.to_string_lossy().into_owned())),
            Short('q') | Long("quiet") => flags.build.verbosity -= 1,
            Short('v') | Long("verbose") => flags.build.verbosity += 1,
            Short('I') | Long("include") => flags.build.search_path.push(parser.value().map_err(said)?.to_string_lossy().into_owned()),
            Long("option") => {
                let name = parser.value().map_err(said)?.to_string_lossy().into_owned();
                let value = parser.raw_args().map_err(said)?.next().ok_or("--option needs NAME VALUE")?;
                flags.build.options.push((name, value.to_string_lossy().into_owned()));
            }
            Value(word) if flags.subject.is_none() => flags.subject = Some(word.into()),
            other => return Err(other.unexpected().to_string()),
        }
    }
    if flags.subject.is_some() && flags.state_dir.is_some() {
        return Err("--state-dir names a running network; a file or a result is drawn without it".into());
    }
    Ok(Some(flags))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flags(line: &str) -> Result<Option<Flags>, String> {
        read(line.split_whitespace().map(OsString::from).collect())
    }

    #[test]
    fn the_format_is_what_was_asked_for_or_what_the_files_name_says() {
        for (line, wanted) in [("a.nix", Format::Svg), ("a.nix -o x.dot", Format::Dot), ("a.nix -o x.dot --format svg", Format::Svg), ("-o x.gv", Format::Dot)] {
            assert_eq!(format(&flags(line).unwrap().unwrap()), wanted, "{line}");
        }
        assert!(flags("--format png").is_err() && flags("a b").is_err() && flags("a --state-dir s").is_err());
    }
}
