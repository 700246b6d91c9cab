//! A guest that shows whether an accelerator runs guests at all.
//!
//! A boot ROM of 86 bytes of code: it takes three timer interrupts out of `hlt` and then leaves through QEMU's
//! debug-exit device. It is run with a deadline, so an accelerator that hangs is found out.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::accel::Accelerator;

/// The code, executed at F000:0000 in real mode.
const CODE: [u8; 86] = [
    0xfa, 0x31, 0xc0, 0x8e, 0xd8, 0x8e, 0xd0, 0xbc, 0x00, 0x7c, // cli; ds = ss = 0; sp = 7c00
    0xc6, 0x06, 0x00, 0x05, 0x00, // byte [500] = 0: ticks seen
    0xc7, 0x06, 0x20, 0x00, 0x4b, 0x00, 0xc7, 0x06, 0x22, 0x00, 0x00, 0xf0, // vector 8 = F000:004b
    0xb0, 0x11, 0xe6, 0x20, 0xb0, 0x08, 0xe6, 0x21, 0xb0, 0x04, 0xe6, 0x21, 0xb0, 0x01, 0xe6, 0x21, // interrupt controller: base 8
    0xb0, 0xfe, 0xe6, 0x21, // only line 0, the timer
    0xb0, 0x34, 0xe6, 0x43, 0xb0, 0x00, 0xe6, 0x40, 0xb0, 0x20, 0xe6, 0x40, // timer 0: mode 2, 8192 ticks of 1.19 MHz
    0xfb, // sti
    0xf4, 0x80, 0x3e, 0x00, 0x05, 0x03, 0x72, 0xf8, // hlt until [500] >= 3
    0xb0, 0x2a, 0xe6, 0xf4, // out f4, 2a: QEMU exits with 2a * 2 + 1
    0xf4, 0xeb, 0xfd, // hlt for ever
    0x50, 0xfe, 0x06, 0x00, 0x05, 0xb0, 0x20, 0xe6, 0x20, 0x58, 0xcf, // the tick: count it, end of interrupt
];
/// QEMU's exit status when the guest came to its end.
const SUCCESS: i32 = 0x2a * 2 + 1;

/// Runs the guest. `Err` says in words why the accelerator is no good.
pub(crate) fn run(program: &Path, accelerator: Accelerator, deadline: Duration) -> Result<(), String> {
    let mut rom = vec![0u8; 65536];
    rom[..CODE.len()].copy_from_slice(&CODE);
    rom[0xfff0..0xfff5].copy_from_slice(&[0xea, 0, 0, 0, 0xf0]); // jmp F000:0000
    let failed = |error: std::io::Error| format!("the probe could not be run: {error}");
    let mut file = tempfile::NamedTempFile::new().map_err(failed)?;
    file.write_all(&rom).map_err(failed)?;
    let mut child = Command::new(program)
        .args(["-nodefaults", "-no-user-config", "-display", "none", "-M", "pc", "-m", "16"])
        .args(["-accel", accelerator.name(), "-cpu", if accelerator == Accelerator::Kvm { "host,-apic" } else { "qemu64,-apic" }])
        .args(["-device", "isa-debug-exit,iobase=0xf4,iosize=4", "-bios"])
        .arg(file.path())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(failed)?;
    let start = Instant::now();
    loop {
        match child.try_wait().map_err(failed)? {
            Some(status) if status.code() == Some(SUCCESS) => return Ok(()),
            Some(status) => return Err(format!("the probe guest did not run ({status})")),
            None if start.elapsed() > deadline => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(format!("the probe guest hung for {} s", deadline.as_secs()));
            }
            None => std::thread::sleep(Duration::from_millis(5)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_probe_guest_comes_to_its_end_under_emulation() {
        let Some(program) = crate::find::in_path("qemu-system-x86_64", std::env::var_os("PATH").as_deref()) else {
            panic!("qemu-system-x86_64 is needed for this test: install qemu-system-x86");
        };
        run(&program, Accelerator::Tcg, Duration::from_secs(60)).unwrap();
    }
}
