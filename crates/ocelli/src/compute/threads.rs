//! The threads of a process, from their start to their end.

use std::io;
use std::thread::{self, JoinHandle};

use tokio::task;

use super::pool::{ComputeThread, Pool};

#[derive(Debug, Default)]
pub(crate) struct Threads {
    pools: Vec<Pool>,
    handles: Vec<JoinHandle<()>>,
}

impl Threads {
    /// # Errors
    /// When the system allows no more threads. Those that were started are stopped with the others.
    pub(crate) fn start(&mut self, name: &str, pool: Pool, threads: Vec<ComputeThread>) -> io::Result<()> {
        self.pools.push(pool);
        for (index, work) in threads.into_iter().enumerate() {
            let thread = thread::Builder::new().name(format!("{name}-{index}"));
            self.handles.push(thread.spawn(move || work.run())?);
        }
        Ok(())
    }

    /// Closes every pool and waits for its threads, which first do the work that is there.
    pub(crate) async fn stop(self) {
        let joined = task::spawn_blocking(move || {
            for pool in &self.pools {
                pool.close();
            }
            for handle in self.handles {
                let name = handle.thread().name().unwrap_or_default().to_owned();
                if handle.join().is_err() {
                    tracing::error!(thread = name, "a thread panicked");
                }
            }
        });
        if let Err(error) = joined.await {
            tracing::error!(%error, "cannot wait for the threads");
        }
    }
}
