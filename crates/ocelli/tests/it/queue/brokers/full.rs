//! What a queue that is full refuses, and for whom it keeps room.

use ocelli::error::Error;
use ocelli::models::priority::Priority;

use super::contract::{heard, score};
use super::harness::{Harness, LONG, compute};

pub(super) async fn a_full_queue_refuses(harness: Harness) {
    let waiting = harness
        .submit_all(&[(1, Priority::Normal), (2, Priority::Low)])
        .await;
    let refused = heard(harness.submit(3, Priority::High, LONG))
        .await
        .expect_err("no room");
    assert!(matches!(refused, Error::QueueFull { .. }), "{refused}");
    harness.worker.lease(2).await.into_iter().for_each(compute);
    for pending in waiting {
        score(pending).await;
    }
    // A reply comes before its job is taken away, so that it may be refused for a moment more.
    let pending = loop {
        let mut pending = harness.submit(4, Priority::Normal, LONG);
        tokio::select! {
            refused = &mut pending => assert!(matches!(refused, Err(Error::QueueFull { .. })), "{refused:?}"),
            () = harness.worker.fetched(1) => break pending,
        }
    };
    harness.worker.lease(1).await.into_iter().for_each(compute);
    assert_eq!(score(pending).await, 4.0, "there is room again");
}

/// Each priority in turn is submitted until it is refused.
pub(super) async fn low_does_not_fill_the_queue(harness: Harness) {
    let mut waiting = Vec::new();
    let mut counts = Vec::new();
    for priority in [Priority::Low, Priority::Normal, Priority::High] {
        let before = waiting.len();
        loop {
            let mut pending = harness.submit(1, priority, LONG);
            tokio::select! {
                refused = &mut pending => {
                    let refused = refused.expect_err("nothing is computed");
                    assert!(matches!(refused, Error::QueueFull { .. }), "{refused}");
                    break;
                }
                () = harness.worker.fetched(waiting.len() + 1) => waiting.push(pending),
            }
        }
        counts.push(waiting.len() - before);
    }
    assert_eq!(counts, [16, 2, 2], "of room for 20");
    harness.worker.lease(20).await.into_iter().for_each(compute);
    for pending in waiting {
        score(pending).await;
    }
}
