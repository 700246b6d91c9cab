//! A network as a drawing: machines, segments, addresses, services, forwarded ports; and of a running one its state and faults.
//!
//! [`Drawing`] is what is drawn, [`svg`] a picture with a layout of its own, [`dot`] a text for Graphviz.
//!
//! Not here: where the plan and the status come from.

mod dot;
mod svg;

use std::collections::BTreeSet;

use nbv_plan::{ForwardFrom, Machine, NetworkPlan, Protocol};

use crate::event::Phase;
use crate::link;
use crate::status::{self, MachineStatus, Status};

pub use dot::dot;
pub use svg::svg;

/// What is drawn.
#[derive(Debug, Clone, PartialEq)]
pub struct Drawing {
    /// Machines in the plan's order.
    pub machines: Vec<Node>,
    /// Numbers of the segments.
    pub segments: Vec<u32>,
    /// What is wrong with the network as a whole (a partition).
    pub notes: Vec<String>,
}

/// A machine.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// Its name.
    pub name: String,
    /// Names beyond it: the fully qualified one, the target host.
    pub other_names: Vec<String>,
    /// Architecture, memory, processors.
    pub about: String,
    /// Cards on segments.
    pub cards: Vec<Card>,
    /// What it offers, in words, and whether the firewall lets it through.
    pub services: Vec<(String, bool)>,
    /// Forwarded ports in words.
    pub forwards: Vec<String>,
    /// Whether it has a way to the outside.
    pub has_way_out: bool,
    /// Its phase, when the network runs.
    pub phase: Option<Phase>,
    /// Why it failed.
    pub failure: Option<String>,
}

/// A card on a segment.
#[derive(Debug, Clone, PartialEq)]
pub struct Card {
    /// `eth1`.
    pub name: String,
    /// The segment.
    pub segment: u32,
    /// Addresses with their prefix lengths.
    pub addresses: Vec<String>,
    /// Faults in words; empty without any.
    pub faults: String,
    /// Whether its link is up.
    pub is_up: bool,
}

impl Drawing {
    /// Of a plan, and of how the network is when it runs.
    #[must_use]
    pub fn new(plan: &NetworkPlan, status: Option<&Status>) -> Self {
        let state_of = |name: &str| status.and_then(|status| status.machines.iter().find(|machine| machine.name == name));
        let segments: BTreeSet<u32> = plan.machines.iter().flat_map(|machine| machine.interfaces.iter().map(|own| own.segment)).collect();
        let notes = status.filter(|status| !status.partition.is_empty()).map(|status| {
            let groups: Vec<String> = status.partition.iter().map(|group| group.join(", ")).collect();
            format!("partition: nothing passes between {}", groups.join(" | "))
        });
        Self {
            machines: plan.machines.iter().map(|machine| node(machine, state_of(&machine.name))).collect(),
            segments: segments.into_iter().collect(),
            notes: notes.into_iter().collect(),
        }
    }
}

fn node(machine: &Machine, state: Option<&MachineStatus>) -> Node {
    let mut other_names: Vec<String> = Vec::new();
    for name in machine.names().filter(|name| *name != machine.name) {
        // Addresses are with the cards.
        let is_address = name.parse::<std::net::IpAddr>().is_ok();
        if !is_address && !other_names.contains(&name) {
            other_names.push(name);
        }
    }
    let cores = if machine.cores == 1 { "1 core".to_owned() } else { format!("{} cores", machine.cores) };
    let card = |own: &nbv_plan::Interface| {
        let live = state.and_then(|state| state.links.iter().find(|link| link.name == own.name));
        // A running network's faults are those of now.
        let faults = if state.is_some() { live.and_then(|link| link.faults) } else { own.faults };
        Card {
            name: own.name.clone(),
            segment: own.segment,
            addresses: own.addresses.clone(),
            faults: faults.as_ref().map(link::describe_both).unwrap_or_default(),
            is_up: live.is_none_or(|link| link.is_up),
        }
    };
    let service = |listener: &nbv_plan::Listener| {
        let protocol = match listener.proto {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
        };
        (format!("{} {}/{protocol}", listener.service, listener.port), listener.open)
    };
    let forward = |forward: &nbv_plan::ForwardPort| match forward.from {
        ForwardFrom::Host => format!("host {}", status::describe(forward)),
        ForwardFrom::Guest => status::describe(forward),
    };
    Node {
        name: machine.name.clone(),
        other_names,
        about: format!("{}, {} MiB, {cores}", machine.system, machine.memory_mib),
        cards: machine.interfaces.iter().map(card).collect(),
        services: machine.listeners.iter().map(service).collect(),
        forwards: machine.forward_ports.iter().map(forward).collect(),
        has_way_out: !machine.restrict_network,
        phase: state.map(|state| state.phase),
        failure: state.and_then(|state| state.failure.clone()),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A network of so many machines on so many segments, with names that need escaping.
    pub(crate) fn drawing(machines: usize, segments: usize) -> Drawing {
        let machine = |index: usize| {
            let own = |card: usize| {
                let segment = (index + card) % segments + 1;
                serde_json::json!({ "name": format!("eth{}", card + 1), "segment": segment, "mac": "52:54:00:12:01:02",
                    "addresses": [format!("192.168.{segment}.{}/24", index + 1), format!("2001:db8:{segment}::{}/64", index + 1)],
                    "faults": if index == 0 { serde_json::json!({ "incoming": { "delayUs": 50000, "loss": 0.01 } }) } else { serde_json::Value::Null } })
            };
            let cards: Vec<_> = (0..=index % segments.min(3)).map(own).collect();
            serde_json::json!({ "name": format!("machine{index}"), "hostName": format!("m<{index}>&\"'\\"), "domain": "example.net", "number": index + 1,
                "system": if index % 3 == 2 { "i686-linux" } else { "x86_64-linux" }, "toplevel": "/nix/store/x", "memoryMib": 512, "cores": 1 + index % 2,
                "interfaces": cards, "restrictNetwork": index % 4 == 3,
                "listeners": [ { "service": "sshd", "proto": "tcp", "port": 22, "open": true, "openedBy": "x" },
                               { "service": "httpd", "proto": "tcp", "port": 80, "open": false, "openedBy": "x" } ],
                "forwardPorts": if index == 1 { serde_json::json!([{ "from": "host", "proto": "tcp", "host": { "port": 8080 }, "guest": { "port": 80 } }]) } else { serde_json::json!([]) } })
        };
        let plan = serde_json::json!({ "version": 1, "machines": (0..machines).map(machine).collect::<Vec<_>>() });
        Drawing::new(&NetworkPlan::parse(&plan.to_string()).unwrap(), None)
    }

    #[test]
    fn a_plan_becomes_what_is_drawn() {
        let drawing = drawing(2, 1);
        let [a, b] = &drawing.machines[..] else { panic!() };
        assert_eq!((a.about.as_str(), b.forwards[0].as_str()), ("x86_64-linux, 512 MiB, 1 core", "host 127.0.0.1:8080 -> 80/tcp"));
        assert_eq!(a.cards[0].faults, "in: delay 50ms, loss 1%");
        assert_eq!(a.services, [("sshd 22/tcp".to_owned(), true), ("httpd 80/tcp".to_owned(), false)]);
        assert_eq!(drawing.segments, [1]);
    }
}
