//! Compiles the guest's programs (`src/c`) for each architecture and writes `programs.rs` with their bytes.
//!
//! They are freestanding: no libc and no header but the compiler's own, so a plain gcc or clang is enough, also for i386.
//! The compiler is `CC`, else `cc`.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fmt::Write as _, fs};

/// Nix system, the compiler's flag, linker's emulation.
const SYSTEMS: [(&str, &str); 2] = [("x86_64-linux", "-m64"), ("i686-linux", "-m32")];

/// What `textmode.c` needs beyond FLAGS: it runs before there is more than the processor.
const TEXTMODE: [&str; 5] = ["-march=i686", "-mgeneral-regs-only", "-Wl,--no-warn-rwx-segments", "-Wl,-T,textmode.ld", "textmode.c"];

/// Program and its sources.
const PROGRAMS: [(&str, &[&str]); 3] = [
    ("init", &["init.c", "rt.c", "net.c", "modules.c"]),
    ("control", &["control.c", "shell.c", "spawn.c", "users.c", "rt.c"]),
    (
        "activate",
        &[
            "activate.c", "tree.c", "wrapper.c", "accounts.c", "sha512.c", "users.c", "modules.c", "rt.c",
        ],
    ),
];

const FLAGS: [&str; 21] = [
    "-std=gnu11",
    "-Os",
    "-ffreestanding",
    "-fno-builtin",
    "-nostdlib",
    "-static",
    "-fno-pic",
    "-no-pie",
    "-fno-stack-protector",
    "-fno-asynchronous-unwind-tables",
    "-fno-tree-loop-distribute-patterns",
    "-fomit-frame-pointer",
    "-fcf-protection=none",
    "-Wall",
    "-Wextra",
    "-Wno-unused-command-line-argument",
    "-Wl,--build-id=none",
    "-Wl,-z,noexecstack",
    "-Wl,-z,max-page-size=4096",
    "-U_FORTIFY_SOURCE",
    "-s",
];

/// What `waiting.c` needs beyond FLAGS, of which it overrides some: it is a shared object, for a bash of the guest.
const WAITING: [&str; 4] = ["-shared", "-fPIC", "-Wl,--version-script=waiting.map", "waiting.c"];

fn compile(compiler: &str, flag: &str, folder: &Path, sources: &[&str], out: &Path) {
    let mut command = Command::new(compiler);
    command
        .arg(flag)
        .args(FLAGS)
        .arg("-o")
        .arg(out)
        .args(sources)
        .current_dir(folder);
    let output = command.output().unwrap_or_else(|error| {
        panic!("cannot run the C compiler '{compiler}': {error}; install gcc (Debian, Ubuntu: apt-get install gcc) or set CC")
    });
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{command:?} failed:\n{text}\nThe C compiler must be able to make x86_64 and i386 programs (gcc on x86_64 is)."
    );
    for line in text.lines().filter(|line| line.contains("warning:")) {
        println!("cargo::warning={line}");
    }
}

fn main() {
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let folder =
        PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it")).join("src/c");
    let compiler = env::var("CC").unwrap_or_else(|_| "cc".to_owned());
    println!("cargo::rerun-if-changed=src/c");
    println!("cargo::rerun-if-env-changed=CC");
    let mut text = String::from("static PROGRAMS: &[(&str, Programs)] = &[\n");
    for (system, flag) in SYSTEMS {
        writeln!(text, "    ({system:?}, Programs {{").expect("text");
        let waiting = out.join(format!("waiting.{system}"));
        compile(&compiler, flag, &folder, &WAITING, &waiting);
        // A part of control.
        let define = format!("-DWAITING_SO=\"{}\"", waiting.display());
        for (name, sources) in PROGRAMS {
            let file = out.join(format!("{name}.{system}"));
            compile(&compiler, flag, &folder, &[&[define.as_str()], sources].concat(), &file);
            writeln!(text, "        {name}: include_bytes!({file:?}),").expect("text");
        }
        text.push_str("    }),\n");
    }
    let file = out.join("textmode");
    compile(&compiler, "-m32", &folder, &TEXTMODE, &file);
    writeln!(text, "];\nstatic TEXTMODE: &[u8] = include_bytes!({file:?});").expect("text");
    fs::write(out.join("programs.rs"), text).expect("OUT_DIR is writable");
}
