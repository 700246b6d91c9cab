//! Derivations and store paths that C++ Nix made, made again. Needs the program `nix-instantiate` (Debian: nix-bin); without it
//! the test says so and checks nothing.

use nbv_nix_formats::modulo::hash_modulo;
use nbv_nix_formats::{Derivation, Modulo, StoreDir, nar};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

const NIX: &str = r#"
let base = { system = "x86_64-linux"; builder = "/bin/sh"; };
  d = more: derivation (base // more);
  fixed = d { name = "f.tar.gz"; outputHash = "sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="; outputHashAlgo = "sha256"; };
  same = d { name = "f.tar.gz"; outputHash = "sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="; outputHashAlgo = "sha256"; other = 1; };
  nar = d { name = "fr"; outputHash = "0mdqa9w1p6cmli6976v4wi0sw9r4p5prkj7lzfd1877wk11c9c73"; outputHashAlgo = "sha256"; outputHashMode = "recursive"; };
  sha1 = d { name = "s1"; outputHash = "a9993e364706816aba3e25717850c26c9cd0d89d"; outputHashAlgo = "sha1"; outputHashMode = "recursive"; };
  multi = d { name = "multi"; outputs = [ "out" "dev" "bin" ]; args = [ "-c" "x\n\t\"\\" fixed same ]; v = nar; s = sha1; };
  struct = d { name = "st"; __structuredAttrs = true; a = { x = [ 1 2.5 null true multi ]; }; };
  top = d { name = "top"; a = multi.dev; b = multi; c = struct; f = ./src; t = builtins.toFile "t" "hello"; };
in { inherit fixed nar sha1 multi struct top; deep = d { name = "deep"; x = top.drvPath; }; }
"#;

fn modulo(path: &str, all: &BTreeMap<String, Derivation>) -> Result<Modulo, String> {
    let drv = all
        .get(path)
        .ok_or_else(|| format!("{path} was not written"))?;
    hash_modulo(drv, false, |p| modulo(p, all)).map_err(|e| e.to_string())
}

#[test]
fn derivations_of_cpp_nix_are_made_again() {
    let dir = tempfile::tempdir().unwrap();
    let src = dir.path().join("src");
    std::fs::create_dir_all(src.join("d")).unwrap();
    std::fs::write(src.join("a"), "hi\n").unwrap();
    std::fs::write(src.join("d/e"), "").unwrap();
    std::os::unix::fs::symlink("nowhere", src.join("l")).unwrap();
    std::fs::write(dir.path().join("a.nix"), NIX).unwrap();
    let store_dir = dir.path().join("store");
    let run = Command::new("nix-instantiate")
        .arg("a.nix")
        .current_dir(dir.path())
        .env_remove("NIX_REMOTE")
        .env("NIX_STORE_DIR", &store_dir)
        .env("NIX_STATE_DIR", dir.path().join("state"))
        .env("NIX_LOG_DIR", dir.path().join("log"))
        .env("NIX_CONF_DIR", dir.path())
        .output();
    let Ok(run) = run else {
        eprintln!("nix-instantiate is not installed: nothing compared");
        return;
    };
    assert!(
        run.status.success(),
        "{}",
        String::from_utf8_lossy(&run.stderr)
    );

    let store = StoreDir::new(store_dir.to_str().unwrap());
    let mut all = BTreeMap::new();
    for entry in std::fs::read_dir(&store_dir).unwrap() {
        let path = entry.unwrap().path();
        let text = path.to_str().unwrap().to_owned();
        if text.ends_with(".drv") {
            let bytes = std::fs::read(&path).unwrap();
            let drv = Derivation::parse(&bytes).unwrap();
            assert_eq!(drv.to_aterm(), bytes);
            let name = store.name(&text).unwrap().strip_suffix(".drv").unwrap();
            assert_eq!(drv.name().as_deref(), Some(name));
            assert_eq!(drv.drv_path(&store, name, &bytes).unwrap(), text);
            all.insert(text, drv);
        }
    }
    assert_eq!(all.len(), 8);
    for (path, drv) in &all {
        if drv.is_fixed() {
            continue;
        }
        let mut again = drv.clone();
        for (name, output) in &mut again.outputs {
            output.path.clear();
            again.env.insert(name.as_str().into(), "".into());
        }
        let Modulo::Regular(digest) = hash_modulo(&again, true, |p| modulo(p, &all)).unwrap()
        else {
            panic!("{path} is not a regular derivation");
        };
        again
            .fill_outputs(&store, &drv.name().unwrap(), &digest)
            .unwrap();
        assert_eq!(again, *drv, "{path}");
    }
    let (hash, _) = nar::hash_path(Path::new(&src)).unwrap();
    let digest: [u8; 32] = hash.bytes.as_slice().try_into().unwrap();
    assert!(Path::new(&store.source_path("src", &digest).unwrap()).exists());
    let text = store.text_path("t", b"hello", &Default::default()).unwrap();
    assert!(Path::new(&text).exists());
}
