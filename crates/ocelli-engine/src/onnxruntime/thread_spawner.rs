//! Starts the threads of sessions.
//!
//! A thread inherits the priority of the one that starts it, and an ordinary process may lower a priority but not raise it
//! again. A model that is loaded in the background, at a low priority, must not compute at that priority later. So a thread
//! with the priority of the process starts the threads of sessions.

use std::io;
use std::sync::mpsc::{Sender, SyncSender, channel, sync_channel};
use std::thread::{self, JoinHandle};

use ort::environment::ThreadManager;

/// Starts threads for others, as long as one of them lives.
#[derive(Clone, Debug)]
pub(super) struct ThreadSpawner {
    requests: Sender<StartRequest>,
}

struct StartRequest {
    work: Box<dyn FnOnce() + Send>,
    started: SyncSender<io::Result<JoinHandle<()>>>,
}

impl ThreadSpawner {
    /// Starts the thread that starts the others.
    pub(super) fn open() -> io::Result<Self> {
        let (requests, received) = channel::<StartRequest>();
        thread::Builder::new()
            .name("thread_spawner".to_owned())
            .spawn(move || {
                for StartRequest { work, started } in received {
                    let name = "infer".to_owned();
                    // The caller waits for the answer.
                    let _ = started.send(thread::Builder::new().name(name).spawn(work));
                }
            })?;
        Ok(Self { requests })
    }

    fn start(&self, work: Box<dyn FnOnce() + Send>) -> io::Result<JoinHandle<()>> {
        let gone = || io::Error::other("the thread that starts others has ended");
        let (started, answer) = sync_channel(1);
        self.requests
            .send(StartRequest { work, started })
            .map_err(|_| gone())?;
        answer.recv().unwrap_or_else(|_| Err(gone()))
    }
}

impl ThreadManager for ThreadSpawner {
    type Thread = JoinHandle<()>;

    fn create(&self, work: impl FnOnce() + Send + 'static) -> ort::Result<Self::Thread> {
        self.start(Box::new(work))
            .map_err(|error| ort::Error::new(format!("a thread could not be started: {error}")))
    }

    fn join(thread: Self::Thread) -> ort::Result<()> {
        // It ran the runtime's own code, which reports what goes wrong in its own way.
        drop(thread.join());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_thread_starts_the_threads() {
        let thread_spawner = ThreadSpawner::open().expect("a thread");
        let (sender, names) = channel();
        let work = move || {
            let name = thread::current().name().map(str::to_owned);
            sender.send(name).expect("the test listens");
        };
        let started = thread_spawner.create(work).expect("a thread");
        ThreadSpawner::join(started).expect("it ends");
        assert_eq!(names.recv().expect("it ran").as_deref(), Some("infer"));
    }
}
