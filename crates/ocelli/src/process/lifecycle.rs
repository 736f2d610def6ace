//! The stages of a process (starting, serving, draining) and the signals that change them.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    Starting,
    Serving,
    /// Requests are answered, but /readyz sends clients elsewhere.
    Draining,
    /// No new connections are accepted; accepted requests are finished.
    Closing,
    /// Remaining connections are closed.
    Closed,
}

/// Publishes the stage, and counts the requests that have no response yet. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Lifecycle {
    stage: watch::Sender<Stage>,
    unanswered: Arc<AtomicUsize>,
}

impl Default for Lifecycle {
    fn default() -> Self {
        Self {
            stage: watch::Sender::new(Stage::Starting),
            unanswered: Arc::default(),
        }
    }
}

impl Lifecycle {
    #[must_use]
    pub fn stage(&self) -> Stage {
        *self.stage.borrow()
    }

    /// Advances to a later stage; an earlier one is ignored.
    pub fn advance(&self, to: Stage) {
        self.stage.send_if_modified(|stage| {
            let forward = *stage < to;
            if forward {
                *stage = to;
            }
            forward
        });
    }

    /// Waits until `stage` is reached.
    pub async fn reached(&self, stage: Stage) {
        // The sender is in `self`, so the channel stays open while this waits.
        let _ = self.stage.subscribe().wait_for(|now| *now >= stage).await;
    }

    /// Counts a request until the returned value is dropped, when its response is ready or its client has disconnected.
    #[must_use]
    pub fn request(&self) -> Unanswered {
        self.unanswered.fetch_add(1, Ordering::Relaxed);
        Unanswered(Arc::clone(&self.unanswered))
    }

    #[must_use]
    pub fn unanswered(&self) -> usize {
        self.unanswered.load(Ordering::Relaxed)
    }
}

#[derive(Debug)]
pub struct Unanswered(Arc<AtomicUsize>);

impl Drop for Unanswered {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A signal counts as a second request to stop only this long after the first. `timeout`, shells and supervisors signal a
/// process and its group, so one request often arrives as several signals within milliseconds.
const REPEAT: Duration = Duration::from_secs(1);

/// SIGTERM and SIGINT (Ctrl-C), which stop the process.
#[derive(Debug)]
pub struct StopSignals {
    terminate: Signal,
    interrupt: Signal,
}

impl StopSignals {
    /// Receives every signal from now on.
    ///
    /// # Errors
    /// When the handlers cannot be installed.
    pub fn begin() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// Waits for the next signal and returns its name.
    pub async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }

    /// Waits for a second request to stop and returns its signal's name.
    pub async fn second_request(&mut self) -> &'static str {
        self.next().await;
        let first = Instant::now();
        loop {
            let signal = self.next().await;
            if is_second_request(first.elapsed()) {
                return signal;
            }
        }
    }
}

/// Whether a signal that arrives `after` the first is a second request to stop.
fn is_second_request(after: Duration) -> bool {
    after >= REPEAT
}

/// Makes a write beyond the limit of file sizes (`ulimit -f`) fail as on a full disk. Otherwise the system would end the
/// process without a message (SIGXFSZ).
///
/// Installs a handler that does nothing, because ignoring a signal needs unsafe code. Tokio keeps it for the life of the
/// process.
///
/// # Errors
/// When the handler cannot be installed.
pub fn outlive_file_limit() -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()?;
    let _inside = runtime.enter();
    signal(SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw())).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_within_a_second_is_the_same_request() {
        assert!(!is_second_request(Duration::ZERO));
        assert!(!is_second_request(Duration::from_millis(999)));
        assert!(is_second_request(REPEAT));
    }

    #[tokio::test]
    async fn stages_only_move_forward() {
        let lifecycle = Lifecycle::default();
        let waiting = lifecycle.clone();
        let reached = tokio::spawn(async move { waiting.reached(Stage::Draining).await });
        lifecycle.advance(Stage::Serving);
        lifecycle.advance(Stage::Closing);
        lifecycle.advance(Stage::Draining);
        assert_eq!(lifecycle.stage(), Stage::Closing);
        reached.await.expect("a later stage counts as reached");
    }
}
