//! The command `nixos-build-vms`.

fn main() {
    eprintln!("nixos-build-vms: not built yet");
    std::process::exit(2);
}
