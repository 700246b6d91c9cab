//! What the machines' processes use, from /proc of the host.

use std::time::Instant;

/// What one process used.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Sample {
    /// Per cent of one processor since the sample before; none at the first.
    pub cpu: Option<f64>,
    /// Memory of the host, MiB.
    pub memory_mib: u64,
}

/// Reads processes again and again.
#[derive(Default)]
pub(crate) struct Sampler {
    before: Vec<Option<(i32, u64, Instant)>>,
}

impl Sampler {
    /// What each process uses now; none for those that are not there.
    pub(crate) fn take(&mut self, pids: &[Option<i32>]) -> Vec<Option<Sample>> {
        self.before.resize(pids.len(), None);
        let ticks_per_second = rustix::param::clock_ticks_per_second() as f64;
        let mib = |pages: u64| pages * rustix::param::page_size() as u64 >> 20;
        let mut samples = Vec::new();
        for (pid, before) in pids.iter().zip(&mut self.before) {
            let now = Instant::now();
            let read = pid.and_then(|pid| {
                let (ticks, pages) = parse(&std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)?;
                Some((pid, ticks, pages))
            });
            let Some((pid, ticks, pages)) = read else {
                *before = None;
                samples.push(None);
                continue;
            };
            let cpu = before.filter(|then| then.0 == pid).map(|(_, then, at)| {
                let seconds = now.duration_since(at).as_secs_f64().max(0.001);
                ticks.saturating_sub(then) as f64 / ticks_per_second / seconds * 100.0
            });
            *before = Some((pid, ticks, now));
            samples.push(Some(Sample { cpu, memory_mib: mib(pages) }));
        }
        samples
    }
}

/// Clock ticks used (user and system) and resident pages of a line of `/proc/PID/stat` (proc(5)).
fn parse(line: &str) -> Option<(u64, u64)> {
    // The name may hold anything, but nothing after it holds a parenthesis.
    let fields: Vec<&str> = line.rsplit_once(')')?.1.split_whitespace().collect();
    let number = |field: usize| fields.get(field - 3).and_then(|text| text.parse::<u64>().ok());
    Some((number(14)? + number(15)?, number(24)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_stat_is_read_whatever_the_name() {
        let line = "12 (a) b (c)) S 1 12 12 0 -1 4194560 1 0 0 0 150 50 0 0 20 0 4 0 100 9999 777 18446744073709551615 1";
        assert_eq!(parse(line), Some((200, 777)));
        assert_eq!(parse("12 (x"), None);
    }

    #[test]
    fn our_own_use_is_seen() {
        let pid = i32::try_from(std::process::id()).unwrap();
        let mut sampler = Sampler::default();
        let first = sampler.take(&[Some(pid), None])[0].unwrap();
        assert!(first.cpu.is_none() && first.memory_mib > 0);
        let end = Instant::now() + std::time::Duration::from_millis(120);
        while Instant::now() < end {}
        assert!(sampler.take(&[Some(pid), None])[0].unwrap().cpu.unwrap() > 5.0);
    }
}
