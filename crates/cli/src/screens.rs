//! Commands on the screen of a running machine: `screenshot`, `vnc`.

use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;

use lexopt::prelude::*;
use nbv_driver::ClientError;
use nbv_driver::screen::Viewing;

use crate::build::{fail, fail_with};
use crate::exit::Exit;
use crate::help;
use crate::running::find;

#[derive(Default)]
struct Words {
    state_dir: Option<PathBuf>,
    machine: String,
    file: Option<PathBuf>,
    port: Option<u16>,
}

/// Does what `screenshot` or `vnc` asks.
pub(crate) fn act(name: &'static str, words: Vec<OsString>) -> Exit {
    let words = match help::understood(name, read(name, words)) {
        Ok(words) => words,
        Err(exit) => return exit,
    };
    let (found, _host) = match find(words.state_dir.as_deref()) {
        Ok(both) => both,
        Err(exit) => return exit,
    };
    let done: Result<String, ClientError> = match (name, words.file) {
        ("vnc", _) => found.vnc(&words.machine, words.port).map(|place| match place {
            Viewing::Socket(path) => format!("{}\n", path.display()),
            Viewing::Port(port) => format!("127.0.0.1::{port}\n"),
        }),
        (_, Some(path)) if path.as_os_str() != "-" => {
            // Nothing is left of a picture that cannot be taken.
            let mut new = path.clone().into_os_string();
            new.push(".new");
            let shown = path.display();
            let file = match std::fs::File::create(&new) {
                Ok(file) => file,
                Err(error) => return fail(&format!("cannot write {shown}: {error}"), Exit::Input),
            };
            let taken = found.screenshot(&words.machine, file);
            if taken.is_err() {
                let _gone = std::fs::remove_file(&new);
            } else if let Err(error) = std::fs::rename(&new, &path) {
                return fail(&format!("cannot write {shown}: {error}"), Exit::Input);
            }
            taken.map(|()| String::new())
        }
        _ => found.screenshot(&words.machine, std::io::stdout()).map(|()| String::new()),
    };
    match done {
        Ok(text) => {
            let _closed = std::io::stdout().write_all(text.as_bytes());
            Exit::Done
        }
        Err(error) => fail_with(&error, Exit::Input),
    }
}

fn read(name: &str, words: Vec<OsString>) -> Result<Option<Words>, String> {
    let mut read = Words::default();
    let mut parser = lexopt::Parser::from_args(words);
    let text = |error: lexopt::Error| error.to_string();
    while let Some(word) = parser.next().map_err(text)? {
        match word {
            Short('h') | Long("help") => return Ok(None),
            Long("state-dir") => read.state_dir = Some(parser.value().map_err(text)?.into()),
            Long("port") if name == "vnc" => {
                let port = parser.value().map_err(text)?;
                read.port = Some(port.parse().map_err(|_| format!("`{}` is no port", port.to_string_lossy()))?);
            }
            Value(word) if read.machine.is_empty() => read.machine = word.to_string_lossy().into_owned(),
            Value(word) if name == "screenshot" && read.file.is_none() => read.file = Some(word.into()),
            other => return Err(other.unexpected().to_string()),
        }
    }
    match name {
        _ if read.machine.is_empty() => Err(format!("`{name}` needs a machine")),
        "screenshot" if read.file.is_none() => Err("`screenshot` needs a file, or - for standard output".into()),
        _ => Ok(Some(read)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_read() {
        let words = |name: &str, line: &str| read(name, line.split_whitespace().map(OsString::from).collect());
        assert!(words("vnc", "").is_err() && words("vnc", "a --port x").is_err() && words("vnc", "a b").is_err());
        assert_eq!(words("vnc", "a --port 0").unwrap().unwrap().port, Some(0));
        assert!(words("screenshot", "a").is_err() && words("screenshot", "a - b").is_err() && words("screenshot", "a --port 1").is_err());
        assert_eq!(words("screenshot", "a b.png").unwrap().unwrap().file, Some("b.png".into()));
    }
}
