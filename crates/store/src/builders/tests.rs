use crate::graph::{Built, Builders, Failure, Graph, Job, Options, Quiet, realise};
use crate::{BuildError, Store};
use nbv_nix_formats::{Derivation, Output};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

struct Basic;

impl Builders for Basic {
    fn build(&self, job: &Job<'_>) -> Result<Built, Failure> {
        let name = super::builtin_name(&job.drv.builder).unwrap_or_default();
        super::run(name, job).unwrap_or_else(|| Err(Failure::because("unknown builder")))
    }
}

struct Bench {
    root: tempfile::TempDir,
    graph: Graph,
}

impl Bench {
    fn new() -> Self {
        Self { root: tempfile::tempdir().unwrap(), graph: Graph::default() }
    }

    fn store(&self) -> Store {
        Store::open(self.root.path())
    }

    /// Adds a derivation; gives its paths: derivation, output.
    fn drv(&mut self, name: &str, builder: &str, attrs: &Value, inputs: &[&str]) -> (String, String) {
        let store = self.store();
        let path = |tail: &str| store.dir().text_path(&format!("{name}{tail}"), attrs.to_string().as_bytes(), &BTreeSet::new()).unwrap();
        let mut drv = Derivation { builder: format!("builtin:{builder}").into(), ..Derivation::default() };
        let mut all = attrs.clone();
        all["name"] = name.into();
        drv.env.insert("__json".into(), all.to_string().into());
        drv.outputs.insert("out".into(), Output { path: path(""), ..Output::default() });
        for input in inputs {
            drv.input_drvs.insert((*input).to_owned(), ["out".to_owned()].into());
        }
        self.graph.drvs.insert(path(".drv"), Arc::new(drv));
        (path(".drv"), path(""))
    }

    fn build(&self, drv: &str) -> Result<(), BuildError> {
        realise(&self.store(), &self.graph, &[drv], &Basic, &Options::default(), &Quiet)
    }

    /// Builds and gives the physical place.
    fn made(&mut self, name: &str, builder: &str, attrs: &Value, inputs: &[&str]) -> PathBuf {
        let (drv, out) = self.drv(name, builder, attrs, inputs);
        self.build(&drv).unwrap();
        self.store().physical(&out)
    }

    fn reason(&mut self, name: &str, builder: &str, attrs: &Value, inputs: &[&str]) -> String {
        let (drv, _) = self.drv(name, builder, attrs, inputs);
        match self.build(&drv) {
            Err(BuildError::Failed { reason, .. }) => reason,
            other => panic!("{other:?}"),
        }
    }

    /// A folder with text files.
    fn package(&mut self, name: &str, files: &[(&str, &str)]) -> (String, String) {
        let entries: Vec<Value> = files.iter().map(|(name, text)| json!({ "name": name, "text": text })).collect();
        let (drv, out) = self.drv(name, "link-farm", &json!({ "entries": entries }), &[]);
        self.build(&drv).unwrap();
        (drv, out)
    }
}

fn mode(path: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt;
    path.symlink_metadata().unwrap().permissions().mode() & 0o7777
}

fn target(path: &Path) -> String {
    std::fs::read_link(path).unwrap().to_str().unwrap().to_owned()
}

#[test]
fn write_text_makes_a_file_or_a_folder() {
    let mut bench = Bench::new();
    let file = bench.made("a", "write-text", &json!({ "text": "hello", "executable": true, "destination": "" }), &[]);
    assert_eq!((std::fs::read_to_string(&file).unwrap().as_str(), mode(&file)), ("hello", 0o555));
    let own = nbv_nix_formats::StoreDir::placeholder("out");
    let folder = bench.made("b", "write-text", &json!({ "text": format!("at {own}"), "executable": false, "destination": "/bin/x" }), &[]);
    let text = std::fs::read_to_string(folder.join("bin/x")).unwrap();
    assert!(text.starts_with("at /nix/store/") && text.ends_with("-b"), "{text}");
    assert_eq!(mode(&folder.join("bin/x")), 0o444);
    assert!(bench.reason("c", "write-text", &json!({ "text": "", "destination": "/../x" }), &[]).contains("../x"));
}

#[test]
fn link_farm_makes_links_files_and_copies() {
    let mut bench = Bench::new();
    let (drv, out) = bench.package("source", &[("sub/file", "content")]);
    let farm = bench.made("farm", "link-farm", &json!({ "entries": [
        { "name": "etc/link", "path": format!("{out}/sub") },
        { "name": "etc/run", "text": "#!", "executable": true },
        { "name": "copied", "copy": out },
        { "name": "one", "copy": format!("{out}/sub/file") },
    ] }), &[&drv]);
    assert_eq!(target(&farm.join("etc/link")), format!("{out}/sub"));
    assert_eq!(mode(&farm.join("etc/run")), 0o555);
    assert_eq!(std::fs::read_to_string(farm.join("copied/sub/file")).unwrap(), "content");
    assert_eq!(std::fs::read_to_string(farm.join("one")).unwrap(), "content");
}

#[test]
fn link_farm_links_trees_and_moves_what_they_have() {
    let mut bench = Bench::new();
    let (drv, out) = bench.package("units", &[("lib/a.service", "a"), ("lib/b.service", "b"), ("lib/a.service.d/x.conf", "x")]);
    let farm = bench.made("farm", "link-farm", &json!({ "entries": [
        { "name": "", "tree": format!("{out}/lib") },
        { "name": "", "tree": format!("{out}/none") },
        { "name": "a.service", "text": "more", "dropin": "a.service.d/overrides.conf" },
        { "name": "c.service", "text": "c", "dropin": "c.service.d/overrides.conf" },
        { "name": "b.service", "path": "/dev/null" },
    ] }), &[&drv]);
    assert_eq!(target(&farm.join("a.service")), format!("{out}/lib/a.service"));
    assert_eq!(target(&farm.join("a.service.d/x.conf")), format!("{out}/lib/a.service.d/x.conf"));
    assert_eq!(std::fs::read_to_string(farm.join("a.service.d/overrides.conf")).unwrap(), "more");
    assert_eq!(std::fs::read_to_string(farm.join("c.service")).unwrap(), "c");
    assert_eq!(target(&farm.join("b.service")), "/dev/null");
}

#[test]
fn link_farm_refuses_what_cannot_be() {
    let mut bench = Bench::new();
    let twice = json!({ "entries": [{ "name": "a", "text": "x" }, { "name": "a", "path": "/y" }] });
    let reason = bench.reason("twice", "link-farm", &twice, &[]);
    assert!(reason.contains("`a` is given twice") && reason.contains("/y"), "{reason}");
    let below = json!({ "entries": [{ "name": "a", "path": "/y" }, { "name": "a/b/c", "text": "" }] });
    assert!(bench.reason("below", "link-farm", &below, &[]).contains("cannot be below"));
    let lost = json!({ "entries": [{ "name": "a", "copy": "/nix/store/nowhere" }] });
    assert!(bench.reason("lost", "link-farm", &lost, &[]).contains("nowhere"));
}

#[test]
fn build_env_links_folders_whole_and_merges_shared_ones() {
    let mut bench = Bench::new();
    let (a_drv, a) = bench.package("a", &[("bin/a", "a"), ("share/only/x", ""), ("share/both/a", ""), ("nix-support/x", ""), ("other/x", "")]);
    let (b_drv, b) = bench.package("b", &[("bin/b", "b"), ("share/both/b", "")]);
    let env = bench.made("env", "build-env", &json!({ "paths": [a, b, a], "pathsToLink": ["/bin", "/share"] }), &[&a_drv, &b_drv]);
    assert_eq!(target(&env.join("bin/a")), format!("{a}/bin/a"));
    assert_eq!(target(&env.join("share/only")), format!("{a}/share/only"));
    assert_eq!(target(&env.join("share/both/b")), format!("{b}/share/both/b"));
    assert!(!env.join("other").exists() && !env.join("nix-support").exists());
}

#[test]
fn build_env_links_only_what_lies_below_a_deep_wish() {
    let mut bench = Bench::new();
    let (drv, a) = bench.package("a", &[("share/man/x", ""), ("share/doc/y", "")]);
    let env = bench.made("env", "build-env", &json!({ "paths": [a], "pathsToLink": ["/share/man"] }), &[&drv]);
    assert_eq!(target(&env.join("share/man")), format!("{a}/share/man"));
    assert!(env.join("share/doc").symlink_metadata().is_err());
}

#[test]
fn build_env_decides_collisions_by_priority_and_content() {
    let mut bench = Bench::new();
    let (a_drv, a) = bench.package("a", &[("bin/x", "from a"), ("bin/same", "same")]);
    let (b_drv, b) = bench.package("b", &[("bin/x", "from b"), ("bin/same", "same")]);
    let inputs = [a_drv.as_str(), b_drv.as_str()];
    let reason = bench.reason("clash", "build-env", &json!({ "paths": [a, b] }), &inputs);
    assert!(reason.contains(&format!("{a}/bin/x")) && reason.contains(&format!("{b}/bin/x")), "{reason}");
    let ignored = bench.made("ignored", "build-env", &json!({ "paths": [a, b], "ignoreCollisions": true }), &inputs);
    assert_eq!(target(&ignored.join("bin/x")), format!("{a}/bin/x"));
    let ranked = json!({ "paths": [{ "path": a, "priority": 10 }, { "path": b }] });
    let ranked = bench.made("ranked", "build-env", &ranked, &inputs);
    assert_eq!(target(&ranked.join("bin/x")), format!("{b}/bin/x"));
}

#[test]
fn build_env_takes_links_to_the_layer_for_files() {
    let mut bench = Bench::new();
    let view = |target: &str| json!({ "entries": [{ "name": "bin/x", "path": target }, { "name": "lib", "path": "/usr" }] });
    let (a_drv, a) = bench.drv("a", "link-farm", &view("/usr/bin/x"), &[]);
    let (b_drv, b) = bench.drv("b", "link-farm", &view("/usr/bin/x"), &[]);
    let env = bench.made("env", "build-env", &json!({ "paths": [a, b] }), &[&a_drv, &b_drv]);
    assert_eq!(target(&env.join("bin/x")), format!("{a}/bin/x"));
    assert_eq!(target(&env.join("lib")), format!("{a}/lib"));
}

#[test]
fn build_env_follows_propagated_packages_and_names_what_is_no_folder() {
    let mut bench = Bench::new();
    let (b_drv, b) = bench.package("b", &[("bin/b", "")]);
    let (a_drv, a) = bench.drv("a", "link-farm", &json!({ "entries": [
        { "name": "bin/a", "text": "" }, { "name": "nix-support/propagated-user-env-packages", "text": format!("{b}\n") },
    ] }), &[&b_drv]);
    let env = bench.made("env", "build-env", &json!({ "paths": [a, format!("{a}/none")], "extraPrefix": "/pre/fix" }), &[&a_drv, &b_drv]);
    assert_eq!(target(&env.join("pre/fix/bin/b")), format!("{b}/bin/b"));
    let (file_drv, file) = bench.drv("file", "write-text", &json!({ "text": "" }), &[]);
    assert!(bench.reason("bad", "build-env", &json!({ "paths": [file] }), &[&file_drv]).contains("is a file"));
}

#[test]
fn store_image_holds_the_closure() {
    let mut bench = Bench::new();
    let (a_drv, a) = bench.package("a", &[("bin/a", "a")]);
    let (b_drv, b) = bench.drv("b", "link-farm", &json!({ "entries": [{ "name": "a", "path": a }] }), &[&a_drv]);
    let (_, c) = bench.package("c", &[("lone", "")]);
    let image = bench.made("image", "store-image", &json!({ "closureOf": [b] }), &[&b_drv]);
    let image = nbv_image::ErofsImage::open(&image).unwrap();
    let base = |path: &str| path.rsplit('/').next().unwrap().to_owned();
    let file = image.lookup(format!("{}/bin/a", base(&a)).as_bytes()).unwrap().unwrap();
    assert_eq!(image.read(&file).unwrap(), b"a");
    assert!(image.lookup(base(&b).as_bytes()).unwrap().is_some());
    assert!(image.lookup(base(&c).as_bytes()).unwrap().is_none());
}
