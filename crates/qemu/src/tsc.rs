//! The rate of this host's time stamp counter.

/// The counter's rate in kHz, measured once over 20 ms; `None` where the processor has none.
#[cfg(target_arch = "x86_64")]
#[must_use]
pub fn khz() -> Option<u64> {
    use rustix::time::{ClockId, clock_gettime};
    use std::sync::OnceLock;
    static KHZ: OnceLock<u64> = OnceLock::new();

    /// Counter and raw clock (ns), read together: of a few tries the one with the least between.
    fn read() -> (u64, u64) {
        let now = || {
            let time = clock_gettime(ClockId::MonotonicRaw);
            u64::try_from(time.tv_sec).unwrap_or(0) * 1_000_000_000 + u64::try_from(time.tv_nsec).unwrap_or(0)
        };
        let mut best = (u64::MAX, 0, 0);
        for _ in 0..5 {
            let before = now();
            // SAFETY: every x86_64 processor has this instruction and it touches no memory.
            let counter = unsafe { core::arch::x86_64::_rdtsc() };
            let after = now();
            if after - before < best.0 {
                best = (after - before, counter, before + (after - before) / 2);
            }
        }
        (best.1, best.2)
    }
    Some(*KHZ.get_or_init(|| {
        let start = read();
        std::thread::sleep(std::time::Duration::from_millis(20));
        let end = read();
        let (ticks, nanos) = (end.0.wrapping_sub(start.0), (end.1 - start.1).max(1));
        u64::try_from(u128::from(ticks) * 1_000_000 / u128::from(nanos)).unwrap_or(0)
    }))
}

/// The counter's rate in kHz; this processor has none that QEMU shows to a guest.
#[cfg(not(target_arch = "x86_64"))]
#[must_use]
pub fn khz() -> Option<u64> {
    None
}

#[cfg(test)]
#[cfg(target_arch = "x86_64")]
mod tests {
    #[test]
    fn the_rate_is_that_of_a_processor() {
        let khz = super::khz().unwrap();
        assert!((500_000..10_000_000).contains(&khz), "{khz}");
    }
}
