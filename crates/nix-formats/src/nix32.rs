//! Base 32 as Nix writes it: an alphabet without e, o, t, u; the last digit holds the lowest bits of the first byte.

const ALPHABET: &[u8; 32] = b"0123456789abcdfghijklmnpqrsvwxyz";

/// Number of digits for `bytes` bytes.
pub fn encoded_len(bytes: usize) -> usize {
    (bytes * 8).div_ceil(5)
}

/// Digits of `bytes`.
pub fn encode(bytes: &[u8]) -> String {
    let len = encoded_len(bytes.len());
    let mut out = String::with_capacity(len);
    for n in (0..len).rev() {
        let bit = n * 5;
        let (at, shift) = (bit / 8, bit % 8);
        let low = bytes[at] >> shift;
        let high = match bytes.get(at + 1) {
            Some(next) if shift > 3 => next << (8 - shift),
            _ => 0,
        };
        out.push(char::from(ALPHABET[usize::from((low | high) & 0x1f)]));
    }
    out
}

/// Bytes of `digits`, or nothing when a digit is not of the alphabet or bits stand beyond the last whole byte.
pub fn decode(digits: &[u8]) -> Option<Vec<u8>> {
    let mut out = vec![0u8; digits.len() * 5 / 8];
    for (n, digit) in digits.iter().rev().enumerate() {
        let value = u8::try_from(ALPHABET.iter().position(|a| a == digit)?).ok()?;
        let bit = n * 5;
        let (at, shift) = (bit / 8, bit % 8);
        let carry = if shift > 3 { value >> (8 - shift) } else { 0 };
        match out.get_mut(at) {
            Some(byte) => *byte |= value << shift,
            None if value != 0 => return None,
            None => {}
        }
        match out.get_mut(at + 1) {
            Some(byte) => *byte |= carry,
            None if carry != 0 => return None,
            None => {}
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_digits() {
        // SHA-256 of the empty text.
        let empty = crate::hash::sha256(b"");
        assert_eq!(
            encode(&empty),
            "0mdqa9w1p6cmli6976v4wi0sw9r4p5prkj7lzfd1877wk11c9c73"
        );
    }

    #[test]
    fn round_trip_of_every_length() {
        for len in 0..70u8 {
            let bytes: Vec<u8> = (0..len)
                .map(|i| i.wrapping_mul(151).wrapping_add(len))
                .collect();
            assert_eq!(decode(encode(&bytes).as_bytes()), Some(bytes));
        }
    }

    #[test]
    fn refuses_foreign_digits_and_spare_bits() {
        assert_eq!(decode(b"e"), None);
        assert_eq!(decode(b"zz"), None);
        assert_eq!(decode(b"7z"), Some(vec![0xff]));
    }
}
