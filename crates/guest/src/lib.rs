//! What runs inside a guest, and the protocol to talk with it.
//!
//! - [`programs`]: `init`, `control` and `activate`, freestanding C programs (`src/c`), one set per architecture;
//! - [`initrd`]: the initial file system, a fixed part and one made at each start;
//! - [`protocol`] and [`client`]: programs in the guest, run from the host.
//!
//! Not here: QEMU, sockets' places, what a machine's configuration is.

pub mod client;
pub mod initrd;
pub mod protocol;

pub use client::{Client, Error, ExitStatus, Notice, Output, RunOptions, Scope, Session, Spec};

/// The programs for one architecture: static ELF files.
#[derive(Debug, Clone, Copy)]
pub struct Programs {
    /// `/init` of the initial file system.
    pub init: &'static [u8],
    /// Runs programs for the host; started by `init`.
    pub control: &'static [u8],
    /// Prepares a machine as its toplevel says (docs/booting.md); it is part of the toplevel.
    pub activate: &'static [u8],
}

include!(concat!(env!("OUT_DIR"), "/programs.rs"));

/// The programs of a Nix system (`x86_64-linux`, `i686-linux`), or nothing when it is not supported.
pub fn programs(system: &str) -> Option<Programs> {
    PROGRAMS
        .iter()
        .find(|(name, _)| *name == system)
        .map(|(_, programs)| *programs)
}

/// A kernel for QEMU that starts the 64-bit ELF kernel `opt/nbv/kernel` of QEMU's firmware configuration device, and tells it of the
/// text mode that the firmware has set, which QEMU's own way to start such a kernel does not.
pub static TEXTMODE_LOADER: &[u8] = TEXTMODE;

#[cfg(test)]
mod tests {
    #[test]
    fn the_loader_is_started_by_its_note() {
        let bytes = super::TEXTMODE_LOADER;
        assert_eq!(bytes[..5], *b"\x7fELF\x01");
        // a note of the name Xen and the type PHYS32_ENTRY: the program's first byte at 1 MB
        assert_eq!(bytes.windows(20).filter(|window| *window == b"\x04\0\0\0\x04\0\0\0\x12\0\0\0Xen\0\0\0\x10\0").count(), 1);
    }

    #[test]
    fn programs_are_static_elf_of_their_architecture() {
        for (system, class, machine) in [("x86_64-linux", 2, 62), ("i686-linux", 1, 3)] {
            let programs = super::programs(system).expect("a supported system");
            for bytes in [programs.init, programs.control, programs.activate] {
                assert_eq!(bytes[..4], *b"\x7fELF");
                assert_eq!((bytes[4], bytes[18]), (class, machine), "{system}");
            }
        }
        assert!(super::programs("vax-linux").is_none());
    }
}
