//! For tests of readers of foreign bytes: samples that are damaged at random, for a number of rounds or for a set time.
//!
//! `NBV_FUZZ_SECONDS` makes a test run that long (default: its number of rounds), `NBV_FUZZ_SEED` from another start.

use std::time::{Duration, Instant};

/// A small generator of numbers (xorshift), so that a failure comes again.
pub struct Random(u64);

impl Random {
    /// Starts from `NBV_FUZZ_SEED`, else always the same.
    #[must_use]
    pub fn from_env() -> Random {
        Random(number("NBV_FUZZ_SEED").unwrap_or(0x2545_f491_4f6c_dd1d).max(1))
    }

    /// A number below `n`; 0 for 0.
    pub fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % n.max(1) as u64) as usize
    }

    /// A damaged sample: bits flipped, parts cut, doubled, filled, moved, replaced by numbers at the edge, pieces or parts of others.
    pub fn damage(&mut self, samples: &[Vec<u8>], pieces: &[&[u8]]) -> Vec<u8> {
        let mut text = samples[self.below(samples.len())].clone();
        for _ in 0..=self.below(5) {
            let at = self.below(text.len() + 1);
            let end = (at + self.below(40)).min(text.len());
            match self.below(8) {
                0 if at < text.len() => text[at] ^= 1 << self.below(8),
                1 => drop(text.drain(at..end)),
                2 if !pieces.is_empty() => drop(text.splice(at..at, pieces[self.below(pieces.len())].iter().copied())),
                3 if !pieces.is_empty() => drop(text.splice(at..end, pieces[self.below(pieces.len())].iter().copied())),
                4 => {
                    let part = text[at..end].to_vec();
                    drop(text.splice(at..at, part));
                }
                5 => {
                    let other = &samples[self.below(samples.len())];
                    let from = self.below(other.len());
                    let part = other[from..(from + self.below(60)).min(other.len())].to_vec();
                    drop(text.splice(at..at, part));
                }
                6 => {
                    // A number of 1, 2, 4 or 8 bytes at its edge.
                    let bytes = [0xff, 0x7f, 0x80, 0x00][self.below(4)];
                    let len = 1 << self.below(4);
                    text[at..].iter_mut().take(len).for_each(|b| *b = bytes);
                }
                _ => text.truncate(text.len() - self.below(text.len() / 8 + 1)),
            }
        }
        text
    }
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|v| v.parse().ok())
}

/// Gives damaged samples to `run`, each sample as it is first.
///
/// # Panics
/// When `run` does, with the bytes that it was given; when one takes more than ten seconds.
pub fn fuzz(samples: &[Vec<u8>], pieces: &[&[u8]], rounds: u64, run: impl Fn(&[u8]) + std::panic::RefUnwindSafe) {
    assert!(!samples.is_empty(), "there are samples");
    let mut random = Random::from_env();
    let until = number("NBV_FUZZ_SECONDS").map(|s| Instant::now() + Duration::from_secs(s));
    samples.iter().for_each(|sample| run(sample));
    let mut done = 0;
    while until.map_or(done < rounds, |t| Instant::now() < t) {
        done += 1;
        let bytes = random.damage(samples, pieces);
        let start = Instant::now();
        if std::panic::catch_unwind(|| run(&bytes)).is_err() {
            panic!("a panic on these bytes (keep them with the samples): \"{}\"", bytes.escape_ascii());
        }
        assert!(start.elapsed() < Duration::from_secs(10), "{:?} for these bytes: \"{}\"", start.elapsed(), bytes.escape_ascii());
    }
}

/// The files of a folder, by name.
///
/// # Panics
/// When one cannot be read.
#[must_use]
pub fn samples(folder: &str) -> Vec<Vec<u8>> {
    let mut files: Vec<_> = std::fs::read_dir(folder).expect("a folder of samples").map(|e| e.expect("an entry").path()).collect();
    files.sort();
    files.iter().map(|f| std::fs::read(f).expect("a sample")).collect()
}
