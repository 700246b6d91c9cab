//! What QEMU needs to know for each architecture: program, machine type, processor, kernel arguments.
//!
//! Figures behind the choices are in `docs/booting.md` ('Measured').

use crate::accel::Accelerator;
use crate::tsc;

/// How a Nix system is run.
///
/// Invariant: one exists for every system that a plan may name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Platform {
    /// `x86_64-linux`.
    X86_64,
    /// `i686-linux`.
    I686,
    /// `aarch64-linux`.
    Aarch64,
    /// `riscv64-linux`.
    Riscv64,
}

/// Arguments of the kernel on every platform: quiet, nothing probed that a machine of ours does not have.
const KERNEL_COMMON: &str = "quiet loglevel=1 panic=-1 mitigations=off audit=0 apparmor=0 lsm= random.trust_cpu=on net.ifnames=0 \
    nokaslr init_on_alloc=0 cryptomgr.notests nowatchdog rcupdate.rcu_expedited=1 kfence.sample_interval=0 \
    modprobe.blacklist=autofs4,ip_tables,qemu_fw_cfg systemd.show_status=0";

impl Platform {
    /// The platform of a Nix system.
    #[must_use]
    pub fn of_system(system: &str) -> Option<Self> {
        Some(match system {
            "x86_64-linux" => Self::X86_64,
            "i686-linux" => Self::I686,
            "aarch64-linux" => Self::Aarch64,
            "riscv64-linux" => Self::Riscv64,
            _ => return None,
        })
    }

    /// Programs of QEMU that run it, the better one first.
    pub(crate) fn programs(self) -> &'static [&'static str] {
        match self {
            Self::X86_64 => &["qemu-system-x86_64"],
            Self::I686 => &["qemu-system-i386", "qemu-system-x86_64"],
            Self::Aarch64 => &["qemu-system-aarch64"],
            Self::Riscv64 => &["qemu-system-riscv64"],
        }
    }

    /// The Debian and Ubuntu package that has the program.
    pub(crate) fn package(self) -> &'static str {
        match self {
            Self::X86_64 | Self::I686 => "qemu-system-x86",
            Self::Aarch64 => "qemu-system-arm",
            Self::Riscv64 => "qemu-system-misc",
        }
    }

    /// Whether this host's processor runs the platform's programs itself.
    #[must_use]
    pub fn is_native(self) -> bool {
        match self {
            Self::X86_64 => cfg!(target_arch = "x86_64"),
            Self::I686 => cfg!(any(target_arch = "x86_64", target_arch = "x86")),
            Self::Aarch64 => cfg!(target_arch = "aarch64"),
            Self::Riscv64 => cfg!(target_arch = "riscv64"),
        }
    }

    /// The machine type (`-M`).
    pub(crate) fn machine(self, has_screen: bool) -> &'static str {
        match self {
            // Microvm has neither a keyboard's controller nor firmware that sets a screen up.
            Self::X86_64 if self.has_tsc() && !has_screen => "microvm,pcie=on,rtc=on,pit=off,pic=off",
            // For i686 it takes 3.8 s of processor time to /init, pc 4.7 and microvm (which then needs its old timers) 3.9.
            Self::X86_64 | Self::I686 => "q35",
            Self::Aarch64 | Self::Riscv64 => "virt",
        }
    }

    /// What QEMU calls the main memory of that machine type.
    #[must_use]
    pub fn memory_name(self, has_screen: bool) -> &'static str {
        match self {
            Self::X86_64 if self.has_tsc() && !has_screen => "microvm.ram",
            Self::X86_64 | Self::I686 => "pc.ram",
            Self::Aarch64 => "mach-virt.ram",
            Self::Riscv64 => "riscv_virt_board.ram",
        }
    }

    /// The processor (`-cpu`).
    pub(crate) fn cpu(self, accelerator: Accelerator) -> &'static str {
        match (accelerator, self) {
            (Accelerator::Kvm, _) => "host",
            (Accelerator::Tcg, Self::X86_64) => "qemu64,+rdrand",
            (Accelerator::Tcg, Self::I686 | Self::Aarch64) => "max",
            (Accelerator::Tcg, Self::Riscv64) => "rv64",
        }
    }

    /// Whether the console is the serial port, because the kernel has virtio as modules only.
    pub(crate) fn has_serial_console(self) -> bool {
        self == Self::I686
    }

    /// Whether a screen needs a loader in front of an ELF kernel (`nbv_guest::TEXTMODE_LOADER`).
    #[must_use]
    pub fn needs_textmode_loader(self) -> bool {
        self == Self::X86_64
    }

    /// The platform's part of the kernel's command line.
    #[must_use]
    pub fn kernel_arguments(self, accelerator: Accelerator) -> String {
        let console = if self.has_serial_console() { "console=ttyS0" } else { "console=hvc0 8250.nr_uarts=0" };
        let mut arguments = format!("{console} {KERNEL_COMMON}");
        if self == Self::X86_64 {
            // Microvm has nothing else by which a kernel could reset it: a triple fault ends QEMU.
            arguments.push_str(" reboot=t");
        }
        if let (Accelerator::Tcg, Self::X86_64, Some(khz)) = (accelerator, self, tsc::khz()) {
            // Under emulation the guest's time stamp counter is the host's, and microvm has no
            // other clock to measure it against.
            arguments.push_str(&format!(" no_timer_check tsc=reliable tsc_early_khz={khz}"));
        }
        arguments
    }

    fn has_tsc(self) -> bool {
        tsc::khz().is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_systems_have_no_platform() {
        assert_eq!(Platform::of_system("x86_64-darwin"), None);
        assert_eq!(Platform::of_system("i686-linux"), Some(Platform::I686));
    }

    #[test]
    fn kernel_arguments_are_single_words() {
        for platform in [Platform::X86_64, Platform::I686, Platform::Aarch64, Platform::Riscv64] {
            let arguments = platform.kernel_arguments(Accelerator::Tcg);
            assert!(!arguments.contains("  ") && !arguments.contains('\n'), "{arguments}");
            assert!(!arguments.contains("nosmp"), "microvm panics without its IO-APIC");
        }
    }
}
