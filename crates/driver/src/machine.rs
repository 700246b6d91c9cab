//! What a start of one machine consists of: its disks, its initrd, its cables, its process.
//!
//! Not here: when it is started and what follows ([`crate::network`]).

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::time::Duration;

use nbv_plan::{Machine, NetworkPlan};
use nbv_qemu::command::Access;
use nbv_qemu::{Accelerator, Choice, Disk, FindError, LineReader, MachineSpec, Nic, NicBackend, Platform, Process, Qemu, Qmp, Share, SpawnError};
use nbv_switch::{PortId, Switch, SwitchError, UplinkId, link_socket_pair, uplink_socket_pair};

use crate::event::MachineId;
use crate::forward::{self, ForwardError};
use crate::guest::{self, Guest, Resumption};
use crate::keys::Key;
use crate::network::Input;
use crate::saved::Origin;
use crate::together::Together;

/// Hardware address of every machine's eth0: each has a NAT of its own.
const UPLINK_MAC: &str = "52:54:00:12:34:56";
/// Bytes of a console that are kept on disk; what a guest writes beyond is shown, not kept.
const LOG_MAX: u64 = 64 << 20;
/// How long a line without end waits before it is shown as one (a prompt).
const PROMPT_AFTER: Duration = Duration::from_millis(300);

/// Why a machine could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The plan says nothing to boot.
    #[error("the result says nothing to boot for {machine}; build it again")]
    NoBoot {
        /// The machine.
        machine: String,
    },
    /// A file of the result is gone.
    #[error("{} is missing; build the network again", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// No QEMU.
    #[error(transparent)]
    Qemu(#[from] FindError),
    /// A system that nothing runs.
    #[error("no machine of the system `{system}` can be run")]
    System {
        /// The system.
        system: String,
    },
    /// Forwarded ports.
    #[error(transparent)]
    Forward(#[from] ForwardError),
    /// The switch.
    #[error(transparent)]
    Switch(#[from] SwitchError),
    /// The process.
    #[error(transparent)]
    Spawn(#[from] SpawnError),
    /// A disk image.
    #[error("the disk {} could not be made", path.display())]
    Disk {
        /// The image.
        path: PathBuf,
        /// Why not.
        #[source]
        source: nbv_image::ImageError,
    },
    /// The system refused.
    #[error("{action}")]
    Io {
        /// What was tried.
        action: String,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// A shared folder.
    #[error("machine {machine}: the folder {} of virtualisation.sharedDirectories.{tag} cannot be shared; `source` must be a folder of this host", path.display())]
    Share {
        /// The machine.
        machine: String,
        /// The share's name.
        tag: String,
        /// Its `source`.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// The network is no more.
    #[error("the network has ended")]
    Ended,
}

/// An error with its causes, in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}

fn failed(action: impl Into<String>) -> impl FnOnce(std::io::Error) -> StartError {
    let action = action.into();
    move |source| StartError::Io { action, source }
}

/// Keys of one machine.
pub struct MachineKeys {
    /// Of the private sshd.
    pub host: Key,
    /// For the machine's own sshd, where the configuration names no key.
    pub service: Key,
}

/// What a network is made from; it does not change while it runs.
pub struct Settings {
    /// The plan, reduced to the machines that take part.
    pub plan: NetworkPlan,
    /// Names and addresses of all machines of the whole plan.
    pub everyone: Vec<Machine>,
    /// The folder in which store paths lie on this host.
    pub store: PathBuf,
    /// The state folder.
    pub state_dir: PathBuf,
    /// QEMU and accelerator for each machine.
    pub programs: Vec<(Platform, Qemu, Choice)>,
    /// The user's public key.
    pub user_key: String,
    /// Keys of each machine.
    pub keys: Vec<MachineKeys>,
    /// Whether disks that are there already are used.
    pub keep_vm_state: bool,
    /// What saved states of this network are made from, or why there are none.
    pub origin: Result<Origin, String>,
    /// Where states are kept.
    pub cache_dir: Option<PathBuf>,
}

impl Settings {
    /// What executes a machine.
    #[must_use]
    pub fn accelerator(&self, id: MachineId) -> Accelerator {
        self.programs[id.0].2.accelerator
    }

    /// A machine's folder in the state folder.
    #[must_use]
    pub fn machine_dir(&self, id: MachineId) -> PathBuf {
        self.state_dir.join(&self.plan.machines[id.0].name)
    }

    /// The physical place of a store path.
    ///
    /// # Errors
    /// It is not there.
    fn physical(&self, logical: &str) -> Result<PathBuf, StartError> {
        let relative = logical.strip_prefix("/nix/store/").unwrap_or(logical);
        let path = self.store.join(relative);
        if path.exists() { Ok(path) } else { Err(StartError::Missing { path }) }
    }
}

/// What runs of a machine.
pub(crate) struct Running {
    pub(crate) process: Process,
    pub(crate) monitor: Arc<Qmp>,
    pub(crate) guest: Arc<Guest>,
    pub(crate) console: Arc<UnixStream>,
    ports: Vec<PortId>,
    uplink: UplinkId,
}

impl Running {
    /// Takes its cables out of the switch.
    pub(crate) fn unplug(&self, switch: &Switch) {
        self.ports.iter().for_each(|port| switch.remove_port(*port));
        switch.remove_uplink(self.uplink);
    }
}

/// Starts a machine. What it says comes back through `inputs` under its number.
pub(crate) fn start(
    settings: &Settings,
    id: MachineId,
    generation: u64,
    switch: &Switch,
    inputs: &SyncSender<Input>,
    resume: Option<&Arc<Together>>,
) -> Result<Running, StartError> {
    let machine = &settings.plan.machines[id.0];
    let (platform, qemu, choice) = &settings.programs[id.0];
    let boot = machine.boot.as_ref().ok_or_else(|| StartError::NoBoot { machine: machine.name.clone() })?;
    let dir = settings.machine_dir(id);
    if !dir.is_dir() {
        std::fs::DirBuilder::new().mode(0o700).create(&dir).map_err(failed(format!("cannot make {}", dir.display())))?;
    }
    let is_first = generation == 1;
    let mut saved = None;
    if let Some(together) = resume {
        let from = together.saved();
        from.copy_disks(machine, &dir).map_err(failed("cannot copy its disks from the saved state"))?;
        from.copy_console(&machine.name, &dir.join("console.log")).map_err(failed("cannot copy its console's log from the saved state"))?;
        saved = Some(from.memory(&machine.name).map_err(failed("cannot read the saved state"))?);
    }
    let (memory, state) = saved.unzip();
    let is_anew = is_first && resume.is_none() && !settings.keep_vm_state;
    let disks = disks(settings, machine, &dir, is_anew)?;
    let initrd = dir.join("initrd");
    if resume.is_none() {
        write_initrd(settings, id, &settings.physical(&boot.initrd)?, &initrd).map_err(failed(format!("cannot write {}", initrd.display())))?;
    }

    let (host_forwards, rules) = forward::split(machine)?;
    let (card_ours, card) = uplink_socket_pair()?;
    let (nat_ours, nat) = uplink_socket_pair()?;
    let backend = NicBackend::Nat { card, nat, is_restricted: machine.restrict_network, forwards: host_forwards };
    let mut nics = vec![Nic { mac: UPLINK_MAC.into(), backend }];
    let mut cables = Vec::new();
    for interface in &machine.interfaces {
        let (ours, theirs) = link_socket_pair()?;
        let far = theirs.try_clone().map_err(failed("cannot make a socket"))?;
        nics.push(Nic { mac: interface.mac.clone(), backend: NicBackend::Frames(theirs) });
        cables.push((interface, ours, far));
    }
    let pair = || UnixStream::pair().map_err(failed("cannot make a socket"));
    let ((console, console_peer), (control, control_peer), (monitor, monitor_peer)) = (pair()?, pair()?, pair()?);

    let mut shares = Vec::new();
    for shared in &machine.shared_directories {
        let path = PathBuf::from(&shared.source);
        let socket = std::fs::read_dir(&path).and_then(|_| crate::shared::serve(&path, &dir, &shared.tag));
        let socket = socket.map_err(|source| StartError::Share { machine: machine.name.clone(), tag: shared.tag.clone(), path, source })?;
        shares.push(Share { tag: shared.tag.clone(), socket });
    }

    let mut arguments = machine.kernel_params.join(" ");
    arguments.push_str(&format!(" init={}/init", machine.toplevel));
    let kernel = settings.physical(&boot.kernel)?;
    let loader = textmode_loader(machine, *platform, &kernel, &dir).map_err(failed(format!("cannot prepare the kernel {}", kernel.display())))?;
    let spec = MachineSpec {
        name: machine.name.clone(),
        platform: *platform,
        accelerator: choice.accelerator,
        memory_mib: machine.memory_mib,
        cores: machine.cores,
        kernel,
        loader,
        initrd,
        kernel_arguments: arguments.trim_start().to_owned(),
        disks,
        nics,
        shares,
        console: OwnedFd::from(console_peer),
        control: OwnedFd::from(control_peer),
        monitor: OwnedFd::from(monitor_peer),
        has_screen: machine.graphics,
        resumption: memory.map(|memory| nbv_qemu::Resumption { memory: Some(OwnedFd::from(memory)) }),
        extra: machine.qemu_options.clone(),
    };
    let line = nbv_qemu::command_line(qemu, spec);
    // For people who want to know.
    let _ = crate::keys::write_private(&dir.join("command"), format!("{}\n", line.display()).as_bytes());

    let log = std::fs::OpenOptions::new().create(true).append(true).mode(0o600).open(dir.join("console.log"));
    let log = log.map_err(failed("cannot open the console's log"))?;
    let uplink = switch.add_uplink(card_ours, nat_ours, rules)?;
    let mut ports = Vec::new();
    let unplug = |ports: &[PortId]| {
        ports.iter().for_each(|port| switch.remove_port(*port));
        switch.remove_uplink(uplink);
    };
    for (interface, ours, far) in cables {
        match switch.add_port(interface.segment, &crate::link::port_name(machine, &interface.name), ours) {
            Ok(port) => {
                switch.keep_far_end(port, far);
                ports.push(port);
            }
            Err(error) => {
                unplug(&ports);
                return Err(error.into());
            }
        }
    }
    let process = nbv_qemu::spawn(line, {
        let inputs = inputs.clone();
        move |exited| drop(inputs.send(Input::Exited(id, generation, exited)))
    });
    let process = match process {
        Ok(process) => process,
        Err(error) => {
            unplug(&ports);
            return Err(error.into());
        }
    };
    let talk = || -> std::io::Result<(Arc<Qmp>, Arc<Guest>, Arc<UnixStream>)> {
        let typed = Arc::new(console.try_clone()?);
        let sender = inputs.clone();
        std::thread::Builder::new()
            .name(format!("console-{}", machine.name))
            .spawn(move || read_console(console, log, id, generation, &sender))?;
        let sender = inputs.clone();
        let monitor = Arc::new(Qmp::open(monitor.into(), move |event| drop(sender.send(Input::Monitor(id, generation, event))))?);
        let sender = inputs.clone();
        let on_notice = move |notice| drop(sender.send(Input::Notice(id, generation, notice)));
        let guest = match (state, resume) {
            (Some(state), Some(together)) => {
                let resumption = Resumption { monitor: Arc::clone(&monitor), state, together: Arc::clone(together), keys: guest::new_keys(settings, id) };
                Guest::resume(control, resumption, on_notice)?
            }
            _ => Guest::open(control, on_notice)?,
        };
        Ok((monitor, Arc::new(guest), typed))
    };
    match talk() {
        Ok((monitor, guest, console)) => Ok(Running { process, monitor, guest, console, ports, uplink }),
        Err(error) => {
            process.kill();
            unplug(&ports);
            Err(failed("cannot talk to the machine")(error))
        }
    }
}

/// The machine's disks in the order of docs/architecture.md; images that are missing are made.
fn disks(settings: &Settings, machine: &Machine, dir: &Path, is_anew: bool) -> Result<Vec<Disk>, StartError> {
    let boot = machine.boot.as_ref().ok_or_else(|| StartError::NoBoot { machine: machine.name.clone() })?;
    let access = if settings.keep_vm_state { Access::ReadWrite } else { Access::Volatile };
    let mut disks = Vec::new();
    if let Some(mib) = machine.disk_mib {
        let path = dir.join("root.img");
        if is_anew {
            let _ = std::fs::remove_file(&path);
        }
        if !path.exists() {
            // Made under another name, so that a half-made one is never used.
            let new = dir.join("root.new");
            let _ = std::fs::remove_file(&new);
            let options = nbv_image::ext4::Ext4Options { uuid: disk_uuid(), label: "nixos".into(), time: unix_time(), journal: settings.keep_vm_state };
            nbv_image::ext4::make_ext4(&new, mib << 20, &options).map_err(|source| StartError::Disk { path: path.clone(), source })?;
            std::fs::rename(&new, &path).map_err(failed(format!("cannot make {}", path.display())))?;
        }
        disks.push(Disk { serial: "nbv-root".into(), path, access });
    }
    for (index, mib) in machine.empty_disks_mib.iter().enumerate() {
        let path = dir.join(format!("empty{index}.img"));
        if is_anew {
            let _ = std::fs::remove_file(&path);
        }
        let make = || -> std::io::Result<()> {
            let file = std::fs::OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&path)?;
            if file.metadata()?.len() < mib << 20 {
                file.set_len(mib << 20)?;
            }
            Ok(())
        };
        make().map_err(failed(format!("cannot make {}", path.display())))?;
        disks.push(Disk { serial: format!("nbv-empty{index}"), path, access });
    }
    for (serial, path) in [("nbv-layer", &boot.layer), ("nbv-store", &boot.store)] {
        disks.push(Disk { serial: serial.into(), path: settings.physical(path)?, access: Access::ReadOnly });
    }
    Ok(disks)
}

/// Writes what starts the kernel of a machine with a screen, where one is needed: the kernel is an ELF file.
fn textmode_loader(machine: &Machine, platform: Platform, kernel: &Path, dir: &Path) -> std::io::Result<Option<PathBuf>> {
    if !machine.graphics || !platform.needs_textmode_loader() {
        return Ok(None);
    }
    let mut head = [0; 5];
    File::open(kernel)?.read_exact(&mut head)?;
    if head != *b"\x7fELF\x02" {
        return Ok(None);
    }
    let path = dir.join("loader");
    crate::keys::write_private(&path, nbv_guest::TEXTMODE_LOADER)?;
    Ok(Some(path))
}

/// A random identity for a disk.
fn disk_uuid() -> [u8; 16] {
    let mut uuid = [0; 16];
    // Without random numbers the disk has no identity, which nothing needs.
    let _ = crate::keys::fill_random(&mut uuid);
    uuid[6] = uuid[6] & 0x0f | 0x40;
    uuid[8] = uuid[8] & 0x3f | 0x80;
    uuid
}

fn unix_time() -> u32 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    u32::try_from(now.as_secs()).unwrap_or(u32::MAX)
}

/// The fixed part of the initrd with what only this start knows behind it.
fn write_initrd(settings: &Settings, id: MachineId, fixed: &Path, path: &Path) -> std::io::Result<()> {
    let mut bytes = std::fs::read(fixed)?;
    guest::append_start_files(&mut bytes, settings, id)?;
    crate::keys::write_private(path, &bytes)
}

/// Reads a console until its machine ends: into its log, and as lines to the dispatcher.
fn read_console(stream: UnixStream, mut log: File, id: MachineId, generation: u64, inputs: &SyncSender<Input>) {
    let mut lines = LineReader::new();
    let mut buffer = vec![0; 16 * 1024];
    let mut logged = log.metadata().map_or(0, |meta| meta.len());
    let _ = stream.set_read_timeout(Some(PROMPT_AFTER));
    loop {
        let len = match (&stream).read(&mut buffer) {
            Ok(0) => break,
            Ok(len) => len,
            Err(error) if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => {
                if let Some(line) = lines.take_rest()
                    && inputs.send(Input::Console(id, generation, vec![line])).is_err()
                {
                    return;
                }
                continue;
            }
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(_) => break,
        };
        if logged < LOG_MAX {
            logged += len as u64;
            let _ = log.write_all(&buffer[..len]);
        }
        let mut batch = Vec::new();
        lines.push(&buffer[..len], &mut |line| batch.push(line));
        if !batch.is_empty() && inputs.send(Input::Console(id, generation, batch)).is_err() {
            return;
        }
    }
    let _ = lines.take_rest().map(|line| inputs.send(Input::Console(id, generation, vec![line])));
    let _ = inputs.send(Input::ConsoleClosed(id, generation));
}
