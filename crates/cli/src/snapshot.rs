//! `snapshot save|restore|list|delete` of a running network.

use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use lexopt::prelude::*;
use nbv_driver::snapshot::{Replace, SnapshotInfo};

use crate::build::fail_with;
use crate::exit::Exit;
use crate::help;
use crate::running::find;

const VERBS: [&str; 4] = ["save", "restore", "list", "delete"];

#[derive(Debug, Default, PartialEq)]
struct Words {
    state_dir: Option<PathBuf>,
    verb: String,
    names: Vec<String>,
    replace: bool,
    json: bool,
}

/// Does what `snapshot` asks.
pub(crate) fn act(words: Vec<OsString>) -> Exit {
    let words = match help::understood("snapshot", read(words)) {
        Ok(words) => words,
        Err(exit) => return exit,
    };
    let (found, _host) = match find(words.state_dir.as_deref()) {
        Ok(both) => both,
        Err(exit) => return exit,
    };
    let name = words.names.first().map_or("", String::as_str);
    let replace = if words.replace { Replace::Yes } else { Replace::No };
    let done = match words.verb.as_str() {
        "save" => found.save_snapshot(name, replace),
        "restore" => found.restore_snapshot(name),
        "delete" => words.names.iter().try_for_each(|name| found.delete_snapshot(name)),
        _ => found.list_snapshots().map(|all| {
            let text = if words.json { serde_json::to_string_pretty(&all).unwrap_or_default() + "\n" } else { table(&all, SystemTime::now()) };
            let _closed = std::io::stdout().write_all(text.as_bytes());
        }),
    };
    match done {
        Ok(()) => Exit::Done,
        Err(error) => fail_with(&error, Exit::Input),
    }
}

fn table(all: &[SnapshotInfo], now: SystemTime) -> String {
    if all.is_empty() {
        return "no snapshot of this network\n".into();
    }
    let width = all.iter().map(|info| info.name.chars().count()).max().unwrap_or(0).max(4);
    let mut text = format!("{:width$}  {:>8}  {:>9}  MACHINES\n", "NAME", "AGE", "SIZE");
    for info in all {
        let age = now.duration_since(UNIX_EPOCH + Duration::from_secs(info.made)).unwrap_or_default().as_secs();
        let age = match age {
            0..120 => format!("{age} s"),
            120..7200 => format!("{} min", age / 60),
            7200..172_800 => format!("{} h", age / 3600),
            _ => format!("{} days", age / 86_400),
        };
        text.push_str(&format!("{:width$}  {age:>8}  {:>5} MiB  {}\n", info.name, info.size >> 20, info.machines.join(", ")));
        if let Some(misfit) = &info.misfit {
            text.push_str(&format!("{:width$}  cannot be restored: {misfit}\n", ""));
        }
    }
    text
}

fn read(words: Vec<OsString>) -> Result<Option<Words>, String> {
    let mut read = Words::default();
    let mut parser = lexopt::Parser::from_args(words);
    let text = |error: lexopt::Error| error.to_string();
    while let Some(word) = parser.next().map_err(text)? {
        match word {
            Short('h') | Long("help") => return Ok(None),
            Long("state-dir") => read.state_dir = Some(parser.value().map_err(text)?.into()),
            Long("replace") if read.verb == "save" => read.replace = true,
            Long("json") if read.verb == "list" => read.json = true,
            Value(word) if read.verb.is_empty() => {
                read.verb = word.to_string_lossy().into_owned();
                if !VERBS.contains(&read.verb.as_str()) {
                    return Err(format!("`snapshot {}` is nothing; there are: {}", read.verb, VERBS.join(", ")));
                }
            }
            Value(word) => read.names.push(word.string().map_err(|error| error.to_string())?),
            other => return Err(other.unexpected().to_string()),
        }
    }
    match (read.verb.as_str(), read.names.len()) {
        ("", _) => Err(format!("`snapshot` needs one of: {}", VERBS.join(", "))),
        ("list", 1..) => Err("`snapshot list` takes no name".into()),
        (verb @ ("save" | "restore"), count) if count != 1 => Err(format!("`snapshot {verb}` needs one name")),
        ("delete", 0) => Err("`snapshot delete` needs a name".into()),
        _ => Ok(Some(read)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Result<Option<Words>, String> {
        read(line.split_whitespace().map(OsString::from).collect())
    }

    #[test]
    fn words_are_read_and_wrong_ones_named() {
        let read = words("save before --replace --state-dir /s").unwrap().unwrap();
        assert_eq!((read.verb.as_str(), read.names, read.replace, read.state_dir), ("save", vec!["before".to_owned()], true, Some("/s".into())));
        assert_eq!(words("delete a b").unwrap().unwrap().names, ["a", "b"]);
        assert!(words("list --json").is_ok() && words("-h").unwrap().is_none());
        for (line, word) in [("", "needs one of: save"), ("sve a", "`snapshot sve`"), ("save", "one name"), ("restore a b", "one name"), ("list a", "no name"), ("restore a --replace", "--replace")] {
            assert!(words(line).unwrap_err().contains(word), "{line}");
        }
    }

    #[test]
    fn a_list_says_what_cannot_be_restored() {
        let info = SnapshotInfo { name: "before".into(), made: 1000, size: 5 << 20, machines: vec!["a".into(), "b".into()], misfit: Some("why".into()) };
        let text = table(&[info], UNIX_EPOCH + Duration::from_secs(1300));
        assert_eq!(text, "NAME         AGE       SIZE  MACHINES\nbefore     5 min      5 MiB  a, b\n        cannot be restored: why\n");
        assert_eq!(table(&[], UNIX_EPOCH), "no snapshot of this network\n");
    }
}
