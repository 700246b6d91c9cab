//! A machine's console as lines that are safe to show.
//!
//! A guest may write anything: escape sequences that would move the cursor or retitle the terminal are
//! taken out, as are other control characters and those that reorder text.

/// Longest line shown; the rest becomes further lines.
const LINE_MAX: usize = 4096;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum State {
    #[default]
    Text,
    /// After ESC.
    Escape,
    /// After ESC and an intermediate byte: one more follows.
    Intermediate,
    /// In a control sequence, until a byte of 0x40 to 0x7e.
    Sequence,
    /// In a string (title, device control), until BEL or ESC \.
    String,
    /// After ESC in a string.
    StringEscape,
}

/// Cuts bytes into lines.
#[derive(Debug, Default)]
pub struct LineReader {
    line: Vec<u8>,
    state: State,
    after_return: bool,
}

impl LineReader {
    /// A reader at the start of a line.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes bytes; calls back with each line that they complete, without its end.
    pub fn push(&mut self, bytes: &[u8], line: &mut dyn FnMut(String)) {
        for byte in bytes {
            self.byte(*byte, line);
        }
    }

    /// The line that was begun, if there is one: after the last byte, or when a prompt is waited for.
    pub fn take_rest(&mut self) -> Option<String> {
        self.after_return = false;
        (!self.line.is_empty()).then(|| clean(&std::mem::take(&mut self.line)))
    }

    fn byte(&mut self, byte: u8, line: &mut dyn FnMut(String)) {
        self.state = match (self.state, byte) {
            (State::Escape, b'[') => State::Sequence,
            (State::Escape, b']' | b'P' | b'X' | b'^' | b'_') => State::String,
            (State::Escape, 0x20..=0x2f) => State::Intermediate,
            (State::Sequence, 0x40..=0x7e) | (State::String, 0x07) | (State::StringEscape, b'\\') => State::Text,
            (State::String, 0x1b) => State::StringEscape,
            // An end of line ends every sequence, so that a broken one does not swallow the console.
            (State::Sequence | State::String | State::Intermediate, b'\n') | (State::Text, _) => return self.text(byte, line),
            (_, 0x1b) => State::Escape,
            (State::Sequence | State::String, _) => self.state,
            (State::StringEscape, _) => State::String,
            (State::Escape | State::Intermediate, _) => State::Text,
        };
    }

    fn text(&mut self, byte: u8, line: &mut dyn FnMut(String)) {
        self.state = State::Text;
        let was_return = std::mem::take(&mut self.after_return);
        match byte {
            0x1b => self.state = State::Escape,
            b'\n' => line(clean(&std::mem::take(&mut self.line))),
            b'\r' => self.after_return = true,
            _ => {
                if was_return && !self.line.is_empty() {
                    line(clean(&std::mem::take(&mut self.line)));
                }
                match byte {
                    b'\t' => self.line.push(b' '),
                    0x08 => drop(self.line.pop()),
                    0x00..=0x1f | 0x7f => {}
                    _ => self.line.push(byte),
                }
                if self.line.len() >= LINE_MAX {
                    line(clean(&std::mem::take(&mut self.line)));
                }
            }
        }
    }
}

/// Text without characters that would disturb a terminal.
fn clean(bytes: &[u8]) -> String {
    let harmful = |c: &char| c.is_control() || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    String::from_utf8_lossy(bytes).chars().filter(|c| !harmful(c)).collect::<String>().trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(bytes: &[u8]) -> Vec<String> {
        let mut reader = LineReader::new();
        let mut lines = Vec::new();
        // Byte by byte: pieces of any size must give the same.
        for byte in bytes {
            reader.push(&[*byte], &mut |line| lines.push(line));
        }
        lines.extend(reader.take_rest());
        lines
    }

    #[test]
    fn lines_end_with_any_line_end() {
        assert_eq!(lines(b"a\r\nb\nc\rd\r\r\n\ne"), ["a", "b", "c", "d", "", "e"]);
    }

    #[test]
    fn escape_sequences_are_taken_out() {
        assert_eq!(lines(b"\x1b[1;31mred\x1b[0m\x1b]0;title\x07!\x1b(B\x1b]2;x\x1b\\?\x1bc."), ["red!?."]);
    }

    #[test]
    fn a_broken_sequence_ends_with_its_line() {
        assert_eq!(lines(b"\x1b]0;never ended\nnext\n\x1b[12\nlast"), ["", "next", "", "last"]);
    }

    #[test]
    fn other_control_characters_do_not_reach_the_terminal() {
        assert_eq!(lines("a\u{9b}31mb\u{202e}c\x07\x0e\u{fc}\n".as_bytes()), ["a31mbc\u{fc}"]);
        assert_eq!(lines(b"\xff\xfe ok\n"), ["\u{fffd}\u{fffd} ok"]);
    }

    #[test]
    fn a_line_without_end_is_cut() {
        assert_eq!(lines(&vec![b'x'; LINE_MAX * 2 + 1]).iter().map(String::len).collect::<Vec<_>>(), [LINE_MAX, LINE_MAX, 1]);
    }
}
