//! The door: who may come in, decided before any work is done for them.
//!
//! Owns the count of images in the house and of the bytes they hold. A permit is taken when a request's headers are
//! read and given back when its answer is on its way; whatever happens in between, dropping the permit is enough.

use std::sync::Arc;

use parking_lot::Mutex;

/// How much may be in the house at once.
#[derive(Clone, Copy, Debug)]
pub struct AdmissionLimits {
    /// Images: being received, waiting, being decoded, queued or computed.
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

/// The house is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full {
    /// What was in it at the time.
    pub load: Load,
}

/// Counts what is in the house against the limits.
#[derive(Debug)]
pub struct Admission {
    limits: AdmissionLimits,
    load: Mutex<Load>,
}

impl Admission {
    /// An empty house.
    #[must_use]
    pub fn new(limits: AdmissionLimits) -> Arc<Self> {
        Arc::new(Self {
            limits,
            load: Mutex::new(Load::default()),
        })
    }

    /// Takes room for `jobs` images and `bytes` bytes, or refuses in the time of one lock.
    ///
    /// # Errors
    /// [`Full`] when either limit would be passed.
    pub fn admit(self: &Arc<Self>, jobs: usize, bytes: u64) -> Result<Permit, Full> {
        self.take(jobs, bytes)?;
        Ok(Permit {
            admission: Arc::clone(self),
            jobs,
            bytes,
        })
    }

    /// How much may be in the house.
    #[must_use]
    pub fn limits(&self) -> AdmissionLimits {
        self.limits
    }

    /// What is in the house now.
    #[must_use]
    pub fn load(&self) -> Load {
        *self.load.lock()
    }

    fn take(&self, jobs: usize, bytes: u64) -> Result<(), Full> {
        let mut load = self.load.lock();
        let after = Load {
            jobs: load.jobs.saturating_add(jobs),
            bytes: load.bytes.saturating_add(bytes),
        };
        if after.jobs > self.limits.jobs || after.bytes > self.limits.bytes {
            return Err(Full { load: *load });
        }
        *load = after;
        Ok(())
    }
}

/// Room taken for one request. Dropping it gives the room back.
#[derive(Debug)]
pub struct Permit {
    admission: Arc<Admission>,
    jobs: usize,
    bytes: u64,
}

impl Permit {
    /// Takes more room: a body without a declared length has grown, or a body turned out to hold many images.
    ///
    /// # Errors
    /// [`Full`]; the permit then holds what it held before.
    pub fn grow(&mut self, jobs: usize, bytes: u64) -> Result<(), Full> {
        self.admission.take(jobs, bytes)?;
        self.jobs += jobs;
        self.bytes += bytes;
        Ok(())
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut load = self.admission.load.lock();
        load.jobs -= self.jobs;
        load.bytes -= self.bytes;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn either_limit_refuses_and_a_refusal_takes_nothing() {
        let door = Admission::new(AdmissionLimits { jobs: 2, bytes: 100 });
        let first = door.admit(1, 60).expect("room");
        assert_eq!(
            door.admit(1, 41).unwrap_err(),
            Full {
                load: Load { jobs: 1, bytes: 60 }
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
    fn growth_is_refused_whole_and_given_back_whole() {
        let door = Admission::new(AdmissionLimits { jobs: 4, bytes: 100 });
        let mut permit = door.admit(1, 10).expect("room");
        permit.grow(2, 50).expect("room");
        assert!(permit.grow(1, 41).is_err());
        assert!(permit.grow(2, 0).is_err());
        assert_eq!(door.load(), Load { jobs: 3, bytes: 60 });
        drop(permit);
        assert_eq!(door.load(), Load::default());
    }

    #[test]
    fn absurd_sizes_do_not_wrap_around() {
        let door = Admission::new(AdmissionLimits { jobs: 1, bytes: 1 });
        assert!(door.admit(usize::MAX, u64::MAX).is_err());
    }
}
