//! Where QEMU's programs are, and which version they are.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;

use crate::platform::Platform;

/// Oldest version with what we use: datagram sockets given as descriptors.
pub const OLDEST: (u32, u32) = (7, 2);

/// A program of QEMU.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Qemu {
    /// The program.
    pub program: PathBuf,
    /// Major and minor version.
    pub version: (u32, u32),
}

/// Why there is no usable QEMU.
#[derive(Debug, thiserror::Error)]
pub enum FindError {
    /// None in the search path.
    #[error("{program} was not found in PATH; install the package {package} (apt-get install --no-install-recommends {package})")]
    Missing {
        /// The program looked for.
        program: &'static str,
        /// The package that has it.
        package: &'static str,
    },
    /// It does not run.
    #[error("{} does not tell its version: {reason}", program.display())]
    Broken {
        /// The program.
        program: PathBuf,
        /// What happened.
        reason: String,
    },
    /// Too old.
    #[error("{} is version {}.{}; at least {}.{} is needed", program.display(), found.0, found.1, OLDEST.0, OLDEST.1)]
    Old {
        /// The program.
        program: PathBuf,
        /// Its version.
        found: (u32, u32),
    },
}

/// Finds the program that runs a platform. `path` is the value of `PATH`.
///
/// # Errors
/// None is installed, it does not run, or it is too old.
pub fn find(platform: Platform, path: Option<&OsStr>) -> Result<Qemu, FindError> {
    let program = platform
        .programs()
        .iter()
        .find_map(|name| in_path(name, path))
        .ok_or(FindError::Missing { program: platform.programs()[0], package: platform.package() })?;
    let version = version(&program)?;
    if version < OLDEST {
        return Err(FindError::Old { program, found: version });
    }
    Ok(Qemu { program, version })
}

/// The first executable file of that name in a search path.
#[must_use]
pub fn in_path(name: &str, path: Option<&OsStr>) -> Option<PathBuf> {
    let is_program = |file: &PathBuf| std::fs::metadata(file).is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0);
    std::env::split_paths(path?).filter(|folder| folder.is_absolute()).map(|folder| folder.join(name)).find(is_program)
}

/// Asks a program for its version; asked once per program.
fn version(program: &Path) -> Result<(u32, u32), FindError> {
    static KNOWN: Mutex<Option<HashMap<PathBuf, (u32, u32)>>> = Mutex::new(None);
    let mut known = KNOWN.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let known = known.get_or_insert_default();
    if let Some(version) = known.get(program) {
        return Ok(*version);
    }
    let broken = |reason: String| FindError::Broken { program: program.to_owned(), reason };
    let output = Command::new(program).arg("--version").stdin(Stdio::null()).output().map_err(|error| broken(error.to_string()))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let version = parse_version(&text).ok_or_else(|| {
        let error = String::from_utf8_lossy(&output.stderr);
        broken(format!("{}; it says {:?}", output.status, format!("{text}{error}").trim()))
    })?;
    known.insert(program.to_owned(), version);
    Ok(version)
}

/// Reads `QEMU emulator version 7.2.22 (...)`.
fn parse_version(text: &str) -> Option<(u32, u32)> {
    let word = text.split_once("version ")?.1;
    let mut numbers = word.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read() {
        assert_eq!(parse_version("QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7+deb12u18)"), Some((7, 2)));
        assert_eq!(parse_version("QEMU emulator version 10.0.2"), Some((10, 0)));
        assert_eq!(parse_version("not it"), None);
    }

    #[test]
    fn a_missing_program_names_its_package() {
        let error = find(Platform::Aarch64, Some(OsStr::new("/nowhere"))).unwrap_err();
        assert!(error.to_string().contains("install the package qemu-system-arm"), "{error}");
    }
}
