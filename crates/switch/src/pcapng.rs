//! Blocks of a capture file: pcapng (draft-ietf-opsawg-pcapng), little endian, times in nanoseconds.

/// Ethernet.
const LINKTYPE: u16 = 1;

fn block(kind: u32, body: &[u8], out: &mut Vec<u8>) {
    let padded = body.len().next_multiple_of(4);
    let len = (padded + 12) as u32;
    out.extend(kind.to_le_bytes());
    out.extend(len.to_le_bytes());
    out.extend(body);
    out.resize(out.len() + padded - body.len(), 0);
    out.extend(len.to_le_bytes());
}

fn option(code: u16, value: &[u8], out: &mut Vec<u8>) {
    out.extend(code.to_le_bytes());
    out.extend((value.len() as u16).to_le_bytes());
    out.extend(value);
    out.resize(out.len() + value.len().next_multiple_of(4) - value.len(), 0);
}

/// The block that begins a file.
pub(crate) fn header(out: &mut Vec<u8>) {
    let mut body = Vec::new();
    body.extend(0x1a2b_3c4d_u32.to_le_bytes());
    body.extend(1u16.to_le_bytes());
    body.extend(0u16.to_le_bytes());
    body.extend((-1i64).to_le_bytes());
    option(4, b"nixos-build-vms", &mut body);
    option(0, &[], &mut body);
    block(0x0a0d_0d0a, &body, out);
}

/// An interface; the first is number 0.
pub(crate) fn interface(name: &str, out: &mut Vec<u8>) {
    let mut body = Vec::new();
    body.extend(LINKTYPE.to_le_bytes());
    body.extend(0u16.to_le_bytes());
    body.extend(0u32.to_le_bytes());
    option(2, name.get(..name.len().min(200)).unwrap_or("link").as_bytes(), &mut body);
    option(9, &[9], &mut body);
    option(0, &[], &mut body);
    block(1, &body, out);
}

/// A frame of an interface; `time` is in nanoseconds since 1970.
pub(crate) fn frame(interface: u32, time: u64, is_from_machine: bool, bytes: &[u8], out: &mut Vec<u8>) {
    let mut body = Vec::with_capacity(bytes.len() + 40);
    body.extend(interface.to_le_bytes());
    body.extend(((time >> 32) as u32).to_le_bytes());
    body.extend((time as u32).to_le_bytes());
    body.extend((bytes.len() as u32).to_le_bytes());
    body.extend((bytes.len() as u32).to_le_bytes());
    body.extend(bytes);
    body.resize(body.len().next_multiple_of(4), 0);
    // The machine's view: 1 came in, 2 went out.
    option(2, &(if is_from_machine { 2u32 } else { 1 }).to_le_bytes(), &mut body);
    option(0, &[], &mut body);
    block(6, &body, out);
}

/// How many frames of an interface are not in the file.
pub(crate) fn left_out(interface: u32, time: u64, frames: u64, out: &mut Vec<u8>) {
    let mut body = Vec::new();
    body.extend(interface.to_le_bytes());
    body.extend(((time >> 32) as u32).to_le_bytes());
    body.extend((time as u32).to_le_bytes());
    option(5, &frames.to_le_bytes(), &mut body);
    option(0, &[], &mut body);
    block(5, &body, out);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_say_their_length_at_both_ends() {
        let mut file = Vec::new();
        header(&mut file);
        interface("a/eth1", &mut file);
        frame(0, 0x1234_5678_9abc_def0, true, &[7; 61], &mut file);
        let (mut at, mut kinds) = (0, Vec::new());
        while at < file.len() {
            let word = |at: usize| u32::from_le_bytes(file[at..at + 4].try_into().unwrap());
            let len = word(at + 4) as usize;
            assert_eq!((len % 4, word(at + len - 4) as usize), (0, len));
            kinds.push(word(at));
            at += len;
        }
        assert_eq!(kinds, [0x0a0d_0d0a, 1, 6]);
        assert_eq!(file[file.len() - 12..][..4], [2, 0, 0, 0]);
    }
}
