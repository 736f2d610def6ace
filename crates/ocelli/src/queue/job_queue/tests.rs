use std::sync::LazyLock;
use std::time::Duration;

use crate::models::served_model::{self, ServedModel};
use crate::queue::job::{Job, JobCost, JobError, JobId, Reply};
use crate::queue::job_queue::*;
use crate::queue::{Deadline, Envelope, Receipt, ReplyReceiver, waiter};

static MODEL: LazyLock<Arc<ServedModel>> = LazyLock::new(|| {
    let (model, _) = ServedModel::split(served_model::builtin().expect("it is valid"));
    Arc::new(model)
});

fn queue(capacity: usize, metrics: Arc<Metrics>) -> ModelQueue {
    JobQueue::new(metrics).open(&MODEL.id, capacity, Refill::Pool(Pool::default()))
}

fn job(pixel: u8, priority: Priority, life: Duration) -> (Leased, ReplyReceiver) {
    let (waiter, pending) = waiter();
    let job = Job {
        id: JobId::random(),
        envelope: Envelope {
            request_id: "".into(),
            model: Arc::clone(&MODEL),
            priority,
            deadline: Deadline::new(Instant::now(), life),
        },
        wants: Vec::new(),
        pixels: vec![pixel],
    };
    (Leased::new(job, Receipt::ReplySender(waiter)), pending)
}

fn push(
    queue: &ModelQueue,
    pixel: u8,
    priority: Priority,
    life: Duration,
) -> Result<ReplyReceiver, QueueFull> {
    let (leased, pending) = job(pixel, priority, life);
    queue.push(leased).map(|()| pending)
}

fn submit(queue: &ModelQueue, pixel: u8, life: Duration) -> Result<ReplyReceiver, QueueFull> {
    push(queue, pixel, Priority::Normal, life)
}

fn first_pixels(jobs: &[Leased]) -> Vec<u8> {
    jobs.iter().map(|leased| leased.job.pixels[0]).collect()
}

const LONG: Duration = Duration::from_secs(3600);

#[tokio::test]
async fn jobs_leave_in_order_once_and_answers_reach_their_waiters() {
    let queue = queue(8, Arc::default());
    let waiting: Vec<ReplyReceiver> = (0..3)
        .map(|pixel| submit(&queue, pixel, LONG).expect("room"))
        .collect();
    assert!(queue.lease(0).is_empty());
    let mut jobs = queue.lease(2);
    jobs.extend(queue.lease(2));
    assert_eq!(first_pixels(&jobs), [0, 1, 2]);
    assert!(queue.lease(2).is_empty(), "no job leaves twice");
    for (index, leased) in jobs.into_iter().enumerate().rev() {
        let cost = JobCost {
            batch_size: index,
            ..JobCost::default()
        };
        leased.complete(Reply {
            result: Ok(Vec::new()),
            cost,
        });
    }
    for (index, pending) in waiting.into_iter().enumerate() {
        assert_eq!(pending.await.expect("an answer").reply.cost.batch_size, index);
    }
}

#[tokio::test]
async fn the_waiter_of_a_dropped_job_gets_an_error() {
    let queue = queue(8, Arc::default());
    let pending = submit(&queue, 0, LONG).expect("room");
    drop(queue.lease(1));
    assert!(matches!(pending.await, Err(Error::Internal(_))));
}

#[tokio::test]
async fn the_dead_are_not_handed_out_and_are_counted() {
    let metrics = Arc::new(Metrics::default());
    let queue = queue(8, Arc::clone(&metrics));
    drop(submit(&queue, 0, LONG).expect("room"));
    let late = submit(&queue, 1, Duration::ZERO).expect("room");
    let _waiting = submit(&queue, 2, LONG).expect("room");
    assert_eq!(first_pixels(&queue.lease(8)), [2]);
    assert_eq!(
        late.await.expect("an answer").reply.result,
        Err(JobError::DeadlinePassed)
    );
    let text = metrics.encode().expect("encodes");
    for reason in ["client_gone", "deadline_passed"] {
        let line = format!("ocelli_dropped_total{{reason=\"{reason}\"}} 1");
        assert!(text.contains(&line), "{text}");
    }
}

#[tokio::test]
async fn a_job_that_cannot_meet_its_deadline_is_answered_and_counted_as_such() {
    let metrics = Arc::<Metrics>::default();
    let (leased, pending) = job(0, Priority::Normal, LONG);
    leased.drop_undone(Instant::now(), &metrics);
    assert_eq!(
        pending.await.expect("an answer").reply.result,
        Err(JobError::DeadlinePassed)
    );
    let text = metrics.encode().expect("encodes");
    let line = "ocelli_dropped_total{reason=\"deadline_unreachable\"} 1";
    assert!(text.contains(line), "{text}");
}

#[test]
fn a_higher_priority_overtakes_waiting_jobs() {
    let queue = queue(8, Arc::default());
    let _waiting: Vec<_> = [(0, Priority::Low), (1, Priority::Normal), (2, Priority::High)]
        .map(|(pixel, priority)| push(&queue, pixel, priority, LONG).expect("room"))
        .into();
    assert_eq!(queue.depth_of(Priority::Low), 1);
    assert_eq!(first_pixels(&queue.lease(8)), [2, 1, 0]);
}

#[test]
fn a_full_queue_refuses_unless_it_is_full_of_the_dead() {
    let queue = queue(2, Arc::default());
    let first = submit(&queue, 0, LONG).expect("room");
    let _second = submit(&queue, 1, LONG).expect("room");
    assert!(matches!(submit(&queue, 2, LONG), Err(QueueFull::Full(_))));
    drop(first);
    let _third = submit(&queue, 3, LONG).expect("the place of the one who left");
    assert_eq!(first_pixels(&queue.lease(8)), [1, 3]);
}

#[test]
fn low_leaves_room_for_normal_and_both_leave_room_for_high() {
    let queue = queue(20, Arc::default());
    let mut pending = Vec::new();
    let counts = [Priority::Low, Priority::Normal, Priority::High].map(|priority| {
        let before = pending.len();
        pending.extend(std::iter::from_fn(|| push(&queue, 0, priority, LONG).ok()));
        pending.len() - before
    });
    assert_eq!(counts, [16, 2, 2]);
}

#[test]
fn what_was_admitted_is_queued_though_higher_priorities_came_in_between() {
    let queue = queue(10, Arc::default());
    let high: Vec<_> = (0..2)
        .map(|pixel| push(&queue, pixel, Priority::High, LONG).expect("room"))
        .collect();
    // Eight of low were admitted before, and are decoded only now.
    let low: Vec<_> = (0..8)
        .map(|pixel| push(&queue, pixel, Priority::Low, LONG).expect("room"))
        .collect();
    assert_eq!(high.len() + low.len(), queue.depth());
}

#[test]
fn what_was_accepted_before_the_close_is_still_handed_out() {
    let queue = queue(8, Arc::default());
    let _pending = submit(&queue, 0, LONG).expect("open");
    queue.close();
    assert!(matches!(submit(&queue, 1, LONG), Err(QueueFull::Closed(_))));
    assert_eq!(queue.depth(), 1);
    assert_eq!(first_pixels(&queue.lease(8)), [0]);
}

#[test]
fn jobs_of_a_priority_are_wanted_until_enough_of_it_wait_for_a_worker() {
    let queue = queue(8, Arc::default());
    let wants = || Priority::ALL.map(|priority| queue.wants(priority));
    let hurries = || Priority::ALL.map(|priority| queue.hurries(priority));
    assert_eq!(
        (wants(), hurries()),
        ([false; 3], [false; 3]),
        "the model has no queue"
    );
    queue.serve(Pool::default(), 2);
    assert_eq!(
        hurries(),
        [true, false, false],
        "high is urgent, the others would overtake nothing"
    );
    let _first = submit(&queue, 0, LONG).expect("room");
    assert_eq!(wants(), [true; 3]);
    let _second = submit(&queue, 1, LONG).expect("room");
    assert_eq!(wants(), [true, false, true], "the others have room of their own");
    assert_eq!(queue.lease(1).len(), 1);
    assert_eq!(wants(), [true; 3]);
    let (low, _low) = job(2, Priority::Low, LONG);
    queue.push(low).expect("room");
    assert_eq!(queue.lease(1).len(), 1);
    assert_eq!(
        hurries(),
        [true, true, false],
        "normal would overtake the low one that waits"
    );
}

#[test]
fn a_model_that_is_gone_leaves_no_queue_behind_and_none_is_made_for_it() {
    let queues = JobQueue::new(Arc::default());
    let _queue = queues.open(&MODEL.id, 8, Refill::Pool(Pool::default()));
    let (first, _first) = job(0, Priority::Normal, LONG);
    let (second, _second) = job(1, Priority::Normal, LONG);
    queues.push(first).expect("there is a queue");
    assert_eq!((queues.len(), queues.depth()), (1, 1));
    queues.remove(&MODEL.id);
    assert!(matches!(queues.push(second), Err(QueueFull::Closed(_))));
    assert!(queues.is_empty());
}

#[tokio::test]
async fn a_removed_queue_refuses_its_jobs_while_references_to_it_remain() {
    let queues = JobQueue::new(Arc::default());
    let held = queues.open(&MODEL.id, 2, Refill::Pool(Pool::default()));
    let pending = submit(&held, 1, LONG).expect("room");
    queues.remove(&MODEL.id);
    assert_eq!(pending.await.unwrap_err(), Error::Unloaded);
    assert!(submit(&held, 2, LONG).is_err(), "it is closed");
}
