//! The door: who may come in, decided before any work is done for them.
//!
//! Owns the count of images in the house and of the bytes they hold, and the same for each model. A permit is taken when
//! a request's body is complete and given back when its answer is on its way; whatever happens in between, dropping the
//! permit is enough. Bodies that are still arriving are counted elsewhere (`http/receiving.rs`). So a model whose door is closed and who has nobody inside is needed by nobody.
//!
//! Lower priorities leave a part of every queue free for higher ones ([`open_to`]).
//!
//! Of several models, none can keep the others out ([`is_fair`]): whoever finds the house half full may hold only its
//! share of the other half.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use super::prediction::ImagesByPriority;
use super::priority::Priority;

/// How much may be in the house at once.
#[derive(Clone, Copy, Debug)]
pub struct AdmissionLimits {
    /// Images: waiting, being decoded, queued or computed.
    pub jobs: usize,
    /// Bytes of request bodies and prepared tensors.
    pub bytes: u64,
}

/// Images and bytes in the house.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    pub jobs: usize,
    /// Bytes of bodies and tensors.
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
#[must_use]
pub fn open_to(limit: u64, priority: Priority) -> u64 {
    /// Percent that are kept free of each priority, in the order of [`Priority::ALL`].
    const KEPT_FREE: [u64; 3] = [0, 10, 20];
    let percent = u128::from(KEPT_FREE[priority.index()]);
    limit - (u128::from(limit) * percent / 100) as u64
}

/// Says whether a model that is one of `models` could be let into the house, taking nothing.
///
/// # Errors
/// As [`Admission::admit`] and [`Permit::with`].
pub fn check(
    house: &Admission,
    model: &Admission,
    models: usize,
    needed: Load,
    priority: Priority,
) -> Result<(), Full> {
    let Load { jobs, bytes } = needed;
    house.check(jobs, bytes, priority)?;
    model.check(jobs, bytes, priority)?;
    // A single model has the house for itself, and no lock is taken to learn so.
    if models == 1 {
        return Ok(());
    }
    let (before, own) = (house.load(), model.load());
    let limits = house.limits.open_to(priority, before.jobs);
    if is_fair(limits, before.plus(jobs, bytes), own.plus(jobs, bytes), models) {
        return Ok(());
    }
    Err(Full {
        load: own,
        closed: false,
    })
}

/// Whether one request of this priority may ever hold that much: an empty house has room for it.
#[must_use]
pub fn fits_empty(
    house: AdmissionLimits,
    model: AdmissionLimits,
    models: usize,
    needed: Load,
    priority: Priority,
) -> bool {
    let (house, model) = (house.open_to(priority, 0), model.open_to(priority, 0));
    let within = |limits: AdmissionLimits| needed.jobs <= limits.jobs && needed.bytes <= limits.bytes;
    within(house) && within(model) && (models == 1 || is_fair(house, needed, needed, models))
}

impl AdmissionLimits {
    pub const NONE: Self = Self {
        jobs: usize::MAX,
        bytes: u64::MAX,
    };

    /// What of it is open to a priority while `jobs` images are inside. While there are none, all bytes are: a queue of few
    /// bytes still takes one image of every priority.
    #[must_use]
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
    /// What was inside at the time.
    pub load: Load,
    /// Whether the door is closed, so that there never will be.
    pub closed: bool,
}

/// Counts what is inside against the limits.
#[derive(Debug)]
pub struct Admission {
    limits: AdmissionLimits,
    inside: Mutex<Inside>,
    emptied: Condvar,
}

#[derive(Debug, Default)]
struct Inside {
    load: Load,
    images: ImagesByPriority,
    closed: bool,
}

impl Admission {
    /// An empty house.
    #[must_use]
    pub fn new(limits: AdmissionLimits) -> Arc<Self> {
        Arc::new(Self {
            limits,
            inside: Mutex::default(),
            emptied: Condvar::new(),
        })
    }

    /// Takes room for `jobs` images and `bytes` bytes, or refuses in the time of one lock.
    ///
    /// # Errors
    /// [`Full`] when what is open to this priority of either limit would be passed, or the door is closed.
    pub fn admit(self: &Arc<Self>, jobs: usize, bytes: u64, priority: Priority) -> Result<Permit, Full> {
        let mut inside = self.inside.lock();
        if inside.closed {
            return Err(inside.full());
        }
        inside.load = self.after(&inside, jobs, bytes, priority)?;
        inside.images[priority.index()] += jobs;
        drop(inside);
        let room = Room {
            admission: Arc::clone(self),
            jobs,
            bytes,
            priority,
        };
        Ok(Permit {
            house: room,
            model: None,
            models: 1,
        })
    }

    /// Says whether there is room, and takes none.
    ///
    /// # Errors
    /// As [`Admission::admit`].
    pub fn check(&self, jobs: usize, bytes: u64, priority: Priority) -> Result<(), Full> {
        let inside = self.inside.lock();
        if inside.closed {
            return Err(inside.full());
        }
        self.after(&inside, jobs, bytes, priority).map(drop)
    }

    /// How much may be inside.
    #[must_use]
    pub fn limits(&self) -> AdmissionLimits {
        self.limits
    }

    #[must_use]
    pub fn load(&self) -> Load {
        self.inside.lock().load
    }

    /// The images inside, by priority.
    #[must_use]
    pub fn images(&self) -> ImagesByPriority {
        self.inside.lock().images
    }

    /// Lets nobody in any more. Who is inside stays.
    pub fn close(&self) {
        self.inside.lock().closed = true;
    }

    /// Blocks until nobody is inside, or `limit` has passed. Says whether that is so.
    #[must_use]
    pub fn wait_until_empty(&self, limit: Duration) -> bool {
        let mut inside = self.inside.lock();
        let emptied = self
            .emptied
            .wait_while_for(&mut inside, |inside| inside.load.jobs > 0, limit);
        !emptied.timed_out()
    }

    /// The load with `jobs` and `bytes` more.
    fn after(&self, inside: &Inside, jobs: usize, bytes: u64, priority: Priority) -> Result<Load, Full> {
        let limits = self.limits.open_to(priority, inside.load.jobs);
        let after = inside.load.plus(jobs, bytes);
        if after.jobs > limits.jobs || after.bytes > limits.bytes {
            return Err(inside.full());
        }
        Ok(after)
    }
}

impl Inside {
    fn full(&self) -> Full {
        Full {
            load: self.load,
            closed: self.closed,
        }
    }
}

/// Room taken for one request, in the house and with its model. Dropping it gives the room back.
#[derive(Debug)]
pub struct Permit {
    house: Room,
    model: Option<Room>,
    /// Models that share the house.
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
    /// Takes the same room with a model, too, which is one of `models` that share the house.
    ///
    /// # Errors
    /// [`Full`]; the room in the house is given back then.
    pub fn with(self, model: &Arc<Admission>, models: usize) -> Result<Self, Full> {
        let permit = model.admit(self.house.jobs, self.house.bytes, self.house.priority)?;
        let permit = Self {
            house: self.house,
            model: Some(permit.house),
            models,
        };
        permit.fair().map(|()| permit)
    }

    /// Whether the model may hold what it holds now.
    fn fair(&self) -> Result<(), Full> {
        // A single model has the house for itself, and no lock is taken to learn so.
        let Some(model) = self.model.as_ref().filter(|_| self.models > 1) else {
            return Ok(());
        };
        let house = &self.house.admission;
        let (load, own) = (house.load(), model.admission.load());
        let limits = house
            .limits
            .open_to(self.house.priority, load.jobs - self.house.jobs);
        if is_fair(limits, load, own, self.models) {
            return Ok(());
        }
        Err(Full {
            load: own,
            closed: false,
        })
    }
}

/// Whether one of `models` may come to hold `own` in a house that comes to hold `house`: anything while the house is half
/// empty, and then its share of the other half. What all models hold beyond their shares is at most half of the house, so
/// that each finds its own share free whatever the others do (complete sharing with a minimum for each).
fn is_fair(limits: AdmissionLimits, house: Load, own: Load, models: usize) -> bool {
    let fits = |limit: u64, house: u64, own: u64| house <= limit / 2 || own <= limit / 2 / models as u64;
    fits(limits.jobs as u64, house.jobs as u64, own.jobs as u64) && fits(limits.bytes, house.bytes, own.bytes)
}

impl Drop for Room {
    fn drop(&mut self) {
        let mut inside = self.admission.inside.lock();
        inside.load.jobs -= self.jobs;
        inside.load.bytes -= self.bytes;
        inside.images[self.priority.index()] -= self.jobs;
        if inside.closed && inside.load.jobs == 0 {
            self.admission.emptied.notify_all();
        }
    }
}

#[cfg(test)]
mod tests;
