//! A running network as lines for people.

use std::io::Write;

use crate::event::{Event, Kind, MachineId, Phase};
use crate::network::Network;
use crate::run::Front;
use crate::status;

/// Colours of machines, in turn: cyan, yellow, green, magenta, blue, red.
const COLOURS: [u8; 6] = [36, 33, 32, 35, 34, 31];

/// What an event says of its machine, to follow its name; `None` for lines of consoles and for steps that need no word. `addresses` are
/// the machine's, with commas.
#[must_use]
pub fn report(kind: &Kind, addresses: &str) -> Option<String> {
    match kind {
        Kind::Line(_) | Kind::NotResumed(_) | Kind::Saved(_) | Kind::Restored(_) => None,
        Kind::Phase(Phase::Starting | Phase::Booting | Phase::Ready | Phase::Failed) => None,
        Kind::Phase(Phase::Stopping) => Some("is powering off".into()),
        Kind::Phase(Phase::Off) => Some("is off".into()),
        Kind::Rebooted => Some("reboots".into()),
        Kind::Ready(after) => {
            let place = if addresses.is_empty() { String::new() } else { format!(" ({addresses})") };
            Some(format!("is ready after {:.1} s{place}", after.as_secs_f64()))
        }
        Kind::Failed { reason, .. } => Some(format!("FAILED: {reason}")),
    }
}

/// What an event says of the network as a whole.
#[must_use]
pub fn remark(kind: &Kind) -> Option<String> {
    match kind {
        Kind::NotResumed(reason) => Some(format!("the saved state could not be resumed ({reason}); booting")),
        Kind::Saved(name) => Some(format!("saved snapshot {name}")),
        Kind::Restored(name) => Some(format!("restored snapshot {name}")),
        _ => None,
    }
}

/// Writes what happens line by line: consoles as `NAME: text`, the rest as `-- text`.
pub struct Lines<'a> {
    names: Vec<String>,
    addresses: Vec<String>,
    has_colour: bool,
    is_quiet: bool,
    out: Box<dyn Write + 'a>,
}

impl<'a> Lines<'a> {
    /// Lines about a network; without those of the consoles when it is to be quiet.
    pub fn new(network: &Network, has_colour: bool, is_quiet: bool, out: impl Write + 'a) -> Self {
        let names = network.machines().map(|(_, machine)| machine.name.clone()).collect();
        let addresses = network.machines().map(|(_, machine)| status::addresses(machine).join(", ")).collect();
        Self { names, addresses, has_colour, is_quiet, out: Box::new(out) }
    }

    fn line(&mut self, id: MachineId, text: &str) {
        let name = self.name(id);
        self.text(&format!("{name}: {text}"));
    }

    fn report(&mut self, id: MachineId, text: &str) {
        let name = self.name(id);
        self.text(&format!("-- {name} {text}"));
    }

    /// A line as it is, such as one of a test's script.
    pub(crate) fn text(&mut self, text: &str) {
        // Nobody may be looking any more; the network goes on.
        let _ = self.out.write_all(format!("{text}\n").as_bytes());
    }

    fn name(&self, id: MachineId) -> String {
        let name = &self.names[id.0];
        if self.has_colour { format!("\x1b[1;{}m{name}\x1b[0m", COLOURS[id.0 % COLOURS.len()]) } else { name.clone() }
    }
}

impl Front for Lines<'_> {
    fn event(&mut self, event: &Event) {
        let id = event.machine;
        if let Some(text) = report(&event.kind, &self.addresses[id.0]) {
            self.report(id, &text);
        }
        if let Some(text) = remark(&event.kind) {
            self.note(&text);
        }
        match &event.kind {
            Kind::Line(text) if !self.is_quiet => self.line(id, text),
            Kind::Failed { tail, .. } if self.is_quiet && !tail.is_empty() => {
                self.report(id, "last wrote on its console:");
                tail.iter().for_each(|line| self.line(id, line));
            }
            _ => {}
        }
    }

    fn note(&mut self, text: &str) {
        self.text(&format!("-- {text}"));
    }
}
