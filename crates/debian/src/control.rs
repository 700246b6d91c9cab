//! Control stanzas and relations between packages (deb-control(5), Debian policy 5 and 7).

use crate::version;
use std::cmp::Ordering;

/// Value of a field of one stanza; folded lines stay in it. Names compare without case.
pub fn field<'a>(stanza: &'a str, name: &str) -> Option<&'a str> {
    let mut at = 0;
    while at < stanza.len() {
        let line_end = stanza[at..].find('\n').map_or(stanza.len(), |n| at + n);
        let line = &stanza[at..line_end];
        if !line.starts_with([' ', '\t'])
            && let Some((key, _)) = line.split_once(':')
            && key.eq_ignore_ascii_case(name)
        {
            let start = at + key.len() + 1;
            let mut end = line_end;
            while stanza[end..].starts_with("\n ") || stanza[end..].starts_with("\n\t") {
                end = stanza[end + 1..].find('\n').map_or(stanza.len(), |n| end + 1 + n);
            }
            return Some(stanza[start..end].trim());
        }
        at = line_end + 1;
    }
    None
}

/// One name of a relation, with its condition on the version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Atom<'a> {
    pub name: &'a str,
    pub condition: Option<(Op, &'a str)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    Less,
    LessEqual,
    Equal,
    GreaterEqual,
    Greater,
}

impl Atom<'_> {
    /// Whether a real version meets the condition.
    pub fn admits(&self, v: &str) -> bool {
        let Some((op, want)) = self.condition else { return true };
        let o = version::compare(v, want);
        match op {
            Op::Less => o == Ordering::Less,
            Op::LessEqual => o != Ordering::Greater,
            Op::Equal => o == Ordering::Equal,
            Op::GreaterEqual => o != Ordering::Less,
            Op::Greater => o == Ordering::Greater,
        }
    }
}

impl std::fmt::Display for Atom<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)?;
        if let Some((op, v)) = self.condition {
            let op = match op {
                Op::Less => "<<",
                Op::LessEqual => "<=",
                Op::Equal => "=",
                Op::GreaterEqual => ">=",
                Op::Greater => ">>",
            };
            write!(f, " ({op} {v})")?;
        }
        Ok(())
    }
}

/// A relation field of a binary package: groups (all must hold) of alternatives (one must).
/// Restrictions to architectures or build profiles do not occur in binary packages and are skipped.
pub fn relation(text: &str) -> impl Iterator<Item = Vec<Atom<'_>>> {
    text.split(',').map(|g| g.split('|').filter_map(atom).collect::<Vec<_>>()).filter(|g| !g.is_empty())
}

fn atom(text: &str) -> Option<Atom<'_>> {
    let text = text.trim();
    let end = text.find([' ', '(', '[', '<', '\n', '\t']).unwrap_or(text.len());
    let name = text[..end].split(':').next().unwrap_or("");
    if name.is_empty() {
        return None;
    }
    let condition = text[end..].find('(').and_then(|open| {
        let inner = &text[end + open + 1..];
        let inner = inner[..inner.find(')')?].trim();
        let cut = inner.find(|c: char| !matches!(c, '<' | '>' | '='))?;
        let op = match &inner[..cut] {
            "<<" => Op::Less,
            "<=" | "<" => Op::LessEqual,
            "=" => Op::Equal,
            ">=" | ">" => Op::GreaterEqual,
            ">>" => Op::Greater,
            _ => return None,
        };
        Some((op, inner[cut..].trim()))
    });
    Some(Atom { name, condition })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_and_relations() {
        let s = "Package: a\nDepends: b (>= 1:2~x) | c:any,\n d\nDescription: x\n y: z\n";
        assert_eq!(field(s, "package"), Some("a"));
        assert_eq!(field(s, "y"), None);
        let g: Vec<_> = relation(field(s, "Depends").unwrap()).collect();
        assert_eq!(g.len(), 2);
        assert_eq!(g[0][0], Atom { name: "b", condition: Some((Op::GreaterEqual, "1:2~x")) });
        assert_eq!((g[0][1].name, g[1][0].name), ("c", "d"));
        assert!(g[0][0].admits("1:2") && !g[0][0].admits("9"));
        assert_eq!(g[0][0].to_string(), "b (>= 1:2~x)");
    }
}
