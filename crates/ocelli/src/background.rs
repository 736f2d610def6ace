//! Work that must not be in the way of those who are served: on a thread of its own, at the lowest priority.
//!
//! The thread takes what others leave. Taking a core of the pool instead ([`crate::cores`]) would keep others waiting for
//! it while it waits for its own turn.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;

use tokio::sync::oneshot;

/// Why work in the background came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum BackgroundError {
    /// There is no thread for it.
    #[error("a thread could not be started: {0}; the machine or the process's limits allow no more")]
    Thread(#[from] io::Error),
    /// It panicked.
    #[error("it panicked; the log says where")]
    Panicked,
}

/// Does `work` in the background. It goes on where the future is dropped.
///
/// # Errors
/// [`BackgroundError`].
pub async fn run<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, BackgroundError> {
    let (sender, result) = oneshot::channel();
    thread::Builder::new().name("loader".to_owned()).spawn(move || {
        stand_back();
        // Nobody may be waiting any more.
        let _ = sender.send(catch_unwind(AssertUnwindSafe(work)));
    })?;
    match result.await {
        Ok(Ok(result)) => Ok(result),
        Ok(Err(_)) | Err(_) => Err(BackgroundError::Panicked),
    }
}

/// Lowers this thread's priority, for good: an ordinary process may not raise it again.
fn stand_back() {
    /// The lowest priority there is.
    const LEAST: i32 = 19;
    // Elsewhere a priority is the whole process's.
    if cfg!(target_os = "linux")
        && let Err(error) = rustix::process::nice(LEAST)
    {
        tracing::debug!(%error, "the priority of a thread could not be lowered");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn work_is_done_and_a_panic_is_told() {
        assert_eq!(run(|| 7).await.expect("it is done"), 7);
        let failed: Result<(), BackgroundError> = run(|| panic!("scripted")).await;
        assert!(matches!(failed, Err(BackgroundError::Panicked)));
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn its_priority_is_its_own() {
        let own = || rustix::process::getpriority_process(None).expect("it has one");
        let before = own();
        assert_eq!(run(own).await.expect("it is done"), 19);
        assert_eq!(own(), before);
    }
}
