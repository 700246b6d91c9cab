//! The network plan: the one boundary between evaluation and running.
//!
//! `result/network.json` is a [`NetworkPlan`]. Evaluation writes all of it but [`Machine::boot`],
//! which the realiser adds. Paths are logical store paths (`/nix/store/...`); a reader finds their
//! physical place as siblings of the result. JSON schema: `docs/network.schema.json`.
//!
//! Not here: how a plan is made, how it is run.

mod link;
pub mod steps;

use serde::{Deserialize, Serialize};

pub use link::{Impairment, LinkFaults};

/// The version of the format that this crate reads and writes.
pub const VERSION: u32 = 1;

/// A network of machines.
///
/// Invariant: machines are sorted by name, and numbers are distinct within one plan.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NetworkPlan {
    /// The format's version, [`VERSION`].
    pub version: u32,
    /// Machines in the alphabetical order of their names.
    pub machines: Vec<Machine>,
}

/// One machine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Machine {
    /// The attribute's name in the network expression.
    pub name: String,
    /// `networking.hostName`.
    pub host_name: String,
    /// `networking.domain`.
    #[serde(default)]
    pub domain: Option<String>,
    /// `deployment.targetHost`: a name or an address.
    #[serde(default)]
    pub target_host: Option<String>,
    /// N of the addresses 192.168.V.N; from 1 in alphabetical order unless pinned.
    pub number: u32,
    /// The Nix system, such as `x86_64-linux`.
    pub system: String,
    /// The store path of `config.system.build.toplevel`.
    pub toplevel: String,
    /// `boot.kernelParams`.
    #[serde(default)]
    pub kernel_params: Vec<String>,
    /// `virtualisation.memorySize`, MiB.
    pub memory_mib: u32,
    /// `virtualisation.cores`.
    pub cores: u32,
    /// `virtualisation.diskSize`, MiB; absent when `virtualisation.diskImage` is null (root in memory).
    #[serde(default)]
    pub disk_mib: Option<u64>,
    /// `virtualisation.emptyDiskImages`, MiB each.
    #[serde(default)]
    pub empty_disks_mib: Vec<u64>,
    /// Interfaces on segments, in order: eth1, eth2, ...
    #[serde(default)]
    pub interfaces: Vec<Interface>,
    /// `virtualisation.forwardPorts`.
    #[serde(default)]
    pub forward_ports: Vec<ForwardPort>,
    /// `virtualisation.restrictNetwork`: no way out through eth0.
    #[serde(default)]
    pub restrict_network: bool,
    /// `virtualisation.graphics`.
    #[serde(default)]
    pub graphics: bool,
    /// `virtualisation.qemu.options`: further arguments of QEMU.
    #[serde(default)]
    pub qemu_options: Vec<String>,
    /// `virtualisation.sharedDirectories`.
    #[serde(default)]
    pub shared_directories: Vec<SharedDirectory>,
    /// Ports that services listen on, for explanation (`status`, the demo).
    #[serde(default)]
    pub listeners: Vec<Listener>,
    /// What the machine boots; the realiser's part.
    #[serde(default)]
    pub boot: Option<Boot>,
}

/// A network interface on a segment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Interface {
    /// The name in the guest: `eth1`, ...
    pub name: String,
    /// The segment (VLAN) number, 1 to 255.
    pub segment: u32,
    /// Hardware address, `52:54:00:12:SS:NN` (segment, number).
    pub mac: String,
    /// Addresses with prefix length: `192.168.1.2/24`, `2001:db8:1::2/64`.
    pub addresses: Vec<String>,
    /// `virtualisation.links`: what the link does to frames from the start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub faults: Option<LinkFaults>,
}

/// A forwarded port.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ForwardPort {
    /// Which side connects.
    pub from: ForwardFrom,
    /// `tcp` or `udp`.
    pub proto: Protocol,
    /// The host's end; an empty address means 127.0.0.1.
    pub host: Endpoint,
    /// The guest's end.
    pub guest: Endpoint,
}

/// Which side opens the connection that is forwarded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ForwardFrom {
    /// The host connects to a port of the guest.
    Host,
    /// The guest connects to a port of the host.
    Guest,
}

/// A transport protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

/// An address and a port.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Endpoint {
    /// May be empty: the default of the side.
    #[serde(default)]
    pub address: String,
    /// 1 to 65535.
    pub port: u16,
}

/// A folder of the host that the guest mounts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SharedDirectory {
    /// The tag of the mount.
    pub tag: String,
    /// The folder on the host.
    pub source: String,
    /// The mount point in the guest.
    pub target: String,
}

/// A port that a service of the configuration listens on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Listener {
    /// The service's name: `httpd`.
    pub service: String,
    /// `tcp` or `udp`.
    pub proto: Protocol,
    /// The port.
    pub port: u16,
    /// Whether the machine's firewall lets it through.
    pub open: bool,
    /// The option that opens it, such as `networking.firewall.allowedTCPPorts`.
    pub opened_by: String,
}

/// What a machine boots.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Boot {
    /// The kernel's file for QEMU's `-kernel`.
    pub kernel: String,
    /// The fixed part of the initrd.
    pub initrd: String,
    /// The erofs image of /usr.
    pub layer: String,
    /// The erofs image of /nix/store.
    pub store: String,
}

/// Why a text is not a plan.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// Not JSON of the right shape.
    #[error("not a network plan")]
    Json(#[from] serde_json::Error),
    /// Written by another version.
    #[error("network plan of version {found}; this program reads version {VERSION}")]
    Version {
        /// The version that the text says.
        found: u64,
    },
}

impl NetworkPlan {
    /// Reads a plan from JSON.
    ///
    /// # Errors
    /// Another version, or JSON of another shape.
    pub fn parse(text: &str) -> Result<Self, PlanError> {
        let value: serde_json::Value = serde_json::from_str(text)?;
        if let Some(found) = value.get("version").and_then(serde_json::Value::as_u64)
            && found != u64::from(VERSION)
        {
            return Err(PlanError::Version { found });
        }
        Ok(serde_json::from_value(value)?)
    }

    /// Writes the plan as indented JSON with a final newline.
    #[must_use]
    pub fn to_json(&self) -> String {
        let mut text = serde_json::to_string_pretty(self).unwrap_or_default();
        text.push('\n');
        text
    }

    /// The machine of that name.
    #[must_use]
    pub fn machine(&self, name: &str) -> Option<&Machine> {
        self.machines.iter().find(|machine| machine.name == name)
    }

    /// The machine that a user means: by name, host name, fully qualified name or target host.
    #[must_use]
    pub fn find(&self, word: &str) -> Option<&Machine> {
        self.machine(word).or_else(|| {
            self.machines.iter().find(|machine| machine.names().any(|name| name == word))
        })
    }
}

impl Machine {
    /// Every name that leads to this machine: host name, fully qualified name, target host.
    pub fn names(&self) -> impl Iterator<Item = String> + '_ {
        let fqdn = self.domain.as_ref().map(|domain| format!("{}.{domain}", self.host_name));
        [Some(self.host_name.clone()), fqdn, self.target_host.clone()].into_iter().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: &str = r#"{ "version": 1, "machines": [ { "name": "a", "hostName": "alpha", "domain": "x.org", "targetHost": "a.example.net", "number": 1,
        "system": "x86_64-linux", "toplevel": "/nix/store/x", "memoryMib": 512, "cores": 1 } ] }"#;

    #[test]
    fn written_plan_reads_back() {
        let plan = NetworkPlan::parse(SMALL).unwrap();
        assert_eq!(NetworkPlan::parse(&plan.to_json()).unwrap(), plan);
    }

    #[test]
    fn damaged_plans_are_refused_or_read() {
        let pieces: [&[u8]; 6] = [b"null", b"-1", b"1e999", b"[[[[", b"{\"version\":", b"18446744073709551616"];
        nbv_damage::fuzz(&[SMALL.as_bytes().to_vec()], &pieces, 4000, |bytes| {
            if let Ok(plan) = NetworkPlan::parse(&String::from_utf8_lossy(bytes)) {
                assert_eq!(NetworkPlan::parse(&plan.to_json()).unwrap(), plan);
                let _ = (plan.find("alpha"), plan.machine("a"));
            }
        });
        // Deeper than any plan.
        assert!(NetworkPlan::parse(&"[".repeat(1 << 20)).is_err());
    }

    #[test]
    fn another_version_is_named() {
        let error = NetworkPlan::parse(r#"{ "version": 9, "machines": [] }"#).unwrap_err();
        assert!(error.to_string().contains("version 9"), "{error}");
    }

    #[test]
    fn a_machine_is_found_by_each_of_its_names() {
        let plan = NetworkPlan::parse(SMALL).unwrap();
        for word in ["a", "alpha", "alpha.x.org", "a.example.net"] {
            assert_eq!(plan.find(word).map(|m| m.number), Some(1), "{word}");
        }
        assert!(plan.find("b").is_none());
    }
}
