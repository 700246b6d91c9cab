//! How a network is, for people and for programs.

use serde::{Deserialize, Serialize};

use nbv_plan::{ForwardFrom, Protocol};

use crate::event::Phase;
use crate::network::Network;

/// A running network.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// Its state folder.
    pub state_dir: String,
    /// The runner's process.
    pub runner: u32,
    /// Its machines in the plan's order.
    pub machines: Vec<MachineStatus>,
}

/// One machine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MachineStatus {
    /// The name.
    pub name: String,
    /// Every name that leads to it.
    pub names: Vec<String>,
    /// Where it is in its life.
    pub phase: Phase,
    /// Why it failed.
    pub failure: Option<String>,
    /// The Nix system.
    pub system: String,
    /// `kvm` or `tcg`.
    pub accelerator: String,
    /// Addresses on its segments, without prefix length.
    pub addresses: Vec<String>,
    /// Seconds from its start to readiness.
    pub ready_after: Option<f64>,
    /// QEMU's process.
    pub pid: Option<i32>,
    /// Ports of the host that lead to it, such as `127.0.0.1:8080 -> 80/tcp`.
    pub forwards: Vec<String>,
    /// Ports that are listened on but closed, as sentences.
    pub closed: Vec<String>,
    /// Its cards on segments.
    pub links: Vec<LinkStatus>,
}

/// A card on a segment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LinkStatus {
    /// The card's name in the guest.
    pub name: String,
    /// The segment.
    pub segment: u32,
    /// Whether the link is up.
    pub is_up: bool,
    /// Frames and bytes from and to the machine.
    pub received_frames: u64,
    /// Bytes from the machine.
    pub received_bytes: u64,
    /// Frames to the machine.
    pub sent_frames: u64,
    /// Bytes to the machine.
    pub sent_bytes: u64,
    /// Frames dropped.
    pub dropped_frames: u64,
}

/// The addresses of a machine without their prefix lengths.
pub(crate) fn addresses(machine: &nbv_plan::Machine) -> Vec<String> {
    let all = machine.interfaces.iter().flat_map(|interface| &interface.addresses);
    all.map(|address| address.split('/').next().unwrap_or_default().to_owned()).collect()
}

/// One sentence per port that is listened on but closed by the machine's firewall.
pub(crate) fn closed_ports(machine: &nbv_plan::Machine) -> Vec<String> {
    let closed = machine.listeners.iter().filter(|listener| !listener.open);
    closed
        .map(|listener| {
            format!(
                "port {} ({}) of {} is listened on but closed by its firewall; {} opens it",
                listener.port, listener.service, machine.name, listener.opened_by
            )
        })
        .collect()
}

impl Status {
    /// Of a network now.
    #[must_use]
    pub fn of(network: &Network) -> Self {
        let ports = network.switch().report();
        let machine = |(id, machine): (_, &nbv_plan::Machine)| {
            let view = network.view(id);
            let mut names = vec![machine.name.clone()];
            for name in machine.names() {
                if !names.contains(&name) {
                    names.push(name);
                }
            }
            let own = ports.iter().filter(|port| view.ports.contains(&port.id));
            let links = own.map(|port| LinkStatus {
                name: port.name.rsplit('/').next().unwrap_or_default().to_owned(),
                segment: port.segment,
                is_up: port.is_up,
                received_frames: port.counters.received_frames,
                received_bytes: port.counters.received_bytes,
                sent_frames: port.counters.sent_frames,
                sent_bytes: port.counters.sent_bytes,
                dropped_frames: port.counters.dropped_frames,
            });
            MachineStatus {
                names,
                phase: view.phase,
                failure: view.failure.clone(),
                system: machine.system.clone(),
                accelerator: network.settings().accelerator(id).name().to_owned(),
                addresses: addresses(machine),
                ready_after: view.ready_after.map(|time| time.as_secs_f64()),
                pid: view.pid,
                forwards: machine.forward_ports.iter().map(describe).collect(),
                closed: closed_ports(machine),
                links: links.collect(),
                name: machine.name.clone(),
            }
        };
        Self {
            state_dir: network.settings().state_dir.display().to_string(),
            runner: std::process::id(),
            machines: network.machines().map(machine).collect(),
        }
    }

    /// A table for people, then a line per closed port and per failure.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut rows = vec![["NAME", "STATE", "SYSTEM", "READY AFTER", "ADDRESSES", "FORWARDED PORTS"].map(str::to_owned)];
        for machine in &self.machines {
            rows.push([
                machine.name.clone(),
                machine.phase.name().to_owned(),
                format!("{} ({})", machine.system, machine.accelerator),
                machine.ready_after.map_or("-".into(), |seconds| format!("{seconds:.1} s")),
                if machine.addresses.is_empty() { "-".into() } else { machine.addresses.join(" ") },
                if machine.forwards.is_empty() { "-".into() } else { machine.forwards.join(", ") },
            ]);
        }
        let mut text = table(&rows);
        for machine in &self.machines {
            if let Some(failure) = &machine.failure {
                text.push_str(&format!("{} failed: {failure}\n", machine.name));
            }
            for line in &machine.closed {
                text.push_str(&format!("{line}\n"));
            }
        }
        text
    }
}

fn describe(forward: &nbv_plan::ForwardPort) -> String {
    let protocol = match forward.proto {
        Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
    };
    let or = |address: &str, default: &str| if address.is_empty() { default.to_owned() } else { address.to_owned() };
    match forward.from {
        ForwardFrom::Host => format!("{}:{} -> {}/{protocol}", or(&forward.host.address, "127.0.0.1"), forward.host.port, forward.guest.port),
        ForwardFrom::Guest => {
            let (guest, host) = (or(&forward.guest.address, "10.0.2.2"), or(&forward.host.address, "127.0.0.1"));
            format!("{guest}:{} (guest) -> {host}:{}/{protocol}", forward.guest.port, forward.host.port)
        }
    }
}

fn table<const N: usize>(rows: &[[String; N]]) -> String {
    let widths: Vec<usize> = (0..N).map(|column| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0)).collect();
    let mut text = String::new();
    for row in rows {
        let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        text.push_str(cells.join("  ").trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_closed_port_is_explained_with_the_option_that_opens_it() {
        let text = r#"{ "name": "test2", "hostName": "test2", "number": 2, "system": "x86_64-linux", "toplevel": "/nix/store/x", "memoryMib": 1, "cores": 1,
            "listeners": [ { "service": "sshd", "proto": "tcp", "port": 22, "open": true, "openedBy": "networking.firewall.allowedTCPPorts" },
                           { "service": "httpd", "proto": "tcp", "port": 80, "open": false, "openedBy": "networking.firewall.allowedTCPPorts" } ] }"#;
        let machine: nbv_plan::Machine = serde_json::from_str(text).unwrap();
        assert_eq!(
            closed_ports(&machine),
            ["port 80 (httpd) of test2 is listened on but closed by its firewall; networking.firewall.allowedTCPPorts opens it"]
        );
    }

    #[test]
    fn a_table_is_aligned() {
        let rows = [["A".to_owned(), "B".to_owned()], ["long".to_owned(), "x".to_owned()]];
        assert_eq!(table(&rows), "A     B\nlong  x\n");
    }
}
