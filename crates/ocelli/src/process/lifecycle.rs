//! Starting, serving, draining: what the process is doing, and the signals that change it.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

/// What the process is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    Starting,
    Serving,
    /// Requests are answered, but clients are asked to go elsewhere.
    Draining,
    /// No connection is accepted any more; what is held is finished.
    Closing,
    /// Connections that are still open are closed.
    Closed,
}

/// Tells and hears the stage, and counts the requests that have no response yet. Cheap to clone.
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

    /// Moves on; a stage that has passed does not come back.
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

    /// Counts a request until the returned value is dropped: when its response is ready, or its client has gone.
    #[must_use]
    pub fn request(&self) -> Unanswered {
        self.unanswered.fetch_add(1, Ordering::Relaxed);
        Unanswered(Arc::clone(&self.unanswered))
    }

    /// Requests that have no response yet.
    #[must_use]
    pub fn unanswered(&self) -> usize {
        self.unanswered.load(Ordering::Relaxed)
    }
}

/// A request without a response.
#[derive(Debug)]
pub struct Unanswered(Arc<AtomicUsize>);

impl Drop for Unanswered {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A later signal is taken for another request to stop only this long after the first. `timeout`, shells and supervisors
/// signal a process and its group, so one request often arrives as several signals within milliseconds.
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

    /// Waits for the next signal, and names it.
    pub async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }

    /// Waits for a second request to stop, and names its signal.
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

/// Whether a signal that comes `after` the first one is another request to stop.
fn is_second_request(after: Duration) -> bool {
    after >= REPEAT
}

/// Sees to it that a write beyond the limit of a file's size (`ulimit -f`) fails as on a full disk. The system would end
/// the process instead, without a word of what it was doing (SIGXFSZ).
///
/// A handler that does nothing, for ignoring a signal would need code that the compiler does not check. Tokio leaves it
/// there for the life of the process.
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
    fn a_signal_that_follows_at_once_is_the_same_request() {
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
