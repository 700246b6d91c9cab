//! Bracket expressions: `[a-z]`, `[^[:space:]]`.

use super::RegexError;

/// What stood before a `-`.
enum Last {
    Nothing,
    Byte(u8),
    Class,
}

/// Reads what follows `[`, and moves `at` behind the closing bracket.
pub(super) fn parse(pattern: &[u8], at: &mut usize) -> Result<Box<[bool; 256]>, RegexError> {
    let mut set = Box::new([false; 256]);
    let mut scanner = Scanner { pattern, at: *at, start: true };
    let negated = scanner.peek() == Some(b'^');
    if negated {
        scanner.at += 1;
    }
    let mut last = Last::Nothing;
    let mut first = true;
    loop {
        let token = scanner.next()?;
        match token {
            Token::Byte(byte) => last = push(&mut set, last, byte),
            Token::Dash if first => last = Last::Byte(b'-'),
            Token::Close => break,
            Token::Collating(name) => {
                let byte = collating(name).ok_or(RegexError::Invalid)?;
                last = push(&mut set, last, byte);
            }
            Token::Equivalent(name) => {
                let byte = collating(name).ok_or(RegexError::Invalid)?;
                flush(&mut set, &last);
                last = Last::Class;
                set[usize::from(byte.to_ascii_lowercase())] = true;
                set[usize::from(byte.to_ascii_uppercase())] = true;
            }
            Token::Class(name) => {
                let class = class(name).ok_or(RegexError::Invalid)?;
                flush(&mut set, &last);
                last = Last::Class;
                for byte in 0..=127u8 {
                    set[usize::from(byte)] |= class(byte);
                }
            }
            Token::Dash => {
                let next = scanner.next()?;
                if matches!(next, Token::Close) {
                    last = push(&mut set, last, b'-');
                    break;
                }
                let Last::Byte(from) = last else { return Err(RegexError::Invalid) };
                let to = match next {
                    Token::Byte(byte) => byte,
                    Token::Dash => b'-',
                    _ => return Err(RegexError::Invalid),
                };
                // C++ compares `char`, which is signed on the machines that matter here.
                let (from, to) = (from.cast_signed(), to.cast_signed());
                if from > to {
                    return Err(RegexError::Invalid);
                }
                for byte in from..=to {
                    set[usize::from(byte.cast_unsigned())] = true;
                }
                last = Last::Nothing;
            }
        }
        first = false;
    }
    flush(&mut set, &last);
    if negated {
        for member in set.iter_mut() {
            *member = !*member;
        }
    }
    *at = scanner.at;
    Ok(set)
}

fn flush(set: &mut [bool; 256], last: &Last) {
    if let Last::Byte(byte) = last {
        set[usize::from(*byte)] = true;
    }
}

fn push(set: &mut [bool; 256], last: Last, byte: u8) -> Last {
    flush(set, &last);
    Last::Byte(byte)
}

enum Token<'a> {
    Byte(u8),
    Dash,
    Close,
    Collating(&'a [u8]),
    Class(&'a [u8]),
    Equivalent(&'a [u8]),
}

struct Scanner<'a> {
    pattern: &'a [u8],
    at: usize,
    start: bool,
}

impl<'a> Scanner<'a> {
    fn peek(&self) -> Option<u8> {
        self.pattern.get(self.at).copied()
    }

    fn next(&mut self) -> Result<Token<'a>, RegexError> {
        let byte = self.peek().ok_or(RegexError::Invalid)?;
        self.at += 1;
        let start = std::mem::replace(&mut self.start, false);
        match byte {
            b'-' => Ok(Token::Dash),
            b']' if !start => Ok(Token::Close),
            b'[' => {
                let kind = self.peek().ok_or(RegexError::Invalid)?;
                if !b".:=".contains(&kind) {
                    return Ok(Token::Byte(b'['));
                }
                self.at += 1;
                let rest = &self.pattern[self.at..];
                let len = rest.iter().position(|b| *b == kind).ok_or(RegexError::Invalid)?;
                if rest.get(len + 1) != Some(&b']') {
                    return Err(RegexError::Invalid);
                }
                self.at += len + 2;
                let name = &rest[..len];
                Ok(match kind {
                    b'.' => Token::Collating(name),
                    b':' => Token::Class(name),
                    _ => Token::Equivalent(name),
                })
            }
            _ => Ok(Token::Byte(byte)),
        }
    }
}

fn class(name: &[u8]) -> Option<fn(u8) -> bool> {
    Some(match name.to_ascii_lowercase().as_slice() {
        b"alnum" => |b| b.is_ascii_alphanumeric(),
        b"alpha" => |b| b.is_ascii_alphabetic(),
        b"blank" => |b| matches!(b, b' ' | b'\t'),
        b"cntrl" => |b| b.is_ascii_control(),
        b"d" | b"digit" => |b| b.is_ascii_digit(),
        b"graph" => |b| b.is_ascii_graphic(),
        b"lower" => |b| b.is_ascii_lowercase(),
        b"print" => |b| b == b' ' || b.is_ascii_graphic(),
        b"punct" => |b| b.is_ascii_punctuation(),
        b"s" | b"space" => |b| matches!(b, b' ' | 9..=13),
        b"upper" => |b| b.is_ascii_uppercase(),
        b"w" => |b| b == b'_' || b.is_ascii_alphanumeric(),
        b"xdigit" => |b| b.is_ascii_hexdigit(),
        _ => return None,
    })
}

/// Names of the POSIX portable character set, from byte 0 on; letters are named by themselves.
const NAMES: &str = "NUL SOH STX ETX EOT ENQ ACK alert backspace tab newline vertical-tab form-feed carriage-return SO SI DLE DC1 DC2 \
DC3 DC4 NAK SYN ETB CAN EM SUB ESC IS4 IS3 IS2 IS1 space exclamation-mark quotation-mark number-sign dollar-sign percent-sign ampersand \
apostrophe left-parenthesis right-parenthesis asterisk plus-sign comma hyphen period slash zero one two three four five six seven eight \
nine colon semicolon less-than-sign equals-sign greater-than-sign question-mark commercial-at A B C D E F G H I J K L M N O P Q R S T U \
V W X Y Z left-square-bracket backslash right-square-bracket circumflex underscore grave-accent a b c d e f g h i j k l m n o p q r s t \
u v w x y z left-curly-bracket vertical-line right-curly-bracket tilde DEL";

fn collating(name: &[u8]) -> Option<u8> {
    NAMES.split(' ').position(|n| n.as_bytes() == name).and_then(|n| u8::try_from(n).ok())
}
