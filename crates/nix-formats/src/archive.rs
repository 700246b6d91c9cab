//! Trees in archives from elsewhere: tar (plain, or with gzip, bzip2, xz or zstd) and zip.
//!
//! What comes is not trusted: names that lead elsewhere are refused, and no more is unpacked than the caller allows.

use crate::nar::Node;
use bstr::BString;
use std::collections::BTreeMap;
use std::io::{self, Read};

/// Deepest nesting of folders.
const MAX_DEPTH: usize = 1000;

fn bad(what: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.into())
}

/// Reads all, which must not be more than `limit` bytes.
///
/// # Errors
/// Those of the reader; there is more.
pub fn read_limited(reader: impl Read, limit: u64) -> io::Result<Vec<u8>> {
    let mut out = Vec::new();
    reader.take(limit.saturating_add(1)).read_to_end(&mut out)?;
    if out.len() as u64 > limit {
        return Err(bad(format!("it unpacks to more than {limit} bytes")));
    }
    Ok(out)
}

/// The tree in an archive. `limit`: most bytes that it may unpack to.
///
/// # Errors
/// It is damaged, too large, of an unknown form, or names lead elsewhere.
pub fn tree(bytes: &[u8], limit: u64) -> io::Result<Node> {
    let tar = |reader: &mut dyn Read| tar_tree(&read_limited(reader, limit)?);
    match bytes {
        [0x1f, 0x8b, ..] => tar(&mut flate2::read::MultiGzDecoder::new(bytes)),
        [0xfd, b'7', b'z', b'X', b'Z', ..] => tar(&mut liblzma::read::XzDecoder::new_multi_decoder(bytes)),
        [b'B', b'Z', b'h', ..] => tar(&mut bzip2::read::MultiBzDecoder::new(bytes)),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => tar_tree(&zstd(bytes, limit)?),
        [b'P', b'K', 3, 4, ..] | [b'P', b'K', 5, 6, ..] => zip_tree(bytes, limit),
        _ if bytes.len() as u64 > limit => Err(bad(format!("it has more than {limit} bytes"))),
        _ => tar_tree(bytes),
    }
}

/// All frames of a zstd stream.
fn zstd(mut bytes: &[u8], limit: u64) -> io::Result<Vec<u8>> {
    let mut out = Vec::new();
    while !bytes.is_empty() {
        let decoder = ruzstd::decoding::StreamingDecoder::new(&mut bytes).map_err(|e| bad(e.to_string()))?;
        out.extend(read_limited(decoder, limit - out.len() as u64)?);
    }
    Ok(out)
}

/// The tree in a tar archive.
///
/// # Errors
/// As [`tree`].
pub fn tar_tree(bytes: &[u8]) -> io::Result<Node> {
    let mut root = Node::Directory(BTreeMap::new());
    let mut count = 0;
    for entry in tar::Archive::new(bytes).entries()? {
        let mut entry = entry?;
        count += 1;
        let path = entry.path_bytes().into_owned();
        let kind = entry.header().entry_type();
        let node = if kind.is_dir() {
            None
        } else if kind.is_file() || kind.is_contiguous() {
            let executable = entry.header().mode()? & 0o100 != 0;
            let mut content = Vec::new();
            entry.read_to_end(&mut content)?;
            Some(Node::Regular { executable, content })
        } else if kind.is_symlink() {
            let target = entry.link_name_bytes().ok_or_else(|| bad("a link without target"))?.into_owned();
            Some(Node::Symlink { target: target.into() })
        } else if kind.is_hard_link() {
            let target = entry.link_name_bytes().ok_or_else(|| bad("a link without target"))?.into_owned();
            let mut at = &root;
            for name in names(&target)? {
                match at {
                    Node::Directory(entries) => at = entries.get(name).ok_or_else(|| bad("a hard link to nothing"))?,
                    _ => return Err(bad("a hard link through a file")),
                }
            }
            match at {
                // A copy of the whole tree in itself, again and again, would be no archive but a bomb.
                Node::Directory(_) => return Err(bad("a hard link to a folder")),
                other => Some(other.clone()),
            }
        } else {
            continue;
        };
        place(&mut root, &path, node)?;
    }
    if count == 0 {
        return Err(bad("it has no files, or is no archive"));
    }
    Ok(root)
}

/// The components of a name in an archive.
fn names(path: &[u8]) -> io::Result<Vec<&[u8]>> {
    let names: Vec<&[u8]> = path.split(|b| *b == b'/').filter(|n| !n.is_empty() && *n != b".").collect();
    if names.contains(&&b".."[..]) {
        return Err(bad("a name in it leads elsewhere (..)"));
    }
    if names.iter().any(|n| n.contains(&0)) {
        return Err(bad("a name in it has a zero byte"));
    }
    if names.len() > MAX_DEPTH {
        return Err(bad(format!("it has folders nested more than {MAX_DEPTH} deep")));
    }
    Ok(names)
}

/// Puts a file or link in its place; nothing stands for a folder.
fn place(root: &mut Node, path: &[u8], node: Option<Node>) -> io::Result<()> {
    let names = names(path)?;
    let Some((last, folders)) = names.split_last() else { return Ok(()) };
    let mut at = root;
    for name in folders.iter().chain(if node.is_none() { Some(last) } else { None }) {
        let Node::Directory(entries) = at else { return Err(bad("a file where a folder should be")) };
        at = entries.entry(BString::from(*name)).or_insert_with(|| Node::Directory(BTreeMap::new()));
    }
    let Node::Directory(entries) = at else { return Err(bad("a file where a folder should be")) };
    if let Some(node) = node {
        entries.insert(BString::from(*last), node);
    }
    Ok(())
}

/// A number of `N` bytes, the lowest first.
fn number<const N: usize>(bytes: &[u8], at: usize) -> io::Result<usize> {
    let field = at.checked_add(N).and_then(|end| bytes.get(at..end)).ok_or_else(|| bad("it is cut short"))?;
    Ok(field.iter().rev().fold(0, |n, b| n << 8 | usize::from(*b)))
}

/// A part of an archive.
fn part(bytes: &[u8], at: usize, len: usize) -> io::Result<&[u8]> {
    at.checked_add(len).and_then(|end| bytes.get(at..end)).ok_or_else(|| bad("it is cut short"))
}

/// The tree in a zip archive (APPNOTE 6.3.10, sections 4.3.7, 4.3.12 and 4.3.16; files stored or deflated).
fn zip_tree(bytes: &[u8], limit: u64) -> io::Result<Node> {
    const END: &[u8] = b"PK\x05\x06";
    // Behind the end record comes a comment of at most 65,535 bytes.
    let tail = bytes.len().saturating_sub(22 + 65_535);
    let end = bytes[tail..].windows(4).rposition(|w| w == END).ok_or_else(|| bad("it is cut short: no end record"))? + tail;
    let count = number::<2>(bytes, end + 10)?;
    let mut at = number::<4>(bytes, end + 16)?;
    if count == 0xffff || at == 0xffff_ffff {
        return Err(bad("zip archives in the form for more than 4 GiB (zip64) are not read"));
    }
    let mut root = Node::Directory(BTreeMap::new());
    let mut left = limit;
    for _ in 0..count {
        if part(bytes, at, 4)? != b"PK\x01\x02" {
            return Err(bad("its table of files is damaged"));
        }
        let is_unix = number::<1>(bytes, at + 5)? == 3;
        let (flags, method) = (number::<2>(bytes, at + 8)?, number::<2>(bytes, at + 10)?);
        let (check, packed, size) = (number::<4>(bytes, at + 16)?, number::<4>(bytes, at + 20)?, number::<4>(bytes, at + 24)?);
        let (name_len, extra, comment) = (number::<2>(bytes, at + 28)?, number::<2>(bytes, at + 30)?, number::<2>(bytes, at + 32)?);
        let mode = if is_unix { number::<2>(bytes, at + 40)? } else { 0 };
        let local = number::<4>(bytes, at + 42)?;
        let name = part(bytes, at + 46, name_len)?;
        at += 46 + name_len + extra + comment;
        if flags & 1 != 0 {
            return Err(bad("it is encrypted"));
        }
        if name.ends_with(b"/") {
            place(&mut root, name, None)?;
            continue;
        }
        if part(bytes, local, 4)? != b"PK\x03\x04" {
            return Err(bad("the head of a file in it is damaged"));
        }
        let body = part(bytes, local + 30 + number::<2>(bytes, local + 26)? + number::<2>(bytes, local + 28)?, packed)?;
        if size as u64 > left {
            return Err(bad(format!("it unpacks to more than {limit} bytes")));
        }
        left -= size as u64;
        let content = match method {
            0 => body.to_vec(),
            8 => read_limited(flate2::read::DeflateDecoder::new(body), size as u64)?,
            other => return Err(bad(format!("files in it are compressed in a way that is not read (method {other})"))),
        };
        let mut crc = flate2::Crc::new();
        crc.update(&content);
        if content.len() != size || crc.sum() as usize != check {
            return Err(bad(format!("the file {} in it is damaged", String::from_utf8_lossy(name))));
        }
        let node = match mode & 0o170_000 {
            0o120_000 => Node::Symlink { target: content.into() },
            _ => Node::Regular { executable: mode & 0o100 != 0, content },
        };
        place(&mut root, name, Some(node))?;
    }
    Ok(root)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn tar(entries: &[(&str, &str)]) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        for (name, content) in entries {
            let mut header = tar::Header::new_gnu();
            header.set_size(content.len() as u64);
            header.set_mode(0o755);
            // As it is, also names that a builder would refuse.
            header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
            header.set_cksum();
            builder.append(&header, content.as_bytes()).unwrap();
        }
        builder.into_inner().unwrap()
    }

    #[test]
    fn compressed_tars_are_read() {
        let plain = tar(&[("d/a", "1"), ("./d/e/b", "2")]);
        let expected = tree(&plain, 1 << 20).unwrap();
        let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gz.write_all(&plain).unwrap();
        let mut bz = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
        bz.write_all(&plain).unwrap();
        let zst = ruzstd::encoding::compress_to_vec(&plain[..], ruzstd::encoding::CompressionLevel::Fastest);
        for packed in [gz.finish().unwrap(), bz.finish().unwrap(), zst] {
            assert_eq!(tree(&packed, 1 << 20).unwrap(), expected);
            assert!(tree(&packed, 1000).unwrap_err().to_string().contains("more than 1000 bytes"));
            assert!(tree(&packed[..packed.len() - 9], 1 << 20).is_err());
        }
    }

    #[test]
    fn names_that_lead_elsewhere_are_refused() {
        for name in ["../a", "a/../../b"] {
            assert!(tree(&tar(&[(name, "")]), 1 << 20).is_err(), "{name}");
        }
        assert!(tree(&tar(&[("a", ""), ("a/b", "")]), 1 << 20).is_err(), "a file as a folder");
        assert!(tree(b"", 1 << 20).is_err());
        assert!(tree(&[0; 1024], 1 << 20).is_err());
    }
}
