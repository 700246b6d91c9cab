//! Damaged archives and derivations: an answer or an error, never a panic, and no more memory than they may take. Samples: `tests/corpus`.

use nbv_nix_formats::{Derivation, Hash, StoreDir, archive, nar};

const PIECES: &[&[u8]] = &[
    b"(", b")", b"\x0d\0\0\0\0\0\0\0nix-archive-1\0\0\0", b"\x01\0\0\0\0\0\0\0(\0\0\0\0\0\0\0", b"Derive(", b"[(\"", b"\",\"", b"\")]", b"../", b"\\", b"PK\x01\x02",
    b"PK\x05\x06", b"\xff\xff\xff\xff\xff\xff\xff\x7f", b"sha256-", b"r:sha256", b"0000000", b"ustar",
];
/// Most bytes that a sample may unpack to.
const LIMIT: u64 = 1 << 20;

fn size(node: &nar::Node) -> u64 {
    match node {
        nar::Node::Regular { content, .. } => content.len() as u64,
        nar::Node::Symlink { target } => target.len() as u64,
        nar::Node::Directory(entries) => entries.values().map(size).sum(),
    }
}

fn run(bytes: &[u8]) {
    let folder = tempfile::tempdir().unwrap();
    if let Ok(node) = nar::parse(&mut &*bytes) {
        let mut again = Vec::new();
        node.dump(&mut again).unwrap();
        assert_eq!(nar::parse(&mut again.as_slice()).unwrap(), node);
        let place = folder.path().join("x");
        // What can be read can be unpacked, or is refused; and nothing else is written.
        let _ = nar::unpack(&mut &*bytes, &place);
        assert!(std::fs::read_dir(folder.path()).unwrap().all(|e| e.unwrap().file_name() == "x"));
    }
    if let Ok(tree) = archive::tree(bytes, LIMIT) {
        // A file may be there again as a hard link, each as large as the whole.
        assert!(size(&tree) <= LIMIT * 64);
        let mut out = Vec::new();
        tree.dump(&mut out).unwrap();
        assert_eq!(nar::parse(&mut out.as_slice()).unwrap(), tree, "a tree of any archive is a right one");
    }
    if let Ok(drv) = Derivation::parse(bytes) {
        let again = drv.to_aterm();
        assert_eq!(Derivation::parse(&again).unwrap(), drv);
    }
    if let Ok(text) = std::str::from_utf8(bytes) {
        let _ = Hash::parse(text, None);
        let _ = StoreDir::default().base_name(text);
        let _ = StoreDir::default().split(text);
    }
}

#[test]
fn damaged_bytes_never_panic() {
    let mut samples = nbv_damage::samples(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/corpus"));
    samples.extend(["sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=", "/nix/store/1rz4g4znpzjwh1xymhjpm42vipw92pr7-x/a"].map(|t| t.as_bytes().to_vec()));
    nbv_damage::fuzz(&samples, PIECES, 4000, run);
}

#[test]
fn bombs_are_refused() {
    use std::io::Write;
    let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    gz.write_all(&vec![0; 8 << 20]).unwrap();
    assert!(archive::tree(&gz.finish().unwrap(), LIMIT).unwrap_err().to_string().contains("more than"));
    // A file of which the archive says that it has 2^62 bytes.
    let mut nar = Vec::new();
    for text in ["nix-archive-1", "(", "type", "regular", "contents"] {
        nar.extend((text.len() as u64).to_le_bytes());
        nar.extend(text.bytes().chain(std::iter::repeat(0)).take(text.len().next_multiple_of(8)));
    }
    nar.extend((1_u64 << 62).to_le_bytes());
    assert!(nar::parse(&mut nar.as_slice()).is_err());
}
