//! Loads models beside requests: on one thread, at the lowest priority.
//!
//! It takes no core from the budget ([`super::core_budget`]): with its low priority it would keep requests waiting for that
//! core. It is one thread for the life of the process, because glibc gives each thread memory of its own, and loading by many
//! threads leaves gaps in all of them (240 loads of the built-in model: from 116 to 167 MB, against 63 to 66 MB by one thread).

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Sender, channel};
use std::{io, thread};

use parking_lot::Mutex;
use tokio::sync::oneshot;

type Work = Box<dyn FnOnce() + Send>;

#[derive(Debug, thiserror::Error)]
pub enum BackgroundError {
    #[error("cannot start a thread: {0}; raise the limits of the process or the machine")]
    Thread(#[from] io::Error),
    #[error("it panicked; see the log")]
    Panicked,
}

/// The thread, which is started when it is first needed and ends with this value.
#[derive(Debug, Default)]
pub struct Background {
    thread: Mutex<Option<Sender<Work>>>,
}

impl Background {
    /// Runs `work` after all that was given before, even if the future is dropped.
    pub async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, BackgroundError> {
        let (sender, result) = oneshot::channel();
        self.hand_over(Box::new(move || {
            // The caller may have dropped its future.
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
        lower_priority();
        for work in works {
            work();
        }
    })?;
    Ok(sender)
}

/// For good: without privileges a thread cannot raise its priority again.
fn lower_priority() {
    const LOWEST: i32 = 19;
    // On other systems a priority belongs to the whole process.
    if cfg!(target_os = "linux")
        && let Err(error) = rustix::process::nice(LOWEST)
    {
        tracing::debug!(%error, "cannot lower the priority of a thread");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn work_is_done_by_one_thread_and_a_panic_is_an_error() {
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
