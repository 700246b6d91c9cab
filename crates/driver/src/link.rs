//! Links of a running network: faults as people write them (`delay` 50ms, `loss` 1%, `rate` 10mbit, ...), blocked machines, partitions,
//! captures.
//!
//! What is set stays when a machine starts again.
//!
//! Not here: what a fault does to a frame (crate `switch`).

use std::path::Path;

use nbv_plan::Machine;
use nbv_switch::{CaptureId, Impairment, LinkFaults, Tap};

use crate::event::MachineId;
use crate::network::Network;

/// Names of the values that [`set`] takes.
pub const VALUES: &[&str] = &["delay", "jitter", "loss", "duplicate", "reorder", "corrupt", "rate", "queue", "mtu"];

/// A direction, seen from the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Direction {
    /// To the machine.
    In,
    /// From the machine.
    Out,
    /// Both.
    Both,
}

/// Sets one value of a direction.
///
/// # Errors
/// An unknown name, or a text that is no such value; the message says what would be.
pub fn set(faults: &mut Impairment, name: &str, text: &str) -> Result<(), String> {
    match name {
        "delay" => faults.delay_us = time(name, text)?,
        "jitter" => faults.jitter_us = time(name, text)?,
        "loss" => faults.loss = share(name, text)?,
        "duplicate" => faults.duplicate = share(name, text)?,
        "reorder" => faults.reorder = share(name, text)?,
        "corrupt" => faults.corrupt = share(name, text)?,
        "rate" => faults.rate = rate(text)?,
        "queue" => faults.queue = count(name, text)?,
        "mtu" => faults.mtu = count(name, text)?,
        _ => return Err(format!("no value `{name}` of a link; there are: {}", VALUES.join(", "))),
    }
    Ok(())
}

fn number(text: &str) -> (Option<f64>, &str) {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    (text[..end].parse().ok().filter(|number: &f64| number.is_finite()), text[end..].trim())
}

/// Microseconds; at most an hour.
fn time(name: &str, text: &str) -> Result<u64, String> {
    let (number, unit) = number(text);
    let scale = match unit {
        "us" => Some(1.0),
        "ms" => Some(1e3),
        "s" => Some(1e6),
        _ => None,
    };
    match (number, scale) {
        (Some(number), Some(scale)) if number * scale <= 3.6e9 => Ok((number * scale).round() as u64),
        (Some(0.0), None) if unit.is_empty() => Ok(0),
        _ => Err(format!("{name} `{text}` is not a time up to an hour, such as 50ms, 200us, 1.5s")),
    }
}

fn share(name: &str, text: &str) -> Result<f64, String> {
    let (number, unit) = number(text);
    let share = match unit {
        "%" => number.map(|number| number / 100.0),
        "" => number,
        _ => None,
    };
    share.filter(|share| *share <= 1.0).ok_or_else(|| format!("{name} `{text}` is not a share, such as 1% or 0.01"))
}

/// Bits per second.
fn rate(text: &str) -> Result<u64, String> {
    let (number, unit) = number(text);
    let scale = match unit {
        "bit" | "" => Some(1.0),
        "kbit" => Some(1e3),
        "mbit" => Some(1e6),
        "gbit" => Some(1e9),
        _ => None,
    };
    match (number, scale) {
        (Some(number), Some(scale)) if number * scale <= 1e12 => Ok((number * scale).round() as u64),
        _ => Err(format!("rate `{text}` is not a rate, such as 10mbit, 512kbit, 1gbit")),
    }
}

fn count(name: &str, text: &str) -> Result<u32, String> {
    text.parse().map_err(|_| format!("{name} `{text}` is not a number"))
}

/// The values of a direction as [`set`] takes them, `cut` for one that is cut: `delay 50ms, loss 1%`. Empty without faults.
#[must_use]
pub fn describe(faults: &Impairment) -> String {
    let share = |share: f64| format!("{}%", (share * 1e8).round() / 1e6);
    let time = |us: u64| match us {
        us if us >= 1_000_000 && us % 100_000 == 0 => format!("{}s", us as f64 / 1e6),
        us if us >= 1000 => format!("{}ms", us as f64 / 1e3),
        us => format!("{us}us"),
    };
    let mut words = Vec::new();
    let mut add = |name: &str, is_there: bool, value: String| {
        if is_there {
            words.push(format!("{name} {value}"));
        }
    };
    add("delay", faults.delay_us > 0, time(faults.delay_us));
    add("jitter", faults.jitter_us > 0, time(faults.jitter_us));
    add("loss", faults.loss > 0.0, share(faults.loss));
    add("duplicate", faults.duplicate > 0.0, share(faults.duplicate));
    add("reorder", faults.reorder > 0.0, share(faults.reorder));
    add("corrupt", faults.corrupt > 0.0, share(faults.corrupt));
    add("rate", faults.rate > 0, bits(faults.rate as f64).replace(' ', ""));
    add("queue", faults.queue > 0 && faults.rate > 0, faults.queue.to_string());
    add("mtu", faults.mtu > 0, faults.mtu.to_string());
    if faults.cut {
        words.push("cut".into());
    }
    words.join(", ")
}

/// The faults of a link in words: `in: delay 50ms; out: cut`, or without `in` and `out` when both directions have the same. Empty without faults.
#[must_use]
pub fn describe_both(faults: &LinkFaults) -> String {
    let (incoming, outgoing) = (describe(&faults.incoming), describe(&faults.outgoing));
    match (incoming.is_empty(), outgoing.is_empty()) {
        (true, true) => String::new(),
        _ if incoming == outgoing => incoming,
        (true, false) => format!("out: {outgoing}"),
        (false, true) => format!("in: {incoming}"),
        (false, false) => format!("in: {incoming}; out: {outgoing}"),
    }
}

/// Bits per second in words that `rate` takes, with a space: `1.5 mbit`.
pub(crate) fn bits(rate: f64) -> String {
    let (scale, unit) = match rate {
        rate if rate >= 1e9 => (1e9, "gbit"),
        rate if rate >= 1e6 => (1e6, "mbit"),
        rate if rate >= 1e3 => (1e3, "kbit"),
        _ => (1.0, "bit"),
    };
    let number = rate / scale;
    // Three digits that mean something.
    let digits = if number >= 100.0 || unit == "bit" { 0 } else if number >= 10.0 { 1 } else { 2 };
    let text = format!("{number:.digits$}");
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    format!("{text} {unit}")
}

/// A change of links.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Change {
    /// One interface; all on segments when absent.
    #[serde(default)]
    pub interface: Option<String>,
    /// Which direction.
    pub direction: Direction,
    /// Whether the faults go before the values are set.
    #[serde(default)]
    pub reset: bool,
    /// Cut or joined.
    #[serde(default)]
    pub cut: Option<bool>,
    /// The seed of the chances, which start anew with it.
    #[serde(default)]
    pub seed: Option<u64>,
    /// Names and texts of values.
    #[serde(default)]
    pub values: Vec<(String, String)>,
}

/// The name of a machine's port at the switch.
pub(crate) fn port_name(machine: &Machine, interface: &str) -> String {
    format!("{}/{interface}", machine.name)
}

/// Names of the switch's ports of a machine's interface, or of all its interfaces on segments.
fn ports(machine: &Machine, interface: Option<&str>) -> Result<Vec<String>, String> {
    let own = machine.interfaces.iter().map(|own| own.name.as_str());
    let wanted: Vec<String> = own.clone().filter(|name| interface.is_none_or(|wanted| wanted == *name)).map(|name| port_name(machine, name)).collect();
    if wanted.is_empty() {
        let (what, own) = (interface.unwrap_or("any"), own.collect::<Vec<_>>().join(", "));
        return Err(format!("{} has no link `{what}`; there are: {}", machine.name, if own.is_empty() { "none" } else { &own }));
    }
    Ok(wanted)
}

/// Changes the faults of a machine's links, now and for its later starts.
///
/// # Errors
/// No such interface, or a text that is no value; then nothing is changed.
pub fn change(network: &Network, id: MachineId, change: &Change) -> Result<(), String> {
    let mut all = Vec::new();
    for name in ports(network.machine(id), change.interface.as_deref())? {
        let mut faults: LinkFaults = network.switch().faults(&name);
        let directions = [(&mut faults.incoming, Direction::In), (&mut faults.outgoing, Direction::Out)];
        for (of, _) in directions.into_iter().filter(|(_, own)| change.direction == Direction::Both || change.direction == *own) {
            if change.reset {
                *of = Impairment::default();
            }
            for (value, text) in &change.values {
                set(of, value, text)?;
            }
            of.cut = change.cut.unwrap_or(of.cut);
        }
        faults.seed = change.seed.or(faults.seed);
        all.push((name, faults));
    }
    all.into_iter().for_each(|(name, faults)| network.switch().set_faults(&name, faults, change.seed.is_some()));
    Ok(())
}

/// The faults of a machine's link.
///
/// # Errors
/// No such interface.
pub fn faults(network: &Network, id: MachineId, interface: &str) -> Result<LinkFaults, String> {
    let names = ports(network.machine(id), Some(interface))?;
    Ok(names.first().map(|name| network.switch().faults(name)).unwrap_or_default())
}

/// Changes the faults of all links of a segment; of a machine's interfaces only those on it.
///
/// # Errors
/// No such segment, or a text that is no value; then nothing is changed.
pub fn change_segment(network: &Network, segment: u32, change: &Change) -> Result<(), String> {
    tap(network, None, Some(segment))?;
    // Once on nothing, so that a bad value changes no link.
    change.values.iter().try_for_each(|(name, text)| set(&mut Impairment::default(), name, text))?;
    for (id, machine) in network.machines() {
        for own in machine.interfaces.iter().filter(|own| own.segment == segment) {
            self::change(network, id, &Change { interface: Some(own.name.clone()), ..change.clone() })?;
        }
    }
    Ok(())
}

/// Sets the links of a machine up or down, now and for its later starts: a pulled plug.
pub fn set_up(network: &Network, id: MachineId, is_up: bool) {
    let machine = network.machine(id);
    machine.interfaces.iter().for_each(|own| network.switch().set_link(&port_name(machine, &own.name), is_up));
}

/// Lets nothing pass between machines of different groups; machines in no group are not concerned. No groups: all passes again.
///
/// # Errors
/// A word that means no machine, or a machine in two groups; then nothing is changed.
pub fn partition(network: &Network, groups: &[Vec<String>]) -> Result<(), String> {
    let mut named: Vec<Vec<String>> = Vec::new();
    for group in groups {
        let mut own = Vec::new();
        for word in group {
            let id = network.find(word).ok_or_else(|| no_machine(network, word))?;
            let name = network.machine(id).name.clone();
            if named.iter().flatten().any(|known| *known == name) {
                return Err(format!("{name} is in two groups of the partition"));
            }
            own.push(name);
        }
        named.push(own);
    }
    network.switch().partition(&named);
    Ok(())
}

/// Says that a word means no machine of the network, and which there are.
pub(crate) fn no_machine(network: &Network, word: &str) -> String {
    let names: Vec<&str> = network.machines().map(|(_, machine)| machine.name.as_str()).collect();
    format!("no machine `{word}` runs in this network; there are: {}", names.join(", "))
}

/// What a capture of a machine, of a segment or of all means.
///
/// # Errors
/// No such machine or segment.
pub fn tap(network: &Network, machine: Option<&str>, segment: Option<u32>) -> Result<Tap, String> {
    match (machine, segment) {
        (Some(word), _) => {
            let id = network.find(word).ok_or_else(|| no_machine(network, word))?;
            Ok(Tap::Machine(network.machine(id).name.clone()))
        }
        (None, Some(segment)) => {
            let known = segments(network);
            if known.contains(&segment) {
                return Ok(Tap::Segment(segment));
            }
            let known = known.iter().map(u32::to_string).collect::<Vec<_>>().join(", ");
            Err(format!("no segment {segment} in this network; there are: {known}"))
        }
        (None, None) => Ok(Tap::All),
    }
}

/// Numbers of the network's segments.
#[must_use]
pub fn segments(network: &Network) -> Vec<u32> {
    let mut all: Vec<u32> = network.machines().flat_map(|(_, machine)| machine.interfaces.iter().map(|own| own.segment)).collect();
    all.sort_unstable();
    all.dedup();
    all
}

/// Starts a capture into a file, until [`nbv_switch::Switch::end_capture`], the end of the network, or `limit` bytes of frames.
///
/// # Errors
/// The file cannot be written.
pub fn capture(network: &Network, tap: Tap, path: &Path, limit: u64) -> Result<CaptureId, String> {
    let file = std::fs::File::create(path).map_err(|error| format!("cannot write {}: {error}", path.display()))?;
    network.switch().capture(tap, limit, file).map_err(|error| crate::machine::chain(&error))
}

/// Starts captures of every machine and every segment into files of a folder: `machine-NAME.pcapng`, `segment-N.pcapng`.
///
/// # Errors
/// The folder or a file cannot be made.
pub(crate) fn capture_all(network: &Network, dir: &Path, limit: u64) -> Result<(), String> {
    std::fs::create_dir_all(dir).map_err(|error| format!("cannot make {}: {error}", dir.display()))?;
    for (_, machine) in network.machines() {
        capture(network, Tap::Machine(machine.name.clone()), &dir.join(format!("machine-{}.pcapng", machine.name)), limit)?;
    }
    for segment in segments(network) {
        capture(network, Tap::Segment(segment), &dir.join(format!("segment-{segment}.pcapng")), limit)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_with_their_units() {
        let mut it = Impairment::default();
        for (name, text) in [("delay", "1.5s"), ("jitter", "200us"), ("loss", "1%"), ("corrupt", "0.5"), ("rate", "10mbit"), ("mtu", "1400")] {
            set(&mut it, name, text).unwrap();
        }
        let expected = Impairment { delay_us: 1_500_000, jitter_us: 200, loss: 0.01, corrupt: 0.5, rate: 10_000_000, mtu: 1400, ..Impairment::default() };
        assert_eq!(it, expected);
        for (name, text) in [("delay", "5"), ("delay", "-1ms"), ("loss", "150%"), ("rate", "fast"), ("dely", "1ms"), ("delay", "9999h")] {
            assert!(set(&mut it, name, text).is_err(), "{name} {text}");
        }
    }

    #[test]
    fn what_is_said_of_faults_can_be_set_again() {
        let text = "delay 1.5s, jitter 200us, loss 0.25%, duplicate 1%, reorder 50%, corrupt 0.0001%, rate 1.5mbit, queue 20, mtu 1400";
        let mut it = Impairment::default();
        for pair in text.split(", ") {
            let (name, value) = pair.split_once(' ').unwrap();
            set(&mut it, name, value).unwrap();
        }
        assert_eq!(describe(&it), text);
        assert_eq!(describe(&Impairment { delay_us: 62_500, cut: true, ..Impairment::default() }), "delay 62.5ms, cut");
        let both = LinkFaults { incoming: it, outgoing: it, seed: None };
        assert_eq!(describe_both(&both), text);
        let one = LinkFaults { incoming: Impairment { mtu: 9, ..Impairment::default() }, ..LinkFaults::default() };
        assert_eq!((describe_both(&one).as_str(), describe_both(&LinkFaults::default()).as_str()), ("in: mtu 9", ""));
        assert_eq!(["999 bit", "1 kbit", "12.3 mbit", "10 gbit"], [bits(999.0), bits(1000.0), bits(12_345_678.0), bits(1e10)].map(|text| text));
    }
}
