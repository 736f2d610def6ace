//! Admission: whether a request gets room, decided before any work is done for it.
//!
//! Counts images and their bytes in the whole process (the global limit) and for each model (the model limit). A permit is
//! taken when a request's body is complete and given back when its response is on its way; dropping it is enough. Bodies
//! that are still arriving are counted elsewhere (`http/conn/receiving.rs`). A model whose admission is closed and empty
//! is not needed any more.
//!
//! Lower priorities leave a part of every queue free for higher ones ([`open_to`]). Of several models, none can take all
//! the room ([`is_fair`]).

use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use super::prediction::ImagesByPriority;
use super::priority::Priority;

#[derive(Clone, Copy, Debug)]
pub struct AdmissionLimits {
    /// Images: waiting, being decoded, queued or computed.
    pub jobs: usize,
    /// Bytes of request bodies and prepared tensors.
    pub bytes: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    pub jobs: usize,
    pub bytes: u64,
}

impl Load {
    fn plus(self, jobs: usize, bytes: u64) -> Self {
        Self {
            jobs: self.jobs.saturating_add(jobs),
            bytes: self.bytes.saturating_add(bytes),
        }
    }
}

/// How much of a limit, in slots or in bytes, is open to a priority. Lower priorities leave a part free for higher ones, so
/// that a queue full of `low` still takes `normal`, and one full of both still takes `high`. Every queue uses this rule,
/// in this process and in Redis. The part is rounded down, so a queue of one or two slots is open to every priority.
pub fn open_to(limit: u64, priority: Priority) -> u64 {
    /// Percent that are kept free of each priority, in the order of [`Priority::ALL`].
    const KEPT_FREE: [u64; 3] = [0, 10, 20];
    let percent = u128::from(KEPT_FREE[priority.index()]);
    limit - (u128::from(limit) * percent / 100) as u64
}

/// Checks whether a request for one of `models` models would be admitted, without taking room.
pub fn check(
    global: &Admission,
    model: &Admission,
    models: usize,
    needed: Load,
    priority: Priority,
) -> Result<(), Full> {
    let Load { jobs, bytes } = needed;
    global.check(jobs, bytes, priority)?;
    model.check(jobs, bytes, priority)?;
    // A single model may use all of the global limit.
    if models == 1 {
        return Ok(());
    }
    let (before, own) = (global.load(), model.load());
    let limits = global.limits.open_to(priority, before.jobs);
    if is_fair(limits, before.plus(jobs, bytes), own.plus(jobs, bytes), models) {
        return Ok(());
    }
    Err(Full {
        load: own,
        closed: false,
    })
}

/// Whether a request of this priority fits while nothing else is in flight.
pub fn fits_empty(
    global: AdmissionLimits,
    model: AdmissionLimits,
    models: usize,
    needed: Load,
    priority: Priority,
) -> bool {
    let (global, model) = (global.open_to(priority, 0), model.open_to(priority, 0));
    let within = |limits: AdmissionLimits| needed.jobs <= limits.jobs && needed.bytes <= limits.bytes;
    within(global) && within(model) && (models == 1 || is_fair(global, needed, needed, models))
}

impl AdmissionLimits {
    pub const NONE: Self = Self {
        jobs: usize::MAX,
        bytes: u64::MAX,
    };

    /// The part that is open to a priority while `jobs` images are in flight. While there are none, all bytes are, so that a
    /// queue of few bytes still takes one image of every priority.
    pub fn open_to(self, priority: Priority, jobs: usize) -> Self {
        let bytes = open_to(self.bytes, priority);
        Self {
            jobs: open_to(self.jobs as u64, priority) as usize,
            bytes: if jobs == 0 { self.bytes } else { bytes },
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full {
    pub load: Load,
    /// Whether the admission is closed for good.
    pub closed: bool,
}

/// Counts what is in flight against the limits.
#[derive(Debug)]
pub struct Admission {
    limits: AdmissionLimits,
    in_flight: Mutex<InFlight>,
    emptied: Condvar,
}

#[derive(Debug, Default)]
struct InFlight {
    load: Load,
    images: ImagesByPriority,
    closed: bool,
}

impl Admission {
    pub fn new(limits: AdmissionLimits) -> Arc<Self> {
        Arc::new(Self {
            limits,
            in_flight: Mutex::default(),
            emptied: Condvar::new(),
        })
    }

    /// Takes room for `jobs` images and `bytes` bytes, or refuses in the time of one lock.
    pub fn admit(self: &Arc<Self>, jobs: usize, bytes: u64, priority: Priority) -> Result<Permit, Full> {
        let mut in_flight = self.in_flight.lock();
        if in_flight.closed {
            return Err(in_flight.full());
        }
        in_flight.load = self.after(&in_flight, jobs, bytes, priority)?;
        in_flight.images[priority.index()] += jobs;
        drop(in_flight);
        let room = Room {
            admission: Arc::clone(self),
            jobs,
            bytes,
            priority,
        };
        Ok(Permit {
            global: room,
            model: None,
            models: 1,
        })
    }

    /// Checks whether there is room, without taking it.
    pub fn check(&self, jobs: usize, bytes: u64, priority: Priority) -> Result<(), Full> {
        let in_flight = self.in_flight.lock();
        if in_flight.closed {
            return Err(in_flight.full());
        }
        self.after(&in_flight, jobs, bytes, priority).map(drop)
    }

    pub fn limits(&self) -> AdmissionLimits {
        self.limits
    }

    pub fn load(&self) -> Load {
        self.in_flight.lock().load
    }

    /// The images in flight, by priority.
    pub fn images(&self) -> ImagesByPriority {
        self.in_flight.lock().images
    }

    /// Refuses all further requests. Permits stay valid.
    pub fn close(&self) {
        self.in_flight.lock().closed = true;
    }

    /// Blocks until nothing is in flight, or `limit` has passed. Returns whether it is empty.
    #[must_use]
    pub fn wait_until_empty(&self, limit: Duration) -> bool {
        let mut in_flight = self.in_flight.lock();
        let emptied = self
            .emptied
            .wait_while_for(&mut in_flight, |in_flight| in_flight.load.jobs > 0, limit);
        !emptied.timed_out()
    }

    fn after(&self, in_flight: &InFlight, jobs: usize, bytes: u64, priority: Priority) -> Result<Load, Full> {
        let limits = self.limits.open_to(priority, in_flight.load.jobs);
        let after = in_flight.load.plus(jobs, bytes);
        if after.jobs > limits.jobs || after.bytes > limits.bytes {
            return Err(in_flight.full());
        }
        Ok(after)
    }
}

impl InFlight {
    fn full(&self) -> Full {
        Full {
            load: self.load,
            closed: self.closed,
        }
    }
}

/// Room taken for one request, globally and of its model. Dropping it gives the room back.
#[derive(Debug)]
pub struct Permit {
    global: Room,
    model: Option<Room>,
    /// Models that share the global limit.
    models: usize,
}

#[derive(Debug)]
struct Room {
    admission: Arc<Admission>,
    jobs: usize,
    bytes: u64,
    priority: Priority,
}

impl Permit {
    /// Also takes the same room of a model, one of `models` that share the global limit.
    pub fn with(self, model: &Arc<Admission>, models: usize) -> Result<Self, Full> {
        let permit = model.admit(self.global.jobs, self.global.bytes, self.global.priority)?;
        let permit = Self {
            global: self.global,
            model: Some(permit.global),
            models,
        };
        permit.fair().map(|()| permit)
    }

    fn fair(&self) -> Result<(), Full> {
        // A single model may use all of the global limit.
        let Some(model) = self.model.as_ref().filter(|_| self.models > 1) else {
            return Ok(());
        };
        let global = &self.global.admission;
        let (load, own) = (global.load(), model.admission.load());
        let limits = global
            .limits
            .open_to(self.global.priority, load.jobs - self.global.jobs);
        if is_fair(limits, load, own, self.models) {
            return Ok(());
        }
        Err(Full {
            load: own,
            closed: false,
        })
    }
}

/// Whether one of `models` may hold `own` while all of them hold `all`: anything while at most half of the limit is used, and
/// beyond that its share of the other half. So each model finds its own share free whatever the others do (complete
/// sharing with a minimum for each).
fn is_fair(limits: AdmissionLimits, all: Load, own: Load, models: usize) -> bool {
    let fits = |limit: u64, all: u64, own: u64| all <= limit / 2 || own <= limit / 2 / models as u64;
    fits(limits.jobs as u64, all.jobs as u64, own.jobs as u64) && fits(limits.bytes, all.bytes, own.bytes)
}

impl Drop for Room {
    fn drop(&mut self) {
        let mut in_flight = self.admission.in_flight.lock();
        in_flight.load.jobs -= self.jobs;
        in_flight.load.bytes -= self.bytes;
        in_flight.images[self.priority.index()] -= self.jobs;
        if in_flight.closed && in_flight.load.jobs == 0 {
            self.admission.emptied.notify_all();
        }
    }
}

#[cfg(test)]
mod tests;
