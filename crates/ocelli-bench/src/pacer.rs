//! Wakes the open loop when its next request is due.
//!
//! Tokio's timers round up to whole milliseconds, and a request that starts 1 ms late is charged 1 ms of
//! latency: a third of what a photo takes. On Linux a kernel timer is polled like a socket instead, which
//! wakes within some tens of microseconds and costs two short system calls a start.

#[cfg(not(target_os = "linux"))]
pub(crate) use coarse::Pacer;
#[cfg(target_os = "linux")]
pub(crate) use fine::Pacer;

#[cfg(target_os = "linux")]
mod fine {
    use std::io;
    use std::os::fd::OwnedFd;
    use std::time::{Duration, Instant};

    use rustix::time::{
        Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
        timerfd_settime,
    };
    use tokio::io::Interest;
    use tokio::io::unix::AsyncFd;

    /// One timer, set anew for each start.
    #[derive(Debug)]
    pub(crate) struct Pacer {
        timer: AsyncFd<OwnedFd>,
        armed_for: Option<Instant>,
    }

    impl Pacer {
        /// Makes the timer. Needs a Tokio runtime with its I/O driver.
        pub(crate) fn new() -> io::Result<Self> {
            let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
            let timer = timerfd_create(TimerfdClockId::Monotonic, flags)?;
            #[expect(
                deprecated,
                reason = "its replacement is unsafe, for types that may close their descriptor early; `OwnedFd` does not"
            )]
            let timer = AsyncFd::with_interest(timer, Interest::READABLE)?;
            Ok(Self {
                timer,
                armed_for: None,
            })
        }

        /// Returns once `due` has come. May be dropped and called again with the same or another instant.
        pub(crate) async fn wait_until(&mut self, due: Instant) -> io::Result<()> {
            if self.armed_for != Some(due) {
                let delay = due.saturating_duration_since(Instant::now());
                if delay.is_zero() {
                    return Ok(());
                }
                self.arm(delay)?;
                self.armed_for = Some(due);
            }
            loop {
                let mut ready = self.timer.readable().await?;
                // The count of expirations is read only to make the timer quiet again.
                let read = ready.try_io(|timer| Ok(rustix::io::read(timer.get_ref(), &mut [0u8; 8])?));
                if let Ok(result) = read {
                    self.armed_for = None;
                    return result.map(|_| ());
                }
            }
        }

        fn arm(&self, delay: Duration) -> io::Result<()> {
            let value = Timespec::try_from(delay).map_err(io::Error::other)?;
            let once = Itimerspec {
                it_interval: Timespec::default(),
                it_value: value,
            };
            timerfd_settime(self.timer.get_ref(), TimerfdTimerFlags::empty(), &once)?;
            Ok(())
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod coarse {
    use std::io;
    use std::time::Instant;

    /// Tokio's own timer: starts may be up to 2 ms late.
    #[derive(Debug)]
    pub(crate) struct Pacer;

    impl Pacer {
        /// Never fails; the signature is that of the kernel timer.
        pub(crate) fn new() -> io::Result<Self> {
            Ok(Self)
        }

        /// Returns once `due` has come. May be dropped and called again with the same or another instant.
        pub(crate) async fn wait_until(&mut self, due: Instant) -> io::Result<()> {
            tokio::time::sleep_until(due.into()).await;
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::Pacer;

    fn block_on<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
            .block_on(future)
    }

    #[test]
    fn never_returns_early() {
        block_on(async {
            let mut pacer = Pacer::new().unwrap();
            let first = Instant::now();
            for n in 1..=20 {
                let due = first + Duration::from_micros(700) * n;
                pacer.wait_until(due).await.unwrap();
                assert!(Instant::now() >= due);
            }
        });
    }

    #[test]
    fn a_past_instant_returns_at_once() {
        block_on(async {
            let mut pacer = Pacer::new().unwrap();
            pacer.wait_until(Instant::now()).await.unwrap();
            let due = Instant::now() + Duration::from_millis(1);
            pacer.wait_until(due).await.unwrap();
            // The timer has fired and would never fire for this instant again.
            pacer.wait_until(due).await.unwrap();
        });
    }

    #[test]
    fn a_dropped_wait_can_be_taken_up_or_replaced() {
        block_on(async {
            let mut pacer = Pacer::new().unwrap();
            let far = Instant::now() + Duration::from_hours(1);
            tokio::select! {
                biased;
                _ = pacer.wait_until(far) => panic!("an hour has not passed"),
                () = std::future::ready(()) => {}
            }
            let near = Instant::now() + Duration::from_millis(2);
            for _ in 0..2 {
                tokio::select! {
                    biased;
                    _ = pacer.wait_until(near) => {}
                    () = std::future::ready(()) => {}
                }
            }
            pacer.wait_until(near).await.unwrap();
            assert!(Instant::now() >= near);
        });
    }
}
