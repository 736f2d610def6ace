//! How much processor time this process takes. A generator that takes a large share of the machine takes
//! it from the server under test.

use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

#[derive(Debug)]
pub(crate) struct CpuMeter {
    cpu: Duration,
    wall: Instant,
}

/// Processor time of all threads of this process over a stretch of wall time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct CpuUse {
    pub(crate) cpu: Duration,
    pub(crate) wall: Duration,
    pub(crate) cores: usize,
}

impl CpuMeter {
    pub(crate) fn start() -> Self {
        Self {
            cpu: process_cpu_time(),
            wall: Instant::now(),
        }
    }

    pub(crate) fn read(&self) -> CpuUse {
        let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let cpu = process_cpu_time().saturating_sub(self.cpu);
        CpuUse {
            cpu,
            wall: self.wall.elapsed(),
            cores,
        }
    }
}

impl CpuUse {
    /// The share of one core, 0 for an empty stretch. Above 1 when several threads worked.
    pub(crate) fn share_of_one_core(self) -> f64 {
        if self.wall.is_zero() {
            0.0
        } else {
            self.cpu.as_secs_f64() / self.wall.as_secs_f64()
        }
    }

    /// The share of all cores that this process may use, from 0 to 1.
    pub(crate) fn share_of_machine(self) -> f64 {
        self.share_of_one_core() / self.cores as f64
    }
}

/// User and system time since the process began, in nanoseconds of resolution where `/proc/self/stat` has
/// ticks of 10 ms.
fn process_cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    // Both parts are nonnegative: the clock starts at zero.
    Duration::new(
        time.tv_sec.unsigned_abs(),
        u32::try_from(time.tv_nsec).unwrap_or(0),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_of_one_core_and_of_all() {
        let used = CpuUse {
            cpu: Duration::from_millis(300),
            wall: Duration::from_secs(1),
            cores: 4,
        };
        assert!((used.share_of_one_core() - 0.3).abs() < 1e-9);
        assert!((used.share_of_machine() - 0.075).abs() < 1e-9);
    }

    #[test]
    fn an_empty_stretch_has_no_share() {
        let used = CpuUse {
            cpu: Duration::ZERO,
            wall: Duration::ZERO,
            cores: 2,
        };
        assert!(used.share_of_one_core().abs() < f64::EPSILON);
    }

    #[test]
    fn work_shows() {
        let meter = CpuMeter::start();
        let sum = (0..2_000_000u64).fold(0u64, |sum, n| std::hint::black_box(sum.wrapping_mul(31) + n));
        std::hint::black_box(sum);
        assert!(meter.read().cpu > Duration::ZERO);
    }
}
