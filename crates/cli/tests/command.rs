//! The command from outside: usage, help, errors in the network file. Boots nothing and needs no network.

use std::path::Path;
use std::process::{Command, Output};

struct Sealed {
    dir: tempfile::TempDir,
}

impl Sealed {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path().join(name), text).unwrap();
    }

    fn run(&self, words: &[&str]) -> Output {
        let home = self.path().join("home");
        std::fs::create_dir_all(&home).unwrap();
        Command::new(env!("CARGO_BIN_EXE_nixos-build-vms"))
            .args(words)
            .current_dir(self.path())
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("HOME", &home)
            .env("XDG_CACHE_HOME", home.join("cache"))
            .env("XDG_DATA_HOME", home.join("data"))
            .env("NIX_CONF_DIR", home.join("no-conf"))
            .env("NIX_CONFIG", format!("store = {}", home.join("store").display()))
            .output()
            .unwrap()
    }
}

fn error(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn wrong_usage_exits_2_with_nothing_on_standard_output() {
    let sealed = Sealed::new();
    for (words, word) in [
        (vec![], "no network file"),
        (vec!["a.nix", "b.nix"], "two network files"),
        (vec!["--no-such-flag", "a.nix"], "--no-such-flag"),
        (vec!["--option", "cores"], "--option"),
    ] {
        let output = sealed.run(&words);
        assert_eq!(output.status.code(), Some(2), "{words:?}: {}", error(&output));
        assert!(output.stdout.is_empty());
        assert!(error(&output).contains(word), "{words:?}: {}", error(&output));
    }
}

#[test]
fn help_names_every_flag_and_version_is_a_number() {
    let sealed = Sealed::new();
    for flag in ["-h", "--help"] {
        let output = sealed.run(&[flag]);
        assert_eq!(output.status.code(), Some(0));
        let text = String::from_utf8(output.stdout).unwrap();
        for word in ["--show-trace", "--no-out-link", "--option", "--help", "EXIT STATUS"] {
            assert!(text.contains(word), "{word}");
        }
    }
    let version = sealed.run(&["--version"]);
    assert!(String::from_utf8_lossy(&version.stdout).starts_with("nixos-build-vms 0."));
}

/// Runs a bad network file: exit 1, nothing on standard output, the word in the error, no panic, no result.
#[track_caller]
fn bad(text: &str, words: &[&str]) {
    let sealed = Sealed::new();
    sealed.write("bad.nix", text);
    let output = sealed.run(&["bad.nix"]);
    let message = error(&output);
    assert_eq!(output.status.code(), Some(1), "{text}\n{message}");
    assert!(output.stdout.is_empty(), "{text}");
    for word in words {
        assert!(message.contains(word), "{text}\ndoes not say `{word}`:\n{message}");
    }
    assert!(!message.contains("panicked"), "{message}");
    assert!(!sealed.path().join("result").exists());
}

#[test]
fn errors_of_the_file_say_what_where_and_what_to_do() {
    bad("{\n  a = ; }", &["bad.nix:2:"]);
    bad("{ a = \"abc", &["bad.nix:1:"]);
    bad("[ 1 2 ]", &["set"]);
    bad("{ }", &["machine"]);
    bad("{ a = 42; }", &["`a`"]);
    bad("{ \"bad name!\" = { }; }", &["bad name!"]);
    bad("{ a = { x = nope; }; }", &["bad.nix:1:", "nope"]);
    bad("{ a = throw \"boom\"; }", &["boom"]);
    bad("{ a = import ./nope.nix; }", &["nope.nix"]);
    bad("{ a = {\n  services.openssh.enable = true;\n  services.opensshh.enable = true; }; }", &["bad.nix:3:", "services.openssh"]);
    bad("{ a = { services.openssh.enable = \"yes\"; }; }", &["bool", "bad.nix:1:", "services.openssh.enable"]);
    bad("{ a = { virtualisation.memorySize = -5; }; }", &["memorySize", "bad.nix:1:"]);
    bad("{ a = { lib, ... }: { networking.hostName = lib.mkMerge [ \"x\" \"y\" ]; }; }", &["networking.hostName", "bad.nix:1:"]);
    bad("{ a = { assertions = [ { assertion = false; message = \"no way\"; } ]; }; }", &["no way"]);
    bad("{ a = { config, ... }: { networking.hostName = config.networking.hostName; }; }", &["recursion"]);
    bad("{ a = { nixpkgs.localSystem.system = \"z80-cpm\"; }; }", &["z80-cpm"]);
}

#[test]
fn a_missing_file_is_named() {
    let sealed = Sealed::new();
    let output = sealed.run(&["missing.nix"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(error(&output).contains("missing.nix"), "{}", error(&output));
    std::fs::create_dir(sealed.path().join("folder")).unwrap();
    let output = sealed.run(&["folder"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(error(&output).contains("default.nix"), "{}", error(&output));
}

#[test]
fn show_trace_says_more() {
    let sealed = Sealed::new();
    sealed.write("deep.nix", "{ a = { config, ... }: { networking.hostName = throw \"deep\"; }; }");
    let short = error(&sealed.run(&["deep.nix"]));
    let long = error(&sealed.run(&["--show-trace", "deep.nix"]));
    assert!(short.contains("deep") && long.contains("deep"));
    assert!(long.lines().count() > short.lines().count(), "{short}\n---\n{long}");
}

#[test]
fn settings_are_checked_before_anything_else() {
    let sealed = Sealed::new();
    sealed.write("net.nix", "{ a = throw \"evaluated\"; }");
    let output = sealed.run(&["--option", "cores", "many", "net.nix"]);
    assert_ne!(output.status.code(), Some(0));
    assert!(error(&output).contains("cores") && !error(&output).contains("evaluated"), "{}", error(&output));
    let output = sealed.run(&["--option", "no-such-setting", "1", "net.nix"]);
    assert!(error(&output).contains("no-such-setting") && error(&output).contains("evaluated"), "{}", error(&output));
}

#[test]
fn a_result_that_is_no_link_is_left_alone() {
    let sealed = Sealed::new();
    sealed.write("net.nix", "{ a = { }; }");
    sealed.write("result", "precious");
    let output = sealed.run(&["net.nix"]);
    assert_eq!(output.status.code(), Some(1), "{}", error(&output));
    assert!(error(&output).contains("result"), "{}", error(&output));
    assert_eq!(std::fs::read_to_string(sealed.path().join("result")).unwrap(), "precious");
}
