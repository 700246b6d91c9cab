//! Fetching packages from a mirror that misbehaves: a small real HTTP server on a loopback port.

use nbv_debian::{Archive, Config, DebianError, Pin, Silent};
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};

/// What the server does with a path, one after another; the last one stays.
#[derive(Clone)]
enum Answer {
    Whole(Vec<u8>),
    /// Announces all but sends half and closes.
    Cut(Vec<u8>),
    Status(u16),
}

fn serve(answers: HashMap<String, Vec<Answer>>) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let asked = Arc::new(Mutex::new(Vec::new()));
    let (log, answers) = (asked.clone(), Arc::new(Mutex::new(answers)));
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let (log, answers) = (log.clone(), answers.clone());
            std::thread::spawn(move || talk(stream, &log, &answers));
        }
    });
    (url, asked)
}

fn talk(stream: TcpStream, log: &Mutex<Vec<String>>, answers: &Mutex<HashMap<String, Vec<Answer>>>) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut out = stream;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).unwrap_or(0) == 0 {
            return;
        }
        let path = line.split(' ').nth(1).unwrap_or("").to_string();
        while reader.read_line(&mut line).unwrap_or(0) > 2 {}
        log.lock().unwrap().push(path.clone());
        let answer = {
            let mut all = answers.lock().unwrap();
            match all.get_mut(&path) {
                Some(list) if list.len() > 1 => list.remove(0),
                Some(list) => list[0].clone(),
                None => Answer::Status(404),
            }
        };
        let (body, sent) = match &answer {
            Answer::Whole(b) => (b.clone(), b.len()),
            Answer::Cut(b) => (b.clone(), b.len() / 2),
            Answer::Status(s) => {
                let _ = write!(out, "HTTP/1.1 {s} No\r\nContent-Length: 0\r\n\r\n");
                continue;
            }
        };
        let _ = write!(out, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
        let _ = out.write_all(&body[..sent]);
        if sent < body.len() {
            return;
        }
    }
}

fn pin(name: &str, body: &[u8]) -> (String, Pin) {
    let sha256 = Sha256::digest(body).iter().map(|b| format!("{b:02x}")).collect();
    let path = format!("pool/{name}.deb");
    (name.into(), Pin { version: "1".into(), size: body.len() as u64, sha256, path, apart: false })
}

fn archive(url: &str, cache: &Path) -> Archive {
    let mut config = Config::new(cache);
    config.mirror = Some(url.into());
    Archive::new(config, Arc::new(Silent))
}

fn cached(cache: &Path) -> usize {
    std::fs::read_dir(cache.join("debs")).map_or(0, |d| d.count())
}

#[test]
fn a_cut_connection_is_tried_again() {
    let body = vec![7u8; 300_000];
    let other = vec![8u8; 10];
    let (url, asked) = serve(HashMap::from([
        ("/pool/a.deb".into(), vec![Answer::Cut(body.clone()), Answer::Status(503), Answer::Whole(body.clone())]),
        ("/pool/b.deb".into(), vec![Answer::Whole(other.clone())]),
    ]));
    let dir = tempfile::tempdir().unwrap();
    let list = [pin("a", &body), pin("b", &other)];
    let a = archive(&url, dir.path());
    a.fetch(&list).unwrap();
    assert_eq!(std::fs::read(a.deb_path(&list[0].1)).unwrap(), body);
    let n = asked.lock().unwrap().len();
    // all is there: nothing is asked for again, by another process either
    archive(&url, dir.path()).fetch(&list).unwrap();
    assert_eq!(asked.lock().unwrap().len(), n);
}

#[test]
fn damage_leaves_nothing() {
    let body = vec![7u8; 100_000];
    let mut wrong = body.clone();
    wrong[5] = 0;
    let (url, _) = serve(HashMap::from([
        ("/pool/a.deb".into(), vec![Answer::Whole(wrong)]),
        ("/pool/c.deb".into(), vec![Answer::Cut(body.clone())]),
    ]));
    let dir = tempfile::tempdir().unwrap();
    let a = archive(&url, dir.path());
    let e = a.fetch(&[pin("a", &body)]).unwrap_err();
    assert!(matches!(e, DebianError::BadHash { .. }), "{e}");
    let e = a.fetch(&[pin("c", &body)]).unwrap_err().to_string();
    assert!(e.contains("/pool/c.deb") && (e.contains("broke") || e.contains("ended after")), "{e}");
    assert_eq!(cached(dir.path()), 0);
}

#[test]
fn what_the_mirror_no_longer_has_is_listed() {
    let body = vec![1u8; 10];
    let (url, _) = serve(HashMap::from([("/pool/a.deb".into(), vec![Answer::Whole(body.clone())])]));
    let dir = tempfile::tempdir().unwrap();
    let list = [pin("a", &body), pin("gone", &[2u8; 20]), pin("gone-too", &[3u8; 20])];
    let e = archive(&url, dir.path()).fetch(&list).unwrap_err();
    let DebianError::LockMoved(moved) = &e else { panic!("{e}") };
    assert_eq!(moved, &["gone 1", "gone-too 1"]);
    assert!(e.to_string().contains("--update-lock"));
}

#[test]
fn two_at_once_share_a_cache() {
    let files: Vec<(String, Vec<u8>)> = (0..30).map(|i| (format!("p{i}"), vec![i as u8; 20_000 + i])).collect();
    let answers = files.iter().map(|(n, b)| (format!("/pool/{n}.deb"), vec![Answer::Whole(b.clone())])).collect();
    let (url, _) = serve(answers);
    let dir = tempfile::tempdir().unwrap();
    let list: Vec<_> = files.iter().map(|(n, b)| pin(n, b)).collect();
    std::thread::scope(|s| {
        for _ in 0..2 {
            s.spawn(|| archive(&url, dir.path()).fetch(&list).unwrap());
        }
    });
    assert_eq!(cached(dir.path()), 30);
}

#[test]
fn a_mirror_that_is_not_there() {
    let dir = tempfile::tempdir().unwrap();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let e = archive(&format!("http://127.0.0.1:{port}"), dir.path()).fetch(&[pin("a", b"x")]).unwrap_err();
    assert!(matches!(e, DebianError::Fetch { .. }), "{e}");
    let e = archive("ftp://x", dir.path()).fetch(&[pin("a", b"x")]).unwrap_err();
    assert!(matches!(e, DebianError::BadMirror { .. }), "{e}");
}
