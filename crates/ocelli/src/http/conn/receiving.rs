//! Requests whose bodies are still arriving.
//!
//! A request takes no queue slot before its body is complete, so a client that is slow or silent costs others only
//! an entry here. This module limits the entries, the bytes that they hold, the time that a body may take and how
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

#[derive(Clone, Copy, Debug)]
pub struct ReceivingLimits {
    pub requests: usize,
    pub bytes: u64,
    /// From the end of a request's headers to the end of its body.
    pub timeout: Duration,
    /// Bytes per second; at least 1.
    pub min_rate: u64,
    /// How far a body may fall behind that rate.
    pub grace: Duration,
}

impl ReceivingLimits {
    /// Covers a lost packet and its retransmissions. It does not grow with what a client has sent, so it is also the longest
    /// pause.
    pub const GRACE: Duration = Duration::from_secs(5);

    /// A body that has used up half of its grace counts as stalled, and makes room for any other.
    fn stalled(&self) -> Duration {
        self.grace / 2
    }
}

/// The bodies that are arriving now. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Receiving {
    shared: Arc<ReceivingShared>,
}

#[derive(Debug)]
struct ReceivingShared {
    limits: ReceivingLimits,
    metrics: Arc<Metrics>,
    table: Mutex<ReceivingTable>,
}

#[derive(Debug, Default)]
struct ReceivingTable {
    entries: HashMap<u64, ReceivingEntry>,
    bytes: u64,
    next_id: u64,
    /// The error for all bodies once reading has stopped.
    stopped: Option<Error>,
}

#[derive(Debug)]
struct ReceivingEntry {
    progress: ReceivingProgress,
    /// Ends it; `None` for a body that is complete and waits to be parsed, which makes room for none.
    evict: Option<oneshot::Sender<Error>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct ReceivingProgress {
    /// When it counts as too slow unless more arrives. The earlier, the slower the body.
    due: Instant,
    bytes: u64,
}

impl ReceivingProgress {
    fn new(limits: &ReceivingLimits, now: Instant) -> Self {
        Self {
            due: now + limits.grace,
            bytes: 0,
        }
    }

    /// Extends the time by what `bytes` may take at the minimum rate.
    fn arrived(&mut self, bytes: u64, limits: &ReceivingLimits, now: Instant) {
        let latest = now + limits.grace;
        let bought = Duration::from_secs_f64(bytes as f64 / limits.min_rate as f64);
        // Bytes that are read after the time was up were delayed by this process, not by the client.
        self.due = if self.due < now {
            latest
        } else {
            (self.due + bought).min(latest)
        };
        self.bytes += bytes;
    }
}

/// The body that makes room for another request: the slowest.
fn slowest<K: Copy + Ord>(bodies: impl Iterator<Item = (K, ReceivingProgress)>) -> Option<K> {
    bodies
        .min_by_key(|(id, progress)| (progress.due, *id))
        .map(|(id, _)| id)
}

/// The body that makes room for the bytes of one that holds `own`: the slowest of those that are due before `stalled`,
/// or else the largest of those that hold more. So a large body never takes the room of small ones that make progress.
fn holder<K: Copy + Ord>(
    bodies: impl Iterator<Item = (K, ReceivingProgress)> + Clone,
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

impl ReceivingTable {
    fn arriving(&self) -> impl Iterator<Item = (u64, ReceivingProgress)> + Clone {
        let arriving = self.entries.iter().filter(|(_, entry)| entry.evict.is_some());
        arriving.map(|(id, entry)| (*id, entry.progress))
    }

    fn remove(&mut self, id: u64) -> Option<ReceivingEntry> {
        let entry = self.entries.remove(&id)?;
        self.bytes -= entry.progress.bytes;
        Some(entry)
    }

    /// Ends a body. Its task frees the bytes as soon as it runs, so they no longer count.
    fn evict(&mut self, id: u64, why: Error) {
        if let Some(evict) = self.remove(id).and_then(|entry| entry.evict) {
            // The task may just have ended.
            let _ = evict.send(why);
        }
    }
}

impl Receiving {
    #[must_use]
    pub fn new(limits: ReceivingLimits, metrics: Arc<Metrics>) -> Self {
        let shared = Arc::new(ReceivingShared {
            limits,
            metrics,
            table: Mutex::default(),
        });
        Self { shared }
    }

    /// A body begins to arrive. `since` is when the headers of its request had arrived.
    ///
    /// # Errors
    /// What [`Receiving::stop`] was given, and [`Error::QueueFull`] when all places are taken by complete bodies.
    pub(crate) fn enter(&self, since: Instant) -> Result<(Arriving, Evicted), Error> {
        let (evict, evicted) = oneshot::channel();
        let mut table = self.shared.table.lock();
        if let Some(why) = &table.stopped {
            return Err(why.clone());
        }
        while table.entries.len() >= self.shared.limits.requests {
            let Some(id) = slowest(table.arriving()) else {
                let retry_after = self.shared.limits.stalled();
                return Err(Error::QueueFull { retry_after });
            };
            table.evict(id, evicted_error());
        }
        let id = table.next_id;
        table.next_id += 1;
        let progress = ReceivingProgress::new(&self.shared.limits, Instant::now());
        let entry = ReceivingEntry {
            progress,
            evict: Some(evict),
        };
        table.entries.insert(id, entry);
        self.shared.report(&table);
        drop(table);
        let arriving = Arriving {
            receiving: self.clone(),
            id,
            since,
        };
        Ok((arriving, evicted))
    }

    /// Ends the reading of all bodies with an error, now and in the future, because the server stops.
    pub fn stop(&self, why: &Error) {
        let mut table = self.shared.table.lock();
        table.stopped = Some(why.clone());
        let ids: Vec<u64> = table.arriving().map(|(id, _)| id).collect();
        for id in ids {
            table.evict(id, why.clone());
        }
        self.shared.report(&table);
    }
}

impl ReceivingShared {
    fn report(&self, table: &ReceivingTable) {
        self.metrics.receiving_requests.set(table.entries.len() as i64);
        self.metrics.receiving_bytes.set(table.bytes as i64);
    }
}

/// A body that is arriving. Dropping it frees its place.
#[derive(Debug)]
pub(crate) struct Arriving {
    receiving: Receiving,
    id: u64,
    since: Instant,
}

/// Receives the error of a body that has to make room.
pub(crate) type Evicted = oneshot::Receiver<Error>;

impl Arriving {
    /// Counts bytes that have arrived, or that were copied from them.
    ///
    /// # Errors
    /// [`Error::QueueFull`] when there is no room for them and no other body has to make some.
    pub(crate) fn arrived(&self, bytes: u64) -> Result<(), Error> {
        let ReceivingShared { limits, table, .. } = &*self.receiving.shared;
        let now = Instant::now();
        let mut table = table.lock();
        let Some(entry) = table.entries.get_mut(&self.id) else {
            // It was just evicted, and `watch` returns the error.
            return Ok(());
        };
        entry.progress.arrived(bytes, limits, now);
        let own = entry.progress.bytes;
        table.bytes += bytes;
        while table.bytes > limits.bytes {
            let others = table.arriving().filter(|(id, _)| *id != self.id);
            let Some(id) = holder(others, own, now + limits.stalled()) else {
                // By then every body that makes no progress counts as stalled.
                let retry_after = limits.stalled();
                return Err(Error::QueueFull { retry_after });
            };
            table.evict(id, evicted_error());
        }
        self.receiving.shared.report(&table);
        Ok(())
    }

    /// Waits for `reading` while the body makes progress. After that the body is complete: it keeps its place until it is
    /// dropped.
    ///
    /// # Errors
    /// [`Error::BodyTimeout`], the error of [`Receiving::stop`], and those of `reading`.
    pub(crate) async fn watch<T>(
        &self,
        mut evicted: Evicted,
        reading: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        let late = sleep_until(self.late_at().into());
        tokio::pin!(reading, late);
        loop {
            tokio::select! {
                biased;
                result = &mut reading => {
                    self.complete();
                    return evicted.try_recv().map_or(result, Err);
                }
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

    fn complete(&self) {
        let mut table = self.receiving.shared.table.lock();
        if let Some(entry) = table.entries.get_mut(&self.id) {
            entry.evict = None;
        }
    }

    fn end(&self) -> Instant {
        self.since + self.receiving.shared.limits.timeout
    }

    /// When the body is too late unless more arrives.
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
                "the request's body stopped arriving or came at less than {} bytes/s; send it faster, or lower \
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
        "the request's body arrived more slowly than others while the server had no room for more; try again"
            .to_owned(),
    )
}

#[cfg(test)]
mod tests;
