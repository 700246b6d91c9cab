//! A small `nix-instantiate` over the system's files, for trying the evaluator and measuring it.
//!
//! `nix-eval [--strict] [--json] [--parse] [--show-trace] [-I x=y] (-E EXPR | FILE | -)`; `--stats` tells the memory used;
//! `--threads N` evaluates with that many threads.

use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nbv_diag::{RenderOptions, render};
use nbv_eval::{EvalError, Evaluator, FileKind, Heap, MessageKind, Origin, Settings, World, WorldError, on_big_stack};

struct System;

fn fail(e: std::io::Error) -> WorldError {
    WorldError::new(e.to_string())
}

fn kind(m: &std::fs::Metadata) -> FileKind {
    let t = m.file_type();
    if t.is_dir() {
        FileKind::Directory
    } else if t.is_symlink() {
        FileKind::Symlink
    } else if t.is_file() {
        FileKind::Regular { is_executable: m.permissions().mode() & 0o100 != 0 }
    } else {
        FileKind::Other
    }
}

impl World for System {
    fn read_file(&self, path: &Path) -> Result<Vec<u8>, WorldError> {
        std::fs::read(path).map_err(fail)
    }
    fn file_kind(&self, path: &Path) -> Result<Option<FileKind>, WorldError> {
        match path.symlink_metadata() {
            Ok(m) => Ok(Some(kind(&m))),
            Err(e) if matches!(e.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory) => Ok(None),
            Err(e) => Err(fail(e)),
        }
    }
    fn read_link(&self, path: &Path) -> Result<PathBuf, WorldError> {
        std::fs::read_link(path).map_err(fail)
    }
    fn read_dir(&self, path: &Path) -> Result<Vec<(Vec<u8>, FileKind)>, WorldError> {
        let entries = std::fs::read_dir(path).map_err(fail)?;
        entries
            .map(|e| {
                let e = e.map_err(fail)?;
                Ok((e.file_name().as_bytes().to_vec(), kind(&e.metadata().map_err(fail)?)))
            })
            .collect()
    }
    fn env(&self, name: &[u8]) -> Option<Vec<u8>> {
        std::env::var_os(std::ffi::OsStr::from_bytes(name)).map(|v| v.as_bytes().to_vec())
    }
    fn current_time(&self) -> i64 {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        now.map_or(0, |d| d.as_secs() as i64)
    }
    fn message(&self, kind: MessageKind, text: &str) {
        match kind {
            MessageKind::Trace => eprintln!("trace: {text}"),
            MessageKind::Warning => eprintln!("evaluation warning: {text}"),
        }
    }
}

fn run() -> i32 {
    let mut settings = Settings::default();
    settings.features.flakes = true;
    let (mut strict, mut json, mut parse, mut show_trace, mut stats) = (false, false, false, false, false);
    let mut input: Option<(Origin, Vec<u8>)> = None;
    let cwd = std::env::current_dir().unwrap_or_else(|_| "/".into());
    if let Ok(path) = std::env::var("NIX_PATH") {
        settings.nix_path = path.split(':').filter(|p| !p.is_empty()).map(entry).collect();
    }
    if let Ok(store) = std::env::var("NIX_STORE_DIR") {
        settings.store_dir = store;
    }
    let mut args = std::env::args().skip(1);
    let mut includes = Vec::new();
    let mut attribute = String::new();
    let mut threads = 1_usize;
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--strict" => strict = true,
            "--json" => json = true,
            "--eval" | "--eval-only" | "--read-write-mode" => {}
            "--threads" => threads = args.next().and_then(|n| n.parse().ok()).unwrap_or(1),
            "--timeout" => drop(args.next()),
            "-A" => attribute = args.next().unwrap_or_default(),
            "--parse" => parse = true,
            "--show-trace" => show_trace = true,
            "--no-show-trace" => show_trace = false,
            "--stats" => stats = true,
            "--max-call-depth" => settings.max_call_depth = args.next().and_then(|n| n.parse().ok()).unwrap_or(10_000),
            "-I" => includes.extend(args.next().map(|a| entry(&a))),
            "-E" => input = Some((Origin::String, args.next().unwrap_or_default().into_bytes())),
            "-" => {
                let mut text = Vec::new();
                let _ = std::io::stdin().read_to_end(&mut text);
                input = Some((Origin::Stdin, text));
            }
            file => input = Some((Origin::File(cwd.join(file)), Vec::new())),
        }
    }
    includes.append(&mut settings.nix_path);
    settings.nix_path = includes;
    let heap = Heap::new();
    let ev = Evaluator::new(&heap, Arc::new(System), settings, vec![]);
    let Some((origin, text)) = input else { return 2 };
    let work = || -> Result<Vec<u8>, EvalError> {
        if parse {
            return match origin {
                Origin::File(path) => {
                    let text = System.read_file(&path).map_err(|e| EvalError::new("eval::io", e.message))?;
                    let base = path.parent().unwrap_or(Path::new("/")).to_owned();
                    ev.parse_to_text(Origin::File(path), &text, &base)
                }
                origin => ev.parse_to_text(origin, &text, &cwd),
            };
        }
        let v = match origin {
            Origin::File(path) => ev.eval_file(&path)?,
            origin => ev.eval_source(origin, &text, &cwd)?,
        };
        let no_args = ev.force_attrs(ev.cell(ev.attrs(vec![])))?;
        let v = if attribute.is_empty() { v } else { ev.find_along_path(v, &attribute, no_args)? };
        let cell = ev.cell(v);
        if json {
            return Ok(ev.to_json(cell)?.0.to_string().into_bytes());
        }
        if strict {
            ev.force_deep(cell)?;
        }
        ev.print(v)
    };
    let result = ev.with_helpers(threads.saturating_sub(1), work);
    if stats {
        eprintln!("{} MB in the heap, {} symbols", heap.allocated_bytes() >> 20, ev.symbols().len());
    }
    match result {
        Ok(out) => {
            let mut stdout = std::io::stdout().lock();
            let _ = stdout.write_all(&out).and_then(|()| stdout.write_all(b"\n"));
            0
        }
        Err(e) => {
            let options = RenderOptions { show_trace, ..RenderOptions::default() };
            eprint!("{}", render(e.diagnostic(), ev.sources(), &options));
            1
        }
    }
}

fn entry(text: &str) -> (String, String) {
    let (prefix, path) = text.split_once('=').unwrap_or(("", text));
    let cwd = std::env::current_dir().unwrap_or_else(|_| "/".into());
    let path = if path.contains("://") { path.to_owned() } else { cwd.join(path).display().to_string() };
    (prefix.to_owned(), path)
}

fn main() {
    let code = on_big_stack(run);
    std::process::exit(code);
}
