//! Random expressions here and in C++ Nix: the same value, or failure in both. Needs the program `nix-instantiate` (Debian: nix-bin), or
//! one that `NBV_ORACLE` names; without it the test says so and compares nothing.
//!
//! `NBV_ORACLE_SECONDS` makes it run that long (default: a few batches), `NBV_ORACLE_SEED` from another start. A difference is made
//! smaller before it is told.

mod generate;
mod tree;
mod types;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use generate::Generator;
use nbv_eval::{Evaluator, FileKind, Heap, MessageKind, Settings, World, WorldError};
use tree::Node;
use types::Version;

/// Expressions of one batch.
const BATCH: usize = 400;
/// Batches of one run without a set time.
const BATCHES: u64 = 3;
/// Failing expressions of one batch that are compared: each takes a process.
const FAILURES: usize = 25;

/// A world of which expressions learn what is there, but not what is in files.
struct Folders;

impl World for Folders {
    fn read_file(&self, _: &Path) -> Result<Vec<u8>, WorldError> {
        Err(WorldError::new("no such file"))
    }

    fn file_kind(&self, path: &Path) -> Result<Option<FileKind>, WorldError> {
        Ok(std::fs::symlink_metadata(path).ok().map(|m| match m {
            m if m.is_dir() => FileKind::Directory,
            m if m.is_symlink() => FileKind::Symlink,
            _ => FileKind::Regular { is_executable: false },
        }))
    }

    fn read_link(&self, _: &Path) -> Result<PathBuf, WorldError> {
        Err(WorldError::new("no such file"))
    }

    fn read_dir(&self, path: &Path) -> Result<Vec<(Vec<u8>, FileKind)>, WorldError> {
        let entries = std::fs::read_dir(path).map_err(|e| WorldError::new(e.to_string()))?;
        entries
            .map(|e| {
                let path = e.map_err(|e| WorldError::new(e.to_string()))?.path();
                let kind = self.file_kind(&path)?.unwrap_or(FileKind::Other);
                Ok((path.file_name().unwrap_or_default().as_encoded_bytes().to_vec(), kind))
            })
            .collect()
    }

    fn message(&self, _: MessageKind, _: &str) {}
}

/// What an expression came to.
#[derive(Debug, Clone, PartialEq)]
enum Outcome {
    Value(String),
    /// `tryEval` catches it.
    Caught,
    Failure(String),
    /// Not to be compared: it ran too long.
    Slow,
}

/// The outcome here; relative paths start at `base`.
fn ours(text: &str, base: &Path) -> Outcome {
    nbv_eval::on_big_stack(|| {
        let heap = Heap::new();
        let ev = Evaluator::new(&heap, Arc::new(Folders), Settings::default(), vec![]);
        let stop = ev.interrupter();
        let (done, waits) = std::sync::mpsc::channel::<()>();
        std::thread::scope(|scope| {
            let watch = scope.spawn(move || {
                let is_slow = waits.recv_timeout(Duration::from_secs(3)) == Err(std::sync::mpsc::RecvTimeoutError::Timeout);
                if is_slow {
                    stop();
                }
                is_slow
            });
            let result = ev.eval_expr(text, base).and_then(|v| {
                let cell = ev.cell(v);
                ev.force_deep(cell)?;
                ev.print(ev.force(cell)?)
            });
            drop(done);
            match (result, watch.join().unwrap()) {
                (_, true) => Outcome::Slow,
                (Ok(text), _) => Outcome::Value(String::from_utf8_lossy(&text).into_owned()),
                (Err(e), _) if e.is_catchable() => Outcome::Caught,
                (Err(e), _) => Outcome::Failure(e.to_string()),
            }
        })
    })
}

/// The other program.
struct Oracle {
    program: PathBuf,
    version: Version,
    folder: tempfile::TempDir,
    /// Whether it fails where this evaluator does, and as it does.
    is_exact: bool,
    /// The folder where it runs and relative paths start; without symbolic links on the way.
    base: PathBuf,
}

impl Oracle {
    fn find() -> Option<Oracle> {
        let program = PathBuf::from(std::env::var_os("NBV_ORACLE").unwrap_or_else(|| "nix-instantiate".into()));
        let output = Command::new(&program).arg("--version").output().ok().filter(|o| o.status.success())?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let mut numbers = text.trim().rsplit(' ').next()?.split('.').map(|n| n.parse::<u32>());
        let version = (numbers.next()?.ok()?, numbers.next()?.ok()?);
        let folder = tempfile::tempdir().unwrap();
        let base = folder.path().canonicalize().unwrap().join("above/here");
        std::fs::create_dir_all(&base).unwrap();
        Some(Oracle { program, version, folder, is_exact: Generator::new(1, version).has("failures"), base })
    }

    /// Evaluates a text; gives what it prints, or what it says.
    fn run(&self, words: &[&str], text: &str) -> Result<String, String> {
        let file = self.folder.path().join("expression.nix");
        std::fs::write(&file, text).unwrap();
        let output = Command::new("timeout")
            .arg("120")
            .arg(&self.program)
            .args(words)
            .arg("-")
            .stdin(Stdio::from(std::fs::File::open(&file).unwrap()))
            .env("NIX_REMOTE", "dummy://")
            .env("HOME", self.folder.path())
            .env("NIX_CONF_DIR", self.folder.path())
            .env_remove("NIX_PATH")
            .current_dir(&self.base)
            .output()
            .unwrap();
        if output.status.success() {
            Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned())
        } else {
            Err(String::from_utf8_lossy(&output.stderr).into_owned())
        }
    }

    /// Evaluates deeply; relative paths start where the program runs.
    fn eval(&self, text: &str) -> Result<String, String> {
        self.run(&["--eval", "--strict"], text).map_err(|e| e.lines().rfind(|l| l.contains("error:")).unwrap_or(&e).to_owned())
    }

    /// Why the outcome of an expression differs, if it does.
    fn difference(&self, text: &str) -> Option<String> {
        let here = ours(text, &self.base);
        let there = match &here {
            Outcome::Caught => self.eval(&wrapped(text)),
            _ => self.eval(text),
        };
        match (&here, &there) {
            (Outcome::Slow, _) => None,
            (Outcome::Value(a), Ok(b)) if same(a, b) => None,
            (Outcome::Caught, Ok(b)) if b == "{ success = false; value = false; }" => None,
            (Outcome::Failure(_), Err(_)) => None,
            (Outcome::Caught, Err(_)) | (Outcome::Failure(_), Ok(_)) if !self.is_exact => None,
            (a, b) => Some(format!("here:  {a:?}\nthere: {b:?}")),
        }
    }
}

/// What stands for a list or set that was printed before.
const REPEATED: &str = "«repeated»";

/// Whether two printed values are the same. Which of equal lists and sets are one and the same in memory differs where a variable names
/// what is defined behind it, so one may be printed as repeated where the other is spelt out.
fn same(a: &str, b: &str) -> bool {
    let (mut a, mut b) = (a, b);
    loop {
        let equal = a.bytes().zip(b.bytes()).take_while(|(x, y)| x == y).count();
        // Not within a character.
        let equal = (0..=equal).rev().find(|n| a.is_char_boundary(*n) && b.is_char_boundary(*n)).unwrap_or(0);
        (a, b) = (&a[equal..], &b[equal..]);
        if a.is_empty() && b.is_empty() {
            return true;
        }
        (a, b) = match (a.strip_prefix(REPEATED), b.strip_prefix(REPEATED)) {
            (Some(a), None) if b.starts_with(['[', '{']) => (a, behind_value(b)),
            (None, Some(b)) if a.starts_with(['[', '{']) => (behind_value(a), b),
            _ => return false,
        };
    }
}

/// What follows the list or set that a text begins with.
fn behind_value(text: &str) -> &str {
    let (mut depth, mut in_string, mut escaped) = (0, false, false);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'[' | b'{' if !in_string => depth += 1,
            b']' | b'}' if !in_string => {
                depth -= 1;
                if depth == 0 {
                    return &text[at + 1..];
                }
            }
            _ => {}
        }
    }
    ""
}

#[test]
fn repeated_values_count_as_what_they_stand_for() {
    assert!(same("[ [ 1 ] «repeated» ]", "[ [ 1 ] [ 1 ] ]"));
    assert!(same("[ «repeated» \"]\" ]", "[ { a = \"}\\\"\"; } \"]\" ]"));
    assert!(!same("[ «repeated» 1 ]", "[ [ 1 ] 2 ]"));
    assert!(!same("[ 1 ]", "[ «repeated» ]"));
    assert!(!same("1", "12"));
}

/// An expression that fails as a value.
fn wrapped(text: &str) -> String {
    format!("let e = (\n{text}\n); in builtins.tryEval (builtins.deepSeq e e)")
}

/// A list of expressions as one.
fn batch(cases: &[(Node, bool)]) -> String {
    let items: Vec<String> = cases
        .iter()
        .map(|(node, is_caught)| if *is_caught { format!("({})", wrapped(&node.text())) } else { format!("({})", node.text()) })
        .collect();
    format!("[\n{}\n]", items.join("\n"))
}

/// The cases that differ, found by halves.
fn differing<'a>(oracle: &Oracle, cases: &'a [(Node, bool)], out: &mut Vec<&'a Node>) {
    if cases.is_empty() || out.len() >= 5 {
        return;
    }
    let text = batch(cases);
    if let Outcome::Value(here) = ours(&text, &oracle.base)
        && oracle.eval(&text).is_ok_and(|there| same(&here, &there))
    {
        return;
    }
    if let [(node, _)] = cases {
        if oracle.difference(&node.text()).is_some() {
            out.push(node);
        }
        return;
    }
    let (left, right) = cases.split_at(cases.len() / 2);
    differing(oracle, left, out);
    differing(oracle, right, out);
}

#[test]
fn random_expressions_have_the_values_of_cpp_nix() {
    let Some(oracle) = Oracle::find() else {
        eprintln!("nix-instantiate is not installed: nothing compared");
        return;
    };
    let number = |name: &str| std::env::var(name).ok().and_then(|v| v.parse::<u64>().ok());
    let seed = number("NBV_ORACLE_SEED").unwrap_or(0x2545_f491_4f6c_dd1d);
    let until = number("NBV_ORACLE_SECONDS").map(|s| Instant::now() + Duration::from_secs(s));
    let mut generator = Generator::new(seed, oracle.version);
    let (mut values, mut caught, mut failures, mut rounds) = (0, 0, 0, 0);
    while until.map_or(rounds < BATCHES, |t| Instant::now() < t) {
        let start = generator.random.0;
        rounds += 1;
        let mut cases = Vec::new();
        let mut failing = Vec::new();
        while cases.len() < BATCH {
            let node = generator.expression();
            match ours(&node.text(), &oracle.base) {
                Outcome::Value(_) => cases.push((node, false)),
                Outcome::Caught if oracle.is_exact => cases.push((node, true)),
                Outcome::Caught => failing.push(node),
                Outcome::Failure(_) => failing.push(node),
                Outcome::Slow => {}
            }
        }
        caught += cases.iter().filter(|(_, c)| *c).count();
        values += cases.iter().filter(|(_, c)| !*c).count();
        let mut wrong = Vec::new();
        differing(&oracle, &cases, &mut wrong);
        failing.sort_by_key(Node::size);
        let step = failing.len().div_ceil(FAILURES).max(1);
        for node in failing.iter().step_by(step) {
            failures += 1;
            if wrong.len() < 5 && oracle.difference(&node.text()).is_some() {
                wrong.push(node);
            }
        }
        let told: Vec<String> = wrong
            .into_iter()
            .map(|node| {
                let small = tree::shrink(node.clone(), 300, |n| oracle.difference(&n.text()).is_some());
                format!("{}\n{}", small.text(), oracle.difference(&small.text()).unwrap_or_default())
            })
            .collect();
        assert!(told.is_empty(), "NBV_ORACLE_SEED={start}, C++ Nix {:?}:\n\n{}", oracle.version, told.join("\n\n"));
    }
    eprintln!("C++ Nix {:?}: {values} values, {caught} caught failures and {failures} others are the same", oracle.version);
    assert!(values > 0 && failures > 0, "the generator makes values and failures");
}
