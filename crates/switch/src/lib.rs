//! The network between the machines: layer-2 segments, and each machine's way out.
//!
//! Two cores without input or output, frames and time in, frames out:
//! [`fabric`] is a learning switch with any number of segments; [`gateway`] stands between a
//! machine's `eth0` and the user-mode NAT and keeps the host's own services out of reach.
//! [`switch`] runs both in one thread over sockets, one per network card, with the faults of [`impair`] and captures.
//!
//! Not here: QEMU. A port is a stream socket that carries Ethernet frames, each behind its length.

mod cable;
pub mod capture;
mod checksum;
mod engine;
pub mod fabric;
pub mod freeze;
pub mod gateway;
mod host;
pub mod impair;
mod pcapng;
mod queue;
mod stream;
pub mod switch;

pub use capture::{CaptureId, Tap};
pub use fabric::{Counters, Drops, Fabric, Flow, PortId, Reason};
pub use freeze::SwitchState;
pub use gateway::{Forward, Gateway, Rules, Transport};
pub use impair::Fates;
pub use nbv_plan::{Impairment, LinkFaults};
pub use switch::{PortReport, Switch, SwitchError, UplinkId, link_socket_pair, uplink_socket_pair};
