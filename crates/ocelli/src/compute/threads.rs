//! The threads of a role, from their start until they have ended.

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
    /// Starts a thread for each of a pool's members.
    ///
    /// # Errors
    /// When the system gives no more threads. Those started are stopped with the others.
    pub(crate) fn start(&mut self, name: &str, pool: Pool, members: Vec<ComputeThread>) -> io::Result<()> {
        self.pools.push(pool);
        for (index, member) in members.into_iter().enumerate() {
            let thread = thread::Builder::new().name(format!("{name}-{index}"));
            self.handles.push(thread.spawn(move || member.run())?);
        }
        Ok(())
    }

    /// Closes every pool and waits until its threads have ended. Work that is there is done first.
    pub(crate) async fn stop(self) {
        let joined = task::spawn_blocking(move || {
            for pool in &self.pools {
                pool.close();
            }
            for handle in self.handles {
                let name = handle.thread().name().unwrap_or_default().to_owned();
                if handle.join().is_err() {
                    tracing::error!(thread = name, "a thread ended badly");
                }
            }
        });
        if let Err(error) = joined.await {
            tracing::error!(%error, "the threads could not be waited for");
        }
    }
}
