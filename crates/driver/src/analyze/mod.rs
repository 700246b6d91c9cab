//! What a machine's boot cost: phases before systemd, systemd's own, each unit.
//!
//! The guest is asked by one script over the control channel: systemd's time stamps (`systemctl show` of the manager and of all units,
//! which needs no D-Bus daemon), the kernel's log for the moment of `/init`, and the start of the control program. All times are seconds
//! of the guest's monotonic clock, which begins with the kernel.
//!
//! Not here: how it is drawn ([`chart`]).

mod chart;

use std::collections::{BTreeMap, HashMap};

use serde::Serialize;

pub use chart::svg;

/// What the guest's shell runs. Sections begin with a line `@NAME`.
pub const SCRIPT: &str = "\
echo @manager; systemctl show\n\
echo @target; systemctl show -p Id default.target\n\
echo @units; systemctl show -p Id,InactiveExitTimestampMonotonic,ActiveEnterTimestampMonotonic,CPUUsageNSec,After '*'\n\
echo @control; for dir in /proc/[0-9]*; do read -r word <$dir/comm && [ \"$word\" = nbv-control -o \"$word\" = control ] && { read -r line <$dir/stat; echo \"$line\"; break; }; done\n\
echo @kernel; dmesg 2>/dev/null | grep -F 'Run /init as init process'\n\
true\n";

/// Microseconds in a second.
const MICROS: f64 = 1e6;
/// Clock ticks of `/proc/PID/stat` in a second: the same on all Linux that people use (USER_HZ).
const TICKS: f64 = 100.0;

/// Why a boot cannot be told.
#[derive(Debug, thiserror::Error)]
pub enum AnalyzeError {
    /// systemd has not finished.
    #[error("{machine} has not finished its boot: systemd still starts units; `status` says when it is ready")]
    NotReady {
        /// The machine.
        machine: String,
    },
    /// No time stamps.
    #[error("{machine}: systemd gives no time stamps (`systemctl show` says no UserspaceTimestampMonotonic)")]
    NoStamps {
        /// The machine.
        machine: String,
    },
}

/// A part of the boot, one after the other.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PhaseCost {
    /// What.
    pub name: String,
    /// When it began; negative before the guest's clock.
    pub from: f64,
    /// How long it took.
    pub takes: f64,
}

/// A unit.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct UnitCost {
    /// Its name.
    pub name: String,
    /// When its start began.
    pub from: f64,
    /// How long until it was active.
    pub takes: f64,
    /// Processor time of all its processes until now, where systemd accounts it.
    pub cpu: Option<f64>,
    /// It is on the chain of units that waited for each other up to the end of the boot.
    pub is_critical: bool,
}

/// A boot.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Analysis {
    /// The machine.
    pub machine: String,
    /// Seconds of the guest's clock at which systemd had started everything.
    pub ready: f64,
    /// The parts, in their order.
    pub phases: Vec<PhaseCost>,
    /// Units that were started until then, by their start.
    pub units: Vec<UnitCost>,
    /// Names of the critical chain, the last unit first.
    pub critical_chain: Vec<String>,
}

type Properties<'a> = HashMap<&'a str, &'a str>;

fn properties(text: &str) -> Properties<'_> {
    text.lines().filter_map(|line| line.split_once('=')).collect()
}

/// Seconds of a time stamp; none where it never was.
fn stamp(of: &Properties<'_>, name: &str) -> Option<f64> {
    of.get(name).and_then(|text| text.parse::<u64>().ok()).filter(|micros| *micros > 0).map(|micros| micros as f64 / MICROS)
}

/// Seconds of the clock at a line of the kernel's log: `[    0.912345] ...`.
fn kernel_stamp(line: &str) -> Option<f64> {
    line.trim_start_matches(|c| c != '[').strip_prefix('[')?.split(']').next()?.trim().parse().ok()
}

impl Analysis {
    /// Reads what [`SCRIPT`] printed. `ready_after`: seconds from the start of QEMU to readiness, where the machine booted (and did not
    /// resume).
    ///
    /// # Errors
    /// The machine is not ready, or systemd told nothing.
    pub fn parse(machine: &str, text: &str, ready_after: Option<f64>) -> Result<Self, AnalyzeError> {
        let mut sections: BTreeMap<&str, String> = BTreeMap::new();
        let mut current = "";
        for line in text.lines() {
            match line.strip_prefix('@') {
                Some(name) => current = name,
                None => sections.entry(current).or_default().extend([line, "\n"]),
            }
        }
        let section = |name: &str| sections.get(name).map_or("", String::as_str);
        let manager = properties(section("manager"));
        let userspace = stamp(&manager, "UserspaceTimestampMonotonic").ok_or_else(|| AnalyzeError::NoStamps { machine: machine.into() })?;
        let ready = stamp(&manager, "FinishTimestampMonotonic").ok_or_else(|| AnalyzeError::NotReady { machine: machine.into() })?;

        let mut phases = Vec::new();
        let mut at = 0.0;
        // What QEMU did before the guest's clock ran: its own start, the firmware, unpacking the kernel.
        if let Some(before) = ready_after.map(|seconds| seconds - ready).filter(|seconds| *seconds > 0.0) {
            phases.push(PhaseCost { name: "QEMU, loading the kernel".into(), from: -before, takes: before });
        }
        let control = section("control").rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().nth(19)?.parse::<f64>().ok()).map(|ticks| ticks / TICKS);
        let generators = stamp(&manager, "GeneratorsStartTimestampMonotonic");
        let ends = [
            ("kernel", section("kernel").lines().next().and_then(kernel_stamp)),
            ("/init", control),
            ("activation", Some(userspace)),
            ("systemd itself", generators),
            ("generators", stamp(&manager, "GeneratorsFinishTimestampMonotonic")),
            ("units are read", stamp(&manager, "UnitsLoadFinishTimestampMonotonic")),
            ("units are started", Some(ready)),
        ];
        let mut pending = Vec::new();
        for (name, end) in ends {
            pending.push(name);
            // A part whose end is not known is told with the next one.
            let Some(end) = end.filter(|end| *end >= at) else { continue };
            phases.push(PhaseCost { name: std::mem::take(&mut pending).join(", "), from: at, takes: end - at });
            at = end;
        }

        let blocks: Vec<Properties<'_>> = section("units").split("\n\n").map(properties).collect();
        let mut units = Vec::new();
        let mut after: HashMap<&str, (f64, Vec<&str>)> = HashMap::new();
        for block in &blocks {
            let (Some(id), Some(end)) = (block.get("Id"), stamp(block, "ActiveEnterTimestampMonotonic")) else { continue };
            // A slice does nothing itself; its processor time is that of its units.
            if id.ends_with(".slice") {
                continue;
            }
            // Up to a tenth later: units that finish the boot are active a moment after it.
            if end > ready + 0.1 {
                continue;
            }
            let from = stamp(block, "InactiveExitTimestampMonotonic").filter(|from| *from <= end).unwrap_or(end);
            let cpu = block.get("CPUUsageNSec").and_then(|text| text.parse::<u64>().ok()).filter(|nanos| *nanos < u64::MAX).map(|nanos| nanos as f64 / 1e9);
            after.insert(id, (end, block.get("After").map(|list| list.split(' ').collect()).unwrap_or_default()));
            units.push(UnitCost { name: (*id).to_owned(), from, takes: end - from, cpu, is_critical: false });
        }
        units.sort_by(|a, b| a.from.total_cmp(&b.from).then_with(|| a.name.cmp(&b.name)));

        let target = properties(section("target"));
        let mut critical_chain: Vec<String> = Vec::new();
        let mut next = target.get("Id").copied().filter(|id| after.contains_key(id));
        while let Some(id) = next {
            critical_chain.push(id.to_owned());
            let Some((end, before)) = after.get(id) else { break };
            let from = units.iter().find(|unit| unit.name == id).map_or(*end, |unit| unit.from);
            // The one that was waited for: of those before it the last that became active.
            next = before
                .iter()
                .filter_map(|name| Some((*name, after.get(name)?.0)))
                .filter(|(name, end)| *end <= from + 0.001 && !critical_chain.iter().any(|seen| seen == name))
                .max_by(|a, b| a.1.total_cmp(&b.1))
                .map(|(name, _)| name);
        }
        for unit in &mut units {
            unit.is_critical = critical_chain.contains(&unit.name);
        }
        Ok(Self { machine: machine.to_owned(), ready, phases, units, critical_chain })
    }

    /// Units that are worth a line: what took time, and what is on the critical chain.
    fn worth(&self) -> impl Iterator<Item = &UnitCost> {
        self.units.iter().filter(|unit| unit.takes >= 0.001 || unit.is_critical || unit.cpu.is_some_and(|cpu| cpu >= 0.001))
    }

    /// Tables for people: the phases, then the units, the dearest first.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut text = format!("{}: ready {:.2} s after its kernel began\n\nSECONDS FROM   TAKES  PART OF THE BOOT\n", self.machine, self.ready);
        for phase in &self.phases {
            text.push_str(&format!("{:>12.3}  {:>6.3}  {}\n", phase.from, phase.takes, phase.name));
        }
        let mut units: Vec<&UnitCost> = self.worth().collect();
        units.sort_by(|a, b| b.takes.total_cmp(&a.takes).then_with(|| a.name.cmp(&b.name)));
        text.push_str("\nSECONDS FROM   TAKES     CPU  UNIT (* on the critical chain)\n");
        for unit in units {
            let cpu = unit.cpu.map_or_else(|| "-".to_owned(), |cpu| format!("{cpu:.3}"));
            let mark = if unit.is_critical { '*' } else { ' ' };
            text.push_str(&format!("{:>12.3}  {:>6.3}  {cpu:>6}  {mark} {}\n", unit.from, unit.takes, unit.name));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) const SAID: &str = "\
@manager\nUserspaceTimestampMonotonic=1300000\nFinishTimestampMonotonic=4000000\nGeneratorsStartTimestampMonotonic=1500000\n\
GeneratorsFinishTimestampMonotonic=1600000\nUnitsLoadFinishTimestampMonotonic=1800000\n@target\nId=multi-user.target\n\
@units\nId=sshd.service\nCPUUsageNSec=250000000\nInactiveExitTimestampMonotonic=3000000\nActiveEnterTimestampMonotonic=3500000\nAfter=journald.service network.target\n\n\
Id=journald.service\nCPUUsageNSec=[not set]\nInactiveExitTimestampMonotonic=1900000\nActiveEnterTimestampMonotonic=2900000\nAfter=-.slice\n\n\
Id=network.target\nInactiveExitTimestampMonotonic=2000000\nActiveEnterTimestampMonotonic=2000000\nAfter=\n\n\
Id=multi-user.target\nInactiveExitTimestampMonotonic=3990000\nActiveEnterTimestampMonotonic=3990000\nAfter=sshd.service journald.service\n\n\
Id=never.service\nInactiveExitTimestampMonotonic=0\nActiveEnterTimestampMonotonic=0\nAfter=\n\n\
Id=later.service\nInactiveExitTimestampMonotonic=9000000\nActiveEnterTimestampMonotonic=9500000\nAfter=\n\
@control\n57 (a) b) S 1 57 57 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 120 1 1\n@kernel\n[    0.912345] Run /init as init process\n";

    #[test]
    fn phases_follow_each_other_without_a_gap() {
        let it = Analysis::parse("a", SAID, Some(4.6)).unwrap();
        let phases: Vec<(&str, i64)> = it.phases.iter().map(|phase| (phase.name.as_str(), (phase.takes * 1000.0).round() as i64)).collect();
        let expected = [
            ("QEMU, loading the kernel", 600), ("kernel", 912), ("/init", 288), ("activation", 100), ("systemd itself", 200), ("generators", 100),
            ("units are read", 200), ("units are started", 2200),
        ];
        assert_eq!(phases, expected);
        assert!(it.phases.windows(2).skip(1).all(|pair| (pair[0].from + pair[0].takes - pair[1].from).abs() < 1e-6));
        // What is not known is told with what follows.
        let less = Analysis::parse("a", &SAID.replace("[    0.912345]", "").replace(" 120 1 1\n", "\n"), None).unwrap();
        assert_eq!((less.phases[0].name.as_str(), less.phases[0].takes), ("kernel, /init, activation", 1.3));
    }

    #[test]
    fn the_critical_chain_is_what_was_waited_for() {
        let it = Analysis::parse("a", SAID, None).unwrap();
        assert_eq!(it.critical_chain, ["multi-user.target", "sshd.service", "journald.service"]);
        let names: Vec<&str> = it.units.iter().map(|unit| unit.name.as_str()).collect();
        assert_eq!(names, ["journald.service", "network.target", "sshd.service", "multi-user.target"]);
        assert_eq!((it.units[2].cpu, it.units[0].cpu), (Some(0.25), None));
        let text = it.to_text();
        assert!(text.contains("       1.900   1.000       -  * journald.service\n       3.000   0.500   0.250  * sshd.service\n"), "{text}");
        assert!(!text.contains("network.target"), "what costs nothing is left out: {text}");
    }

    #[test]
    fn a_machine_that_is_not_ready_says_so() {
        let text = SAID.replace("FinishTimestampMonotonic=4000000", "FinishTimestampMonotonic=0");
        assert!(Analysis::parse("a", &text, None).unwrap_err().to_string().contains("has not finished"));
        assert!(Analysis::parse("a", "", None).unwrap_err().to_string().contains("no time stamps"));
    }
}
