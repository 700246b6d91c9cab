//! The state of a whole network as a folder: what all machines and the switch held at one moment.
//!
//! The folder (0700, all files 0600; memory holds secrets) has `about.json`, `switch.json` and for each machine that ran `NAME.ram` (its
//! main memory, each page at its place), `NAME.state` (its devices), and of each machine its disks and its console's log so far. It is written under
//! another name and renamed when it is whole.
//!
//! Consistent: the switch stands still before the first machine does, so no machine's state has got a frame that another's has not
//! sent; what is under way is saved with the switch, once.
//!
//! Not here: where states lie and which one is wanted ([`crate::instant`], [`crate::snapshot`]), how machines come back
//! ([`crate::network`]).

use std::collections::BTreeSet;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use nbv_plan::{Machine, NetworkPlan};
use nbv_qemu::migrate::MigrateError;
use nbv_qemu::{Accelerator, Choice, Platform, Qemu, QmpError, migrate, tsc};
use nbv_switch::SwitchState;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::event::Phase;
use crate::host::Host;
use crate::network::Network;

/// Version of the folder's form.
const FORMAT: u32 = 2;
/// By how much the rate of the time stamp counter may differ, millionths: the guest's clock is built on it.
const TSC_TOLERANCE: u64 = 300;
const ABOUT: &str = "about.json";
const SWITCH: &str = "switch.json";
/// How long machines go on after the switch stands still: what QEMU has read of a cable reaches the guest.
const LAST_FRAMES: Duration = Duration::from_millis(20);
/// How long a program that is being started may keep a save waiting.
const PROGRAMS: Duration = Duration::from_secs(20);

/// Why a network was not saved.
#[derive(Debug, thiserror::Error)]
pub enum SaveError {
    /// Something else is under way.
    #[error("a snapshot of this network is being saved or restored; try again when that is done")]
    Busy,
    /// A guest does not start a program.
    #[error("a program is being started in a machine that does not answer; a state without it would be half of one")]
    Programs,
    /// Programs were run.
    #[error("programs were run in it before it was ready")]
    Used,
    /// Nothing to save.
    #[error("no machine is running")]
    Off,
    /// A machine is between two phases.
    #[error("{machine} is {}; a machine is saved when it is ready (or off)", phase.name())]
    Phase {
        /// The machine.
        machine: String,
        /// Its phase.
        phase: Phase,
    },
    /// A device that QEMU cannot save.
    #[error("{machine} shares folders of this host (virtualisation.sharedDirectories), which QEMU cannot save")]
    Shares {
        /// The machine.
        machine: String,
    },
    /// Not on this host.
    #[error("{0}")]
    Unable(String),
    /// Too little room.
    #[error("{} has not enough room: the state may take {} MiB, and {} MiB are free", dir.display(), needed >> 20, free >> 20)]
    Room {
        /// Where.
        dir: PathBuf,
        /// Bytes that it may take, what must stay free included.
        needed: u64,
        /// Bytes that are free.
        free: u64,
    },
    /// The monitor of a machine.
    #[error("{machine}")]
    Monitor {
        /// The machine.
        machine: String,
        /// What it says.
        #[source]
        source: QmpError,
    },
    /// The state of a machine.
    #[error("{machine}")]
    Machine {
        /// The machine.
        machine: String,
        /// Why not.
        #[source]
        source: MigrateError,
    },
    /// The system refused.
    #[error("cannot write {}", path.display())]
    Io {
        /// What was to be written.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

fn io_error(path: &Path) -> impl FnOnce(io::Error) -> SaveError {
    let path = path.to_owned();
    move |source| SaveError::Io { path, source }
}

/// What a state is made from, and what must be the same where it is resumed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Origin {
    format: u32,
    /// The result's folder; only to be named.
    result: PathBuf,
    machines: Vec<String>,
    /// Digest of plan, selection and store folder.
    plan: String,
    /// QEMU and accelerator of each kind of machine.
    programs: Vec<String>,
    /// This program.
    runner: String,
    processor: String,
    tsc_khz: u64,
}

impl Origin {
    /// What this run is made from.
    ///
    /// # Errors
    /// Why states of it are not saved: what it is made of was not tried, or cannot be known.
    pub(crate) fn of(plan: &NetworkPlan, everyone: &[Machine], result: &Path, programs: &[(Platform, Qemu, Choice)], host: &Host) -> Result<Self, String> {
        let tried = |(platform, _, choice): &(Platform, Qemu, Choice)| {
            matches!(platform, Platform::X86_64 | Platform::I686) && choice.accelerator == Accelerator::Tcg
        };
        if !programs.iter().all(tried) {
            return Err("states of machines are saved under emulation (tcg) of x86_64 and i686 only".into());
        }
        let mut hash = Sha256::new();
        let mut add = |bytes: &[u8]| {
            hash.update((bytes.len() as u64).to_le_bytes());
            hash.update(bytes);
        };
        add(plan.to_json().as_bytes());
        add(serde_json::to_string(everyone).map_err(|error| error.to_string())?.as_bytes());
        add(result.parent().unwrap_or(Path::new("/")).as_os_str().as_encoded_bytes());
        let file = |path: &Path| -> Result<String, String> {
            let meta = path.metadata().map_err(|error| format!("{}: {error}", path.display()))?;
            Ok(format!("{} (file {} of {} bytes, {}.{:09})", path.display(), meta.ino(), meta.len(), meta.mtime(), meta.mtime_nsec()))
        };
        let mut used = BTreeSet::new();
        for (_, qemu, choice) in programs {
            used.insert(format!("QEMU {:?}, {}, {}", qemu.version, choice.accelerator.name(), file(&qemu.program)?));
        }
        let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").map_err(|error| format!("/proc/cpuinfo: {error}"))?;
        let field = |name: &&str| cpuinfo.lines().find(|line| line.starts_with(name)).unwrap_or_default();
        Ok(Self {
            format: FORMAT,
            result: result.to_owned(),
            machines: plan.machines.iter().map(|machine| machine.name.clone()).collect(),
            plan: hex(&hash.finalize()),
            programs: used.into_iter().collect(),
            runner: file(&host.exe)?,
            processor: hex(&Sha256::digest(["vendor_id", "model name", "flags"].iter().map(field).collect::<Vec<_>>().join("\n"))),
            tsc_khz: tsc::khz().ok_or("this host's processor has no steady time stamp counter")?,
        })
    }

    /// A name for all states of this origin; those of another clock share it.
    pub(crate) fn key(&self) -> String {
        let same = Self { result: PathBuf::new(), tsc_khz: 0, ..self.clone() };
        hex(&Sha256::digest(serde_json::to_string(&same).unwrap_or_default()))
    }

    /// A name for all states of this network, whatever runs it.
    pub(crate) fn network(&self) -> &str {
        &self.plan
    }

    /// Why a state of this origin cannot be resumed where `now` is; `None` when it can.
    #[must_use]
    pub fn misfit(&self, now: &Self) -> Option<String> {
        let tolerance = self.tsc_khz.saturating_mul(TSC_TOLERANCE);
        if self.format != now.format {
            Some("it was made by another version of this program".into())
        } else if self.machines != now.machines {
            Some(format!("it has the machines {}, and this network has {}", self.machines.join(", "), now.machines.join(", ")))
        } else if self.plan != now.plan {
            Some(format!("it was made with another result, {}; this is {}", self.result.display(), now.result.display()))
        } else if self.programs != now.programs {
            Some(format!("it was made with {}; now there is {}", self.programs.join("; "), now.programs.join("; ")))
        } else if self.runner != now.runner {
            Some(format!("it was made by {}; this is {}", self.runner, now.runner))
        } else if self.processor != now.processor {
            Some("it was made on another processor".into())
        } else if self.tsc_khz.abs_diff(now.tsc_khz).saturating_mul(1_000_000) > tolerance {
            Some(format!("the processor's time stamp counter ran at {} kHz and runs at {} kHz", self.tsc_khz, now.tsc_khz))
        } else {
            None
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().take(20).map(|byte| format!("{byte:02x}")).collect()
}

/// How long a state is to last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lasting {
    /// Until the host goes down: nothing waits for the disk.
    UntilReboot,
    /// Until it is deleted.
    Always,
}

/// What a state says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct About {
    /// What it was made from.
    pub origin: Origin,
    /// When, seconds since 1970.
    pub made: u64,
    /// The boot of the host that it does not outlive.
    boot_id: Option<String>,
    /// Phases of the machines, in the plan's order: ready, booting or off.
    pub phases: Vec<Phase>,
}

impl About {
    /// Machines that ran.
    pub(crate) fn running(&self) -> Vec<String> {
        let names = self.origin.machines.iter().zip(&self.phases);
        names.filter(|(_, phase)| **phase != Phase::Off).map(|(name, _)| name.clone()).collect()
    }
}

/// A saved state that fits.
#[derive(Debug, Clone)]
pub struct Saved {
    dir: PathBuf,
    about: About,
    switch: SwitchState,
}

/// Why a state is not resumed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Unfit {
    /// There is none.
    Missing,
    /// It is of something else; why.
    Misfit(String),
    /// It cannot be read; why.
    Damaged(String),
}

/// What the state in a folder says of itself.
pub(crate) fn about(dir: &Path) -> Result<About, Unfit> {
    let meta = dir.symlink_metadata().map_err(|_| Unfit::Missing)?;
    if meta.uid() != rustix::process::getuid().as_raw() || meta.mode() & 0o077 != 0 || !meta.is_dir() {
        return Err(Unfit::Damaged(format!("{} is not a folder of this user alone", dir.display())));
    }
    let path = dir.join(ABOUT);
    let text = std::fs::read(&path).map_err(|error| Unfit::Damaged(format!("{}: {error}", path.display())))?;
    let format = serde_json::from_slice::<serde_json::Value>(&text).ok().and_then(|value| value.get("origin")?.get("format")?.as_u64());
    if format != Some(u64::from(FORMAT)) {
        return Err(Unfit::Misfit("it was made by another version of this program".into()));
    }
    serde_json::from_slice(&text).map_err(|error| Unfit::Damaged(format!("{}: {error}", path.display())))
}

impl Saved {
    /// The state in a folder, if it can be resumed where `now` is.
    pub(crate) fn open(dir: &Path, now: &Origin) -> Result<Self, Unfit> {
        let about = about(dir)?;
        if let Some(reason) = about.origin.misfit(now) {
            return Err(Unfit::Misfit(reason));
        }
        // What was written before the host went down may not have reached the disk.
        if about.boot_id.as_ref().is_some_and(|boot| *boot != boot_id()) {
            return Err(Unfit::Misfit("it was made before the host was started".into()));
        }
        let path = dir.join(SWITCH);
        let damaged = |error: &dyn std::fmt::Display| Unfit::Damaged(format!("{}: {error}", path.display()));
        let text = std::fs::read(&path).map_err(|error| damaged(&error))?;
        let switch = serde_json::from_slice(&text).map_err(|error| damaged(&error))?;
        Ok(Self { dir: dir.to_owned(), about, switch })
    }

    /// What it says of itself.
    #[must_use]
    pub fn about(&self) -> &About {
        &self.about
    }

    /// Frames under way, and what people set of links.
    pub(crate) fn switch(&self) -> &SwitchState {
        &self.switch
    }

    /// The phase in which a machine was saved.
    #[must_use]
    pub fn phase(&self, machine: &str) -> Phase {
        let index = self.about.origin.machines.iter().position(|name| name == machine);
        index.and_then(|index| self.about.phases.get(index)).copied().unwrap_or(Phase::Off)
    }

    /// The open files of a machine: its memory, and its devices.
    pub(crate) fn memory(&self, machine: &str) -> io::Result<(File, File)> {
        // QEMU maps it for itself alone, and wants it open for writing.
        let memory = OpenOptions::new().read(true).write(true).open(self.dir.join(format!("{machine}.ram")))?;
        Ok((memory, File::open(self.dir.join(format!("{machine}.state")))?))
    }

    /// Makes the machine's disks as they were, in its folder; those that were not there go.
    pub(crate) fn copy_disks(&self, machine: &Machine, to: &Path) -> io::Result<()> {
        for disk in disk_names(machine) {
            let from = self.dir.join(format!("{}.{disk}", machine.name));
            if from.exists() {
                copy_sparse(&from, &to.join(&disk))?;
            } else {
                let _ = std::fs::remove_file(to.join(&disk));
            }
        }
        Ok(())
    }

    /// Puts what the machine had written on its console into a log that is not there yet.
    pub(crate) fn copy_console(&self, machine: &str, to: &Path) -> io::Result<()> {
        let from = self.dir.join(format!("{machine}.console"));
        if from.exists() && !to.exists() { copy_sparse(&from, to) } else { Ok(()) }
    }

    /// Throws the state away.
    pub(crate) fn discard(&self) {
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

/// Saves a network into `dir`, which is made and appears only whole. The machines stand still meanwhile and run on afterwards,
/// whatever happens. `keep_free` bytes of the disk stay free.
///
/// # Errors
/// Something is under way, a machine is in no phase to be saved, no room, QEMU or a file fails. Then nothing is left.
pub(crate) fn save(network: &Network, dir: &Path, lasting: Lasting, keep_free: u64) -> Result<(), SaveError> {
    let _only = network.only_snapshot().ok_or(SaveError::Busy)?;
    let _alone = network.hold_programs(Instant::now() + PROGRAMS).ok_or(SaveError::Programs)?;
    if lasting == Lasting::UntilReboot && network.was_used() {
        return Err(SaveError::Used);
    }
    let settings = network.settings();
    let origin = settings.origin.clone().map_err(SaveError::Unable)?;
    let mut phases = Vec::new();
    let mut running = Vec::new();
    let mut needed = keep_free;
    for (id, machine) in network.machines() {
        let view = network.view(id);
        let from = settings.machine_dir(id);
        needed += disk_names(machine).iter().filter_map(|disk| from.join(disk).metadata().ok()).map(|meta| meta.blocks() * 512).sum::<u64>();
        match (view.phase, view.monitor) {
            (Phase::Off | Phase::Failed, _) => phases.push(Phase::Off),
            (phase @ (Phase::Ready | Phase::Booting), Some(monitor)) if phase == Phase::Ready || lasting == Lasting::Always => {
                if !machine.shared_directories.is_empty() {
                    return Err(SaveError::Shares { machine: machine.name.clone() });
                }
                needed += (u64::from(machine.memory_mib) << 20).min(view.pid.and_then(resident).unwrap_or(u64::MAX));
                phases.push(phase);
                running.push((machine.name.clone(), monitor, settings.programs[id.index()].0.memory_name(machine.graphics)));
            }
            (phase, _) => return Err(SaveError::Phase { machine: machine.name.clone(), phase }),
        }
    }
    if running.is_empty() {
        return Err(SaveError::Off);
    }
    let base = dir.parent().unwrap_or(Path::new("/"));
    make_private(base)?;
    let room = rustix::fs::statvfs(base).map_err(|errno| io_error(base)(errno.into()))?;
    let free = room.f_bavail * room.f_frsize;
    if free < needed {
        return Err(SaveError::Room { dir: base.to_owned(), needed, free });
    }
    let name = dir.file_name().unwrap_or_default().to_string_lossy();
    let new = base.join(format!(".{name}-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&new);
    DirBuilder::new().mode(0o700).create(&new).map_err(io_error(&new))?;
    let made = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let boot_id = (lasting == Lasting::UntilReboot).then(boot_id);
    let done = write_all(network, &running, &new).and_then(|mut switch| {
        if lasting == Lasting::UntilReboot {
            // A start sets what the network file says.
            switch.settings = None;
        }
        let text = serde_json::to_string(&switch).unwrap_or_default();
        crate::keys::write_private(&new.join(SWITCH), text.as_bytes()).map_err(io_error(&new.join(SWITCH)))?;
        let about = serde_json::to_string_pretty(&About { origin, made, boot_id, phases }).unwrap_or_default();
        crate::keys::write_private(&new.join(ABOUT), about.as_bytes()).map_err(io_error(&new.join(ABOUT)))?;
        if lasting == Lasting::Always {
            sync(&new).map_err(io_error(&new))?;
        }
        // Only now may an earlier one of the name go.
        let _ = std::fs::remove_dir_all(dir);
        std::fs::rename(&new, dir).map_err(io_error(dir))
    });
    if done.is_err() {
        let _ = std::fs::remove_dir_all(&new);
    }
    done
}

type Stopped = (String, std::sync::Arc<nbv_qemu::Qmp>, &'static str);

/// Stops everything, writes what each machine holds, and lets everything go on.
fn write_all(network: &Network, running: &[Stopped], dir: &Path) -> Result<SwitchState, SaveError> {
    let switch = network.switch();
    switch.freeze();
    std::thread::sleep(LAST_FRAMES);
    let monitor_error = |machine: &str| {
        let machine = machine.to_owned();
        move |source| SaveError::Monitor { machine, source }
    };
    let stopped = running.iter().try_for_each(|(name, monitor, _)| migrate::stop(monitor).map_err(monitor_error(name)));
    let saved = stopped.and_then(|()| {
        let state = switch.take();
        std::thread::scope(|scope| {
            let write = |(name, monitor, memory): &Stopped| -> Result<(), SaveError> {
                let new = |suffix: &str| {
                    let path = dir.join(format!("{name}.{suffix}"));
                    OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path).map_err(io_error(&path))
                };
                migrate::save(monitor, memory, &new("ram")?, &new("state")?).map_err(|source| SaveError::Machine { machine: name.clone(), source })
            };
            let threads: Vec<_> = running.iter().map(|machine| scope.spawn(move || write(machine))).collect();
            threads.into_iter().try_for_each(|thread| thread.join().unwrap_or(Err(SaveError::Unable("a thread ended".into()))))
        })?;
        // After the memory: by then QEMU has written what it held back.
        for (id, machine) in network.machines() {
            let from = network.settings().machine_dir(id);
            let disks = disk_names(machine).into_iter().map(|disk| (disk.clone(), disk));
            for (file, suffix) in disks.chain([("console.log".to_owned(), "console".to_owned())]) {
                let to = dir.join(format!("{}.{suffix}", machine.name));
                if from.join(&file).exists() {
                    copy_sparse(&from.join(&file), &to).map_err(io_error(&to))?;
                }
            }
        }
        Ok(state)
    });
    let went_on: Vec<_> = running.iter().map(|(name, monitor, _)| migrate::go_on(monitor).map_err(monitor_error(name))).collect();
    switch.thaw();
    went_on.into_iter().collect::<Result<(), _>>()?;
    saved
}

/// Bytes of a process that are in memory: no more of its guest can be worth saving.
fn resident(pid: i32) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kib << 10)
}

/// Makes a folder and its parents; the folder is this user's alone.
pub(crate) fn make_private(dir: &Path) -> Result<(), SaveError> {
    if let Some(parent) = dir.parent() {
        std::fs::create_dir_all(parent).map_err(io_error(parent))?;
    }
    match DirBuilder::new().mode(0o700).create(dir) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(io_error(dir)(error)),
        _ => Ok(()),
    }
}

/// Waits until a folder and its files are on the disk.
fn sync(dir: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(dir)? {
        File::open(entry?.path())?.sync_all()?;
    }
    File::open(dir)?.sync_all()
}

/// Bytes on the disk of a folder's files.
pub(crate) fn size(dir: &Path) -> u64 {
    let files = std::fs::read_dir(dir).into_iter().flatten().flatten();
    files.filter_map(|file| file.metadata().ok()).map(|meta| meta.blocks() * 512).sum()
}

/// The images of a machine in its state folder.
pub(crate) fn disk_names(machine: &nbv_plan::Machine) -> Vec<String> {
    let root = machine.disk_mib.map(|_| "root.img".to_owned());
    root.into_iter().chain((0..machine.empty_disks_mib.len()).map(|index| format!("empty{index}.img"))).collect()
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
pub(crate) mod tests {
    use super::*;

    pub(crate) fn origin() -> Origin {
        Origin {
            format: FORMAT,
            result: "/r".into(),
            machines: vec!["a".into(), "b".into()],
            plan: "p".into(),
            programs: vec!["QEMU 7.2".into()],
            runner: "x".into(),
            processor: "c".into(),
            tsc_khz: 2_000_000,
        }
    }

    pub(crate) fn write(dir: &Path, origin: Origin, boot_id: Option<String>) {
        std::fs::create_dir_all(dir.parent().unwrap()).unwrap();
        let _ = DirBuilder::new().mode(0o700).create(dir);
        let about = About { origin, made: 1, boot_id, phases: vec![Phase::Ready, Phase::Off] };
        std::fs::write(dir.join(ABOUT), serde_json::to_string(&about).unwrap()).unwrap();
        std::fs::write(dir.join(SWITCH), serde_json::to_string(&SwitchState::default()).unwrap()).unwrap();
    }

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
    fn a_state_of_anything_else_does_not_fit_and_says_why() {
        let now = origin();
        let same = Origin { tsc_khz: 2_000_100, result: "/other-name".into(), ..origin() };
        assert_eq!((same.misfit(&now), same.key()), (None, now.key()));
        for (other, word) in [
            (Origin { format: 1, ..origin() }, "another version"),
            (Origin { machines: vec!["a".into()], ..origin() }, "machines a, and"),
            (Origin { plan: "q".into(), ..origin() }, "another result, /r"),
            (Origin { programs: vec!["QEMU 8".into()], ..origin() }, "made with QEMU 8; now there is QEMU 7.2"),
            (Origin { runner: "y".into(), ..origin() }, "made by y"),
            (Origin { processor: "d".into(), ..origin() }, "another processor"),
            (Origin { tsc_khz: 2_002_000, ..origin() }, "2002000 kHz"),
        ] {
            let reason = other.misfit(&now).unwrap();
            assert!(reason.contains(word), "{reason}");
            assert!(other.key() != now.key() || other.tsc_khz != now.tsc_khz);
        }
    }

    #[test]
    fn a_state_is_found_whole_private_and_of_this_boot_or_not_at_all() {
        let base = tempfile::tempdir().unwrap();
        let dir = base.path().join("s");
        let open = || Saved::open(&dir, &origin()).map(|saved| (saved.phase("a"), saved.phase("b"), saved.phase("c")));
        assert_eq!(open(), Err(Unfit::Missing));
        write(&dir, origin(), None);
        assert_eq!(open(), Ok((Phase::Ready, Phase::Off, Phase::Off)));
        write(&dir, origin(), Some(boot_id()));
        assert!(open().is_ok());
        write(&dir, origin(), Some("another".into()));
        assert!(matches!(open(), Err(Unfit::Misfit(_))));
        write(&dir, origin(), None);
        std::fs::remove_file(dir.join(SWITCH)).unwrap();
        assert!(matches!(open(), Err(Unfit::Damaged(_))));
        write(&dir, origin(), None);
        std::fs::set_permissions(&dir, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        assert!(matches!(open(), Err(Unfit::Damaged(_))));
    }
}
