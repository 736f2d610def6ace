//! Batches: formed while the engine is busy, taken apart without mixing anybody up.

use futures_util::future::join_all;

use crate::harness::photos;
use crate::harness::server::{Server, Setup};

#[tokio::test]
async fn an_idle_engine_takes_what_is_there() {
    let server = Server::start().await;
    for level in [1, 2, 3] {
        server.photo(&photos::grey(level)).send().await.ok();
    }
    assert_eq!(server.engine.batch_sizes(), [1, 1, 1]);
}

#[tokio::test]
async fn a_batch_forms_while_the_engine_is_busy() {
    let server = Server::start().await;
    let first = server.occupy().await;
    let rest: Vec<_> = (2..=10)
        .map(|level| server.photo(&photos::grey(level)).spawn())
        .collect();
    server.metric_is("ocelli_queue_depth", 9.0).await;
    assert_eq!(server.engine.batch_sizes(), [1]);
    server.engine.release();
    for answer in join_all(rest).await {
        answer.unwrap().ok();
    }
    first.await.unwrap().ok();
    assert_eq!(server.engine.batch_sizes(), [1, 8, 1]);
    for (bound, batches) in [("1.0", 2.0), ("8.0", 3.0)] {
        let bucket = format!("ocelli_batch_size_bucket{{le=\"{bound}\"}}");
        assert_eq!(server.metric(&bucket).await, batches, "{bucket}");
    }
    server.is_well().await;
}

#[tokio::test]
async fn everybody_gets_the_answer_to_their_own_photo() {
    let mut setup = Setup::default();
    setup.pipeline.worker.max_batch = Some(7);
    let server = setup.start().await;
    server.engine.hold();
    let asked: Vec<_> = (1..=60)
        .map(|level| (level, server.photo(&photos::grey(level)).spawn()))
        .collect();
    server.held(1).await;
    server.metric_is("ocelli_admitted_images", 60.0).await;
    server.engine.release();
    for (level, answer) in asked {
        assert_eq!(
            answer.await.unwrap().best(),
            photos::grey(level).label(),
            "of grey {level}"
        );
    }
    assert_eq!(server.engine.items(), 60);
    assert!(server.engine.batches() < 60, "some of them shared a batch");
    server.is_well().await;
}

#[tokio::test]
async fn instances_run_side_by_side() {
    let mut setup = Setup::default();
    setup.pipeline.worker.instances = Some(3);
    let server = setup.start().await;
    server.engine.hold();
    let asked: Vec<_> = (1..=3)
        .map(|level| (level, server.photo(&photos::grey(level)).spawn()))
        .collect();
    server.held(3).await;
    assert_eq!(
        server.engine.batch_sizes(),
        [1, 1, 1],
        "free engines share the waiting jobs"
    );
    server.engine.release();
    for (level, answer) in asked {
        assert_eq!(answer.await.unwrap().best(), photos::grey(level).label());
    }
    server.is_well().await;
}

#[tokio::test]
async fn a_delay_lets_a_batch_fill_up() {
    let mut setup = Setup::default();
    setup.pipeline.worker.max_batch = Some(3);
    // Far longer than the test: only a full batch may leave.
    setup.pipeline.worker.max_delay = crate::PATIENCE * 10;
    let server = setup.start().await;
    let asked: Vec<_> = (1..=6)
        .map(|level| server.photo(&photos::grey(level)).spawn())
        .collect();
    for answer in asked {
        answer.await.unwrap().ok();
    }
    assert_eq!(server.engine.batch_sizes(), [3, 3]);
    server.is_empty().await;
}
