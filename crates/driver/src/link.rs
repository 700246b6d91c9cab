//! Faults of links as people write them: `delay` 50ms, `loss` 1%, `rate` 10mbit, ...
//!
//! Not here: what a fault does to a frame (crate `switch`).

use nbv_switch::{CableFaults, Impairment};

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

/// A change of links.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Change {
    /// One interface; all on segments when absent.
    pub interface: Option<String>,
    /// Which direction.
    pub direction: Direction,
    /// Whether the faults go before the values are set.
    pub reset: bool,
    /// Cut or joined.
    pub cut: Option<bool>,
    /// The seed of the chances.
    pub seed: Option<u64>,
    /// Names and texts of values.
    pub values: Vec<(String, String)>,
}

/// Changes the faults of a machine's links, now and for its later starts.
///
/// # Errors
/// No such interface, or a text that is no value; then nothing is changed.
pub fn change(network: &Network, id: MachineId, change: &Change) -> Result<(), String> {
    let machine = network.machine(id);
    let own: Vec<&str> = machine.interfaces.iter().map(|interface| interface.name.as_str()).collect();
    let wanted: Vec<&str> = own.iter().copied().filter(|name| change.interface.as_deref().is_none_or(|wanted| wanted == *name)).collect();
    if wanted.is_empty() {
        let what = change.interface.as_deref().unwrap_or("any");
        return Err(format!("{} has no link `{what}`; there are: {}", machine.name, own.join(", ")));
    }
    let mut all = Vec::new();
    for interface in wanted {
        let name = format!("{}/{interface}", machine.name);
        let mut faults: CableFaults = network.switch().faults(&name);
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
        faults.seed = change.seed;
        all.push((name, faults));
    }
    all.into_iter().for_each(|(name, faults)| network.switch().set_faults(&name, faults));
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
}
