//! Regular expressions of `match` and `split`: POSIX extended, over bytes, with the results of libstdc++'s `std::regex`.
//!
//! That library's choice among several possible matches is peculiar (see [`exec`]), and programs depend on it; so the automaton here
//! has the same shape and is walked in the same order, but with a stack of its own, so that no subject is too long.

mod bracket;
mod exec;
mod parse;

use std::ops::Range;

/// A pattern, ready to match.
#[derive(Debug)]
pub struct Regex {
    states: Vec<State>,
    start: usize,
    /// Number of groups, the whole match included.
    groups: usize,
}

/// Why a pattern is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RegexError {
    /// It is not well formed.
    #[error("invalid regular expression")]
    Invalid,
    /// Its automaton would have more than 100,000 states.
    #[error("memory limit exceeded by regular expression")]
    TooBig,
}

/// Ranges of the groups in the subject; the first is the whole match. A group that took no part is nothing.
pub type Groups = Vec<Option<Range<usize>>>;

/// Index of no state.
const NONE: usize = usize::MAX;

#[derive(Debug, Clone)]
struct State {
    next: usize,
    op: Op,
}

#[derive(Debug, Clone)]
enum Op {
    /// Any byte but zero.
    Any,
    /// One byte.
    Byte(u8),
    /// One byte of a set.
    Set(Box<[bool; 256]>),
    /// The body `alt` once more, or on behind.
    Repeat { alt: usize },
    /// As `Repeat`, when the body is one state that takes a byte and leads back here.
    ByteLoop { alt: usize },
    /// First `alt`, then `next`.
    Alternative { alt: usize },
    /// `^`
    Begin,
    /// `$`
    End,
    /// `(`
    Open(usize),
    /// `)`
    Close(usize),
    /// Nothing.
    Dummy,
    /// The end of the pattern.
    Accept,
}

impl Regex {
    /// Reads a pattern.
    pub fn new(pattern: &[u8]) -> Result<Self, RegexError> {
        parse::compile(pattern)
    }

    /// Number of groups, without the whole match.
    pub fn groups(&self) -> usize {
        self.groups - 1
    }

    /// The groups when all of `subject` matches.
    pub fn match_whole(&self, subject: &[u8]) -> Option<Groups> {
        exec::Executor::new(self, subject).run(0, exec::Mode::Whole)
    }

    /// All matches from left to right, as `std::regex_iterator` gives them: after an empty match a longer one is tried at the same place.
    pub fn matches<'a>(&'a self, subject: &'a [u8]) -> Matches<'a> {
        Matches { exec: exec::Executor::new(self, subject), last: None, done: false }
    }
}

/// See [`Regex::matches`].
pub struct Matches<'a> {
    exec: exec::Executor<'a>,
    last: Option<Range<usize>>,
    done: bool,
}

impl Iterator for Matches<'_> {
    type Item = Groups;

    fn next(&mut self) -> Option<Groups> {
        if self.done {
            return None;
        }
        let len = self.exec.subject_len();
        let mut from = 0;
        let mut found = None;
        if let Some(last) = &self.last {
            from = last.end;
            if last.is_empty() {
                if from == len {
                    self.done = true;
                    return None;
                }
                found = self.exec.run(from, exec::Mode::PrefixNotEmpty);
                from += 1;
            }
        }
        if found.is_none() {
            found = (from..=len).find_map(|at| self.exec.run(at, exec::Mode::Prefix));
        }
        match &found {
            Some(groups) => self.last.clone_from(&groups[0]),
            None => self.done = true,
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(pattern: &str, subject: &str) -> Option<Vec<Option<String>>> {
        let regex = Regex::new(pattern.as_bytes()).unwrap();
        let groups = regex.match_whole(subject.as_bytes())?;
        Some(groups[1..].iter().map(|g| g.clone().map(|r| subject[r].to_owned())).collect())
    }

    fn all(pattern: &str, subject: &str) -> Vec<(usize, usize)> {
        let regex = Regex::new(pattern.as_bytes()).unwrap();
        regex.matches(subject.as_bytes()).map(|g| g[0].clone().map(|r| (r.start, r.end)).unwrap()).collect()
    }

    fn some(groups: &[&str]) -> Option<Vec<Option<String>>> {
        Some(groups.iter().map(|g| Some((*g).to_owned())).collect())
    }

    #[test]
    fn groups_of_whole_matches() {
        assert_eq!(whole("ab", "ab"), some(&[]));
        assert_eq!(whole("ab", "abc"), None);
        assert_eq!(whole("a(b)(c)?", "ab"), Some(vec![Some("b".into()), None]));
        assert_eq!(whole("([[:alpha:]]+)-([0-9.]+)", "nix-2.34"), some(&["nix", "2.34"]));
        // A starred group that can be empty goes round once more.
        assert_eq!(whole("(a*)*", "aa"), some(&[""]));
        assert_eq!(whole("(a|ab)(c|bcd)(d*)", "abcd"), some(&["a", "bcd", ""]));
    }

    #[test]
    fn matches_in_order() {
        assert_eq!(all("a*", "a"), [(0, 1), (1, 1)]);
        assert_eq!(all("a*", "bab"), [(0, 0), (1, 2), (2, 2), (3, 3)]);
        assert_eq!(all("^a", "aaa"), [(0, 1)]);
        assert_eq!(all("a|ab", "ab"), [(0, 2)]);
        assert_eq!(all("", ""), [(0, 0)]);
        assert_eq!(all("x", "abc"), []);
    }

    #[test]
    fn what_is_no_pattern() {
        for bad in [
            "*a", "^*", "a{,2}", "{", "a)", "(a", "[]", "[z-a]", "[a-b-c]", "[[:alpha:]-z]", "[[:nope:]]", "\\d", "\\1",
            "(?:a)", "a{2,1}", "a{1", "[a", "\\", "a{x}", "[[.-.]]",
        ] {
            assert_eq!(Regex::new(bad.as_bytes()).err(), Some(RegexError::Invalid), "{bad}");
        }
        for good in ["a**", "a+?", "a{1,2}{3}", "()", "", "a|", "(|a)", "}", "]", "[]a]", "[^]a]", "[a-]", "[-a]", "[\\]", "[[.a.]]", "[[=a=]]", "a{0}", "a{2,}"] {
            assert!(Regex::new(good.as_bytes()).is_ok(), "{good}");
        }
        assert_eq!(Regex::new(b"a{100000}").err(), Some(RegexError::TooBig));
    }

    #[test]
    fn sets() {
        assert!(whole("[[:alpha:]_-]*", "aZ_-").is_some());
        assert!(whole("[]a]*", "]a").is_some());
        assert!(whole("[^]a]", "]").is_none());
        assert!(whole("[a-c]+", "abcd").is_none());
        assert!(whole("[[=a=]]", "A").is_some());
        assert!(whole("[[.a.]-c]", "b").is_some());
        assert!(whole("[[:DIGIT:]]", "1").is_some());
        assert!(whole("..", "é").is_some());
    }

    #[test]
    fn long_subjects_need_no_stack() {
        let subject = "ab".repeat(300_000);
        assert!(whole("(ab|c)*", &subject).is_some());
        assert!(whole(".*b", &subject).is_some());
    }
}
