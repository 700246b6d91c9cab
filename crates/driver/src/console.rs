//! A person's hands in a machine: a root shell on a terminal, a reboot.

use std::time::Duration;

use nbv_guest::Session;

use crate::event::MachineId;
use crate::guest::Exec;
use crate::network::Network;
use crate::protocol::Terminal;

/// How long the guest may take to be told; it goes about it by itself.
const TOLD: Duration = Duration::from_secs(60);

/// A root shell in a machine over the control channel, on a terminal of the guest; `term` is the kind of terminal that shows it.
///
/// # Errors
/// The machine does not run, or its first program does not answer yet; the text says which.
pub fn shell(network: &Network, id: MachineId, term: &str, size: Terminal) -> Result<Session, String> {
    let guest = network.guest(id, Duration::ZERO)?;
    let _started = network.use_programs();
    let exec = Exec::new(Vec::new(), vec![("TERM".into(), term.into())], Some(size));
    guest.exec(&exec).map_err(|error| format!("machine {}: {error}", network.machine(id).name))
}

/// Tells a machine's systemd to reboot.
///
/// # Errors
/// The machine does not run, does not answer, or refuses; the text says which.
pub fn reboot(network: &Network, id: MachineId) -> Result<(), String> {
    let name = &network.machine(id).name;
    let guest = network.guest(id, Duration::ZERO)?;
    let output = guest.client()?.run(["/usr/bin/systemctl", "--no-block", "reboot"], Some(TOLD)).map_err(|error| format!("machine {name}: {error}"))?;
    if output.status.success() { Ok(()) } else { Err(format!("machine {name} does not reboot: {}", String::from_utf8_lossy(&output.stderr).trim())) }
}
