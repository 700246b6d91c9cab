//! QEMU's command line from a typed description of a machine.
//!
//! Descriptors (console, control channel, monitor, network cards) are inherited, so nothing of a
//! machine has a name in the file system that could outlive it. Disks are given as JSON, so a path may hold any
//! character. The order of devices is part of the contract: root, empty disks, layer, store; eth0, eth1, ...
//!
//! Not here: what the values are (crate `driver`), running it ([`crate::process`]).

use std::ffi::OsString;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::PathBuf;

use serde_json::json;

use crate::accel::Accelerator;
use crate::find::Qemu;
use crate::platform::Platform;
use crate::process::CommandLine;

/// A machine as QEMU needs to know it.
#[derive(Debug)]
pub struct MachineSpec {
    /// The machine's name, for the process list.
    pub name: String,
    /// Its architecture.
    pub platform: Platform,
    /// What executes it.
    pub accelerator: Accelerator,
    /// Memory, MiB.
    pub memory_mib: u32,
    /// Processors.
    pub cores: u32,
    /// The kernel.
    pub kernel: PathBuf,
    /// What is started instead, and loads the kernel by itself.
    pub loader: Option<PathBuf>,
    /// The initial file system.
    pub initrd: PathBuf,
    /// Words for the kernel beyond the platform's own.
    pub kernel_arguments: String,
    /// Disks in their order.
    pub disks: Vec<Disk>,
    /// Network cards in their order.
    pub nics: Vec<Nic>,
    /// Folders of the host.
    pub shares: Vec<Share>,
    /// Our end's peer of the console: a stream socket.
    pub console: OwnedFd,
    /// The peer of the control channel: a stream socket.
    pub control: OwnedFd,
    /// The peer of the monitor: a stream socket.
    pub monitor: OwnedFd,
    /// Whether it has a screen and a keyboard.
    pub has_screen: bool,
    /// It waits for a saved state instead of booting ([`crate::migrate`]).
    pub resumption: Option<Resumption>,
    /// The user's own arguments, last.
    pub extra: Vec<String>,
}

/// What a machine needs to wait for its saved state.
#[derive(Debug)]
pub struct Resumption {
    /// Its memory, open for reading and writing, where that is a file ([`crate::stream`]). It is mapped and never written.
    pub memory: Option<OwnedFd>,
}

/// A disk.
#[derive(Debug)]
pub struct Disk {
    /// By which the guest tells it.
    pub serial: String,
    /// The raw image.
    pub path: PathBuf,
    /// Whether the guest may write.
    pub access: Access,
}

/// How a disk is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// By many machines at once.
    ReadOnly,
    /// By this machine alone.
    ReadWrite,
    /// By this machine alone, and it need not survive the host.
    Volatile,
}

/// A folder of the host that the machine sees as a virtio-fs device.
#[derive(Debug)]
pub struct Share {
    /// By which the guest tells it, at most 36 bytes.
    pub tag: String,
    /// Where vhost-user is spoken: a stream socket.
    pub socket: OwnedFd,
}

/// A network card.
#[derive(Debug)]
pub struct Nic {
    /// Hardware address, `52:54:00:12:01:02`.
    pub mac: String,
    /// What it is plugged into.
    pub backend: NicBackend,
}

/// What a card is plugged into.
#[derive(Debug)]
pub enum NicBackend {
    /// A stream socket, each frame behind its length.
    Frames(OwnedFd),
    /// The user-mode NAT, through two datagram sockets: what is between them decides what passes.
    Nat {
        /// The card's side.
        card: OwnedFd,
        /// The NAT's side.
        nat: OwnedFd,
        /// No way to the outside; forwards stay.
        is_restricted: bool,
        /// Ports of the host that lead to the guest.
        forwards: Vec<HostForward>,
    },
}

/// A port of the host that leads into the guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HostForward {
    /// The protocol.
    pub protocol: Protocol,
    /// Where the host listens.
    pub host: (Ipv4Addr, u16),
    /// Where it leads; unspecified means the guest's own address.
    pub guest: (Ipv4Addr, u16),
}

/// A transport protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

impl HostForward {
    /// The forward in the words of `hostfwd`.
    #[must_use]
    pub fn rule(&self) -> String {
        let protocol = match self.protocol {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
        };
        let guest = if self.guest.0.is_unspecified() { String::new() } else { self.guest.0.to_string() };
        format!("{protocol}:{}:{}-{guest}:{}", self.host.0, self.host.1, self.guest.1)
    }
}

/// Arguments in the order in which they are given, and what is inherited with them.
struct Line {
    args: Vec<OsString>,
    fds: Vec<OwnedFd>,
}

impl Line {
    fn flag(&mut self, name: &str, value: impl Into<OsString>) {
        self.args.push(name.into());
        self.args.push(value.into());
    }

    /// Keeps a descriptor for the child and gives its number.
    fn fd(&mut self, fd: OwnedFd) -> i32 {
        let number = fd.as_raw_fd();
        self.fds.push(fd);
        number
    }

    fn dgram(&mut self, id: &str, fd: OwnedFd) {
        let number = self.fd(fd);
        self.flag("-netdev", format!("dgram,id={id},local.type=fd,local.str={number}"));
    }
}

/// Writes the command line that runs a machine.
#[must_use]
pub fn command_line(qemu: &Qemu, spec: MachineSpec) -> CommandLine {
    let mut line = Line { args: Vec::new(), fds: Vec::new() };
    let platform = spec.platform;
    for flag in ["-nodefaults", "-no-user-config", "-no-reboot"] {
        line.args.push(flag.into());
    }
    line.flag("-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny");
    line.flag("-name", escape(&spec.name));
    line.flag("-display", "none");
    let is_resumed = spec.resumption.is_some();
    if let Some(memory) = spec.resumption.and_then(|resumption| resumption.memory) {
        let (id, number) = (platform.memory_name(spec.has_screen), line.fd(memory));
        // Private: what the machine writes is its own; what it does not write it shares with all that resume from this file.
        line.flag("-object", format!("memory-backend-file,id={id},size={}M,mem-path=/proc/self/fd/{number},share=off", spec.memory_mib));
        line.flag("-M", format!("{},memory-backend={id}", platform.machine(spec.has_screen)));
    } else if spec.shares.is_empty() {
        line.flag("-M", platform.machine(spec.has_screen));
    } else {
        // Who serves the folders reads and writes the guest's memory.
        line.flag("-object", format!("memory-backend-memfd,id=ram,size={}M,share=on", spec.memory_mib));
        line.flag("-M", format!("{},memory-backend=ram", platform.machine(spec.has_screen)));
    }
    line.flag("-accel", match (spec.accelerator, spec.cores) {
        (Accelerator::Kvm, _) => "kvm".to_owned(),
        (Accelerator::Tcg, 1) => "tcg,thread=single".to_owned(),
        (Accelerator::Tcg, _) => "tcg,thread=multi".to_owned(),
    });
    line.flag("-cpu", platform.cpu(spec.accelerator));
    line.flag("-m", spec.memory_mib.to_string());
    line.flag("-smp", spec.cores.to_string());
    if !is_resumed {
        match spec.loader {
            None => line.flag("-kernel", spec.kernel),
            Some(loader) => {
                line.flag("-kernel", loader);
                line.flag("-fw_cfg", format!("name=opt/nbv/kernel,file={}", escape(&spec.kernel.to_string_lossy())));
            }
        }
        line.flag("-initrd", spec.initrd);
        // The firmware sets the text mode again when a machine wakes.
    let screen = if spec.has_screen { " acpi_sleep=s3_bios,s3_mode" } else { "" };
    line.flag("-append", format!("{}{screen} {}", platform.kernel_arguments(spec.accelerator), spec.kernel_arguments));
    }
    disks(&mut line, spec.disks);
    nics(&mut line, spec.nics);
    for (index, share) in spec.shares.into_iter().enumerate() {
        let number = line.fd(share.socket);
        line.flag("-chardev", format!("socket,id=share{index},fd={number}"));
        line.flag("-device", format!("vhost-user-fs-pci,chardev=share{index},tag={}", escape(&share.tag)));
    }
    line.flag("-device", "virtio-serial-pci,id=ser0");
    for (id, fd) in [("console", spec.console), ("control", spec.control), ("monitor", spec.monitor)] {
        let number = line.fd(fd);
        line.flag("-chardev", format!("socket,id={id},fd={number}"));
    }
    if platform.has_serial_console() {
        line.flag("-serial", "chardev:console");
    } else {
        line.flag("-device", "virtconsole,chardev=console,bus=ser0.0");
    }
    line.flag("-device", "virtserialport,chardev=control,name=nbv.control,bus=ser0.0");
    line.flag("-mon", "chardev=monitor,mode=control");
    if spec.has_screen {
        // A screen to look at on request ([`crate::screen`]).
        line.flag("-vnc", "none");
        if matches!(platform, Platform::X86_64 | Platform::I686) {
            // The keyboard is the machine type's own. The mouse is in the guest once it loads virtio_input.
            line.flag("-device", "VGA");
        } else {
            line.flag("-device", "virtio-gpu-pci");
            line.flag("-device", "virtio-keyboard-pci");
        }
        line.flag("-device", "virtio-tablet-pci");
    }
    if is_resumed {
        // Stopped until it is told to run, so that nothing happens before all is there.
        line.flag("-incoming", "defer");
        line.args.push("-S".into());
    }
    line.args.extend(spec.extra.into_iter().map(OsString::from));
    CommandLine { program: qemu.program.clone(), args: line.args, fds: line.fds }
}

fn disks(line: &mut Line, disks: Vec<Disk>) {
    for (index, disk) in disks.into_iter().enumerate() {
        let id = format!("disk{index}");
        let read_only = disk.access == Access::ReadOnly;
        // Only text can be JSON; a path that is none is not one that we made.
        let path = disk.path.to_string_lossy();
        let blockdev = json!({
            "driver": "raw",
            "node-name": id,
            "read-only": read_only,
            "discard": if read_only { "ignore" } else { "unmap" },
            "cache": { "direct": false, "no-flush": disk.access == Access::Volatile },
            "file": {
                "driver": "file",
                "filename": path,
                "locking": if read_only { "off" } else { "auto" },
                "discard": if read_only { "ignore" } else { "unmap" },
            },
        });
        line.flag("-blockdev", blockdev.to_string());
        line.flag("-device", format!("virtio-blk-pci,drive={id},serial={}", escape(&disk.serial)));
    }
}

fn nics(line: &mut Line, nics: Vec<Nic>) {
    for (index, nic) in nics.into_iter().enumerate() {
        let id = format!("net{index}");
        match nic.backend {
            NicBackend::Frames(fd) => {
                let number = line.fd(fd);
                line.flag("-netdev", format!("stream,id={id},addr.type=fd,addr.str={number}"));
            }
            NicBackend::Nat { card, nat, is_restricted, forwards } => {
                line.dgram(&id, card);
                let mut user = format!("user,id={id}u,ipv6=off,restrict={}", if is_restricted { "on" } else { "off" });
                for forward in forwards {
                    user.push_str(&format!(",hostfwd={}", forward.rule()));
                }
                line.flag("-netdev", user);
                line.dgram(&format!("{id}n"), nat);
                // A hub of two ports joins the NAT with its socket.
                for (port, peer) in [("a", "u"), ("b", "n")] {
                    line.flag("-netdev", format!("hubport,hubid={index},id={id}{port},netdev={id}{peer}"));
                }
            }
        }
        line.flag("-device", format!("virtio-net-pci,id=nic{index},netdev={id},romfile=,mac={}", escape(&nic.mac)));
    }
}

/// A value within QEMU's comma-separated options.
fn escape(value: &str) -> String {
    value.replace(',', ",,")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fd() -> OwnedFd {
        std::fs::File::open("/dev/null").unwrap().into()
    }

    fn spec(platform: Platform) -> MachineSpec {
        MachineSpec {
            name: "web".into(),
            platform,
            accelerator: Accelerator::Tcg,
            memory_mib: 256,
            cores: 1,
            kernel: "/k".into(),
            loader: None,
            initrd: "/i".into(),
            kernel_arguments: "init=/nix/store/x/init".into(),
            disks: vec![
                Disk { serial: "nbv-root".into(), path: "/odd, \"name\".img".into(), access: Access::ReadWrite },
                Disk { serial: "nbv-layer".into(), path: "/layer".into(), access: Access::ReadOnly },
            ],
            nics: vec![
                Nic {
                    mac: "52:54:00:12:34:56".into(),
                    backend: NicBackend::Nat {
                        card: fd(),
                        nat: fd(),
                        is_restricted: true,
                        forwards: vec![HostForward { protocol: Protocol::Tcp, host: (Ipv4Addr::LOCALHOST, 8080), guest: (Ipv4Addr::UNSPECIFIED, 80) }],
                    },
                },
                Nic { mac: "52:54:00:12:01:01".into(), backend: NicBackend::Frames(fd()) },
            ],
            shares: vec![Share { tag: "work".into(), socket: fd() }],
            console: fd(),
            control: fd(),
            monitor: fd(),
            has_screen: false,
            resumption: None,
            extra: vec!["-name".into(), "mine".into()],
        }
    }

    fn words(platform: Platform) -> Vec<String> {
        let qemu = Qemu { program: "/q".into(), version: (7, 2) };
        command_line(&qemu, spec(platform)).args.into_iter().map(|word| word.into_string().unwrap()).collect()
    }

    #[test]
    fn qemu_may_start_nothing_and_rise_to_nothing() {
        let words = words(Platform::X86_64);
        let at = words.iter().position(|word| word == "-sandbox").unwrap();
        assert_eq!(words[at + 1], "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny");
    }

    #[test]
    fn the_root_disk_and_eth0_come_first_and_the_users_words_last() {
        let words = words(Platform::X86_64);
        let devices: Vec<&String> = words.windows(2).filter(|pair| pair[0] == "-device").map(|pair| &pair[1]).collect();
        assert!(devices[0].ends_with("serial=nbv-root") && devices[1].ends_with("serial=nbv-layer"), "{devices:?}");
        assert!(devices[2].contains("52:54:00:12:34:56") && devices[3].contains("52:54:00:12:01:01"), "{devices:?}");
        assert_eq!(words[words.len() - 2..], ["-name", "mine"]);
    }

    #[test]
    fn the_nat_is_reached_only_through_two_sockets_and_listens_on_loopback() {
        let words = words(Platform::X86_64);
        let user = words.iter().find(|word| word.starts_with("user,")).unwrap();
        assert!(user.contains("hostfwd=tcp:127.0.0.1:8080-:80") && user.contains("restrict=on") && user.contains("ipv6=off"), "{user}");
        assert_eq!(words.iter().filter(|word| word.starts_with("hubport,hubid=0")).count(), 2);
        assert_eq!(words.iter().filter(|word| word.starts_with("dgram,")).count(), 2);
        assert_eq!(words.iter().filter(|word| word.starts_with("stream,")).count(), 1);
        assert!(words.iter().any(|word| word.starts_with("virtio-net-pci,id=nic0,netdev=net0,")), "the card is not on the NAT itself");
    }

    #[test]
    fn a_disks_path_may_hold_any_character() {
        let words = words(Platform::X86_64);
        let json = words.iter().find(|word| word.starts_with('{')).unwrap();
        let value: serde_json::Value = serde_json::from_str(json).unwrap();
        assert_eq!(value["file"]["filename"], "/odd, \"name\".img");
    }

    #[test]
    fn shared_folders_are_devices_and_the_memory_is_shared_for_them() {
        let words = words(Platform::X86_64);
        assert!(words.iter().any(|word| word == "vhost-user-fs-pci,chardev=share0,tag=work"), "{words:?}");
        assert!(words.iter().any(|word| word == "memory-backend-memfd,id=ram,size=256M,share=on"), "{words:?}");
        assert!(words.iter().any(|word| word.ends_with(",memory-backend=ram")), "{words:?}");
    }

    #[test]
    fn the_console_of_i686_is_the_serial_port() {
        let words = words(Platform::I686);
        assert!(words.iter().any(|word| word == "chardev:console"));
        assert!(!words.iter().any(|word| word.starts_with("virtconsole")));
    }
}
