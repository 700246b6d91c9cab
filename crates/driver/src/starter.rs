//! Who starts when: more machines than processors boot some at a time, so that each boots as fast as it would alone.
//!
//! The next is started when one is ready, or needs its processor no more (it waits for another machine, say, that is not started yet).
//!
//! Not here: machines that come back from a saved state; they start at once, and wait for each other ([`crate::together`]).

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::event::{MachineId, Phase};
use crate::machine::StartError;
use crate::network::{Network, Reboots};

/// How often is looked.
const LOOK: Duration = Duration::from_millis(100);
/// Over how long the use of a processor is measured.
const SPAN: Duration = Duration::from_secs(2);
/// A machine that uses less of a processor than this waits for something.
const IDLE: f64 = 0.25;
/// Of `utime` and `stime` in /proc/PID/stat; fixed by the kernel's interface to programs.
const TICKS_PER_SECOND: f64 = 100.0;

/// The start of a network under way.
#[derive(Clone, Default)]
pub(crate) struct Starter {
    is_over: Arc<AtomicBool>,
}

impl Starter {
    /// Starts machines in their order, at most `at_once` of them busy booting. `on_failure` hears of the one that could not be started;
    /// no other is started then.
    ///
    /// # Errors
    /// No threads left.
    pub(crate) fn start(network: &Network, machines: Vec<MachineId>, at_once: usize, on_failure: impl FnOnce(Arc<StartError>) + Send + 'static) -> std::io::Result<Self> {
        let starter = Self::default();
        let (own, network) = (starter.clone(), network.clone());
        std::thread::Builder::new().name("starter".into()).spawn(move || {
            let result = own.run(&network, &machines, at_once.max(1));
            if let Err(error) = result {
                on_failure(error);
            }
            own.is_over.store(true, Ordering::SeqCst);
        })?;
        Ok(starter)
    }

    /// Starts no more.
    pub(crate) fn stop(&self) {
        self.is_over.store(true, Ordering::SeqCst);
    }

    /// Whether all that were to be started are.
    pub(crate) fn is_over(&self) -> bool {
        self.is_over.load(Ordering::SeqCst)
    }

    fn run(&self, network: &Network, machines: &[MachineId], at_once: usize) -> Result<(), Arc<StartError>> {
        let mut uses = HashMap::new();
        for (index, id) in machines.iter().enumerate() {
            while index >= at_once && busy(network, &machines[..index], &mut uses) >= at_once {
                if self.is_over() {
                    return Ok(());
                }
                std::thread::sleep(LOOK);
            }
            if self.is_over() {
                return Ok(());
            }
            network.start(*id, Reboots::Allowed)?;
            if self.is_over() {
                // Stopped meanwhile, and this one may not have been there to hear it.
                network.stop(*id);
            }
        }
        Ok(())
    }
}

/// When a process had used so much of a processor, seconds.
type Use = (Instant, f64, bool);

/// How many machines boot and are not idle.
fn busy(network: &Network, machines: &[MachineId], uses: &mut HashMap<i32, Use>) -> usize {
    let is_busy = |id: &&MachineId| {
        let view = network.view(**id);
        let (Phase::Starting | Phase::Booting, Some(pid)) = (view.phase, view.pid) else { return false };
        let (now, used) = (Instant::now(), processor_time(pid).unwrap_or(0.0));
        let (since, before, was_busy) = *uses.entry(pid).or_insert((now, used, true));
        let span = now.saturating_duration_since(since);
        if span < SPAN {
            return was_busy;
        }
        let is_busy = used - before >= IDLE * span.as_secs_f64();
        uses.insert(pid, (now, used, is_busy));
        is_busy
    };
    machines.iter().filter(is_busy).count()
}

/// Seconds of processor time that a process has used.
pub(crate) fn processor_time(pid: i32) -> Option<f64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold anything.
    let mut fields = text.rsplit_once(')')?.1.split_whitespace().skip(11);
    let ticks = fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?;
    Some(ticks as f64 / TICKS_PER_SECOND)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_used_some_time() {
        let pid = i32::try_from(std::process::id()).unwrap();
        let before = processor_time(pid).unwrap();
        let end = Instant::now() + Duration::from_secs(5);
        while processor_time(pid).unwrap() < before + 0.05 && Instant::now() < end {}
        assert!(processor_time(pid).unwrap() > before);
        assert_eq!(processor_time(-1), None);
    }
}
