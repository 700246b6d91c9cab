//! `gc`: deletes what nothing uses from the store.

use std::ffi::OsString;
use std::io::Write;

use lexopt::prelude::*;
use nbv_store::gc::{Mode, collect};

use crate::args::{Build, UsageError};
use crate::build::{self, fail_with};
use crate::exit::Exit;
use crate::help;
use crate::progress::bytes;

/// Deletes the store paths that no `result` and no running network needs; prints what that freed.
pub(crate) fn gc(words: Vec<OsString>) -> Exit {
    let (flags, mode) = match help::understood("gc", read(words)) {
        Ok(both) => both,
        Err(exit) => return exit,
    };
    let settings = match build::settings(&flags) {
        Ok(settings) => settings,
        Err(exit) => return exit,
    };
    let store = settings.text("store").map_or_else(build::default_store, Into::into);
    let freed = match collect(&store, &[], mode) {
        Ok(freed) => freed,
        Err(error) => return fail_with(&error, Exit::Input),
    };
    let paths = if freed.paths == 1 { "path" } else { "paths" };
    let words = match mode {
        Mode::DryRun => "would be deleted from",
        Mode::Delete => "deleted from",
    };
    let _closed = writeln!(std::io::stdout(), "{} {paths}, {}, {words} {}", freed.paths, bytes(freed.bytes), store.display());
    Exit::Done
}

fn read(words: Vec<OsString>) -> Result<Option<(Build, Mode)>, UsageError> {
    let mut flags = Build::default();
    let mut mode = Mode::Delete;
    let mut parser = lexopt::Parser::from_args(words);
    while let Some(word) = parser.next()? {
        match word {
            Short('h') | Long("help") => return Ok(None),
            Long("dry-run") => mode = Mode::DryRun,
            Long("option") => {
                let (name, value) = (parser.value()?, parser.raw_args()?.next());
                match (name.into_string(), value.map(OsString::into_string)) {
                    (Ok(name), Some(Ok(value))) => flags.options.push((name, value)),
                    _ => return Err(UsageError("--option needs a name and a value".into())),
                }
            }
            other => return Err(UsageError(other.unexpected().to_string())),
        }
    }
    Ok(Some((flags, mode)))
}
