//! Lower priorities leave a part of every store free, not of the queue alone: of the jobs that are kept, and of a Redis whose
//! memory is what limits the queue. What queues do is in the contract of the brokers and in `priorities`.

use crate::harness::client::Answer;
use crate::harness::photos;
use crate::harness::server::Setup;
use crate::jobs::over_redis::webs_without_worker;
use crate::jobs::{accepted, job};
use crate::support::redis::{Binary, Options, RedisServer};

/// Bytes that the result of one image with five classes may have.
const RESULT: u64 = 1024 + 5 * 32;

/// Asks with each priority in turn until that is refused. Gives how many were accepted of each, and the refusals.
async fn fill(ask: impl AsyncFn(&str) -> Answer) -> ([usize; 3], [Answer; 3]) {
    let mut counts = [0; 3];
    let mut refusals = Vec::new();
    for (count, priority) in counts.iter_mut().zip(["low", "normal", "high"]) {
        let refused = loop {
            let answer = ask(priority).await;
            if answer.status != 202 {
                break answer;
            }
            accepted(&answer);
            *count += 1;
        };
        refusals.push(refused);
    }
    (counts, refusals.try_into().unwrap())
}

#[tokio::test]
async fn low_cannot_take_all_places_of_jobs_that_are_kept_in_one_process() {
    for (images, bytes) in [(20, 1 << 30), (10_000, 20 * RESULT)] {
        let mut setup = Setup::default();
        setup.jobs.limit.images = images;
        setup.jobs.limit.bytes = bytes;
        let server = setup.start().await;
        let ask = async |priority: &str| {
            let call = job(server.address, &[photos::grey(1)]);
            call.header("x-priority", priority).send().await
        };
        let (counts, refusals) = fill(ask).await;
        assert_eq!(counts, [16, 2, 2], "of room for 20");
        for refused in refusals {
            refused.refused(429, "too_many_jobs");
        }
        server.is_well().await;
    }
}

#[tokio::test]
async fn a_job_that_its_priority_never_has_room_for_is_refused_for_good() {
    let mut setup = Setup::default();
    setup.jobs.limit.images = 5;
    let server = setup.start().await;
    let five = [1, 2, 3, 4, 5].map(photos::grey);
    let low = job(server.address, &five).header("x-priority", "low");
    let text = low.send().await.refused(413, "too_large");
    assert!(text.contains("--max-job-images"), "{text}");
    accepted(&job(server.address, &five).send().await);
    server.is_empty().await;
}

#[tokio::test]
async fn low_cannot_take_all_places_of_jobs_that_are_kept_over_redis() {
    let Some(binary) = Binary::redis() else { return };
    for limit in [
        ["--max-job-images", "20"],
        ["--max-job-bytes", &(20 * RESULT).to_string()],
    ] {
        let redis = RedisServer::start(&binary, Options::default()).await;
        let webs = webs_without_worker(&redis.url(), &limit).await;
        let ask = async |priority: &str| {
            // The limit is that of all processes together.
            let web = &webs[usize::from(priority == "normal")];
            let call = job(web.address, &[photos::grey(1)]);
            call.header("x-priority", priority).send().await
        };
        let (counts, refusals) = fill(ask).await;
        assert_eq!(counts, [16, 2, 2], "of room for 20, {limit:?}");
        for refused in refusals {
            refused.refused(429, "too_many_jobs");
        }
    }
}

#[tokio::test]
async fn low_cannot_fill_the_memory_of_redis() {
    let Some(binary) = Binary::redis() else { return };
    let redis = RedisServer::start(&binary, Options::default()).await;
    let [web, _] = webs_without_worker(&redis.url(), &[]).await;
    let used: u64 = redis.info("used_memory").await.parse().unwrap();
    // Room for about forty jobs, far less than the queue's own limits.
    let most = (used + (7 << 20)).to_string();
    redis.command::<()>(&["CONFIG", "SET", "maxmemory", &most]).await;
    let ask = async |priority: &str| {
        let call = job(web.address, &[photos::grey(1)]);
        call.header("x-priority", priority).send().await
    };
    let (counts, [low, normal, high]) = fill(ask).await;
    let [of_low, of_normal, of_high] = counts;
    assert!(
        of_low > of_normal + of_high && of_normal > 0 && of_high > 0,
        "{counts:?}"
    );
    low.refused(429, "queue_full");
    normal.refused(429, "queue_full");
    high.refused(503, "broker_unavailable");
}
