//! What happens in a running network, as one ordered stream.
//!
//! A machine's life:
//!
//! ```text
//! Off -> Starting -> Booting -> Ready -> Stopping -> Off
//!            \          \         \________________/ ^
//!             \__________\_________\-> Failed        |   (guest turns itself off: straight to Off)
//! ```
//!
//! *Starting*: QEMU was started. *Booting*: the guest's first program answers. *Ready*: systemd says so. A
//! reboot is Ready (or Booting) -> Starting. *Failed*: panic, a message of /init, or QEMU's death.
//!
//! Terminal, status and tests read the same stream.

use std::time::Duration;

/// Where a machine is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// Not running.
    Off,
    /// QEMU was started; the kernel boots.
    Starting,
    /// The guest answers on its control channel; services start.
    Booting,
    /// systemd says that everything is up.
    Ready,
    /// It was told to power off.
    Stopping,
    /// It ended in a way that it should not.
    Failed,
}

impl Phase {
    /// Whether a process of the machine runs.
    #[must_use]
    pub fn is_running(self) -> bool {
        matches!(self, Self::Starting | Self::Booting | Self::Ready | Self::Stopping)
    }

    /// The phase as a word.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Starting => "starting",
            Self::Booting => "booting",
            Self::Ready => "ready",
            Self::Stopping => "stopping",
            Self::Failed => "failed",
        }
    }
}

/// An index into the machines of the running network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MachineId(pub(crate) usize);

impl MachineId {
    /// Its place in the plan's order.
    #[must_use]
    pub fn index(self) -> usize {
        self.0
    }
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// Since the network started.
    pub at: Duration,
    /// To which machine.
    pub machine: MachineId,
    /// What.
    pub kind: Kind,
}

/// What happened.
#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    /// The machine's phase changed.
    Phase(Phase),
    /// It became ready, this long after its start.
    Ready(Duration),
    /// It rebooted.
    Rebooted,
    /// The network was saved as a snapshot of this name.
    Saved(String),
    /// The network is back at the snapshot of this name.
    Restored(String),
    /// The network could not be resumed from its saved state and boots; why.
    NotResumed(String),
    /// It failed; the text says why, the lines are the last of its console.
    Failed {
        /// Why.
        reason: String,
        /// The last lines of its console.
        tail: Vec<String>,
    },
    /// A line of its console, safe to show.
    Line(String),
}
