//! Work that must not be in the way of those who are served: on a thread of its own, at the lowest priority.
//!
//! The thread takes what others leave. Taking a core of the pool instead ([`super::core_budget`]) would keep others waiting for
//! it while it waits for its own turn. It is one thread for the life of the process: the allocator of glibc gives each
//! thread memory of its own, and models that are loaded by one thread after the other leave gaps in more and more of it
//! (240 loads of the built-in model: from 116 to 167 MB, against 63 to 66 MB by one thread).

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Sender, channel};
use std::{io, thread};

use parking_lot::Mutex;
use tokio::sync::oneshot;

type Work = Box<dyn FnOnce() + Send>;

/// Why work in the background came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum BackgroundError {
    /// There is no thread for it.
    #[error("a thread could not be started: {0}; the machine or the process's limits allow no more")]
    Thread(#[from] io::Error),
    #[error("it panicked; the log says where")]
    Panicked,
}

/// The thread in the background, which is started when it is first needed and ends with this value.
#[derive(Debug, Default)]
pub struct Background {
    thread: Mutex<Option<Sender<Work>>>,
}

impl Background {
    /// Does `work` in the background, after what was asked for before. It is done even where the future is dropped.
    ///
    /// # Errors
    /// [`BackgroundError`].
    pub async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, BackgroundError> {
        let (sender, result) = oneshot::channel();
        self.hand_over(Box::new(move || {
            // Nobody may be waiting any more.
            let _ = sender.send(catch_unwind(AssertUnwindSafe(work)));
        }))?;
        match result.await {
            Ok(Ok(result)) => Ok(result),
            Ok(Err(_)) | Err(_) => Err(BackgroundError::Panicked),
        }
    }

    fn hand_over(&self, work: Work) -> Result<(), BackgroundError> {
        let mut thread = self.thread.lock();
        let works = match thread.as_ref() {
            Some(works) => works,
            None => thread.insert(start()?),
        };
        works.send(work).map_err(|_| BackgroundError::Panicked)
    }
}

fn start() -> io::Result<Sender<Work>> {
    let (sender, works) = channel::<Work>();
    thread::Builder::new().name("loader".to_owned()).spawn(move || {
        stand_back();
        for work in works {
            work();
        }
    })?;
    Ok(sender)
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
    async fn work_is_done_by_one_thread_and_a_panic_is_told() {
        let background = Background::default();
        let thread = || thread::current().id();
        let first = background.run(thread).await.expect("it is done");
        let failed: Result<(), BackgroundError> = background.run(|| panic!("scripted")).await;
        assert!(matches!(failed, Err(BackgroundError::Panicked)));
        assert_eq!(background.run(thread).await.expect("it goes on"), first);
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn its_priority_is_its_own() {
        let own = || rustix::process::getpriority_process(None).expect("it has one");
        let before = own();
        let background = Background::default();
        assert_eq!(background.run(own).await.expect("it is done"), 19);
        assert_eq!(own(), before);
    }
}
