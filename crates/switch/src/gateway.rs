//! What may pass between a machine's `eth0` and the user-mode NAT behind it.
//!
//! The NAT of QEMU (libslirp) gives a guest the host's loopback as 10.0.2.2 (and as the broadcast
//! address), and the host's other addresses like any other host's. A guest has no business
//! there, so the gateway passes to the NAT only: ARP; DHCP; ICMP echo; DNS at 10.0.2.3; and IPv4 to
//! addresses that are not the host's. What answers a connection that the host opened (a forward of direction *host*) passes too:
//! TCP that opens nothing, UDP to where some came from. Forwards of direction *guest* are rewritten here, so they need
//! neither a program that QEMU starts nor the guest's knowledge of the host's port.
//!
//! Not here: forwards of direction *host* (QEMU's `hostfwd`).

use std::collections::{HashMap, HashSet};
use std::net::Ipv4Addr;

use crate::checksum;

/// The NAT's network.
pub const NETWORK: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 0);
/// The address under which the NAT stands for the host.
pub const HOST: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 2);
/// The NAT's name server.
pub const NAMESERVER: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 3);
/// The guest's address.
pub const GUEST: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 15);
/// The NAT's hardware address (52:55 and its IPv4 address).
const NAT_MAC: [u8; 6] = [0x52, 0x55, 10, 0, 2, 2];

const ETHERNET_LEN: usize = 14;
const ARP_LEN: usize = ETHERNET_LEN + 28;
const TCP_SYN: u8 = 0x02;
const TCP_ACK: u8 = 0x10;
/// Connections remembered for forwards of one machine.
const CONNECTIONS_MAX: usize = 4096;

/// A transport protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Transport {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

/// Connections of the guest to `guest` are led to `host`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Forward {
    /// The protocol.
    pub transport: Transport,
    /// What the guest connects to: an address in 10.0.2.0/24 and a port.
    pub guest: (Ipv4Addr, u16),
    /// Where that leads, as the host sees it; 127.0.0.1 is the host's loopback.
    pub host: (Ipv4Addr, u16),
}

/// What a machine may reach beyond the rule.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rules {
    /// Forwards of direction guest.
    pub forwards: Vec<Forward>,
}

/// What to do with a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Send it on to the other side; it may have been changed in place.
    Pass,
    /// Send it back to where it came from; it was turned into its answer.
    Reply,
    /// Nothing.
    Drop,
}

/// The gateway of one machine.
pub struct Gateway {
    rules: Rules,
    host_addresses: Vec<Ipv4Addr>,
    /// (protocol, guest's own port, rewritten target) -> forward that rewrote it.
    connections: HashMap<(Transport, u16, Ipv4Addr, u16), usize>,
    /// UDP that came in: (guest's port, where it came from).
    asked: HashSet<(u16, Ipv4Addr, u16)>,
    dropped: u64,
}

/// Where things lie in an IPv4 frame.
struct Packet {
    protocol: u8,
    source: Ipv4Addr,
    target: Ipv4Addr,
    /// Offset of the transport header.
    payload: usize,
    fragment: bool,
}

impl Gateway {
    /// A gateway with these rules.
    #[must_use]
    pub fn new(rules: Rules) -> Self {
        Self { rules, host_addresses: Vec::new(), connections: HashMap::new(), asked: HashSet::new(), dropped: 0 }
    }

    /// Says what the host's own addresses are; they are closed to the guest.
    pub fn set_host_addresses(&mut self, addresses: Vec<Ipv4Addr>) {
        self.host_addresses = addresses;
    }

    /// Frames that were not passed on.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Judges a frame of the guest.
    pub fn from_guest(&mut self, frame: &mut [u8]) -> Verdict {
        let verdict = self.judge(frame);
        if verdict == Verdict::Drop {
            self.dropped += 1;
        }
        verdict
    }

    fn judge(&mut self, frame: &mut [u8]) -> Verdict {
        match ether_type(frame) {
            Some(0x0806) => self.arp(frame),
            Some(0x0800) => {
                let Some(packet) = Packet::parse(frame) else { return Verdict::Drop };
                match self.rewrite(frame, &packet) {
                    Some(verdict) => verdict,
                    None if self.is_allowed(frame, &packet) => Verdict::Pass,
                    None => Verdict::Drop,
                }
            }
            _ => Verdict::Drop,
        }
    }

    /// Handles a frame of the NAT: answers of forwards get their first source back.
    pub fn from_nat(&mut self, frame: &mut [u8]) -> Verdict {
        if ether_type(frame) != Some(0x0800) {
            return Verdict::Pass;
        }
        let Some(packet) = Packet::parse(frame) else { return Verdict::Pass };
        let (Some(transport), false) = (packet.transport(), packet.fragment) else { return Verdict::Pass };
        let (Some(source_port), Some(target_port)) = (port(frame, packet.payload), port(frame, packet.payload + 2)) else {
            return Verdict::Pass;
        };
        if let Some(index) = self.connections.get(&(transport, target_port, packet.source, source_port))
            && let Some(forward) = self.rules.forwards.get(*index)
        {
            let (address, port) = forward.guest;
            set_endpoint(frame, &packet, transport, ETHERNET_LEN + 12, packet.payload, address, port);
        } else if transport == Transport::Udp {
            if self.asked.len() >= CONNECTIONS_MAX {
                // What is still in use comes back with its next packet.
                self.asked.clear();
            }
            self.asked.insert((target_port, packet.source, source_port));
        }
        Verdict::Pass
    }

    /// ARP goes to the NAT, but for addresses of forwards, which the NAT does not know.
    fn arp(&self, frame: &mut [u8]) -> Verdict {
        if frame.len() < ARP_LEN {
            return Verdict::Drop;
        }
        let target = Ipv4Addr::new(frame[38], frame[39], frame[40], frame[41]);
        let is_request = frame[20..22] == [0, 1];
        let known = [HOST, NAMESERVER, GUEST].contains(&target);
        if !is_request || known || !self.rules.forwards.iter().any(|forward| forward.guest.0 == target) {
            return Verdict::Pass;
        }
        let asker: [u8; 10] = frame[22..32].try_into().unwrap_or_default();
        frame[21] = 2;
        frame[22..28].copy_from_slice(&NAT_MAC);
        frame[28..32].copy_from_slice(&target.octets());
        frame[32..42].copy_from_slice(&asker);
        frame.copy_within(32..38, 0);
        frame[6..12].copy_from_slice(&NAT_MAC);
        Verdict::Reply
    }

    /// Leads a connection to a forwarded endpoint to its place; `None` when it is none.
    fn rewrite(&mut self, frame: &mut [u8], packet: &Packet) -> Option<Verdict> {
        let transport = packet.transport()?;
        let target_port = port(frame, packet.payload + 2)?;
        let index = self
            .rules
            .forwards
            .iter()
            .position(|forward| forward.transport == transport && forward.guest == (packet.target, target_port))?;
        if packet.fragment {
            return Some(Verdict::Drop);
        }
        let own_port = port(frame, packet.payload)?;
        let (host, host_port) = self.rules.forwards[index].host;
        let address = if host.is_loopback() || host.is_unspecified() { HOST } else { host };
        let key = (transport, own_port, address, host_port);
        if self.connections.len() >= CONNECTIONS_MAX && !self.connections.contains_key(&key) {
            // Live connections come back with their next packet to the host.
            self.connections.clear();
        }
        self.connections.insert(key, index);
        set_endpoint(frame, packet, transport, ETHERNET_LEN + 16, packet.payload + 2, address, host_port);
        Some(Verdict::Pass)
    }

    fn is_allowed(&self, frame: &[u8], packet: &Packet) -> bool {
        let target = packet.target;
        let is_nat = target.octets()[..3] == NETWORK.octets()[..3];
        let first_port = if packet.fragment { None } else { port(frame, packet.payload + 2) };
        let is_echo = packet.protocol == 1 && frame.get(packet.payload) == Some(&8);
        if is_nat || target.is_broadcast() {
            let is_dhcp = packet.protocol == 17 && first_port == Some(67);
            let is_dns = target == NAMESERVER && packet.transport().is_some() && first_port == Some(53);
            return is_dhcp || is_dns || (is_echo && is_nat) || (target == HOST && self.is_answer(frame, packet));
        }
        if self.host_addresses.contains(&target) {
            return self.is_answer(frame, packet);
        }
        !(target.is_loopback()
            || target.octets()[0] == 0
            || target.is_multicast()
            || target.octets()[0] >= 240)
    }

    /// Whether a packet to the host can only belong to something that the host began.
    fn is_answer(&self, frame: &[u8], packet: &Packet) -> bool {
        let (false, Some(own), Some(port)) = (packet.fragment, port(frame, packet.payload), port(frame, packet.payload + 2)) else { return false };
        match packet.transport() {
            // The NAT opens a connection for a SYN without ACK and for nothing else.
            Some(Transport::Tcp) => frame.get(packet.payload + 13).is_some_and(|flags| flags & TCP_SYN == 0 || flags & TCP_ACK != 0),
            Some(Transport::Udp) => self.asked.contains(&(own, packet.target, port)),
            None => false,
        }
    }
}

impl Packet {
    fn parse(frame: &[u8]) -> Option<Self> {
        let header = frame.get(ETHERNET_LEN..ETHERNET_LEN + 20)?;
        if header[0] >> 4 != 4 {
            return None;
        }
        let header_len = usize::from(header[0] & 15) * 4;
        if header_len < 20 || frame.len() < ETHERNET_LEN + header_len {
            return None;
        }
        let word = u16::from_be_bytes([header[6], header[7]]);
        Some(Self {
            protocol: header[9],
            source: Ipv4Addr::new(header[12], header[13], header[14], header[15]),
            target: Ipv4Addr::new(header[16], header[17], header[18], header[19]),
            payload: ETHERNET_LEN + header_len,
            // More fragments, or not the first one.
            fragment: word & 0x3fff != 0,
        })
    }

    fn transport(&self) -> Option<Transport> {
        match self.protocol {
            6 => Some(Transport::Tcp),
            17 => Some(Transport::Udp),
            _ => None,
        }
    }
}

fn ether_type(frame: &[u8]) -> Option<u16> {
    frame.get(12..14).map(|word| u16::from_be_bytes([word[0], word[1]]))
}

fn port(frame: &[u8], at: usize) -> Option<u16> {
    frame.get(at..at + 2).map(|word| u16::from_be_bytes([word[0], word[1]]))
}

/// Writes an address at `address_at` and a port at `port_at` and keeps both checksums right.
fn set_endpoint(frame: &mut [u8], packet: &Packet, transport: Transport, address_at: usize, port_at: usize, address: Ipv4Addr, port: u16) {
    let mut old = [0; 6];
    old[..4].copy_from_slice(&frame[address_at..address_at + 4]);
    old[4..].copy_from_slice(&frame[port_at..port_at + 2]);
    let mut new = [0; 6];
    new[..4].copy_from_slice(&address.octets());
    new[4..].copy_from_slice(&port.to_be_bytes());
    frame[address_at..address_at + 4].copy_from_slice(&new[..4]);
    frame[port_at..port_at + 2].copy_from_slice(&new[4..]);
    checksum::update(frame, ETHERNET_LEN + 10, &old[..4], &new[..4]);
    match transport {
        Transport::Tcp => checksum::update(frame, packet.payload + 16, &old, &new),
        Transport::Udp => {
            let at = packet.payload + 6;
            // A sum of zero means that the sender made none.
            if frame.get(at..at + 2).is_some_and(|sum| sum != [0, 0]) {
                checksum::update(frame, at, &old, &new);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(protocol: u8, source: (Ipv4Addr, u16), target: (Ipv4Addr, u16)) -> Vec<u8> {
        let mut frame = vec![0u8; ETHERNET_LEN + 20 + 20];
        frame[12..14].copy_from_slice(&[8, 0]);
        let header = &mut frame[ETHERNET_LEN..];
        header[0] = 0x45;
        header[3] = 40;
        header[9] = protocol;
        header[12..16].copy_from_slice(&source.0.octets());
        header[16..20].copy_from_slice(&target.0.octets());
        header[20..22].copy_from_slice(&source.1.to_be_bytes());
        header[22..24].copy_from_slice(&target.1.to_be_bytes());
        if protocol == 6 {
            header[33] = TCP_SYN;
        }
        let sum = checksum::full(&header[..20]);
        header[10..12].copy_from_slice(&sum.to_be_bytes());
        let sum = transport_sum(&frame);
        let at = ETHERNET_LEN + 20 + if protocol == 6 { 16 } else { 6 };
        frame[at..at + 2].copy_from_slice(&sum.to_be_bytes());
        frame
    }

    /// The sum over pseudo header and segment; 0 when the one in the frame is right.
    fn transport_sum(frame: &[u8]) -> u16 {
        let mut bytes = frame[ETHERNET_LEN + 12..].to_vec();
        bytes.extend([0, frame[ETHERNET_LEN + 9], 0, 20]);
        checksum::full(&bytes)
    }

    fn guest(port: u16) -> (Ipv4Addr, u16) {
        (GUEST, port)
    }

    fn verdict(gateway: &mut Gateway, protocol: u8, target: Ipv4Addr, port: u16) -> Verdict {
        gateway.from_guest(&mut ip(protocol, guest(40000), (target, port)))
    }

    #[test]
    fn the_hosts_loopback_is_out_of_reach() {
        let mut gateway = Gateway::new(Rules::default());
        gateway.set_host_addresses(vec![Ipv4Addr::new(192, 0, 2, 7)]);
        for target in [HOST, Ipv4Addr::LOCALHOST, Ipv4Addr::BROADCAST, Ipv4Addr::UNSPECIFIED, Ipv4Addr::new(10, 0, 2, 9), Ipv4Addr::new(192, 0, 2, 7)] {
            for protocol in [6, 17] {
                assert_eq!(verdict(&mut gateway, protocol, target, 22), Verdict::Drop, "{target}");
            }
        }
        assert_eq!(gateway.dropped(), 12);
    }

    #[test]
    fn the_outside_dhcp_and_names_are_within_reach() {
        let mut gateway = Gateway::new(Rules::default());
        assert_eq!(verdict(&mut gateway, 6, Ipv4Addr::new(192, 0, 2, 8), 443), Verdict::Pass);
        assert_eq!(verdict(&mut gateway, 17, Ipv4Addr::BROADCAST, 67), Verdict::Pass);
        assert_eq!(verdict(&mut gateway, 17, NAMESERVER, 53), Verdict::Pass);
        assert_eq!(verdict(&mut gateway, 17, NAMESERVER, 54), Verdict::Drop);
        let mut echo = ip(1, guest(0), (HOST, 0));
        echo[ETHERNET_LEN + 20] = 8;
        assert_eq!(gateway.from_guest(&mut echo), Verdict::Pass);
    }

    #[test]
    fn answers_to_the_host_pass_and_questions_do_not() {
        let mut gateway = Gateway::new(Rules::default());
        let own = Ipv4Addr::new(192, 0, 2, 7);
        gateway.set_host_addresses(vec![own]);
        for host in [HOST, own] {
            for (flags, verdict) in [(TCP_SYN, Verdict::Drop), (TCP_SYN | 1, Verdict::Drop), (TCP_SYN | TCP_ACK, Verdict::Pass), (TCP_ACK, Verdict::Pass)] {
                let mut frame = ip(6, guest(22), (host, 50000));
                frame[ETHERNET_LEN + 33] = flags;
                assert_eq!(gateway.from_guest(&mut frame), verdict, "{host} {flags}");
            }
            assert_eq!(gateway.from_guest(&mut ip(17, guest(53), (host, 50000))), Verdict::Drop);
            gateway.from_nat(&mut ip(17, (host, 50000), guest(53)));
            assert_eq!(gateway.from_guest(&mut ip(17, guest(53), (host, 50000))), Verdict::Pass);
            assert_eq!(gateway.from_guest(&mut ip(17, guest(53), (host, 50001))), Verdict::Drop);
        }
    }

    #[test]
    fn a_fragment_does_not_slip_through() {
        let mut gateway = Gateway::new(Rules::default());
        let mut frame = ip(6, guest(22), (HOST, 50000));
        frame[ETHERNET_LEN + 33] = TCP_ACK;
        frame[ETHERNET_LEN + 7] = 1;
        assert_eq!(gateway.from_guest(&mut frame), Verdict::Drop);
        let mut frame = ip(17, guest(1), (HOST, 67));
        frame[ETHERNET_LEN + 7] = 1;
        assert_eq!(gateway.from_guest(&mut frame), Verdict::Drop);
        assert_eq!(gateway.from_guest(&mut frame[..20]), Verdict::Drop);
    }

    #[test]
    fn a_forward_leads_to_the_host_and_its_answers_come_back_rewritten() {
        for (protocol, transport) in [(6, Transport::Tcp), (17, Transport::Udp)] {
            let service = (Ipv4Addr::new(10, 0, 2, 10), 80);
            let mut gateway = Gateway::new(Rules { forwards: vec![Forward { transport, guest: service, host: (Ipv4Addr::LOCALHOST, 8080) }] });
            let mut frame = ip(protocol, guest(40000), service);
            assert_eq!(gateway.from_guest(&mut frame), Verdict::Pass);
            let packet = Packet::parse(&frame).unwrap();
            assert_eq!((packet.target, port(&frame, packet.payload + 2)), (HOST, Some(8080)));
            assert_eq!((checksum::full(&frame[ETHERNET_LEN..ETHERNET_LEN + 20]), transport_sum(&frame)), (0, 0));

            let mut answer = ip(protocol, (HOST, 8080), guest(40000));
            assert_eq!(gateway.from_nat(&mut answer), Verdict::Pass);
            let packet = Packet::parse(&answer).unwrap();
            assert_eq!((packet.source, port(&answer, packet.payload)), (service.0, Some(80)));
            assert_eq!((checksum::full(&answer[ETHERNET_LEN..ETHERNET_LEN + 20]), transport_sum(&answer)), (0, 0));
            // The host's port itself stays closed.
            assert_eq!(verdict(&mut gateway, protocol, HOST, 8080), Verdict::Drop);
        }
    }

    #[test]
    fn arp_for_a_forwarded_address_is_answered() {
        let service = Ipv4Addr::new(10, 0, 2, 10);
        let mut gateway = Gateway::new(Rules { forwards: vec![Forward { transport: Transport::Tcp, guest: (service, 80), host: (Ipv4Addr::LOCALHOST, 80) }] });
        let mac = [0x52, 0x54, 0, 1, 2, 3];
        let mut frame = vec![255; 6];
        frame.extend(mac);
        frame.extend([8, 6, 0, 1, 8, 0, 6, 4, 0, 1]);
        frame.extend(mac);
        frame.extend(GUEST.octets());
        frame.extend([0; 6]);
        frame.extend(service.octets());
        assert_eq!(gateway.from_guest(&mut frame), Verdict::Reply);
        assert_eq!((&frame[..6], &frame[6..12]), (&mac[..], &NAT_MAC[..]));
        assert_eq!(frame[20..22], [0, 2]);
        assert_eq!((&frame[22..28], &frame[28..32]), (&NAT_MAC[..], &service.octets()[..]));
        assert_eq!((&frame[32..38], &frame[38..42]), (&mac[..], &GUEST.octets()[..]));
    }
}
