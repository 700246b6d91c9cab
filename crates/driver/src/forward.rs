//! Forwarded ports of the plan in the terms of QEMU and of the gateway.

use std::net::Ipv4Addr;

use nbv_plan::{ForwardFrom, ForwardPort, Machine, Protocol};
use nbv_qemu::HostForward;
use nbv_switch::{Forward, Rules, Transport, gateway};

/// Why a forward of the plan cannot be had.
#[derive(Debug, thiserror::Error)]
#[error("virtualisation.forwardPorts of {machine}: {reason}")]
pub struct ForwardError {
    machine: String,
    reason: String,
}

/// Splits a machine's forwards into those of QEMU (host to guest) and those of the gateway (guest to host).
///
/// # Errors
/// An address that is not one, or one that the NAT cannot have.
pub fn split(machine: &Machine) -> Result<(Vec<HostForward>, Rules), ForwardError> {
    let mut host = Vec::new();
    let mut rules = Rules::default();
    for forward in &machine.forward_ports {
        let failed = |reason: String| ForwardError { machine: machine.name.clone(), reason };
        match forward.from {
            ForwardFrom::Host => host.push(host_forward(forward).map_err(failed)?),
            ForwardFrom::Guest => rules.forwards.push(guest_forward(forward).map_err(failed)?),
        }
    }
    Ok((host, rules))
}

fn host_forward(forward: &ForwardPort) -> Result<HostForward, String> {
    let protocol = match forward.proto {
        Protocol::Tcp => nbv_qemu::Protocol::Tcp,
        Protocol::Udp => nbv_qemu::Protocol::Udp,
    };
    // Nothing listens beyond loopback unless the configuration names an address.
    let host = (address(&forward.host.address, Ipv4Addr::LOCALHOST)?, forward.host.port);
    let guest = (address(&forward.guest.address, Ipv4Addr::UNSPECIFIED)?, forward.guest.port);
    Ok(HostForward { protocol, host, guest })
}

fn guest_forward(forward: &ForwardPort) -> Result<Forward, String> {
    let transport = match forward.proto {
        Protocol::Tcp => Transport::Tcp,
        Protocol::Udp => Transport::Udp,
    };
    let guest = address(&forward.guest.address, gateway::HOST)?;
    if guest.octets()[..3] != gateway::NETWORK.octets()[..3] {
        return Err(format!("a guest connects to an address of 10.0.2.0/24, and {guest} is none"));
    }
    if guest == gateway::GUEST {
        return Err(format!("{guest} is the guest's own address"));
    }
    let host = address(&forward.host.address, Ipv4Addr::LOCALHOST)?;
    Ok(Forward { transport, guest: (guest, forward.guest.port), host: (host, forward.host.port) })
}

fn address(text: &str, default: Ipv4Addr) -> Result<Ipv4Addr, String> {
    if text.is_empty() {
        return Ok(default);
    }
    text.parse().map_err(|_| format!("`{text}` is not an IPv4 address"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(forwards: &str) -> Machine {
        let text = format!(
            r#"{{ "name": "a", "hostName": "a", "number": 1, "system": "x86_64-linux", "toplevel": "/nix/store/x", "memoryMib": 1, "cores": 1, "forwardPorts": [{forwards}] }}"#
        );
        serde_json::from_str(&text).unwrap()
    }

    #[test]
    fn the_host_listens_on_loopback_unless_told_otherwise() {
        let plan = machine(
            r#"{ "from": "host", "proto": "tcp", "host": { "port": 2222 }, "guest": { "port": 22 } },
               { "from": "host", "proto": "udp", "host": { "address": "0.0.0.0", "port": 53 }, "guest": { "address": "10.0.2.15", "port": 53 } }"#,
        );
        let rules: Vec<String> = split(&plan).unwrap().0.iter().map(HostForward::rule).collect();
        assert_eq!(rules, ["tcp:127.0.0.1:2222-:22", "udp:0.0.0.0:53-10.0.2.15:53"]);
    }

    #[test]
    fn forwards_of_the_guest_go_to_the_gateway() {
        let plan = machine(r#"{ "from": "guest", "proto": "tcp", "host": { "port": 8080 }, "guest": { "address": "10.0.2.10", "port": 80 } }"#);
        let (host, rules) = split(&plan).unwrap();
        assert!(host.is_empty());
        assert_eq!(rules.forwards[0].guest, (Ipv4Addr::new(10, 0, 2, 10), 80));
        assert_eq!(rules.forwards[0].host, (Ipv4Addr::LOCALHOST, 8080));
    }

    #[test]
    fn what_cannot_be_is_an_error_that_names_the_option() {
        for (guest, word) in [("192.168.1.1", "10.0.2.0/24"), ("10.0.2.15", "own address"), ("web", "not an IPv4 address")] {
            let plan = machine(&format!(r#"{{ "from": "guest", "proto": "tcp", "host": {{ "port": 1 }}, "guest": {{ "address": "{guest}", "port": 1 }} }}"#));
            let error = split(&plan).unwrap_err().to_string();
            assert!(error.contains(word) && error.contains("forwardPorts of a"), "{error}");
        }
    }
}
