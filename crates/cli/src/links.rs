//! Commands on the links of a running network: `link`, `block`, `unblock`, `partition`, `capture`.

use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;

use lexopt::prelude::*;
use nbv_driver::link::{Change, Direction, VALUES};

use crate::build::{fail, fail_with};
use crate::exit::Exit;
use crate::help;
use crate::running::find;

struct Words {
    state_dir: Option<PathBuf>,
    words: Vec<String>,
    change: Change,
    heal: bool,
    machine: Option<String>,
    segment: Option<u32>,
}

/// Does what the command asks.
pub(crate) fn act(name: &'static str, words: Vec<OsString>) -> Exit {
    let words = match help::understood(name, read(name, words)) {
        Ok(words) => words,
        Err(exit) => return exit,
    };
    let (found, _host) = match find(words.state_dir.as_deref()) {
        Ok(both) => both,
        Err(exit) => return exit,
    };
    let done = match (name, words.words.first()) {
        ("link", None) => found.status().map(|status| {
            let _closed = std::io::stdout().write_all(status.links_text().as_bytes());
        }),
        ("link", Some(word)) => {
            let (machine, interface) = word.split_once(':').map_or((word.as_str(), None), |(machine, name)| (machine, Some(name.to_owned())));
            found.change_link(machine, Change { interface, ..words.change })
        }
        ("block" | "unblock", word) => found.set_link(word.map_or("", String::as_str), name == "unblock"),
        ("partition", _) => {
            let group = |word: &String| word.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect();
            found.partition(if words.heal { Vec::new() } else { words.words.iter().map(group).collect() })
        }
        (_, Some(path)) if path == "-" => found.capture(words.machine.as_deref(), words.segment, std::io::stdout()),
        (_, path) => match std::fs::File::create(path.map_or("", String::as_str)) {
            Ok(file) => found.capture(words.machine.as_deref(), words.segment, file),
            Err(error) => return fail(&format!("cannot write {}: {error}", path.map_or("", String::as_str)), Exit::Input),
        },
    };
    match done {
        Ok(()) => Exit::Done,
        Err(error) => fail_with(&error, Exit::Input),
    }
}

fn read(name: &str, words: Vec<OsString>) -> Result<Option<Words>, String> {
    let change = Change { interface: None, direction: Direction::Both, reset: false, cut: None, seed: None, values: Vec::new() };
    let mut read = Words { state_dir: None, words: Vec::new(), change, heal: false, machine: None, segment: None };
    let mut parser = lexopt::Parser::from_args(words);
    let text = |error: lexopt::Error| error.to_string();
    while let Some(word) = parser.next().map_err(text)? {
        match word {
            Short('h') | Long("help") => return Ok(None),
            Long("state-dir") => read.state_dir = Some(parser.value().map_err(text)?.into()),
            Long("in") if name == "link" => read.change.direction = Direction::In,
            Long("out") if name == "link" => read.change.direction = Direction::Out,
            Long("reset") if name == "link" => (read.change.reset, read.change.cut) = (true, Some(false)),
            Long("cut") if name == "link" => read.change.cut = Some(true),
            Long("join") if name == "link" => read.change.cut = Some(false),
            Long("seed") if name == "link" => read.change.seed = Some(parser.value().map_err(text)?.parse().map_err(text)?),
            Long(value) if name == "link" && VALUES.contains(&value) => {
                let value = value.to_owned();
                let given = parser.value().map_err(text)?.to_string_lossy().into_owned();
                read.change.values.push((value, given));
            }
            Long("heal") if name == "partition" => read.heal = true,
            Long("machine") if name == "capture" => read.machine = Some(parser.value().map_err(text)?.to_string_lossy().into_owned()),
            Long("segment") if name == "capture" => read.segment = Some(parser.value().map_err(text)?.parse().map_err(text)?),
            Value(word) if name == "partition" || read.words.is_empty() => read.words.push(word.to_string_lossy().into_owned()),
            other => return Err(other.unexpected().to_string()),
        }
    }
    let is_change = read.change.reset || read.change.cut.is_some() || read.change.seed.is_some() || !read.change.values.is_empty();
    match name {
        "link" if !read.words.is_empty() != is_change => Err("`link` needs a machine and what to change, or neither".into()),
        "partition" if read.heal != read.words.is_empty() || read.words.len() == 1 => Err("`partition` needs two groups or more, or --heal".into()),
        "block" | "unblock" if read.words.is_empty() => Err(format!("`{name}` needs the name of a machine")),
        "capture" if read.words.is_empty() => Err("`capture` needs a file, or - for standard output".into()),
        _ => Ok(Some(read)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(name: &str, line: &str) -> Result<Option<Words>, String> {
        read(name, line.split_whitespace().map(OsString::from).collect())
    }

    #[test]
    fn a_change_of_a_link_is_read() {
        let read = words("link", "a:eth1 --delay 50ms --loss 1% --in --seed 4").unwrap().unwrap();
        assert_eq!((read.change.direction, read.change.seed), (Direction::In, Some(4)));
        assert_eq!(read.change.values, [("delay".into(), "50ms".into()), ("loss".into(), "1%".into())]);
        assert!(words("link", "").is_ok() && words("link", "a").is_err() && words("link", "--cut").is_err());
        assert!(words("partition", "a,b").is_err() && words("partition", "a,b c").is_ok() && words("partition", "--heal").is_ok());
        assert!(words("block", "").is_err() && words("unblock", "a").is_ok() && words("block", "a b").is_err());
        assert!(words("capture", "").is_err() && words("capture", "- --segment 1").is_ok());
    }
}
