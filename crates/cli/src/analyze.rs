//! `analyze MACHINE`: what a machine's boot cost.

use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;

use lexopt::prelude::*;
use nbv_driver::analyze::{self, Analysis};

use crate::build::{fail, fail_with};
use crate::exit::Exit;
use crate::help;
use crate::running::find;

#[derive(Default)]
struct Words {
    state_dir: Option<PathBuf>,
    machine: Option<String>,
    svg: Option<PathBuf>,
    json: bool,
}

/// Asks the machine, prints, and draws.
pub(crate) fn act(words: Vec<OsString>) -> Exit {
    let words = match help::understood("analyze", read(words)) {
        Ok(words) => words,
        Err(exit) => return exit,
    };
    let (found, _host) = match find(words.state_dir.as_deref()) {
        Ok(both) => both,
        Err(exit) => return exit,
    };
    let word = words.machine.unwrap_or_default();
    let asked = found.status().and_then(|status| {
        let argv = ["/usr/bin/env", "PATH=/run/current-system/sw/bin:/usr/bin", "sh", "-c", analyze::SCRIPT].map(str::to_owned);
        Ok((status, found.output(&word, &argv)?))
    });
    let (status, said) = match asked {
        Ok(both) => both,
        Err(error) => return fail_with(&error, Exit::Input),
    };
    let machine = status.machines.iter().find(|machine| machine.names.contains(&word));
    let name = machine.map_or(word.as_str(), |machine| machine.name.as_str());
    let analysis = match Analysis::parse(name, &String::from_utf8_lossy(&said), machine.and_then(|machine| machine.ready_after)) {
        Ok(analysis) => analysis,
        Err(error) => return fail_with(&error, Exit::Input),
    };
    if let Some(path) = words.svg
        && let Err(error) = std::fs::write(&path, analyze::svg(&analysis))
    {
        return fail(&format!("cannot write {}: {error}", path.display()), Exit::Input);
    }
    let text = if words.json { serde_json::to_string_pretty(&analysis).unwrap_or_default() + "\n" } else { analysis.to_text() };
    let _closed = std::io::stdout().write_all(text.as_bytes());
    Exit::Done
}

fn read(words: Vec<OsString>) -> Result<Option<Words>, String> {
    let mut read = Words::default();
    let mut parser = lexopt::Parser::from_args(words);
    let text = |error: lexopt::Error| error.to_string();
    while let Some(word) = parser.next().map_err(text)? {
        match word {
            Short('h') | Long("help") => return Ok(None),
            Long("state-dir") => read.state_dir = Some(parser.value().map_err(text)?.into()),
            Long("svg") => read.svg = Some(parser.value().map_err(text)?.into()),
            Long("json") => read.json = true,
            Value(word) if read.machine.is_none() => read.machine = Some(word.to_string_lossy().into_owned()),
            other => return Err(other.unexpected().to_string()),
        }
    }
    if read.machine.is_none() { Err("`analyze` needs the name of a machine".into()) } else { Ok(Some(read)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Result<Option<Words>, String> {
        read(line.split_whitespace().map(OsString::from).collect())
    }

    #[test]
    fn words_are_read_and_wrong_ones_named() {
        let read = words("test2 --svg boot.svg --json").unwrap().unwrap();
        assert_eq!((read.machine.as_deref(), read.svg, read.json), (Some("test2"), Some("boot.svg".into()), true));
        assert!(words("").err().unwrap().contains("name of a machine"));
        assert!(words("a b").is_err() && words("a --sgv x").err().unwrap().contains("--sgv"));
        assert!(words("--help").unwrap().is_none());
    }
}
