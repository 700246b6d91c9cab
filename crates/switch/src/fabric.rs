//! A learning switch: segments of ports, one table of hardware addresses each.
//!
//! Sans I/O: [`Fabric::route`] takes the time and a frame that came in at a port and says which ports it goes out of.
//! Segments are VLANs of the plan: a frame never leaves its own. Who delivers the frame says what became of it
//! ([`Fabric::sent`], [`Fabric::dropped`]).
//!
//! Not here: sockets, queues ([`crate::switch`]).

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};

/// Time in nanoseconds of any steady clock; only differences matter.
pub type Nanos = u64;

/// How long an address is remembered after its last frame.
const ADDRESS_LIFETIME: Nanos = 300_000_000_000;
/// Addresses remembered per segment; a flood of invented ones only makes frames go everywhere.
const ADDRESSES_MAX: usize = 4096;
/// Length of an Ethernet header: two addresses and a type.
const HEADER_LEN: usize = 14;

/// A port of the switch.
///
/// Invariant: numbers are not used again while the fabric lives, so a stale one names no other port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PortId(u32);

impl PortId {
    /// Its place in a list of all ports in the order of their making.
    #[must_use]
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// Why a frame was not passed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// The link is down (a blocked machine), or cut by a fault.
    Down,
    /// Sender and receiver are in different groups of a partition.
    Partition,
    /// Shorter than an Ethernet header.
    Malformed,
    /// The receiver takes frames more slowly than they come.
    NoRoom,
    /// By chance, as the link's `loss` demands.
    Lost,
    /// The queue before the link's `rate` was full.
    Overflowed,
    /// Longer than the link's `mtu`.
    Oversized,
}

/// Frames that were not passed on, by reason.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Drops {
    /// [`Reason::Down`].
    pub down: u64,
    /// [`Reason::Partition`].
    pub partition: u64,
    /// [`Reason::Malformed`].
    pub malformed: u64,
    /// [`Reason::NoRoom`].
    pub no_room: u64,
    /// [`Reason::Lost`].
    pub lost: u64,
    /// [`Reason::Overflowed`].
    pub overflowed: u64,
    /// [`Reason::Oversized`].
    pub oversized: u64,
}

impl Drops {
    /// Counts a frame.
    pub fn add(&mut self, reason: Reason) {
        let counter = match reason {
            Reason::Down => &mut self.down,
            Reason::Partition => &mut self.partition,
            Reason::Malformed => &mut self.malformed,
            Reason::NoRoom => &mut self.no_room,
            Reason::Lost => &mut self.lost,
            Reason::Overflowed => &mut self.overflowed,
            Reason::Oversized => &mut self.oversized,
        };
        *counter += 1;
    }

    /// All reasons with their counts.
    #[must_use]
    pub fn by_reason(&self) -> [(&'static str, u64); 7] {
        [
            ("down", self.down),
            ("partition", self.partition),
            ("malformed", self.malformed),
            ("no room", self.no_room),
            ("lost", self.lost),
            ("overflowed", self.overflowed),
            ("oversized", self.oversized),
        ]
    }

    /// All frames that were dropped.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.by_reason().iter().map(|(_, count)| count).sum()
    }
}

/// What passed in one direction.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Flow {
    /// Frames: all that the machine sent, or all that it was given.
    pub frames: u64,
    /// Their bytes, from the Ethernet header on.
    pub bytes: u64,
    /// Frames of this direction that were dropped. Those from the machine are in `frames` too.
    pub dropped: Drops,
}

/// What passed through a port.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// From the machine.
    pub from_machine: Flow,
    /// To the machine.
    pub to_machine: Flow,
}

struct Port {
    segment: u32,
    is_plugged: bool,
    up: bool,
    counters: Counters,
    owner: String,
    /// Its owner's group in the partition.
    group: Option<usize>,
}

#[derive(Default)]
struct Segment {
    members: Vec<PortId>,
    addresses: HashMap<[u8; 6], (PortId, Nanos)>,
}

/// The switch without its sockets.
#[derive(Default)]
pub struct Fabric {
    /// By their number.
    ports: Vec<Port>,
    segments: BTreeMap<u32, Segment>,
    groups: Vec<Vec<String>>,
}

impl Fabric {
    /// An empty switch.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a port of `owner` to a segment, which need not exist before. Its link is up.
    pub fn add(&mut self, segment: u32, owner: &str) -> PortId {
        let id = PortId(u32::try_from(self.ports.len()).unwrap_or(u32::MAX));
        let group = self.group_of(owner);
        self.ports.push(Port { segment, is_plugged: true, up: true, counters: Counters::default(), owner: owner.to_owned(), group });
        self.segments.entry(segment).or_default().members.push(id);
        id
    }

    fn group_of(&self, owner: &str) -> Option<usize> {
        self.groups.iter().position(|group| group.iter().any(|name| name == owner))
    }

    /// Lets nothing pass between owners of different groups; those in no group are not concerned.
    pub fn partition(&mut self, groups: &[Vec<String>]) {
        self.groups = groups.to_vec();
        for port in &mut self.ports {
            port.group = groups.iter().position(|group| group.contains(&port.owner));
        }
    }

    /// The groups of the partition.
    #[must_use]
    pub fn groups(&self) -> Vec<Vec<String>> {
        self.groups.clone()
    }

    /// Takes the machine off a port; its addresses are forgotten. The port with its counters and its link stays.
    pub fn unplug(&mut self, id: PortId) {
        let Some(port) = self.ports.get_mut(id.index()) else { return };
        port.is_plugged = false;
        if let Some(segment) = self.segments.get_mut(&port.segment) {
            segment.members.retain(|member| *member != id);
            segment.addresses.retain(|_, (at, _)| *at != id);
        }
    }

    /// Puts a machine on a port again.
    pub fn plug(&mut self, id: PortId) {
        let Some(port) = self.ports.get_mut(id.index()) else { return };
        if !port.is_plugged {
            port.is_plugged = true;
            let members = &mut self.segments.entry(port.segment).or_default().members;
            members.push(id);
            members.sort_unstable();
        }
    }

    /// Sets a port's link up or down. Down drops frames of both directions.
    pub fn set_link(&mut self, id: PortId, up: bool) {
        if let Some(port) = self.ports.get_mut(id.index()) {
            port.up = up;
        }
    }

    /// Whether the port's link is up.
    #[must_use]
    pub fn is_up(&self, id: PortId) -> bool {
        self.ports.get(id.index()).is_some_and(|port| port.up)
    }

    /// The port's segment.
    #[must_use]
    pub fn segment(&self, id: PortId) -> u32 {
        self.ports.get(id.index()).map_or(0, |port| port.segment)
    }

    /// The port's counters.
    #[must_use]
    pub fn counters(&self, id: PortId) -> Counters {
        self.ports.get(id.index()).map(|port| port.counters).unwrap_or_default()
    }

    /// Counts a frame that a machine sent.
    pub fn received(&mut self, from: PortId, frame_len: usize) {
        if let Some(port) = self.ports.get_mut(from.index()) {
            port.counters.from_machine.frames += 1;
            port.counters.from_machine.bytes += frame_len as u64;
        }
    }

    /// Counts a frame from a machine that went no further.
    pub fn refused(&mut self, from: PortId, reason: Reason) {
        if let Some(port) = self.ports.get_mut(from.index()) {
            port.counters.from_machine.dropped.add(reason);
        }
    }

    /// Counts a frame that a machine was given.
    pub fn sent(&mut self, to: PortId, frame_len: usize) {
        if let Some(port) = self.ports.get_mut(to.index()) {
            port.counters.to_machine.frames += 1;
            port.counters.to_machine.bytes += frame_len as u64;
        }
    }

    /// Counts a frame that a machine should have got and did not.
    pub fn dropped(&mut self, to: PortId, reason: Reason) {
        if let Some(port) = self.ports.get_mut(to.index()) {
            port.counters.to_machine.dropped.add(reason);
        }
    }

    /// All learnt addresses: segment, address, port, when it was seen last.
    #[must_use]
    pub fn addresses(&self) -> Vec<(u32, [u8; 6], PortId, Nanos)> {
        let of = |(number, segment): (&u32, &Segment)| -> Vec<_> {
            segment.addresses.iter().map(|(address, (port, seen))| (*number, *address, *port, *seen)).collect()
        };
        let mut all: Vec<_> = self.segments.iter().flat_map(of).collect();
        all.sort_unstable();
        all
    }

    /// Forgets all addresses.
    pub fn forget_addresses(&mut self) {
        self.segments.values_mut().for_each(|segment| segment.addresses.clear());
    }

    /// Learns that an address is behind a port.
    pub fn learn(&mut self, now: Nanos, segment: u32, address: [u8; 6], port: PortId) {
        if let Some(segment) = self.segments.get_mut(&segment) {
            segment.learn(now, address, port);
        }
    }

    /// Says where a frame goes that comes from port `from`: each port is added to `targets`.
    pub fn route(&mut self, now: Nanos, from: PortId, frame: &[u8], targets: &mut Vec<PortId>) {
        let Some(port) = self.ports.get_mut(from.index()) else { return };
        if !port.up || frame.len() < HEADER_LEN {
            port.counters.from_machine.dropped.add(if port.up { Reason::Malformed } else { Reason::Down });
            return;
        }
        let group = port.group;
        let Some(segment) = self.segments.get_mut(&port.segment) else { return };
        let target: [u8; 6] = [frame[0], frame[1], frame[2], frame[3], frame[4], frame[5]];
        let source: [u8; 6] = [frame[6], frame[7], frame[8], frame[9], frame[10], frame[11]];
        if !is_group(source) {
            segment.learn(now, source, from);
        }
        let known = match segment.addresses.get(&target) {
            Some((at, seen)) if !is_group(target) && now.saturating_sub(*seen) <= ADDRESS_LIFETIME => Some(*at),
            _ => None,
        };
        let first = targets.len();
        match known {
            Some(at) if at == from => {}
            Some(at) => targets.push(at),
            None => targets.extend(segment.members.iter().filter(|member| **member != from)),
        }
        let mut kept = first;
        for index in first..targets.len() {
            let to = targets[index];
            let Some(port) = self.ports.get_mut(to.index()) else { continue };
            let is_apart = group.is_some() && port.group.is_some() && group != port.group;
            if !port.up {
                port.counters.to_machine.dropped.add(Reason::Down);
            } else if is_apart {
                port.counters.to_machine.dropped.add(Reason::Partition);
            } else {
                targets[kept] = to;
                kept += 1;
            }
        }
        targets.truncate(kept);
    }
}

impl Segment {
    fn learn(&mut self, now: Nanos, source: [u8; 6], from: PortId) {
        if self.addresses.len() >= ADDRESSES_MAX && !self.addresses.contains_key(&source) {
            self.addresses.retain(|_, (_, seen)| now.saturating_sub(*seen) <= ADDRESS_LIFETIME);
            if self.addresses.len() >= ADDRESSES_MAX {
                return;
            }
        }
        self.addresses.insert(source, (from, now));
    }
}

/// Whether the address means more than one station (broadcast and multicast).
fn is_group(address: [u8; 6]) -> bool {
    address[0] & 1 == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: [u8; 6] = [2, 0, 0, 0, 0, 1];
    const B: [u8; 6] = [2, 0, 0, 0, 0, 2];
    const ALL: [u8; 6] = [255; 6];

    fn frame(target: [u8; 6], source: [u8; 6]) -> Vec<u8> {
        let mut frame = [target, source].concat();
        frame.extend([8, 0, 1, 2, 3]);
        frame
    }

    fn out(fabric: &mut Fabric, now: Nanos, from: PortId, target: [u8; 6], source: [u8; 6]) -> Vec<PortId> {
        let mut ports = Vec::new();
        fabric.route(now, from, &frame(target, source), &mut ports);
        ports
    }

    #[test]
    fn unknown_addresses_go_everywhere_but_back_and_known_ones_to_their_port() {
        let mut fabric = Fabric::new();
        let (a, b, c) = (fabric.add(1, "m"), fabric.add(1, "m"), fabric.add(1, "m"));
        assert_eq!(out(&mut fabric, 0, a, B, A), [b, c]);
        assert_eq!(out(&mut fabric, 1, b, A, B), [a]);
        assert_eq!(out(&mut fabric, 2, a, B, A), [b]);
        assert_eq!(out(&mut fabric, 3, c, ALL, [2, 0, 0, 0, 0, 3]), [a, b]);
    }

    #[test]
    fn a_frame_stays_in_its_segment() {
        let mut fabric = Fabric::new();
        let (a, other, b) = (fabric.add(1, "m"), fabric.add(2, "m"), fabric.add(1, "m"));
        assert_eq!(out(&mut fabric, 0, a, ALL, A), [b]);
        assert_eq!(out(&mut fabric, 0, other, A, B), []);
    }

    #[test]
    fn a_link_that_is_down_passes_nothing_either_way() {
        let mut fabric = Fabric::new();
        let (a, b) = (fabric.add(1, "m"), fabric.add(1, "m"));
        fabric.set_link(b, false);
        assert_eq!(out(&mut fabric, 0, a, ALL, A), []);
        assert_eq!(out(&mut fabric, 0, b, ALL, B), []);
        assert_eq!((fabric.counters(b).to_machine.dropped.down, fabric.counters(b).from_machine.dropped.down), (1, 1));
        fabric.set_link(b, true);
        assert_eq!(out(&mut fabric, 0, a, ALL, A), [b]);
    }

    #[test]
    fn a_partition_parts_its_groups_only_and_heals() {
        let mut fabric = Fabric::new();
        let (a, b, c) = (fabric.add(1, "a"), fabric.add(1, "b"), fabric.add(1, "c"));
        fabric.partition(&[vec!["a".into()], vec!["b".into()]]);
        assert_eq!(out(&mut fabric, 0, a, ALL, A), [c]);
        assert_eq!(out(&mut fabric, 0, c, ALL, B), [a, b]);
        fabric.partition(&[]);
        assert_eq!(out(&mut fabric, 0, a, ALL, A), [b, c]);
    }

    #[test]
    fn an_address_is_forgotten_with_its_port_and_after_its_time() {
        let mut fabric = Fabric::new();
        let (a, b, c) = (fabric.add(1, "m"), fabric.add(1, "m"), fabric.add(1, "m"));
        out(&mut fabric, 0, b, ALL, B);
        assert_eq!(out(&mut fabric, 1, a, B, A), [b]);
        assert_eq!(out(&mut fabric, ADDRESS_LIFETIME + 1, a, B, A), [b, c]);
        fabric.unplug(b);
        assert_eq!(out(&mut fabric, ADDRESS_LIFETIME + 2, a, B, A), [c]);
        fabric.plug(b);
        assert_eq!(out(&mut fabric, ADDRESS_LIFETIME + 3, a, B, A), [b, c]);
    }

    #[test]
    fn a_flood_of_invented_addresses_is_bounded_and_harmless() {
        let mut fabric = Fabric::new();
        let (a, b) = (fabric.add(1, "m"), fabric.add(1, "m"));
        for n in 0..10_000u32 {
            let [_, x, y, z] = n.to_be_bytes();
            out(&mut fabric, 0, a, ALL, [2, 1, 1, x, y, z]);
        }
        assert!(fabric.segments[&1].addresses.len() <= ADDRESSES_MAX);
        assert_eq!(out(&mut fabric, 0, b, [2, 9, 9, 9, 9, 9], B), [a]);
    }

    #[test]
    fn a_runt_goes_nowhere_and_is_counted() {
        let mut fabric = Fabric::new();
        let (a, _b) = (fabric.add(1, "a"), fabric.add(1, "b"));
        let mut targets = Vec::new();
        fabric.route(0, a, &[1, 2, 3], &mut targets);
        assert_eq!((targets.len(), fabric.counters(a).from_machine.dropped.malformed), (0, 1));
        assert_eq!(fabric.counters(a).from_machine.dropped.total(), 1);
    }
}
