//! Sources and positions.
//!
//! Position 0 means "no place". Every source takes the positions `base .. base + len + 1`, so the end of a
//! text has a position too. Lines end with LF, CR LF or a lone CR, as in C++ Nix.

use std::path::{Path, PathBuf};
use std::sync::{Arc, RwLock};

/// A global byte position; 0 is "none".
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Pos(pub u32);

impl Pos {
    pub const NONE: Pos = Pos(0);

    pub fn is_none(self) -> bool {
        self.0 == 0
    }
}

/// A range of global positions, `end` exclusive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Span {
    pub start: u32,
    pub end: u32,
}

impl Span {
    pub const NONE: Span = Span { start: 0, end: 0 };

    pub fn new(start: u32, end: u32) -> Span {
        Span { start, end }
    }

    /// The empty range at a position.
    pub fn at(pos: Pos) -> Span {
        Span { start: pos.0, end: pos.0 }
    }

    pub fn is_none(self) -> bool {
        self.start == 0
    }

    pub fn pos(self) -> Pos {
        Pos(self.start)
    }

    /// From the start of `self` to the end of `other`.
    pub fn to(self, other: Span) -> Span {
        Span { start: self.start, end: other.end }
    }
}

/// Where a source's text comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    File(PathBuf),
    /// Text given on the command line.
    String,
    Stdin,
    /// Text that is part of the program.
    Internal(&'static str),
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Origin::File(path) => write!(f, "{}", path.display()),
            Origin::String => f.write_str("«string»"),
            Origin::Stdin => f.write_str("«stdin»"),
            Origin::Internal(name) => write!(f, "«{name}»"),
        }
    }
}

/// One text.
#[derive(Debug)]
pub struct Source {
    pub origin: Origin,
    pub text: Arc<[u8]>,
    /// Global position of the first byte.
    pub base: u32,
}

/// A position as people count: lines and columns start at 1, columns are bytes.
#[derive(Debug, Clone)]
pub struct Location {
    pub source: Arc<Source>,
    pub line: u32,
    pub column: u32,
    /// Byte offset in the source of the line's first byte.
    pub line_start: usize,
}

impl Location {
    /// The file, if the source is one.
    pub fn path(&self) -> Option<&Path> {
        match &self.source.origin {
            Origin::File(path) => Some(path),
            Origin::String | Origin::Stdin | Origin::Internal(_) => None,
        }
    }

    /// The text of the line, without its end.
    pub fn line_text(&self) -> &[u8] {
        let rest = &self.source.text[self.line_start..];
        let end = rest.iter().position(|b| matches!(b, b'\n' | b'\r')).unwrap_or(rest.len());
        &rest[..end]
    }
}

/// All sources of one evaluation; shared by threads.
#[derive(Debug, Default)]
pub struct SourceMap {
    sources: RwLock<Vec<Arc<Source>>>,
}

impl SourceMap {
    pub fn new() -> SourceMap {
        SourceMap::default()
    }

    /// Registers a text and returns it with its base position. Beyond 4 GiB of text positions are lost
    /// (the base is then 0 and every span of it is "none" or wrong by construction of the caller's lexer).
    pub fn add(&self, origin: Origin, text: Arc<[u8]>) -> Arc<Source> {
        let mut sources = self.sources.write().unwrap_or_else(|e| e.into_inner());
        let base = match sources.last() {
            None => 1,
            Some(last) => last.base as u64 + last.text.len() as u64 + 1,
        };
        let base = if base + text.len() as u64 + 1 > u32::MAX as u64 { 0 } else { base as u32 };
        let source = Arc::new(Source { origin, text, base });
        if base != 0 {
            sources.push(source.clone());
        }
        source
    }

    /// The files among the sources, in the order in which they were read.
    pub fn files(&self) -> Vec<PathBuf> {
        let sources = self.sources.read().unwrap_or_else(|e| e.into_inner());
        let file = |source: &Arc<Source>| match &source.origin {
            Origin::File(path) => Some(path.clone()),
            Origin::String | Origin::Stdin | Origin::Internal(_) => None,
        };
        sources.iter().filter_map(file).collect()
    }

    /// The source that a position belongs to.
    pub fn source_of(&self, pos: Pos) -> Option<Arc<Source>> {
        if pos.is_none() {
            return None;
        }
        let sources = self.sources.read().unwrap_or_else(|e| e.into_inner());
        let i = sources.partition_point(|s| s.base <= pos.0).checked_sub(1)?;
        let source = &sources[i];
        ((pos.0 - source.base) as usize <= source.text.len()).then(|| source.clone())
    }

    /// The place of a line and column (from 1) of a file; [`Span::NONE`] when the file is not known.
    pub fn find(&self, file: &str, line: i64, column: i64) -> Span {
        let sources = self.sources.read().unwrap_or_else(|e| e.into_inner());
        let is_file = |s: &&Arc<Source>| matches!(&s.origin, Origin::File(path) if path == Path::new(file));
        let Some(source) = sources.iter().find(is_file) else { return Span::NONE };
        let mut start = 0;
        for _ in 1..line {
            match source.text[start..].iter().position(|&b| b == b'\n') {
                Some(n) => start += n + 1,
                None => return Span::NONE,
            }
        }
        let offset = (start + (column - 1).max(0) as usize).min(source.text.len());
        // Mark the word there.
        let is_word = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'\'' | b'.');
        let len = source.text[offset..].iter().take_while(|b| is_word(b)).count();
        let at = source.base + offset as u32;
        Span::new(at, at + len as u32)
    }

    /// Line and column of a position.
    pub fn locate(&self, pos: Pos) -> Option<Location> {
        let source = self.source_of(pos)?;
        let offset = (pos.0 - source.base) as usize;
        let text = &source.text;
        let (mut line, mut line_start, mut i) = (1, 0, 0);
        while i < offset {
            match text[i] {
                b'\n' => {
                    line += 1;
                    line_start = i + 1;
                }
                b'\r' => {
                    if text.get(i + 1) == Some(&b'\n') && i + 1 < offset {
                        i += 1;
                    } else if text.get(i + 1) == Some(&b'\n') {
                        break;
                    }
                    line += 1;
                    line_start = i + 1;
                }
                _ => {}
            }
            i += 1;
        }
        Some(Location { line, column: (offset - line_start) as u32 + 1, line_start, source })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_end_with_lf_crlf_or_cr() {
        let map = SourceMap::new();
        map.add(Origin::String, Arc::from(&b"x"[..]));
        let source = map.add(Origin::Stdin, Arc::from(&b"a\nb\r\nc\rd"[..]));
        let at = |offset: u32| {
            let l = map.locate(Pos(source.base + offset)).unwrap();
            (l.line, l.column)
        };
        assert_eq!(at(0), (1, 1));
        assert_eq!(at(2), (2, 1));
        assert_eq!(at(5), (3, 1));
        assert_eq!(at(7), (4, 1));
        assert_eq!(at(8), (4, 2));
        assert!(map.locate(Pos(source.base + 9)).is_none());
        assert!(map.locate(Pos::NONE).is_none());
    }
}
