//! Both directions of a machine's cable.
//!
//! Not here: what a fault does to a frame ([`crate::impair`]).

use nbv_plan::LinkFaults;

use crate::impair::Shaper;

/// Both directions of a cable.
pub(crate) struct Cable {
    pub(crate) outgoing: Shaper,
    pub(crate) incoming: Shaper,
}

impl Cable {
    pub(crate) fn new(name: &str, faults: &LinkFaults) -> Self {
        let mut cable = Self { outgoing: Shaper::default(), incoming: Shaper::default() };
        cable.reseed(name, faults.seed);
        cable.set(faults);
        cable
    }

    pub(crate) fn reseed(&mut self, name: &str, seed: Option<u64>) {
        // FNV-1a.
        let of_name = name.bytes().fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
        let seed = seed.unwrap_or(of_name);
        self.outgoing.reseed(seed);
        self.incoming.reseed(!seed);
    }

    pub(crate) fn set(&mut self, faults: &LinkFaults) {
        self.outgoing.set(faults.outgoing);
        self.incoming.set(faults.incoming);
    }

    /// When the next frame of either direction is due.
    pub(crate) fn next_due(&self) -> Option<crate::fabric::Nanos> {
        [self.outgoing.next_due(), self.incoming.next_due()].into_iter().flatten().min()
    }
}
