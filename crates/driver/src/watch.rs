//! Live traffic: what passed between two looks at a network, as rates.
//!
//! Not here: asking for the looks, terminals.

use nbv_switch::Flow;

use crate::link::bits;
use crate::status::{LinkStatus, Status, table};

/// Frames and bits per second.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Rate {
    /// Frames per second.
    pub frames: f64,
    /// Bits per second.
    pub bits: f64,
    /// Dropped frames per second.
    pub dropped: f64,
}

impl Rate {
    fn between(before: &Flow, after: &Flow, seconds: f64) -> Self {
        let per = |before: u64, after: u64| after.saturating_sub(before) as f64 / seconds;
        Self {
            frames: per(before.frames, after.frames),
            bits: per(before.bytes, after.bytes) * 8.0,
            dropped: per(before.dropped.total(), after.dropped.total()),
        }
    }

    fn add(&mut self, other: Self) {
        self.frames += other.frames;
        self.bits += other.bits;
        self.dropped += other.dropped;
    }

    fn text(&self) -> String {
        format!("{}/s", bits(self.bits))
    }
}

/// A link's traffic.
#[derive(Debug, Clone, PartialEq)]
pub struct LinkTraffic {
    /// The machine.
    pub machine: String,
    /// The interface.
    pub interface: String,
    /// The segment.
    pub segment: u32,
    /// From the machine.
    pub from: Rate,
    /// To the machine.
    pub to: Rate,
    /// What is wrong with it, in words; empty when nothing is.
    pub state: String,
}

/// The traffic of a network between two looks at it.
#[derive(Debug, Clone, PartialEq)]
pub struct Traffic {
    /// Of each link.
    pub links: Vec<LinkTraffic>,
    /// What entered each segment, by its number.
    pub segments: Vec<(u32, Rate)>,
}

impl Traffic {
    /// Between two looks; both must be of the same network.
    #[must_use]
    pub fn between(before: &Status, after: &Status) -> Self {
        // Two looks at once: whatever passed, it has no rate.
        let seconds = (after.uptime - before.uptime).max(1e-3);
        let mut links = Vec::new();
        let mut segments = std::collections::BTreeMap::<u32, Rate>::new();
        for machine in &after.machines {
            let earlier = before.machines.iter().find(|one| one.name == machine.name);
            for link in &machine.links {
                let was = earlier.and_then(|one| one.links.iter().find(|one| one.name == link.name));
                let (from_was, to_was) = was.map(|was| (was.from_machine, was.to_machine)).unwrap_or_default();
                let from = Rate::between(&from_was, &link.from_machine, seconds);
                let to = Rate::between(&to_was, &link.to_machine, seconds);
                segments.entry(link.segment).or_default().add(from);
                let state = state(link);
                links.push(LinkTraffic { machine: machine.name.clone(), interface: link.name.clone(), segment: link.segment, from, to, state });
            }
        }
        Self { links, segments: segments.into_iter().collect() }
    }

    /// A table of links and a table of segments.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut rows = vec![["LINK", "SEGMENT", "FROM", "FRAMES/S", "TO", "FRAMES/S", "DROPPED/S", "STATE"].map(str::to_owned)];
        for link in &self.links {
            rows.push([
                format!("{}:{}", link.machine, link.interface),
                link.segment.to_string(),
                link.from.text(),
                format!("{:.0}", link.from.frames),
                link.to.text(),
                format!("{:.0}", link.to.frames),
                format!("{:.0}", link.from.dropped + link.to.dropped),
                link.state.clone(),
            ]);
        }
        let mut text = table(&rows);
        let mut rows = vec![["SEGMENT", "TRAFFIC", "FRAMES/S"].map(str::to_owned)];
        rows.extend(self.segments.iter().map(|(number, rate)| [number.to_string(), rate.text(), format!("{:.0}", rate.frames)]));
        text.push('\n');
        text.push_str(&table(&rows));
        text
    }

    /// One line: the segments, then the links on which something passed or was dropped.
    #[must_use]
    pub fn to_line(&self) -> String {
        let mut parts: Vec<String> =
            self.segments.iter().map(|(number, rate)| format!("segment {number}: {}, {:.0} frames/s", rate.text(), rate.frames)).collect();
        for link in self.links.iter().filter(|link| link.from.frames + link.to.frames + link.from.dropped + link.to.dropped > 0.0) {
            let dropped = link.from.dropped + link.to.dropped;
            let dropped = if dropped > 0.0 { format!(", {dropped:.0} dropped/s") } else { String::new() };
            parts.push(format!("{}:{} from {} to {}{dropped}", link.machine, link.interface, link.from.text(), link.to.text()));
        }
        parts.join("; ")
    }
}

fn state(link: &LinkStatus) -> String {
    let faults = link.faults.as_ref().map(crate::link::describe_both).unwrap_or_default();
    match (link.is_up, faults.is_empty()) {
        (true, _) => faults,
        (false, true) => "blocked".into(),
        (false, false) => format!("blocked; {faults}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(uptime: f64, bytes: u64, is_up: bool) -> Status {
        let flow = serde_json::json!({ "frames": bytes / 1000, "bytes": bytes, "dropped": { "lost": bytes / 10_000 } });
        let link = |name: &str| serde_json::json!({ "name": name, "segment": 3, "isUp": is_up, "fromMachine": flow, "toMachine": flow });
        let machine = |name: &str| {
            serde_json::json!({ "name": name, "names": [], "phase": "ready", "failure": null, "system": "x86_64-linux", "accelerator": "tcg",
                "addresses": [], "readyAfter": null, "pid": null, "forwards": [], "closed": [], "links": [link("eth1")] })
        };
        serde_json::from_value(serde_json::json!({ "stateDir": "/s", "runner": 1, "uptime": uptime, "machines": [machine("a"), machine("b")] })).unwrap()
    }

    #[test]
    fn rates_are_differences_over_the_time_between() {
        let traffic = Traffic::between(&look(10.0, 1_000_000, true), &look(12.0, 2_000_000, true));
        assert_eq!(traffic.links[0].from, Rate { frames: 500.0, bits: 4e6, dropped: 50.0 });
        assert_eq!(traffic.segments, [(3, Rate { frames: 1000.0, bits: 8e6, dropped: 100.0 })]);
        assert_eq!(
            traffic.to_line(),
            "segment 3: 8 mbit/s, 1000 frames/s; a:eth1 from 4 mbit/s to 4 mbit/s, 100 dropped/s; b:eth1 from 4 mbit/s to 4 mbit/s, 100 dropped/s"
        );
        let quiet = Traffic::between(&look(1.0, 5000, false), &look(2.0, 5000, false));
        assert_eq!((quiet.to_line().as_str(), quiet.links[0].state.as_str()), ("segment 3: 0 bit/s, 0 frames/s", "blocked"));
        assert!(quiet.to_text().contains("a:eth1  3        0 bit/s  0         0 bit/s  0         0          blocked\n"), "{}", quiet.to_text());
    }

    #[test]
    fn counters_that_begin_anew_give_no_nonsense() {
        let traffic = Traffic::between(&look(5.0, 9000, true), &look(5.0, 0, true));
        assert_eq!(traffic.links[0].from, Rate::default());
    }
}
