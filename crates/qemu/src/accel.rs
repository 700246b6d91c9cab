//! Which accelerator runs a machine, decided by evidence.
//!
//! A `/dev/kvm` that opens is no proof: there are hosts on which guests then hang for ever. KVM is
//! chosen when the processor says that it can (`svm` or `vmx`), the device opens, and a small guest
//! came to its end within a deadline; that answer is kept until the host boots again.
//! All else is TCG, QEMU's emulation.

use std::path::Path;
use std::time::Duration;

use crate::find::Qemu;
use crate::platform::Platform;
use crate::probe;

/// How long the probe guest may take; it needs some 30 ms.
const PROBE_DEADLINE: Duration = Duration::from_secs(3);

/// What executes a guest's instructions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accelerator {
    /// The host's processor.
    Kvm,
    /// QEMU's translation.
    Tcg,
}

impl Accelerator {
    /// QEMU's name for it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Kvm => "kvm",
            Self::Tcg => "tcg",
        }
    }

    /// By how much built-in limits are stretched.
    #[must_use]
    pub fn patience(self) -> u32 {
        match self {
            Self::Kvm => 1,
            Self::Tcg => 4,
        }
    }
}

/// What the user wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Wish {
    /// By evidence.
    #[default]
    Auto,
    /// This one, whatever the evidence.
    Forced(Accelerator),
}

impl std::str::FromStr for Wish {
    type Err = String;
    fn from_str(word: &str) -> Result<Self, String> {
        match word {
            "auto" => Ok(Self::Auto),
            "kvm" => Ok(Self::Forced(Accelerator::Kvm)),
            "tcg" => Ok(Self::Forced(Accelerator::Tcg)),
            _ => Err(format!("unknown accelerator `{word}`; there are auto, kvm and tcg")),
        }
    }
}

/// An accelerator and why it was chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// The accelerator.
    pub accelerator: Accelerator,
    /// Why, as the rest of a sentence.
    pub reason: String,
}

impl std::fmt::Display for Choice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({})", self.accelerator.name(), self.reason)
    }
}

/// Chooses for one platform. `cache` is a folder in which the probe's answer is kept; it need not exist.
#[must_use]
pub fn choose(wish: Wish, platform: Platform, qemu: &Qemu, cache: Option<&Path>) -> Choice {
    let tcg = |reason: &str| Choice { accelerator: Accelerator::Tcg, reason: reason.to_owned() };
    match wish {
        Wish::Forced(accelerator) => return Choice { accelerator, reason: "as asked".into() },
        Wish::Auto if !platform.is_native() => return tcg("the machine's architecture is not this host's"),
        Wish::Auto => {}
    }
    if !cfg!(target_arch = "x86_64") {
        return tcg("no probe for this host's architecture; --accel kvm uses KVM without one");
    }
    let processor = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    if !has_virtualisation(&processor) {
        return tcg("the processor has neither svm nor vmx");
    }
    if let Err(error) = std::fs::OpenOptions::new().read(true).write(true).open("/dev/kvm") {
        return tcg(&format!("/dev/kvm does not open: {error}"));
    }
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let key = format!("{} {} {}.{}", boot.trim(), qemu.program.display(), qemu.version.0, qemu.version.1);
    let file = cache.map(|folder| folder.join("kvm-probe"));
    let known = file.as_deref().and_then(|file| std::fs::read_to_string(file).ok()).and_then(|text| {
        let (was, verdict) = text.split_once('\n')?;
        (was == key).then(|| verdict.trim_end().to_owned())
    });
    let verdict = known.unwrap_or_else(|| {
        let verdict = match probe::run(&qemu.program, Accelerator::Kvm, PROBE_DEADLINE) {
            Ok(()) => "ok".to_owned(),
            Err(reason) => reason,
        };
        if let (Some(file), Some(folder)) = (&file, cache) {
            // Without the file the probe is only run again.
            let _ = std::fs::create_dir_all(folder).and_then(|()| std::fs::write(file, format!("{key}\n{verdict}\n")));
        }
        verdict
    });
    match verdict.as_str() {
        "ok" => Choice { accelerator: Accelerator::Kvm, reason: "a probe guest ran".into() },
        reason => tcg(&format!("KVM is there, but {reason}")),
    }
}

fn has_virtualisation(cpuinfo: &str) -> bool {
    cpuinfo
        .lines()
        .find(|line| line.starts_with("flags"))
        .is_some_and(|line| line.split_whitespace().any(|flag| flag == "svm" || flag == "vmx"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn qemu() -> Qemu {
        Qemu { program: "/nowhere/qemu".into(), version: (7, 2) }
    }

    #[test]
    fn a_processor_without_the_flag_is_no_evidence() {
        assert!(!has_virtualisation("processor : 0\nflags : fpu tsc svm_lock\n"));
        assert!(has_virtualisation("processor : 0\nflags\t\t: fpu vmx tsc\n"));
    }

    #[test]
    fn the_users_word_wins() {
        let choice = choose("kvm".parse().unwrap(), Platform::Aarch64, &qemu(), None);
        assert_eq!(choice.accelerator, Accelerator::Kvm);
        assert!("xen".parse::<Wish>().is_err());
    }

    #[test]
    fn a_foreign_machine_is_emulated() {
        let foreign = if cfg!(target_arch = "riscv64") { Platform::X86_64 } else { Platform::Riscv64 };
        assert_eq!(choose(Wish::Auto, foreign, &qemu(), None).accelerator, Accelerator::Tcg);
    }
}
