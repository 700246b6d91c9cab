//! Hashes and their four spellings: base 16, Nix' base 32, base 64, and SRI (`sha256-<base 64>`).

use crate::nix32;
use sha2::Digest;
use std::fmt;

/// A hash function that Nix knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Algo {
    /// 16 bytes.
    Md5,
    /// 20 bytes.
    Sha1,
    /// 32 bytes.
    Sha256,
    /// 64 bytes.
    Sha512,
}

impl Algo {
    /// By its name (`sha256`), in lower case.
    pub fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "md5" => Self::Md5,
            "sha1" => Self::Sha1,
            "sha256" => Self::Sha256,
            "sha512" => Self::Sha512,
            _ => return None,
        })
    }

    /// Its name, as in `sha256`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Md5 => "md5",
            Self::Sha1 => "sha1",
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
        }
    }

    /// Size of a digest in bytes.
    pub fn size(self) -> usize {
        match self {
            Self::Md5 => 16,
            Self::Sha1 => 20,
            Self::Sha256 => 32,
            Self::Sha512 => 64,
        }
    }
}

impl fmt::Display for Algo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A spelling of a digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Encoding {
    /// Lower-case hexadecimal.
    Base16,
    /// Nix' base 32 ([`nix32`]).
    Nix32,
    /// RFC 4648 with padding.
    Base64,
    /// `ALGO-BASE64`.
    Sri,
}

impl Encoding {
    /// By the name that `convertHash` and the command line use; `base32` is the old name of `nix32`.
    pub fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "base16" => Self::Base16,
            "nix32" | "base32" => Self::Nix32,
            "base64" => Self::Base64,
            "sri" => Self::Sri,
            _ => return None,
        })
    }
}

/// A digest with the function that made it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Hash {
    /// The function.
    pub algo: Algo,
    /// Its digest, [`Algo::size`] bytes.
    pub bytes: Vec<u8>,
}

/// Why a text is not a hash.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HashError {
    /// No such function.
    #[error("unknown hash algorithm '{0}', expect 'blake3', 'md5', 'sha1', 'sha256', or 'sha512'")]
    UnknownAlgo(String),
    /// Neither the text nor its surroundings name a function.
    #[error("hash '{0}' does not include a type, nor is the type otherwise known from context")]
    NoAlgo(String),
    /// The text names another function than its surroundings.
    #[error("hash '{text}' should have type '{expected}'")]
    WrongAlgo {
        /// The text.
        text: String,
        /// What was expected.
        expected: Algo,
    },
    /// Wrong number of digits.
    #[error("hash '{text}' has wrong length for hash algorithm '{algo}'")]
    WrongLength {
        /// The text.
        text: String,
        /// The function.
        algo: Algo,
    },
    /// A digit that its spelling does not have.
    #[error("invalid {spelling} hash '{text}'")]
    BadDigit {
        /// Name of the spelling.
        spelling: &'static str,
        /// The text.
        text: String,
    },
}

impl Hash {
    /// The digest of `data`.
    pub fn of(algo: Algo, data: &[u8]) -> Self {
        let mut hasher = Hasher::new(algo);
        hasher.update(data);
        hasher.finish()
    }

    /// The hash whose bytes are all zero (what Nix takes for an empty `outputHash`).
    pub fn zero(algo: Algo) -> Self {
        Self {
            algo,
            bytes: vec![0; algo.size()],
        }
    }

    /// Reads any spelling: `ALGO:DIGITS`, `ALGO-BASE64`, or bare digits when `algo` is known; the number of digits tells
    /// base 16, base 32 and base 64 apart. A function named in the text must agree with `algo`.
    pub fn parse(text: &str, algo: Option<Algo>) -> Result<Self, HashError> {
        let (prefix, sri, digits) = match text.find(':') {
            Some(at) => (Some(&text[..at]), false, &text[at + 1..]),
            None => match text.find('-') {
                Some(at) => (Some(&text[..at]), true, &text[at + 1..]),
                None => (None, false, text),
            },
        };
        let named = match prefix {
            Some(name) => {
                Some(Algo::parse(name).ok_or_else(|| HashError::UnknownAlgo(name.to_owned()))?)
            }
            None => None,
        };
        let algo = match (named, algo) {
            (None, None) => return Err(HashError::NoAlgo(text.to_owned())),
            (Some(a), Some(b)) if a != b => {
                return Err(HashError::WrongAlgo {
                    text: text.to_owned(),
                    expected: b,
                });
            }
            (Some(a), _) | (None, Some(a)) => a,
        };
        Self::parse_digits(digits, algo, sri, text)
    }

    /// Reads an SRI hash (`sha256-…`) and nothing else.
    pub fn parse_sri(text: &str) -> Result<Self, HashError> {
        let Some((name, digits)) = text.split_once('-') else {
            return Err(HashError::NoAlgo(text.to_owned()));
        };
        let algo = Algo::parse(name).ok_or_else(|| HashError::UnknownAlgo(name.to_owned()))?;
        Self::parse_digits(digits, algo, true, text)
    }

    fn parse_digits(digits: &str, algo: Algo, sri: bool, text: &str) -> Result<Self, HashError> {
        let size = algo.size();
        let bad = |spelling| HashError::BadDigit {
            spelling,
            text: text.to_owned(),
        };
        let wrong = || HashError::WrongLength {
            text: text.to_owned(),
            algo,
        };
        let bytes = if !sri && digits.len() == size * 2 {
            decode_base16(digits.as_bytes()).ok_or_else(|| bad("base-16"))?
        } else if !sri && digits.len() == nix32::encoded_len(size) {
            nix32::decode(digits.as_bytes()).ok_or_else(|| bad("base-32"))?
        } else if sri || digits.len() == size.div_ceil(3) * 4 {
            decode_base64(digits.as_bytes())
                .ok_or_else(|| bad(if sri { "SRI" } else { "base-64" }))?
        } else {
            return Err(wrong());
        };
        if bytes.len() != size {
            return Err(if sri { bad("SRI") } else { wrong() });
        }
        Ok(Self { algo, bytes })
    }

    /// The digest in a spelling; without the function's name, except for SRI.
    pub fn encode(&self, encoding: Encoding) -> String {
        match encoding {
            Encoding::Base16 => encode_base16(&self.bytes),
            Encoding::Nix32 => nix32::encode(&self.bytes),
            Encoding::Base64 => encode_base64(&self.bytes),
            Encoding::Sri => format!("{}-{}", self.algo, encode_base64(&self.bytes)),
        }
    }

    /// `ALGO:DIGITS`, or SRI.
    pub fn encode_typed(&self, encoding: Encoding) -> String {
        match encoding {
            Encoding::Sri => self.encode(encoding),
            _ => format!("{}:{}", self.algo, self.encode(encoding)),
        }
    }
}

/// SHA-256 of `data`.
pub fn sha256(data: &[u8]) -> [u8; 32] {
    sha2::Sha256::digest(data).into()
}

enum State {
    Md5(md5::Md5),
    Sha1(sha1::Sha1),
    Sha256(sha2::Sha256),
    Sha512(sha2::Sha512),
}

/// A running digest; also a [`std::io::Write`].
pub struct Hasher {
    algo: Algo,
    state: State,
    len: u64,
}

impl Hasher {
    /// A digest of nothing yet.
    pub fn new(algo: Algo) -> Self {
        let state = match algo {
            Algo::Md5 => State::Md5(md5::Md5::new()),
            Algo::Sha1 => State::Sha1(sha1::Sha1::new()),
            Algo::Sha256 => State::Sha256(sha2::Sha256::new()),
            Algo::Sha512 => State::Sha512(sha2::Sha512::new()),
        };
        Self {
            algo,
            state,
            len: 0,
        }
    }

    /// Adds bytes.
    pub fn update(&mut self, data: &[u8]) {
        self.len += data.len() as u64;
        match &mut self.state {
            State::Md5(s) => s.update(data),
            State::Sha1(s) => s.update(data),
            State::Sha256(s) => s.update(data),
            State::Sha512(s) => s.update(data),
        }
    }

    /// Number of bytes so far.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether nothing was added yet.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The digest.
    pub fn finish(self) -> Hash {
        let bytes = match self.state {
            State::Md5(s) => s.finalize().to_vec(),
            State::Sha1(s) => s.finalize().to_vec(),
            State::Sha256(s) => s.finalize().to_vec(),
            State::Sha512(s) => s.finalize().to_vec(),
        };
        Hash {
            algo: self.algo,
            bytes,
        }
    }
}

impl std::io::Write for Hasher {
    fn write(&mut self, data: &[u8]) -> std::io::Result<usize> {
        self.update(data);
        Ok(data.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Lower-case hexadecimal.
pub fn encode_base16(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut out = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        out.push(char::from(DIGITS[usize::from(byte >> 4)]));
        out.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
    out
}

/// Bytes of hexadecimal digits of either case.
pub fn decode_base16(digits: &[u8]) -> Option<Vec<u8>> {
    if !digits.len().is_multiple_of(2) {
        return None;
    }
    let digit = |d: u8| {
        char::from(d)
            .to_digit(16)
            .and_then(|v| u8::try_from(v).ok())
    };
    digits
        .chunks_exact(2)
        .map(|pair| Some(digit(pair[0])? << 4 | digit(pair[1])?))
        .collect()
}

const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Base 64 with padding.
pub fn encode_base64(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let get = |i: usize| u32::from(chunk.get(i).copied().unwrap_or(0));
        let group = get(0) << 16 | get(1) << 8 | get(2);
        for i in 0..4 {
            if i <= chunk.len() {
                out.push(char::from(BASE64[(group >> (18 - 6 * i) & 63) as usize]));
            } else {
                out.push('=');
            }
        }
    }
    out
}

/// Bytes of base 64 digits. As in Nix, line ends are skipped, `=` ends the text, and padding may be missing.
pub fn decode_base64(digits: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(digits.len() / 4 * 3 + 3);
    let (mut group, mut bits) = (0u32, 0u32);
    for &digit in digits {
        match digit {
            b'=' => break,
            b'\n' => continue,
            _ => {}
        }
        let value = BASE64.iter().position(|a| *a == digit)?;
        group = group << 6 | u32::try_from(value).ok()?;
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            out.push((group >> bits & 0xff) as u8);
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Algo; 4] = [Algo::Md5, Algo::Sha1, Algo::Sha256, Algo::Sha512];

    #[test]
    fn every_spelling_reads_back() {
        for algo in ALL {
            let hash = Hash::of(algo, b"abc");
            for encoding in [
                Encoding::Base16,
                Encoding::Nix32,
                Encoding::Base64,
                Encoding::Sri,
            ] {
                assert_eq!(
                    Hash::parse(&hash.encode(encoding), Some(algo)).as_ref(),
                    Ok(&hash)
                );
                assert_eq!(
                    Hash::parse(&hash.encode_typed(encoding), None).as_ref(),
                    Ok(&hash)
                );
            }
        }
    }

    #[test]
    fn known_digests() {
        assert_eq!(
            Hash::of(Algo::Md5, b"abc").encode(Encoding::Base16),
            "900150983cd24fb0d6963f7d28e17f72"
        );
        assert_eq!(
            Hash::of(Algo::Sha256, b"").encode(Encoding::Sri),
            "sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="
        );
    }

    #[test]
    fn refuses_what_is_not_a_hash() {
        assert!(matches!(
            Hash::parse("abc", None),
            Err(HashError::NoAlgo(_))
        ));
        assert!(matches!(
            Hash::parse("abc", Some(Algo::Sha256)),
            Err(HashError::WrongLength { .. })
        ));
        assert!(matches!(
            Hash::parse("sha3:abc", None),
            Err(HashError::UnknownAlgo(_))
        ));
        let sha1 = Hash::of(Algo::Sha1, b"").encode_typed(Encoding::Nix32);
        assert!(matches!(
            Hash::parse(&sha1, Some(Algo::Md5)),
            Err(HashError::WrongAlgo { .. })
        ));
        assert!(matches!(
            Hash::parse(&"g".repeat(64), Some(Algo::Sha256)),
            Err(HashError::BadDigit { .. })
        ));
    }
}
