//! Standing still: what is in the switch as data, so that a network can be saved and put back without a frame lost or doubled.
//!
//! The order is the caller's: [`Switch::freeze`], stop all machines, [`Switch::take`] what is under way, let them run, [`Switch::thaw`];
//! or, for machines that are put back: freeze, plug them in, [`Switch::put`], let them run, thaw.
//!
//! From the freeze on no frame reaches a machine. What machines still send is kept in its order; what lies unread before a machine is
//! taken back through the far end of its cable. So what one machine's saved state has sent, and no other's has got, is here, once.
//! The exception is a frame that QEMU had begun to read when it stopped (its guest's card had no room): it goes on where the network goes on, and is
//! not in the data.
//!
//! Not here: memory and disks of machines (crates `qemu`, `driver`).

use std::collections::{HashMap, VecDeque};
use std::os::fd::OwnedFd;

use nbv_plan::LinkFaults;
use rustix::io::Errno;
use rustix::net::RecvFlags;
use serde::{Deserialize, Serialize};

use crate::cable::Cable;
use crate::engine::{from_machine, wait_for_room, write_dirty};
use crate::fabric::{Nanos, PortId};
use crate::impair::ShaperState;
use crate::queue::FairQueue;
use crate::stream::{self, FRAME_MAX, LENGTH_LEN};
use crate::switch::Switch;

/// Bytes from machines that are kept while the switch stands still; a flood beyond is dropped.
const HELD_MAX: usize = 256 << 20;

/// A frame as text: two digits for each byte.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Frame(pub Box<[u8]>);

impl From<Frame> for String {
    fn from(frame: Frame) -> Self {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        frame.0.iter().flat_map(|byte| [byte >> 4, byte & 15]).map(|digit| char::from(DIGITS[usize::from(digit)])).collect()
    }
}

impl TryFrom<String> for Frame {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let digit = |byte: &u8| char::from(*byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        let pair = |pair: &[u8]| Some(digit(pair.first()?)? << 4 | digit(pair.get(1)?)?);
        text.as_bytes().chunks(2).map(pair).collect::<Option<_>>().map(Self).ok_or("not a frame in hexadecimal digits")
    }
}

/// All that is in a switch that stands still. Times count from the moment at which it stopped, nanoseconds.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SwitchState {
    /// Frames that machines sent and nobody has handled, in their order, with the names of their ports.
    pub held: Vec<(String, Frame)>,
    /// The ports.
    pub ports: Vec<PortState>,
    /// Learnt addresses.
    pub addresses: Vec<AddressState>,
    /// What people set; absent where only the frames count.
    pub settings: Option<SettingsState>,
}

/// A port of a [`SwitchState`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PortState {
    /// Its name, such as `test1/eth1`.
    pub name: String,
    /// Frames on the last step to the machine.
    pub queued: Vec<Frame>,
    /// The cable from the machine, if it has or had faults.
    pub outgoing: Option<ShaperState>,
    /// The cable to the machine, likewise.
    pub incoming: Option<ShaperState>,
}

/// A learnt address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AddressState {
    /// The segment.
    pub segment: u32,
    /// The hardware address.
    pub address: [u8; 6],
    /// The name of the port behind which it is.
    pub port: String,
    /// How long ago it was seen.
    pub age: Nanos,
}

/// What people set at run time.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SettingsState {
    /// Faults of cables by the names of their ports.
    pub faults: Vec<(String, LinkFaults)>,
    /// Groups of the partition.
    pub groups: Vec<Vec<String>>,
    /// Names of ports whose link is down.
    pub down: Vec<String>,
}

/// The switch while it stands still.
pub(crate) struct Frozen {
    since: Nanos,
    held: VecDeque<(PortId, Box<[u8]>)>,
    bytes: usize,
}

impl Frozen {
    /// Keeps a frame from a machine. False when there is no room.
    pub(crate) fn hold(&mut self, port: PortId, frame: &[u8]) -> bool {
        if self.bytes + frame.len() > HELD_MAX {
            return false;
        }
        self.bytes += frame.len();
        self.held.push_back((port, frame.into()));
        true
    }
}

impl Switch {
    /// Keeps a copy of the machine's end of a port's cable, so that what lies unread in it can be taken back. Without it, such frames
    /// are not in a [`SwitchState`].
    pub fn keep_far_end(&self, id: PortId, far: OwnedFd) {
        let mut state = self.shared.lock();
        if let Some(key) = state.ports.get(id.index()).and_then(|port| port.socket)
            && let Some(socket) = state.sockets.get_mut(&key)
        {
            socket.far = Some(far);
        }
    }

    /// Stands still: no frame reaches a machine until [`Self::thaw`]. Time stands still for frames under way. The ways to the outside
    /// go on.
    pub fn freeze(&self) {
        let since = self.shared.now();
        let mut state = self.shared.lock();
        state.frozen.get_or_insert_with(|| Frozen { since, held: VecDeque::new(), bytes: 0 });
    }

    /// What is in a switch that stands still, all machines stopped. It stays in the switch.
    #[must_use]
    pub fn take(&self) -> SwitchState {
        let mut guard = self.shared.lock();
        let state = &mut *guard;
        let Some(frozen) = &mut state.frozen else { return SwitchState::default() };
        let mut buffer = vec![0; LENGTH_LEN + FRAME_MAX];
        let mut ports = Vec::new();
        for port in &state.ports {
            let Some(socket) = port.socket.and_then(|key| state.sockets.get_mut(&key)) else { continue };
            // What its machine sent before it stopped.
            let rest = socket.stream.take_rest(&mut buffer);
            let mut came = buffer[..rest].to_vec();
            while let Some(len) = read(&socket.fd, &mut buffer) {
                came.extend_from_slice(&buffer[..len]);
            }
            let mut bytes = &came[..];
            while let Ok(Some((frame, after))) = stream::next(bytes) {
                frozen.hold(port.id, frame);
                bytes = after;
            }
            socket.stream.keep_rest(bytes);
            // What it was given and has not read.
            let mut unread = Vec::new();
            while let Some(len) = socket.far.as_ref().and_then(|far| read(far, &mut buffer)) {
                unread.extend_from_slice(&buffer[..len]);
            }
            let mut waiting = socket.stream.take_back(&unread);
            waiting.append(&mut socket.queue.drain());
            ports.push(PortState {
                name: port.name.clone(),
                queued: waiting.iter().cloned().map(Frame).collect(),
                outgoing: port.cable.as_ref().map(|cable| cable.outgoing.save(frozen.since)),
                incoming: port.cable.as_ref().map(|cable| cable.incoming.save(frozen.since)),
            });
            socket.queue = FairQueue::of(waiting);
        }
        let name_of = |id: PortId| state.ports.get(id.index()).map(|port| port.name.clone());
        let address = |(segment, address, port, seen): (u32, [u8; 6], PortId, Nanos)| {
            Some(AddressState { segment, address, port: name_of(port)?, age: frozen.since.saturating_sub(seen) })
        };
        let mut faults: Vec<_> = state.faults.iter().map(|(name, faults)| (name.clone(), *faults)).collect();
        faults.sort_by(|a, b| a.0.cmp(&b.0));
        let mut down: Vec<String> = state.down.iter().cloned().collect();
        down.sort();
        SwitchState {
            held: frozen.held.iter().filter_map(|(port, frame)| Some((name_of(*port)?, Frame(frame.clone())))).collect(),
            ports,
            addresses: state.fabric.addresses().into_iter().filter_map(address).collect(),
            settings: Some(SettingsState { faults, groups: state.fabric.groups(), down }),
        }
    }

    /// Replaces what is in a switch that stands still. What belongs to ports that are not there is left out.
    pub fn put(&self, saved: &SwitchState) {
        let mut guard = self.shared.lock();
        let state = &mut *guard;
        let Some(frozen) = &mut state.frozen else { return };
        let ids: HashMap<String, PortId> = state.ports.iter().map(|port| (port.name.clone(), port.id)).collect();
        frozen.held = saved.held.iter().filter_map(|(port, frame)| Some((*ids.get(port.as_str())?, frame.0.clone()))).collect();
        frozen.bytes = frozen.held.iter().map(|(_, frame)| frame.len()).sum();
        if let Some(settings) = &saved.settings {
            state.faults = settings.faults.iter().cloned().collect();
            state.fabric.partition(&settings.groups);
            state.down = settings.down.iter().cloned().collect();
            for port in &mut state.ports {
                state.fabric.set_link(port.id, !state.down.contains(&port.name));
                let faults = state.faults.get(&port.name).filter(|faults| !faults.is_none());
                port.cable = faults.map(|faults| Box::new(Cable::new(&port.name, faults)));
            }
        }
        for key in state.ports.iter().filter_map(|port| port.socket) {
            if let Some(socket) = state.sockets.get_mut(&key) {
                socket.queue = FairQueue::default();
            }
        }
        for port in &saved.ports {
            let Some(own) = ids.get(&port.name).and_then(|id| state.ports.get_mut(id.index())) else { continue };
            if let Some(socket) = own.socket.and_then(|key| state.sockets.get_mut(&key)) {
                socket.queue = FairQueue::of(port.queued.iter().map(|frame| frame.0.clone()).collect());
            }
            // Without the settings a cable may have none; then its frames come at once.
            if let (Some(outgoing), Some(incoming)) = (&port.outgoing, &port.incoming) {
                let faults = state.faults.get(&port.name).copied().unwrap_or_default();
                let cable = own.cable.get_or_insert_with(|| Box::new(Cable::new(&port.name, &faults)));
                cable.outgoing.load(outgoing, frozen.since);
                cable.incoming.load(incoming, frozen.since);
            }
        }
        state.fabric.forget_addresses();
        for address in &saved.addresses {
            if let Some(id) = ids.get(address.port.as_str()) {
                state.fabric.learn(frozen.since.saturating_sub(address.age), address.segment, address.address, *id);
            }
        }
    }

    /// Goes on where [`Self::freeze`] stopped.
    pub fn thaw(&self) {
        let now = self.shared.now();
        let mut guard = self.shared.lock();
        let state = &mut *guard;
        let Some(frozen) = state.frozen.take() else { return };
        let stood = now.saturating_sub(frozen.since);
        for cable in state.ports.iter_mut().filter_map(|port| port.cable.as_mut()) {
            cable.outgoing.shift(stood);
            cable.incoming.shift(stood);
        }
        for key in state.ports.iter().filter_map(|port| port.socket) {
            let Some(socket) = state.sockets.get(&key) else { continue };
            if !socket.queue.is_empty() || socket.stream.waiting() > 0 {
                wait_for_room(&self.shared, key, socket);
            }
        }
        for (port, frame) in frozen.held {
            from_machine(&self.shared, state, now, port, &frame);
        }
        write_dirty(&self.shared, state);
        drop(guard);
        // The thread looks what is due now.
        let _ = rustix::io::write(&self.shared.wake, &1u64.to_ne_bytes());
    }
}

/// The next bytes that lie in a socket, if there are any.
fn read(fd: &OwnedFd, buffer: &mut [u8]) -> Option<usize> {
    loop {
        match rustix::net::recv(fd, &mut *buffer, RecvFlags::DONTWAIT) {
            Ok((len, _)) if len > 0 => return Some(len),
            Err(Errno::INTR) => {}
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fabric::Counters;
    use crate::stream::End;
    use crate::switch::link_socket_pair;
    use nbv_plan::Impairment;
    use std::time::{Duration, Instant};

    fn plug(switch: &Switch, name: &str) -> End {
        let (ours, theirs) = link_socket_pair().unwrap();
        let id = switch.add_port(1, name, ours).unwrap();
        switch.keep_far_end(id, theirs.try_clone().unwrap());
        End::new(theirs)
    }

    fn frame(to: u8, from: u8, number: u8) -> Vec<u8> {
        let mut frame = vec![2, 0, 0, 0, 0, to, 2, 0, 0, 0, 0, from, 8, 0, number];
        frame.resize(60, 0);
        frame
    }

    fn numbers(end: &End, count: usize) -> Vec<u8> {
        let mut buffer = [0; 2048];
        (0..count).map(|_| end.recv(&mut buffer).map_or(255, |_| buffer[14])).collect()
    }

    fn is_silent(end: &End) -> bool {
        end.set_patience(Duration::from_millis(30));
        let is_silent = end.recv(&mut [0; 2048]).is_err();
        end.set_patience(Duration::from_secs(5));
        is_silent
    }

    #[test]
    fn what_is_under_way_is_saved_once_and_goes_on_in_order() {
        let switch = Switch::start().unwrap();
        let (a, b) = (plug(&switch, "a/eth1"), plug(&switch, "b/eth1"));
        b.send(&frame(1, 2, 0)).unwrap();
        assert_eq!(numbers(&a, 1), [0]);
        // One lies unread before b, one is on a slow cable, one comes when the switch stands still.
        a.send(&frame(2, 1, 1)).unwrap();
        let deadline = Instant::now() + Duration::from_secs(5);
        while switch.report()[1].counters == Counters::default() && Instant::now() < deadline {
            std::thread::yield_now();
        }
        std::thread::sleep(Duration::from_millis(20));
        let outgoing = Impairment { delay_us: 40_000, ..Impairment::default() };
        switch.set_faults("a/eth1", LinkFaults { outgoing, ..LinkFaults::default() }, false);
        a.send(&frame(2, 1, 2)).unwrap();
        std::thread::sleep(Duration::from_millis(10));
        switch.freeze();
        a.send(&frame(2, 1, 3)).unwrap();
        let saved = switch.take();
        assert!(is_silent(&b), "it was taken back");
        assert_eq!((saved.held.len(), saved.ports[1].queued.len()), (1, 1));
        assert_eq!(saved.ports[0].outgoing.as_ref().unwrap().under_way.len(), 1);
        std::thread::sleep(Duration::from_millis(60));
        let thawed = Instant::now();
        switch.thaw();
        assert_eq!(numbers(&b, 3), [1, 2, 3]);
        assert!(thawed.elapsed() >= Duration::from_millis(35), "time under way stood still too");
        assert!(is_silent(&b) && is_silent(&a));

        // The same in another switch, from text.
        let saved: SwitchState = serde_json::from_str(&serde_json::to_string(&saved).unwrap()).unwrap();
        let other = Switch::start().unwrap();
        other.freeze();
        let (a, b, c) = (plug(&other, "a/eth1"), plug(&other, "b/eth1"), plug(&other, "c/eth1"));
        a.send(&frame(2, 1, 9)).unwrap();
        assert!(is_silent(&b), "it stands still");
        other.put(&saved);
        other.thaw();
        assert_eq!(numbers(&b, 3), [1, 2, 3]);
        assert!(is_silent(&b) && is_silent(&c), "addresses are known");
        assert_eq!(other.faults("a/eth1").outgoing, outgoing);
    }

    #[test]
    fn settings_come_back_and_can_be_left_out() {
        let switch = Switch::start().unwrap();
        let (_a, _b) = (plug(&switch, "a/eth1"), plug(&switch, "b/eth1"));
        switch.freeze();
        let before = switch.take();
        switch.thaw();
        switch.partition(&[vec!["a".into()], vec!["b".into()]]);
        switch.set_link("a/eth1", false);
        switch.freeze();
        let after = switch.take();
        assert_eq!(after.settings.as_ref().unwrap().down, ["a/eth1"]);
        switch.put(&SwitchState { settings: None, ..before.clone() });
        assert!(!switch.report()[0].is_up && switch.groups().len() == 2);
        switch.put(&before);
        assert!(switch.report()[0].is_up && switch.groups().is_empty());
        switch.put(&after);
        switch.thaw();
        assert!(!switch.report()[0].is_up && switch.groups().len() == 2);
    }

    #[test]
    fn text_that_is_no_frame_is_refused() {
        for text in ["0", "0g", "é"] {
            assert!(Frame::try_from(text.to_owned()).is_err());
        }
    }
}
