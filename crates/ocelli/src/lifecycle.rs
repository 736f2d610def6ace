//! Starting, serving, draining: what the process is doing, and the signals that change it.

use std::io;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// What the process is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Models are being loaded.
    Starting,
    /// Requests are answered.
    Serving,
    /// Requests are answered, but clients are asked to go elsewhere.
    Draining,
    /// No connection is accepted any more; what is held is finished.
    Closing,
}

/// Tells and hears the stage. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Lifecycle {
    stage: watch::Sender<Stage>,
}

impl Default for Lifecycle {
    fn default() -> Self {
        Self {
            stage: watch::Sender::new(Stage::Starting),
        }
    }
}

impl Lifecycle {
    /// The stage now.
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
}

/// Waits for SIGTERM or SIGINT (Ctrl-C), and names it.
///
/// # Errors
/// When the handlers cannot be installed.
pub async fn stop_signal() -> io::Result<&'static str> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

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
