//! Fills the worker's queue: leases new jobs as its engines need them, and takes over jobs of workers that died.
//!
//! A *redelivered* job may have ended its worker. It is computed while nothing else is in this process, and a counter in Redis is
//! raised meanwhile; if this worker ends, too, the job did it. So jobs that were only beside it are not blamed.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ::redis::Value;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::lease::LeasedEntry;
use super::state::{KEEP_STREAMS, ModelState};
use crate::models::priority::Priority;
use crate::output::postprocess::OutputRequest;
use crate::queue::job::{Job, JobCost, JobError, Reply};
use crate::queue::redis::address::{EntryAddress, ReplyTo};
use crate::queue::redis::connection::LinkError;
use crate::queue::redis::entries::{self, StreamEntry};
use crate::queue::redis::keys::GROUP;
use crate::queue::redis::scripts::{DEAD_LETTER, GROUPS, REDELIVERED};
use crate::queue::wire::{ElementKind, JobHeader, ReplyKind, WireError};
use crate::queue::{Deadline, Envelope, Leased, QueueFull, Receipt};

const BLOCK: Duration = Duration::from_secs(1);

/// Between attempts while Redis cannot be used.
const PAUSE: Duration = Duration::from_millis(100);

/// Redelivered jobs that one worker takes at a time, so that others help.
const MOST_REDELIVERED: usize = 4;

/// How often a job may end a worker that computed it alone.
const MOST_CRASHES: i64 = 3;

/// How long crash counts are kept, beyond the lease after which the next worker reads them.
const KEEP_NOTES: Duration = Duration::from_secs(60);

/// The longest time to a job's deadline, whatever its header says.
const LONGEST_LIFE: Duration = Duration::from_secs(7 * 24 * 3600);

/// Maximum number of outputs that one job may ask for, which is also the limit of a package.
const MOST_WANTS: usize = 16;

/// How often one claim goes on when it has found too little: pending jobs of live workers are in between.
const MOST_CLAIMS: usize = 100;

pub(crate) struct QueueReader {
    shared: Arc<ModelState>,
    room: Arc<Notify>,
    next_claim: Instant,
}

impl QueueReader {
    pub(crate) fn new(shared: Arc<ModelState>, room: Arc<Notify>) -> Self {
        Self {
            shared,
            room,
            next_claim: Instant::now(),
        }
    }

    /// Runs until `stop`. Jobs of a read under way are still taken, because Redis has leased them.
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        while !stop.is_cancelled() {
            if let Err(error) = self.turn(&stop).await {
                self.recover(&error).await;
            }
        }
    }

    async fn recover(&mut self, error: &LinkError) {
        match error {
            LinkError::Refused(_) => tracing::warn!(%error, "cannot lease jobs"),
            error => tracing::debug!(%error, "cannot lease jobs"),
        }
        // Other workers may have been unable to renew their leases, too. They get the time of one before their jobs are taken.
        self.next_claim = Instant::now() + self.shared.process.config.lease;
        if let LinkError::NoGroup = error
            && let Err(error) = self.create_groups().await
        {
            tracing::debug!(%error, "cannot create the consumer groups");
        }
        tokio::time::sleep(PAUSE).await;
    }

    async fn create_groups(&self) -> Result<(), LinkError> {
        let mut make = GROUPS.call();
        for key in &self.shared.keys.jobs {
            make.key(key);
        }
        make.arg(GROUP).arg(KEEP_STREAMS.as_millis() as u64);
        self.shared.reader.script(&make).await
    }

    async fn turn(&mut self, stop: &CancellationToken) -> Result<(), LinkError> {
        if Instant::now() >= self.next_claim {
            self.claim(stop).await?;
            self.next_claim = Instant::now() + self.shared.process.config.lease / 4;
        }
        let quotas = self.quotas();
        let wanted = quotas.iter().filter(|&&quota| quota > 0).count();
        // A read that blocks cannot be interrupted. While a priority is full the read must not block, because there may soon be
        // room for that priority; the others are read whenever something is taken from the queue.
        let taken = match wanted {
            0 => 0,
            all if all == quotas.len() => return self.read(quotas, true).await.map(|_| ()),
            _ => self.read(quotas, false).await?,
        };
        if taken == 0 {
            self.wait_for_room(stop).await;
        }
        Ok(())
    }

    /// Waits until something is taken from the queue, or until it is time to look for jobs of workers that died.
    async fn wait_for_room(&self, stop: &CancellationToken) {
        let until = tokio::time::Instant::from_std(self.next_claim);
        tokio::select! {
            () = self.room.notified() => {}
            () = tokio::time::sleep_until(until) => {}
            () = stop.cancelled() => {}
        }
    }

    /// How many jobs of each priority to lease. At most one batch for each instance waits here, so that other workers can take
    /// the rest. Leased by halves, so that a busy worker does not lease one by one.
    fn quotas(&self) -> [usize; 3] {
        let Some(runtime) = self.shared.model.runtime() else {
            return [0; 3];
        };
        let ahead = (runtime.max_batch * runtime.instances).max(1);
        Priority::ALL.map(|priority| quota(ahead, self.shared.queue.depth_of(priority)))
    }

    /// Leases jobs of the priorities that have a quota, and returns their number. With `wait` it waits for the first.
    async fn read(&self, quotas: [usize; 3], wait: bool) -> Result<usize, LinkError> {
        let wanted: Vec<Priority> = Priority::ALL
            .into_iter()
            .filter(|priority| quotas[priority.index()] > 0)
            .collect();
        let count = wanted
            .iter()
            .map(|priority| quotas[priority.index()])
            .min()
            .unwrap_or(1);
        let mut read = ::redis::cmd("XREADGROUP");
        read.arg("GROUP")
            .arg(GROUP)
            .arg(&self.shared.name)
            .arg("COUNT")
            .arg(count);
        if wait {
            let block = BLOCK.min(self.shared.process.config.lease / 4);
            read.arg("BLOCK").arg(block.as_millis() as u64);
        }
        read.arg("STREAMS");
        for priority in &wanted {
            read.arg(&self.shared.keys.jobs[priority.index()]);
        }
        for _ in &wanted {
            read.arg(">");
        }
        let answer: Value = self.shared.reader.query(&read).await?;
        *self.shared.last_read.lock() = Some(Instant::now());
        let mut taken = 0;
        for (key, entries) in entries::streams(answer) {
            taken += entries.len();
            let Some(index) = self.shared.keys.jobs.iter().position(|jobs| *jobs == key) else {
                continue;
            };
            for entry in entries {
                if let Some(leased) = self.take(Priority::ALL[index], entry) {
                    self.push(leased);
                }
            }
        }
        Ok(taken)
    }

    fn push(&self, leased: Leased) {
        match self.shared.queue.push(leased) {
            Ok(()) => {}
            // Given up, so that another worker takes it. The queue is larger than all quotas, so it is closed.
            Err(QueueFull::Full(leased) | QueueFull::Closed(leased)) => drop(leased),
        }
    }

    /// Takes over jobs of workers that died and computes each alone.
    async fn claim(&mut self, stop: &CancellationToken) -> Result<(), LinkError> {
        for priority in Priority::ALL {
            loop {
                let redelivered = self.claim_some(priority).await?;
                if redelivered.is_empty() {
                    break;
                }
                tracing::warn!(
                    jobs = redelivered.len(),
                    "took over jobs of a worker that stopped renewing its leases"
                );
                self.shared.metrics().redelivered.inc_by(redelivered.len() as u64);
                // From now on their leases are renewed while they wait.
                let redelivered: Vec<Leased> = redelivered
                    .into_iter()
                    .filter_map(|entry| self.take(priority, entry))
                    .collect();
                for job in &redelivered {
                    if let Some(place) = place(job) {
                        self.shared.leases.set_aside(place, true);
                    }
                }
                for job in redelivered {
                    // A failure gives up this one and does not concern the others.
                    if let Err(error) = self.compute_alone(job).await {
                        tracing::debug!(%error, "cannot compute a redelivered job yet");
                    }
                }
                if stop.is_cancelled() {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// A few jobs of a priority whose leases have run out.
    async fn claim_some(&self, priority: Priority) -> Result<Vec<StreamEntry>, LinkError> {
        let mut redelivered = Vec::new();
        let mut cursor = "0-0".to_owned();
        for _ in 0..MOST_CLAIMS {
            let mut claim = ::redis::cmd("XAUTOCLAIM");
            claim
                .arg(&self.shared.keys.jobs[priority.index()])
                .arg(GROUP)
                .arg(&self.shared.name)
                .arg(self.shared.process.config.lease.as_millis() as u64)
                .arg(&cursor)
                .arg("COUNT")
                .arg(MOST_REDELIVERED);
            let (next, mut claimed) = entries::claimed(self.shared.reader.query(&claim).await?);
            // This worker's own, if it could not renew them in time, are its own again.
            claimed.retain(|job| !self.shared.leases.holds(priority, &job.id));
            redelivered.extend(claimed);
            if redelivered.len() >= MOST_REDELIVERED || next == "0-0" {
                break;
            }
            cursor = next;
        }
        if redelivered.len() > 1 {
            // Jobs that have ended a worker go last, so that they do not take the others with them again.
            let mut notes = ::redis::cmd("HMGET");
            notes.arg(&self.shared.keys.crashes);
            for job in &redelivered {
                let entry = job.id.clone();
                notes.arg(EntryAddress { priority, entry }.field());
            }
            let crashes: Vec<Option<u64>> = self.shared.reader.query(&notes).await?;
            let mut judged: Vec<(Option<u64>, StreamEntry)> = crashes.into_iter().zip(redelivered).collect();
            judged.sort_by_key(|(crashes, _)| *crashes);
            redelivered = judged.into_iter().map(|(_, entry)| entry).collect();
        }
        Ok(redelivered)
    }

    /// Waits until nothing else is being computed here, and hands this job alone to the engines.
    async fn compute_alone(&self, job: Leased) -> Result<(), LinkError> {
        let Some(place) = place(&job).cloned() else {
            return Ok(());
        };
        self.shared.leases.idle().await;
        let Some(job) = job.unless_dead(Instant::now(), self.shared.metrics()) else {
            return Ok(());
        };
        let keep = KEEP_NOTES + self.shared.process.config.lease * 4;
        let mut note = REDELIVERED.call();
        note.key(&self.shared.keys.index)
            .key(&self.shared.keys.crashes)
            .arg(place.stream())
            .arg(&place.entry)
            .arg(keep.as_millis() as u64);
        let crashes: i64 = self.shared.reader.script(&note).await?;
        if crashes < 0 {
            // Another worker answered it, or its client has left.
            drop(job);
            return Ok(());
        }
        if crashes >= MOST_CRASHES {
            return self.dead_letter(job, &place).await;
        }
        self.shared.leases.set_aside(&place, false);
        self.push(job);
        self.shared.leases.idle().await;
        Ok(())
    }

    /// Makes a dead letter of a job that ends its workers, and answers its request.
    async fn dead_letter(&self, job: Leased, place: &EntryAddress) -> Result<(), LinkError> {
        tracing::error!(
            job = %job.job.id,
            request_id = &*job.job.envelope.request_id,
            model = self.shared.model.id.name,
            "dead-lettered a job that ended each worker that computed it alone; see `ocelli queue dead list`"
        );
        let reason = format!("it ended {MOST_CRASHES} workers that computed it alone");
        let mut script = DEAD_LETTER.call();
        script
            .key(&self.shared.keys.jobs[place.priority.index()])
            .key(&self.shared.keys.dead)
            .arg(&place.entry)
            .arg(self.shared.process.config.dead_letters)
            .arg(self.shared.process.config.dead_ttl.as_millis() as u64)
            .arg(reason)
            .arg(&self.shared.name);
        let _: i64 = self.shared.reader.script(&script).await?;
        self.shared.metrics().dead_letters.inc();
        job.complete(Reply {
            result: Err(JobError::Poisonous),
            cost: JobCost::default(),
        });
        Ok(())
    }

    /// The job of an entry. One that this worker cannot use is answered at once.
    fn take(&self, priority: Priority, mut entry: StreamEntry) -> Option<Leased> {
        let (header, submitted) = (entry.take("j").unwrap_or_default(), entry.take("t"));
        let pixels = entry.take("p").unwrap_or_default();
        let now = Instant::now();
        let micros = submitted
            .and_then(|text| String::from_utf8(text).ok()?.parse().ok())
            .unwrap_or(0_u64);
        let submitted = self.shared.process.clock.instant(micros, now).min(now);
        let (header, wants) = match JobHeader::decode_frame(&header) {
            Ok(header) => {
                let wants = self.wants(&header, &pixels);
                (header, wants)
            }
            Err((error, header)) => (header.map(|header| *header).unwrap_or_default(), Err(error)),
        };
        let life = Duration::from_micros(header.timeout_us).min(LONGEST_LIFE);
        let deadline = Deadline::new(submitted, life);
        let id = header.job_id();
        let task = LeasedEntry {
            id,
            place: EntryAddress {
                priority,
                entry: entry.id,
            },
            reply_to: ReplyTo {
                kind: ReplyKind::try_from(header.reply_kind).unwrap_or(ReplyKind::Stream),
                key: header.reply_to,
                part: header.part,
            },
            // The refusal of an old job is tried for a while, too.
            deadline: if wants.is_err() {
                now + PAUSE * 10
            } else {
                deadline.at
            },
        };
        let lease = self.shared.leases.take(task);
        let wants = match wants {
            Ok(wants) => wants,
            Err(error) => {
                self.refuse(&error, &header.request_id, lease);
                return None;
            }
        };
        let job = Job {
            id,
            envelope: Envelope {
                request_id: header.request_id.into(),
                model: Arc::clone(&self.shared.model),
                priority,
                deadline,
            },
            wants,
            pixels,
        };
        Some(Leased::submitted_at(submitted, job, Receipt::Lease(lease)))
    }

    /// The outputs that a job asks for, if it can be computed. Nothing that the header declares is trusted: the payload must have
    /// as many bytes as the model takes, and the error repeats no text of the header.
    fn wants(&self, header: &JobHeader, pixels: &[u8]) -> Result<Vec<OutputRequest>, WireError> {
        let model = &self.shared.model;
        let count = header.wants.len();
        let wants = if (1..=MOST_WANTS).contains(&count) {
            header.wants.iter().map(|want| want.want(model)).collect()
        } else {
            None
        };
        let Some(wants) = wants else {
            return Err(WireError::Garbage(format!(
                "it asks for {count} outputs, and the model does not have them all"
            )));
        };
        let input = model.input();
        let shape = [input.height, input.width, 3];
        let bytes = shape.iter().map(|&axis| axis as usize).product::<usize>();
        match header.inputs.as_slice() {
            [only] if only.kind == ElementKind::U8 as i32 && only.shape == shape && pixels.len() == bytes => {
                Ok(wants)
            }
            inputs => Err(WireError::Garbage(format!(
                "the model takes {shape:?} uint8 pixels, and this is {} tensors in {} bytes",
                inputs.len(),
                pixels.len()
            ))),
        }
    }

    fn refuse(&self, error: &WireError, request_id: &str, lease: crate::queue::redis::Lease) {
        let reason = match error {
            WireError::Garbage(_) => "garbage",
            WireError::Newer { .. } => "newer",
        };
        self.shared.metrics().count_refused(reason);
        tracing::warn!(%error, request_id, "refused a job that cannot be used");
        lease.complete(Reply {
            result: Err(JobError::Incompatible),
            cost: JobCost::default(),
        });
    }
}

fn place(leased: &Leased) -> Option<&EntryAddress> {
    match leased.receipt() {
        Receipt::Lease(lease) => lease.place(),
        Receipt::ReplySender(_) | Receipt::Ticket(_) => None,
    }
}

/// How many jobs of a priority to lease where `ahead` of them should wait and `waiting` do.
fn quota(ahead: usize, waiting: usize) -> usize {
    let room = ahead.saturating_sub(waiting);
    if room * 2 >= ahead { room } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_is_leased_than_is_kept_ahead_and_not_one_by_one() {
        assert_eq!(
            [0, 3, 4, 5, 8, 9].map(|waiting| quota(8, waiting)),
            [8, 5, 4, 0, 0, 0]
        );
        assert_eq!([0, 1].map(|waiting| quota(1, waiting)), [1, 0]);
    }
}
