//! One direction of a cable with faults: delay, jitter, loss, duplication, reordering, corruption, rate, queue, MTU, cut.
//!
//! Sans I/O: frames and time in ([`Shaper::push`]), due frames out ([`Shaper::pop`]). A frame's fate depends on the seed, on its kind
//! (receiver, protocol, type of ICMP) and on its number among those of its kind, so a run can be repeated although other frames (ARP, say)
//! come between; and a change of one value leaves the fates by the others as they were.
//!
//! Not here: timers, sockets ([`crate::switch`]).

use std::collections::BTreeMap;

use nbv_plan::Impairment;
use serde::{Deserialize, Serialize};

use crate::fabric::{Nanos, Reason};

/// How long a reordered frame waits at most for the one that overtakes it.
const REORDER_MAX: Nanos = 50_000_000;
/// Frames that wait for their turn on the wire when no queue length is given.
pub const QUEUE_DEFAULT: u32 = 1000;
/// Frames that may be under way at once in one direction; more are dropped, so that a long delay cannot take all memory.
const UNDER_WAY_MAX: usize = 65_536;
/// Their bytes: 1 Gbit/s for half a second.
const UNDER_WAY_BYTES_MAX: usize = 64 << 20;
/// Kinds of frames that are counted apart; different kinds may share a number.
const KINDS: usize = 64;
/// Ethernet header; the MTU counts what follows it.
const HEADER_LEN: usize = 14;

/// What became of frames that were passed on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Fates {
    /// Came twice.
    pub duplicated: u64,
    /// Were overtaken.
    pub reordered: u64,
    /// Got a wrong bit.
    pub corrupted: u64,
}

/// One direction of a cable as data; times in nanoseconds from some moment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ShaperState {
    seed: u64,
    numbers: Vec<u64>,
    fates: Fates,
    free_at: Nanos,
    waiting: Vec<Nanos>,
    last_due: Nanos,
    /// (due, order of entry, frame).
    pub(crate) under_way: Vec<(Nanos, u64, crate::freeze::Frame)>,
    held: Option<(Nanos, u64)>,
    entered: u64,
}

/// One direction of a cable.
#[derive(Default)]
pub struct Shaper {
    faults: Impairment,
    seed: u64,
    /// Frames so far, by kind.
    numbers: Vec<u64>,
    /// The frame in question: its kind and number as one.
    number: u64,
    fates: Fates,
    /// When the wire is free again.
    free_at: Nanos,
    /// Ends of the frames that wait for the wire.
    waiting: std::collections::VecDeque<Nanos>,
    /// No frame in order is due before this.
    last_due: Nanos,
    /// Frames under way by (due, order of entry).
    under_way: BTreeMap<(Nanos, u64), Box<[u8]>>,
    under_way_bytes: usize,
    /// The frame that waits to be overtaken.
    held: Option<(Nanos, u64)>,
    entered: u64,
}

impl Shaper {
    /// A direction without faults.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { seed, ..Self::default() }
    }

    /// Changes the faults; frames under way keep their times.
    pub fn set(&mut self, faults: Impairment) {
        self.faults = faults;
    }

    /// The faults now.
    #[must_use]
    pub fn faults(&self) -> Impairment {
        self.faults
    }

    /// Starts the sequence of chances anew.
    pub fn reseed(&mut self, seed: u64) {
        self.seed = seed;
        self.numbers.clear();
    }

    /// Whether a frame would pass at once, so that it need not be copied.
    #[must_use]
    pub fn is_clear(&self) -> bool {
        self.faults.is_none() && self.under_way.is_empty()
    }

    /// What became of frames so far.
    #[must_use]
    pub fn fates(&self) -> Fates {
        self.fates
    }

    /// Forgets the frames that are under way.
    pub fn clear(&mut self) {
        self.under_way.clear();
        self.under_way_bytes = 0;
        self.waiting.clear();
        (self.held, self.free_at, self.last_due) = (None, 0, 0);
    }

    /// A frame enters.
    ///
    /// # Errors
    /// It was dropped; why.
    pub fn push(&mut self, now: Nanos, frame: &[u8]) -> Result<(), Reason> {
        let faults = self.faults;
        let kind = kind(frame);
        self.numbers.resize(KINDS, 0);
        self.numbers[kind] += 1;
        self.number = self.numbers[kind] * KINDS as u64 + kind as u64;
        let tag = if frame.get(12..14) == Some(&[0x81, 0]) { 4 } else { 0 };
        if faults.mtu > 0 && frame.len().saturating_sub(HEADER_LEN + tag) > faults.mtu as usize {
            return Err(Reason::Oversized);
        }
        if faults.cut {
            return Err(Reason::Down);
        }
        if self.happens(faults.loss, 1) {
            return Err(Reason::Lost);
        }
        let mut frame: Box<[u8]> = frame.into();
        if frame.len() > HEADER_LEN && self.happens(faults.corrupt, 2) {
            let bits = (frame.len() - HEADER_LEN) as u64 * 8;
            let bit = self.chance(3) % bits;
            frame[HEADER_LEN + (bit / 8) as usize] ^= 1 << (bit % 8);
            self.fates.corrupted += 1;
        }
        let is_twice = self.happens(faults.duplicate, 4);
        let is_overtaken = self.held.is_none() && self.happens(faults.reorder, 5);
        if is_twice && self.enter(now, frame.clone(), false).is_ok() {
            self.fates.duplicated += 1;
        }
        self.enter(now, frame, is_overtaken)
    }

    fn enter(&mut self, now: Nanos, frame: Box<[u8]>, is_overtaken: bool) -> Result<(), Reason> {
        let faults = self.faults;
        let mut sent_at = now;
        if faults.rate > 0 {
            while self.waiting.front().is_some_and(|end| *end <= now) {
                self.waiting.pop_front();
            }
            let room = if faults.queue == 0 { QUEUE_DEFAULT } else { faults.queue };
            if self.waiting.len() >= room as usize {
                return Err(Reason::Overflowed);
            }
            let took = u128::from(frame.len() as u64) * 8 * 1_000_000_000 / u128::from(faults.rate);
            sent_at = self.free_at.max(now).saturating_add(u64::try_from(took).unwrap_or(u64::MAX));
            self.free_at = sent_at;
            self.waiting.push_back(sent_at);
        }
        if self.under_way.len() >= UNDER_WAY_MAX || self.under_way_bytes + frame.len() > UNDER_WAY_BYTES_MAX {
            return Err(Reason::Overflowed);
        }
        self.under_way_bytes += frame.len();
        let jitter = faults.jitter_us * 1000;
        let spread = if jitter == 0 { 0 } else { self.chance(6) % (2 * jitter + 1) };
        let late = (faults.delay_us * 1000 + spread).saturating_sub(jitter);
        let due = sent_at.saturating_add(late).max(self.last_due);
        self.entered += 1;
        let key = if is_overtaken {
            self.fates.reordered += 1;
            let key = (due.saturating_add(REORDER_MAX), self.entered);
            self.held = Some(key);
            key
        } else {
            self.last_due = due;
            (due, self.entered)
        };
        self.under_way.insert(key, frame);
        // What waited to be overtaken goes right behind this one.
        if !is_overtaken
            && let Some(held) = self.held.take()
            && let Some(frame) = self.under_way.remove(&held)
        {
            self.entered += 1;
            self.under_way.insert((held.0.min(due), self.entered), frame);
        }
        Ok(())
    }

    /// The next frame that is due.
    pub fn pop(&mut self, now: Nanos) -> Option<Box<[u8]>> {
        let entry = self.under_way.first_entry()?;
        if entry.key().0 > now {
            return None;
        }
        if self.held == Some(*entry.key()) {
            self.held = None;
        }
        let frame = entry.remove();
        self.under_way_bytes -= frame.len();
        Some(frame)
    }

    /// When the next frame is due.
    #[must_use]
    pub fn next_due(&self) -> Option<Nanos> {
        self.under_way.first_key_value().map(|((due, _), _)| *due)
    }

    /// The direction as data; times count from `now`.
    #[must_use]
    pub fn save(&self, now: Nanos) -> ShaperState {
        let from_now = |time: &Nanos| time.saturating_sub(now);
        ShaperState {
            seed: self.seed,
            numbers: self.numbers.clone(),
            fates: self.fates,
            free_at: from_now(&self.free_at),
            waiting: self.waiting.iter().map(from_now).collect(),
            last_due: from_now(&self.last_due),
            under_way: self.under_way.iter().map(|((due, order), frame)| (from_now(due), *order, crate::freeze::Frame(frame.clone()))).collect(),
            held: self.held.map(|(due, order)| (from_now(&due), order)),
            entered: self.entered,
        }
    }

    /// Becomes what was saved; the faults are set apart.
    pub fn load(&mut self, state: &ShaperState, now: Nanos) {
        let from_now = |time: &Nanos| time.saturating_add(now);
        *self = Self {
            faults: self.faults,
            seed: state.seed,
            numbers: state.numbers.iter().copied().take(KINDS).collect(),
            number: 0,
            fates: state.fates,
            free_at: from_now(&state.free_at),
            waiting: state.waiting.iter().map(from_now).collect(),
            last_due: from_now(&state.last_due),
            under_way_bytes: state.under_way.iter().map(|(.., frame)| frame.0.len()).sum(),
            under_way: state.under_way.iter().map(|(due, order, frame)| ((from_now(due), *order), frame.0.clone())).collect(),
            held: state.held.map(|(due, order)| (from_now(&due), order)),
            entered: state.entered,
        };
    }

    /// Lets all that is under way come so much later: time stood still.
    pub fn shift(&mut self, by: Nanos) {
        let state = self.save(0);
        self.load(&state, by);
    }

    fn happens(&self, share: f64, what: u64) -> bool {
        // 53 bits are what an f64 holds exactly.
        share > 0.0 && ((self.chance(what) >> 11) as f64) / ((1u64 << 53) as f64) < share
    }

    /// A number of the seed, the frame and the question (the finaliser of SplitMix64).
    fn chance(&self, what: u64) -> u64 {
        let mut z = self.seed ^ self.number.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ what.wrapping_mul(0xd1b5_4a32_d192_ed03);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

/// What a frame is by those of its bytes that are the same in each run.
fn kind(frame: &[u8]) -> usize {
    let icmp_type = match (frame.get(12..14), frame.get(23), frame.get(20)) {
        (Some([8, 0]), Some(1), _) => frame.get(34),
        (Some([0x86, 0xdd]), _, Some(58)) => frame.get(54),
        _ => None,
    };
    let protocol = match frame.get(12..14) {
        Some([8, 0]) => frame.get(23),
        Some([0x86, 0xdd]) => frame.get(20),
        _ => None,
    };
    let bytes = frame.iter().take(6).chain(frame.iter().skip(12).take(2)).chain(protocol).chain(icmp_type);
    // FNV-1a, folded.
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3));
    ((hash ^ (hash >> 32)) % KINDS as u64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Nanos = 1_000_000;

    fn shaper(faults: Impairment) -> Shaper {
        let mut shaper = Shaper::new(7);
        shaper.set(faults);
        shaper
    }

    fn frame(number: u32, len: usize) -> Vec<u8> {
        let mut frame = vec![0; len];
        frame[14..18].copy_from_slice(&number.to_be_bytes());
        frame
    }

    /// (due, number) of all that comes.
    fn drain(shaper: &mut Shaper) -> Vec<(Nanos, u32)> {
        let mut out = Vec::new();
        while let Some(due) = shaper.next_due() {
            let frame = shaper.pop(due).unwrap();
            out.push((due, u32::from_be_bytes(frame[14..18].try_into().unwrap())));
        }
        out
    }

    #[test]
    fn a_delay_is_kept_to_the_nanosecond() {
        let mut it = shaper(Impairment { delay_us: 50_000, ..Impairment::default() });
        it.push(3, &frame(1, 60)).unwrap();
        assert_eq!(it.pop(50 * MS + 2), None);
        assert!(it.pop(50 * MS + 3).is_some());
        assert!(!it.is_clear() && it.next_due().is_none());
    }

    #[test]
    fn jitter_stays_in_its_bounds_and_keeps_the_order() {
        let mut it = shaper(Impairment { delay_us: 10_000, jitter_us: 4_000, ..Impairment::default() });
        for n in 0..500 {
            it.push(u64::from(n) * 20 * MS, &frame(n, 60)).unwrap();
        }
        let out = drain(&mut it);
        let late: Vec<u64> = out.iter().map(|(due, n)| due - u64::from(*n) * 20 * MS).collect();
        assert!(late.iter().all(|late| (6 * MS..=14 * MS).contains(late)));
        assert!(late.iter().any(|late| *late < 7 * MS) && late.iter().any(|late| *late > 13 * MS));
        assert!(out.is_sorted_by_key(|(_, n)| *n));
    }

    #[test]
    fn shares_are_met_and_a_seed_repeats_them() {
        let faults = Impairment { loss: 0.1, duplicate: 0.05, corrupt: 0.02, ..Impairment::default() };
        let run = |seed| {
            let mut it = Shaper::new(seed);
            it.set(faults);
            let lost = (0..20_000).filter(|n| it.push(0, &frame(*n, 60)).is_err()).count();
            (lost, it.fates(), drain(&mut it))
        };
        let (lost, fates, frames) = run(1);
        assert!((1800..2200).contains(&lost), "{lost}");
        assert!((780..1020).contains(&fates.duplicated), "{fates:?}");
        assert!((290..430).contains(&fates.corrupted), "{fates:?}");
        assert_eq!(run(1), (lost, fates, frames));
        assert_ne!(run(2).1, fates);
    }

    #[test]
    fn other_kinds_of_frames_between_leave_the_fates_of_a_kind_as_they_are() {
        let run = |others: bool| {
            let mut it = shaper(Impairment { loss: 0.3, ..Impairment::default() });
            let arp = [&[255; 6][..], &[2; 6], &[8, 6], &[0; 46]].concat();
            let ping = |number: u8| [&[2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0, 0x45][..], &[0; 8], &[1], &[0; 10], &[8, number], &[0; 30]].concat();
            let fates = (0..100).map(|number| {
                if others && number % 3 == 0 {
                    let _ = it.push(0, &arp);
                }
                it.push(0, &ping(number)).is_ok()
            });
            fates.collect::<Vec<bool>>()
        };
        assert!(run(false).iter().any(|taken| !taken));
        assert_eq!(run(false), run(true));
    }

    #[test]
    fn a_rate_spaces_frames_and_a_full_queue_drops() {
        // 1000 bytes at 8 Mbit/s: one millisecond each.
        let mut it = shaper(Impairment { rate: 8_000_000, queue: 10, ..Impairment::default() });
        let pushed: Vec<Result<(), Reason>> = (0..20).map(|n| it.push(0, &frame(n, 1000))).collect();
        assert!(pushed[..10].iter().all(Result::is_ok) && pushed[10..].iter().all(|one| *one == Err(Reason::Overflowed)));
        let due: Vec<u64> = drain(&mut it).iter().map(|(due, _)| due / MS).collect();
        assert_eq!(due, (1..=10).collect::<Vec<_>>());
        it.push(20 * MS, &frame(0, 1000)).unwrap();
        assert_eq!(it.next_due(), Some(21 * MS));
    }

    #[test]
    fn a_reordered_frame_comes_right_after_the_next_and_not_never() {
        let mut it = shaper(Impairment { reorder: 1.0, delay_us: 1000, ..Impairment::default() });
        for n in 0..3 {
            it.push(u64::from(n) * MS, &frame(n, 60)).unwrap();
        }
        assert_eq!(drain(&mut it), [(2 * MS, 1), (2 * MS, 0), (53 * MS, 2)]);
        assert_eq!(it.fates().reordered, 2);
    }

    #[test]
    fn a_cut_and_an_mtu_drop() {
        let mut it = shaper(Impairment { mtu: 1400, ..Impairment::default() });
        assert_eq!((it.push(0, &frame(0, 1414)), it.push(0, &frame(0, 1415))), (Ok(()), Err(Reason::Oversized)));
        it.set(Impairment { cut: true, ..Impairment::default() });
        assert_eq!(it.push(0, &frame(0, 60)), Err(Reason::Down));
    }

    #[test]
    fn what_is_under_way_is_bounded_in_bytes() {
        let mut it = shaper(Impairment { delay_us: 1_000_000, ..Impairment::default() });
        let taken = (0..2000).filter(|n| it.push(0, &frame(*n, 65_000)).is_ok()).count();
        assert_eq!(taken, UNDER_WAY_BYTES_MAX / 65_000);
        assert!(it.pop(1000 * MS).is_some());
        it.push(1, &frame(0, 65_000)).unwrap();
    }

    #[test]
    fn a_corrupted_frame_differs_in_one_bit_behind_its_header() {
        let mut it = shaper(Impairment { corrupt: 1.0, ..Impairment::default() });
        it.push(0, &[0; 60]).unwrap();
        let frame = it.pop(0).unwrap();
        assert_eq!(frame.iter().map(|byte| byte.count_ones()).sum::<u32>(), 1);
        assert!(frame[..14].iter().all(|byte| *byte == 0));
    }
}
