//! JSON as Nix reads and writes it. The reader gives events and needs no recursion; integers are 64 bits, longer ones floats or errors as in
//! C++ Nix; the writer quotes strings as nlohmann's library does.

use std::borrow::Cow;

/// A step through a text.
#[derive(Debug, Clone, PartialEq)]
pub enum Event<'a> {
    /// `null`
    Null,
    /// `true`, `false`
    Bool(bool),
    /// A number without point and exponent.
    Int(i64),
    /// Any other number.
    Float(f64),
    /// A string.
    String(Cow<'a, str>),
    /// Name of the next value of an object.
    Key(Cow<'a, str>),
    /// `[`
    ArrayStart,
    /// `]`
    ArrayEnd,
    /// `{`
    ObjectStart,
    /// `}`
    ObjectEnd,
}

/// What is wrong, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} at line {line}, column {column}")]
pub struct JsonError {
    /// In words.
    pub what: String,
    /// From 1.
    pub line: usize,
    /// In bytes, from 1.
    pub column: usize,
}

enum State {
    Value,
    ValueOrEnd,
    KeyOrEnd,
    Key,
    AfterValue,
    Done,
}

/// Reads one JSON value.
pub struct Reader<'a> {
    text: &'a [u8],
    at: usize,
    state: State,
    /// For each open bracket, whether it is an object.
    open: Vec<bool>,
}

impl<'a> Reader<'a> {
    /// Of a text, which may begin with a byte order mark.
    pub fn new(text: &'a [u8]) -> Self {
        let at = if text.starts_with(b"\xef\xbb\xbf") { 3 } else { 0 };
        Self { text, at, state: State::Value, open: Vec::new() }
    }

    /// The next event; nothing behind the last one.
    pub fn next(&mut self) -> Result<Option<Event<'a>>, JsonError> {
        loop {
            while self.peek().is_some_and(|b| matches!(b, b' ' | b'\t' | b'\n' | b'\r')) {
                self.at += 1;
            }
            match self.state {
                State::Done => {
                    return match self.peek() {
                        None => Ok(None),
                        Some(_) => Err(self.unexpected("the end of the text")),
                    };
                }
                State::AfterValue => {
                    let Some(object) = self.open.last().copied() else {
                        self.state = State::Done;
                        continue;
                    };
                    match self.peek() {
                        Some(b',') => {
                            self.at += 1;
                            self.state = if object { State::Key } else { State::Value };
                        }
                        Some(b'}') if object => return Ok(Some(self.close())),
                        Some(b']') if !object => return Ok(Some(self.close())),
                        _ => return Err(self.unexpected(if object { "',' or '}'" } else { "',' or ']'" })),
                    }
                }
                State::KeyOrEnd if self.peek() == Some(b'}') => return Ok(Some(self.close())),
                State::ValueOrEnd if self.peek() == Some(b']') => return Ok(Some(self.close())),
                State::Key | State::KeyOrEnd => {
                    if self.peek() != Some(b'"') {
                        return Err(self.unexpected("a name in quotes"));
                    }
                    let key = self.string()?;
                    while self.peek().is_some_and(|b| matches!(b, b' ' | b'\t' | b'\n' | b'\r')) {
                        self.at += 1;
                    }
                    if self.peek() != Some(b':') {
                        return Err(self.unexpected("':'"));
                    }
                    self.at += 1;
                    self.state = State::Value;
                    return Ok(Some(Event::Key(key)));
                }
                State::Value | State::ValueOrEnd => return self.value().map(Some),
            }
        }
    }

    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn close(&mut self) -> Event<'a> {
        self.at += 1;
        self.state = State::AfterValue;
        if self.open.pop() == Some(true) { Event::ObjectEnd } else { Event::ArrayEnd }
    }

    fn error(&self, at: usize, what: impl Into<String>) -> JsonError {
        let before = &self.text[..at.min(self.text.len())];
        let start = before.iter().rposition(|b| *b == b'\n').map_or(0, |n| n + 1);
        JsonError {
            what: what.into(),
            line: before.iter().filter(|b| **b == b'\n').count() + 1,
            column: before.len() - start + 1,
        }
    }

    fn unexpected(&self, expected: &str) -> JsonError {
        let found = match self.text.get(self.at..).and_then(|rest| rest.utf8_chunks().next()) {
            Some(chunk) => match chunk.valid().chars().next() {
                Some(c) => format!("found {c:?}"),
                None => "found a byte that is not UTF-8".to_owned(),
            },
            None => "found the end".to_owned(),
        };
        self.error(self.at, format!("expected {expected}, {found}"))
    }

    fn value(&mut self) -> Result<Event<'a>, JsonError> {
        let word = |text: &'static [u8], event| (text, event);
        for (text, event) in
            [word(b"null", Event::Null), word(b"true", Event::Bool(true)), word(b"false", Event::Bool(false))]
        {
            if self.text[self.at..].starts_with(text) {
                self.at += text.len();
                self.state = State::AfterValue;
                return Ok(event);
            }
        }
        match self.peek() {
            Some(b'{') => {
                self.at += 1;
                self.open.push(true);
                self.state = State::KeyOrEnd;
                Ok(Event::ObjectStart)
            }
            Some(b'[') => {
                self.at += 1;
                self.open.push(false);
                self.state = State::ValueOrEnd;
                Ok(Event::ArrayStart)
            }
            Some(b'"') => {
                let text = self.string()?;
                self.state = State::AfterValue;
                Ok(Event::String(text))
            }
            Some(b'-' | b'0'..=b'9') => {
                let number = self.number()?;
                self.state = State::AfterValue;
                Ok(number)
            }
            _ => Err(self.unexpected("a value")),
        }
    }

    fn digits(&mut self) -> Result<(), JsonError> {
        let start = self.at;
        while self.peek().is_some_and(|b| b.is_ascii_digit()) {
            self.at += 1;
        }
        if start == self.at { Err(self.unexpected("a digit")) } else { Ok(()) }
    }

    fn number(&mut self) -> Result<Event<'a>, JsonError> {
        let start = self.at;
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        if self.peek() == Some(b'0') {
            self.at += 1;
        } else {
            self.digits()?;
        }
        let mut whole = true;
        if self.peek() == Some(b'.') {
            whole = false;
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            whole = false;
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits()?;
        }
        let text = std::str::from_utf8(&self.text[start..self.at]).unwrap_or("");
        if whole {
            if let Ok(int) = text.parse() {
                return Ok(Event::Int(int));
            }
            if text.parse::<u64>().is_ok() {
                return Err(self.error(start, format!("unsigned json number {text} outside of Nix integer range")));
            }
        }
        match text.parse::<f64>() {
            Ok(x) if x.is_finite() => Ok(Event::Float(x)),
            _ => Err(self.error(start, format!("number overflow parsing '{text}'"))),
        }
    }

    fn string(&mut self) -> Result<Cow<'a, str>, JsonError> {
        self.at += 1;
        let start = self.at;
        let mut built: Option<Vec<u8>> = None;
        let mut from = start;
        loop {
            let Some(byte) = self.peek() else {
                return Err(self.error(self.at, "a string without its closing quote"));
            };
            match byte {
                b'"' => break,
                b'\\' => {
                    let out = built.get_or_insert_default();
                    out.extend_from_slice(&self.text[from..self.at]);
                    let c = self.escape()?;
                    let mut buffer = [0; 4];
                    built.get_or_insert_default().extend_from_slice(c.encode_utf8(&mut buffer).as_bytes());
                    from = self.at;
                }
                0..0x20 => return Err(self.error(self.at, format!("a control character (byte {byte}) that is not escaped"))),
                _ => self.at += 1,
            }
        }
        let end = self.at;
        self.at += 1;
        let text = match built {
            None => std::str::from_utf8(&self.text[start..end]).map(Cow::Borrowed).ok(),
            Some(mut out) => {
                out.extend_from_slice(&self.text[from..end]);
                String::from_utf8(out).map(Cow::Owned).ok()
            }
        };
        let text = text.ok_or_else(|| self.error(start, "a string that is not UTF-8"))?;
        if text.contains('\0') {
            return Err(self.error(start, "a string with a null byte, which Nix strings cannot hold"));
        }
        Ok(text)
    }

    fn escape(&mut self) -> Result<char, JsonError> {
        let start = self.at;
        self.at += 1;
        let kind = self.peek();
        self.at += 1;
        Ok(match kind {
            Some(c @ (b'"' | b'\\' | b'/')) => char::from(c),
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => {
                let high = self.hex()?;
                let code = match high {
                    0xd800..0xdc00 if self.text[self.at..].starts_with(b"\\u") => {
                        self.at += 2;
                        let low = self.hex()?;
                        if !(0xdc00..0xe000).contains(&low) {
                            return Err(self.error(start, "half of a surrogate pair"));
                        }
                        0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00)
                    }
                    _ => high,
                };
                char::from_u32(code).ok_or_else(|| self.error(start, "half of a surrogate pair"))?
            }
            _ => return Err(self.error(start, "an unknown escape")),
        })
    }

    fn hex(&mut self) -> Result<u32, JsonError> {
        let digits = self.text.get(self.at..self.at + 4).filter(|d| d.iter().all(u8::is_ascii_hexdigit));
        let code = digits.and_then(|d| std::str::from_utf8(d).ok()).and_then(|d| u32::from_str_radix(d, 16).ok());
        let code = code.ok_or_else(|| self.error(self.at, "'\\u' without four hexadecimal digits"))?;
        self.at += 4;
        Ok(code)
    }
}

/// Writes a string with its quotes. What is not UTF-8 is an error: the offset of the first such byte.
pub fn write_string(out: &mut Vec<u8>, text: &[u8]) -> Result<(), usize> {
    if let Err(e) = std::str::from_utf8(text) {
        return Err(e.valid_up_to());
    }
    out.push(b'"');
    let mut from = 0;
    for (i, byte) in text.iter().enumerate() {
        let short = match byte {
            b'"' => b'"',
            b'\\' => b'\\',
            8 => b'b',
            9 => b't',
            10 => b'n',
            12 => b'f',
            13 => b'r',
            0..0x20 => 0,
            _ => continue,
        };
        out.extend_from_slice(&text[from..i]);
        if short == 0 {
            out.extend_from_slice(format!("\\u{byte:04x}").as_bytes());
        } else {
            out.extend_from_slice(&[b'\\', short]);
        }
        from = i + 1;
    }
    out.extend_from_slice(&text[from..]);
    out.push(b'"');
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(text: &str) -> Result<Vec<Event<'_>>, JsonError> {
        let mut reader = Reader::new(text.as_bytes());
        let mut out = Vec::new();
        while let Some(event) = reader.next()? {
            out.push(event);
        }
        Ok(out)
    }

    #[test]
    fn events() {
        assert_eq!(
            all(" {\"a\" : [1, -0, 1e3, 2.5, true, null, \"x\\u00e9\\ud83d\\ude00\\/\"], \"b\":{}} ").unwrap(),
            [
                Event::ObjectStart,
                Event::Key("a".into()),
                Event::ArrayStart,
                Event::Int(1),
                Event::Int(0),
                Event::Float(1000.0),
                Event::Float(2.5),
                Event::Bool(true),
                Event::Null,
                Event::String("xé😀/".into()),
                Event::ArrayEnd,
                Event::Key("b".into()),
                Event::ObjectStart,
                Event::ObjectEnd,
                Event::ObjectEnd
            ]
        );
    }

    #[test]
    fn big_numbers() {
        assert_eq!(all("9223372036854775807").unwrap(), [Event::Int(i64::MAX)]);
        assert_eq!(all("-9223372036854775808").unwrap(), [Event::Int(i64::MIN)]);
        assert!(all("9223372036854775808").is_err());
        assert_eq!(all("18446744073709551616").unwrap(), [Event::Float(18_446_744_073_709_551_616.0)]);
        assert!(all("1e999").is_err());
    }

    #[test]
    fn refusals() {
        for bad in [
            "", "[", "{", "[1,]", "{\"a\":1,}", "{a:1}", "01", "1.", ".5", "+1", "\"\n\"", "\"\\x\"", "\"\\ud800\"", "\"\\udc00\"", "nul",
            "1 2", "[1}", "\"a", "\"\\u0000\"", "// x\n1", "-", "1e", "'a'", "[1 2]",
        ] {
            assert!(all(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn deep_nesting_needs_no_stack() {
        let text = format!("{}{}", "[".repeat(200_000), "]".repeat(200_000));
        assert_eq!(all(&text).unwrap().len(), 400_000);
    }

    #[test]
    fn written_strings() {
        let mut out = Vec::new();
        write_string(&mut out, "a\"\\/\n\u{1}é\u{7f}".as_bytes()).unwrap();
        assert_eq!(out, "\"a\\\"\\\\/\\n\\u0001é\u{7f}\"".as_bytes());
        assert_eq!(write_string(&mut out, b"ab\xff"), Err(2));
    }
}
