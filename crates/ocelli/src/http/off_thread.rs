//! Runs work that grows with a request's size on other threads, where it delays no other connection.

use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

use crate::error::Error;

/// Up to this size work runs on the HTTP thread: less than a millisecond, and most photos. Handing over costs a tenth of that.
const INLINE_BYTES: usize = 256 * 1024;

/// Larger pieces of work at once. They take cores from inference.
const AT_ONCE: usize = 2;

/// Cheap to clone.
#[derive(Clone, Debug)]
pub struct OffThread {
    places: Arc<Semaphore>,
}

impl Default for OffThread {
    fn default() -> Self {
        Self {
            places: Arc::new(Semaphore::new(AT_ONCE)),
        }
    }
}

impl OffThread {
    /// Runs `work` on that many bytes: here if they are few, otherwise on another thread in turn. The limit on requests that
    /// are being received also limits the work that waits.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        bytes: usize,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Error> {
        if bytes <= INLINE_BYTES {
            return Ok(work());
        }
        let place = Arc::clone(&self.places).acquire_owned().await;
        // Held until the work has ended, even if the client leaves.
        let task = spawn_blocking(move || {
            let _place = place;
            work()
        });
        task.await.map_err(Error::internal)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;
    use std::thread;

    use super::*;

    #[tokio::test]
    async fn only_large_work_leaves_the_thread() {
        let off_thread = OffThread::default();
        let here = thread::current().id();
        let thread_of = async |bytes| {
            off_thread
                .run(bytes, || thread::current().id())
                .await
                .expect("no panic")
        };
        assert_eq!(thread_of(INLINE_BYTES).await, here);
        assert_ne!(thread_of(INLINE_BYTES + 1).await, here);
        let failed = off_thread.run(usize::MAX, || panic!("on purpose")).await;
        assert!(matches!(failed, Err::<(), _>(Error::Internal(_))));
    }

    #[tokio::test]
    async fn large_work_is_bounded_and_small_work_does_not_wait_for_it() {
        let off_thread = OffThread::default();
        let (started, starts) = channel();
        let mut gates = Vec::new();
        let mut running = Vec::new();
        for index in 0..=AT_ONCE {
            let (gate, opened) = channel::<()>();
            let (off_thread, started) = (off_thread.clone(), started.clone());
            running.push(tokio::spawn(async move {
                let work = move || {
                    started.send(index).expect("the test listens");
                    opened.recv()
                };
                off_thread.run(usize::MAX, work).await
            }));
            gates.push(gate);
        }
        while off_thread.places.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(off_thread.run(1, || 7).await, Ok(7));
        let first: Vec<usize> = (0..AT_ONCE).map(|_| starts.recv().expect("it starts")).collect();
        assert_eq!(first.len(), AT_ONCE);
        tokio::task::yield_now().await;
        assert!(starts.try_recv().is_err(), "the last one waits for its turn");
        drop(gates);
        for run in running {
            assert!(run.await.expect("no panic").is_ok());
        }
        assert_eq!(starts.try_iter().count(), 1);
    }
}
