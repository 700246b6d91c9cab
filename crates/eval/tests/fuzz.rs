//! Texts that are damaged at random, given to the lexer, the parser and the evaluator: whatever comes, an answer or an error in bounded time,
//! never a panic. Texts start from `tests/corpus`, where each text that once broke something is kept.
//!
//! `NBV_FUZZ_SECONDS` makes it run that long (default: a fixed number of rounds), `NBV_FUZZ_SEED` from another start.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nbv_eval::{Evaluator, FileKind, Heap, MessageKind, Settings, World, WorldError};

/// Rounds of one run without a set time.
const ROUNDS: u64 = 4000;
/// Longest evaluation of one text before it is interrupted.
const LIMIT: Duration = Duration::from_secs(2);
/// Pieces that texts are made of besides their own bytes.
const PIECES: &[&str] = &[
    "${", "}", "''", "\"", "''${", "'''", "{", "(", ")", "[", "]", "let ", " in ", "rec ", "with ", ";", "inherit ", "or ", "assert ", "if ",
    " then ", " else ", "@", "...", "?", "//", "++", "->", "|>", "<|", "<=", ":", ".", "/", "./", "~/", "<", ">", "\\", "$", "#", "/*", "*/", "\0",
    "\u{feff}", "é", "\r\n", "9223372036854775808", "-9223372036854775808", "1e400", ".0", "null", "__curPos", "builtins.", "toString ",
    "x: x x", "body = ", "http://a", "!", "-", "==", "=", ",",
];

/// A small generator of numbers (xorshift), so that a failure comes again.
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % n.max(1) as u64) as usize
    }

    /// A damaged text: bytes flipped, cut, doubled, pieces put in, parts of another text.
    fn damage(&mut self, corpus: &[Vec<u8>]) -> Vec<u8> {
        let mut text = corpus[self.below(corpus.len())].clone();
        for _ in 0..=self.below(5) {
            let at = self.below(text.len() + 1);
            let end = (at + self.below(40)).min(text.len());
            match self.below(7) {
                0 if at < text.len() => text[at] ^= 1 << self.below(8),
                1 => drop(text.drain(at..end)),
                2 => drop(text.splice(at..at, PIECES[self.below(PIECES.len())].bytes())),
                3 => drop(text.splice(at..end, PIECES[self.below(PIECES.len())].bytes())),
                4 => {
                    let part = text[at..end].to_vec();
                    drop(text.splice(at..at, part));
                }
                5 => {
                    let other = &corpus[self.below(corpus.len())];
                    let from = self.below(other.len());
                    let part = other[from..(from + self.below(60)).min(other.len())].to_vec();
                    drop(text.splice(at..at, part));
                }
                _ if self.below(20) == 0 => {
                    let piece = PIECES[self.below(PIECES.len())].repeat(3000);
                    drop(text.splice(at..at, piece.bytes()));
                }
                _ => {}
            }
        }
        text.truncate(1 << 16);
        text
    }
}

/// A world without files.
struct Nothing;

impl World for Nothing {
    fn read_file(&self, _: &Path) -> Result<Vec<u8>, WorldError> {
        Err(WorldError::new("no such file"))
    }

    fn file_kind(&self, _: &Path) -> Result<Option<FileKind>, WorldError> {
        Ok(None)
    }

    fn read_link(&self, _: &Path) -> Result<PathBuf, WorldError> {
        Err(WorldError::new("no such file"))
    }

    fn read_dir(&self, _: &Path) -> Result<Vec<(Vec<u8>, FileKind)>, WorldError> {
        Ok(Vec::new())
    }

    fn message(&self, _: MessageKind, _: &str) {}
}

fn corpus() -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus");
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect();
    files.sort();
    files.iter().map(|f| std::fs::read(f).unwrap()).collect()
}

/// Parses and evaluates a text; the error of either is rendered.
fn run(text: &[u8]) {
    nbv_eval::on_big_stack(|| {
        let heap = Heap::new();
        let settings = Settings { max_call_depth: 1000, ..Settings::default() };
        let ev = Evaluator::new(&heap, Arc::new(Nothing), settings, vec![]);
        let stop = ev.interrupter();
        let (done, waits) = std::sync::mpsc::channel::<()>();
        std::thread::scope(|scope| {
            scope.spawn(move || {
                if waits.recv_timeout(LIMIT) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
                    stop();
                }
            });
            let end = done;
            let result = ev
                .parse_to_text(nbv_eval::Origin::String, text, Path::new("/"))
                .and_then(|_| ev.eval_expr(text, Path::new("/")))
                .and_then(|v| {
                    ev.force_deep(ev.cell(v))?;
                    ev.print(v)
                });
            if let Err(error) = result {
                let text = nbv_diag::render(error.diagnostic(), ev.sources(), &nbv_diag::RenderOptions::default());
                assert!(!text.is_empty());
            }
            drop(end);
        });
    });
}

#[test]
fn damaged_texts_never_panic() {
    let corpus = corpus();
    let number = |name: &str| std::env::var(name).ok().and_then(|v| v.parse::<u64>().ok());
    let mut random = Random(number("NBV_FUZZ_SEED").unwrap_or(0x2545_f491_4f6c_dd1d).max(1));
    let until = number("NBV_FUZZ_SECONDS").map(|s| Instant::now() + Duration::from_secs(s));
    let at_most = Instant::now() + Duration::from_secs(20);
    for text in &corpus {
        run(text);
    }
    let mut rounds = 0;
    while until.map_or(rounds < ROUNDS && Instant::now() < at_most, |t| Instant::now() < t) {
        rounds += 1;
        let text = random.damage(&corpus);
        let start = Instant::now();
        if std::panic::catch_unwind(|| run(&text)).is_err() {
            panic!("a panic on this text (keep it in tests/corpus):\n{}", String::from_utf8_lossy(&text));
        }
        assert!(start.elapsed() < LIMIT * 5, "{:?} for this text:\n{}", start.elapsed(), String::from_utf8_lossy(&text));
    }
    eprintln!("{rounds} texts");
}
