//! Settings with the names of nix.conf(5): from files, from `NIX_CONFIG`, from `--option`.
//!
//! Order, later wins: `$NIX_CONF_DIR/nix.conf` (`/etc/nix/nix.conf`), the user's files
//! (`$NIX_USER_CONF_FILES`, else `nix/nix.conf` in `$XDG_CONFIG_DIRS` and `$XDG_CONFIG_HOME`), the lines of
//! `$NIX_CONFIG`, the command line. `extra-NAME` appends to a list. `include` and `!include` work as in Nix.
//!
//! Not here: what a setting does.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

/// How a setting's text is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Bool,
    Number,
    /// A number or `auto`.
    NumberOrAuto,
    /// `true`, `false` or `relaxed`.
    Sandbox,
    Text,
    /// Words; `extra-` appends.
    List,
}

/// The settings that do something here.
const KNOWN: &[(&str, Kind)] = &[
    ("accelerator", Kind::Text),
    ("base", Kind::Text),
    ("connect-timeout", Kind::Number),
    ("cores", Kind::Number),
    ("debian-mirror", Kind::Text),
    ("download-attempts", Kind::Number),
    ("experimental-features", Kind::List),
    ("http-connections", Kind::Number),
    ("keep-failed", Kind::Bool),
    ("log-lines", Kind::Number),
    ("max-call-depth", Kind::Number),
    ("max-jobs", Kind::NumberOrAuto),
    ("nix-path", Kind::List),
    ("sandbox", Kind::Sandbox),
    ("show-trace", Kind::Bool),
    ("store", Kind::Text),
    ("timeout", Kind::Number),
];

/// Settings of Nix that mean nothing here: accepted, since they stand in people's nix.conf, with no effect.
const WITHOUT_EFFECT: &str = "abort-on-warn accept-flake-config access-tokens allow-dirty allow-dirty-locks allow-import-from-derivation \
allow-new-privileges allow-symlinked-store allow-unsafe-native-code-during-evaluation allowed-impure-host-deps allowed-uris allowed-users \
allow-unsafe-native-code always-allow-substitutes auto-allocate-uids auto-optimise-store bash-prompt bash-prompt-prefix bash-prompt-suffix build-dir \
build-hook build-poll-interval build-provenance-tags build-users-group builders builders-use-substitutes commit-lock-file-summary commit-lockfile-summary \
compress-build-log debugger-on-trace debugger-on-warn diff-hook download-buffer-size download-speed enforce-determinism eval-cache eval-cores \
eval-profile-file eval-profiler eval-profiler-frequency eval-system external-builders extra-platforms extra-sandbox-paths fallback \
filter-syscalls flake-registry fsync-metadata fsync-store-paths gc-reserved-space hashed-mirrors http2 id-count ignore-try ignored-acls \
impersonate-linux-26 impure-env keep-build-log keep-derivations keep-env-derivations keep-going keep-outputs lint-absolute-path-literals \
lint-short-path-literals lint-url-literals max-build-log-size max-free max-jobs max-silent-time max-substitution-jobs min-free \
min-free-check-interval nar-buffer-size narinfo-cache-meta-ttl narinfo-cache-negative-ttl narinfo-cache-positive-ttl netrc-file plugin-files \
post-build-hook pre-build-hook preallocate-contents print-missing pure-eval repeat require-drop-supplementary-groups require-sigs restrict-eval \
run-diff-hook sandbox-build-dir sandbox-dev-shm-size sandbox-fallback sandbox-paths secret-key-files ssl-cert-file stalled-download-timeout \
start-id substitute substituters sync-before-registering system system-features tarball-ttl trace-function-calls trace-verbose \
trust-tarballs-from-git-forges trusted-public-keys trusted-substituters trusted-users upgrade-nix-store-path-url use-case-hack use-cgroups \
use-registries use-sqlite-wal use-xdg-base-directories user-agent-suffix warn-about-url-literals warn-dirty warn-large-path-threshold \
warn-short-path-literals";

/// Where a value was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Origin {
    /// `--option`.
    CommandLine,
    /// A file and its line.
    File(PathBuf, usize),
    /// `NIX_CONFIG`, line.
    Environment(usize),
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::CommandLine => f.write_str("the command line"),
            Self::File(path, line) => write!(f, "{}:{line}", path.display()),
            Self::Environment(line) => write!(f, "NIX_CONFIG, line {line}"),
        }
    }
}

/// Why a setting was refused.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum SettingError {
    /// The value is not of the setting's type.
    #[error("setting `{name}` has the value `{value}`, expected {expected} (from {origin})")]
    Value { name: String, value: String, expected: &'static str, origin: String },
    /// A line of a file is not a setting.
    #[error("{origin}: not a setting: `{line}`; a setting is written NAME = VALUE")]
    Line { origin: String, line: String },
    /// A file that must be included is missing.
    #[error("{origin}: cannot read the included file {path}: {why}")]
    Include { origin: String, path: String, why: String },
}

/// The settings in force.
#[derive(Debug, Default, Clone)]
pub(crate) struct Settings {
    values: BTreeMap<&'static str, String>,
    /// What the user should hear: unknown names, names without effect.
    pub(crate) warnings: Vec<String>,
}

impl Settings {
    /// Reads the files and the environment.
    ///
    /// # Errors
    /// A bad value or line, each with its place.
    pub(crate) fn load(env: &dyn Fn(&str) -> Option<String>) -> Result<Self, SettingError> {
        let mut settings = Self::default();
        let system = env("NIX_CONF_DIR").unwrap_or_else(|| "/etc/nix".into());
        settings.file(&Path::new(&system).join("nix.conf"), None)?;
        for file in user_files(env) {
            settings.file(&file, None)?;
        }
        if let Some(text) = env("NIX_CONFIG") {
            settings.lines(&text, None, &|line| Origin::Environment(line))?;
        }
        Ok(settings)
    }

    fn file(&mut self, path: &Path, required_by: Option<&Origin>) -> Result<(), SettingError> {
        match std::fs::read_to_string(path) {
            Ok(text) => self.lines(&text, path.parent(), &|line| Origin::File(path.to_path_buf(), line)),
            Err(error) => match required_by {
                Some(origin) => {
                    Err(SettingError::Include { origin: origin.to_string(), path: path.display().to_string(), why: error.to_string() })
                }
                None => Ok(()),
            },
        }
    }

    fn lines(&mut self, text: &str, folder: Option<&Path>, origin: &dyn Fn(usize) -> Origin) -> Result<(), SettingError> {
        for (index, raw) in text.lines().enumerate() {
            let line = raw.split('#').next().unwrap_or_default().trim();
            let origin = origin(index + 1);
            if line.is_empty() {
                continue;
            }
            let mut words = line.split_whitespace();
            let first = words.next().unwrap_or_default();
            if first == "include" || first == "!include" {
                let path = folder.unwrap_or(Path::new("/")).join(words.next().unwrap_or_default());
                self.file(&path, (first == "include").then_some(&origin))?;
                continue;
            }
            let Some((name, value)) = line.split_once('=') else {
                return Err(SettingError::Line { origin: origin.to_string(), line: line.into() });
            };
            self.set(name.trim(), value.trim(), &origin)?;
        }
        Ok(())
    }

    /// Sets one value.
    ///
    /// # Errors
    /// A value that is not of the setting's type. An unknown name is a warning.
    pub(crate) fn set(&mut self, name: &str, value: &str, origin: &Origin) -> Result<(), SettingError> {
        let find = |wanted: &str| KNOWN.iter().find(|(known, _)| *known == wanted);
        let appended = name.strip_prefix("extra-").and_then(find).filter(|(_, kind)| *kind == Kind::List);
        let Some((known, kind)) = appended.or_else(|| find(name)) else {
            if WITHOUT_EFFECT.split_whitespace().any(|other| other == name.strip_prefix("extra-").unwrap_or(name)) {
                if *origin == Origin::CommandLine {
                    self.warnings.push(format!("setting `{name}` has no effect here"));
                }
            } else {
                let near = nearest(name);
                let hint = near.map(|n| format!("; did you mean `{n}`?")).unwrap_or_default();
                self.warnings.push(format!("unknown setting `{name}` (from {origin}){hint}"));
            }
            return Ok(());
        };
        if let Err(expected) = check(*kind, value) {
            return Err(SettingError::Value { name: name.into(), value: value.into(), expected, origin: origin.to_string() });
        }
        let mut value = value.to_owned();
        if appended.is_some()
            && let Some(before) = self.values.get(known)
        {
            value = format!("{before} {value}");
        }
        self.values.insert(known, value);
        Ok(())
    }

    /// The text of a setting.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str)
    }

    /// A boolean setting.
    pub(crate) fn flag(&self, name: &str) -> Option<bool> {
        self.text(name).map(|value| value == "true" || value == "1" || value == "yes")
    }

    /// A number; `auto` reads as absent.
    pub(crate) fn number(&self, name: &str) -> Option<u64> {
        self.text(name)?.parse().ok()
    }

    /// A list of words.
    pub(crate) fn list(&self, name: &str) -> Vec<String> {
        self.text(name).map(|text| text.split_whitespace().map(str::to_owned).collect()).unwrap_or_default()
    }
}

fn check(kind: Kind, value: &str) -> Result<(), &'static str> {
    let is_bool = ["true", "false", "yes", "no", "1", "0"].contains(&value);
    match kind {
        Kind::Bool if !is_bool => Err("true or false"),
        Kind::Number if value.parse::<u64>().is_err() => Err("a number that is not negative"),
        Kind::NumberOrAuto if value != "auto" && value.parse::<u64>().is_err() => Err("a number or auto"),
        Kind::Sandbox if !is_bool && value != "relaxed" => Err("true, false or relaxed"),
        Kind::Bool | Kind::Number | Kind::NumberOrAuto | Kind::Sandbox | Kind::Text | Kind::List => Ok(()),
    }
}

fn user_files(env: &dyn Fn(&str) -> Option<String>) -> Vec<PathBuf> {
    if let Some(files) = env("NIX_USER_CONF_FILES") {
        // The first file of the list wins, so it is read last.
        let mut files: Vec<PathBuf> = std::env::split_paths(OsStr::new(&files)).collect();
        files.reverse();
        return files;
    }
    let home = env("HOME").unwrap_or_default();
    let own = env("XDG_CONFIG_HOME").filter(|dir| !dir.is_empty()).unwrap_or_else(|| format!("{home}/.config"));
    let shared = env("XDG_CONFIG_DIRS").filter(|dirs| !dirs.is_empty()).unwrap_or_else(|| "/etc/xdg".into());
    let mut folders: Vec<PathBuf> = std::env::split_paths(OsStr::new(&shared)).collect();
    folders.reverse();
    folders.push(own.into());
    folders.into_iter().map(|folder| folder.join("nix/nix.conf")).collect()
}

/// The known name nearest to a mistyped one.
fn nearest(name: &str) -> Option<&'static str> {
    let known = KNOWN.iter().map(|(known, _)| *known).chain(WITHOUT_EFFECT.split_whitespace());
    crate::args::nearest(name, known)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(config: &str) -> Result<Settings, SettingError> {
        let config = config.to_owned();
        Settings::load(&move |name| match name {
            "NIX_CONFIG" => Some(config.clone()),
            "NIX_CONF_DIR" | "NIX_USER_CONF_FILES" => Some("/nonexistent".into()),
            _ => None,
        })
    }

    #[test]
    fn later_lines_win_and_extra_appends() {
        let settings = load("cores = 1\ncores = 3 # three\nextra-nix-path = b\nnix-path = a\nextra-nix-path = c d").unwrap();
        assert_eq!(settings.number("cores"), Some(3));
        assert_eq!(settings.list("nix-path"), ["a", "c", "d"]);
        assert!(settings.warnings.is_empty());
    }

    #[test]
    fn bad_values_name_setting_and_place() {
        for (text, word) in [("cores = many", "cores"), ("keep-failed = maybe", "keep-failed"), ("max-jobs = -1", "max-jobs"), ("nonsense", "nonsense")] {
            let error = load(text).unwrap_err().to_string();
            assert!(error.contains(word) && error.contains("NIX_CONFIG"), "{error}");
        }
    }

    #[test]
    fn unknown_names_are_warned_of_with_the_nearest_and_known_ones_of_nix_are_silent_in_files() {
        let settings = load("coers = 1\nbuild-users-group = nixbld\nextra-substituters = x").unwrap();
        assert_eq!(settings.warnings.len(), 1, "{:?}", settings.warnings);
        assert!(settings.warnings[0].contains("did you mean `cores`"), "{:?}", settings.warnings);
    }

    #[test]
    fn files_include_files_and_a_missing_required_one_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("nix.conf"), "!include nope.conf\ninclude more.conf\n").unwrap();
        let env = |name: &str| (name == "NIX_CONF_DIR").then(|| dir.path().display().to_string());
        assert!(matches!(Settings::load(&env), Err(SettingError::Include { .. })));
        std::fs::write(dir.path().join("more.conf"), "cores = 7\n").unwrap();
        assert_eq!(Settings::load(&env).unwrap().number("cores"), Some(7));
    }
}
