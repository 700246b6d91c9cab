//! The persona `nix-instantiate` against C++ Nix: derivations against the installed program (Debian: nix-bin), and the public tests of Nix and of
//! nixpkgs' lib when the variables `NIX_CHECKOUT` and `NIXPKGS_LIB_CHECKOUT` name checkouts. What is not there is said and not compared.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// The program under its other name, in a folder of its own.
struct Persona {
    folder: tempfile::TempDir,
}

impl Persona {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("bin")).unwrap();
        let link = folder.path().join("bin/nix-instantiate");
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_nixos-build-vms"), link).unwrap();
        Self { folder }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("bin/nix-instantiate")
    }

    fn run(&self, words: &[&str]) -> Output {
        self.in_store(&self.path(), "ours").args(words).output().unwrap()
    }

    /// A program with a store of its own folder. Both stores have one logical name, which paths depend on.
    fn in_store(&self, program: &Path, state: &str) -> Command {
        let at = |name: &str| self.folder.path().join(name);
        let mut command = Command::new(program);
        command
            .env_remove("NIX_REMOTE")
            .env_remove("NIX_PATH")
            .env("NIX_STORE_DIR", at("nix/store"))
            .env("NIX_STATE_DIR", at(state))
            .env("NIX_LOG_DIR", at("log"))
            .env("NIX_CONF_DIR", at("conf"))
            .env("HOME", at("home"))
            .stdin(Stdio::null());
        command
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn drvs(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    std::fs::read_dir(folder)
        .unwrap()
        .map(|e| e.unwrap().path())
        .filter(|p| p.extension().is_some_and(|e| e == "drv"))
        .map(|p| (p.file_name().unwrap().to_string_lossy().into_owned(), std::fs::read(&p).unwrap()))
        .collect()
}

#[test]
fn derivations_are_those_of_cpp_nix() {
    let persona = Persona::new();
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/derivations.nix");
    let ours = persona.run(&[file]);
    assert!(ours.status.success(), "{}", text(&ours.stderr));
    let store = persona.folder.path().join("nix/store");
    let written = drvs(&store);
    assert!(written.len() > 35, "{} derivations", written.len());
    std::fs::rename(&store, persona.folder.path().join("ours-store")).unwrap();

    let theirs = persona.in_store(Path::new("nix-instantiate"), "theirs").arg(file).output();
    let Ok(theirs) = theirs else {
        eprintln!("nix-instantiate is not installed: nothing compared");
        return;
    };
    assert!(theirs.status.success(), "{}", text(&theirs.stderr));
    assert_eq!(text(&ours.stdout), text(&theirs.stdout));
    for (name, content) in drvs(&store) {
        assert_eq!(written.get(&name).map(|c| text(c)), Some(text(&content)), "{name}");
    }
}

#[test]
fn values_are_printed() {
    let persona = Persona::new();
    let eval = |words: &[&str]| {
        let mut all = vec!["--eval", "--strict"];
        all.extend(words);
        let out = persona.run(&all);
        assert!(out.status.success(), "{}", text(&out.stderr));
        text(&out.stdout)
    };
    assert_eq!(eval(&["-E", "{ a = [ 1 2.5 ]; }"]), "{ a = [ 1 2.5 ]; }\n");
    assert_eq!(eval(&["--json", "-E", "{ b = 1.0; a = null; }"]), "{\"a\":null,\"b\":1.0}\n");
    assert_eq!(eval(&["--raw", "-E", "\"x\""]), "x");
    assert_eq!(eval(&["-E", "{ x, y ? 2 }: x + y", "--arg", "x", "1"]), "3\n");
    assert_eq!(eval(&["-E", "{ x }: { a = [ x ]; }", "--argstr", "x", "1", "-A", "a.0"]), "\"1\"\n");
    assert!(!persona.folder.path().join("nix").exists(), "evaluation writes nothing");
}

#[test]
fn failures_say_where_and_exit_with_one() {
    let persona = Persona::new();
    let out = persona.run(&["--eval", "-E", "{ a = 1; }.b"]);
    assert_eq!(out.status.code(), Some(1));
    assert!(text(&out.stderr).contains("«string»:1:"), "{}", text(&out.stderr));
    assert_eq!(persona.run(&["--no-such-flag"]).status.code(), Some(1));
}

#[test]
fn a_root_is_a_link_to_the_derivation() {
    let persona = Persona::new();
    let root = persona.folder.path().join("r/result");
    let expression = "derivation { name = \"x\"; system = \"s\"; builder = \"b\"; }";
    for _ in 0..2 {
        let out = persona.run(&["-E", expression, "--add-root", root.to_str().unwrap()]);
        assert!(out.status.success(), "{}", text(&out.stderr));
        assert_eq!(text(&out.stdout).trim(), root.to_str().unwrap());
        assert!(std::fs::read_to_string(&root).unwrap().starts_with("Derive("));
    }
}

/// All files below a folder with a name that ends in `.nix`.
fn nix_files(folder: &Path, out: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_symlink() {
            continue;
        }
        if path.is_dir() {
            nix_files(&path, out);
        } else if path.extension().is_some_and(|e| e == "nix") {
            out.push(path);
        }
    }
}

/// The syntax trees of the embedded library's files, and of those of the checkout that `NBV_PARSE_CHECKOUT` names, against the program
/// that `NBV_ORACLE` names, else the installed one. One older than 2.24 prints trees otherwise: then it counts only what parses.
#[test]
fn syntax_trees_are_those_of_cpp_nix() {
    let oracle = PathBuf::from(std::env::var_os("NBV_ORACLE").unwrap_or_else(|| "nix-instantiate".into()));
    let Some(version) = Command::new(&oracle).arg("--version").output().ok().filter(|o| o.status.success()) else {
        eprintln!("nix-instantiate is not installed: nothing compared");
        return;
    };
    let version = text(&version.stdout);
    let numbers: Vec<u32> = version.trim().rsplit(' ').next().unwrap_or("").split('.').filter_map(|n| n.parse().ok()).collect();
    let is_new = numbers.as_slice() >= &[2, 24][..];
    let persona = Persona::new();
    let mut files = Vec::new();
    nix_files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../../nix"), &mut files);
    if let Some(checkout) = std::env::var_os("NBV_PARSE_CHECKOUT") {
        nix_files(Path::new(&checkout), &mut files);
    }
    files.sort();
    assert!(files.len() > 100);
    let parse = |program: &Path, files: &[PathBuf]| persona.in_store(program, "parse").env("NIX_REMOTE", "dummy://").arg("--parse").args(files).output().unwrap();
    let differs = |files: &[PathBuf]| {
        let (here, there) = (parse(&persona.path(), files), parse(&oracle, files));
        here.status.success() != there.status.success() || is_new && here.status.success() && here.stdout != there.stdout
    };
    let mut wrong = Vec::new();
    for some in files.chunks(300) {
        let parses = parse(&oracle, some).status.success();
        // Of several files, the first that does not parse ends it.
        if !parses || differs(some) {
            wrong.extend(some.iter().filter(|file| differs(std::slice::from_ref(file))));
        }
    }
    assert!(wrong.is_empty(), "{} of {} files, {}: {wrong:?}", wrong.len(), files.len(), version.trim());
    eprintln!("{} files, {}", files.len(), version.trim());
}

/// Import from derivation, with a builder that needs no program.
#[test]
fn evaluation_builds_what_it_reads() {
    let persona = Persona::new();
    let root = persona.folder.path().join("root");
    let run = |words: &[&str]| {
        let mut command = persona.in_store(&persona.path(), "ours");
        command.env_remove("NIX_STORE_DIR").env("XDG_CACHE_HOME", persona.folder.path()).args(["--store", root.to_str().unwrap(), "--eval", "--strict"]);
        command.args(words).output().unwrap()
    };
    let made = |name: &str, text: &str| {
        format!(
            "derivation {{ name = \"{name}\"; system = builtins.currentSystem; builder = \"builtin:write-text\"; __structuredAttrs = true; \
             text = {text}; executable = false; destination = \"\"; }}"
        )
    };
    let inner = made("inner", "\"41\"");
    let outer = made("outer", &format!("\"import ${{{inner}}} + 1\""));
    let expression = format!(
        "let d = {outer}; in [ (import d) (builtins.pathExists d) (builtins.readFileType d) (builtins.stringLength (builtins.readFile d)) \
         (builtins.attrNames (builtins.getContext (builtins.readFile d)) == [ \"${{{inner}}}\" ]) \
         (builtins.readFile (builtins.path {{ path = d; name = \"c\"; }}) == builtins.readFile d) ]"
    );
    let output = run(&["-E", &expression]);
    assert_eq!(text(&output.stdout), "[ 42 true \"regular\" 60 true true ]\n", "{}", text(&output.stderr));
    // What was built stays; nothing is built where that is forbidden.
    let refused = made("other", "\"1\"");
    for (words, said) in [
        (&["--readonly-mode"][..], "--readonly-mode"),
        (&["--option", "allow-import-from-derivation", "false"], "allow-import-from-derivation"),
        (&["--store", "dummy://"], "there is no store"),
    ] {
        let output = run(&[words, &["-E", &format!("import ({refused})")]].concat());
        assert_eq!(output.status.code(), Some(1));
        assert!(text(&output.stderr).contains(said), "{}", text(&output.stderr));
    }
    let output = run(&["-E", &format!("import ({})", refused.replace("write-text", "no-such"))]);
    assert!(text(&output.stderr).contains("building `other` failed"), "{}", text(&output.stderr));
}

#[test]
fn language_tests_of_nix() {
    let Some(checkout) = std::env::var_os("NIX_CHECKOUT") else {
        eprintln!("NIX_CHECKOUT names no checkout of Nix: its language tests are not run");
        return;
    };
    let persona = Persona::new();
    let folder = PathBuf::from(checkout).join("tests/functional");
    let run = |words: &[&str], input: Option<&Path>| {
        let mut command = Command::new(persona.path());
        command.args(words).current_dir(&folder);
        command.envs([
            ("TEST_VAR", "foo"),
            ("NIX_REMOTE", "dummy://"),
            ("NIX_STORE_DIR", "/nix/store"),
            ("NIX_PATH", "lang/dir3:lang/dir4"),
            ("HOME", "/fake-home"),
        ]);
        command.stdin(input.map_or(Stdio::null(), |p| std::fs::File::open(p).unwrap().into()));
        command.output().unwrap()
    };
    let mut names: Vec<String> = std::fs::read_dir(folder.join("lang"))
        .unwrap()
        .filter_map(|e| e.unwrap().file_name().to_string_lossy().strip_suffix(".nix").map(str::to_owned))
        .collect();
    names.sort();
    let (mut held, mut missed) = (0, Vec::new());
    for name in names {
        let beside = |end: &str| folder.join(format!("lang/{name}.{end}"));
        let file = format!("lang/{name}.nix");
        let flags = std::fs::read_to_string(beside("flags")).ok().map(|flags| {
            let lines: Vec<&str> = flags.lines().map(|l| l.split('#').next().unwrap_or("")).collect();
            lines.join(" ")
        });
        let flags: Option<Vec<&str>> = flags.as_ref().map(|f| f.split_whitespace().collect());
        let fails = |out: &Output| out.status.code() == Some(1) && !text(&out.stderr).contains("panicked");
        let good = if name.starts_with("parse-fail-") {
            fails(&run(&["--parse", "-"], Some(&beside("nix"))))
        } else if name.starts_with("parse-okay-") {
            let out = run(&["--parse", "-"], Some(&beside("nix")));
            text(&out.stdout).trim_end() == std::fs::read_to_string(beside("exp")).unwrap().trim_end()
        } else if name.starts_with("eval-fail-") {
            let mut words = flags.unwrap_or_else(|| vec!["--eval", "--strict", "--show-trace"]);
            words.push(&file);
            fails(&run(&words, None))
        } else if name.starts_with("eval-okay-") {
            let (mut words, wanted) = match std::fs::read_to_string(beside("exp.xml")) {
                Ok(wanted) => (vec!["--eval", "--xml", "--no-location", "--strict"], wanted),
                Err(_) => {
                    let Ok(wanted) = std::fs::read_to_string(beside("exp")) else { continue };
                    let mut words = flags.unwrap_or_default();
                    words.extend(["--eval", "--strict"]);
                    (words, wanted)
                }
            };
            words.push(&file);
            let out = run(&words, None);
            text(&out.stdout).replace(folder.to_str().unwrap(), "/pwd").trim_end() == wanted.trim_end()
        } else {
            continue;
        };
        if good {
            held += 1;
        } else {
            missed.push(name);
        }
    }
    assert!(missed.is_empty(), "{held} held, missed: {}", missed.join(" "));
    assert!(held > 400, "only {held} tests were found");
}

#[test]
fn tests_of_nixpkgs_lib() {
    let Some(checkout) = std::env::var_os("NIXPKGS_LIB_CHECKOUT") else {
        eprintln!("NIXPKGS_LIB_CHECKOUT names no checkout of nixpkgs' lib: its tests are not run");
        return;
    };
    let persona = Persona::new();
    let checkout = PathBuf::from(checkout);
    let tests = checkout.join("lib/tests");
    let path = format!("{}:{}", persona.folder.path().join("bin").display(), std::env::var("PATH").unwrap_or_default());
    let command = |program: &Path| {
        let mut command = persona.in_store(program, "ours");
        command.current_dir(&tests).env("PATH", &path).env("NIX_PATH", format!("nixpkgs={}", checkout.display()));
        command
    };
    for file in ["misc.nix", "systems.nix"] {
        let out = command(&persona.path()).args(["--eval", "--strict", file]).output().unwrap();
        assert_eq!(text(&out.stdout).trim(), "[ ]", "{file}: {}", text(&out.stderr));
    }
    let out = command(Path::new("bash")).arg("modules.sh").output().unwrap();
    assert!(out.status.success(), "{}{}", text(&out.stdout), text(&out.stderr));
}
