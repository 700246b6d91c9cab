//! The switch's thread: frames between sockets, by the cores' word.
//!
//! A port is one end of a pair of AF_UNIX stream sockets whose other end a QEMU holds, with each frame behind its length: so one read
//! and one write move many frames, for the switch and for QEMU. (Ways out are datagram sockets, a frame each.) The thread waits for all
//! of them, reads each in pieces of bounded length, and writes without ever waiting: what does not fit goes into the port's queue
//! ([`crate::queue`]), and past that it is dropped, so a machine that hangs or floods stops no other.
//!
//! Not here: what happens to a frame ([`crate::fabric`], [`crate::gateway`], [`crate::impair`]), standing still ([`crate::freeze`]).

use std::collections::{HashMap, HashSet};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use nbv_plan::LinkFaults;
use rustix::event::epoll;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};

use crate::cable::Cable;
use crate::capture::{Capture, Tap};
use crate::fabric::{Fabric, Nanos, PortId, Reason};
use crate::freeze::Frozen;
use crate::gateway::{Gateway, Verdict};
use crate::host;
use crate::queue::FairQueue;
use crate::stream::{self, FRAME_MAX, Stream};

/// Datagrams read from one socket before the others have their turn.
const BATCH: usize = 64;
/// Bytes read from one port before the others have their turn.
const PIECE: usize = 256 << 10;
/// How often the host's own addresses are looked up while frames flow.
const ADDRESSES_EVERY: Duration = Duration::from_secs(5);
/// The key of the wake-up descriptor.
pub(crate) const WAKE: u64 = u64::MAX;
/// The key of the timer.
pub(crate) const TIMER: u64 = u64::MAX - 1;

/// What the thread and the handles share.
pub(crate) struct Shared {
    pub(crate) epoll: OwnedFd,
    pub(crate) wake: OwnedFd,
    pub(crate) timer: OwnedFd,
    pub(crate) start: Instant,
    /// The time of day at `start`, nanoseconds since 1970.
    pub(crate) start_wall: u64,
    pub(crate) state: Mutex<State>,
    /// Handles that want the state: the thread, which under load always wants it, lets them go first.
    pub(crate) wanted: AtomicUsize,
    pub(crate) had: Condvar,
}

#[derive(Default)]
pub(crate) struct State {
    pub(crate) fabric: Fabric,
    /// By the number of their [`PortId`].
    pub(crate) ports: Vec<Port>,
    /// Faults by a port's name, also of ports that are not there yet.
    pub(crate) faults: HashMap<String, LinkFaults>,
    /// Names of the ports whose link is down, also of ports that are not there yet.
    pub(crate) down: HashSet<String>,
    pub(crate) captures: HashMap<u64, Capture>,
    /// Sockets by their key in the epoll set.
    pub(crate) sockets: HashMap<u64, Socket>,
    pub(crate) uplinks: HashMap<u32, Uplink>,
    /// The next key.
    pub(crate) next: u64,
    pub(crate) is_ending: bool,
    /// While the switch stands still.
    pub(crate) frozen: Option<Frozen>,
    /// When the timer goes off.
    armed: Option<Nanos>,
    targets: Vec<PortId>,
    /// Keys of the ports' sockets that have something to write.
    dirty: Vec<u64>,
}

/// A place for a machine's card. It stays when the machine ends.
pub(crate) struct Port {
    pub(crate) id: PortId,
    /// `machine/eth1`.
    pub(crate) name: String,
    /// The key of its socket, while a machine is there.
    pub(crate) socket: Option<u64>,
    /// When the cable has or had faults; else frames pass at once.
    pub(crate) cable: Option<Box<Cable>>,
}

impl Port {
    /// Whose port it is.
    pub(crate) fn machine(&self) -> &str {
        self.name.split('/').next().unwrap_or(&self.name)
    }
}

pub(crate) struct Uplink {
    pub(crate) gateway: Gateway,
    pub(crate) guest: u64,
    pub(crate) nat: u64,
}

pub(crate) struct Socket {
    pub(crate) fd: Arc<OwnedFd>,
    pub(crate) role: Role,
    /// Frames that wait until `out` is written.
    pub(crate) queue: FairQueue,
    /// Of a port: what came in and what goes out, as bytes.
    pub(crate) stream: Stream,
    /// Whether it is among those to be written to ([`State::dirty`]).
    is_dirty: bool,
    /// Whether it is full: the thread waits until there is room.
    pub(crate) is_full: bool,
    /// Whether the machine is gone; its port is unplugged when the driver says so.
    is_dead: bool,
    /// The other end too, to take back what lies unread in it.
    pub(crate) far: Option<OwnedFd>,
}

impl Socket {
    pub(crate) fn new(fd: OwnedFd, role: Role) -> Self {
        Self { fd: Arc::new(fd), role, queue: FairQueue::default(), stream: Stream::default(), is_dirty: false, is_full: false, is_dead: false, far: None }
    }
}

#[derive(Clone, Copy)]
pub(crate) enum Role {
    Port(PortId),
    UplinkGuest(u32),
    UplinkNat(u32),
}

impl Shared {
    pub(crate) fn now(&self) -> Nanos {
        u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// The time of day, nanoseconds since 1970.
    pub(crate) fn wall_now(&self) -> u64 {
        self.wall(self.now())
    }

    fn wall(&self, now: Nanos) -> u64 {
        self.start_wall.saturating_add(now)
    }

    /// The state, for a handle.
    pub(crate) fn lock(&self) -> Held<'_> {
        self.wanted.fetch_add(1, Ordering::SeqCst);
        Held { state: self.state.lock().unwrap_or_else(PoisonError::into_inner), shared: self }
    }

    /// The state, for the thread: after all handles that want it.
    fn lock_last(&self) -> MutexGuard<'_, State> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        while self.wanted.load(Ordering::SeqCst) > 0 {
            state = self.had.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state
    }
}

/// The state while a handle has it.
pub(crate) struct Held<'a> {
    state: MutexGuard<'a, State>,
    shared: &'a Shared,
}

impl std::ops::Deref for Held<'_> {
    type Target = State;

    fn deref(&self) -> &State {
        &self.state
    }
}

impl std::ops::DerefMut for Held<'_> {
    fn deref_mut(&mut self) -> &mut State {
        &mut self.state
    }
}

impl Drop for Held<'_> {
    /// The thread sees this once the state is unlocked, which follows.
    fn drop(&mut self) {
        self.shared.wanted.fetch_sub(1, Ordering::SeqCst);
        self.shared.had.notify_all();
    }
}

/// The thread.
pub(crate) fn run(shared: &Shared) {
    let mut addresses_at = shared.start;
    let mut buffer = vec![0u8; PIECE + stream::LENGTH_LEN + FRAME_MAX];
    let mut events = Vec::with_capacity(64);
    loop {
        events.clear();
        match epoll::wait(&shared.epoll, rustix::buffer::spare_capacity(&mut events), None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(_) => return,
        }
        let mut state = shared.lock_last();
        if state.is_ending {
            return;
        }
        if addresses_at.elapsed() > ADDRESSES_EVERY && !state.uplinks.is_empty() {
            addresses_at = Instant::now();
            let addresses = host::addresses();
            for uplink in state.uplinks.values_mut() {
                uplink.gateway.set_host_addresses(addresses.clone());
            }
        }
        for event in &events {
            let (key, flags) = (event.data.u64(), event.flags);
            if key == WAKE || key == TIMER {
                let fd = if key == WAKE { &shared.wake } else { &shared.timer };
                let _ = rustix::io::read(fd, &mut [0u8; 8][..]);
                if key == TIMER {
                    state.armed = None;
                }
                continue;
            }
            if flags.contains(epoll::EventFlags::OUT) {
                flush(shared, &mut state, key);
            }
            if flags.intersects(epoll::EventFlags::IN | epoll::EventFlags::HUP | epoll::EventFlags::ERR)
                && !receive(shared, &mut state, key, &mut buffer)
                && let Some(socket) = state.sockets.get_mut(&key)
            {
                socket.is_dead = true;
                let _ = epoll::delete(&shared.epoll, &*socket.fd);
            }
        }
        move_due(shared, &mut state);
    }
}

/// Reads what is there, within bounds, from a socket. False when its other end is closed.
fn receive(shared: &Shared, state: &mut State, key: u64, buffer: &mut [u8]) -> bool {
    let Some(socket) = state.sockets.get(&key) else { return true };
    let (fd, role) = (Arc::clone(&socket.fd), socket.role);
    if let Role::Port(port) = role {
        return receive_stream(shared, state, key, port, &fd, buffer);
    }
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
            Role::Port(_) => {}
            Role::UplinkGuest(id) => {
                let Some(uplink) = state.uplinks.get_mut(&id) else { continue };
                let to = match uplink.gateway.from_guest(frame) {
                    Verdict::Pass => uplink.nat,
                    Verdict::Reply => uplink.guest,
                    Verdict::Drop => continue,
                };
                send_datagram(shared, state, to, frame);
            }
            Role::UplinkNat(id) => {
                let Some(uplink) = state.uplinks.get_mut(&id) else { continue };
                if uplink.gateway.from_nat(frame) == Verdict::Pass {
                    let to = uplink.guest;
                    send_datagram(shared, state, to, frame);
                }
            }
        }
    }
    true
}

/// Reads a piece from a port and handles the frames that are whole. False when its other end is closed.
fn receive_stream(shared: &Shared, state: &mut State, key: u64, port: PortId, fd: &OwnedFd, buffer: &mut [u8]) -> bool {
    let Some(socket) = state.sockets.get_mut(&key) else { return true };
    let rest = socket.stream.take_rest(buffer);
    let len = match rustix::net::recv(fd, &mut buffer[rest..rest + PIECE], RecvFlags::DONTWAIT) {
        Ok((0, _)) => return false,
        Ok((len, _)) => len,
        Err(Errno::AGAIN | Errno::INTR) => 0,
        Err(_) => return false,
    };
    let mut bytes = &buffer[..rest + len];
    let now = shared.now();
    let is_sound = loop {
        match stream::next(bytes) {
            Ok(Some((frame, after))) => {
                bytes = after;
                match &mut state.frozen {
                    Some(frozen) => drop(frozen.hold(port, frame)),
                    None => from_machine(shared, state, now, port, frame),
                }
            }
            Ok(None) => break true,
            // Nothing that follows can be understood.
            Err(_) => break false,
        }
    };
    if let Some(socket) = state.sockets.get_mut(&key) {
        socket.stream.keep_rest(bytes);
    }
    write_dirty(shared, state);
    is_sound
}

/// A frame comes out of a machine.
pub(crate) fn from_machine(shared: &Shared, state: &mut State, now: Nanos, id: PortId, frame: &[u8]) {
    tap(shared, state, now, id, true, frame);
    state.fabric.received(id, frame.len());
    match state.ports.get_mut(id.index()).and_then(|port| port.cable.as_mut()) {
        Some(cable) if !cable.outgoing.is_clear() => {
            if let Err(reason) = cable.outgoing.push(now, frame) {
                state.fabric.refused(id, reason);
            }
        }
        _ => enter(shared, state, now, id, frame),
    }
}

/// A frame enters its segment.
fn enter(shared: &Shared, state: &mut State, now: Nanos, from: PortId, frame: &[u8]) {
    if !state.captures.is_empty() && state.fabric.is_up(from) {
        tap_segment(shared, state, now, from, frame);
    }
    let mut targets = std::mem::take(&mut state.targets);
    targets.clear();
    state.fabric.route(now, from, frame, &mut targets);
    for to in &targets {
        let Some(port) = state.ports.get_mut(to.index()) else { continue };
        match &mut port.cable {
            Some(cable) if !cable.incoming.is_clear() => {
                if let Err(reason) = cable.incoming.push(now, frame) {
                    state.fabric.dropped(*to, reason);
                }
            }
            _ => to_machine(shared, state, now, *to, from, frame),
        }
    }
    state.targets = targets;
}

/// A frame comes to a machine.
fn to_machine(shared: &Shared, state: &mut State, now: Nanos, to: PortId, from: PortId, frame: &[u8]) {
    match state.ports.get(to.index()).and_then(|port| port.socket) {
        Some(key) if send(shared, state, key, from.index(), frame) => {
            tap(shared, state, now, to, false, frame);
            state.fabric.sent(to, frame.len());
        }
        // Counted when it goes, or when it has to give way.
        Some(_) => {}
        None => state.fabric.dropped(to, Reason::Down),
    }
}

/// Moves frames that are due, and sets the timer for the next.
fn move_due(shared: &Shared, state: &mut State) {
    if state.frozen.is_some() {
        return;
    }
    let now = shared.now();
    let mut next: Option<Nanos> = None;
    for index in 0..state.ports.len() {
        let id = state.ports[index].id;
        while let Some(frame) = state.ports[index].cable.as_mut().and_then(|cable| cable.outgoing.pop(now)) {
            enter(shared, state, now, id, &frame);
        }
    }
    for index in 0..state.ports.len() {
        let id = state.ports[index].id;
        while let Some(frame) = state.ports[index].cable.as_mut().and_then(|cable| cable.incoming.pop(now)) {
            // Who sent it was told before the delay; the cable's queue stands for all of them.
            to_machine(shared, state, now, id, id, &frame);
        }
        let due = state.ports[index].cable.as_ref().and_then(|cable| cable.next_due());
        next = [next, due].into_iter().flatten().min();
    }
    write_dirty(shared, state);
    if next == state.armed {
        return;
    }
    let Some(next_due) = next else { return };
    let left = next_due.saturating_sub(shared.now()).max(1);
    let value = rustix::time::Timespec { tv_sec: i64::try_from(left / 1_000_000_000).unwrap_or(i64::MAX), tv_nsec: (left % 1_000_000_000) as _ };
    let zero = rustix::time::Timespec { tv_sec: 0, tv_nsec: 0 };
    let timer = rustix::time::Itimerspec { it_interval: zero, it_value: value };
    // The arguments are in range, which is all that it refuses.
    let _ = rustix::time::timerfd_settime(&shared.timer, rustix::time::TimerfdTimerFlags::empty(), &timer);
    state.armed = next;
}

/// Gives a frame at a port to the captures of its machine.
fn tap(shared: &Shared, state: &mut State, now: Nanos, id: PortId, is_from_machine: bool, frame: &[u8]) {
    if state.captures.is_empty() {
        return;
    }
    if let Some(port) = state.ports.get(id.index()) {
        tap_port(shared, &mut state.captures, port, now, is_from_machine, frame);
    }
}

fn tap_port(shared: &Shared, captures: &mut HashMap<u64, Capture>, port: &Port, now: Nanos, is_from_machine: bool, frame: &[u8]) {
    for capture in captures.values_mut() {
        let is_wanted = match &capture.tap {
            Tap::All => true,
            Tap::Machine(wanted) => wanted == port.machine(),
            Tap::Segment(_) => false,
        };
        if is_wanted {
            capture.add(&port.name, shared.wall(now), is_from_machine, frame);
        }
    }
}

/// Gives a frame that enters a segment to the captures of that segment.
fn tap_segment(shared: &Shared, state: &mut State, now: Nanos, id: PortId, frame: &[u8]) {
    let Some(port) = state.ports.get(id.index()) else { return };
    let segment = state.fabric.segment(id);
    for capture in state.captures.values_mut().filter(|capture| capture.tap == Tap::Segment(segment)) {
        capture.add(&port.name, shared.wall(now), true, frame);
    }
}

/// Gives a frame to a port's socket, or queues it while that is full. True when it is given.
fn send(shared: &Shared, state: &mut State, key: u64, sender: usize, frame: &[u8]) -> bool {
    let Some(socket) = state.sockets.get_mut(&key) else { return false };
    if let (true, Role::Port(to)) = (socket.is_dead, socket.role) {
        state.fabric.dropped(to, Reason::Down);
        return false;
    }
    if !socket.is_full && socket.queue.is_empty() {
        socket.stream.push(frame);
        let is_long = socket.stream.waiting() >= PIECE;
        if !socket.is_dirty {
            socket.is_dirty = true;
            state.dirty.push(key);
        }
        if is_long {
            write(shared, state, key);
        }
        return true;
    }
    let gone = socket.queue.push(sender, frame);
    if let Role::Port(to) = socket.role {
        (0..gone).for_each(|_| state.fabric.dropped(to, Reason::NoRoom));
    }
    false
}

/// Writes what [`send`] gathered.
pub(crate) fn write_dirty(shared: &Shared, state: &mut State) {
    let mut dirty = std::mem::take(&mut state.dirty);
    for key in dirty.drain(..) {
        if let Some(socket) = state.sockets.get_mut(&key) {
            socket.is_dirty = false;
            write(shared, state, key);
        }
    }
    state.dirty = dirty;
}

/// Writes what waits in a port's stream, as far as there is room.
fn write(shared: &Shared, state: &mut State, key: u64) {
    let Some(socket) = state.sockets.get_mut(&key) else { return };
    while socket.stream.waiting() > 0 {
        match rustix::net::send(&*socket.fd, socket.stream.bytes(), SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
            Ok(len) => socket.stream.written(len),
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN | Errno::NOBUFS) => {
                if !socket.is_full {
                    socket.is_full = true;
                    wait_for_room(shared, key, socket);
                }
                return;
            }
            Err(_) => {
                socket.is_dead = true;
                socket.stream.clear();
            }
        }
    }
}

pub(crate) fn wait_for_room(shared: &Shared, key: u64, socket: &Socket) {
    let flags = epoll::EventFlags::IN | epoll::EventFlags::OUT;
    let _ = epoll::modify(&shared.epoll, &*socket.fd, epoll::EventData::new_u64(key), flags);
}

/// Sends a datagram, or queues it while the socket is full.
fn send_datagram(shared: &Shared, state: &mut State, key: u64, frame: &[u8]) {
    let Some(socket) = state.sockets.get_mut(&key) else { return };
    if socket.queue.is_empty() {
        match rustix::net::send(&*socket.fd, frame, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
            Err(Errno::AGAIN | Errno::NOBUFS) => wait_for_room(shared, key, socket),
            _ => return,
        }
    }
    socket.queue.push(0, frame);
}

/// Sends what waited for a socket, as far as there is room.
fn flush(shared: &Shared, state: &mut State, key: u64) {
    let Some(socket) = state.sockets.get_mut(&key) else { return };
    let Role::Port(to) = socket.role else {
        while let Some(frame) = socket.queue.front() {
            match rustix::net::send(&*socket.fd, frame, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
                Err(Errno::AGAIN | Errno::NOBUFS) => return,
                Err(Errno::INTR) => {}
                _ => drop(socket.queue.pop()),
            }
        }
        let _ = epoll::modify(&shared.epoll, &*socket.fd, epoll::EventData::new_u64(key), epoll::EventFlags::IN);
        return;
    };
    // What is partly written is finished even while the switch stands still.
    socket.is_full = false;
    write(shared, state, key);
    let now = shared.now();
    loop {
        let Some(socket) = state.sockets.get_mut(&key) else { return };
        // What stands still waits for `thaw`.
        if socket.is_full || state.frozen.is_some() || socket.queue.is_empty() {
            break;
        }
        while let Some(frame) = socket.queue.pop() {
            socket.stream.push(&frame);
            state.fabric.sent(to, frame.len());
            if !state.captures.is_empty() {
                let port = state.ports.get(to.index());
                port.into_iter().for_each(|port| tap_port(shared, &mut state.captures, port, now, false, &frame));
            }
            if socket.stream.waiting() >= PIECE {
                break;
            }
        }
        write(shared, state, key);
    }
    if let Some(socket) = state.sockets.get(&key).filter(|socket| !socket.is_full) {
        let _ = epoll::modify(&shared.epoll, &*socket.fd, epoll::EventData::new_u64(key), epoll::EventFlags::IN);
    }
}
