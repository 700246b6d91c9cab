//! How a network is, for people and for programs.

use serde::{Deserialize, Serialize};

use nbv_plan::{ForwardFrom, LinkFaults, Protocol};
use nbv_switch::{Fates, Flow, Tap};

use crate::event::Phase;
use crate::link;
use crate::network::Network;

/// A running network.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// Its state folder.
    pub state_dir: String,
    /// The runner's process.
    pub runner: u32,
    /// Seconds that it has run: the difference of two tells over what time their counters differ.
    #[serde(default)]
    pub uptime: f64,
    /// Its machines in the plan's order.
    pub machines: Vec<MachineStatus>,
    /// Groups of machines between which nothing passes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub partition: Vec<Vec<String>>,
    /// What is captured: `machine NAME`, `segment N`, `all`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub captures: Vec<String>,
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
    /// Whether the link is up: not, when the machine is blocked.
    pub is_up: bool,
    /// What the machine sent. Counters begin with the network, not with the machine's start.
    pub from_machine: Flow,
    /// What it was given.
    pub to_machine: Flow,
    /// Frames that wait for the machine to take them.
    #[serde(default)]
    pub waiting: usize,
    /// Faults of the link, if it has any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub faults: Option<LinkFaults>,
    /// What the faults did to frames from the machine, beyond dropping them.
    #[serde(default)]
    pub from_fates: Fates,
    /// What they did to frames to the machine.
    #[serde(default)]
    pub to_fates: Fates,
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
            let link = |own: &nbv_plan::Interface| {
                let name = link::port_name(machine, &own.name);
                // Before its first start a machine has no port.
                let port = ports.iter().find(|port| port.name == name);
                LinkStatus {
                    name: own.name.clone(),
                    segment: own.segment,
                    is_up: network.switch().is_up(&name),
                    from_machine: port.map(|port| port.counters.from_machine).unwrap_or_default(),
                    to_machine: port.map(|port| port.counters.to_machine).unwrap_or_default(),
                    waiting: port.map_or(0, |port| port.waiting),
                    faults: Some(network.switch().faults(&name)).filter(|faults| !faults.is_none()),
                    from_fates: port.map(|port| port.outgoing).unwrap_or_default(),
                    to_fates: port.map(|port| port.incoming).unwrap_or_default(),
                }
            };
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
                links: machine.interfaces.iter().map(link).collect(),
                name: machine.name.clone(),
            }
        };
        Self {
            state_dir: network.settings().state_dir.display().to_string(),
            runner: std::process::id(),
            uptime: network.switch().uptime().as_secs_f64(),
            partition: network.switch().groups(),
            captures: network.switch().captures().iter().map(of_tap).collect(),
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
        self.faults().iter().for_each(|line| text.push_str(&format!("{line}\n")));
        text
    }

    /// A table of the links with what passed since the network's start and what was dropped and why.
    #[must_use]
    pub fn links_text(&self) -> String {
        let mut rows = vec![["LINK", "SEGMENT", "STATE", "FROM", "TO", "DROPPED", "FAULTS"].map(str::to_owned)];
        for (machine, link) in self.machines.iter().flat_map(|machine| machine.links.iter().map(move |link| (machine, link))) {
            let flow = |flow: &Flow| format!("{} frames, {} B", flow.frames, flow.bytes);
            let mut drops = Vec::new();
            for ((reason, from), (_, to)) in link.from_machine.dropped.by_reason().iter().zip(link.to_machine.dropped.by_reason()) {
                match from + to {
                    0 => {}
                    count => drops.push(format!("{count} {reason}")),
                }
            }
            let or_dash = |text: String| if text.is_empty() { "-".to_owned() } else { text };
            rows.push([
                format!("{}:{}", machine.name, link.name),
                link.segment.to_string(),
                if link.is_up { "up" } else { "blocked" }.to_owned(),
                flow(&link.from_machine),
                flow(&link.to_machine),
                or_dash(drops.join(", ")),
                or_dash(link.faults.as_ref().map(link::describe_both).unwrap_or_default()),
            ]);
        }
        table(&rows)
    }

    /// A line for each link with faults and each blocked machine, then the partition and the captures.
    #[must_use]
    pub fn faults(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for machine in &self.machines {
            if !machine.links.is_empty() && machine.links.iter().all(|link| !link.is_up) {
                lines.push(format!("{} is blocked: nothing passes its links", machine.name));
            }
            for link in &machine.links {
                if let Some(faults) = &link.faults {
                    lines.push(format!("link {}:{} has faults: {}", machine.name, link.name, link::describe_both(faults)));
                }
            }
        }
        if !self.partition.is_empty() {
            let groups: Vec<String> = self.partition.iter().map(|group| group.join(",")).collect();
            lines.push(format!("partition: nothing passes between {}", groups.join(" and ")));
        }
        lines.extend(self.captures.iter().map(|what| format!("captured: {what}")));
        lines
    }
}

fn of_tap(tap: &Tap) -> String {
    match tap {
        Tap::Machine(name) => format!("machine {name}"),
        Tap::Segment(number) => format!("segment {number}"),
        Tap::All => "all".into(),
    }
}

pub(crate) fn describe(forward: &nbv_plan::ForwardPort) -> String {
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

pub(crate) fn table<const N: usize>(rows: &[[String; N]]) -> String {
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
