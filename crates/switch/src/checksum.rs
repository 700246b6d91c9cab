//! Internet checksums, changed in place (RFC 1624).

/// Updates the 16-bit checksum at `at` for words that change from `old` to `new`.
///
/// `old` and `new` have the same even length. Nothing happens when the field lies outside `bytes`.
pub(crate) fn update(bytes: &mut [u8], at: usize, old: &[u8], new: &[u8]) {
    let Some(field) = bytes.get(at..at + 2) else { return };
    // Equation 3 of RFC 1624: HC' = ~(~HC + ~m + m').
    let mut sum = u32::from(!u16::from_be_bytes([field[0], field[1]]));
    for (o, n) in old.chunks_exact(2).zip(new.chunks_exact(2)) {
        sum += u32::from(!u16::from_be_bytes([o[0], o[1]]));
        sum += u32::from(u16::from_be_bytes([n[0], n[1]]));
    }
    while sum >> 16 != 0 {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    let word = !(sum as u16);
    bytes[at..at + 2].copy_from_slice(&word.to_be_bytes());
}

#[cfg(test)]
pub(crate) fn full(bytes: &[u8]) -> u16 {
    let mut sum = 0u32;
    for pair in bytes.chunks(2) {
        sum += u32::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]));
    }
    while sum >> 16 != 0 {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_update_equals_a_new_sum() {
        let mut bytes = [0x45, 0, 0, 60, 1, 2, 0, 0, 64, 6, 0, 0, 10, 0, 2, 15, 10, 0, 2, 10];
        let sum = full(&bytes);
        bytes[10..12].copy_from_slice(&sum.to_be_bytes());
        bytes[16..20].copy_from_slice(&[10, 0, 2, 2]);
        update(&mut bytes, 10, &[10, 0, 2, 10], &[10, 0, 2, 2]);
        assert_eq!(full(&bytes), 0);
    }
}
