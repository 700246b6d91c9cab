//! Machines as QEMU processes: what to run, how to run it, and how to talk to it.
//!
//! [`find`] the program, choose the accelerator by evidence ([`accel`]), write the command line
//! from a typed description ([`command`]), run it so that it cannot outlive us ([`process`]), talk to
//! its monitor ([`qmp`]) and read its console ([`console`]).
//!
//! Not here: what a machine boots and when (crate `driver`), frames (crate `switch`).

pub mod accel;
pub mod command;
pub mod console;
pub mod find;
pub mod migrate;
pub mod platform;
mod probe;
pub mod process;
pub mod qmp;
pub mod stream;
pub mod tsc;

pub use accel::{Accelerator, Choice, Wish};
pub use command::{Disk, HostForward, MachineSpec, Nic, NicBackend, Protocol, Resumption, Share, command_line};
pub use console::LineReader;
pub use find::{FindError, Qemu};
pub use platform::Platform;
pub use process::{CommandLine, Exited, Process, SpawnError, spawn};
pub use qmp::{Event, Qmp, QmpError};
