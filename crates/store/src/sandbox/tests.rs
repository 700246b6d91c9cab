use crate::graph::{Built, Builders, Failure, Graph, Job, Options, Progress, Quiet, realise};
use crate::{BuildError, Store};
use nbv_nix_formats::{Derivation, Output, StoreDir};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The host's own /usr serves as layer: these tests need bash and a few programs of it.
struct Host;

impl Builders for Host {
    fn build(&self, job: &Job<'_>) -> Result<Built, Failure> {
        super::run(job, std::path::Path::new("/usr"))
    }
}

struct Bench {
    root: tempfile::TempDir,
    graph: Graph,
    options: Options,
}

impl Bench {
    fn new() -> Self {
        Self { root: tempfile::tempdir().unwrap(), graph: Graph::default(), options: Options { jobs: 1, ..Options::default() } }
    }

    fn drv(&mut self, script: &str, env: &[(&str, &str)]) -> (String, String) {
        let dir = StoreDir::default();
        let path = |tail: &str| dir.text_path(&format!("t{tail}"), script.as_bytes(), &BTreeSet::new()).unwrap();
        let mut drv = Derivation { builder: "/bin/bash".into(), args: vec!["-c".into(), script.into()], ..Derivation::default() };
        for (name, value) in env {
            drv.env.insert((*name).into(), (*value).into());
        }
        drv.env.insert("name".into(), "t".into());
        drv.env.insert("out".into(), path("").into());
        drv.outputs.insert("out".into(), Output { path: path(""), ..Output::default() });
        self.graph.drvs.insert(path(".drv"), Arc::new(drv));
        (path(".drv"), path(""))
    }

    fn run(&self, drv: &str, progress: &dyn Progress) -> Result<(), BuildError> {
        realise(&Store::open(self.root.path()), &self.graph, &[drv], &Host, &self.options, progress)
    }

    fn text(&mut self, script: &str, env: &[(&str, &str)]) -> String {
        let (drv, out) = self.drv(script, env);
        self.run(&drv, &Quiet).unwrap();
        std::fs::read_to_string(Store::open(self.root.path()).physical(&out)).unwrap()
    }

    fn failure(&mut self, script: &str) -> (String, Vec<String>) {
        let (drv, _) = self.drv(script, &[]);
        match self.run(&drv, &Quiet) {
            Err(BuildError::Failed { reason, log, .. }) => (reason, log),
            other => panic!("{other:?}"),
        }
    }
}

/// Whether this host lets the caller make namespaces; else the test says so and is passed by.
fn can_sandbox() -> bool {
    let mut bench = Bench::new();
    let (drv, _) = bench.drv("echo > $out", &[]);
    match bench.run(&drv, &Quiet) {
        Err(BuildError::Failed { reason, hint, .. }) if reason.contains("sandbox cannot be made") => {
            eprintln!("skipped, because {reason} ({hint:?})");
            false
        }
        _ => true,
    }
}

#[test]
fn a_builder_sees_its_inputs_its_folder_and_little_else() {
    if !can_sandbox() {
        return;
    }
    let mut bench = Bench::new();
    let script = "PATH=/usr/bin; { id -u; pwd; hostname; ls /; ls /nix/store; cat /proc/net/route | wc -l; echo $HOME $NIX_BUILD_TOP $greeting; } > $out";
    let text = bench.text(script, &[("greeting", "hello")]);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(&lines[..3], ["1000", "/build", "localhost"], "{text}");
    assert!(!lines.contains(&"home") && lines.contains(&"usr"), "{text}");
    assert!(text.ends_with("1\n/homeless-shelter /build hello\n"), "{text}");
}

#[test]
fn inputs_cannot_be_changed() {
    if !can_sandbox() {
        return;
    }
    let mut bench = Bench::new();
    let (a_drv, a) = bench.drv("echo a > $out", &[]);
    let (b_drv, b) = bench.drv("PATH=/usr/bin; { cat $input; chmod 777 $input || echo refused; } > $out 2>&1", &[("input", &a)]);
    let drv = Arc::make_mut(bench.graph.drvs.get_mut(&b_drv).unwrap());
    drv.input_drvs.insert(a_drv, ["out".to_owned()].into());
    bench.run(&b_drv, &Quiet).unwrap();
    let text = std::fs::read_to_string(Store::open(bench.root.path()).physical(&b)).unwrap();
    assert!(text.starts_with("a\n") && text.contains("refused"), "{text}");
}

#[test]
fn attributes_come_as_variables_files_and_structures() {
    if !can_sandbox() {
        return;
    }
    let mut bench = Bench::new();
    let text = bench.text("PATH=/usr/bin; cat $bigPath > $out", &[("passAsFile", "big"), ("big", "content")]);
    assert_eq!(text, "content");
    let (drv, out) = bench.drv("exec 3> $(PATH=/usr/bin; sed -n 's/.*\"out\":\"\\([^\"]*\\)\".*/\\1/p' $NIX_ATTRS_JSON_FILE); . $NIX_ATTRS_SH_FILE; echo $x >&3", &[("__json", r#"{"x":"structured"}"#)]);
    bench.run(&drv, &Quiet).unwrap();
    assert_eq!(std::fs::read_to_string(Store::open(bench.root.path()).physical(&out)).unwrap(), "structured\n");
}

#[test]
fn failures_tell_the_last_lines_and_leave_nothing() {
    if !can_sandbox() {
        return;
    }
    let mut bench = Bench::new();
    bench.options.log_lines = 2;
    let (reason, log) = bench.failure("echo one; echo two; echo three >&2; exit 7");
    assert!(reason.contains("exit code 7"), "{reason}");
    assert_eq!(log, ["two", "three"]);
    assert!(bench.failure("true").0.contains("did not make its output"));
    let tmp = bench.root.path().join("nix/var/nbv/tmp");
    assert_eq!(std::fs::read_dir(tmp).unwrap().count(), 0);
}

#[test]
fn a_kept_folder_is_named() {
    if !can_sandbox() {
        return;
    }
    let mut bench = Bench::new();
    bench.options.keep_failed = true;
    let (drv, _) = bench.drv("echo here > file; exit 1", &[]);
    let Err(BuildError::Failed { kept: Some(kept), .. }) = bench.run(&drv, &Quiet) else { panic!() };
    assert_eq!(std::fs::read_to_string(kept.join("file")).unwrap(), "here\n");
}

#[test]
fn time_limits_and_interruptions_end_all_processes() {
    if !can_sandbox() {
        return;
    }
    struct Soon(Instant);
    impl Progress for Soon {
        fn is_interrupted(&self) -> bool {
            self.0.elapsed() > Duration::from_millis(200)
        }
    }
    let mut bench = Bench::new();
    let (drv, _) = bench.drv("PATH=/usr/bin; (sleep 100 &); sleep 100", &[]);
    let start = Instant::now();
    assert!(matches!(bench.run(&drv, &Soon(start)), Err(BuildError::Interrupted)));
    bench.options.timeout = Some(Duration::from_millis(200));
    match bench.run(&drv, &Quiet) {
        Err(BuildError::Failed { reason, .. }) => assert!(reason.contains("did not end within"), "{reason}"),
        other => panic!("{other:?}"),
    }
    assert!(start.elapsed() < Duration::from_secs(20));
}
