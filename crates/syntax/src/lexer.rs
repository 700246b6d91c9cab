//! Text to tokens, one at a time.
//!
//! Strings are not tokens: the parser reads their parts with [`Lexer::string_part`] and
//! [`Lexer::indented_part`], because code may be nested in them. The same holds for paths with `${`.

use nbv_diag::{Diagnostic, Span};

/// Kinds of tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum T {
    Eof,
    Id,
    Int,
    Float,
    /// A path literal, or its start when `${` follows directly.
    Path,
    HomePath,
    SearchPath,
    Uri,
    If,
    Then,
    Else,
    Assert,
    With,
    Let,
    In,
    Rec,
    Inherit,
    /// The contextual keyword `or`.
    OrKw,
    Ellipsis,
    EqEq,
    NotEq,
    Le,
    Ge,
    AndAnd,
    OrOr,
    Arrow,
    Update,
    Concat,
    PipeFrom,
    PipeInto,
    DollarCurly,
    Quote,
    /// The opening `''`.
    IndOpen,
    /// Any other single byte.
    Byte(u8),
}

impl T {
    pub(crate) fn describe(self) -> String {
        match self {
            T::Eof => "end of file".into(),
            T::Id => "identifier".into(),
            T::Int => "integer".into(),
            T::Float => "floating-point literal".into(),
            T::Path | T::HomePath => "path".into(),
            T::SearchPath => "search path".into(),
            T::Uri => "URI".into(),
            T::If => "`if`".into(),
            T::Then => "`then`".into(),
            T::Else => "`else`".into(),
            T::Assert => "`assert`".into(),
            T::With => "`with`".into(),
            T::Let => "`let`".into(),
            T::In => "`in`".into(),
            T::Rec => "`rec`".into(),
            T::Inherit => "`inherit`".into(),
            T::OrKw => "`or`".into(),
            T::Ellipsis => "`...`".into(),
            T::EqEq => "`==`".into(),
            T::NotEq => "`!=`".into(),
            T::Le => "`<=`".into(),
            T::Ge => "`>=`".into(),
            T::AndAnd => "`&&`".into(),
            T::OrOr => "`||`".into(),
            T::Arrow => "`->`".into(),
            T::Update => "`//`".into(),
            T::Concat => "`++`".into(),
            T::PipeFrom => "`<|`".into(),
            T::PipeInto => "`|>`".into(),
            T::DollarCurly => "`${`".into(),
            T::Quote => "`\"`".into(),
            T::IndOpen => "start of an indented string".into(),
            T::Byte(b) if b.is_ascii_graphic() => format!("`{}`", b as char),
            T::Byte(_) => "invalid token".into(),
        }
    }
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Token {
    pub(crate) kind: T,
    /// Byte offsets in the text.
    pub(crate) start: usize,
    pub(crate) end: usize,
}

/// A part of a string.
pub(crate) enum Part {
    /// Text; `is_plain` when it came from the source as it is (it may hold indentation).
    Text { text: Vec<u8>, is_plain: bool, start: usize, end: usize },
    /// `${` was read.
    Code,
    /// The closing quote was read.
    End,
}

pub(crate) struct Lexer<'t> {
    pub(crate) text: &'t [u8],
    pub(crate) pos: usize,
    base: u32,
}

const ID_START: u8 = 1;
const ID_REST: u8 = 2;
const PATH: u8 = 4;
const URI: u8 = 8;
const SPACE: u8 = 16;

/// What a byte may be part of.
const CLASS: [u8; 256] = {
    let mut table = [0u8; 256];
    let mut i = 0;
    while i < 256 {
        let b = i as u8;
        let mut c = 0;
        if b.is_ascii_alphabetic() || b == b'_' {
            c |= ID_START;
        }
        if b.is_ascii_alphanumeric() || matches!(b, b'_' | b'\'' | b'-') {
            c |= ID_REST;
        }
        if b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-' | b'+') {
            c |= PATH;
        }
        if b.is_ascii_alphanumeric()
            || matches!(
                b,
                b'%' | b'/' | b'?' | b':' | b'@' | b'&' | b'=' | b'+' | b'$' | b',' | b'-' | b'_' | b'.' | b'!' | b'~' | b'*' | b'\''
            )
        {
            c |= URI;
        }
        if matches!(b, b' ' | b'\t' | b'\r' | b'\n') {
            c |= SPACE;
        }
        table[i] = c;
        i += 1;
    }
    table
};

#[inline(always)]
fn is(b: u8, class: u8) -> bool {
    CLASS[b as usize] & class != 0
}

impl<'t> Lexer<'t> {
    pub(crate) fn new(text: &'t [u8], base: u32) -> Lexer<'t> {
        Lexer { text, pos: 0, base }
    }

    /// The byte at an offset; 0 behind the end.
    #[inline(always)]
    pub(crate) fn at(&self, i: usize) -> u8 {
        self.text.get(i).copied().unwrap_or(0)
    }

    pub(crate) fn span(&self, start: usize, end: usize) -> Span {
        Span::new(self.base + start as u32, self.base + end as u32)
    }

    #[cold]
    pub(crate) fn error(&self, start: usize, end: usize, message: impl Into<String>) -> Box<Diagnostic> {
        Box::new(Diagnostic::error("syntax::error", message).at(self.span(start, end)))
    }

    /// The offset of the first byte from `i` on that is neither blank nor comment.
    #[inline]
    pub(crate) fn skip_trivia(&self, mut i: usize) -> usize {
        loop {
            while i < self.text.len() && is(self.text[i], SPACE) {
                i += 1;
            }
            match self.at(i) {
                b'#' => {
                    i = memchr::memchr2(b'\n', b'\r', &self.text[i..]).map_or(self.text.len(), |n| i + n);
                }
                b'/' if self.at(i + 1) == b'*' => match memchr::memmem::find(&self.text[i + 2..], b"*/") {
                    Some(n) => i += n + 4,
                    // Not closed: the slash is a token, and then a syntax error.
                    None => return i,
                },
                _ => return i,
            }
        }
    }

    #[inline(always)]
    fn run(&self, mut i: usize, class: u8) -> usize {
        while i < self.text.len() && is(self.text[i], class) {
            i += 1;
        }
        i
    }

    /// Reads the next token.
    #[inline]
    pub(crate) fn next(&mut self) -> Result<Token, Box<Diagnostic>> {
        let start = self.skip_trivia(self.pos);
        let (kind, end) = self.token(start)?;
        self.pos = end;
        Ok(Token { kind, start, end })
    }

    fn token(&self, start: usize) -> Result<(T, usize), Box<Diagnostic>> {
        if start >= self.text.len() {
            return Ok((T::Eof, start));
        }
        let b = self.text[start];
        if is(b, PATH) || b == b'/' {
            let run = self.run(start, PATH);
            // A path: the run, then a slash and more, or a slash and `${`.
            if self.at(run) == b'/' && (is(self.at(run + 1), PATH) || (self.at(run + 1) == b'$' && self.at(run + 2) == b'{')) {
                return Ok((T::Path, self.path_end(run)));
            }
            if b.is_ascii_alphabetic() && self.at(run) == b':' && is(self.at(run + 1), URI) && !self.text[start..run].contains(&b'_') {
                return Ok((T::Uri, self.run(run + 1, URI)));
            }
        }
        if is(b, ID_START) {
            let end = self.run(start + 1, ID_REST);
            return Ok((keyword(&self.text[start..end]), end));
        }
        if b.is_ascii_digit() || (b == b'.' && self.at(start + 1).is_ascii_digit()) {
            return Ok(self.number(start));
        }
        let second = self.at(start + 1);
        let two = |kind| Ok((kind, start + 2));
        match (b, second) {
            (b'.', b'.') if self.at(start + 2) == b'.' => Ok((T::Ellipsis, start + 3)),
            (b'=', b'=') => two(T::EqEq),
            (b'!', b'=') => two(T::NotEq),
            (b'<', b'|') => two(T::PipeFrom),
            (b'|', b'>') => two(T::PipeInto),
            (b'<', c) if is(c, PATH) => match self.search_path(start) {
                Some(end) => Ok((T::SearchPath, end)),
                None => Ok((T::Byte(b'<'), start + 1)),
            },
            (b'<', b'=') => two(T::Le),
            (b'>', b'=') => two(T::Ge),
            (b'&', b'&') => two(T::AndAnd),
            (b'|', b'|') => two(T::OrOr),
            (b'-', b'>') => two(T::Arrow),
            (b'/', b'/') => two(T::Update),
            (b'+', b'+') => two(T::Concat),
            (b'$', b'{') => two(T::DollarCurly),
            (b'~', b'/') if is(self.at(start + 2), PATH) || (self.at(start + 2) == b'$' && self.at(start + 3) == b'{') => {
                Ok((T::HomePath, self.path_end(start + 1)))
            }
            (b'\'', b'\'') => {
                let mut end = start + 2;
                let blank = self.text[end..].iter().take_while(|b| **b == b' ').count();
                if self.at(end + blank) == b'\n' {
                    end += blank + 1;
                }
                Ok((T::IndOpen, end))
            }
            (b'"', _) => Ok((T::Quote, start + 1)),
            _ => Ok((T::Byte(b), start + 1)),
        }
    }

    /// From a slash that begins a path component: the end of the literal part.
    fn path_end(&self, mut i: usize) -> usize {
        while self.at(i) == b'/' && is(self.at(i + 1), PATH) {
            i = self.run(i + 1, PATH);
        }
        if self.at(i) == b'/' { i + 1 } else { i }
    }

    /// More literal text of a path with interpolation.
    pub(crate) fn path_continuation(&self, i: usize) -> usize {
        let run = self.run(i, PATH);
        if self.at(run) == b'/' { self.path_end(run) } else { run }
    }

    fn search_path(&self, start: usize) -> Option<usize> {
        let mut i = self.run(start + 1, PATH);
        while self.at(i) == b'/' && is(self.at(i + 1), PATH) {
            i = self.run(i + 1, PATH);
        }
        (self.at(i) == b'>').then_some(i + 1)
    }

    fn number(&self, start: usize) -> (T, usize) {
        let digits = |mut i: usize| {
            while self.at(i).is_ascii_digit() {
                i += 1;
            }
            i
        };
        let whole = digits(start);
        // A float is `[1-9][0-9]*.[0-9]*` or `0?.[0-9]+`.
        let is_float = self.at(whole) == b'.'
            && match whole - start {
                0 => true,
                1 if self.text[start] == b'0' => self.at(whole + 1).is_ascii_digit(),
                _ => self.text[start] != b'0',
            };
        if !is_float {
            return (T::Int, whole);
        }
        let mut end = digits(whole + 1);
        if matches!(self.at(end), b'e' | b'E') {
            let sign = usize::from(matches!(self.at(end + 1), b'+' | b'-'));
            if self.at(end + 1 + sign).is_ascii_digit() {
                end = digits(end + 1 + sign);
            }
        }
        (T::Float, end)
    }

    /// The next part of a `"` string.
    pub(crate) fn string_part(&mut self) -> Result<Part, Box<Diagnostic>> {
        let start = self.pos;
        let mut out = Vec::new();
        let mut i = start;
        loop {
            let rest = &self.text[i..];
            let Some(n) = rest.iter().position(|b| matches!(b, b'"' | b'\\' | b'$' | b'\r' | 0)) else {
                self.pos = self.text.len();
                return Err(self.error(self.pos, self.pos, "syntax error, unexpected end of file, expecting `\"`"));
            };
            out.extend_from_slice(&rest[..n]);
            i += n;
            let text = |out: Vec<u8>, end| Part::Text { text: out, is_plain: true, start, end };
            match self.text[i] {
                b'"' if i == start => {
                    self.pos = i + 1;
                    return Ok(Part::End);
                }
                b'$' if self.at(i + 1) == b'{' && i == start => {
                    self.pos = i + 2;
                    return Ok(Part::Code);
                }
                b'"' => {
                    self.pos = i;
                    return Ok(text(out, i));
                }
                b'$' if self.at(i + 1) == b'{' => {
                    self.pos = i;
                    return Ok(text(out, i));
                }
                b'$' => {
                    out.push(b'$');
                    i += 1;
                    // `$$` is literal, whatever follows.
                    if self.at(i) == b'$' {
                        out.push(b'$');
                        i += 1;
                    }
                }
                b'\r' => {
                    out.push(b'\n');
                    i += 1 + usize::from(self.at(i + 1) == b'\n');
                }
                0 => return Err(self.error(i, i + 1, "input string contains a null byte")),
                _ => i = self.escape(i, &mut out)?,
            }
        }
    }

    /// The escape at a backslash; gives the offset behind it.
    fn escape(&self, i: usize, out: &mut Vec<u8>) -> Result<usize, Box<Diagnostic>> {
        let Some(&b) = self.text.get(i + 1) else {
            return Err(self.error(i, i + 1, "syntax error, unexpected end of file in a string"));
        };
        match b {
            b'n' => out.push(b'\n'),
            b'r' => out.push(b'\r'),
            b't' => out.push(b'\t'),
            0 => return Err(self.error(i, i + 2, "input string contains a null byte")),
            b'\r' => {
                out.push(b'\n');
                return Ok(i + 2 + usize::from(self.at(i + 2) == b'\n'));
            }
            b => out.push(b),
        }
        Ok(i + 2)
    }

    /// The next part of a `''` string; raw text and escapes are separate parts.
    pub(crate) fn indented_part(&mut self) -> Result<Part, Box<Diagnostic>> {
        let start = self.pos;
        let mut i = start;
        let special = |s: &mut Self, text: &[u8], end: usize| {
            s.pos = end;
            Ok(Part::Text { text: text.to_vec(), is_plain: false, start, end })
        };
        loop {
            let Some(n) = memchr::memchr3(b'\'', b'$', 0, &self.text[i..]) else {
                self.pos = self.text.len();
                return Err(self.error(self.pos, self.pos, "syntax error, unexpected end of file, expecting `''`"));
            };
            i += n;
            let (b, second) = (self.text[i], self.at(i + 1));
            let is_text = match (b, second) {
                (0, _) => return Err(self.error(i, i + 1, "input string contains a null byte")),
                // A quote or a dollar with an ordinary byte behind it is text.
                (b'\'', b'\'' | b'$') => false,
                (b'$', b'{' | b'\'') => false,
                _ => i + 1 < self.text.len(),
            };
            if is_text {
                i += 2;
                continue;
            }
            if i > start {
                self.pos = i;
                return Ok(Part::Text { text: self.text[start..i].to_vec(), is_plain: true, start, end: i });
            }
            return match (b, second, self.at(i + 2)) {
                (b'$', b'{', _) => {
                    self.pos = i + 2;
                    Ok(Part::Code)
                }
                (b'$', _, _) => special(self, b"$", i + 1),
                (b'\'', b'\'', b'$') => special(self, b"$", i + 3),
                (b'\'', b'\'', b'\'') => special(self, b"''", i + 3),
                (b'\'', b'\'', b'\\') if i + 3 < self.text.len() => {
                    let mut out = Vec::new();
                    let end = self.escape(i + 2, &mut out)?;
                    special(self, &out, end)
                }
                (b'\'', b'\'', _) => {
                    self.pos = i + 2;
                    Ok(Part::End)
                }
                _ => special(self, b"'", i + 1),
            };
        }
    }
}

fn keyword(text: &[u8]) -> T {
    match text {
        b"if" => T::If,
        b"then" => T::Then,
        b"else" => T::Else,
        b"assert" => T::Assert,
        b"with" => T::With,
        b"let" => T::Let,
        b"in" => T::In,
        b"rec" => T::Rec,
        b"inherit" => T::Inherit,
        b"or" => T::OrKw,
        _ => T::Id,
    }
}
