//! Texts that are damaged at random, given to the lexer, the parser and the evaluator: whatever comes, an answer or an error in bounded time,
//! never a panic. Texts start from `tests/corpus`, where each text that once broke something is kept.
//!
//! `NBV_FUZZ_SECONDS` makes it run that long (default: a fixed number of rounds), `NBV_FUZZ_SEED` from another start.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use nbv_eval::{Evaluator, Heap, Nowhere, Settings};

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

/// Parses and evaluates a text; the error of either is rendered.
fn run(text: &[u8]) {
    nbv_eval::on_big_stack(|| {
        let heap = Heap::new();
        let settings = Settings { max_call_depth: 1000, ..Settings::default() };
        let ev = Evaluator::new(&heap, Arc::new(Nowhere), settings, vec![]);
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
    let corpus = nbv_damage::samples(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/corpus"));
    // Deep nesting too.
    let deep: Vec<String> = ["(", "[", "{ a = ", "x: ", "-", "a.b.", "if a then b else ", "\"${", "1 + "].iter().map(|p| p.repeat(3000)).collect();
    let pieces: Vec<&[u8]> = PIECES.iter().cycle().take(PIECES.len() * 4).copied().chain(deep.iter().map(String::as_str)).map(str::as_bytes).collect();
    nbv_damage::fuzz(&corpus, &pieces, ROUNDS, run);
}
