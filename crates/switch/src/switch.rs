//! The switch's thread: frames between sockets, by the cores' word.
//!
//! A port is one end of a pair of AF_UNIX datagram sockets whose other end a QEMU holds; a datagram
//! is a frame. The thread waits for all of them, reads in batches, and writes without ever waiting:
//! what does not fit goes into a bounded queue of the port, and past that it is dropped, so a
//! machine that hangs or floods stops no other.
//!
//! Not here: what happens to a frame ([`crate::fabric`], [`crate::gateway`]).

mod freeze;

use std::collections::{HashMap, VecDeque};
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use rustix::event::{EventfdFlags, epoll};
use rustix::io::Errno;
use rustix::time::TimerfdFlags;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};

use crate::fabric::{Counters, Fabric, Nanos, PortId};
use crate::gateway::{Gateway, Rules, Verdict};
use crate::impair::{Fates, Impairment, Shaper};
use crate::pcapng;

pub use freeze::{AddressState, Frame, PortState, SettingsState, SwitchState};

/// Longest frame that QEMU sends (its NET_BUFSIZE).
const FRAME_MAX: usize = 4096 + 65536;
/// Frames read from one port before the others have their turn.
const BATCH: usize = 64;
/// Frames that wait for a port whose socket is full.
const QUEUE_MAX: usize = 1024;
/// Wanted size of a socket's buffer, bytes; the system's limit may be lower.
const BUFFER_LEN: usize = 1 << 20;
/// How often the host's own addresses are looked up while frames flow.
const ADDRESSES_EVERY: std::time::Duration = std::time::Duration::from_secs(5);
/// The key of the wake-up descriptor.
const WAKE: u64 = u64::MAX;
/// The key of the timer.
const TIMER: u64 = u64::MAX - 1;
/// Bytes of a capture that wait to be written; frames beyond are left out of it.
const CAPTURE_MAX: usize = 64 << 20;

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
    /// What passed.
    pub counters: Counters,
    /// Faults from the machine.
    pub outgoing: (Impairment, Fates),
    /// Faults to the machine.
    pub incoming: (Impairment, Fates),
}

/// Faults of a cable, kept by its name, so that they outlive a restart of the machine.
#[derive(Debug, Clone, Copy, Default, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CableFaults {
    /// From the machine.
    pub outgoing: Impairment,
    /// To the machine.
    pub incoming: Impairment,
    /// Seed of its chances; one made from the name when absent.
    pub seed: Option<u64>,
}

/// What a capture takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tap {
    /// All frames from and to the ports of a machine (what precedes `/` in a port's name).
    Machine(String),
    /// All frames that enter a segment.
    Segment(u32),
    /// All frames from and to all machines.
    All,
}

/// A running capture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct CaptureId(u64);

struct Capture {
    tap: Tap,
    interfaces: Vec<String>,
    buffer: Arc<CaptureBuffer>,
}

#[derive(Default)]
struct CaptureBuffer {
    /// Bytes to write, and whether the capture is over.
    state: Mutex<(Vec<u8>, bool)>,
    changed: std::sync::Condvar,
}

impl CaptureBuffer {
    /// Writes what comes until the end or until nobody reads.
    fn write_out(&self, mut out: impl std::io::Write) {
        loop {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            while state.0.is_empty() && !state.1 {
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            let (bytes, is_over) = (std::mem::take(&mut state.0), state.1);
            drop(state);
            if out.write_all(&bytes).is_err() {
                self.state.lock().unwrap_or_else(PoisonError::into_inner).1 = true;
                return;
            }
            if is_over {
                return;
            }
        }
    }
}

/// Both directions of a port's cable.
struct Cable {
    outgoing: Shaper,
    incoming: Shaper,
}

impl Cable {
    fn new(name: &str, faults: &CableFaults) -> Self {
        let mut cable = Self { outgoing: Shaper::default(), incoming: Shaper::default() };
        cable.reseed(name, faults);
        cable.set(faults);
        cable
    }

    fn reseed(&mut self, name: &str, faults: &CableFaults) {
        // FNV-1a.
        let of_name = name.bytes().fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
        let seed = faults.seed.unwrap_or(of_name);
        self.outgoing.reseed(seed);
        self.incoming.reseed(!seed);
    }

    fn set(&mut self, faults: &CableFaults) {
        self.outgoing.set(faults.outgoing);
        self.incoming.set(faults.incoming);
    }
}

/// Makes the two ends of a cable: one for the switch, one to be inherited by QEMU.
///
/// Both are closed on exec; only the first does not block.
///
/// # Errors
/// No descriptors left.
pub fn frame_socket_pair() -> Result<(OwnedFd, OwnedFd), SwitchError> {
    let (ours, theirs) = rustix::net::socketpair(AddressFamily::UNIX, SocketType::DGRAM, SocketFlags::CLOEXEC, None)
        .map_err(failed("make a socket pair"))?;
    for end in [&ours, &theirs] {
        // A smaller buffer only drops earlier.
        let _ = rustix::net::sockopt::set_socket_send_buffer_size(end, BUFFER_LEN);
    }
    rustix::io::ioctl_fionbio(&ours, true).map_err(failed("set up a socket"))?;
    Ok((ours, theirs))
}

/// The running switch. Dropping it ends its thread.
pub struct Switch {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    epoll: OwnedFd,
    wake: OwnedFd,
    timer: OwnedFd,
    start: Instant,
    /// The time of day at `start`, nanoseconds since 1970.
    start_wall: u64,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Cables that have or had faults; the others pass frames at once.
    cables: HashMap<PortId, Cable>,
    faults: HashMap<String, CableFaults>,
    captures: HashMap<u64, Capture>,
    fabric: Fabric,
    /// Sockets by their key in the epoll set.
    sockets: HashMap<u64, Socket>,
    ports: HashMap<PortId, u64>,
    port_names: Vec<(PortId, String, u32)>,
    uplinks: HashMap<u32, Uplink>,
    next: u64,
    is_ending: bool,
    /// While the switch stands still.
    frozen: Option<freeze::Frozen>,
}

struct Uplink {
    gateway: Gateway,
    guest: u64,
    nat: u64,
}

struct Socket {
    fd: Arc<OwnedFd>,
    role: Role,
    queue: VecDeque<Box<[u8]>>,
    /// The other end too, to take back what lies unread in it.
    far: Option<OwnedFd>,
}

#[derive(Clone, Copy)]
enum Role {
    Port(PortId),
    UplinkGuest(u32),
    UplinkNat(u32),
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
        let shared = Arc::new(Shared { epoll, wake, timer, start: Instant::now(), start_wall, state: Mutex::default() });
        let thread = std::thread::Builder::new()
            .name("switch".into())
            .spawn({
                let shared = Arc::clone(&shared);
                move || run(&shared)
            })
            .map_err(|source| SwitchError { action: "start its thread", source })?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Adds a port to a segment; `socket` is the switch's end of a [`frame_socket_pair`].
    ///
    /// # Errors
    /// The socket cannot be waited for.
    pub fn add_port(&self, segment: u32, name: &str, socket: OwnedFd) -> Result<PortId, SwitchError> {
        let mut state = self.state();
        let id = state.fabric.add(segment);
        match self.add_socket(&mut state, socket, Role::Port(id)) {
            Ok(key) => {
                state.ports.insert(id, key);
                state.port_names.push((id, name.to_owned(), segment));
                if let Some(faults) = state.faults.get(name).copied() {
                    state.cables.insert(id, Cable::new(name, &faults));
                }
                let owner = name.split('/').next().unwrap_or(name);
                state.fabric.set_owner(id, owner);
                Ok(id)
            }
            Err(error) => {
                state.fabric.remove(id);
                Err(error)
            }
        }
    }

    /// Takes a port away.
    pub fn remove_port(&self, id: PortId) {
        let mut state = self.state();
        state.fabric.remove(id);
        state.cables.remove(&id);
        state.port_names.retain(|(port, ..)| *port != id);
        if let Some(key) = state.ports.remove(&id) {
            self.remove_socket(&mut state, key);
        }
    }

    /// Joins a machine's `eth0` and its NAT through a gateway.
    ///
    /// # Errors
    /// A socket cannot be waited for.
    pub fn add_uplink(&self, guest: OwnedFd, nat: OwnedFd, rules: Rules) -> Result<UplinkId, SwitchError> {
        let mut state = self.state();
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
        gateway.set_host_addresses(host_addresses());
        state.uplinks.insert(id, Uplink { gateway, guest, nat });
        Ok(UplinkId(id))
    }

    /// Takes a way out away.
    pub fn remove_uplink(&self, id: UplinkId) {
        let mut state = self.state();
        if let Some(uplink) = state.uplinks.remove(&id.0) {
            self.remove_socket(&mut state, uplink.guest);
            self.remove_socket(&mut state, uplink.nat);
        }
    }

    /// Sets a port's link up or down.
    pub fn set_link(&self, id: PortId, up: bool) {
        self.state().fabric.set_link(id, up);
    }

    /// The faults of a cable, by its port's name (`machine/eth1`).
    #[must_use]
    pub fn faults(&self, name: &str) -> CableFaults {
        self.state().faults.get(name).copied().unwrap_or_default()
    }

    /// Sets the faults of a cable by its port's name, now and for every later port of that name. A seed starts its chances anew.
    pub fn set_faults(&self, name: &str, faults: CableFaults) {
        let mut state = self.state();
        state.faults.insert(name.to_owned(), faults);
        let State { cables, port_names, .. } = &mut *state;
        for (id, own, _) in port_names.iter().filter(|(_, own, _)| own == name) {
            let cable = cables.entry(*id).or_insert_with(|| Cable::new(own, &faults));
            if faults.seed.is_some() {
                cable.reseed(own, &faults);
            }
            cable.set(&faults);
        }
        // Frames that are under way are in the thread's timer already.
    }

    /// Lets nothing pass between machines of different groups; machines in no group are not concerned. No groups: all passes again.
    pub fn partition(&self, groups: &[Vec<String>]) {
        self.state().fabric.partition(groups);
    }

    /// The groups of [`Self::partition`].
    #[must_use]
    pub fn groups(&self) -> Vec<Vec<String>> {
        self.state().fabric.groups()
    }

    /// Writes frames from now on to `out` as pcapng, until [`Self::end_capture`] or until a write fails. When the
    /// disk is slow, frames are left out rather than the network held up.
    ///
    /// # Errors
    /// No threads left.
    pub fn capture(&self, tap: Tap, out: impl std::io::Write + Send + 'static) -> Result<CaptureId, SwitchError> {
        let buffer = Arc::new(CaptureBuffer::default());
        pcapng::header(&mut buffer.state.lock().unwrap_or_else(PoisonError::into_inner).0);
        let writer = Arc::clone(&buffer);
        std::thread::Builder::new()
            .name("capture".into())
            .spawn(move || writer.write_out(out))
            .map_err(|source| SwitchError { action: "start a capture", source })?;
        let mut state = self.state();
        let id = state.next;
        state.next += 1;
        state.captures.insert(id, Capture { tap, interfaces: Vec::new(), buffer });
        Ok(CaptureId(id))
    }

    /// Ends a capture; what was captured is still written.
    pub fn end_capture(&self, id: CaptureId) {
        if let Some(capture) = self.state().captures.remove(&id.0) {
            capture.buffer.state.lock().unwrap_or_else(PoisonError::into_inner).1 = true;
            capture.buffer.changed.notify_all();
        }
    }

    /// Every port in the order in which they were added.
    #[must_use]
    pub fn report(&self) -> Vec<PortReport> {
        let state = self.state();
        let report = |(id, name, segment): &(PortId, String, u32)| PortReport {
            id: *id,
            name: name.clone(),
            segment: *segment,
            is_up: state.fabric.is_up(*id),
            counters: state.fabric.counters(*id),
            outgoing: state.cables.get(id).map(|cable| (cable.outgoing.faults(), cable.outgoing.fates())).unwrap_or_default(),
            incoming: state.cables.get(id).map(|cable| (cable.incoming.faults(), cable.incoming.fates())).unwrap_or_default(),
        };
        state.port_names.iter().map(report).collect()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.lock()
    }

    fn add_socket(&self, state: &mut State, fd: OwnedFd, role: Role) -> Result<u64, SwitchError> {
        rustix::io::ioctl_fionbio(&fd, true).map_err(failed("set up a socket"))?;
        let key = state.next;
        state.next += 1;
        epoll::add(&self.shared.epoll, &fd, epoll::EventData::new_u64(key), epoll::EventFlags::IN)
            .map_err(failed("wait for a socket"))?;
        state.sockets.insert(key, Socket { fd: Arc::new(fd), role, queue: VecDeque::new(), far: None });
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
        let mut state = self.state();
        state.is_ending = true;
        for (_, capture) in state.captures.drain() {
            capture.buffer.state.lock().unwrap_or_else(PoisonError::into_inner).1 = true;
            capture.buffer.changed.notify_all();
        }
        drop(state);
        let _ = rustix::io::write(&self.shared.wake, &1u64.to_ne_bytes());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn now(&self) -> Nanos {
        u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn run(shared: &Shared) {
    let mut addresses_at = shared.start;
    let mut buffer = vec![0u8; FRAME_MAX];
    let mut events = Vec::with_capacity(64);
    loop {
        events.clear();
        match epoll::wait(&shared.epoll, rustix::buffer::spare_capacity(&mut events), None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(_) => return,
        }
        let mut state = shared.lock();
        if state.is_ending {
            return;
        }
        if addresses_at.elapsed() > ADDRESSES_EVERY && !state.uplinks.is_empty() {
            addresses_at = Instant::now();
            let addresses = host_addresses();
            for uplink in state.uplinks.values_mut() {
                uplink.gateway.set_host_addresses(addresses.clone());
            }
        }
        for event in &events {
            let (key, flags) = (event.data.u64(), event.flags);
            if key == WAKE || key == TIMER {
                let fd = if key == WAKE { &shared.wake } else { &shared.timer };
                let _ = rustix::io::read(fd, &mut [0u8; 8][..]);
                continue;
            }
            if flags.contains(epoll::EventFlags::OUT) {
                flush(shared, &mut state, key);
            }
            if flags.intersects(epoll::EventFlags::IN | epoll::EventFlags::HUP | epoll::EventFlags::ERR)
                && !receive(shared, &mut state, key, &mut buffer)
                && let Some(socket) = state.sockets.get(&key)
            {
                // The machine is gone; its port goes when the driver takes it away.
                let _ = epoll::delete(&shared.epoll, &*socket.fd);
            }
        }
        move_due(shared, &mut state);
    }
}

/// Reads a batch from a socket. False when its other end is closed.
fn receive(shared: &Shared, state: &mut State, key: u64, buffer: &mut [u8]) -> bool {
    let Some(socket) = state.sockets.get(&key) else { return true };
    let (fd, role) = (Arc::clone(&socket.fd), socket.role);
    for _ in 0..BATCH {
        let len = match rustix::net::recv(fd.as_fd(), &mut *buffer, RecvFlags::DONTWAIT) {
            Ok((0, _)) => return false,
            Ok((len, _)) => len,
            Err(Errno::AGAIN) => return true,
            Err(Errno::INTR) => continue,
            Err(_) => return false,
        };
        let frame = &mut buffer[..len];
        match role {
            Role::Port(port) => match &mut state.frozen {
                Some(frozen) => drop(frozen.hold(port, frame)),
                None => from_machine(shared, state, shared.now(), port, frame),
            },
            Role::UplinkGuest(id) => {
                let State { uplinks, sockets, .. } = &mut *state;
                let Some(uplink) = uplinks.get_mut(&id) else { continue };
                match uplink.gateway.from_guest(frame) {
                    Verdict::Pass => send(shared, sockets, uplink.nat, frame),
                    Verdict::Reply => send(shared, sockets, uplink.guest, frame),
                    Verdict::Drop => false,
                };
            }
            Role::UplinkNat(id) => {
                let State { uplinks, sockets, .. } = &mut *state;
                let Some(uplink) = uplinks.get_mut(&id) else { continue };
                if uplink.gateway.from_nat(frame) == Verdict::Pass {
                    send(shared, sockets, uplink.guest, frame);
                }
            }
        }
    }
    true
}

/// A frame comes from a machine.
fn from_machine(shared: &Shared, state: &mut State, now: Nanos, port: PortId, frame: &[u8]) {
    tap(shared, state, now, port, true, frame);
    match state.cables.get_mut(&port) {
        Some(cable) if !cable.outgoing.is_clear() => drop(cable.outgoing.push(now, frame)),
        _ => enter(shared, state, now, port, frame),
    }
}

/// A frame enters the fabric.
fn enter(shared: &Shared, state: &mut State, now: Nanos, from: PortId, frame: &[u8]) {
    let State { fabric, sockets, ports, cables, .. } = &mut *state;
    let mut undelivered = Vec::new();
    let mut delivered = Vec::new();
    fabric.handle(now, from, frame, &mut |to, frame| {
        let is_taken = match cables.get_mut(&to) {
            Some(cable) if !cable.incoming.is_clear() => cable.incoming.push(now, frame),
            _ => {
                delivered.push(to);
                ports.get(&to).is_some_and(|key| send(shared, sockets, *key, frame))
            }
        };
        if !is_taken {
            undelivered.push(to);
        }
    });
    for to in undelivered {
        fabric.note_undelivered(to, frame.len());
    }
    if !state.captures.is_empty() {
        tap_segment(shared, state, now, from, frame);
        for to in delivered {
            tap(shared, state, now, to, false, frame);
        }
    }
}

/// Moves frames that are due, and sets the timer for the next.
fn move_due(shared: &Shared, state: &mut State) {
    if state.cables.is_empty() || state.frozen.is_some() {
        return;
    }
    let now = shared.now();
    let ids: Vec<PortId> = state.cables.keys().copied().collect();
    for id in &ids {
        while let Some(frame) = state.cables.get_mut(id).and_then(|cable| cable.outgoing.pop(now)) {
            enter(shared, state, now, *id, &frame);
        }
    }
    for id in &ids {
        while let Some(frame) = state.cables.get_mut(id).and_then(|cable| cable.incoming.pop(now)) {
            let State { sockets, ports, fabric, .. } = &mut *state;
            if ports.get(id).is_some_and(|key| send(shared, sockets, *key, &frame)) {
                tap(shared, state, now, *id, false, &frame);
            } else {
                fabric.note_undelivered(*id, frame.len());
            }
        }
    }
    let next = state.cables.values().flat_map(|cable| [cable.outgoing.next_due(), cable.incoming.next_due()]).flatten().min();
    let Some(next) = next else { return };
    let left = next.saturating_sub(shared.now()).max(1);
    let value = rustix::time::Timespec { tv_sec: i64::try_from(left / 1_000_000_000).unwrap_or(i64::MAX), tv_nsec: (left % 1_000_000_000) as _ };
    let zero = rustix::time::Timespec { tv_sec: 0, tv_nsec: 0 };
    let timer = rustix::time::Itimerspec { it_interval: zero, it_value: value };
    // The arguments are in range, which is all that it refuses.
    let _ = rustix::time::timerfd_settime(&shared.timer, rustix::time::TimerfdTimerFlags::empty(), &timer);
}

/// Gives a frame at a port to the captures of its machine.
fn tap(shared: &Shared, state: &mut State, now: Nanos, port: PortId, is_from_machine: bool, frame: &[u8]) {
    if state.captures.is_empty() {
        return;
    }
    let State { captures, port_names, .. } = &mut *state;
    let Some((_, name, _)) = port_names.iter().find(|(id, ..)| *id == port) else { return };
    let machine = name.split('/').next().unwrap_or(name);
    for capture in captures.values_mut() {
        let is_wanted = match &capture.tap {
            Tap::All => true,
            Tap::Machine(wanted) => wanted == machine,
            Tap::Segment(_) => false,
        };
        if is_wanted {
            capture.add(name, shared.start_wall.saturating_add(now), is_from_machine, frame);
        }
    }
}

/// Gives a frame that entered a segment to the captures of that segment.
fn tap_segment(shared: &Shared, state: &mut State, now: Nanos, port: PortId, frame: &[u8]) {
    let State { captures, port_names, .. } = &mut *state;
    let Some((_, name, segment)) = port_names.iter().find(|(id, ..)| *id == port) else { return };
    for capture in captures.values_mut().filter(|capture| capture.tap == Tap::Segment(*segment)) {
        capture.add(name, shared.start_wall.saturating_add(now), true, frame);
    }
}

impl Capture {
    fn add(&mut self, name: &str, time: u64, is_from_machine: bool, frame: &[u8]) {
        let mut state = self.buffer.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.1 || state.0.len() > CAPTURE_MAX {
            return;
        }
        let number = self.interfaces.iter().position(|known| known == name).unwrap_or_else(|| {
            pcapng::interface(name, &mut state.0);
            self.interfaces.push(name.to_owned());
            self.interfaces.len() - 1
        });
        pcapng::frame(u32::try_from(number).unwrap_or(u32::MAX), time, is_from_machine, frame, &mut state.0);
        drop(state);
        self.buffer.changed.notify_all();
    }
}

/// Sends a frame, or queues it while the socket is full. False when it was dropped.
fn send(shared: &Shared, sockets: &mut HashMap<u64, Socket>, key: u64, frame: &[u8]) -> bool {
    let Some(socket) = sockets.get_mut(&key) else { return false };
    if socket.queue.is_empty() {
        match rustix::net::send(&*socket.fd, frame, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
            Ok(_) => return true,
            Err(Errno::AGAIN | Errno::NOBUFS) => {
                let flags = epoll::EventFlags::IN | epoll::EventFlags::OUT;
                if epoll::modify(&shared.epoll, &*socket.fd, epoll::EventData::new_u64(key), flags).is_err() {
                    return false;
                }
            }
            Err(_) => return false,
        }
    }
    if socket.queue.len() >= QUEUE_MAX {
        return false;
    }
    socket.queue.push_back(frame.into());
    true
}

/// Sends what waited for a socket, as far as there is room.
fn flush(shared: &Shared, state: &mut State, key: u64) {
    let Some(socket) = state.sockets.get_mut(&key) else { return };
    // What stands still waits for `thaw`.
    let may_send = state.frozen.is_none() || !matches!(socket.role, Role::Port(_));
    while let Some(frame) = socket.queue.front().filter(|_| may_send) {
        match rustix::net::send(&*socket.fd, frame, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
            Err(Errno::AGAIN | Errno::NOBUFS) => return,
            _ => drop(socket.queue.pop_front()),
        }
    }
    let _ = epoll::modify(&shared.epoll, &*socket.fd, epoll::EventData::new_u64(key), epoll::EventFlags::IN);
}

/// The IPv4 addresses of this host's interfaces.
fn host_addresses() -> Vec<Ipv4Addr> {
    let mut list: *mut libc::ifaddrs = std::ptr::null_mut();
    // SAFETY: getifaddrs writes a list into the pointer, or fails and writes nothing.
    if unsafe { libc::getifaddrs(&raw mut list) } != 0 {
        return Vec::new();
    }
    let mut addresses = Vec::new();
    let mut entry = list;
    while !entry.is_null() {
        // SAFETY: entry is an element of the list, which is freed only below.
        let ifaddr = unsafe { &*entry };
        // SAFETY: ifa_addr is null or a socket address; the family says which.
        if !ifaddr.ifa_addr.is_null() && i32::from(unsafe { (*ifaddr.ifa_addr).sa_family }) == libc::AF_INET {
            // SAFETY: an address of family AF_INET is a sockaddr_in; it need not be aligned as one.
            let address = unsafe { ifaddr.ifa_addr.cast::<libc::sockaddr_in>().read_unaligned() };
            addresses.push(Ipv4Addr::from(u32::from_be(address.sin_addr.s_addr)));
        }
        entry = ifaddr.ifa_next;
    }
    // SAFETY: list came from getifaddrs and no reference into it is left.
    unsafe { libc::freeifaddrs(list) };
    addresses
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn machine_end(fd: OwnedFd) -> std::os::unix::net::UnixDatagram {
        let socket = std::os::unix::net::UnixDatagram::from(fd);
        socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        socket
    }

    fn port(switch: &Switch, segment: u32) -> (PortId, std::os::unix::net::UnixDatagram) {
        let (ours, theirs) = frame_socket_pair().unwrap();
        (switch.add_port(segment, "m", ours).unwrap(), machine_end(theirs))
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
        other.set_nonblocking(true).unwrap();
        assert!(other.recv(&mut buffer).is_err());
        assert_eq!(switch.report()[1].counters.sent_frames, 3);
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
        assert!(switch.report()[1].counters.dropped_frames > 0);
    }

    #[test]
    fn a_machine_that_ends_leaves_the_others_talking() {
        let switch = Switch::start().unwrap();
        let ((_, a), (gone, end), (_, b)) = (port(&switch, 1), port(&switch, 1), port(&switch, 1));
        drop(end);
        let mut buffer = [0; 2048];
        a.send(&frame(1, 100)).unwrap();
        assert_eq!(b.recv(&mut buffer).unwrap(), 100);
        switch.remove_port(gone);
        b.send(&frame(2, 200)).unwrap();
        assert_eq!(a.recv(&mut buffer).unwrap(), 200);
        assert_eq!(switch.report().len(), 2);
    }

    #[test]
    fn an_uplink_passes_the_outside_and_not_the_host() {
        let switch = Switch::start().unwrap();
        let ((guest, guest_end), (nat, nat_end)) = (frame_socket_pair().unwrap(), frame_socket_pair().unwrap());
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
    fn a_delayed_cable_delivers_late_and_outlives_its_port() {
        let switch = Switch::start().unwrap();
        let incoming = Impairment { delay_us: 30_000, ..Impairment::default() };
        let (a_id, a) = port(&switch, 1);
        switch.set_faults("m", CableFaults { incoming, ..CableFaults::default() });
        let (_, b) = port(&switch, 1);
        let mut buffer = [0; 2048];
        let sent = Instant::now();
        a.send(&frame(1, 100)).unwrap();
        assert_eq!(b.recv(&mut buffer).unwrap(), 100);
        let took = sent.elapsed();
        assert!(took >= Duration::from_millis(30) && took < Duration::from_millis(200), "{took:?}");
        switch.remove_port(a_id);
        assert_eq!(switch.report()[0].incoming.0, incoming);
    }

    #[test]
    fn a_capture_has_the_frames_of_its_machine() {
        let switch = Switch::start().unwrap();
        let ((_, a), (_, b)) = (port(&switch, 1), port(&switch, 1));
        let (mut reader, writer) = std::os::unix::net::UnixStream::pair().unwrap();
        let id = switch.capture(Tap::Segment(1), writer).unwrap();
        let mut buffer = [0; 2048];
        a.send(&frame(1, 100)).unwrap();
        b.recv(&mut buffer).unwrap();
        b.send(&frame(2, 60)).unwrap();
        a.recv(&mut buffer).unwrap();
        std::thread::sleep(Duration::from_millis(50));
        switch.end_capture(id);
        let mut file = Vec::new();
        std::io::Read::read_to_end(&mut reader, &mut file).unwrap();
        let (mut at, mut kinds) = (0, Vec::new());
        while at < file.len() {
            kinds.push(file[at]);
            at += u32::from_le_bytes(file[at + 4..at + 8].try_into().unwrap()) as usize;
        }
        assert_eq!(kinds, [0x0a, 1, 6, 6]);
    }

    #[test]
    fn this_host_has_a_loopback_address() {
        assert!(host_addresses().contains(&Ipv4Addr::LOCALHOST));
    }
}
