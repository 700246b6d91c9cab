//! Faults of links: what happens to frames between a machine's card and its segment.
//!
//! Not here: doing it (crate `switch`), values as people write them (crate `driver`).

use serde::{Deserialize, Serialize};

/// Faults of one direction. The default has none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Impairment {
    /// Time under way, microseconds.
    pub delay_us: u64,
    /// The delay varies by up to this much both ways (evenly spread), microseconds; the order of frames stays.
    pub jitter_us: u64,
    /// Share of frames that are lost, 0 to 1.
    pub loss: f64,
    /// Share of frames that come twice, 0 to 1.
    pub duplicate: f64,
    /// Share of frames that are overtaken by the next one, 0 to 1.
    pub reorder: f64,
    /// Share of frames with a wrong bit behind the Ethernet header, 0 to 1.
    pub corrupt: f64,
    /// Bits per second, counted over whole frames; 0: no limit.
    pub rate: u64,
    /// Frames that may wait for the rate; 0: the default, 1000.
    pub queue: u32,
    /// Longest payload of a frame, bytes; longer frames are dropped; 0: no limit.
    pub mtu: u32,
    /// Nothing passes.
    pub cut: bool,
}

impl Impairment {
    /// Whether frames pass untouched.
    #[must_use]
    pub fn is_none(&self) -> bool {
        *self == Self { queue: self.queue, ..Self::default() }
    }
}

/// Faults of a link.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct LinkFaults {
    /// From the machine.
    pub outgoing: Impairment,
    /// To the machine.
    pub incoming: Impairment,
    /// Seed of its chances; one made from the link's name when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
}

impl LinkFaults {
    /// Whether frames pass untouched both ways.
    #[must_use]
    pub fn is_none(&self) -> bool {
        self.outgoing.is_none() && self.incoming.is_none()
    }
}
