//! The lines of all consoles, and what was said of the machines, in one order.
//!
//! Each machine has a ring of its own, so that one that floods its console pushes out no lines of others. A line's place is its number,
//! which never changes: a window that does not follow the end stays where it is whatever comes.

use std::collections::VecDeque;

use unicode_width::UnicodeWidthChar;

/// Lines kept of each machine.
const LINES_MAX: usize = 5000;
/// Bytes kept of each machine.
const BYTES_MAX: usize = 1 << 20;

/// A line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Its number: later lines have greater ones.
    pub number: u64,
    /// Whole seconds since the network's start.
    pub at: u64,
    /// Whose it is; none: the network's.
    pub machine: Option<usize>,
    /// Said of the machine and not by it.
    pub is_report: bool,
    /// The text, without control characters.
    pub text: String,
}

#[derive(Debug, Default)]
struct Ring {
    lines: VecDeque<Line>,
    bytes: usize,
}

impl Ring {
    /// The index of the first line with this number or a greater one.
    fn at(&self, number: u64) -> usize {
        self.lines.partition_point(|line| line.number < number)
    }
}

/// Which lines: those of all, or of one machine (with what was said of it).
pub type Filter = Option<usize>;

/// All lines that are kept.
#[derive(Debug)]
pub struct Log {
    /// One for each machine, then that of the network.
    rings: Vec<Ring>,
    next: u64,
}

impl Log {
    /// An empty log of so many machines.
    #[must_use]
    pub fn new(machines: usize) -> Self {
        Self { rings: (0..=machines).map(|_| Ring::default()).collect(), next: 0 }
    }

    /// Adds a line at the end.
    pub fn push(&mut self, at: u64, machine: Option<usize>, is_report: bool, text: &str) {
        let last = self.rings.len() - 1;
        let ring = &mut self.rings[machine.map_or(last, |index| index.min(last))];
        let text: String = text.chars().filter(|c| c.width().is_some()).collect();
        ring.bytes += text.len();
        ring.lines.push_back(Line { number: self.next, at, machine, is_report, text });
        self.next += 1;
        while ring.lines.len() > LINES_MAX || ring.bytes > BYTES_MAX {
            let Some(line) = ring.lines.pop_front() else { return };
            ring.bytes -= line.text.len();
        }
    }

    fn rings(&self, filter: Filter) -> &[Ring] {
        match filter {
            None => &self.rings,
            Some(index) => self.rings.get(index..=index).unwrap_or_default(),
        }
    }

    /// Lines up to the one with this number (none: the last), the latest first.
    pub fn before(&self, filter: Filter, number: Option<u64>) -> impl Iterator<Item = &Line> {
        let rings = self.rings(filter);
        let mut ends: Vec<usize> = rings.iter().map(|ring| number.map_or(ring.lines.len(), |number| ring.at(number.saturating_add(1)))).collect();
        std::iter::from_fn(move || {
            let latest = |(ring, end): (&'_ Ring, &usize)| end.checked_sub(1).map(|index| ring.lines[index].number);
            let (index, _) = rings.iter().zip(&ends).enumerate().filter_map(|(index, pair)| Some((index, latest(pair)?))).max_by_key(|pair| pair.1)?;
            ends[index] -= 1;
            rings[index].lines.get(ends[index])
        })
    }

    /// Lines after the one with this number, the earliest first.
    pub fn after(&self, filter: Filter, number: u64) -> impl Iterator<Item = &Line> {
        let rings = self.rings(filter);
        let mut starts: Vec<usize> = rings.iter().map(|ring| ring.at(number.saturating_add(1))).collect();
        std::iter::from_fn(move || {
            let first = |(ring, start): (&'_ Ring, &usize)| ring.lines.get(*start).map(|line| line.number);
            let (index, _) = rings.iter().zip(&starts).enumerate().filter_map(|(index, pair)| Some((index, first(pair)?))).min_by_key(|pair| pair.1)?;
            starts[index] += 1;
            rings[index].lines.get(starts[index] - 1)
        })
    }

    /// How many lines hold what is looked for.
    #[must_use]
    pub fn count(&self, filter: Filter, pattern: &Pattern) -> usize {
        self.rings(filter).iter().flat_map(|ring| &ring.lines).filter(|line| pattern.is_in(&line.text)).count()
    }
}

/// A text that is looked for; a small letter also means the large one, unless there is a large one in the text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    text: String,
    is_exact: bool,
}

impl Pattern {
    /// Looks for a text.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self { text: text.to_owned(), is_exact: text.chars().any(char::is_uppercase) }
    }

    /// What is looked for.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether a line holds it.
    #[must_use]
    pub fn is_in(&self, line: &str) -> bool {
        !self.places(line).is_empty()
    }

    /// Where a line holds it: ranges of bytes.
    #[must_use]
    pub fn places(&self, line: &str) -> Vec<std::ops::Range<usize>> {
        let wanted: Vec<char> = self.text.chars().collect();
        if wanted.is_empty() {
            return Vec::new();
        }
        let same = |a: char, b: char| a == b || (!self.is_exact && a.to_lowercase().eq(b.to_lowercase()));
        let chars: Vec<(usize, char)> = line.char_indices().collect();
        let mut places = Vec::new();
        let mut at = 0;
        while at + wanted.len() <= chars.len() {
            if chars[at..at + wanted.len()].iter().zip(&wanted).all(|((_, a), b)| same(*a, *b)) {
                let end = chars.get(at + wanted.len()).map_or(line.len(), |(end, _)| *end);
                places.push(chars[at].0..end);
                at += wanted.len();
            } else {
                at += 1;
            }
        }
        places
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts<'a>(lines: impl Iterator<Item = &'a Line>, count: usize) -> Vec<&'a str> {
        lines.take(count).map(|line| line.text.as_str()).collect()
    }

    #[test]
    fn lines_of_all_machines_keep_their_order_both_ways() {
        let mut log = Log::new(2);
        for (machine, text) in [(Some(0), "a1"), (Some(1), "b1"), (None, "n"), (Some(0), "a2"), (Some(1), "b2")] {
            log.push(0, machine, false, text);
        }
        assert_eq!(texts(log.before(None, None), 9), ["b2", "a2", "n", "b1", "a1"]);
        assert_eq!(texts(log.before(None, Some(2)), 9), ["n", "b1", "a1"]);
        assert_eq!(texts(log.after(None, 1), 9), ["n", "a2", "b2"]);
        assert_eq!(texts(log.before(Some(1), None), 9), ["b2", "b1"]);
        assert_eq!(texts(log.after(Some(0), 0), 9), ["a2"]);
    }

    #[test]
    fn a_flood_of_one_machine_leaves_the_lines_of_others() {
        let mut log = Log::new(2);
        log.push(0, Some(0), false, "keep");
        (0..LINES_MAX * 3).for_each(|n| log.push(0, Some(1), false, &n.to_string()));
        (0..50).for_each(|_| log.push(0, Some(1), false, &"x".repeat(BYTES_MAX / 10)));
        assert_eq!(texts(log.before(Some(0), None), 9), ["keep"]);
        assert!(log.before(Some(1), None).count() <= 10);
    }

    #[test]
    fn a_small_letter_finds_the_large_one_and_not_the_other_way() {
        assert_eq!(Pattern::new("start").places("Start: restart"), [0..5, 9..14]);
        assert_eq!(Pattern::new("Start").places("Start: restart"), [0..5]);
        assert_eq!(Pattern::new("ü").places("xÜü"), [1..3, 3..5]);
        assert!(Pattern::new("").places("abc").is_empty());
    }

    #[test]
    fn control_characters_are_left_out() {
        let mut log = Log::new(1);
        log.push(0, Some(0), false, "a\x1b[31mb\tc\u{9b}d");
        assert_eq!(texts(log.before(None, None), 1), ["a[31mbcd"]);
    }
}
