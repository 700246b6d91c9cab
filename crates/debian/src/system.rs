//! Systems in Nix' words and what they are in Debian.

use crate::error::{DebianError, Result};

/// A system that Debian's packages can make guests for.
#[derive(Debug, PartialEq, Eq)]
pub struct System {
    /// Nix' name, such as "x86_64-linux".
    pub nix: &'static str,
    /// Debian's architecture, such as "amd64".
    pub arch: &'static str,
    /// Code name of the suite that its packages come from.
    pub suite: &'static str,
    /// Folder of libraries under /usr/lib.
    pub multiarch: &'static str,
    /// Package of the kernel (a metapackage that depends on the current one).
    pub kernel: &'static str,
}

pub static SYSTEMS: [System; 4] = [
    System { nix: "x86_64-linux", arch: "amd64", suite: "trixie", multiarch: "x86_64-linux-gnu", kernel: "linux-image-cloud-amd64" },
    System { nix: "i686-linux", arch: "i386", suite: "bookworm", multiarch: "i386-linux-gnu", kernel: "linux-image-686" },
    System { nix: "aarch64-linux", arch: "arm64", suite: "trixie", multiarch: "aarch64-linux-gnu", kernel: "linux-image-cloud-arm64" },
    System { nix: "riscv64-linux", arch: "riscv64", suite: "trixie", multiarch: "riscv64-linux-gnu", kernel: "linux-image-riscv64" },
];

impl System {
    /// The system of a Nix name. Errors: a name that is not in the table.
    pub fn by_name(nix: &str) -> Result<&'static System> {
        SYSTEMS.iter().find(|s| s.nix == nix).ok_or_else(|| DebianError::UnknownSystem {
            system: nix.to_string(),
            known: SYSTEMS.iter().map(|s| s.nix).collect::<Vec<_>>().join(", "),
        })
    }

    /// Packages that every layer of the system has, beside all that are essential: what a guest of NixOS'
    /// shape needs to start, be reached and be administered. The kernel first.
    pub fn base(&self) -> Vec<&'static str> {
        let mut list = vec![self.kernel];
        list.extend([
            // the system
            "systemd", "systemd-sysv", "udev", "dbus", "libpam-systemd", "libpam-modules", "libpam-runtime", "libnss-systemd", "libnss-myhostname",
            "systemd-resolved", "systemd-timesyncd", "kmod", "login", "passwd", "mount", "util-linux", "util-linux-extra", "e2fsprogs",
            // the network
            "iproute2", "iputils-ping", "nftables", "iptables", "openssh-server", "openssh-client", "netbase", "ca-certificates",
            // the shell, also of builders in the sandbox
            "bash", "coreutils", "findutils", "diffutils", "grep", "sed", "tar", "gzip", "xz-utils", "bzip2", "procps", "psmisc", "less", "hostname", "whois",
            "ncurses-base", "ncurses-bin", "tzdata", "busybox-static", "netcat-openbsd", "libcap2-bin", "uidmap", "acl",
        ]);
        list
    }
}
