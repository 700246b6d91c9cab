//! The handle on the running switch: ports, faults, captures, reports.
//!
//! Not here: the thread that moves the frames ([`crate::engine`]).

use std::os::fd::OwnedFd;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::Instant;

use nbv_plan::LinkFaults;
use rustix::event::{EventfdFlags, epoll};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use rustix::time::TimerfdFlags;

use crate::cable::Cable;
use crate::capture::{Capture, CaptureId, Tap};
use crate::engine::{self, Port, Role, Shared, Socket, State, TIMER, Uplink, WAKE};
use crate::fabric::{Counters, PortId};
use crate::gateway::{Gateway, Rules};
use crate::host;
use crate::impair::Fates;

/// Wanted size of a socket's buffer, bytes; the system's limit may be lower.
const BUFFER_LEN: usize = 1 << 20;

/// Why the switch could not start or take a port.
#[derive(Debug, thiserror::Error)]
#[error("the network switch failed to {action}")]
pub struct SwitchError {
    action: &'static str,
    #[source]
    source: std::io::Error,
}

fn failed(action: &'static str) -> impl FnOnce(Errno) -> SwitchError {
    move |errno| SwitchError { action, source: errno.into() }
}

/// One machine's way out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct UplinkId(u32);

/// A port as reports show it.
#[derive(Debug, Clone, PartialEq)]
pub struct PortReport {
    /// The port.
    pub id: PortId,
    /// Its name, such as `test1/eth1`.
    pub name: String,
    /// Its segment.
    pub segment: u32,
    /// Whether its link is up.
    pub is_up: bool,
    /// What passed, since the port's first machine.
    pub counters: Counters,
    /// Frames that wait for the machine now.
    pub waiting: usize,
    /// Its cable's faults.
    pub faults: LinkFaults,
    /// What they did to frames from the machine.
    pub outgoing: Fates,
    /// What they did to frames to the machine.
    pub incoming: Fates,
}

/// Makes the two ends of a link: one for [`Switch::add_port`], one to be inherited by QEMU as netdev `stream`.
///
/// Both are closed on exec; only the first does not block.
///
/// # Errors
/// No descriptors left.
pub fn link_socket_pair() -> Result<(OwnedFd, OwnedFd), SwitchError> {
    socket_pair(SocketType::STREAM)
}

/// Makes two ends for [`Switch::add_uplink`]: netdev `dgram` of QEMU, a frame per datagram. Else as [`link_socket_pair`].
///
/// # Errors
/// No descriptors left.
pub fn uplink_socket_pair() -> Result<(OwnedFd, OwnedFd), SwitchError> {
    socket_pair(SocketType::DGRAM)
}

fn socket_pair(kind: SocketType) -> Result<(OwnedFd, OwnedFd), SwitchError> {
    let (ours, theirs) =
        rustix::net::socketpair(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None).map_err(failed("make a socket pair"))?;
    for end in [&ours, &theirs] {
        // A smaller buffer only drops earlier.
        let _ = rustix::net::sockopt::set_socket_send_buffer_size(end, BUFFER_LEN);
    }
    rustix::io::ioctl_fionbio(&ours, true).map_err(failed("set up a socket"))?;
    Ok((ours, theirs))
}

/// The running switch. Dropping it ends its thread.
pub struct Switch {
    pub(crate) shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Switch {
    /// Starts the thread.
    ///
    /// # Errors
    /// No descriptors or threads left.
    pub fn start() -> Result<Self, SwitchError> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).map_err(failed("start"))?;
        let wake = rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).map_err(failed("start"))?;
        epoll::add(&epoll, &wake, epoll::EventData::new_u64(WAKE), epoll::EventFlags::IN).map_err(failed("start"))?;
        let timer = rustix::time::timerfd_create(rustix::time::TimerfdClockId::Monotonic, TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK)
            .map_err(failed("start"))?;
        epoll::add(&epoll, &timer, epoll::EventData::new_u64(TIMER), epoll::EventFlags::IN).map_err(failed("start"))?;
        let wall = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        let start_wall = u64::try_from(wall.as_nanos()).unwrap_or(u64::MAX);
        let shared = Arc::new(Shared {
            epoll,
            wake,
            timer,
            start: Instant::now(),
            start_wall,
            state: Mutex::default(),
            wanted: AtomicUsize::new(0),
            had: Condvar::new(),
        });
        let thread = std::thread::Builder::new()
            .name("switch".into())
            .spawn({
                let shared = Arc::clone(&shared);
                move || engine::run(&shared)
            })
            .map_err(|source| SwitchError { action: "start its thread", source })?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Plugs a machine's card into the port `name` (`machine/eth1`) of a segment; `socket` is the switch's end of a [`link_socket_pair`].
    /// A port that an earlier start of the machine had keeps its counters, its faults, and its link's state.
    ///
    /// # Errors
    /// The socket cannot be waited for.
    pub fn add_port(&self, segment: u32, name: &str, socket: OwnedFd) -> Result<PortId, SwitchError> {
        let mut state = self.shared.lock();
        let state = &mut *state;
        let known = state.ports.iter().position(|port| port.name == name && state.fabric.segment(port.id) == segment);
        let index = known.unwrap_or(state.ports.len());
        let id = match known {
            Some(index) => state.ports[index].id,
            None => {
                let machine = name.split('/').next().unwrap_or(name);
                let id = state.fabric.add(segment, machine);
                let cable = state.faults.get(name).filter(|faults| !faults.is_none()).map(|faults| Box::new(Cable::new(name, faults)));
                state.fabric.set_link(id, !state.down.contains(name));
                state.ports.push(Port { id, name: name.to_owned(), socket: None, cable });
                id
            }
        };
        if let Some(key) = state.ports[index].socket.take() {
            self.remove_socket(state, key);
        }
        match self.add_socket(state, socket, Role::Port(id)) {
            Ok(key) => {
                state.ports[index].socket = Some(key);
                state.fabric.plug(id);
                Ok(id)
            }
            Err(error) => {
                state.fabric.unplug(id);
                Err(error)
            }
        }
    }

    /// Takes the machine off a port; frames under way are gone.
    pub fn remove_port(&self, id: PortId) {
        let mut state = self.shared.lock();
        state.fabric.unplug(id);
        let Some(port) = state.ports.get_mut(id.index()) else { return };
        if let Some(cable) = &mut port.cable {
            cable.outgoing.clear();
            cable.incoming.clear();
        }
        if let Some(key) = port.socket.take() {
            self.remove_socket(&mut state, key);
        }
    }

    /// Joins a machine's `eth0` and its NAT through a gateway.
    ///
    /// # Errors
    /// A socket cannot be waited for.
    pub fn add_uplink(&self, guest: OwnedFd, nat: OwnedFd, rules: Rules) -> Result<UplinkId, SwitchError> {
        let mut state = self.shared.lock();
        let id = u32::try_from(state.next).unwrap_or(u32::MAX);
        let guest = self.add_socket(&mut state, guest, Role::UplinkGuest(id))?;
        let nat = match self.add_socket(&mut state, nat, Role::UplinkNat(id)) {
            Ok(nat) => nat,
            Err(error) => {
                self.remove_socket(&mut state, guest);
                return Err(error);
            }
        };
        let mut gateway = Gateway::new(rules);
        gateway.set_host_addresses(host::addresses());
        state.uplinks.insert(id, Uplink { gateway, guest, nat });
        Ok(UplinkId(id))
    }

    /// Takes a way out away.
    pub fn remove_uplink(&self, id: UplinkId) {
        let mut state = self.shared.lock();
        if let Some(uplink) = state.uplinks.remove(&id.0) {
            self.remove_socket(&mut state, uplink.guest);
            self.remove_socket(&mut state, uplink.nat);
        }
    }

    /// Sets the link of the port `name` up or down, now and for every later start of its machine.
    pub fn set_link(&self, name: &str, up: bool) {
        let mut state = self.shared.lock();
        let state = &mut *state;
        if up {
            state.down.remove(name);
        } else {
            state.down.insert(name.to_owned());
        }
        for port in state.ports.iter().filter(|port| port.name == name) {
            state.fabric.set_link(port.id, up);
        }
    }

    /// Whether the link of the port `name` is up.
    #[must_use]
    pub fn is_up(&self, name: &str) -> bool {
        !self.shared.lock().down.contains(name)
    }

    /// The faults of a cable, by its port's name (`machine/eth1`).
    #[must_use]
    pub fn faults(&self, name: &str) -> LinkFaults {
        self.shared.lock().faults.get(name).copied().unwrap_or_default()
    }

    /// Sets the faults of a cable by its port's name, now and for every later port of that name. Another seed starts its chances anew,
    /// and so does `restart`.
    pub fn set_faults(&self, name: &str, faults: LinkFaults, restart: bool) {
        let mut state = self.shared.lock();
        let before = state.faults.insert(name.to_owned(), faults).unwrap_or_default();
        for port in state.ports.iter_mut().filter(|port| port.name == name) {
            if port.cable.is_none() && faults.is_none() {
                continue;
            }
            let cable = port.cable.get_or_insert_with(|| Box::new(Cable::new(name, &faults)));
            if restart || faults.seed != before.seed {
                cable.reseed(name, faults.seed);
            }
            cable.set(&faults);
        }
        // Frames that are under way are in the thread's timer already.
    }

    /// Lets nothing pass between machines of different groups; machines in no group are not concerned. No groups: all passes again.
    pub fn partition(&self, groups: &[Vec<String>]) {
        self.shared.lock().fabric.partition(groups);
    }

    /// The groups of [`Self::partition`].
    #[must_use]
    pub fn groups(&self) -> Vec<Vec<String>> {
        self.shared.lock().fabric.groups()
    }

    /// Writes frames from now on to `out` as pcapng, until [`Self::end_capture`], until a write fails, or until `limit` bytes of frames
    /// are there. When the disk is slow, frames are left out rather than the network held up.
    ///
    /// # Errors
    /// No threads left.
    pub fn capture(&self, tap: Tap, limit: u64, out: impl std::io::Write + Send + 'static) -> Result<CaptureId, SwitchError> {
        let mut state = self.shared.lock();
        let is_wanted = |port: &&Port| match &tap {
            Tap::All => true,
            Tap::Machine(name) => port.machine() == name,
            Tap::Segment(segment) => state.fabric.segment(port.id) == *segment,
        };
        let interfaces = state.ports.iter().filter(is_wanted).map(|port| port.name.clone()).collect();
        let capture = Capture::start(tap, interfaces, limit, out).map_err(|source| SwitchError { action: "start a capture", source })?;
        let id = state.next;
        state.next += 1;
        state.captures.insert(id, capture);
        Ok(CaptureId(id))
    }

    /// Ends a capture and waits until what was captured is written.
    pub fn end_capture(&self, id: CaptureId) {
        let capture = self.shared.lock().captures.remove(&id.0);
        if let Some(capture) = capture {
            capture.end(self.shared.wall_now())();
        }
    }

    /// Ends all captures and waits until what was captured is written.
    pub fn end_captures(&self) {
        let all: Vec<Capture> = self.shared.lock().captures.drain().map(|(_, capture)| capture).collect();
        let waits: Vec<_> = all.into_iter().map(|capture| capture.end(self.shared.wall_now())).collect();
        waits.into_iter().for_each(|wait| wait());
    }

    /// What is captured now.
    #[must_use]
    pub fn captures(&self) -> Vec<Tap> {
        let state = self.shared.lock();
        let mut all: Vec<(&u64, &Capture)> = state.captures.iter().collect();
        all.sort_by_key(|(id, _)| **id);
        all.into_iter().map(|(_, capture)| capture.tap.clone()).collect()
    }

    /// How long the switch has run.
    #[must_use]
    pub fn uptime(&self) -> std::time::Duration {
        self.shared.start.elapsed()
    }

    /// Every port in the order in which they were added.
    #[must_use]
    pub fn report(&self) -> Vec<PortReport> {
        let state = self.shared.lock();
        let report = |port: &Port| PortReport {
            id: port.id,
            name: port.name.clone(),
            segment: state.fabric.segment(port.id),
            is_up: state.fabric.is_up(port.id),
            counters: state.fabric.counters(port.id),
            waiting: port.socket.and_then(|key| state.sockets.get(&key)).map_or(0, |socket| socket.queue.len()),
            faults: state.faults.get(&port.name).copied().unwrap_or_default(),
            outgoing: port.cable.as_ref().map(|cable| cable.outgoing.fates()).unwrap_or_default(),
            incoming: port.cable.as_ref().map(|cable| cable.incoming.fates()).unwrap_or_default(),
        };
        state.ports.iter().map(report).collect()
    }

    fn add_socket(&self, state: &mut State, fd: OwnedFd, role: Role) -> Result<u64, SwitchError> {
        rustix::io::ioctl_fionbio(&fd, true).map_err(failed("set up a socket"))?;
        let key = state.next;
        state.next += 1;
        epoll::add(&self.shared.epoll, &fd, epoll::EventData::new_u64(key), epoll::EventFlags::IN)
            .map_err(failed("wait for a socket"))?;
        state.sockets.insert(key, Socket::new(fd, role));
        Ok(key)
    }

    fn remove_socket(&self, state: &mut State, key: u64) {
        if let Some(socket) = state.sockets.remove(&key) {
            let _ = epoll::delete(&self.shared.epoll, &*socket.fd);
        }
    }
}

impl Drop for Switch {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.is_ending = true;
        let captures: Vec<Capture> = state.captures.drain().map(|(_, capture)| capture).collect();
        drop(state);
        captures.into_iter().for_each(|capture| drop(capture.end(self.shared.wall_now())));
        let _ = rustix::io::write(&self.shared.wake, &1u64.to_ne_bytes());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stream::{End, FRAME_MAX};
    use nbv_plan::Impairment;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::time::Duration;

    fn machine_end(fd: OwnedFd) -> std::os::unix::net::UnixDatagram {
        let socket = std::os::unix::net::UnixDatagram::from(fd);
        socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        socket
    }

    fn named(switch: &Switch, segment: u32, name: &str) -> (PortId, End) {
        let (ours, theirs) = link_socket_pair().unwrap();
        (switch.add_port(segment, name, ours).unwrap(), End::new(theirs))
    }

    fn port(switch: &Switch, segment: u32) -> (PortId, End) {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        named(switch, segment, &format!("m{}/eth1", NEXT.fetch_add(1, Ordering::Relaxed)))
    }

    fn frame(source: u8, len: usize) -> Vec<u8> {
        let mut frame = vec![255; 6];
        frame.extend([2, 0, 0, 0, 0, source]);
        frame.resize(len, 7);
        frame
    }

    #[test]
    fn frames_pass_whole_between_the_machines_of_a_segment() {
        let switch = Switch::start().unwrap();
        let ((_, a), (_, b), (_, other)) = (port(&switch, 1), port(&switch, 1), port(&switch, 2));
        let mut buffer = [0; FRAME_MAX];
        for len in [60, 1514, 60_000] {
            a.send(&frame(1, len)).unwrap();
            assert_eq!(b.recv(&mut buffer).unwrap(), len);
            assert_eq!(buffer[..len], frame(1, len));
        }
        other.set_nonblocking(true);
        assert!(other.recv(&mut buffer).is_err());
        assert_eq!(switch.report()[1].counters.to_machine.frames, 3);
    }

    #[test]
    fn a_machine_that_reads_nothing_stops_no_other() {
        let switch = Switch::start().unwrap();
        let ((_, a), (_hung, _silent), (_, b)) = (port(&switch, 1), port(&switch, 1), port(&switch, 1));
        let mut buffer = [0; 2048];
        for _ in 0..5000 {
            a.send(&frame(1, 1514)).unwrap();
            assert_eq!(b.recv(&mut buffer).unwrap(), 1514);
        }
        assert!(switch.report()[1].counters.to_machine.dropped.no_room > 0);
    }

    #[test]
    fn a_machine_that_ends_leaves_the_others_talking() {
        let switch = Switch::start().unwrap();
        let ((_, a), (gone, end), (_, b)) = (port(&switch, 1), port(&switch, 1), port(&switch, 1));
        drop(end);
        let mut buffer = [0; 2048];
        let deadline = Instant::now() + Duration::from_secs(5);
        while switch.report()[1].counters.to_machine.dropped.down == 0 {
            assert!(Instant::now() < deadline, "{:?}", switch.report());
            a.send(&frame(1, 100)).unwrap();
            assert_eq!(b.recv(&mut buffer).unwrap(), 100);
        }
        switch.remove_port(gone);
        b.send(&frame(2, 200)).unwrap();
        assert_eq!(a.recv(&mut buffer).unwrap(), 200);
    }

    #[test]
    fn an_uplink_passes_the_outside_and_not_the_host() {
        let switch = Switch::start().unwrap();
        let ((guest, guest_end), (nat, nat_end)) = (uplink_socket_pair().unwrap(), uplink_socket_pair().unwrap());
        let uplink = switch.add_uplink(guest, nat, Rules::default()).unwrap();
        let (guest, nat) = (machine_end(guest_end), machine_end(nat_end));
        let packet = |target: [u8; 4]| {
            let mut frame = frame(1, 54);
            frame[12..15].copy_from_slice(&[8, 0, 0x45]);
            frame[20..24].copy_from_slice(&[0, 0, 64, 6]);
            frame[30..34].copy_from_slice(&target);
            frame[47] = 2;
            frame
        };
        guest.send(&packet([10, 0, 2, 2])).unwrap();
        guest.send(&packet([192, 0, 2, 1])).unwrap();
        let mut buffer = [0; 2048];
        assert_eq!(nat.recv(&mut buffer).unwrap(), 54);
        assert_eq!(buffer[30..34], [192, 0, 2, 1]);
        nat.send(&packet([10, 0, 2, 15])).unwrap();
        assert_eq!(guest.recv(&mut buffer).unwrap(), 54);
        switch.remove_uplink(uplink);
    }

    #[test]
    fn a_delayed_cable_delivers_late() {
        let switch = Switch::start().unwrap();
        let incoming = Impairment { delay_us: 30_000, ..Impairment::default() };
        let ((_, a), (_, b)) = (named(&switch, 1, "a/eth1"), named(&switch, 1, "b/eth1"));
        switch.set_faults("b/eth1", LinkFaults { incoming, ..LinkFaults::default() }, false);
        let mut buffer = [0; 2048];
        let sent = Instant::now();
        a.send(&frame(1, 100)).unwrap();
        assert_eq!(b.recv(&mut buffer).unwrap(), 100);
        let took = sent.elapsed();
        assert!(took >= Duration::from_millis(30) && took < Duration::from_millis(200), "{took:?}");
    }

    #[test]
    fn a_machine_that_starts_again_finds_its_port_as_it_left_it() {
        let switch = Switch::start().unwrap();
        let ((_, a), (b_id, b)) = (named(&switch, 1, "a/eth1"), named(&switch, 1, "b/eth1"));
        let outgoing = Impairment { mtu: 500, ..Impairment::default() };
        switch.set_faults("b/eth1", LinkFaults { outgoing, ..LinkFaults::default() }, false);
        let mut buffer = [0; 2048];
        a.send(&frame(1, 100)).unwrap();
        b.recv(&mut buffer).unwrap();
        switch.set_link("b/eth1", false);
        switch.remove_port(b_id);
        let (again, b) = named(&switch, 1, "b/eth1");
        assert_eq!(again, b_id);
        a.send(&frame(1, 100)).unwrap();
        b.send(&frame(2, 600)).unwrap();
        for _ in 0..500 {
            let report = &switch.report()[1];
            if report.counters.to_machine.dropped.down == 1 && report.counters.from_machine.dropped.oversized == 1 {
                assert_eq!((report.counters.to_machine.frames, report.is_up, report.faults.outgoing), (1, false, outgoing));
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("{:?}", switch.report());
    }

    #[test]
    fn a_capture_has_the_frames_of_its_segment_and_is_written_while_it_goes_on() {
        let switch = Switch::start().unwrap();
        let (mut reader, writer) = std::os::unix::net::UnixStream::pair().unwrap();
        let id = switch.capture(Tap::Segment(1), u64::MAX, writer).unwrap();
        let ((_, a), (_, b)) = (port(&switch, 1), port(&switch, 1));
        // Its header is written; then its writer waits.
        reader.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let mut file = vec![0; 40];
        std::io::Read::read_exact(&mut reader, &mut file).unwrap();
        std::thread::sleep(Duration::from_millis(20));
        let mut buffer = [0; 2048];
        a.send(&frame(1, 100)).unwrap();
        b.recv(&mut buffer).unwrap();
        b.send(&frame(2, 60)).unwrap();
        a.recv(&mut buffer).unwrap();
        let mut first = vec![0; 200];
        std::io::Read::read_exact(&mut reader, &mut first).unwrap();
        file.extend(first);
        switch.end_capture(id);
        std::io::Read::read_to_end(&mut reader, &mut file).unwrap();
        let (mut at, mut kinds) = (0, Vec::new());
        while at < file.len() {
            kinds.push(file[at]);
            at += u32::from_le_bytes(file[at + 4..at + 8].try_into().unwrap()) as usize;
        }
        assert_eq!(kinds, [0x0a, 1, 6, 1, 6]);
    }

    #[test]
    fn who_floods_neither_keeps_the_others_out_nor_the_driver_waiting() {
        let switch = Switch::start().unwrap();
        let ((_, flooder), (_, a), (_, b)) = (port(&switch, 1), port(&switch, 1), port(&switch, 1));
        flooder.set_nonblocking(true);
        let mut buffer = [0; 2048];
        let is_over = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let flooder = flooder;
                while !is_over.load(Ordering::SeqCst) {
                    // Broadcasts, as many as the socket takes.
                    flooder.send_if_room(&frame(1, 1514));
                }
            });
            // Asked while the flood lasts; each answer is read among the flood's frames.
            for number in 0..50 {
                let mut ask = frame(2, 200);
                ask[12..14].copy_from_slice(&[number, 0x77]);
                a.send(&ask).unwrap();
                let is_mine = |bytes: &[u8]| bytes.len() == 200 && bytes[12..14] == [number, 0x77];
                let found = (0..20_000).any(|_| b.recv(&mut buffer).is_ok_and(|len| is_mine(&buffer[..len])));
                assert!(found, "frame {number} is lost in the flood");
                assert_eq!(switch.report().len(), 3);
            }
            // `a` reads nothing: in time there is no room.
            let deadline = Instant::now() + Duration::from_secs(10);
            while switch.report()[1].counters.to_machine.dropped.no_room == 0 && Instant::now() < deadline {
                b.recv(&mut buffer).unwrap();
            }
            is_over.store(true, Ordering::SeqCst);
        });
        let report = switch.report();
        assert_eq!(report[1].counters.from_machine.frames, 50);
        assert!(report[1].waiting <= crate::queue::FRAMES_MAX, "what waits for one that reads nothing is bounded");
        assert!(report[1].counters.to_machine.dropped.no_room > 0);
    }
}
