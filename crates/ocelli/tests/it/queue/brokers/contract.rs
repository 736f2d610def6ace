//! What every broker holds to, and what holds over Redis only.

use std::time::{Duration, Instant};

use futures_util::future::{join, join_all};
use ocelli::error::Error;
use ocelli::models::priority::Priority;
use ocelli::output::postprocess::Output;
use ocelli::queue::job::{JobError, Reply};
use ocelli::queue::redis::keys::{GROUP, ModelKeys};
use ocelli::queue::{ImageReply, ReplyReceiver};

use super::full::{a_full_queue_refuses, low_does_not_fill_the_queue};
use super::harness::{Harness, LONG, Limits, compute};
use crate::harness::server::value;
use crate::support::{PATIENCE, eventually};

pub(crate) const ROOMY: Limits = Limits::jobs(100, 32);

/// The contract. `make` makes a new broker with one worker each time.
pub(crate) async fn hold(make: impl AsyncFn(Limits) -> Harness) {
    replies_reach_their_waiters(make(ROOMY).await).await;
    a_full_queue_refuses(make(Limits::jobs(2, 32)).await).await;
    low_does_not_fill_the_queue(make(Limits::jobs(20, 32)).await).await;
    a_higher_priority_overtakes_and_a_low_one_does_not_starve(make(ROOMY).await).await;
    an_abandoned_job_is_not_computed(make(Limits::jobs(100, 1)).await).await;
    what_is_too_late_is_not_computed(make(ROOMY).await).await;
    a_closed_broker_takes_nothing_and_hands_out_what_it_has(make(ROOMY).await).await;
}

/// What holds over Redis on top of that.
pub(crate) async fn redis_holds(make: impl AsyncFn(Limits) -> Harness) {
    let bytes = Limits {
        bytes: 3_120_000, // of which a job with its reply takes between 149,000 and 156,000
        ..ROOMY
    };
    low_does_not_fill_the_queue(make(bytes).await).await;
    a_job_leaves_nothing_behind(make(ROOMY).await).await;
    jobs_of_a_dead_worker_go_to_another(make(ROOMY).await).await;
    a_job_that_another_worker_has_is_left_to_it(make(ROOMY).await).await;
    a_lease_is_renewed_for_as_long_as_it_takes(make(ROOMY).await).await;
    a_worker_that_has_left_takes_nothing_more(make(ROOMY).await).await;
    a_job_that_is_given_up_is_handed_out_again(make(ROOMY).await).await;
    a_job_that_ends_three_workers_alone_is_set_aside(make(ROOMY).await).await;
    what_redis_lost_is_submitted_again(make(ROOMY).await).await;
    entries_that_are_no_jobs_are_refused_without_harm(make(ROOMY).await).await;
    only_who_has_ended_with_nothing_left_is_forgotten(make(ROOMY).await).await;
}

/// One job is leased when the master dies, one waits, and one comes when another is in charge.
pub(crate) async fn a_dead_master_is_survived(harness: Harness, kill: impl AsyncFnOnce()) {
    let pending = harness
        .submit_all(&[(1, Priority::Normal), (2, Priority::Normal)])
        .await;
    let held = harness.worker.lease(1).await;
    kill().await;
    held.into_iter().for_each(compute);
    let later = async {
        loop {
            match heard(harness.submit(3, Priority::Normal, LONG)).await {
                Ok(answer) => break score_of(answer),
                Err(Error::BrokerUnavailable(_) | Error::BrokerFailed(_)) => {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                Err(error) => panic!("{error}"),
            }
        }
    };
    // What the new master had not heard of is submitted again; all are computed in the end.
    let all = join(later, join_all(pending.into_iter().map(score)));
    let computing = async {
        loop {
            harness.worker.queue.lease(9).into_iter().for_each(compute);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::select! {
        scores = all => assert_eq!(scores, (3.0, vec![1.0, 2.0])),
        () = computing => {}
    }
}

pub(super) async fn heard(pending: ReplyReceiver) -> Result<ImageReply, Error> {
    let heard = tokio::time::timeout(PATIENCE, pending).await;
    heard.expect("an answer in time")
}

pub(super) async fn score(pending: ReplyReceiver) -> f32 {
    score_of(heard(pending).await.expect("an answer"))
}

fn score_of(answer: ImageReply) -> f32 {
    let Reply { result, cost } = answer.reply;
    assert_eq!((cost.batch_size, cost.infer), (3, Duration::from_millis(7)));
    let Ok([Output::Vector(vector)]) = result.as_deref() else {
        panic!("not the one vector that was wanted: {result:?}")
    };
    vector[0]
}

async fn replies_reach_their_waiters(harness: Harness) {
    let jobs: Vec<(u8, Priority)> = (1..=6).map(|pixel| (pixel, Priority::Normal)).collect();
    let pending = harness.submit_all(&jobs).await;
    let mut leased = harness.worker.lease(4).await;
    leased.extend(harness.worker.lease(2).await);
    let order: Vec<u8> = leased.iter().map(|leased| leased.job.pixels[0]).collect();
    assert_eq!(order, [1, 2, 3, 4, 5, 6], "first come, first served");
    for (pixel, leased) in (1..).zip(&leased) {
        let envelope = &leased.job.envelope;
        assert_eq!(*envelope.request_id, format!("request-{pixel}"));
        assert_eq!(envelope.model.id, harness.model.id);
        let left = envelope.deadline.at.saturating_duration_since(Instant::now());
        assert!(left > LONG / 2 && left <= LONG, "{left:?}");
    }
    leased.into_iter().rev().for_each(compute);
    for (pixel, pending) in (1..).zip(pending) {
        assert_eq!(
            score(pending).await,
            pixel as f32,
            "a reply reached another waiter"
        );
    }
    assert!(
        harness.worker.queue.lease(9).is_empty(),
        "no job is handed out twice"
    );
}

async fn a_higher_priority_overtakes_and_a_low_one_does_not_starve(harness: Harness) {
    let mut jobs = vec![(1, Priority::Low), (2, Priority::Low)];
    jobs.extend([(3, Priority::Normal); 4]);
    jobs.extend([(4, Priority::High); 16]);
    let pending = harness.submit_all(&jobs).await;
    harness.worker.fetched(22).await;
    let mut order = Vec::new();
    for leased in harness.worker.lease(22).await {
        order.push(leased.job.pixels[0]);
        compute(leased);
    }
    assert_eq!(order[0], 4, "high goes first: {order:?}");
    let first_low = order.iter().position(|&pixel| pixel == 1).expect("it is there");
    assert!(first_low < 16, "low starves while high waits: {order:?}");
    assert!(order[first_low..].contains(&4), "{order:?}");
    for pending in pending {
        score(pending).await;
    }
}

async fn an_abandoned_job_is_not_computed(harness: Harness) {
    // The worker has room for one, so that the others wait where they were submitted to.
    let jobs: Vec<(u8, Priority)> = (1..=4).map(|pixel| (pixel, Priority::Normal)).collect();
    let mut pending = harness.submit_all(&jobs).await;
    drop(pending.remove(2));
    harness.broker.drop_dead();
    eventually("the job that was left is dropped", async || {
        // Over memory it goes when a batch is drawn.
        matches!(harness.broker, ocelli::queue::Broker::Memory(_)) || dropped(&harness, "client_gone") == 1.0
    })
    .await;
    let mut order = Vec::new();
    for _ in 0..3 {
        for leased in harness.worker.lease(1).await {
            order.push(leased.job.pixels[0]);
            compute(leased);
        }
    }
    assert_eq!(order, [1, 2, 4]);
    for pending in pending {
        score(pending).await;
    }
    assert_eq!(dropped(&harness, "client_gone"), 1.0);
}

async fn what_is_too_late_is_not_computed(harness: Harness) {
    // Its deadline is the moment at which it was submitted.
    let late = harness.submit(1, Priority::Normal, Duration::ZERO);
    let pending = harness.submit(2, Priority::Normal, LONG);
    let leased = harness.worker.lease(1).await;
    assert_eq!(leased[0].job.pixels[0], 2, "the deadline of the first has passed");
    leased.into_iter().for_each(compute);
    score(pending).await;
    let answer = heard(late).await.expect("an answer").reply.result;
    assert_eq!(answer, Err(JobError::DeadlinePassed));
}

async fn a_closed_broker_takes_nothing_and_hands_out_what_it_has(harness: Harness) {
    let pending = harness.submit_all(&[(1, Priority::Normal)]).await;
    harness.broker.close();
    let refused = heard(harness.submit(2, Priority::Normal, LONG))
        .await
        .expect_err("it is closed");
    assert_eq!(refused.status().code, "not_ready");
    harness.worker.lease(1).await.into_iter().for_each(compute);
    for pending in pending {
        assert_eq!(score(pending).await, 1.0);
    }
}

/// Keys of the harness's model.
fn keys(harness: &Harness) -> ModelKeys {
    ModelKeys::new(harness.prefix(), &harness.model.id)
}

async fn length(harness: &Harness, key: &str) -> usize {
    harness.command(::redis::cmd("XLEN").arg(key)).await
}

async fn a_job_leaves_nothing_behind(harness: Harness) {
    let pending = harness
        .submit_all(&[(1, Priority::High), (2, Priority::Low)])
        .await;
    harness.worker.lease(2).await.into_iter().for_each(compute);
    for pending in pending {
        score(pending).await;
    }
    let keys = keys(&harness);
    eventually("the job streams are empty", async || {
        length(&harness, &keys.jobs[0]).await + length(&harness, &keys.jobs[2]).await == 0
    })
    .await;
    let bytes: String = harness.command(::redis::cmd("GET").arg(&keys.bytes)).await;
    assert_eq!(bytes, "0", "the bytes of the jobs are given back");
    let replies = ocelli::queue::redis::keys::replies(harness.prefix(), "web");
    eventually("the replies are deleted", async || {
        length(&harness, &replies).await == 0
    })
    .await;
    let index: bool = harness.command(::redis::cmd("EXISTS").arg(&keys.index)).await;
    assert!(!index, "the index knows nothing any more");
    for key in keys.jobs.iter().chain([&keys.bytes, &replies]) {
        let life: i64 = harness.command(::redis::cmd("PTTL").arg(key)).await;
        assert!(life > 0, "{key} would stay forever");
    }
}

async fn jobs_of_a_dead_worker_go_to_another(mut harness: Harness) {
    let pending = harness
        .submit_all(&[(1, Priority::Normal), (2, Priority::Normal)])
        .await;
    // One is being computed, one waits for its turn there.
    let held = harness.worker.lease(1).await;
    harness.worker.fetched(1).await;
    harness.worker.crash();
    let second = harness.another_worker("worker-1");
    for _ in 0..2 {
        let mut alone = second.lease(1).await;
        assert!(second.queue.lease(9).is_empty(), "a suspect is computed alone");
        alone.drain(..).for_each(compute);
    }
    for (pixel, pending) in (1..).zip(pending) {
        assert_eq!(score(pending).await, pixel as f32);
    }
    // The first worker was only frozen, and continues: its replies have no waiters any more.
    held.into_iter().for_each(compute);
    assert_eq!(counted(&second, "ocelli_redelivered_total"), 2.0);
}

/// The script that workers run once a minute, on streams of this test's own.
async fn only_who_has_ended_with_nothing_left_is_forgotten(harness: Harness) {
    let streams = ["high", "normal", "low"].map(|name| format!("{}:{{tidy}}:{name}", harness.prefix()));
    let stream = streams[1].as_str();
    let run = async |words: &[&str]| -> ::redis::Value {
        harness.command(::redis::cmd(words[0]).arg(&words[1..])).await
    };
    run(&["XGROUP", "CREATE", stream, "workers", "0", "MKSTREAM"]).await;
    run(&["XADD", stream, "*", "j", "x"]).await;
    for consumer in ["ended", "live"] {
        run(&["XGROUP", "CREATECONSUMER", stream, "workers", consumer]).await;
    }
    run(&["XREADGROUP", "GROUP", "workers", "died", "STREAMS", stream, ">"]).await;
    let mut tidy = ::redis::cmd("EVAL");
    tidy.arg(include_str!("../../../../src/queue/redis/lua/tidy.lua"))
        .arg(3)
        .arg(&streams)
        .arg("workers")
        .arg("live");
    assert_eq!(harness.command::<usize>(&tidy).await, 1);
    let left = format!("{:?}", run(&["XINFO", "CONSUMERS", stream, "workers"]).await);
    for (consumer, stays) in [("ended", false), ("live", true), ("died", true)] {
        assert_eq!(left.contains(consumer), stays, "{consumer}: {left}");
    }
    run(&["DEL", stream]).await;
}

async fn a_job_that_another_worker_has_is_left_to_it(harness: Harness) {
    let pending = harness.submit(1, Priority::Normal, LONG);
    harness.worker.fetched(1).await;
    let keys = keys(&harness);
    // Another worker takes it, as if this one had been frozen.
    let mut claim = ::redis::cmd("XAUTOCLAIM");
    claim
        .arg(&keys.jobs[1])
        .arg("workers")
        .arg("other")
        .arg(0)
        .arg("0-0");
    let _: ::redis::Value = harness.command(&claim).await;
    eventually("the first worker knows it", async || {
        counted(&harness.worker, "ocelli_lost_leases_total") == 1.0
    })
    .await;
    assert!(harness.worker.queue.lease(9).is_empty());
    assert_eq!(
        counted(&harness.worker, "ocelli_dropped_total{reason=\"lease_lost\"}"),
        1.0
    );
    // The other one never renews its lease, so that the first may have the job again.
    harness.worker.lease(1).await.into_iter().for_each(compute);
    assert_eq!(score(pending).await, 1.0, "no error ended the wait");
}

async fn a_lease_is_renewed_for_as_long_as_it_takes(harness: Harness) {
    let other = harness.another_worker("worker-1");
    let pending = harness.submit(1, Priority::Normal, LONG);
    let mut held = harness.worker.queue.lease(1);
    eventually("one of them has it", async || {
        held.extend(harness.worker.queue.lease(1));
        held.extend(other.queue.lease(1));
        held.len() == 1
    })
    .await;
    let keys = keys(&harness);
    let mut ask = ::redis::cmd("XPENDING");
    ask.arg(&keys.jobs[1]).arg("workers").arg("-").arg("+").arg(9);
    // A worker renews three times in the life of a lease, and each renewal sets the idle time back.
    let (mut renewals, mut before) = (0, 0);
    eventually("it was renewed for three leases", async || {
        let pending: Vec<(String, String, u64, u64)> = harness.command(&ask).await;
        let [(_, _, idle, deliveries)] = pending[..] else {
            panic!("{pending:?}")
        };
        assert_eq!(deliveries, 1, "it was leased again while it was being computed");
        renewals += usize::from(idle < before);
        before = idle;
        renewals >= 9
    })
    .await;
    held.into_iter().for_each(compute);
    score(pending).await;
    for worker in [&harness.worker, &other] {
        assert_eq!(counted(worker, "ocelli_redelivered_total"), 0.0);
    }
}

async fn a_worker_that_has_left_takes_nothing_more(harness: Harness) {
    let first = harness.submit(7, Priority::Normal, LONG);
    harness.worker.lease(1).await.into_iter().for_each(compute);
    score(first).await;
    // It reads on, and that read blocks.
    harness.worker.stop_leasing().await;
    harness.worker.finished().await;
    let pending = harness.submit(1, Priority::Normal, LONG);
    let key = &keys(&harness).jobs[1];
    eventually("the job is queued", async || length(&harness, key).await == 1).await;
    let held: (usize, Option<String>, Option<String>, redis::Value) = harness
        .command(::redis::cmd("XPENDING").arg(key).arg(GROUP))
        .await;
    assert_eq!(held.0, 0, "its lease would have to run out first");
    let next = harness.another_worker("worker-1");
    next.lease(1).await.into_iter().for_each(compute);
    assert_eq!(score(pending).await, 1.0);
    assert_eq!(counted(&next, "ocelli_redelivered_total"), 0.0);
}

async fn a_job_that_is_given_up_is_handed_out_again(harness: Harness) {
    let pending = harness.submit(1, Priority::Normal, LONG);
    drop(harness.worker.lease(1).await);
    harness.worker.lease(1).await.into_iter().for_each(compute);
    assert_eq!(score(pending).await, 1.0);
}

async fn a_job_that_ends_three_workers_alone_is_set_aside(mut harness: Harness) {
    let (poison, innocent) = (
        harness.submit(13, Priority::Normal, LONG),
        harness.submit(1, Priority::Normal, LONG),
    );
    // Both are in one batch, so that neither is to blame for the first crash.
    let batch = harness.worker.lease(2).await;
    harness.worker.crash();
    drop(batch);
    for crash in 1..=3 {
        let mut worker = harness.another_worker(&format!("worker-{crash}"));
        loop {
            let suspect = worker.lease(1).await.pop().expect("one");
            if suspect.job.pixels[0] == 13 {
                worker.crash();
                break;
            }
            compute(suspect);
        }
    }
    assert_eq!(score(innocent).await, 1.0);
    let last = harness.another_worker("worker-4");
    let answer = heard(poison).await.expect("an answer").reply.result;
    assert_eq!(answer, Err(JobError::Poisonous));
    assert!(last.queue.lease(1).is_empty());
    assert_eq!(counted(&last, "ocelli_dead_letters_total"), 1.0);
    let keys = keys(&harness);
    assert_eq!(length(&harness, &keys.dead).await, 1);
    eventually("it is not queued any more", async || {
        length(&harness, &keys.jobs[1]).await == 0
    })
    .await;
    let notes: bool = harness.command(::redis::cmd("EXISTS").arg(&keys.crashes)).await;
    assert!(!notes, "no note about it is left");
}

async fn what_redis_lost_is_submitted_again(harness: Harness) {
    harness.worker.stop_leasing().await;
    let pending = harness.submit_all(&[(1, Priority::Normal)]).await;
    let keys = keys(&harness);
    for key in keys.jobs.iter().chain([&keys.bytes, &keys.index]) {
        let _: i64 = harness.command(::redis::cmd("DEL").arg(key)).await;
    }
    let worker = harness.another_worker("worker-1");
    worker.lease(1).await.into_iter().for_each(compute);
    for pending in pending {
        assert_eq!(score(pending).await, 1.0);
    }
    let metrics = harness.metrics.encode().expect("encodes");
    assert!(value(&metrics, "ocelli_resubmitted_total") >= 1.0);
}

async fn entries_that_are_no_jobs_are_refused_without_harm(harness: Harness) {
    let keys = keys(&harness);
    for fields in [
        ["x", "y", "z", "w"],
        ["j", "Jxx\u{1}", "t", "soon"],
        ["p", "", "j", ""],
    ] {
        let mut add = ::redis::cmd("XADD");
        let _: String = harness
            .command(add.arg(&keys.jobs[1]).arg("*").arg(&fields))
            .await;
    }
    let replies = ocelli::queue::redis::keys::replies(harness.prefix(), "web");
    let mut add = ::redis::cmd("XADD");
    let _: String = harness
        .command(add.arg(&replies).arg("*").arg("r").arg("garbage"))
        .await;
    let pending = harness.submit(1, Priority::Normal, LONG);
    harness.worker.lease(1).await.into_iter().for_each(compute);
    assert_eq!(score(pending).await, 1.0);
    eventually("the garbage is gone", async || {
        length(&harness, &keys.jobs[1]).await == 0
    })
    .await;
    for (what, count) in [("garbage", 2.0), ("newer", 1.0)] {
        let name = format!("ocelli_refused_messages_total{{what=\"{what}\"}}");
        assert_eq!(counted(&harness.worker, &name), count, "{what}");
    }
    let metrics = harness.metrics.encode().expect("encodes");
    assert_eq!(
        value(&metrics, "ocelli_refused_messages_total{what=\"reply\"}"),
        1.0
    );
}

fn dropped(harness: &Harness, reason: &str) -> f64 {
    let metrics = harness.metrics.encode().expect("encodes");
    value(&metrics, &format!("ocelli_dropped_total{{reason=\"{reason}\"}}"))
}

fn counted(worker: &super::harness::Worker, name: &str) -> f64 {
    value(&worker.metrics.encode().expect("encodes"), name)
}
