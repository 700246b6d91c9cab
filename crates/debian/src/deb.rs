//! The .deb container (deb(5)): an ar archive of two tar archives, unpacked in memory.

use crate::error::{DebianError, Result};
use crate::lock::Pin;
use std::io::Read;
use std::ops::Range;
use std::sync::Arc;

/// A package unpacked in memory.
pub(crate) struct Unpacked {
    pub(crate) name: String,
    /// The whole data archive; entries' contents are ranges of it.
    pub(crate) data: Arc<Vec<u8>>,
    pub(crate) entries: Vec<Entry>,
    /// The script that would run after unpacking; only read, for the alternatives it names.
    pub(crate) postinst: String,
}

pub(crate) struct Entry {
    /// Relative to the root, no leading "./", no trailing slash.
    pub(crate) path: String,
    pub(crate) mode: u16,
    pub(crate) user: String,
    pub(crate) group: String,
    pub(crate) kind: EntryKind,
}

pub(crate) enum EntryKind {
    File(Range<usize>),
    /// A content that replaces what the archive has (an unpacked kernel module).
    Made(Vec<u8>),
    Dir,
    Symlink(String),
    HardLink(String),
}

/// Unpacks the bytes of a .deb.
pub(crate) fn unpack(name: &str, pin: &Pin, deb: &[u8]) -> Result<Unpacked> {
    let bad = |why: String| DebianError::BadDeb { package: name.into(), file: pin.path.clone(), why };
    let mut control = None;
    let mut data = None;
    for (member, range) in ar(deb).map_err(|e| bad(e.into()))? {
        let body = &deb[range];
        if member.starts_with("control.tar") {
            control = Some(expand(&member, body, 0).map_err(&bad)?);
        } else if member.starts_with("data.tar") {
            data = Some(expand(&member, body, body.len() * 4).map_err(&bad)?);
        }
    }
    let control = control.ok_or_else(|| bad("it has no control archive".into()))?;
    let data = Arc::new(data.ok_or_else(|| bad("it has no data archive".into()))?);
    let mut postinst = String::new();
    let mut archive = tar::Archive::new(&control[..]);
    for e in archive.entries().map_err(|e| bad(e.to_string()))? {
        let mut e = e.map_err(|e| bad(e.to_string()))?;
        if e.path_bytes().ends_with(b"postinst") {
            let mut text = Vec::new();
            e.read_to_end(&mut text).map_err(|e| bad(e.to_string()))?;
            postinst = String::from_utf8_lossy(&text).into_owned();
        }
    }
    let mut entries = Vec::new();
    let mut archive = tar::Archive::new(&data[..]);
    for e in archive.entries().map_err(|e| bad(e.to_string()))? {
        let e = e.map_err(|e| bad(e.to_string()))?;
        if let Some(entry) = entry(&e, data.len()).map_err(&bad)? {
            entries.push(entry);
        }
    }
    Ok(Unpacked { name: name.into(), data, entries, postinst })
}

fn entry(e: &tar::Entry<'_, &[u8]>, limit: usize) -> Result<Option<Entry>, String> {
    let text = |b: &[u8]| String::from_utf8(b.to_vec()).map_err(|_| "a name in it is not UTF-8".to_string());
    let clean = |p: String| {
        let p = p.trim_start_matches("./").trim_matches('/').to_string();
        if p.split('/').any(|c| c == "..") { Err(format!("the path {p} leads elsewhere")) } else { Ok(p) }
    };
    let path = clean(text(&e.path_bytes())?)?;
    if path.is_empty() || path == "." {
        return Ok(None);
    }
    let h = e.header();
    let link = || -> Result<String, String> { text(&e.link_name_bytes().ok_or("a link without a target")?) };
    let kind = match h.entry_type() {
        tar::EntryType::Regular | tar::EntryType::Continuous => {
            let from = e.raw_file_position() as usize;
            let to = from.checked_add(e.size() as usize).filter(|&t| t <= limit).ok_or("a file beyond the end")?;
            EntryKind::File(from..to)
        }
        tar::EntryType::Directory => EntryKind::Dir,
        tar::EntryType::Symlink => EntryKind::Symlink(link()?),
        tar::EntryType::Link => EntryKind::HardLink(clean(link()?)?),
        other => return Err(format!("{path} is of a kind that no package has ({other:?})")),
    };
    // names count, since numbers differ between systems; without a name 0 is root
    let owner = |name: Option<&[u8]>, id: std::io::Result<u64>| match name {
        Some(b) if !b.is_empty() => String::from_utf8_lossy(b).into_owned(),
        _ if matches!(id, Ok(0)) => "root".into(),
        _ => String::new(),
    };
    Ok(Some(Entry {
        path,
        mode: (h.mode().map_err(|e| e.to_string())? & 0o7777) as u16,
        user: owner(h.username_bytes(), h.uid()),
        group: owner(h.groupname_bytes(), h.gid()),
        kind,
    }))
}

/// Members of an ar archive: name and range of the body.
fn ar(b: &[u8]) -> Result<Vec<(String, Range<usize>)>, &'static str> {
    if !b.starts_with(b"!<arch>\n") {
        return Err("it does not begin like an ar archive");
    }
    let mut out = Vec::new();
    let mut at = 8;
    while at + 60 <= b.len() {
        let head = &b[at..at + 60];
        if &head[58..60] != b"`\n" {
            return Err("a member's head is damaged");
        }
        let field = |r: Range<usize>| String::from_utf8_lossy(&head[r]).trim().trim_end_matches('/').to_string();
        let size: usize = field(48..58).parse().map_err(|_| "a member's size is no number")?;
        let end = (at + 60).checked_add(size).filter(|&e| e <= b.len()).ok_or("it is cut short")?;
        out.push((field(0..16), at + 60..end));
        at = end + size % 2;
    }
    Ok(out)
}

/// Most bytes that one archive of a package may unpack to; the largest of Debian has about 3 GiB.
const MAX_UNPACKED: u64 = 6 << 30;

/// Decompresses a member by the end of its name. `guess`: expected size, 0 when unknown.
fn expand(name: &str, body: &[u8], guess: usize) -> Result<Vec<u8>, String> {
    expand_limited(name, body, guess, MAX_UNPACKED)
}

fn expand_limited(name: &str, body: &[u8], guess: usize, limit: u64) -> Result<Vec<u8>, String> {
    let mut zstd;
    let (mut xz, mut gz, mut plain);
    let reader: &mut dyn Read = match name.rsplit('.').next() {
        Some("xz") => {
            xz = liblzma::read::XzDecoder::new(body);
            &mut xz
        }
        Some("gz") => {
            gz = flate2::read::GzDecoder::new(body);
            &mut gz
        }
        Some("zst") => {
            zstd = ruzstd::decoding::StreamingDecoder::new(body).map_err(|e| format!("{name}: {e}"))?;
            &mut zstd
        }
        Some("tar") => {
            plain = body;
            &mut plain
        }
        _ => return Err(format!("{name} is compressed in a way that is not known here")),
    };
    read_limited(reader, guess, limit).map_err(|e| format!("{name}: {e}"))
}

/// Reads all, which must not be more than `limit` bytes. `guess`: how many there may be.
pub(crate) fn read_limited(reader: impl Read, guess: usize, limit: u64) -> std::io::Result<Vec<u8>> {
    let mut out = Vec::with_capacity(guess.min(256 << 20));
    reader.take(limit + 1).read_to_end(&mut out)?;
    if out.len() as u64 > limit {
        return Err(std::io::Error::new(std::io::ErrorKind::InvalidData, format!("it unpacks to more than {limit} bytes")));
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_is_unpacked_than_allowed() {
        use std::io::Write;
        let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        gz.write_all(&vec![0; 1 << 20]).unwrap();
        let bomb = gz.finish().unwrap();
        assert!(expand_limited("data.tar.gz", &bomb, 0, (1 << 20) - 1).unwrap_err().contains("more than"));
        assert_eq!(expand_limited("data.tar.gz", &bomb, 0, 1 << 20).unwrap().len(), 1 << 20);
    }
}
