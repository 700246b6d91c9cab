//! What this host can run, and what is missing: the machines' part of `doctor`.

use nbv_qemu::{Accelerator, Platform, Wish, accel, find};

use crate::host::Host;

/// One line of the report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What was looked at.
    pub subject: String,
    /// Whether networks can do with it.
    pub grade: Grade,
    /// What was found, and what to do if it is not good.
    pub text: String,
}

/// How good a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grade {
    /// As it should be.
    Good,
    /// It works, but less well.
    Fair,
    /// Networks that need it do not run.
    Missing,
}

/// Looks at QEMU, the accelerator and ssh.
#[must_use]
pub fn machines(host: &Host) -> Vec<Finding> {
    let mut findings = Vec::new();
    let systems = ["x86_64-linux", "i686-linux", "aarch64-linux", "riscv64-linux"];
    for system in systems {
        let Some(platform) = Platform::of_system(system) else { continue };
        let subject = format!("machines of {system}");
        match find::find(platform, host.path.as_deref()) {
            Ok(qemu) => {
                let choice = accel::choose(Wish::Auto, platform, &qemu, host.cache_dir.as_deref());
                let grade = if choice.accelerator == Accelerator::Kvm || !platform.is_native() { Grade::Good } else { Grade::Fair };
                let version = format!("{}.{}", qemu.version.0, qemu.version.1);
                findings.push(Finding { subject, grade, text: format!("{} {version}, accelerator {choice}", qemu.program.display()) });
            }
            // Emulated architectures are an extra.
            Err(error) if platform.is_native() => findings.push(Finding { subject, grade: Grade::Missing, text: error.to_string() }),
            Err(error) => findings.push(Finding { subject, grade: Grade::Fair, text: error.to_string() }),
        }
    }
    let (grade, text) = match find::in_path("ssh", host.path.as_deref()) {
        Some(program) => (Grade::Good, program.display().to_string()),
        None => (Grade::Fair, "not found in PATH; `ssh` needs the package openssh-client (`shell` does not)".to_owned()),
    };
    findings.push(Finding { subject: "ssh".into(), grade, text });
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_without_programs_is_told_which_packages_to_install() {
        let host = Host {
            base_dir: "/nowhere".into(),
            cache_dir: None,
            path: Some("/nowhere".into()),
            exe: "/nowhere/nbv".into(),
            current_dir: "/".into(),
            state_dir: None,
            has_colour: false,
        };
        let findings = machines(&host);
        assert!(findings.iter().any(|finding| finding.grade == Grade::Missing && finding.text.contains("qemu-system-x86")));
        assert!(findings.iter().any(|finding| finding.subject == "ssh" && finding.text.contains("openssh-client")));
    }
}
