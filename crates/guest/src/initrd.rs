//! The initial file system: a fixed part (programs and modules) and a part that is made at each start and appended.
//!
//! The kernel unpacks archives that follow each other, so the whole is the bytes of both. Layout: docs/architecture.md,
//! 'What a guest is given'.

use crate::Programs;
use nbv_image::{ImageError, cpio::CpioWriter};
use std::fmt::Write as _;

/// A kernel module of the fixed part, in load order.
#[derive(Debug, Clone, Copy)]
pub struct Module<'a> {
    /// File name, such as `virtio_net.ko` (or `.ko.xz` where the kernel unpacks modules itself).
    pub name: &'a str,
    /// Its content.
    pub content: &'a [u8],
    /// Parameters as insmod takes them; mostly empty.
    pub parameters: &'a str,
}

/// The fixed part: `/init`, `/control`, `/modules` (names in load order) and `/m/` with the modules.
///
/// # Errors
/// When a module's name cannot be a path.
pub fn fixed(programs: &Programs, modules: &[Module<'_>]) -> Result<Vec<u8>, ImageError> {
    let mut out = CpioWriter::new(Vec::new());
    out.dir("dev", 0o755)?;
    out.char_device("dev/console", 0o600, 5, 1)?;
    out.file("init", 0o755, programs.init)?;
    out.file("control", 0o755, programs.control)?;
    out.dir("m", 0o755)?;
    let mut order = String::new();
    for module in modules {
        out.file(&format!("m/{}", module.name), 0o644, module.content)?;
        let _ = writeln!(order, "{} {}", module.name, module.parameters);
    }
    out.file("modules", 0o644, order.as_bytes())?;
    out.finish()
}

/// An interface and its addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    /// `eth0`, ...
    pub name: String,
    /// Addresses with prefix length, IPv4 and IPv6.
    pub addresses: Vec<String>,
}

/// What a machine is told at its start.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MachineData {
    /// The host name.
    pub host_name: String,
    /// Interfaces in order; eth0 is the way out (10.0.2.15/24), if there is one.
    pub interfaces: Vec<Interface>,
    /// Default routes (IPv4, IPv6).
    pub gateways: Vec<String>,
    /// Name servers, for /etc/resolv.conf.
    pub name_servers: Vec<String>,
    /// Search domains.
    pub search: Vec<String>,
    /// The time to set: seconds and nanoseconds since 1970; none leaves the machine's clock.
    pub time: Option<(u64, u32)>,
    /// Lines for /etc/hosts.
    pub hosts: String,
    /// Random bytes for the kernel's pool, at most 512; new ones for each start.
    pub seed: Vec<u8>,
    /// Files of `/nbv/ssh`: name, content. Those that begin with `authorized_keys` and end with `.pub` are readable by all (they are
    /// not secret, and sshd reads them as the user who logs in), all others by root alone.
    pub ssh: Vec<(String, Vec<u8>)>,
}

impl MachineData {
    /// The content of `/nbv/machine`.
    pub fn machine(&self) -> String {
        let mut text = String::new();
        let _ = writeln!(text, "hostname {}", self.host_name);
        for interface in &self.interfaces {
            let _ = writeln!(text, "interface {} {}", interface.name, interface.addresses.join(" "));
        }
        for gateway in &self.gateways {
            let _ = writeln!(text, "gateway {gateway}");
        }
        for server in &self.name_servers {
            let _ = writeln!(text, "nameserver {server}");
        }
        for domain in &self.search {
            let _ = writeln!(text, "search {domain}");
        }
        if let Some((seconds, nanoseconds)) = self.time {
            let _ = writeln!(text, "time {seconds}.{nanoseconds:09}");
        }
        text
    }

    /// The part of the initial file system that is made at each start, to be appended to the fixed one. It holds secrets.
    ///
    /// # Errors
    /// When a file name cannot be a path.
    pub fn archive(&self) -> Result<Vec<u8>, ImageError> {
        let mut out = CpioWriter::new(Vec::new());
        out.dir("nbv", 0o711)?;
        out.file("nbv/machine", 0o644, self.machine().as_bytes())?;
        out.file("nbv/hosts", 0o644, self.hosts.as_bytes())?;
        if !self.seed.is_empty() {
            out.file("nbv/seed", 0o600, &self.seed)?;
        }
        out.dir("nbv/ssh", 0o711)?;
        for (name, content) in &self.ssh {
            let open = name.starts_with("authorized_keys") || name.ends_with(".pub");
            out.file(&format!("nbv/ssh/{name}"), if open { 0o644 } else { 0o600 }, content)?;
        }
        out.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn machine_lines() {
        let data = MachineData {
            host_name: "a".into(),
            interfaces: vec![Interface {
                name: "eth1".into(),
                addresses: vec!["192.168.1.2/24".into(), "2001:db8:1::2/64".into()],
            }],
            gateways: vec!["10.0.2.2".into()],
            name_servers: vec!["10.0.2.3".into()],
            time: Some((5, 70)),
            ..MachineData::default()
        };
        assert_eq!(
            data.machine(),
            "hostname a\ninterface eth1 192.168.1.2/24 2001:db8:1::2/64\ngateway 10.0.2.2\nnameserver 10.0.2.3\ntime 5.000000070\n"
        );
        let archive = data.archive().expect("an archive");
        assert_eq!(archive.len() % 4, 0);
        assert!(archive.starts_with(b"070701"));
    }

    #[test]
    fn fixed_part_has_modules_in_order() {
        let programs = crate::programs("x86_64-linux").expect("supported");
        let modules = [
            Module { name: "b.ko", content: b"B", parameters: "" },
            Module { name: "a.ko", content: b"A", parameters: "x=1" },
        ];
        let archive = fixed(&programs, &modules).expect("an archive");
        let text = String::from_utf8_lossy(&archive);
        assert!(text.contains("b.ko \na.ko x=1\n"));
    }
}
