//! Jobs that this worker has taken from Redis and not answered yet.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::{Notify, mpsc};

use crate::models::priority::Priority;
use crate::queue::job::{JobId, Reply};
use crate::queue::redis::address::{EntryAddress, ReplyTo};

/// A job's lease. Completing it sends the reply; dropping it lets the lease run out.
#[derive(Debug)]
pub struct Lease {
    task: Option<LeasedEntry>,
    lost: Arc<AtomicBool>,
    done: mpsc::UnboundedSender<Done>,
}

/// What answering and deleting a job takes.
#[derive(Clone, Debug)]
pub(crate) struct LeasedEntry {
    pub(crate) id: JobId,
    pub(crate) place: EntryAddress,
    pub(crate) reply_to: ReplyTo,
    /// After it, the reply is dropped.
    pub(crate) deadline: Instant,
}

#[derive(Debug)]
pub(crate) enum Done {
    Completed(LeasedEntry, Reply),
    GivenUp(EntryAddress),
}

/// All leases of this worker.
#[derive(Debug)]
pub(crate) struct Leases {
    held: Mutex<HashMap<EntryAddress, HeldLeases>>,
    /// Notified when a lease ends.
    ended: Notify,
    done: mpsc::UnboundedSender<Done>,
}

#[derive(Debug)]
struct HeldLeases {
    lost: Arc<AtomicBool>,
    deadline: Instant,
    /// Set aside until all other jobs are done.
    aside: bool,
}

impl Lease {
    /// Whether another worker has the job now.
    pub fn is_lost(&self) -> bool {
        self.lost.load(Ordering::Acquire)
    }

    pub(crate) fn place(&self) -> Option<&EntryAddress> {
        self.task.as_ref().map(|task| &task.place)
    }

    pub fn complete(mut self, reply: Reply) {
        if let Some(task) = self.task.take() {
            // Without a receiver the worker has ended, and the lease runs out.
            let _ = self.done.send(Done::Completed(task, reply));
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(task) = self.task.take() {
            let _ = self.done.send(Done::GivenUp(task.place));
        }
    }
}

impl Leases {
    pub(crate) fn new() -> (Self, mpsc::UnboundedReceiver<Done>) {
        // Bounded by the leases that there may be.
        let (done, ended) = mpsc::unbounded_channel();
        let leases = Self {
            held: Mutex::default(),
            ended: Notify::new(),
            done,
        };
        (leases, ended)
    }

    pub(crate) fn take(&self, task: LeasedEntry) -> Lease {
        let lost = Arc::new(AtomicBool::new(false));
        let held = HeldLeases {
            lost: Arc::clone(&lost),
            deadline: task.deadline,
            aside: false,
        };
        self.held.lock().insert(task.place.clone(), held);
        Lease {
            task: Some(task),
            lost,
            done: self.done.clone(),
        }
    }

    pub(crate) fn end(&self, place: &EntryAddress) {
        self.held.lock().remove(place);
        self.ended.notify_waiters();
    }

    /// Notes that another worker has the job, so that it is not computed here. False if it has ended or was lost before.
    pub(crate) fn lose(&self, place: &EntryAddress) -> bool {
        let held = self.held.lock();
        held.get(place)
            .is_some_and(|held| !held.lost.swap(true, Ordering::AcqRel))
    }

    /// Sets a job aside until all others are done, or ends that.
    pub(crate) fn set_aside(&self, place: &EntryAddress, aside: bool) {
        if let Some(held) = self.held.lock().get_mut(place) {
            held.aside = aside;
        }
    }

    /// The leases to renew: not those that a hanging engine holds long after their deadlines.
    pub(crate) fn places(&self, now: Instant) -> Vec<EntryAddress> {
        const GRACE: Duration = Duration::from_secs(10);
        let held = self.held.lock();
        let renewed = held.iter().filter(|(_, held)| now < held.deadline + GRACE);
        renewed.map(|(place, _)| place.clone()).collect()
    }

    pub(crate) fn holds(&self, priority: Priority, entry: &str) -> bool {
        let entry = entry.to_owned();
        self.held.lock().contains_key(&EntryAddress { priority, entry })
    }

    pub(crate) fn len(&self) -> usize {
        self.held.lock().len()
    }

    /// Waits until there are none but those set aside.
    pub(crate) async fn idle(&self) {
        self.until(|held| held.values().all(|held| held.aside)).await;
    }

    /// Waits until there are none.
    pub(crate) async fn none_left(&self) {
        self.until(HashMap::is_empty).await;
    }

    async fn until(&self, holds: impl Fn(&HashMap<EntryAddress, HeldLeases>) -> bool) {
        loop {
            let ended = self.ended.notified();
            tokio::pin!(ended);
            // Registered before looking, so that no end is missed.
            ended.as_mut().enable();
            if holds(&self.held.lock()) {
                return;
            }
            ended.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::job::JobCost;
    use crate::queue::wire::ReplyKind;

    fn task(entry: &str) -> LeasedEntry {
        LeasedEntry {
            id: JobId(1),
            place: EntryAddress {
                priority: Priority::Normal,
                entry: entry.to_owned(),
            },
            reply_to: ReplyTo {
                kind: ReplyKind::Stream,
                key: "r".to_owned(),
                part: 0,
            },
            deadline: Instant::now(),
        }
    }

    #[tokio::test]
    async fn a_lease_ends_once_with_a_reply_or_without() {
        let (leases, mut done) = Leases::new();
        let (answered, dropped) = (leases.take(task("1")), leases.take(task("2")));
        let reply = Reply {
            result: Ok(Vec::new()),
            cost: JobCost::default(),
        };
        answered.complete(reply);
        drop(dropped);
        assert!(matches!(done.recv().await, Some(Done::Completed(task, _)) if task.place.entry == "1"));
        assert!(matches!(done.recv().await, Some(Done::GivenUp(place)) if place.entry == "2"));
        assert!(done.is_empty());
    }

    #[tokio::test]
    async fn only_what_is_not_set_aside_keeps_a_worker_busy() {
        let (leases, _done) = Leases::new();
        let _leases = [leases.take(task("1")), leases.take(task("2"))];
        leases.set_aside(&task("1").place, true);
        tokio::select! {
            biased;
            () = leases.idle() => panic!("the second is being computed"),
            () = std::future::ready(()) => {}
        }
        leases.end(&task("2").place);
        leases.idle().await;
        assert_eq!(leases.len(), 1);
        leases.end(&task("1").place);
        leases.none_left().await;
    }

    #[test]
    fn a_lost_lease_knows_it() {
        let (leases, _done) = Leases::new();
        let lease = leases.take(task("1"));
        assert!(!leases.lose(&task("2").place));
        assert!(!lease.is_lost());
        assert!(leases.lose(&task("1").place));
        assert!(lease.is_lost());
        assert!(!leases.lose(&task("1").place), "it is lost once");
    }
}
