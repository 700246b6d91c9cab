//! Version numbers: their components, their order, and names that end in one.

use std::cmp::Ordering;

/// The next component of `version` from byte `at` on, and where it ends: a run of digits, or of anything but digits,
/// dots and dashes. Empty at the end.
fn next(version: &[u8], mut at: usize) -> (&[u8], usize) {
    while at < version.len() && matches!(version[at], b'.' | b'-') {
        at += 1;
    }
    let start = at;
    if at < version.len() && version[at].is_ascii_digit() {
        while at < version.len() && version[at].is_ascii_digit() {
            at += 1;
        }
    } else {
        while at < version.len()
            && !version[at].is_ascii_digit()
            && !matches!(version[at], b'.' | b'-')
        {
            at += 1;
        }
    }
    (&version[start..at], at)
}

/// Components of a version, as `builtins.splitVersion` gives them.
pub fn split(version: &[u8]) -> Vec<&[u8]> {
    let mut out = Vec::new();
    let mut at = 0;
    loop {
        let (component, end) = next(version, at);
        if component.is_empty() {
            return out;
        }
        out.push(component);
        at = end;
    }
}

/// Order of versions, as `builtins.compareVersions` has it: numbers by value and above words, "pre" below the end of a
/// version, other words between.
pub fn compare(a: &[u8], b: &[u8]) -> Ordering {
    let (mut i, mut j) = (0, 0);
    while i < a.len() || j < b.len() {
        let (x, next_i) = next(a, i);
        let (y, next_j) = next(b, j);
        (i, j) = (next_i, next_j);
        if component_less(x, y) {
            return Ordering::Less;
        }
        if component_less(y, x) {
            return Ordering::Greater;
        }
    }
    Ordering::Equal
}

/// A component as a number that fits 32 bits, as Nix reads it (signed); longer ones count as words.
fn number(component: &[u8]) -> Option<i32> {
    std::str::from_utf8(component).ok()?.parse().ok()
}

fn component_less(a: &[u8], b: &[u8]) -> bool {
    match (number(a), number(b)) {
        (Some(x), Some(y)) => x < y,
        (None, Some(_)) if a.is_empty() => true,
        (_, y) => {
            if a == b"pre" && b != b"pre" {
                true
            } else if b == b"pre" {
                false
            } else if y.is_some() {
                // A word is below a number.
                true
            } else if number(a).is_some() {
                false
            } else {
                a < b
            }
        }
    }
}

/// Splits `NAME-VERSION` at the first dash that no letter follows.
pub fn parse_drv_name(name: &[u8]) -> (&[u8], &[u8]) {
    for (i, pair) in name.windows(2).enumerate() {
        if pair[0] == b'-' && !pair[1].is_ascii_alphabetic() {
            return (&name[..i], &name[i + 1..]);
        }
    }
    (name, b"")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cmp(a: &str, b: &str) -> i8 {
        let forward = compare(a.as_bytes(), b.as_bytes());
        assert_eq!(
            forward,
            compare(b.as_bytes(), a.as_bytes()).reverse(),
            "{a} {b}"
        );
        forward as i8
    }

    #[test]
    fn order() {
        assert_eq!(cmp("1.0", "2.3"), -1);
        assert_eq!(cmp("2.1", "2.3"), -1);
        assert_eq!(cmp("2.3", "2.3"), 0);
        assert_eq!(cmp("2.5", "2.3"), 1);
        assert_eq!(cmp("2.3.1", "2.3"), 1);
        assert_eq!(cmp("2.3.1", "2.3a"), 1);
        assert_eq!(cmp("2.3pre1", "2.3"), -1);
        assert_eq!(cmp("2.3pre3", "2.3pre12"), -1);
        assert_eq!(cmp("2.3a", "2.3c"), -1);
        assert_eq!(cmp("2.3pre1", "2.3c"), -1);
        assert_eq!(cmp("2.3pre1", "2.3q"), -1);
        assert_eq!(cmp("1.0", "1.0."), 0);
    }

    #[test]
    fn components() {
        let split = |s: &'static str| -> Vec<&'static str> {
            split(s.as_bytes())
                .into_iter()
                .map(|c| std::str::from_utf8(c).unwrap())
                .collect()
        };
        assert_eq!(split("1.2pre3-x"), ["1", "2", "pre", "3", "x"]);
        assert!(split("..-").is_empty());
    }

    #[test]
    fn names() {
        assert_eq!(parse_drv_name(b"hello-2.10"), (&b"hello"[..], &b"2.10"[..]));
        assert_eq!(parse_drv_name(b"a-b-1-c"), (&b"a-b"[..], &b"1-c"[..]));
        assert_eq!(parse_drv_name(b"a-"), (&b"a-"[..], &b""[..]));
    }
}
