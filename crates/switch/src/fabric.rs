//! A learning switch: segments of ports, one table of hardware addresses each.
//!
//! Sans I/O: [`Fabric::handle`] takes the time and a frame that came in at a port and calls back
//! with each port that it goes out of. Segments are VLANs of the plan: a frame never leaves its own.
//!
//! Not here: sockets, queues ([`crate::switch`]).

use std::collections::{BTreeMap, HashMap};

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
/// Invariant: numbers are not used again while the fabric lives, so a stale one names no port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PortId(u32);

/// What passed through a port. `received` is from the machine, `sent` is to it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Frames from the machine.
    pub received_frames: u64,
    /// Bytes from the machine.
    pub received_bytes: u64,
    /// Frames to the machine.
    pub sent_frames: u64,
    /// Bytes to the machine.
    pub sent_bytes: u64,
    /// Frames that were not passed on: link down, malformed, or no room.
    pub dropped_frames: u64,
}

struct Port {
    segment: u32,
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
    ports: HashMap<PortId, Port>,
    segments: BTreeMap<u32, Segment>,
    next: u32,
    groups: Vec<Vec<String>>,
}

impl Fabric {
    /// An empty switch.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a port to a segment, which need not exist before. Its link is up.
    pub fn add(&mut self, segment: u32) -> PortId {
        let id = PortId(self.next);
        self.next += 1;
        self.ports.insert(id, Port { segment, up: true, counters: Counters::default(), owner: String::new(), group: None });
        self.segments.entry(segment).or_default().members.push(id);
        id
    }

    /// Says whose port it is.
    pub fn set_owner(&mut self, id: PortId, owner: &str) {
        let group = self.groups.iter().position(|group| group.iter().any(|name| name == owner));
        if let Some(port) = self.ports.get_mut(&id) {
            owner.clone_into(&mut port.owner);
            port.group = group;
        }
    }

    /// Lets nothing pass between owners of different groups; those in no group are not concerned.
    pub fn partition(&mut self, groups: &[Vec<String>]) {
        self.groups = groups.to_vec();
        for port in self.ports.values_mut() {
            port.group = groups.iter().position(|group| group.contains(&port.owner));
        }
    }

    /// The groups of the partition.
    #[must_use]
    pub fn groups(&self) -> Vec<Vec<String>> {
        self.groups.clone()
    }

    /// Takes a port away; its addresses are forgotten.
    pub fn remove(&mut self, id: PortId) {
        let Some(port) = self.ports.remove(&id) else { return };
        if let Some(segment) = self.segments.get_mut(&port.segment) {
            segment.members.retain(|member| *member != id);
            segment.addresses.retain(|_, (at, _)| *at != id);
        }
    }

    /// Sets a port's link up or down. Down drops frames of both directions.
    pub fn set_link(&mut self, id: PortId, up: bool) {
        if let Some(port) = self.ports.get_mut(&id) {
            port.up = up;
        }
    }

    /// Whether the port's link is up.
    #[must_use]
    pub fn is_up(&self, id: PortId) -> bool {
        self.ports.get(&id).is_some_and(|port| port.up)
    }

    /// The port's counters.
    #[must_use]
    pub fn counters(&self, id: PortId) -> Counters {
        self.ports.get(&id).map(|port| port.counters).unwrap_or_default()
    }

    /// Notes that a frame which [`Self::handle`] gave out could not be delivered.
    pub fn note_undelivered(&mut self, id: PortId, frame_len: usize) {
        if let Some(port) = self.ports.get_mut(&id) {
            port.counters.sent_frames = port.counters.sent_frames.saturating_sub(1);
            port.counters.sent_bytes = port.counters.sent_bytes.saturating_sub(frame_len as u64);
            port.counters.dropped_frames += 1;
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

    /// Handles a frame that came from the machine at port `from`; `send` is called with each port
    /// that the frame goes to.
    pub fn handle(&mut self, now: Nanos, from: PortId, frame: &[u8], send: &mut dyn FnMut(PortId, &[u8])) {
        let Some(port) = self.ports.get_mut(&from) else { return };
        port.counters.received_frames += 1;
        port.counters.received_bytes += frame.len() as u64;
        if !port.up || frame.len() < HEADER_LEN {
            port.counters.dropped_frames += 1;
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
        match known {
            Some(at) if at == from => {}
            Some(at) => deliver(&mut self.ports, group, at, frame, send),
            None => {
                for member in segment.members.iter().filter(|member| **member != from) {
                    deliver(&mut self.ports, group, *member, frame, send);
                }
            }
        }
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

fn deliver(ports: &mut HashMap<PortId, Port>, group: Option<usize>, to: PortId, frame: &[u8], send: &mut dyn FnMut(PortId, &[u8])) {
    let Some(port) = ports.get_mut(&to) else { return };
    let is_apart = group.is_some() && port.group.is_some() && group != port.group;
    if !port.up || is_apart {
        port.counters.dropped_frames += 1;
        return;
    }
    port.counters.sent_frames += 1;
    port.counters.sent_bytes += frame.len() as u64;
    send(to, frame);
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
        fabric.handle(now, from, &frame(target, source), &mut |port, _| ports.push(port));
        ports
    }

    #[test]
    fn unknown_addresses_go_everywhere_but_back_and_known_ones_to_their_port() {
        let mut fabric = Fabric::new();
        let (a, b, c) = (fabric.add(1), fabric.add(1), fabric.add(1));
        assert_eq!(out(&mut fabric, 0, a, B, A), [b, c]);
        assert_eq!(out(&mut fabric, 1, b, A, B), [a]);
        assert_eq!(out(&mut fabric, 2, a, B, A), [b]);
        assert_eq!(out(&mut fabric, 3, c, ALL, [2, 0, 0, 0, 0, 3]), [a, b]);
    }

    #[test]
    fn a_frame_stays_in_its_segment() {
        let mut fabric = Fabric::new();
        let (a, other, b) = (fabric.add(1), fabric.add(2), fabric.add(1));
        assert_eq!(out(&mut fabric, 0, a, ALL, A), [b]);
        assert_eq!(out(&mut fabric, 0, other, A, B), []);
    }

    #[test]
    fn a_link_that_is_down_passes_nothing_either_way() {
        let mut fabric = Fabric::new();
        let (a, b) = (fabric.add(1), fabric.add(1));
        fabric.set_link(b, false);
        assert_eq!(out(&mut fabric, 0, a, ALL, A), []);
        assert_eq!(out(&mut fabric, 0, b, ALL, B), []);
        assert_eq!(fabric.counters(b).dropped_frames, 2);
        fabric.set_link(b, true);
        assert_eq!(out(&mut fabric, 0, a, ALL, A), [b]);
    }

    #[test]
    fn a_partition_parts_its_groups_only_and_heals() {
        let mut fabric = Fabric::new();
        let (a, b, c) = (fabric.add(1), fabric.add(1), fabric.add(1));
        for (port, owner) in [(a, "a"), (b, "b"), (c, "c")] {
            fabric.set_owner(port, owner);
        }
        fabric.partition(&[vec!["a".into()], vec!["b".into()]]);
        assert_eq!(out(&mut fabric, 0, a, ALL, A), [c]);
        assert_eq!(out(&mut fabric, 0, c, ALL, B), [a, b]);
        fabric.partition(&[]);
        assert_eq!(out(&mut fabric, 0, a, ALL, A), [b, c]);
    }

    #[test]
    fn an_address_is_forgotten_with_its_port_and_after_its_time() {
        let mut fabric = Fabric::new();
        let (a, b, c) = (fabric.add(1), fabric.add(1), fabric.add(1));
        out(&mut fabric, 0, b, ALL, B);
        assert_eq!(out(&mut fabric, 1, a, B, A), [b]);
        assert_eq!(out(&mut fabric, ADDRESS_LIFETIME + 1, a, B, A), [b, c]);
        fabric.remove(b);
        assert_eq!(out(&mut fabric, ADDRESS_LIFETIME + 2, a, B, A), [c]);
    }

    #[test]
    fn a_flood_of_invented_addresses_is_bounded_and_harmless() {
        let mut fabric = Fabric::new();
        let (a, b) = (fabric.add(1), fabric.add(1));
        for n in 0..10_000u32 {
            let [_, x, y, z] = n.to_be_bytes();
            out(&mut fabric, 0, a, ALL, [2, 1, 1, x, y, z]);
        }
        assert!(fabric.segments[&1].addresses.len() <= ADDRESSES_MAX);
        assert_eq!(out(&mut fabric, 0, b, [2, 9, 9, 9, 9, 9], B), [a]);
    }

    #[test]
    fn counters_say_what_passed() {
        let mut fabric = Fabric::new();
        let (a, b) = (fabric.add(1), fabric.add(1));
        out(&mut fabric, 0, a, ALL, A);
        fabric.handle(0, a, &[1, 2, 3], &mut |_, _| panic!("a runt goes nowhere"));
        assert_eq!(fabric.counters(a), Counters { received_frames: 2, received_bytes: 20, dropped_frames: 1, ..Counters::default() });
        assert_eq!(fabric.counters(b), Counters { sent_frames: 1, sent_bytes: 17, ..Counters::default() });
    }
}
