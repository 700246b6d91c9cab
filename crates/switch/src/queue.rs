//! Frames that wait for a machine that takes them slowly: fair between the machines that send, and bounded.
//!
//! Each sender has a queue of its own, and they have their turns by bytes (deficit round robin). When all of them together hold too much
//! the longest gives up its oldest frame, so a flood displaces itself and not the others' frames.
//!
//! Not here: sockets ([`crate::switch`]).

use std::collections::VecDeque;

/// Frames that wait for one machine.
pub(crate) const FRAMES_MAX: usize = 1024;
/// Bytes that wait for one machine.
pub(crate) const BYTES_MAX: usize = 4 << 20;
/// Bytes that a sender may pass in its turn.
const QUANTUM: usize = 1514;

/// Frames that wait, by their sender.
#[derive(Default)]
pub(crate) struct FairQueue {
    /// The sender whose turn it is comes first. None of them is empty.
    lanes: VecDeque<Lane>,
    frames: usize,
    bytes: usize,
}

struct Lane {
    sender: usize,
    frames: VecDeque<Box<[u8]>>,
    bytes: usize,
    /// Bytes that it may still pass in this turn.
    deficit: usize,
}

impl FairQueue {
    pub(crate) fn is_empty(&self) -> bool {
        self.frames == 0
    }

    pub(crate) fn len(&self) -> usize {
        self.frames
    }

    /// Adds a frame; gives the number of frames that had to go for it (itself, perhaps).
    pub(crate) fn push(&mut self, sender: usize, frame: &[u8]) -> usize {
        let at = self.lanes.iter().position(|lane| lane.sender == sender).unwrap_or_else(|| {
            self.lanes.push_back(Lane { sender, frames: VecDeque::new(), bytes: 0, deficit: QUANTUM });
            self.lanes.len() - 1
        });
        let lane = &mut self.lanes[at];
        lane.frames.push_back(frame.into());
        lane.bytes += frame.len();
        self.frames += 1;
        self.bytes += frame.len();
        let mut gone = 0;
        while self.frames > FRAMES_MAX || self.bytes > BYTES_MAX {
            let Some(longest) = (0..self.lanes.len()).max_by_key(|at| self.lanes[*at].bytes) else { break };
            self.take(longest);
            gone += 1;
        }
        gone
    }

    /// The frame whose turn it is.
    pub(crate) fn front(&mut self) -> Option<&[u8]> {
        loop {
            let lane = self.lanes.front_mut()?;
            let len = lane.frames.front()?.len();
            if lane.deficit >= len {
                break;
            }
            // A frame longer than the quantum saves up for some turns.
            lane.deficit += QUANTUM;
            self.lanes.rotate_left(1);
        }
        self.lanes.front().and_then(|lane| lane.frames.front()).map(|frame| &**frame)
    }

    /// Takes what [`Self::front`] gave.
    pub(crate) fn pop(&mut self) -> Option<Box<[u8]>> {
        let len = self.front()?.len();
        self.lanes.front_mut()?.deficit -= len;
        self.take(0)
    }

    /// All frames in the order in which they would go.
    pub(crate) fn drain(&mut self) -> Vec<Box<[u8]>> {
        std::iter::from_fn(|| self.pop()).collect()
    }

    /// A queue of frames that go in this order, however many they are.
    pub(crate) fn of(frames: Vec<Box<[u8]>>) -> Self {
        let (count, bytes) = (frames.len(), frames.iter().map(|frame| frame.len()).sum());
        // Who sent them is no longer known; no port has this number.
        let lane = Lane { sender: usize::MAX, frames: frames.into(), bytes, deficit: QUANTUM };
        Self { lanes: if count == 0 { VecDeque::new() } else { [lane].into() }, frames: count, bytes }
    }

    fn take(&mut self, at: usize) -> Option<Box<[u8]>> {
        let lane = self.lanes.get_mut(at)?;
        let frame = lane.frames.pop_front()?;
        lane.bytes -= frame.len();
        self.frames -= 1;
        self.bytes -= frame.len();
        if lane.frames.is_empty() {
            self.lanes.remove(at);
        }
        Some(frame)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_waits_behind_itself_and_the_others_have_their_turns() {
        let mut queue = FairQueue::default();
        let mut gone = 0;
        for _ in 0..100_000 {
            gone += queue.push(1, &[1; 1514]);
        }
        for _ in 0..10 {
            assert!(queue.push(2, &[2; 100]) <= 1);
        }
        assert_eq!((queue.len(), gone), (FRAMES_MAX, 100_000 - FRAMES_MAX));
        let order: Vec<u8> = std::iter::from_fn(|| queue.pop()).take(12).map(|frame| frame[0]).collect();
        assert_eq!(order.iter().filter(|sender| **sender == 2).count(), 10, "{order:?}");
    }

    #[test]
    fn turns_are_counted_in_bytes_and_no_sender_has_its_order_changed() {
        let mut queue = FairQueue::default();
        for number in 0..60 {
            queue.push(1, &[number; 1500]);
            queue.push(2, &[100 + number; 500]);
        }
        let first: Vec<Box<[u8]>> = std::iter::from_fn(|| queue.pop()).take(40).collect();
        let bytes = |is_first: bool| first.iter().filter(|frame| (frame[0] < 100) == is_first).map(|frame| frame.len()).sum::<usize>();
        assert!(bytes(true).abs_diff(bytes(false)) <= 2 * QUANTUM, "{} {}", bytes(true), bytes(false));
        for is_first in [true, false] {
            assert!(first.iter().filter(|frame| (frame[0] < 100) == is_first).is_sorted());
        }
    }

    #[test]
    fn bytes_are_bounded_too_and_long_frames_pass() {
        let mut queue = FairQueue::default();
        for _ in 0..200 {
            queue.push(1, &[0; 60_000]);
        }
        assert!(queue.bytes <= BYTES_MAX && queue.len() > 60);
        assert_eq!(queue.pop().map(|frame| frame.len()), Some(60_000));
        while queue.pop().is_some() {}
        assert!(queue.is_empty() && queue.bytes == 0);
    }
}
