//! The tests of the embedded library (folder `nix/tests`) on this evaluator.

use nbv_eval::{Evaluator, FileKind, Heap, MessageKind, Settings, World, WorldError};
use std::fs;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The embedded library at its virtual root; everything else from disk.
struct Library;

impl World for Library {
    fn read_file(&self, path: &Path) -> Result<Vec<u8>, WorldError> {
        match path.to_str().and_then(nbv_nixlib::file) {
            Some(content) => Ok(content.to_vec()),
            None => fs::read(path).map_err(|error| WorldError::new(error.to_string())),
        }
    }

    fn file_kind(&self, path: &Path) -> Result<Option<FileKind>, WorldError> {
        match path.to_str().and_then(nbv_nixlib::kind) {
            Some(nbv_nixlib::Kind::Dir) => return Ok(Some(FileKind::Directory)),
            Some(nbv_nixlib::Kind::File) => return Ok(Some(FileKind::Regular { is_executable: false })),
            None => {}
        }
        Ok(fs::symlink_metadata(path).ok().map(|data| {
            if data.is_dir() {
                FileKind::Directory
            } else if data.is_symlink() {
                FileKind::Symlink
            } else {
                FileKind::Regular { is_executable: false }
            }
        }))
    }

    fn read_link(&self, path: &Path) -> Result<PathBuf, WorldError> {
        fs::read_link(path).map_err(|error| WorldError::new(error.to_string()))
    }

    fn read_dir(&self, path: &Path) -> Result<Vec<(Vec<u8>, FileKind)>, WorldError> {
        let mut found = Vec::new();
        for entry in fs::read_dir(path).map_err(|error| WorldError::new(error.to_string()))? {
            let entry = entry.map_err(|error| WorldError::new(error.to_string()))?;
            let kind = self.file_kind(&entry.path())?.unwrap_or(FileKind::Other);
            found.push((entry.file_name().into_vec(), kind));
        }
        Ok(found)
    }

    fn message(&self, _: MessageKind, _: &str) {}
}

/// `nix/` of the project.
fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../nix").canonicalize().expect("folder nix/")
}

/// Gives the library's evaluator to `f`.
fn with_evaluator<T: Send>(f: impl FnOnce(&Evaluator<'_>) -> T + Send) -> T {
    let index = folder().join("tests/index.nix").display().to_string();
    nbv_eval::on_big_stack(|| {
        let heap = Heap::new();
        let settings = Settings {
            nix_path: vec![
                ("nbv-debian-index".to_owned(), index),
                ("nixpkgs".to_owned(), nbv_nixlib::ROOT.to_owned()),
            ],
            ..Settings::default()
        };
        f(&Evaluator::new(&heap, Arc::new(Library), settings, vec![]))
    })
}

/// Evaluates to JSON; an error is its text.
fn json(ev: &Evaluator<'_>, expression: &str) -> Result<String, String> {
    ev.eval_expr(expression, Path::new("/"))
        .and_then(|value| ev.to_json(ev.cell(value)))
        .map(|(json, _)| json.to_string())
        .map_err(|error| format!("{error:?} {:?}", error.diagnostic()))
}

#[test]
fn tests_of_the_library_hold() {
    let expression = format!("import {}", folder().join("tests").display());
    assert_eq!(with_evaluator(|ev| json(ev, &expression)).as_deref(), Ok("[]"));
}

#[test]
fn what_must_fail_fails() {
    let file = folder().join("tests/failing.nix").display().to_string();
    with_evaluator(|ev| {
        let names = json(ev, &format!("builtins.attrNames (import {file})")).expect("names");
        let names: Vec<String> = serde_json::from_str(&names).expect("a list of names");
        assert!(names.len() > 30, "{names:?}");
        for name in names {
            let forced = json(ev, &format!("let v = (import {file}).\"{name}\"; in builtins.deepSeq v \"was forced\""));
            let error = forced.expect_err(&name);
            assert!(!error.contains("attribute-missing"), "{name}: {error}");
        }
    });
}

/// Errors of the module system say what, where and what to do.
#[test]
fn errors_name_the_definition() {
    let network = |text: &str| {
        format!("(import <nixpkgs/nixos/lib/network.nix> {{ network = {text}; hostSystem = \"x86_64-linux\"; }}).plan")
    };
    for (text, words) in [
        ("{ a.services.opensh.enable = true; }", &["services.opensh", "services.openssh"][..]),
        ("{ a.services.openssh.enable = \"yes\"; }", &["services.openssh.enable", "expected boolean"]),
        ("{ a.virtualisation.memorySize = -5; }", &["virtualisation.memorySize", "positive integer"]),
        ("{ a.nixpkgs.localSystem.system = \"z80-cpm\"; }", &["z80-cpm"]),
        ("{ \"bad name!\" = { }; }", &["bad name!", "host name"]),
        ("{ a = 42; }", &["`a`", "the integer 42"]),
        ("[ 1 2 ]", &["a list", "set of machines"]),
        ("{ }", &["no machine"]),
        ("{ a.assertions = [ { assertion = false; message = \"no way\"; } ]; }", &["no way"]),
    ] {
        let error = with_evaluator(|ev| json(ev, &network(text))).expect_err(text);
        for word in words {
            assert!(error.contains(word), "{text}: no {word:?} in {error}");
        }
    }
}

/// The virtual root serves `<nixpkgs>`, `<nixpkgs/lib>` and `<nixpkgs/nixos>`.
#[test]
fn library_is_found_by_its_names() {
    let found = with_evaluator(|ev| {
        json(
            ev,
            "[ (import <nixpkgs/lib>).licenses.mit.spdxId (import <nixpkgs> { system = \"i686-linux\"; }).system
               (import <nixpkgs/nixos> { configuration = { networking.hostName = \"m\"; }; system = \"x86_64-linux\"; }).config.networking.hostName ]",
        )
    });
    assert_eq!(found.as_deref(), Ok(r#"["MIT","i686-linux","m"]"#));
}
