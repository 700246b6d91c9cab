//! Instant start: the state of a network that has just become ready, kept for its next run.
//!
//! `CACHE/saved/KEY/` (0700) holds for each machine `NAME.memory` and its disks, all 0600, and `about.json`. The key is a hash of all
//! that the machines were made from: result and plan, QEMU, accelerator, processor, this program. A state that is being written has
//! another name until it is whole, so one that is found is whole.
//!
//! Not here: when a network is saved or resumed ([`crate::run`], [`crate::network`]).

use std::collections::BTreeSet;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use nbv_qemu::{Accelerator, Platform, migrate, tsc};
use sha2::{Digest, Sha256};

use crate::event::Phase;
use crate::host::Host;
use crate::machine::Settings;
use crate::network::Network;

/// Bytes on disk that all saved states may take together; the oldest go first.
const BYTES_MAX: u64 = 4 << 30;
/// Bytes that must stay free on the disk.
const FREE_MIN: u64 = 2 << 30;
/// By how much the rate of the time stamp counter may differ, millionths: the guest's clock is built on it.
const TSC_TOLERANCE: u64 = 300;
const ABOUT: &str = "about.json";

/// Where the state of one network is, or would be.
#[derive(Debug, Clone)]
pub struct Place {
    base: PathBuf,
    key: String,
    tsc_khz: u64,
}

/// A saved state that fits.
#[derive(Debug, Clone)]
pub struct Saved {
    dir: PathBuf,
}

impl Saved {
    /// The open file of a machine's memory.
    pub(crate) fn memory(&self, machine: &str) -> io::Result<File> {
        File::open(self.dir.join(format!("{machine}.memory")))
    }

    /// Makes a machine's own copy of one of its disks.
    pub(crate) fn copy_disk(&self, machine: &str, disk: &str, to: &Path) -> io::Result<()> {
        copy_sparse(&self.dir.join(format!("{machine}.{disk}")), to)
    }

    /// Throws the state away.
    pub(crate) fn discard(&self) {
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

/// Where the state of this network belongs; `None` where it cannot be resumed reliably: under KVM and for architectures on which that
/// was not tried, with folders of the host (whose files change meanwhile), with disks that are the user's, or without a cache folder.
#[must_use]
pub fn place(settings: &Settings, host: &Host) -> Option<Place> {
    let tried = |(platform, _, choice): &(Platform, nbv_qemu::Qemu, nbv_qemu::Choice)| {
        matches!(platform, Platform::X86_64 | Platform::I686) && choice.accelerator == Accelerator::Tcg
    };
    let has_shares = settings.plan.machines.iter().any(|machine| !machine.shared_directories.is_empty());
    if has_shares || settings.keep_vm_state || !settings.programs.iter().all(tried) {
        return None;
    }
    let mut hash = Sha256::new();
    let mut add = |bytes: &[u8]| {
        hash.update((bytes.len() as u64).to_le_bytes());
        hash.update(bytes);
    };
    add(b"nixos-build-vms saved state 1");
    add(settings.plan.to_json().as_bytes());
    add(serde_json::to_string(&settings.everyone).ok()?.as_bytes());
    add(settings.store.as_os_str().as_encoded_bytes());
    let mut programs = BTreeSet::from([host.exe.clone()]);
    for (_, qemu, choice) in &settings.programs {
        add(format!("{:?} {}", qemu.version, choice.accelerator.name()).as_bytes());
        programs.insert(qemu.program.clone());
    }
    for program in programs {
        let meta = program.metadata().ok()?;
        add(program.as_os_str().as_encoded_bytes());
        add(format!("{} {} {} {}", meta.len(), meta.ino(), meta.mtime(), meta.mtime_nsec()).as_bytes());
    }
    let processor = std::fs::read_to_string("/proc/cpuinfo").ok()?;
    for field in ["vendor_id", "model name", "flags"] {
        add(processor.lines().find(|line| line.starts_with(field)).unwrap_or_default().as_bytes());
    }
    let key = hash.finalize().iter().take(20).map(|byte| format!("{byte:02x}")).collect();
    Some(Place { base: host.cache_dir.as_ref()?.join("saved"), key, tsc_khz: tsc::khz()? })
}

impl Place {
    fn dir(&self) -> PathBuf {
        self.base.join(&self.key)
    }

    /// The state, if there is one that fits.
    #[must_use]
    pub fn find(&self) -> Option<Saved> {
        let dir = self.dir();
        let meta = dir.metadata().ok()?;
        if meta.uid() != rustix::process::getuid().as_raw() || meta.mode() & 0o077 != 0 {
            return None;
        }
        let about: serde_json::Value = serde_json::from_slice(&std::fs::read(dir.join(ABOUT)).ok()?).ok()?;
        let then = about.get("tscKhz")?.as_u64()?;
        let fits = then.abs_diff(self.tsc_khz).saturating_mul(1_000_000) <= then.saturating_mul(TSC_TOLERANCE);
        // What was written before the host went down may not have reached the disk.
        (fits && about.get("bootId")?.as_str()? == boot_id()).then(|| {
            // The newest use counts when space is needed.
            let _ = File::open(&dir).and_then(|open| open.set_modified(SystemTime::now()));
            Saved { dir }
        })
    }

    /// Saves a network in which all machines are ready and nothing was run by the user. The machines stand still meanwhile and run on
    /// afterwards, whatever happens.
    ///
    /// # Errors
    /// No room, a machine that is not ready or cannot be saved; in words.
    pub fn save(&self, network: &Network) -> Result<(), String> {
        let _alone = network.hold_programs();
        if network.was_used() {
            return Err("programs were run in it before it was ready".into());
        }
        let text = |error: io::Error| error.to_string();
        if let Some(parent) = self.base.parent() {
            std::fs::create_dir_all(parent).map_err(text)?;
        }
        let make = |dir: &Path| match DirBuilder::new().mode(0o700).create(dir) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error.to_string()),
            _ => Ok(()),
        };
        make(&self.base)?;
        evict(&self.base);
        let room = rustix::fs::statvfs(&self.base).map_err(|error| error.to_string())?;
        let wanted: u64 = network.machines().map(|(_, machine)| u64::from(machine.memory_mib) << 20).sum();
        if room.f_bavail * room.f_frsize < wanted + FREE_MIN {
            return Err(format!("{} has not enough room", self.base.display()));
        }
        let new = self.base.join(format!(".{}-{}", self.key, std::process::id()));
        let _ = std::fs::remove_dir_all(&new);
        make(&new)?;
        let done = save_all(network, &new).and_then(|()| {
            let about = serde_json::json!({ "tscKhz": self.tsc_khz, "bootId": boot_id() });
            crate::keys::write_private(&new.join(ABOUT), about.to_string().as_bytes()).map_err(text)?;
            let _ = std::fs::remove_dir_all(self.dir());
            std::fs::rename(&new, self.dir()).map_err(text)
        });
        if done.is_err() {
            let _ = std::fs::remove_dir_all(&new);
        }
        done
    }
}

fn save_all(network: &Network, dir: &Path) -> Result<(), String> {
    let mut machines = Vec::new();
    for (id, machine) in network.machines() {
        let view = network.view(id);
        match view.monitor {
            Some(monitor) if view.phase == Phase::Ready => machines.push((network.settings().machine_dir(id), machine, monitor)),
            _ => return Err(format!("{} is not ready", machine.name)),
        }
    }
    let stopped = machines.iter().try_for_each(|(_, _, monitor)| migrate::stop(monitor).map_err(|error| error.to_string()));
    let saved = stopped.and_then(|()| {
        std::thread::scope(|scope| {
            let threads: Vec<_> = machines
                .iter()
                .map(|(from, machine, monitor)| {
                    scope.spawn(move || -> Result<(), String> {
                        let path = dir.join(format!("{}.memory", machine.name));
                        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(|error| error.to_string())?;
                        migrate::save(monitor, &file).map_err(|error| format!("{}: {error}", machine.name))?;
                        // After the memory: by then QEMU has written what it held back.
                        for disk in disk_names(machine) {
                            copy_sparse(&from.join(&disk), &dir.join(format!("{}.{disk}", machine.name))).map_err(|error| format!("{disk}: {error}"))?;
                        }
                        Ok(())
                    })
                })
                .collect();
            threads.into_iter().try_for_each(|thread| thread.join().unwrap_or_else(|_| Err("a thread ended".into())))
        })
    });
    for (_, machine, monitor) in &machines {
        if let Err(error) = migrate::go_on(monitor) {
            return Err(format!("{}: {error}", machine.name));
        }
    }
    saved
}

/// The images of a machine in its state folder.
pub(crate) fn disk_names(machine: &nbv_plan::Machine) -> Vec<String> {
    let root = machine.disk_mib.map(|_| "root.img".to_owned());
    root.into_iter().chain((0..machine.empty_disks_mib.len()).map(|index| format!("empty{index}.img"))).collect()
}

/// Removes the oldest states until the others fit, and what a killed run left half-written.
fn evict(base: &Path) {
    let mut states: Vec<(SystemTime, PathBuf, u64)> = Vec::new();
    for entry in std::fs::read_dir(base).into_iter().flatten().flatten() {
        let path = entry.path();
        let Ok(meta) = entry.metadata() else { continue };
        let modified = meta.modified().unwrap_or(SystemTime::UNIX_EPOCH);
        if entry.file_name().as_encoded_bytes().starts_with(b".") {
            if modified.elapsed().is_ok_and(|age| age.as_secs() > 600) {
                let _ = std::fs::remove_dir_all(&path);
            }
            continue;
        }
        let files = std::fs::read_dir(&path).into_iter().flatten().flatten();
        states.push((modified, path, files.filter_map(|file| file.metadata().ok()).map(|meta| meta.blocks() * 512).sum()));
    }
    states.sort_by(|a, b| b.0.cmp(&a.0));
    let mut total = 0;
    for (_, path, size) in states {
        total += size;
        // Room for the one that comes.
        if total > BYTES_MAX * 3 / 4 {
            let _ = std::fs::remove_dir_all(path);
        }
    }
}

fn boot_id() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
}

/// Copies a file with its holes, into a new file that only its owner reads; by reference where the file system can.
fn copy_sparse(from: &Path, to: &Path) -> io::Result<()> {
    let source = File::open(from)?;
    let _ = std::fs::remove_file(to);
    let target = OpenOptions::new().write(true).create_new(true).mode(0o600).open(to)?;
    if rustix::fs::ioctl_ficlone(&target, &source).is_ok() {
        return Ok(());
    }
    let len = source.metadata()?.len();
    target.set_len(len)?;
    let mut buffer = vec![0; 1 << 20];
    let mut at = 0;
    while at < len {
        let start = match rustix::fs::seek(&source, rustix::fs::SeekFrom::Data(at)) {
            Ok(start) => start,
            Err(rustix::io::Errno::NXIO) => break,
            Err(errno) => return Err(errno.into()),
        };
        let end = rustix::fs::seek(&source, rustix::fs::SeekFrom::Hole(start))?;
        at = start;
        while at < end {
            let want = usize::try_from(end - at).unwrap_or(usize::MAX).min(buffer.len());
            let got = source.read_at(&mut buffer[..want], at)?;
            if got == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            target.write_all_at(&buffer[..got], at)?;
            at += got as u64;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_has_the_same_bytes_and_holes_and_is_private() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("a"), dir.path().join("b"));
        let file = File::create(&from).unwrap();
        file.set_len(64 << 20).unwrap();
        file.write_all_at(b"middle", 20 << 20).unwrap();
        file.write_all_at(b"end", (64 << 20) - 3).unwrap();
        copy_sparse(&from, &to).unwrap();
        assert!(std::fs::read(&from).unwrap() == std::fs::read(&to).unwrap());
        let meta = to.metadata().unwrap();
        assert!(meta.blocks() * 512 < 4 << 20 && meta.mode() & 0o777 == 0o600);
    }

    #[test]
    fn a_state_of_another_clock_or_another_boot_does_not_fit() {
        let dir = tempfile::tempdir().unwrap();
        let place = Place { base: dir.path().into(), key: "k".into(), tsc_khz: 2_000_000 };
        DirBuilder::new().mode(0o700).create(place.dir()).unwrap();
        let write = |khz: u64, boot: &str| std::fs::write(place.dir().join(ABOUT), format!(r#"{{"tscKhz":{khz},"bootId":"{boot}"}}"#)).unwrap();
        assert!(place.find().is_none());
        write(2_000_100, &boot_id());
        assert!(place.find().is_some());
        write(2_002_000, &boot_id());
        assert!(place.find().is_none());
        write(2_000_000, "another");
        assert!(place.find().is_none());
    }
}
