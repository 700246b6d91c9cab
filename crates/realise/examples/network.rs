//! `cargo run --release -p nbv-realise --example network -- FILE STORE CACHE`: builds a network, for looking at one part alone.

use nbv_realise::{BuildOptions, build, environment};
use nbv_store::{Event, Progress};
use std::path::PathBuf;
use std::sync::Arc;

struct Lines(std::time::Instant);

impl Progress for Lines {
    fn event(&self, event: Event<'_>) {
        if !matches!(event, Event::Fetched { .. }) {
            eprintln!("{:6} ms {event:?}", self.0.elapsed().as_millis());
        }
    }
}

fn main() {
    let words: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let [network, store, cache] = words.as_slice() else {
        eprintln!("usage: network FILE STORE CACHE");
        std::process::exit(2);
    };
    let here = std::env::current_dir().unwrap_or_default();
    let options = BuildOptions {
        network: here.join(network),
        out_link: None,
        store: here.join(store),
        cache: here.join(cache),
        program: std::env::current_exe().unwrap_or_default(),
        system: "x86_64-linux".into(),
        search_path: Vec::new(),
        env: environment(std::env::vars_os()),
        time: 0,
        mirror: None,
        connections: None,
        lock: None,
        update_lock: false,
        make: nbv_store::Options::default(),
        max_call_depth: None,
    };
    let start = std::time::Instant::now();
    let progress: Arc<dyn Progress> = Arc::new(Lines(start));
    match build(&options, &progress) {
        Ok(built) => println!("{} in {} ms{}", built.path.display(), start.elapsed().as_millis(), if built.was_known { ", known" } else { "" }),
        Err(error) => {
            for diagnostic in &error.diagnostics {
                eprint!("{}", nbv_diag::render(diagnostic, &error.sources, &nbv_diag::RenderOptions { show_trace: true, ..Default::default() }));
            }
            std::process::exit(1);
        }
    }
}
