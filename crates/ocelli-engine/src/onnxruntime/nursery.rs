//! Where the threads of sessions are born.
//!
//! A thread inherits the priority of the one that starts it, and an ordinary process may lower a priority but not raise it
//! again. Whoever loads a model in the background, at a low priority, wants that for the loading and not for the threads
//! that compute with the model ever after. So these are started by a thread that keeps the priority of the process.

use std::io;
use std::sync::mpsc::{Sender, SyncSender, channel, sync_channel};
use std::thread::{self, JoinHandle};

use ort::environment::ThreadManager;

/// Starts threads for whoever asks, as long as anybody may.
#[derive(Clone, Debug)]
pub(super) struct Nursery {
    births: Sender<Birth>,
}

struct Birth {
    work: Box<dyn FnOnce() + Send>,
    born: SyncSender<io::Result<JoinHandle<()>>>,
}

impl Nursery {
    /// Starts the thread that starts the others.
    ///
    /// # Errors
    /// When the system gives no more threads.
    pub(super) fn open() -> io::Result<Self> {
        let (births, asked) = channel::<Birth>();
        thread::Builder::new().name("nursery".to_owned()).spawn(move || {
            for Birth { work, born } in asked {
                let name = "infer".to_owned();
                // Whoever asks waits for the answer.
                let _ = born.send(thread::Builder::new().name(name).spawn(work));
            }
        })?;
        Ok(Self { births })
    }

    fn start(&self, work: Box<dyn FnOnce() + Send>) -> io::Result<JoinHandle<()>> {
        let gone = || io::Error::other("the thread that starts others has ended");
        let (born, answer) = sync_channel(1);
        self.births.send(Birth { work, born }).map_err(|_| gone())?;
        answer.recv().unwrap_or_else(|_| Err(gone()))
    }
}

impl ThreadManager for Nursery {
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
    fn threads_are_born_of_another_than_the_one_that_asks() {
        let nursery = Nursery::open().expect("a thread");
        let (sender, names) = channel();
        let work = move || {
            let name = thread::current().name().map(str::to_owned);
            sender.send(name).expect("the test listens");
        };
        let born = nursery.create(work).expect("a thread");
        Nursery::join(born).expect("it ends");
        assert_eq!(names.recv().expect("it ran").as_deref(), Some("infer"));
    }
}
