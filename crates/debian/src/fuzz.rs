//! Damaged packages, indices, releases and relations: an answer or an error, never a panic.

use crate::control::{field, relation};
use crate::deb;
use crate::index::Index;
use crate::lock::{Lock, Pin};
use crate::release::Release;
use crate::system::SYSTEMS;
use std::io::Write;

const PIECES: &[&[u8]] = &[
    b"!<arch>\n", b"`\n", b"Package: ", b"\n\n", b"Provides: ", b" (>= 1)", b" | ", b", ", b"\n ", b":any", b" [amd64]", b" <!nocheck>", b"SHA256:\n", b"../", b"-----BEGIN PGP SIGNATURE-----\n",
    b"99999999999999999999", b"data.tar.xz", b"\x28\xb5\x2f\xfd", b"\0",
];

fn gz(bytes: &[u8]) -> Vec<u8> {
    let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    out.write_all(bytes).unwrap();
    out.finish().unwrap()
}

fn tar(entries: &[(&str, &str)]) -> Vec<u8> {
    let mut out = tar::Builder::new(Vec::new());
    for (name, content) in entries {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o755);
        header.set_cksum();
        out.append_data(&mut header, name, content.as_bytes()).unwrap();
    }
    out.into_inner().unwrap()
}

fn package(is_packed: bool) -> Vec<u8> {
    let (control, data) = (tar(&[("control", "Package: a\n"), ("postinst", "#!/bin/sh\n")]), tar(&[("usr/bin/a", "x"), ("etc/a", "1")]));
    let mut out = b"!<arch>\n".to_vec();
    let members = if is_packed { [("control.tar.gz", gz(&control)), ("data.tar.gz", gz(&data))] } else { [("control.tar", control), ("data.tar", data)] };
    for (name, body) in [("debian-binary", b"2.0\n".to_vec())].into_iter().chain(members) {
        out.extend(format!("{name:<16}{:<12}{:<6}{:<6}{:<8}{:<10}`\n", 0, 0, 0, 100_644, body.len()).bytes());
        out.extend(&body);
        if body.len() % 2 == 1 {
            out.push(b'\n');
        }
    }
    out
}

#[test]
fn packages() {
    let pin = Pin { version: "1".into(), size: 1, sha256: String::new(), path: "p".into(), apart: false };
    assert_eq!(deb::unpack("a", &pin, &package(true)).unwrap().entries.len(), 2);
    nbv_damage::fuzz(&[package(true), package(false)], PIECES, 4000, |bytes| {
        if let Ok(unpacked) = deb::unpack("a", &pin, bytes) {
            for entry in &unpacked.entries {
                assert!(!entry.path.split('/').any(|c| c == ".."));
                if let deb::EntryKind::File(range) = &entry.kind {
                    let _ = &unpacked.data[range.clone()];
                }
            }
        }
    });
}

const STANZAS: &str = "Package: b\nVersion: 1:2-3\nProvides: v (= 2),\n w\nDepends: a (>= 1) | c:any, d [amd64] <!nocheck>\nPriority: required\n\n\
                       Package: a\nVersion: 1\nEssential: yes\nFilename: pool/a.deb\nSize: 10\nSHA256: 00\n";

fn look(index: &Index) {
    for (name, _) in index.packages() {
        assert!(!index.similar(name).is_empty());
        let Some(id) = index.find(name) else { continue };
        if let Ok(stanza) = index.stanza(id) {
            let _ = (stanza.relation("Depends"), stanza.essential(), stanza.priority());
        }
    }
    let _ = (index.provided().count(), index.providers("v").count(), index.essential().count(), index.find("zz"));
}

#[test]
fn indices() {
    let folder = tempfile::tempdir().unwrap();
    let (text_index, damaged) = (folder.path().join("t"), folder.path().join("d"));
    nbv_damage::fuzz(&[STANZAS.as_bytes().to_vec()], PIECES, 1000, |bytes| {
        let text = String::from_utf8_lossy(bytes);
        if Index::build(&text, &text_index).is_ok() {
            look(&Index::open(&text_index, &SYSTEMS[0], "h", "d").expect("what was made can be opened"));
        }
    });
    Index::build(STANZAS, &text_index).unwrap();
    nbv_damage::fuzz(&[std::fs::read(&text_index).unwrap()], &[], 2000, |bytes| {
        std::fs::write(&damaged, bytes).unwrap();
        if let Ok(index) = Index::open(&damaged, &SYSTEMS[0], "h", "d") {
            // Names may be in no order now; nothing may be looked up outside of it.
            let _ = (index.packages().count(), index.find("a"), index.providers("v").count(), index.provided().count());
            for id in index.essential().collect::<Vec<_>>() {
                let _ = index.stanza(id);
            }
        }
    });
}

#[test]
fn releases_relations_and_pins() {
    let release = include_bytes!("../tests/data/bullseye-updates.InRelease").to_vec();
    let lock = br#"{"version":1,"systems":{"x86_64-linux":{"suite":"bookworm","index":"00","date":"d","packages":{"a":{"version":"1","size":1,"sha256":"00","path":"p"}}}}}"#;
    let samples = [release, b"a (>= 1) | c:any, d [amd64 !i386] <!nocheck>, e (<< 2~)".to_vec(), lock.to_vec()];
    nbv_damage::fuzz(&samples, PIECES, 300, |bytes| {
        let text = String::from_utf8_lossy(bytes);
        let _ = Release::verify(&text, "url", "bullseye-updates");
        let _ = Release::read(&text).file("main/binary-amd64/Packages.xz");
        let _ = (field(&text, "SHA256"), serde_json::from_str::<Lock>(&text));
        for atoms in relation(&text) {
            for atom in atoms {
                let _ = atom.admits("1:2.3~rc1-4+b1");
            }
        }
        let (a, b) = text.split_at(text.floor_char_boundary(text.len() / 2));
        assert_eq!(crate::version::compare(a, b), crate::version::compare(b, a).reverse());
    });
}
