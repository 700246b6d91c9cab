//! What other programs say to a runner: a line of JSON, and what it answers: lines of JSON.
//!
//! A request to run a program brings the caller's standard input, output and error as descriptors; the
//! runner reads and writes them itself.

use serde::{Deserialize, Serialize};

use crate::status::Status;

/// A request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "kebab-case")]
pub enum Request {
    /// How the network is.
    Status,
    /// Stop a machine, or all; answered when it is done.
    Stop {
        /// The machine; all when absent.
        machine: Option<String>,
    },
    /// Run a program in a machine, with three descriptors.
    Exec {
        /// The machine.
        machine: String,
        /// Program and arguments; empty: a login shell.
        argv: Vec<String>,
        /// Variables beyond the usual ones.
        env: Vec<(String, String)>,
        /// A terminal in the guest.
        terminal: Option<Terminal>,
    },
    /// Connect to the machine's private sshd: two descriptors (input, output) and one for errors.
    Ssh {
        /// The machine.
        machine: String,
    },
    /// Change the faults of a machine's links.
    SetLink {
        /// The machine.
        machine: String,
        /// What changes.
        change: crate::link::Change,
    },
    /// Part groups of machines; no groups: all are joined.
    Partition {
        /// The groups.
        groups: Vec<Vec<String>>,
    },
    /// Write a capture to the descriptor that comes along, until the connection closes.
    Capture {
        /// Frames of this machine.
        machine: Option<String>,
        /// Frames of this segment; all frames when neither is there.
        segment: Option<u32>,
    },
    /// Save the whole network as a snapshot.
    SaveSnapshot {
        /// Its name.
        name: String,
        /// Whether one of the name goes.
        replace: bool,
    },
    /// Return the whole network to a snapshot.
    RestoreSnapshot {
        /// Its name.
        name: String,
    },
    /// The snapshots of this network.
    ListSnapshots,
    /// Delete a snapshot of this network.
    DeleteSnapshot {
        /// Its name.
        name: String,
    },
    /// Write a picture of a machine's screen (PNG) to the descriptor that comes along.
    Screenshot {
        /// The machine.
        machine: String,
    },
    /// Let a machine's screen be looked at by VNC; answered with the place.
    Vnc {
        /// The machine.
        machine: String,
        /// A port of 127.0.0.1 (0: one that is free) instead of a socket in the state folder.
        port: Option<u16>,
    },
    /// Set the links of a machine up or down.
    Link {
        /// The machine.
        machine: String,
        /// Up or down.
        up: bool,
    },
}

/// A terminal's size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terminal {
    /// Rows.
    pub rows: u16,
    /// Columns.
    pub columns: u16,
}

/// What follows a request to run a program.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Word {
    /// The terminal's size changed.
    Resize(Terminal),
    /// Send the program a signal.
    Signal(i32),
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reply {
    /// To `status`.
    Status(Box<Status>),
    /// To `list-snapshots`.
    Snapshots(Vec<crate::snapshot::SnapshotInfo>),
    /// It is done.
    Done,
    /// Where a screen can be looked at.
    Viewing(crate::screen::Viewing),
    /// The program ended with this status (128 + N for signal N).
    Exit(u8),
    /// It cannot be done; why.
    Error(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_single_lines_that_read_back() {
        let request = Request::Exec { machine: "a\n".into(), argv: vec!["x\ny".into()], env: Vec::new(), terminal: Some(Terminal { rows: 24, columns: 80 }) };
        let line = serde_json::to_string(&request).unwrap();
        assert!(!line.contains('\n'));
        assert_eq!(serde_json::from_str::<Request>(&line).unwrap(), request);
        assert_eq!(serde_json::to_string(&Reply::Exit(7)).unwrap(), r#"{"exit":7}"#);
    }
}
