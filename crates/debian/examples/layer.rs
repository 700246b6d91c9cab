//! `layer SYSTEM FOLDER [PACKAGE...]`: builds a layer into a new folder. `NBV_CACHE` names the cache.

use nbv_debian::{Archive, Config, Event, Progress, System, build_layer};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

struct Text(Instant);

impl Progress for Text {
    fn event(&self, e: Event<'_>) {
        match e {
            Event::FetchBytes { .. } | Event::FetchDone { .. } | Event::Unpacked { .. } => {}
            e => eprintln!("{:6.2} {e:?}", self.0.elapsed().as_secs_f64()),
        }
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [system, out, names @ ..] = &args[..] else { return Err("usage: layer SYSTEM FOLDER [PACKAGE...]".into()) };
    let start = Instant::now();
    let at = |what: &str| eprintln!("{:6.2} {what}", start.elapsed().as_secs_f64());
    let cache = std::env::var_os("NBV_CACHE").map_or_else(|| std::env::temp_dir().join("nbv-cache"), PathBuf::from);
    let archive = Archive::new(Config::new(cache), Arc::new(Text(start)));
    let system = System::by_name(system)?;
    let run = || -> nbv_debian::Result<()> {
        let index = archive.index(system)?;
        at(&format!("index of {} packages, {}", index.len(), index.date));
        let selection = archive.select(system, names, None)?;
        let bytes: u64 = selection.lock.packages.values().map(|p| p.size).sum();
        at(&format!("{} packages, {} MB", selection.lock.packages.len(), bytes / 1_000_000));
        let out = PathBuf::from(out);
        std::fs::create_dir_all(&out).map_err(nbv_debian::DebianError::io("making", &out))?;
        let info = build_layer(&archive, &selection, &out)?;
        at(&format!("{:?}", info.kernel));
        Ok(())
    };
    run().map_err(|e| e.to_string().into())
}
