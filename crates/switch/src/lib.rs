//! The network between the machines: layer-2 segments, and each machine's way out.
//!
//! Two cores without input or output, frames and time in, frames out:
//! [`fabric`] is a learning switch with any number of segments; [`gateway`] stands between a
//! machine's `eth0` and the user-mode NAT and keeps the host's own services out of reach.
//! [`switch`] runs both in one thread over datagram sockets, one per network card.
//!
//! Not here: QEMU. A port is a socket that carries one Ethernet frame per datagram.

mod checksum;
pub mod fabric;
pub mod gateway;
pub mod impair;
mod pcapng;
pub mod switch;

pub use fabric::{Counters, Fabric, PortId};
pub use gateway::{Forward, Gateway, Rules, Transport};
pub use impair::{Fates, Impairment};
pub use switch::{CableFaults, CaptureId, PortReport, Switch, SwitchError, SwitchState, Tap, UplinkId, frame_socket_pair};
