//! Strings, indented strings and paths, with the code inside them.

use super::*;

impl<'a> Parser<'a, '_> {
    /// From the opening quote on.
    pub(super) fn string(&mut self) -> R<E<'a>> {
        let start = self.token.start;
        let mut parts: Vec<E<'a>> = Vec::new();
        let mut has_code = false;
        loop {
            match self.lexer.string_part()? {
                Part::End => break,
                Part::Text { text, start, end, .. } => {
                    let kind = ExprKind::String(self.arena.slice(&text));
                    parts.push(self.mk(kind, self.lexer.span(start, end)));
                }
                Part::Code => {
                    has_code = true;
                    parts.push(self.code()?);
                }
            }
        }
        let end = self.lexer.pos;
        let span = self.lexer.span(start, end);
        self.token.end = end;
        self.advance()?;
        let kind = match parts.as_slice() {
            [] => ExprKind::String(&[]),
            [only] if !has_code => only.kind,
            parts => ExprKind::Interpolate(self.arena.slice(parts)),
        };
        Ok(self.mk(kind, span))
    }

    /// Code behind `${`; leaves the lexer behind the `}`.
    pub(super) fn code(&mut self) -> R<E<'a>> {
        self.advance()?;
        let e = self.expr()?;
        if self.token.kind != T::Byte(b'}') {
            return Err(self.unexpected(&["`}`"]));
        }
        self.lexer.pos = self.token.end;
        Ok(e)
    }

    pub(super) fn indented_string(&mut self) -> R<E<'a>> {
        let start = self.token.start;
        let mut parts = Vec::new();
        loop {
            match self.lexer.indented_part()? {
                Part::End => break,
                Part::Text { text, is_plain, start, end } => {
                    parts.push(Piece::Text { text, is_plain, span: self.lexer.span(start, end) });
                }
                Part::Code => parts.push(Piece::Code(self.code()?)),
            }
        }
        let end = self.lexer.pos;
        let span = self.lexer.span(start, end);
        self.token.end = end;
        self.advance()?;
        let mut out: Vec<E<'a>> = Vec::new();
        let mut has_code = false;
        for piece in strip_indentation(parts) {
            match piece {
                Piece::Text { text, span, .. } => {
                    if !text.is_empty() {
                        out.push(self.mk(ExprKind::String(self.arena.slice(&text)), span));
                    }
                }
                Piece::Code(e) => {
                    has_code = true;
                    out.push(e);
                }
            }
        }
        let kind = match out.as_slice() {
            [] => ExprKind::String(&[]),
            [only] if !has_code => only.kind,
            out => ExprKind::Interpolate(self.arena.slice(out)),
        };
        Ok(self.mk(kind, span))
    }

    /// A path literal, with `${` or without.
    pub(super) fn path(&mut self) -> R<E<'a>> {
        let start = self.token.start;
        let literal = self.token_text();
        let first_span = self.token_span();
        let kind = if self.token.kind == T::HomePath {
            self.lint(self.options.lint_absolute_path_literals, first_span, || {
                format!("the home path `{}` is not portable", String::from_utf8_lossy(literal))
            })?;
            ExprKind::HomePath(self.arena.slice(&literal[1..]))
        } else {
            if literal[0] == b'/' {
                self.lint(self.options.lint_absolute_path_literals, first_span, || {
                    format!("the absolute path `{}` is not portable", String::from_utf8_lossy(literal))
                })?;
            } else if literal[0] != b'.' {
                self.lint(self.options.lint_short_path_literals, first_span, || {
                    let path = String::from_utf8_lossy(literal);
                    format!("the relative path `{path}` should begin with a dot: `./{path}`")
                })?;
            }
            ExprKind::Path(self.arena.slice(&absolute(self.options.base_path, literal)))
        };
        let mut end = self.token.end;
        let mut slash = literal.last() == Some(&b'/');
        let mut parts = vec![self.mk(kind, first_span)];
        loop {
            if self.lexer.at(end) == b'$' && self.lexer.at(end + 1) == b'{' {
                self.lexer.pos = end + 2;
                parts.push(self.code()?);
                end = self.lexer.pos;
                slash = false;
                continue;
            }
            let next = if parts.len() > 1 || slash { self.lexer.path_continuation(end) } else { end };
            if next == end {
                break;
            }
            let text = &self.lexer.text[end..next];
            slash = text.last() == Some(&b'/');
            parts.push(self.mk(ExprKind::String(self.arena.slice(text)), self.lexer.span(end, next)));
            end = next;
        }
        if slash {
            return Err(self.lexer.error(end, end, "path has a trailing slash"));
        }
        self.lexer.pos = end;
        self.token.end = end;
        self.advance()?;
        if let [only] = parts.as_slice() {
            return Ok(only);
        }
        Ok(self.mk(ExprKind::PathInterpolate(self.arena.slice(&parts)), self.lexer.span(start, end)))
    }
}

enum Piece<'a> {
    Text { text: Vec<u8>, is_plain: bool, span: Span },
    Code(E<'a>),
}

/// Removes the common indentation, a blank last line, and leaves escapes and code as they are.
fn strip_indentation(mut pieces: Vec<Piece<'_>>) -> Vec<Piece<'_>> {
    let mut at_start = true;
    let mut current = 0usize;
    let mut min = usize::MAX;
    for piece in &pieces {
        let Piece::Text { text, is_plain: true, .. } = piece else {
            if at_start {
                at_start = false;
                min = min.min(current);
            }
            continue;
        };
        for &b in text {
            if at_start {
                match b {
                    b' ' => current += 1,
                    b'\n' => current = 0,
                    _ => {
                        at_start = false;
                        min = min.min(current);
                    }
                }
            } else if b == b'\n' {
                at_start = true;
                current = 0;
            }
        }
    }
    let last = pieces.len().wrapping_sub(1);
    let mut at_start = true;
    let mut dropped = 0usize;
    for (i, piece) in pieces.iter_mut().enumerate() {
        let Piece::Text { text, .. } = piece else {
            at_start = false;
            dropped = 0;
            continue;
        };
        let mut out = Vec::with_capacity(text.len());
        for &b in text.iter() {
            if at_start {
                match b {
                    b' ' => {
                        if dropped >= min {
                            out.push(b);
                        }
                        dropped += 1;
                    }
                    b'\n' => {
                        dropped = 0;
                        out.push(b);
                    }
                    _ => {
                        at_start = false;
                        dropped = 0;
                        out.push(b);
                    }
                }
            } else {
                out.push(b);
                if b == b'\n' {
                    at_start = true;
                }
            }
        }
        if i == last {
            if let Some(n) = memchr::memrchr(b'\n', &out) {
                if out[n + 1..].iter().all(|&b| b == b' ') {
                    out.truncate(n + 1);
                }
            }
        }
        *text = out;
    }
    pieces
}

/// Joins and normalises; a trailing slash stays.
fn absolute(base: &[u8], literal: &[u8]) -> Vec<u8> {
    let mut parts: Vec<&[u8]> = Vec::new();
    let from: &[u8] = if literal.first() == Some(&b'/') { b"" } else { base };
    for part in from.split(|&b| b == b'/').chain(literal.split(|&b| b == b'/')) {
        match part {
            b"" | b"." => {}
            b".." => {
                parts.pop();
            }
            name => parts.push(name),
        }
    }
    let mut out = Vec::with_capacity(from.len() + literal.len() + 1);
    for part in &parts {
        out.push(b'/');
        out.extend_from_slice(part);
    }
    if out.is_empty() {
        out.push(b'/');
    } else if literal.len() > 1 && literal.last() == Some(&b'/') {
        out.push(b'/');
    }
    out
}
