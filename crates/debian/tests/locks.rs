//! Choosing packages with and without a lock, from an index in the cache; no network.

use nbv_debian::{Archive, Config, DebianError, Index, Silent, System};
use std::path::Path;
use std::sync::Arc;

fn index(cache: &Path, hash: &str, version: &str, extra: &[&str]) {
    let system = System::by_name("x86_64-linux").unwrap();
    let mut text = String::new();
    for name in system.base().iter().chain(extra) {
        text += &format!("Package: {name}\nVersion: {version}\nFilename: pool/{name}.deb\nSize: 1\nSHA256: ab\n\n");
    }
    Index::build(&text, &cache.join(format!("index/{hash}.idx"))).unwrap();
    std::fs::write(cache.join("index/current-x86_64-linux"), format!("{hash} Sat, 01 Jan 2000 00:00:00 UTC")).unwrap();
}

fn archive(cache: &Path) -> Archive {
    let mut config = Config::new(cache);
    config.mirror = Some("http://127.0.0.1:1".into());
    Archive::new(config, Arc::new(Silent))
}

#[test]
fn a_lock_holds_what_it_names() {
    let dir = tempfile::tempdir().unwrap();
    let system = System::by_name("x86_64-linux").unwrap();
    let names = |l: &[&str]| l.iter().map(|s| s.to_string()).collect::<Vec<_>>();
    index(dir.path(), "old", "1", &["curl", "lynx"]);
    let lock = archive(dir.path()).select(system, &names(&["curl"]), None).unwrap().lock;
    assert_eq!((lock.index.as_str(), lock.packages["curl"].version.as_str()), ("old", "1"));
    assert!(lock.roots.contains("curl") && lock.roots.contains("systemd"));

    index(dir.path(), "new", "2", &["curl", "lynx"]);
    // exactly the lock's packages
    let same = archive(dir.path()).select(system, &names(&["curl"]), Some(&lock)).unwrap().lock;
    assert_eq!(same, lock);
    // a name more: from the index that the lock pins, so that nothing else moves
    let more = archive(dir.path()).select(system, &names(&["curl", "lynx"]), Some(&lock)).unwrap().lock;
    assert_eq!((more.packages["lynx"].version.as_str(), more.packages["systemd"].version.as_str()), ("1", "1"));
    // without the lock all is new
    assert_eq!(archive(dir.path()).select(system, &[], None).unwrap().lock.packages["systemd"].version, "2");
    // that index is gone and there is no network
    std::fs::remove_file(dir.path().join("index/old.idx")).unwrap();
    let e = archive(dir.path()).select(system, &names(&["lynx"]), Some(&lock)).unwrap_err();
    assert!(matches!(e, DebianError::Fetch { .. }), "{e}");
    let text = serde_json::to_string(&lock).unwrap();
    assert_eq!(serde_json::from_str::<nbv_debian::SystemLock>(&text).unwrap(), lock);
}

#[test]
fn unknown_names_are_explained() {
    let dir = tempfile::tempdir().unwrap();
    index(dir.path(), "i", "1", &["curl"]);
    let system = System::by_name("x86_64-linux").unwrap();
    let e = archive(dir.path()).select(system, &["cutl".to_string()], None).unwrap_err().to_string();
    assert!(e.contains("the package cutl (there is: curl"), "{e}");
    assert!(System::by_name("x86_64-darwin").is_err());
}
