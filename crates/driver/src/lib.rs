//! A running network as an object.
//!
//! [`run`] is what `result/bin/run-vms` does; [`client`] acts on a network that another process runs; [`network`] is the
//! network itself, for both and for tests. One machine's start is in [`machine`]; what happens is one ordered stream of
//! [`event`]s.
//!
//! Invariant: nothing here evaluates or builds: a result folder is all that is needed.
//!
//! Not here: QEMU's command lines (crate `qemu`), frames (crate `switch`), arguments of the command (crate `cli`).

pub mod analyze;
pub mod client;
pub mod console;
pub mod doctor;
pub mod event;
pub mod forward;
pub mod graph;
pub mod guest;
pub mod host;
pub mod instant;
pub mod keys;
pub mod lines;
pub mod link;
pub mod machine;
pub mod network;
pub mod options;
pub mod protocol;
pub mod run;
pub mod saved;
pub mod screen;
mod server;
mod shared;
mod session;
pub mod snapshot;
mod socket;
mod ssh;
mod starter;
pub mod state;
pub mod status;
pub mod testing;
mod together;
pub mod watch;

pub use client::{ClientError, Found};
pub use event::{Event, Kind, MachineId, Phase};
pub use host::{Host, interrupts};
pub use network::{Network, Reboots};
pub use options::{Capture, HELP, Parsed, RunOptions, UsageError};
pub use run::{Controls, Front, RunError, Show, prepare, run};
pub use status::Status;
pub use testing::{ScriptNames, TestOptions, TestReport, Work, check_script, check_steps, junit, run_test};
pub use watch::Traffic;
