//! An engine that fails: its batch hears so, everybody else is served, and the engine comes back.

use futures_util::future::join_all;
use ocelli_engine::fake::FakeFailure;

use crate::harness::client::Answer;
use crate::harness::photos;
use crate::harness::server::{Server, Setup};
use crate::models::repository::Shelf;
use crate::{PATIENCE, eventually};

/// One photo is computed, eight fail together, and one comes after them.
async fn fails_alone(failure: FakeFailure) {
    let server = Server::start().await;
    let first = server.occupy().await;
    let ask = |level| server.photo(&photos::grey(level)).spawn();
    let queued: Vec<_> = (2..=10).map(ask).collect();
    // One more than fits into a batch.
    server.metric_is("ocelli_queue_depth", 9.0).await;
    let loads = server.engine.loads();
    server.engine.fail_nth(0, failure);
    server.engine.release();
    let answers = join_all(queued).await.into_iter().map(Result::unwrap);
    assert_eq!(first.await.unwrap().best(), photos::grey(1).label());
    let (failed, served): (Vec<Answer>, Vec<Answer>) = answers.partition(|answer| answer.status == 500);
    assert_eq!(
        (failed.len(), served.len()),
        (8, 1),
        "only the requests of the failed batch fail"
    );
    for answer in &failed {
        let error = answer.refused(500, "internal");
        assert!(!error.contains("scripted"), "details are for the log: {error}");
    }
    served[0].ok();
    eventually("the instance is rebuilt", async || {
        server.engine.live_instances() == 1
    })
    .await;
    assert_eq!(server.engine.loads(), loads + 1);
    assert_eq!(server.metric("ocelli_engine_faults_total").await, 1.0);
    server.ready().await;
    server.is_well().await;
}

#[tokio::test]
async fn a_fault_fails_its_batch_and_nothing_else() {
    fails_alone(FakeFailure::Fault).await;
}

#[tokio::test]
async fn a_panic_fails_its_batch_and_nothing_else() {
    fails_alone(FakeFailure::Panic).await;
}

#[tokio::test]
async fn refused_input_fails_its_batch_and_nothing_else() {
    fails_alone(FakeFailure::BadInput).await;
}

#[tokio::test]
async fn a_rebuild_that_fails_makes_the_server_unready_until_one_succeeds() {
    let server = Server::start().await;
    server.engine.fail_loads(usize::MAX);
    server.engine.fail_nth(0, FakeFailure::Fault);
    let failed = server.photo(&photos::dog()).send().await;
    failed.refused(500, "internal");
    eventually("the server is not ready", async || {
        server.get("/readyz").send().await.status == 503
    })
    .await;
    let answer = server.get("/readyz").send().await;
    answer.refused(503, "not_ready");
    assert_eq!(answer.header("retry-after"), "1");
    assert_eq!(server.metric("ocelli_ready").await, 0.0);
    assert_eq!(server.metric("ocelli_engine_instances").await, 0.0);
    let refused = server.photo(&photos::dog()).send().await;
    refused.refused(503, "not_ready");
    assert_eq!(refused.header("retry-after"), "1");
    assert_eq!(server.get("/livez").send().await.status, 200);
    server.engine.fail_loads(0);
    server.ready().await;
    assert_eq!(server.metric("ocelli_ready").await, 1.0);
    server.is_well().await;
}

/// A load balancer sends requests only to ready processes, so a process with one broken model must stay ready for the others.
#[tokio::test]
async fn a_process_is_ready_while_one_of_its_models_can_answer() {
    let shelf = Shelf::new();
    shelf.put("cats", ("cats", "1", "cat"));
    shelf.put("dogs", ("dogs", "1", "dog"));
    let server = shelf.serve().await;
    server.engine.fail_loads(usize::MAX);
    for (model, left) in [("cats", 1.0), ("dogs", 0.0)] {
        let state = format!("ocelli_model_state{{model=\"{model}\",version=\"1\",state=\"ready\"}}");
        assert_eq!(server.metric(&state).await, 1.0);
        server.engine.fail_nth(0, FakeFailure::Fault);
        let target = format!("/predict?model={model}");
        let failed = server.post(&target).form([("image", photos::DOG)]).send().await;
        failed.refused(500, "internal");
        server.metric_is("ocelli_engine_instances", left).await;
        let again = server.post(&target).form([("image", photos::DOG)]).send().await;
        again.refused(503, "not_ready");
        let status = if left > 0.0 { 200 } else { 503 };
        assert_eq!(
            server.get("/readyz").send().await.status,
            status,
            "without {model}"
        );
    }
    server.engine.fail_loads(0);
    server.ready().await;
}

#[tokio::test]
async fn jobs_that_wait_while_the_engine_fails_are_computed_by_its_successor() {
    let server = Server::start().await;
    server.engine.fail_nth(0, FakeFailure::Panic);
    let unlucky = server.occupy().await;
    let waiting = server.photo(&photos::grey(2)).spawn();
    // It is decoded, and waits for the engine.
    server.metric_is("ocelli_queue_depth", 1.0).await;
    server.engine.fail_loads(2);
    server.engine.release();
    unlucky.await.unwrap().refused(500, "internal");
    assert_eq!(waiting.await.unwrap().best(), photos::grey(2).label());
    server.ready().await;
    server.is_well().await;
}

#[tokio::test]
async fn one_of_two_instances_carries_on_alone() {
    let mut setup = Setup::default();
    setup.pipeline.worker.instances = Some(2);
    let server = setup.start().await;
    server.engine.fail_loads(usize::MAX);
    server.engine.fail_nth(0, FakeFailure::Fault);
    server.photo(&photos::dog()).send().await.refused(500, "internal");
    server.metric_is("ocelli_engine_instances", 1.0).await;
    assert_eq!(server.get("/readyz").send().await.status, 200);
    server.is_well().await;
    server.engine.fail_loads(0);
    server.metric_is("ocelli_engine_instances", 2.0).await;
}

#[tokio::test]
async fn a_row_that_breaks_the_engine_does_so_each_time_and_the_server_lives() {
    let server = Server::start().await;
    server
        .engine
        .fail_rows_with(photos::grey_marker(66), FakeFailure::Fault);
    for _ in 0..3 {
        server
            .photo(&photos::grey(66))
            .send()
            .await
            .refused(500, "internal");
        server.ready().await;
        server.is_well().await;
    }
    assert_eq!(server.metric("ocelli_engine_faults_total").await, 3.0);
}

#[tokio::test]
async fn a_model_that_does_not_load_ends_the_server() {
    let mut server = Setup::default().begin(|engine| engine.fail_loads(1)).await;
    let ended = tokio::time::timeout(PATIENCE, server.ended()).await.unwrap();
    let error = format!("{:#}", ended.unwrap_err());
    assert!(
        error.contains("efficientnet-lite0") && error.contains("scripted"),
        "{error}"
    );
}
