//! Debian's order of versions (deb-version(7)): epoch, upstream part, revision.

use std::cmp::Ordering;

/// Compares two versions as dpkg does.
pub fn compare(a: &str, b: &str) -> Ordering {
    let (ea, ua, ra) = split(a);
    let (eb, ub, rb) = split(b);
    ea.cmp(&eb).then_with(|| part(ua.as_bytes(), ub.as_bytes())).then_with(|| part(ra.as_bytes(), rb.as_bytes()))
}

fn split(v: &str) -> (u64, &str, &str) {
    let (epoch, rest) = match v.split_once(':') {
        Some((e, r)) => (e.parse().unwrap_or(0), r),
        None => (0, v),
    };
    match rest.rsplit_once('-') {
        Some((u, r)) => (epoch, u, r),
        None => (epoch, rest, ""),
    }
}

/// `~` before the end, the end before letters, letters before everything else.
fn weight(c: Option<&u8>) -> i32 {
    match c {
        Some(b'~') => -1,
        None => 0,
        Some(c) if c.is_ascii_digit() => 0,
        Some(c) if c.is_ascii_alphabetic() => i32::from(*c),
        Some(c) => i32::from(*c) + 256,
    }
}

fn part(mut a: &[u8], mut b: &[u8]) -> Ordering {
    while !a.is_empty() || !b.is_empty() {
        while a.first().is_some_and(|c| !c.is_ascii_digit()) || b.first().is_some_and(|c| !c.is_ascii_digit()) {
            let o = weight(a.first()).cmp(&weight(b.first()));
            if o != Ordering::Equal {
                return o;
            }
            a = a.get(1..).unwrap_or(b"");
            b = b.get(1..).unwrap_or(b"");
        }
        let number = |s: &mut &[u8]| {
            let n = s.iter().take_while(|c| c.is_ascii_digit()).count();
            let (d, rest) = s.split_at(n);
            *s = rest;
            let zeros = d.iter().take_while(|c| **c == b'0').count();
            d[zeros..].to_vec()
        };
        let (da, db) = (number(&mut a), number(&mut b));
        let o = da.len().cmp(&db.len()).then_with(|| da.cmp(&db));
        if o != Ordering::Equal {
            return o;
        }
    }
    Ordering::Equal
}

#[cfg(test)]
mod tests {
    use super::compare;
    use std::cmp::Ordering::*;

    #[test]
    fn order() {
        for (a, b) in [
            ("1.0~rc1", "1.0"),
            ("1.0", "1.0+b1"),
            ("1.9", "1.10"),
            ("1.0-1", "1.0-1.1"),
            ("9.9", "1:0.1"),
            ("1.0~", "1.0"),
            ("1.0~~", "1.0~"),
            ("1.0a", "1.0+"),
            ("2.4.65-1", "2.4.65-2~deb13u1"),
            ("6.12.38-1", "6.12.117-1"),
            ("1.0", "1.0-1"),
        ] {
            assert_eq!(compare(a, b), Less, "{a} {b}");
            assert_eq!(compare(b, a), Greater, "{b} {a}");
        }
        assert_eq!(compare("0:1.01-0", "1.1-00"), Equal);
    }
}
