//! The web side: pushes jobs for the tutorial's model process and polls for the replies, while there are requests.
//!
//! A reply that comes after its client has left is deleted, because the model process sets it without an expiry.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;

use super::pending::{Ended, PendingReplies};
use super::{BATCH_SIZE, QUEUE, TutorialJob, decode_reply};
use crate::compute::pool::Pool;
use crate::error::Error;
use crate::metrics::{DropReason, Metrics};
use crate::output::postprocess::{Output, Prediction};
use crate::queue::ReplySender;
use crate::queue::job::{Job, JobCost, Reply};
use crate::queue::redis::{Link, LinkError};

/// Jobs under way at once: what the model process takes twice. Others wait as photos in this process, where they are a
/// tenth as large.
const MOST_UNDER_WAY: usize = 2 * BATCH_SIZE;

/// What they hold in Redis at most, in bytes: each is 802,900 long.
pub const MOST_BYTES_UNDER_WAY: u64 = MOST_UNDER_WAY as u64 * 803_000;

/// Between two questions for replies. The tutorial asks a fifth as often; the model process looks into its queue four
/// times a second in any case.
const ASK_AGAIN: Duration = Duration::from_millis(50);

/// Between attempts while Redis cannot be used.
const PAUSE: Duration = Duration::from_millis(250);

/// Submits jobs to the tutorial's model process. Cheap to clone.
#[derive(Clone, Debug)]
pub struct TutorialBroker {
    shared: Arc<ProducerShared>,
    outbox: mpsc::UnboundedSender<Outgoing>,
}

#[derive(Debug)]
struct ProducerShared {
    link: Link,
    asked: PendingReplies,
    /// Told when the first job is under way.
    begun: Notify,
    decoders: Pool,
    metrics: Arc<Metrics>,
    closed: AtomicBool,
}

/// A job's id and its text.
#[derive(Debug)]
struct Outgoing {
    id: String,
    text: String,
}

/// The task behind a [`TutorialBroker`].
#[derive(Debug)]
pub struct TutorialWebTask {
    shared: Arc<ProducerShared>,
    inbox: mpsc::UnboundedReceiver<Outgoing>,
}

/// The handle, and what has to run for it. `decoders` are told when more jobs are wanted.
#[must_use]
pub fn web(link: Link, decoders: Pool, metrics: Arc<Metrics>) -> (TutorialBroker, TutorialWebTask) {
    // Bounded by `wants`.
    let (outbox, inbox) = mpsc::unbounded_channel();
    let shared = Arc::new(ProducerShared {
        link,
        asked: PendingReplies::default(),
        begun: Notify::new(),
        decoders,
        metrics,
        closed: AtomicBool::new(false),
    });
    let task = TutorialWebTask {
        shared: Arc::clone(&shared),
        inbox,
    };
    (TutorialBroker { shared, outbox }, task)
}

impl TutorialBroker {
    /// Whether Redis can be used. The state of the model process cannot be known.
    pub fn available(&self) -> Result<(), Error> {
        self.trouble()
            .map_or(Ok(()), |trouble| Err(Error::BrokerUnavailable(trouble)))
    }

    /// What keeps commands from Redis, if anything does.
    pub fn trouble(&self) -> Option<String> {
        self.shared.link.trouble()
    }

    /// Whether another job may be made.
    pub fn wants(&self) -> bool {
        self.depth() < MOST_UNDER_WAY
    }

    /// Sends a job on its way.
    pub fn submit(&self, job: Job, waiter: ReplySender) {
        if self.shared.closed.load(Ordering::Acquire) {
            return waiter.fail(Error::NotReady("it is stopping"));
        }
        let id = job.id.to_string();
        self.shared
            .asked
            .add(id.clone(), waiter, job.envelope.deadline.at);
        let job = TutorialJob {
            id: id.clone(),
            rgb: job.pixels,
        };
        let text = job.encode();
        // Without its task the process has ended, and its requests with it.
        let _ = self.outbox.send(Outgoing { id, text });
    }

    /// How many jobs of this process are under way.
    pub fn depth(&self) -> usize {
        self.shared.asked.len()
    }

    pub fn close(&self) {
        self.shared.closed.store(true, Ordering::Release);
    }
}

impl TutorialWebTask {
    /// Runs until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        let Self { shared, inbox } = self;
        tokio::select! {
            () = stop.cancelled() => {}
            () = async { tokio::join!(push_all(&shared, inbox), ask_all(&shared)); } => {}
        }
        // Replies to abandoned jobs stay in Redis for ever, as with the tutorial.
        let left = shared.asked.len();
        if left > 0 {
            tracing::warn!(left, "replies to jobs that were abandoned may stay in Redis");
        }
    }
}

async fn push_all(shared: &ProducerShared, mut inbox: mpsc::UnboundedReceiver<Outgoing>) {
    while let Some(Outgoing { id, text }) = inbox.recv().await {
        if shared.asked.is_abandoned(&id) {
            shared.metrics.count_dropped(DropReason::ClientGone);
            shared.end(&id);
            continue;
        }
        let mut push = ::redis::cmd("RPUSH");
        push.arg(QUEUE).arg(text);
        let pushed: Result<i64, LinkError> = shared.link.query(&push).await;
        if let Err(error) = pushed {
            // It may have arrived all the same, so that a reply is still to be looked for.
            shared.asked.refuse(&id, error.into());
        }
        shared.begun.notify_one();
    }
}

async fn ask_all(shared: &ProducerShared) {
    loop {
        let ids = shared.asked.ids();
        if ids.is_empty() {
            shared.begun.notified().await;
        }
        tokio::time::sleep(ASK_AGAIN).await;
        let answers = join_all(ids.iter().map(|id| ask(shared, id))).await;
        if let Some(error) = answers.into_iter().find_map(Result::err) {
            tracing::debug!(%error, "replies cannot be asked for");
            tokio::time::sleep(PAUSE).await;
        }
        for id in shared.asked.expired(Instant::now()) {
            shared.end(&id);
        }
    }
}

/// Asks for one reply, and deletes it if it is there. One key after another, for in a cluster they are not together.
async fn ask(shared: &ProducerShared, id: &str) -> Result<(), LinkError> {
    let text: Option<Vec<u8>> = shared.link.query(::redis::cmd("GET").arg(id)).await?;
    let Some(text) = text else { return Ok(()) };
    let deleted: Result<i64, LinkError> = shared.link.query(::redis::cmd("DEL").arg(id)).await;
    shared.deliver(id, &text);
    deleted.map(|_| ())
}

impl ProducerShared {
    /// Answers the request of a reply.
    fn deliver(&self, id: &str, text: &[u8]) {
        let Some(Ended { waiter, submitted }) = self.end(id) else {
            return;
        };
        let Some(waiter) = waiter.filter(|waiter| !waiter.is_gone()) else {
            self.metrics.orphaned_replies.inc();
            return;
        };
        match decode_reply(text) {
            Ok(predictions) => {
                let predictions = predictions.into_iter().map(Prediction::from).collect();
                // Waiting and computing are one to those who only see when the reply is there.
                let cost = JobCost {
                    queue: submitted.elapsed(),
                    ..JobCost::default()
                };
                waiter.complete(Reply {
                    result: Ok(vec![Output::Classes(predictions)]),
                    cost,
                });
            }
            Err(error) => {
                self.metrics.count_refused("reply");
                waiter.fail(Error::internal(format!(
                    "the reply to job {id} cannot be used: {error}"
                )));
            }
        }
    }

    /// Forgets a job, so that there is room for another.
    fn end(&self, id: &str) -> Option<Ended> {
        let ended = self.asked.remove(id);
        self.decoders.call();
        ended
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::priority::Priority;
    use crate::output::postprocess::Class;
    use crate::queue::job::JobId;
    use crate::queue::redis::RedisUrl;
    use crate::queue::tutorial::{input, model};
    use crate::queue::{Deadline, Envelope, ReplyReceiver, waiter};

    const LONG: Duration = Duration::from_secs(3600);

    fn broker() -> (TutorialBroker, TutorialWebTask) {
        let target = RedisUrl::parse("redis://127.0.0.1:1", None).expect("a URL");
        let link = Link::new(target, "test".to_owned(), Duration::ZERO);
        web(link, Pool::default(), Arc::default())
    }

    fn submit(broker: &TutorialBroker, id: u128) -> ReplyReceiver {
        let (waiter, pending) = waiter();
        let job = Job {
            id: JobId(id),
            envelope: Envelope {
                request_id: "".into(),
                model: Arc::new(model()),
                priority: Priority::Normal,
                deadline: Deadline::new(Instant::now(), LONG),
            },
            wants: Vec::new(),
            pixels: vec![7; input().elements()],
        };
        broker.submit(job, waiter);
        pending
    }

    fn id(number: u128) -> String {
        JobId(number).to_string()
    }

    #[tokio::test]
    async fn each_reply_reaches_its_own_waiter_once() {
        let (broker, mut task) = broker();
        let (first, second) = (submit(&broker, 1), submit(&broker, 2));
        let Outgoing { id: sent, text } = task.inbox.recv().await.expect("a job");
        assert_eq!(sent, id(1));
        let read = TutorialJob::decode(text.as_bytes()).expect("a job");
        assert_eq!((read.id, read.rgb[0]), (id(1), 7));
        for (number, label) in [(2, "cat"), (1, "dog"), (1, "late"), (3, "unknown")] {
            let text = format!(r#"[{{"label": "{label}", "probability": 0.5}}]"#);
            broker.shared.deliver(&id(number), text.as_bytes());
        }
        for (pending, label) in [(first, "dog"), (second, "cat")] {
            let result = pending.await.expect("an answer").reply.result;
            let Ok([Output::Classes(classes)]) = result.as_deref() else {
                panic!("classes")
            };
            assert_eq!(classes[0].class, Class::Name(label.to_owned()));
        }
        assert_eq!(broker.depth(), 0);
    }

    #[tokio::test]
    async fn a_reply_that_cannot_be_used_is_an_error() {
        let (broker, _task) = broker();
        let pending = submit(&broker, 1);
        broker.shared.deliver(&id(1), b"[]");
        assert!(matches!(pending.await, Err(Error::Internal(_))));
    }

    #[tokio::test]
    async fn no_more_are_under_way_than_the_model_process_takes_twice() {
        let (broker, _task) = broker();
        let _waiting: Vec<ReplyReceiver> = (0..64)
            .map(|number| {
                assert!(broker.wants(), "{number}");
                submit(&broker, number)
            })
            .collect();
        assert!(!broker.wants());
        broker.shared.end(&id(0));
        assert!(broker.wants());
        broker.close();
        let refused = submit(&broker, 100).await.unwrap_err();
        assert_eq!(refused.status().code, "not_ready");
    }
}
