//! The door: who may come in, decided before any work is done for them.
//!
//! Owns the count of images in the house and of the bytes they hold, and the same for each model. A permit is taken when
//! a request's body is complete and given back when its answer is on its way; whatever happens in between, dropping the
//! permit is enough. Bodies that are still arriving are counted elsewhere (`http/receiving.rs`). So a model whose door is closed and who has nobody inside is needed by nobody.
//!
//! Of several models, none can keep the others out ([`is_fair`]): whoever finds the house half full may hold only its
//! share of the other half.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

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
    /// Images.
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

/// Says whether a model that is one of `models` could be let into the house, taking nothing.
///
/// # Errors
/// As [`Admission::admit`] and [`Permit::with`].
pub fn check(
    house: &Admission,
    model: &Admission,
    models: usize,
    jobs: usize,
    bytes: u64,
) -> Result<(), Full> {
    house.check(jobs, bytes)?;
    model.check(jobs, bytes)?;
    // A single model has the house for itself, and no lock is taken to learn so.
    if models == 1 {
        return Ok(());
    }
    let own = model.load();
    let (all, after) = (house.load().plus(jobs, bytes), own.plus(jobs, bytes));
    if is_fair(house.limits, all, after, models) {
        return Ok(());
    }
    Err(Full {
        load: own,
        closed: false,
    })
}

/// Whether one request may ever hold that much: an empty house has room for it.
#[must_use]
pub fn fits_empty(house: AdmissionLimits, model: AdmissionLimits, models: usize, needed: Load) -> bool {
    let within = |limits: AdmissionLimits| needed.jobs <= limits.jobs && needed.bytes <= limits.bytes;
    within(house) && within(model) && (models == 1 || is_fair(house, needed, needed, models))
}

impl AdmissionLimits {
    /// As much as comes.
    pub const NONE: Self = Self {
        jobs: usize::MAX,
        bytes: u64::MAX,
    };
}

/// There is no room.
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
    /// [`Full`] when either limit would be passed, or the door is closed.
    pub fn admit(self: &Arc<Self>, jobs: usize, bytes: u64) -> Result<Permit, Full> {
        let mut inside = self.inside.lock();
        if inside.closed {
            return Err(inside.full());
        }
        self.take(&mut inside, jobs, bytes)?;
        drop(inside);
        let room = Room {
            admission: Arc::clone(self),
            jobs,
            bytes,
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
    pub fn check(&self, jobs: usize, bytes: u64) -> Result<(), Full> {
        let inside = self.inside.lock();
        if inside.closed {
            return Err(inside.full());
        }
        self.after(&inside, jobs, bytes).map(drop)
    }

    /// How much may be inside.
    #[must_use]
    pub fn limits(&self) -> AdmissionLimits {
        self.limits
    }

    /// What is inside now.
    #[must_use]
    pub fn load(&self) -> Load {
        self.inside.lock().load
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

    fn take(&self, inside: &mut Inside, jobs: usize, bytes: u64) -> Result<(), Full> {
        inside.load = self.after(inside, jobs, bytes)?;
        Ok(())
    }

    /// The load with `jobs` and `bytes` more.
    fn after(&self, inside: &Inside, jobs: usize, bytes: u64) -> Result<Load, Full> {
        let after = inside.load.plus(jobs, bytes);
        if after.jobs > self.limits.jobs || after.bytes > self.limits.bytes {
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

/// Room behind one door.
#[derive(Debug)]
struct Room {
    admission: Arc<Admission>,
    jobs: usize,
    bytes: u64,
}

impl Permit {
    /// Takes the same room with a model, too, which is one of `models` that share the house.
    ///
    /// # Errors
    /// [`Full`]; the room in the house is given back then.
    pub fn with(self, model: &Arc<Admission>, models: usize) -> Result<Self, Full> {
        let permit = model.admit(self.house.jobs, self.house.bytes)?;
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
        if is_fair(house.limits, load, own, self.models) {
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
        if inside.closed && inside.load.jobs == 0 {
            self.admission.emptied.notify_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn either_limit_refuses_and_a_refusal_takes_nothing() {
        let door = Admission::new(AdmissionLimits { jobs: 2, bytes: 100 });
        let first = door.admit(1, 60).expect("room");
        assert_eq!(
            door.admit(1, 41).unwrap_err(),
            Full {
                load: Load { jobs: 1, bytes: 60 },
                closed: false
            }
        );
        assert_eq!(door.admit(2, 1).unwrap_err().load.jobs, 1);
        let second = door.admit(1, 40).expect("exactly full is allowed");
        assert_eq!(door.load(), Load { jobs: 2, bytes: 100 });
        drop(first);
        drop(second);
        assert_eq!(door.load(), Load::default());
    }

    #[test]
    fn a_check_says_what_admission_would_and_takes_nothing() {
        for models in [1, 2] {
            let house = Admission::new(AdmissionLimits { jobs: 8, bytes: 800 });
            let model = Admission::new(AdmissionLimits {
                jobs: 6,
                bytes: u64::MAX,
            });
            let mut inside = Vec::new();
            loop {
                let checked = check(&house, &model, models, 1, 10);
                let load = house.load();
                let admitted = house.admit(1, 10).and_then(|permit| permit.with(&model, models));
                assert_eq!(checked.is_ok(), admitted.is_ok(), "{models} models, {load:?}");
                match admitted {
                    Ok(permit) => inside.push(permit),
                    Err(_) => break,
                }
            }
            assert_eq!(inside.len(), if models == 1 { 6 } else { 4 });
            assert!(check(&house, &model, models, 0, 801).is_err());
            model.close();
            assert!(check(&house, &model, models, 0, 0).unwrap_err().closed);
        }
    }

    #[test]
    fn what_an_empty_house_cannot_hold_never_fits() {
        let house = AdmissionLimits { jobs: 8, bytes: 80 };
        let model = AdmissionLimits { jobs: 6, bytes: 800 };
        let fits = |models, jobs, bytes| fits_empty(house, model, models, Load { jobs, bytes });
        assert!(fits(1, 6, 80) && fits(2, 4, 40));
        assert!(!fits(1, 7, 1) && !fits(1, 1, 81), "of either limit");
        assert!(
            !fits(2, 5, 1) && !fits(2, 1, 41),
            "half of the house is for others"
        );
    }

    #[test]
    fn absurd_sizes_do_not_wrap_around() {
        let door = Admission::new(AdmissionLimits { jobs: 1, bytes: 1 });
        assert!(door.admit(usize::MAX, u64::MAX).is_err());
    }

    #[test]
    fn a_model_s_limit_is_kept_beside_the_house_s_and_a_refusal_takes_nothing_of_either() {
        let house = Admission::new(AdmissionLimits { jobs: 9, bytes: 900 });
        let bytes = u64::MAX;
        let model = Admission::new(AdmissionLimits { jobs: 3, bytes });
        let enter = |jobs| house.admit(jobs, 10)?.with(&model, 1);
        let permit = enter(2).expect("room");
        assert_eq!(enter(2).unwrap_err().load.jobs, 2, "the model is full");
        assert_eq!(house.load(), model.load());
        assert_eq!(house.load(), Load { jobs: 2, bytes: 10 });
        drop(permit);
        assert_eq!((house.load(), model.load()), Default::default());
    }

    fn doors(count: usize) -> Vec<Arc<Admission>> {
        (0..count)
            .map(|_| Admission::new(AdmissionLimits::NONE))
            .collect()
    }

    #[test]
    fn one_of_several_models_gets_half_of_the_house_and_a_single_one_all_of_it() {
        for (models, room) in [(1, 12), (2, 6), (3, 6)] {
            let house = Admission::new(AdmissionLimits { jobs: 12, bytes: 12 });
            let door = &doors(1)[0];
            let enter = || house.admit(1, 1)?.with(door, models);
            let inside: Vec<Permit> = std::iter::from_fn(|| enter().ok()).collect();
            assert_eq!(inside.len(), room, "{models} models");
            assert_eq!(door.load().jobs, room);
            assert_eq!(house.load(), door.load());
        }
    }

    proptest! {
        #[test]
        fn no_model_is_kept_out_of_its_share(
            limit in 1_usize..60,
            models in 2_usize..5,
            visits in prop::collection::vec((0_usize..5, any::<bool>(), 0_usize..60), 1..300),
        ) {
            let bytes = limit as u64;
            let house = Admission::new(AdmissionLimits { jobs: limit, bytes });
            let doors = doors(models);
            let mut inside: Vec<Vec<Permit>> = doors.iter().map(|_| Vec::new()).collect();
            for (model, comes, which) in visits {
                let (door, own) = (&doors[model % models], &mut inside[model % models]);
                if !comes {
                    let many = own.len().max(1);
                    drop((which % many < own.len()).then(|| own.swap_remove(which % many)));
                    continue;
                }
                let within = own.len() < limit / 2 / models;
                match house.admit(1, 1).and_then(|permit| permit.with(door, models)) {
                    Ok(permit) => own.push(permit),
                    Err(full) => prop_assert!(!within, "{full:?} {:?}", house.load()),
                }
            }
        }
    }

    #[test]
    fn behind_a_closed_door_everybody_ends_and_nobody_comes() {
        let model = Admission::new(AdmissionLimits { jobs: 9, bytes: 900 });
        let permit = model.admit(1, 1).expect("it is open");
        model.close();
        assert!(model.admit(1, 1).unwrap_err().closed);
        assert!(!model.wait_until_empty(Duration::ZERO));
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| model.wait_until_empty(Duration::from_secs(3600)));
            drop(permit);
            assert!(waiting.join().expect("no panic"));
        });
    }
}
