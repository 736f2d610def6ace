//! Requests whose bodies are still arriving.
//!
//! A request takes no queue slot before its body is complete, so a client that is slow or silent costs others nothing
//! but an entry here. This module limits the entries, the bytes that they hold, the time that a body may take and how
//! slow it may be. When there is no room, the slowest body makes room for the next one: a client that sends at once is
//! never refused because others are silent.

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio::time::sleep_until;

use crate::error::Error;
use crate::metrics::Metrics;

/// Limits of bodies that are still arriving.
#[derive(Clone, Copy, Debug)]
pub struct ReceivingLimits {
    /// Requests at once.
    pub requests: usize,
    /// Bytes that have arrived for them.
    pub bytes: u64,
    /// From the end of a request's headers to the end of its body.
    pub timeout: Duration,
    /// Bytes per second; at least 1.
    pub min_rate: u64,
    /// How far a body may fall behind that rate.
    pub grace: Duration,
}

impl ReceivingLimits {
    /// The grace of every server: it covers a lost packet and its retransmissions. A client that has sent a lot earns no
    /// more, so this is also the longest silence.
    pub const GRACE: Duration = Duration::from_secs(5);

    /// A body that has used up half of its grace counts as stalled, and makes room for any other.
    fn stalled(&self) -> Duration {
        self.grace / 2
    }
}

/// The bodies that are arriving now. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Receiving {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    limits: ReceivingLimits,
    metrics: Arc<Metrics>,
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    entries: HashMap<u64, Entry>,
    bytes: u64,
    next_id: u64,
    /// Why no more bodies are read, once that is so.
    stopped: Option<Error>,
}

#[derive(Debug)]
struct Entry {
    progress: Progress,
    evict: oneshot::Sender<Error>,
}

/// How a body gets on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Progress {
    /// When it is too slow unless more arrives. The earlier, the slower the body.
    due: Instant,
    /// What has arrived.
    bytes: u64,
}

impl Progress {
    fn new(limits: &ReceivingLimits, now: Instant) -> Self {
        Self {
            due: now + limits.grace,
            bytes: 0,
        }
    }

    /// Notes that `bytes` more have arrived: each buys the time that it may take at the minimum rate.
    fn arrived(&mut self, bytes: u64, limits: &ReceivingLimits, now: Instant) {
        let latest = now + limits.grace;
        let bought = Duration::from_secs_f64(bytes as f64 / limits.min_rate as f64);
        // Bytes that are read after the time was up were late in this process, not on their way.
        self.due = if self.due < now {
            latest
        } else {
            (self.due + bought).min(latest)
        };
        self.bytes += bytes;
    }
}

/// The body that makes room for another request: the slowest.
fn slowest<K: Copy + Ord>(bodies: impl Iterator<Item = (K, Progress)>) -> Option<K> {
    bodies
        .min_by_key(|(id, progress)| (progress.due, *id))
        .map(|(id, _)| id)
}

/// The body that makes room for the bytes of one that holds `own`: the slowest of those that are due before `stalled`,
/// or else the largest of those that hold more. So a large body never takes the room of small ones that get on.
fn holder<K: Copy + Ord>(
    bodies: impl Iterator<Item = (K, Progress)> + Clone,
    own: u64,
    stalled: Instant,
) -> Option<K> {
    let holding = bodies.filter(|(_, progress)| progress.bytes > 0);
    slowest(holding.clone().filter(|(_, progress)| progress.due < stalled)).or_else(|| {
        holding
            .filter(|(_, progress)| progress.bytes > own)
            .max_by_key(|(_, progress)| progress.bytes)
            .map(|(id, _)| id)
    })
}

impl Table {
    fn all(&self) -> impl Iterator<Item = (u64, Progress)> + Clone {
        self.entries.iter().map(|(id, entry)| (*id, entry.progress))
    }

    fn remove(&mut self, id: u64) -> Option<Entry> {
        let entry = self.entries.remove(&id)?;
        self.bytes -= entry.progress.bytes;
        Some(entry)
    }

    /// Ends a body. Its task lets go of the bytes as soon as it runs, which is why they no longer count.
    fn evict(&mut self, id: u64, why: Error) {
        if let Some(entry) = self.remove(id) {
            // A task that has just ended needs no error.
            let _ = entry.evict.send(why);
        }
    }
}

impl Receiving {
    /// No bodies yet.
    #[must_use]
    pub fn new(limits: ReceivingLimits, metrics: Arc<Metrics>) -> Self {
        let shared = Arc::new(Shared {
            limits,
            metrics,
            table: Mutex::default(),
        });
        Self { shared }
    }

    /// A body begins to arrive; `since` is when its request's headers had.
    ///
    /// # Errors
    /// What [`Receiving::stop`] was given.
    pub(super) fn enter(&self, since: Instant) -> Result<(Arriving, Evicted), Error> {
        let (evict, evicted) = oneshot::channel();
        let mut table = self.shared.table.lock();
        if let Some(why) = &table.stopped {
            return Err(why.clone());
        }
        while table.entries.len() >= self.shared.limits.requests
            && let Some(id) = slowest(table.all())
        {
            table.evict(id, evicted_error());
        }
        let id = table.next_id;
        table.next_id += 1;
        let progress = Progress::new(&self.shared.limits, Instant::now());
        table.entries.insert(id, Entry { progress, evict });
        self.shared.report(&table);
        drop(table);
        let arriving = Arriving {
            receiving: self.clone(),
            id,
            since,
        };
        Ok((arriving, evicted))
    }

    /// Ends the reading of all bodies with an error, now and from now on: for a server that stops.
    pub fn stop(&self, why: &Error) {
        let mut table = self.shared.table.lock();
        table.stopped = Some(why.clone());
        let ids: Vec<u64> = table.entries.keys().copied().collect();
        for id in ids {
            table.evict(id, why.clone());
        }
        self.shared.report(&table);
    }
}

impl Shared {
    fn report(&self, table: &Table) {
        self.metrics.receiving_requests.set(table.entries.len() as i64);
        self.metrics.receiving_bytes.set(table.bytes as i64);
    }
}

/// A body that is arriving. Dropping it frees its place.
#[derive(Debug)]
pub(super) struct Arriving {
    receiving: Receiving,
    id: u64,
    since: Instant,
}

/// Hears that a body has to make room, and why.
pub(super) type Evicted = oneshot::Receiver<Error>;

impl Arriving {
    /// Counts bytes that have arrived, or that are made of them.
    ///
    /// # Errors
    /// [`Error::QueueFull`] when there is no room for them and no other body has to make some.
    pub(super) fn arrived(&self, bytes: u64) -> Result<(), Error> {
        let Shared { limits, table, .. } = &*self.receiving.shared;
        let now = Instant::now();
        let mut table = table.lock();
        let Some(entry) = table.entries.get_mut(&self.id) else {
            // It was evicted in this moment, and `watch` says so.
            return Ok(());
        };
        entry.progress.arrived(bytes, limits, now);
        let own = entry.progress.bytes;
        table.bytes += bytes;
        while table.bytes > limits.bytes {
            let others = table.all().filter(|(id, _)| *id != self.id);
            let Some(id) = holder(others, own, now + limits.stalled()) else {
                // By then every body that stands still counts as stalled.
                let retry_after = limits.stalled();
                return Err(Error::QueueFull { retry_after });
            };
            table.evict(id, evicted_error());
        }
        self.receiving.shared.report(&table);
        Ok(())
    }

    /// Waits for what `reading` comes to, as long as the body gets on.
    ///
    /// # Errors
    /// [`Error::BodyTimeout`], the error of [`Receiving::stop`], and those of `reading`.
    pub(super) async fn watch<T>(
        &self,
        mut evicted: Evicted,
        reading: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        let late = sleep_until(self.late_at().into());
        tokio::pin!(reading, late);
        loop {
            tokio::select! {
                biased;
                result = &mut reading => return result,
                Ok(why) = &mut evicted => return Err(why),
                () = &mut late => {
                    let late_at = self.late_at();
                    if late_at <= Instant::now() {
                        return Err(self.too_slow());
                    }
                    late.as_mut().reset(late_at.into());
                }
            }
        }
    }

    fn end(&self) -> Instant {
        self.since + self.receiving.shared.limits.timeout
    }

    /// When the body is too late, should nothing more arrive.
    fn late_at(&self) -> Instant {
        let table = self.receiving.shared.table.lock();
        let due = table.entries.get(&self.id).map(|entry| entry.progress.due);
        self.end().min(due.unwrap_or_else(|| self.end()))
    }

    fn too_slow(&self) -> Error {
        let limits = self.receiving.shared.limits;
        Error::BodyTimeout(if self.end() <= Instant::now() {
            format!(
                "the request's body did not arrive within {:?}; send it faster, or raise --body-timeout",
                limits.timeout
            )
        } else {
            format!(
                "the request's body stopped arriving or came at less than {} bytes/s; send it at once, or lower \
                 --min-body-rate",
                limits.min_rate
            )
        })
    }
}

impl Drop for Arriving {
    fn drop(&mut self) {
        let mut table = self.receiving.shared.table.lock();
        drop(table.remove(self.id));
        self.receiving.shared.report(&table);
    }
}

fn evicted_error() -> Error {
    Error::BodyTimeout(
        "the request's body arrived more slowly than others while the server had no room for more; send it again"
            .to_owned(),
    )
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    const LIMITS: ReceivingLimits = ReceivingLimits {
        requests: 4,
        bytes: 1000,
        timeout: Duration::from_secs(30),
        min_rate: 100,
        grace: Duration::from_secs(5),
    };

    fn receiving() -> Receiving {
        Receiving::new(LIMITS, Arc::new(Metrics::default()))
    }

    fn enter(receiving: &Receiving) -> (Arriving, Evicted) {
        receiving.enter(Instant::now()).expect("it is not stopped")
    }

    /// What ended a body, or `None` while it may go on.
    fn ended(evicted: &mut Evicted) -> Option<&'static str> {
        evicted.try_recv().ok().map(|error| error.status().code)
    }

    #[test]
    fn bytes_buy_time_at_the_minimum_rate_and_none_is_saved_up() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut body = Progress::new(&LIMITS, start);
        assert_eq!(body.due, at(5));
        body.arrived(1_000_000, &LIMITS, start);
        assert_eq!(body.due, at(5), "a large piece buys no longer silence");
        body.arrived(100, &LIMITS, at(4));
        assert_eq!(body.due, at(6));
        body.arrived(200, &LIMITS, at(4));
        assert_eq!(body.due, at(8));
        // The process itself was held up: the bytes had been there.
        body.arrived(1, &LIMITS, at(60));
        assert_eq!(body.due, at(65));
        assert_eq!(body.bytes, 1_000_301);
    }

    #[test]
    fn the_slowest_makes_room_for_the_next_request() {
        let receiving = receiving();
        let mut bodies: Vec<_> = (0..4).map(|_| enter(&receiving)).collect();
        // The first gets on, so the second is the one that has been silent for longest.
        bodies[0].0.arrived(10).expect("there is room");
        let mut more: Vec<_> = (0..2).map(|_| enter(&receiving)).collect();
        let ends = bodies
            .iter_mut()
            .chain(&mut more)
            .map(|(_, evicted)| ended(evicted));
        let slow = Some("body_timeout");
        assert_eq!(ends.collect::<Vec<_>>(), [None, slow, slow, None, None, None]);
        assert_eq!(receiving.shared.metrics.receiving_requests.get(), 4);
        drop((bodies, more));
        assert_eq!(receiving.shared.metrics.receiving_requests.get(), 0);
    }

    #[test]
    fn bytes_are_taken_from_the_stalled_and_then_from_those_that_hold_more() {
        let now = Instant::now();
        let body = |due, bytes| Progress {
            due: now + Duration::from_secs(due),
            bytes,
        };
        let stalled = now + Duration::from_secs(3);
        let pick = |bodies: &[Progress], own| holder(bodies.iter().copied().enumerate(), own, stalled);
        let all = [body(5, 10), body(2, 1), body(1, 0), body(5, 90), body(5, 50)];
        assert_eq!(pick(&all, 20), Some(1), "stalled, however little it holds");
        assert_eq!(pick(&all[2..], 20), Some(1), "the largest that holds more");
        assert_eq!(pick(&all[2..], 90), None, "none holds more than it does itself");
        assert_eq!(pick(&all[..1], 20), None, "the smaller ones are spared");
    }

    #[test]
    fn hoarders_make_room_and_without_them_the_newcomer_is_refused() {
        let receiving = receiving();
        let [
            (hoarder, mut hoarder_ends),
            (small, mut small_ends),
            (newcomer, _),
        ] = std::array::from_fn(|_| enter(&receiving));
        hoarder.arrived(900).expect("there is room");
        small.arrived(100).expect("exactly full is allowed");
        newcomer.arrived(200).expect("the hoarder makes room");
        assert_eq!(ended(&mut hoarder_ends), Some("body_timeout"));
        assert_eq!(receiving.shared.metrics.receiving_bytes.get(), 300);
        hoarder.arrived(500).expect("it hears of its end elsewhere");
        assert_eq!(receiving.shared.metrics.receiving_bytes.get(), 300);
        let refused = newcomer.arrived(701).expect_err("it is the largest");
        assert_eq!(refused.status().code, "queue_full");
        assert_eq!(
            refused.retry_after(),
            Some(3),
            "then those that stand still have stalled"
        );
        assert_eq!(ended(&mut small_ends), None);
        drop((hoarder, newcomer));
        assert_eq!(receiving.shared.metrics.receiving_bytes.get(), 100);
        drop(small);
        assert_eq!(receiving.shared.metrics.receiving_bytes.get(), 0);
    }

    #[tokio::test]
    async fn a_server_that_stops_reads_no_more_bodies() {
        let receiving = receiving();
        let (body, evicted) = enter(&receiving);
        let why = Error::NotReady("it is stopping");
        receiving.stop(&why);
        let reading = std::future::pending::<Result<(), Error>>();
        assert_eq!(
            body.watch(evicted, reading).now_or_never(),
            Some(Err(why.clone()))
        );
        assert_eq!(receiving.enter(Instant::now()).unwrap_err(), why);
    }

    #[tokio::test]
    async fn a_body_is_over_when_its_time_is_up_however_fast_it_is() {
        let limits = ReceivingLimits {
            timeout: Duration::ZERO,
            ..LIMITS
        };
        let receiving = Receiving::new(limits, Arc::new(Metrics::default()));
        let (body, evicted) = enter(&receiving);
        body.arrived(10).expect("there is room");
        let late = body
            .watch(evicted, std::future::pending::<Result<(), Error>>())
            .await;
        assert!(late.unwrap_err().to_string().contains("--body-timeout"));
        let (body, evicted) = enter(&receiving);
        let ready = body.watch(evicted, std::future::ready(Ok(1))).await;
        assert_eq!(ready, Ok(1), "what is there is not thrown away");
    }
}
