//! Building a layer: fetching, unpacking and merging at the same time, then the image and the kernel.

use crate::archive::{Archive, Selection};
use crate::deb::{self, Unpacked};
use crate::error::{DebianError, Result};
use crate::fetch::Fetching;
use crate::http::hex;
use crate::layer::kernel::{self, KernelInfo};
use crate::layer::merge::{EARLY, Merge, prepare_modules};
use crate::layer::modules::{self, Module};
use crate::layer::{LayerInfo, Manifest};
use crate::lock::Pin;
use crate::progress::Event;
use nbv_image::{ErofsImage, ErofsOptions, ErofsWriter};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::io::BufWriter;
use std::path::Path;
use std::sync::{Condvar, Mutex};

/// Time of everything in a layer, so that equal packages give equal images: 2025-08-09, trixie's release.
const TIME: u64 = 1_754_697_600;
/// Packages unpacked ahead of the one that is merged, so that memory stays bounded.
const AHEAD: usize = 8;

type Ready = Result<(Unpacked, Vec<(usize, Module)>)>;

struct Queue {
    next: usize,
    merged: usize,
    ready: BTreeMap<usize, Ready>,
    stop: bool,
}

/// Makes the layer of a selection in the folder `out`, which must exist and be empty: `layer.erofs`,
/// `manifest.json`, `kernel`, `kernel.json`, `modules/`. What is in `out` after an error is for the caller to remove.
pub fn build_layer(archive: &Archive, selection: &Selection, out: &Path) -> Result<LayerInfo> {
    let system = selection.system;
    let mut packages: Vec<(String, Pin)> = selection.lock.packages.iter().map(|(n, p)| (n.clone(), p.clone())).collect();
    // the kernel is the largest: first, so that nothing waits for it at the end
    packages.sort_by_key(|(n, _)| (!n.starts_with("linux-image"), n.clone()));

    let image = out.join("layer.erofs");
    let file = std::fs::File::create_new(&image).map_err(DebianError::io("making", &image))?;
    let mut hash = Sha256::new();
    for (name, p) in &packages {
        hash.update(format!("{name} {} {}\n", p.sha256, p.apart));
    }
    let digest = hash.finalize();
    let mut uuid = [0u8; 16];
    uuid.copy_from_slice(&digest[..16]);
    let options = ErofsOptions { time: TIME, uuid: Some(uuid), label: "nbv-layer".into() };
    let writer = ErofsWriter::new(BufWriter::with_capacity(1 << 20, file), options)?;
    let manifest = Manifest { system: system.nix.into(), multiarch: system.multiarch.into(), ..Manifest::default() };
    let mut merge = Merge::new(writer, manifest);

    let fetching = Fetching::new(archive, &packages);
    let queue = Mutex::new(Queue { next: 0, merged: 0, ready: BTreeMap::new(), stop: false });
    let changed = Condvar::new();
    let result = std::thread::scope(|s| {
        fetching.start(s);
        let threads = std::thread::available_parallelism().map_or(2, |n| n.get());
        for _ in 0..threads {
            s.spawn(|| unpack_loop(archive, &packages, &fetching, &queue, &changed));
        }
        let r = merge_loop(archive, selection, &packages, &queue, &changed, &mut merge);
        queue.lock().unwrap_or_else(|e| e.into_inner()).stop = true;
        changed.notify_all();
        r
    });
    // what could not be fetched explains why nothing came
    if let Some(e) = fetching.error() {
        return Err(e);
    }
    result?;
    merge.complete()?;
    finish(archive, selection, merge, out)
}

fn unpack_loop(archive: &Archive, packages: &[(String, Pin)], fetching: &Fetching<'_>, queue: &Mutex<Queue>, changed: &Condvar) {
    loop {
        let i = {
            let mut q = queue.lock().unwrap_or_else(|e| e.into_inner());
            while !q.stop && q.next < packages.len() && q.next >= q.merged + AHEAD {
                q = changed.wait(q).unwrap_or_else(|e| e.into_inner());
            }
            if q.stop || q.next >= packages.len() {
                return;
            }
            q.next += 1;
            q.next - 1
        };
        let (name, pin) = &packages[i];
        let ready = match fetching.wait(i) {
            Ok(()) => unpack(archive, name, pin),
            Err(()) => Err(DebianError::Cancelled),
        };
        let mut q = queue.lock().unwrap_or_else(|e| e.into_inner());
        q.ready.insert(i, ready);
        drop(q);
        changed.notify_all();
    }
}

fn unpack(archive: &Archive, name: &str, pin: &Pin) -> Ready {
    let path = archive.deb_path(pin);
    let read = || std::fs::read(&path).map_err(DebianError::io("reading", &path));
    let mut bytes = read()?;
    if hex(&Sha256::digest(&bytes)) != pin.sha256 {
        // damaged in the cache: once more from the mirror
        let _ = std::fs::remove_file(&path);
        archive.fetch_deb(name, pin)?;
        bytes = read()?;
        let found = hex(&Sha256::digest(&bytes));
        if found != pin.sha256 {
            return Err(DebianError::BadHash { url: pin.path.clone(), expected: pin.sha256.clone(), found });
        }
    }
    let mut unpacked = deb::unpack(name, pin, &bytes)?;
    drop(bytes);
    let mods = if name.starts_with("linux-image") { prepare_modules(&mut unpacked)? } else { Vec::new() };
    Ok((unpacked, mods))
}

fn merge_loop<W: std::io::Write + std::io::Seek>(
    archive: &Archive,
    selection: &Selection,
    packages: &[(String, Pin)],
    queue: &Mutex<Queue>,
    changed: &Condvar,
    merge: &mut Merge<W>,
) -> Result<()> {
    for (i, (name, pin)) in packages.iter().enumerate() {
        let ready = {
            let mut q = queue.lock().unwrap_or_else(|e| e.into_inner());
            loop {
                if let Some(r) = q.ready.remove(&i) {
                    break r;
                }
                q = changed.wait(q).unwrap_or_else(|e| e.into_inner());
            }
        };
        let (unpacked, mods) = ready?;
        merge.add(unpacked, pin, mods)?;
        queue.lock().unwrap_or_else(|e| e.into_inner()).merged = i + 1;
        changed.notify_all();
        archive.progress.event(Event::Unpacked { system: selection.system.nix, name, done: i + 1, total: packages.len() });
        if archive.progress.cancelled() {
            return Err(DebianError::Cancelled);
        }
    }
    Ok(())
}

fn finish<W: std::io::Write + std::io::Seek>(archive: &Archive, selection: &Selection, mut merge: Merge<W>, out: &Path) -> Result<LayerInfo> {
    let system = selection.system;
    let missing = |why: &str| DebianError::NoKernel { system: system.nix.into(), why: why.into() };
    let vmlinuz = merge.vmlinuz.take().ok_or_else(|| missing("no package of the set has a vmlinuz"))?;
    let folder = merge.module_folder.clone().ok_or_else(|| missing("no package of the set has kernel modules"))?;
    let builtin = modules::built_in(&String::from_utf8_lossy(&merge.builtin), &merge.builtin_info);
    let order = modules::load_order(&merge.modules, &builtin, &EARLY);
    let write = |path: &Path, data: &[u8]| std::fs::write(path, data).map_err(DebianError::io("writing", path));

    let (image, kernel) = std::thread::scope(|s| {
        let unpacking = s.spawn(|| kernel::loadable(&vmlinuz, system));
        let done = merge.writer.finish(merge.tree);
        let kernel = unpacking.join().unwrap_or_else(|_| Err(missing("unpacking it ended early")));
        (done, kernel)
    });
    let (_, size) = image?;
    let (kernel, format) = kernel?;
    write(&out.join("kernel"), &kernel)?;
    let dir = out.join("modules");
    std::fs::create_dir(&dir).map_err(DebianError::io("making", &dir))?;
    let mut module_order = Vec::new();
    for name in order {
        let bytes = merge.early.get(&name).ok_or_else(|| missing(&format!("the module {name} was not kept")))?;
        let file = format!("{name}.ko");
        write(&dir.join(&file), bytes)?;
        module_order.push(file);
    }
    let kernel = KernelInfo {
        version: folder.trim_start_matches("lib/modules/").to_string(),
        format: format.into(),
        module_order,
    };
    let json = |what: &str, r: serde_json::Result<Vec<u8>>| r.map_err(|e| DebianError::format(what, e.to_string()));
    write(&out.join("kernel.json"), &json("kernel.json", serde_json::to_vec_pretty(&kernel))?)?;
    write(&out.join("manifest.json"), &json("manifest.json", serde_json::to_vec(&merge.manifest))?)?;
    archive.progress.event(Event::LayerDone { system: system.nix, bytes: size });
    Ok(LayerInfo { manifest: merge.manifest, kernel, size })
}

/// Writes the tree of a layer (`layer.erofs`) to the folder `dest` as ordinary files of the caller, for the
/// sandbox of builders: it is a /usr without setuid bits and owners.
pub fn unpack_layer(layer: &Path, dest: &Path) -> Result<()> {
    Ok(ErofsImage::open(layer)?.unpack(dest)?)
}
