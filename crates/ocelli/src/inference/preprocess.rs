//! Turns photos into jobs: at most one photo per core, the models in turn, the photos of each model by priority and then in
//! order of arrival.
//!
//! Photos wait compressed. A photo whose client has left or whose deadline has passed is dropped before it is decoded. Each
//! photo reserves memory for its pixels, by its header, before it is decoded.

pub(crate) mod waiting;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use ocelli_vision::{DecodeLimits, Decoder, ImageHeader, InputSpec};
use parking_lot::{Condvar, Mutex};
use tokio::sync::oneshot;

use crate::compute::core_budget::CoreBudget;
use crate::compute::pool::{Pool, Turn, Urgency, WorkSource};
use crate::error::{Cause, Error};
use crate::metrics::{DropReason, Metrics};
use crate::models::admission::Permit;
use crate::models::served_model::ServedModel;
use crate::output::postprocess::OutputRequest;
use crate::queue::job::{Job, JobId};
use crate::queue::{Broker, Envelope, PrepareTimes, ReplySender};
use waiting::{Completion, Queue, WaitingPhoto};

#[derive(Clone, Copy, Debug)]
pub struct DecodeConfig {
    pub image: DecodeLimits,
    /// Bytes of decoded pixels that all threads together may hold.
    pub pixel_bytes: u64,
}

impl DecodeConfig {
    /// The most memory that decoding an image takes.
    ///
    /// # Errors
    /// [`Error::InvalidImage`] if that exceeds the limit of all images together.
    pub fn charge(&self, file: &[u8], header: &ImageHeader, spec: &InputSpec) -> Result<u64, Error> {
        let bytes = Decoder::peak_bytes(file, header, spec);
        if bytes > self.pixel_bytes {
            return Err(Error::InvalidImage(format!(
                "decoding this {} x {} image takes {bytes} bytes, more than the {} bytes that all images together \
                 may take; send a smaller image, or this one as JPEG or PNG, or raise --max-decoding-bytes",
                header.width, header.height, self.pixel_bytes
            )));
        }
        Ok(bytes)
    }
}

#[derive(Debug)]
pub struct Photo {
    pub bytes: Bytes,
    pub envelope: Envelope,
    pub want: OutputRequest,
    /// Held at least until the file is dropped.
    pub permit: Arc<Permit>,
}

impl Photo {
    /// Gives the photo's bytes and its room back.
    fn into_job(self, pixels: Vec<u8>) -> Job {
        Job {
            id: JobId::random(),
            envelope: self.envelope,
            wants: vec![self.want],
            pixels,
        }
    }
}

/// The way to the decoders. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Decoders {
    shared: Arc<PreprocessShared>,
    pool: Pool,
}

#[derive(Debug)]
struct PreprocessShared {
    config: DecodeConfig,
    cores: CoreBudget,
    broker: Broker,
    metrics: Arc<Metrics>,
    queue: Mutex<Queue>,
    pixel_bytes_free: Mutex<u64>,
    pixel_bytes_freed: Condvar,
}

/// The work of the pool. Each thread has its own decoder, made when it is first needed.
pub struct DecodeWork {
    shared: Arc<PreprocessShared>,
    decoders: Vec<Mutex<Option<Decoder>>>,
}

/// The handle, and the work for a pool with one thread for each core.
#[must_use]
pub fn pair(
    config: DecodeConfig,
    cores: CoreBudget,
    pool: Pool,
    broker: Broker,
    metrics: Arc<Metrics>,
) -> (Decoders, Arc<DecodeWork>) {
    let decoders = (0..cores.total()).map(|_| Mutex::new(None)).collect();
    let shared = Arc::new(PreprocessShared {
        config,
        cores,
        broker,
        metrics,
        queue: Mutex::default(),
        pixel_bytes_free: Mutex::new(config.pixel_bytes),
        pixel_bytes_freed: Condvar::new(),
    });
    (
        Decoders {
            shared: Arc::clone(&shared),
            pool,
        },
        Arc::new(DecodeWork { shared, decoders }),
    )
}

impl Decoders {
    /// Prepares a photo and submits it as a job, whose result goes to `reply`.
    pub fn submit(&self, photo: Photo, reply: ReplySender) {
        self.queue(photo, Completion::Submit(reply));
    }

    /// Prepares a photo and returns its job.
    pub async fn prepare(&self, photo: Photo) -> Result<Job, Error> {
        let (sender, job) = oneshot::channel();
        self.queue(photo, Completion::Return(sender));
        job.await
            .unwrap_or_else(|_| Err(Error::internal("the photo was dropped before it was prepared")))
    }

    fn queue(&self, photo: Photo, goal: Completion) {
        {
            let mut queue = self.shared.queue.lock();
            if queue.closed {
                return goal.fail(Error::NotReady("it is stopping"));
            }
            // Bounded by admission: each task holds a permit.
            queue.push(WaitingPhoto {
                photo,
                submitted: Instant::now(),
                goal,
            });
        }
        self.pool.call();
    }

    /// Refuses a file that is no image within the limits, by its first bytes.
    pub fn check_header(&self, bytes: &[u8]) -> Result<(), Error> {
        survive(|| Ok(ImageHeader::read(bytes, &self.shared.config.image).map(drop)?))
    }

    /// Drops queued photos whose clients have left, so that they take no room. Called when a client leaves.
    pub fn drop_dead(&self) {
        let mut queue = self.shared.queue.lock();
        queue.drop_unless(|task| !self.shared.is_dead(&task.photo, &task.goal));
    }

    /// Takes no more photos. Queued ones are still prepared.
    pub fn close(&self) {
        self.shared.queue.lock().closed = true;
    }
}

impl WorkSource for DecodeWork {
    fn turn(&self, thread: usize, urgency: Urgency) -> Turn {
        let Some(task) = self.shared.next(urgency) else {
            return Turn::Nothing;
        };
        // Each thread has its own decoder, so this lock is always free.
        self.shared.handle(task, &mut self.decoders[thread].lock());
        Turn::Worked
    }
}

impl PreprocessShared {
    /// The next photo whose model's worker wants another job. A turn is urgent only if some photo should overtake jobs that
    /// are ready; even then the next photo in turn goes first, so that no priority and no model starves.
    fn next(&self, urgency: Urgency) -> Option<WaitingPhoto> {
        let mut queue = self.queue.lock();
        let urgent = |model: &ServedModel, priority| self.broker.hurries(model, priority);
        if urgency == Urgency::Urgent && !queue.any(urgent) {
            return None;
        }
        queue.next(|model, priority| self.broker.wants(model, priority))
    }

    fn handle(&self, task: WaitingPhoto, decoder: &mut Option<Decoder>) {
        let WaitingPhoto {
            photo,
            submitted,
            goal,
        } = task;
        if self.is_dead(&photo, &goal) {
            return;
        }
        let prepared = survive(|| {
            // After a panic the state of the decoder is unknown, so it is not used again.
            let mut ours = decoder.take();
            let prepared = self.prepare(&photo, &goal, submitted, &mut ours);
            *decoder = ours;
            prepared
        });
        // A client may send its next request as soon as it has its answer, so the photo's room is given back before the
        // job is submitted or refused.
        let prepared = match prepared {
            Ok(None) => return,
            Ok(Some((pixels, times))) => Ok((photo.into_job(pixels), times)),
            Err(error) => {
                drop(photo);
                Err(error)
            }
        };
        match (prepared, goal) {
            (Ok((job, times)), Completion::Submit(reply)) => self.broker.submit(job, reply.prepared(times)),
            // The request may have ended, and then needs no job.
            (Ok((job, _)), Completion::Return(sender)) => drop(sender.send(Ok(job))),
            (Err(error), goal) => goal.fail(error),
        }
    }

    /// The pixels that the model takes. `None` when the photo was dropped while it waited for a core.
    fn prepare(
        &self,
        photo: &Photo,
        goal: &Completion,
        submitted: Instant,
        decoder: &mut Option<Decoder>,
    ) -> Result<Option<(Vec<u8>, PrepareTimes)>, Error> {
        let spec = photo.envelope.model.input();
        let header = ImageHeader::read(&photo.bytes, &self.config.image)?;
        let _budget = self.reserve(&photo.bytes, &header, spec)?;
        let _core = self.cores.for_decoder();
        if self.is_dead(photo, goal) {
            return Ok(None);
        }
        let started = Instant::now();
        let wait = started.saturating_duration_since(submitted);
        let decoder = match decoder {
            Some(decoder) => decoder,
            None => decoder.insert(Decoder::new()?),
        };
        let pixels = decoder.prepare(&photo.bytes, &header, spec)?;
        let decode = started.elapsed();
        photo.envelope.model.observe_decode(decode, self.cores.total());
        Ok(Some((pixels, PrepareTimes { wait, decode })))
    }

    /// Whether the client has left or the deadline has passed, which is counted. The request watches its deadline itself, so
    /// such a photo needs no error.
    fn is_dead(&self, photo: &Photo, goal: &Completion) -> bool {
        let Some(reason) = DropReason::of(photo.envelope.deadline.is_over(Instant::now()), goal.is_gone())
        else {
            return false;
        };
        self.metrics.count_dropped(reason);
        true
    }

    fn reserve(&self, file: &[u8], header: &ImageHeader, spec: &InputSpec) -> Result<PixelBytes<'_>, Error> {
        let bytes = self.config.charge(file, header, spec)?;
        let mut free = self.pixel_bytes_free.lock();
        self.pixel_bytes_freed.wait_while(&mut free, |free| *free < bytes);
        *free -= bytes;
        Ok(PixelBytes { shared: self, bytes })
    }
}

/// Runs `work` on one image. A panic fails this image alone: its client gets a response, and the thread and the images
/// beside it go on.
pub fn survive<T>(work: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
    catch_unwind(AssertUnwindSafe(work))
        .unwrap_or_else(|panic| Err(Error::DecoderPanic(Cause::of_panic("the decoder", &*panic))))
}

/// A share of the budget for decoded pixels.
struct PixelBytes<'a> {
    shared: &'a PreprocessShared,
    bytes: u64,
}

impl Drop for PixelBytes<'_> {
    fn drop(&mut self) {
        *self.shared.pixel_bytes_free.lock() += self.bytes;
        self.shared.pixel_bytes_freed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_util::FutureExt as _;

    use super::*;
    use crate::models::admission::{Admission, AdmissionLimits};
    use crate::models::priority::Priority;
    use crate::models::served_model;
    use crate::output::postprocess::OutputKind;
    use crate::queue::{Deadline, JobQueue, MemoryBroker, Refill, waiter};

    pub(super) fn task(model: &Arc<ServedModel>, byte: u8) -> WaitingPhoto {
        let admission = Admission::new(AdmissionLimits { jobs: 9, bytes: 9 });
        let photo = Photo {
            bytes: Bytes::from(vec![byte]),
            envelope: Envelope {
                request_id: "".into(),
                model: Arc::clone(model),
                priority: Priority::Normal,
                deadline: Deadline::new(Instant::now(), Duration::ZERO),
            },
            want: OutputRequest {
                output: 0,
                form: OutputKind::Vector { normalize: false },
            },
            permit: Arc::new(admission.admit(1, 1, Priority::Normal).expect("room")),
        };
        WaitingPhoto {
            photo,
            submitted: Instant::now(),
            goal: Completion::Return(oneshot::channel().0),
        }
    }

    #[test]
    fn an_image_that_a_decoder_panics_on_fails_alone() {
        let (cores, metrics) = (CoreBudget::new(1), Arc::new(Metrics::default()));
        let config = DecodeConfig {
            image: DecodeLimits::default(),
            pixel_bytes: 1 << 20,
        };
        let queues = JobQueue::new(Arc::clone(&metrics));
        let broker = Broker::Memory(MemoryBroker::new(queues));
        let (_, work) = pair(config, cores, Pool::default(), broker, metrics);
        let (mut broken, _) = ServedModel::split(served_model::builtin().expect("it is valid"));
        let (sound, _) = ServedModel::split(served_model::builtin().expect("it is valid"));
        // No package may say so; the arithmetic of the decoder divides by it.
        broken.card.manifest.input.width = 0;
        let mut slot = work.decoders[0].lock();
        let mut prepare = |model: ServedModel| {
            let mut task = task(&Arc::new(model), 0);
            task.photo.bytes = Bytes::from_static(b"BM\x3a\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0\x01\0\0\0\x01\0\0\0\x01\0\x18\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\x02\x03\0");
            task.photo.envelope.deadline.at += Duration::from_secs(3600);
            let (sender, job) = oneshot::channel();
            task.goal = Completion::Return(sender);
            work.shared.handle(task, &mut slot);
            job.now_or_never()
                .expect("it is answered")
                .expect("it is answered")
        };
        let refusal = prepare(broken).unwrap_err();
        assert_eq!(refusal.status().code, "invalid_image");
        assert!(refusal.to_string().contains("cannot be decoded"), "{refusal}");
        assert!(refusal.detail().contains("the decoder panicked: "), "{refusal:?}");
        assert!(prepare(sound).is_ok(), "the next image is decoded");
    }

    #[test]
    fn photos_of_a_model_that_is_unloaded_are_answered_at_once() {
        let metrics = Arc::new(Metrics::default());
        let (cores, pool) = (CoreBudget::new(1), Pool::default());
        let queues = JobQueue::new(Arc::clone(&metrics));
        let config = DecodeConfig {
            image: DecodeLimits::default(),
            pixel_bytes: 1 << 20,
        };
        let broker = Broker::Memory(MemoryBroker::new(queues.clone()));
        let (decoders, work) = pair(config, cores, pool.clone(), broker, metrics);
        let (model, _) = ServedModel::split(served_model::builtin().expect("it is valid"));
        let model = Arc::new(model);
        let _queue = queues.open(&model.id, 1, Refill::Pool(pool.clone()));
        let mut photo = task(&model, 0).photo;
        photo.envelope.deadline.at += Duration::from_secs(3600);
        let (waiter, pending) = waiter();
        decoders.submit(photo, waiter);
        assert_eq!(
            work.turn(0, Urgency::Ordinary),
            Turn::Nothing,
            "no worker takes its job"
        );
        queues.remove(&model.id);
        let leading: Arc<dyn WorkSource> = work;
        pool.threads(1, Some(&leading)).into_iter().for_each(|thread| {
            pool.close();
            thread.run();
        });
        assert!(pending.now_or_never().expect("it is answered").is_err());
    }
}
