use super::*;
use nbv_nix_formats::Output;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Writes its name and those of its inputs; counts itself; fails or stalls when its name says so.
#[derive(Default)]
struct Count {
    built: AtomicUsize,
    beside: AtomicUsize,
    most_beside: AtomicUsize,
}

impl Builders for Count {
    fn build(&self, job: &Job<'_>) -> Result<Built, Failure> {
        let beside = self.beside.fetch_add(1, Ordering::SeqCst) + 1;
        self.most_beside.fetch_max(beside, Ordering::SeqCst);
        if job.name.starts_with("slow") {
            std::thread::sleep(Duration::from_millis(60));
        }
        self.beside.fetch_sub(1, Ordering::SeqCst);
        self.built.fetch_add(1, Ordering::SeqCst);
        let place = job.out()?;
        std::fs::write(place, job.inputs.iter().cloned().collect::<Vec<_>>().join("\n")).map_err(StoreError::io("write", place))?;
        if job.name.starts_with("bad") { Err(Failure::because("it is bad")) } else { Ok(Built::default()) }
    }
}

fn path(name: &str, tail: &str) -> String {
    StoreDir::default().text_path(&format!("{name}{tail}"), name.as_bytes(), &BTreeSet::new()).unwrap()
}

/// A graph of `name: needs...`.
fn graph(text: &[(&str, &[&str])]) -> Graph {
    let mut graph = Graph::default();
    for (name, needs) in text {
        let mut drv = Derivation { builder: "test".into(), ..Derivation::default() };
        drv.env.insert("name".into(), (*name).into());
        drv.outputs.insert("out".into(), Output { path: path(name, ""), ..Output::default() });
        for need in *needs {
            drv.input_drvs.insert(path(need, ".drv"), ["out".to_owned()].into());
        }
        graph.drvs.insert(path(name, ".drv"), Arc::new(drv));
    }
    graph
}

fn run(root: &Path, graph: &Graph, wanted: &[&str], builders: &Count) -> Result<(), BuildError> {
    let wanted: Vec<String> = wanted.iter().map(|name| path(name, ".drv")).collect();
    let wanted: Vec<&str> = wanted.iter().map(String::as_str).collect();
    realise(&Store::open(root), graph, &wanted, builders, &Options { jobs: 2, ..Options::default() }, &Quiet)
}

#[test]
fn makes_each_once_and_only_what_is_missing() {
    let root = tempfile::tempdir().unwrap();
    let graph = graph(&[("a", &["b", "c"]), ("b", &["d"]), ("c", &["d"]), ("d", &[]), ("other", &[])]);
    let count = Count::default();
    run(root.path(), &graph, &["a"], &count).unwrap();
    assert_eq!(count.built.load(Ordering::SeqCst), 4);
    let store = Store::open(root.path());
    assert_eq!(store.closure([path("a", "").as_str()]).unwrap().len(), 4);
    tree::remove_tree(&store.physical(&path("b", ""))).unwrap();
    run(root.path(), &graph, &["a"], &count).unwrap();
    assert_eq!(count.built.load(Ordering::SeqCst), 4, "nothing is missing of what is wanted");
    tree::remove_tree(&store.physical(&path("a", ""))).unwrap();
    run(root.path(), &graph, &["a"], &count).unwrap();
    assert_eq!(count.built.load(Ordering::SeqCst), 6);
}

#[test]
fn what_is_independent_is_made_at_the_same_time() {
    let root = tempfile::tempdir().unwrap();
    let graph = graph(&[("a", &["slow1", "slow2"]), ("slow1", &[]), ("slow2", &[])]);
    let count = Count::default();
    run(root.path(), &graph, &["a"], &count).unwrap();
    assert_eq!(count.most_beside.load(Ordering::SeqCst), 2);
}

#[test]
fn an_order_without_input_holds() {
    let root = tempfile::tempdir().unwrap();
    let mut graph = graph(&[("view", &[]), ("slow-layer", &[])]);
    graph.after.insert(path("view", ".drv"), [path("slow-layer", ".drv")].into());
    let count = Count::default();
    run(root.path(), &graph, &["view"], &count).unwrap();
    assert_eq!((count.built.load(Ordering::SeqCst), count.most_beside.load(Ordering::SeqCst)), (2, 1));
    assert_eq!(std::fs::read_to_string(Store::open(root.path()).physical(&path("view", ""))).unwrap(), "");
}

#[test]
fn a_failure_is_named_and_leaves_nothing() {
    let root = tempfile::tempdir().unwrap();
    let graph = graph(&[("a", &["bad"]), ("bad", &[])]);
    match run(root.path(), &graph, &["a"], &Count::default()) {
        Err(BuildError::Failed { name, reason, needed_by, .. }) => {
            assert_eq!((name.as_str(), reason.as_str(), needed_by), ("bad", "it is bad", vec!["a".to_owned()]));
        }
        other => panic!("{other:?}"),
    }
    let var = root.path().join("nix/var/nbv");
    for dir in ["locks", "tmp", "info"] {
        assert_eq!(std::fs::read_dir(var.join(dir)).unwrap().count(), 0, "{dir}");
    }
    assert_eq!(std::fs::read_dir(root.path().join("nix/store")).unwrap().count(), 0);
}

#[test]
fn circles_and_unknown_inputs_are_errors() {
    let root = tempfile::tempdir().unwrap();
    let round = graph(&[("a", &["b"]), ("b", &["a"])]);
    assert!(matches!(run(root.path(), &round, &["a"], &Count::default()), Err(BuildError::Cycle(_))));
    let open = graph(&[("a", &["b"])]);
    assert!(matches!(run(root.path(), &open, &["a"], &Count::default()), Err(BuildError::NoInput { .. })));
}

#[test]
fn several_at_once_make_each_once() {
    let root = tempfile::tempdir().unwrap();
    let graph = graph(&[("a", &["slow1", "b"]), ("slow1", &[]), ("b", &["slow2"]), ("slow2", &[])]);
    let count = Count::default();
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| run(root.path(), &graph, &["a"], &count).unwrap());
        }
    });
    assert_eq!(count.built.load(Ordering::SeqCst), 4);
}

#[test]
fn an_interruption_stops_before_the_next() {
    struct Stop;
    impl Progress for Stop {
        fn is_interrupted(&self) -> bool {
            true
        }
    }
    let root = tempfile::tempdir().unwrap();
    let graph = graph(&[("a", &[])]);
    let drv = path("a", ".drv");
    let done = realise(&Store::open(root.path()), &graph, &[&drv], &Count::default(), &Options::default(), &Stop);
    assert!(matches!(done, Err(BuildError::Interrupted)));
}

#[test]
fn a_builder_killed_at_any_step_is_made_up_for() {
    // What a kill leaves: a lock file without a holder, a temporary folder, a path that is not registered.
    let root = tempfile::tempdir().unwrap();
    let graph = graph(&[("a", &[])]);
    let store = Store::open(root.path());
    let var = store.var();
    for dir in ["locks", "tmp/4-0/1-x", "info"] {
        std::fs::create_dir_all(var.join(dir)).unwrap();
    }
    let out = path("a", "");
    let base = out.rsplit('/').next().unwrap();
    std::fs::write(var.join("locks").join(base), "").unwrap();
    std::fs::write(var.join("tmp/4-0/1-x/half"), "").unwrap();
    std::fs::create_dir_all(store.physical(&out)).unwrap();
    let whole = crate::PathInfo::default().to_text();
    std::fs::write(var.join("info").join(base), &whole[..whole.len() - 4]).unwrap();
    run(root.path(), &graph, &["a"], &Count::default()).unwrap();
    assert!(Store::open(root.path()).physical(&out).is_file());
    assert!(!var.join("tmp/4-0").exists());
}

#[test]
fn sources_are_added_when_they_are_needed_and_fixed_outputs_are_checked() {
    let root = tempfile::tempdir().unwrap();
    let mut graph = graph(&[("a", &[])]);
    let text = path("source", "");
    graph.sources.insert(text.clone(), Source::Text(b"source".as_slice().into(), BTreeSet::new()));
    let drv = Arc::make_mut(graph.drvs.get_mut(&path("a", ".drv")).unwrap());
    drv.input_srcs.insert(text.clone());
    let hash = nbv_nix_formats::hash::sha256(text.as_bytes());
    let out = drv.outputs.get_mut("out").unwrap();
    out.hash_algo = "sha256".into();
    out.hash = nbv_nix_formats::hash::encode_base16(&[0; 32]);
    assert!(matches!(run(root.path(), &graph, &["a"], &Count::default()), Err(BuildError::Failed { reason, .. }) if reason.contains("hash")));
    let drv = Arc::make_mut(graph.drvs.get_mut(&path("a", ".drv")).unwrap());
    drv.outputs.get_mut("out").unwrap().hash = nbv_nix_formats::hash::encode_base16(&hash);
    run(root.path(), &graph, &["a"], &Count::default()).unwrap();
    assert!(Store::open(root.path()).is_valid(&text));
}

/// The variable by which the next test tells its own child what to be.
const CHILD: &str = "NBV_TEST_KILLED_CHILD";

#[test]
fn a_killed_process_leaves_no_path_and_no_lock_that_blocks() {
    let needs: &[(&str, &[&str])] = &[("a", &["slow1", "b"]), ("slow1", &[]), ("b", &["slow2"]), ("slow2", &["c"]), ("c", &[])];
    let graph = graph(needs);
    if let Some(root) = std::env::var_os(CHILD) {
        run(Path::new(&root), &graph, &["a"], &Count::default()).unwrap();
        return;
    }
    let root = tempfile::tempdir().unwrap();
    for pause in [5, 20, 40, 70, 100, 130] {
        let mut child = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["graph::tests::a_killed_process_leaves_no_path_and_no_lock_that_blocks", "--exact"])
            .env(CHILD, root.path())
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_millis(pause));
        child.kill().unwrap();
        child.wait().unwrap();
        let store = Store::open(root.path());
        // Whatever is valid is whole, with all that it names.
        for (name, _) in needs {
            let out = path(name, "");
            if store.is_valid(&out) {
                store.closure([out.as_str()]).unwrap();
            }
        }
    }
    run(root.path(), &graph, &["a"], &Count::default()).unwrap();
    assert_eq!(Store::open(root.path()).closure([path("a", "").as_str()]).unwrap().len(), 5);
    for dir in ["locks", "tmp"] {
        assert_eq!(std::fs::read_dir(root.path().join("nix/var/nbv").join(dir)).unwrap().count(), 0, "{dir}");
    }
}
