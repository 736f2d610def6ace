//! Clients that leave: nothing is done for them any more, and what they had is free at once.

use crate::harness::client::Raw;
use crate::harness::photos;
use crate::harness::server::{Server, Setup};

const GONE: &str = "ocelli_dropped_total{reason=\"client_gone\"}";

/// Sends two photos from each of `count` clients, none of which waits for its answer, to a server that holds one
/// already. That there are two is known only when they are on their way to the decoders.
async fn send_from(server: &Server, count: usize) -> Vec<Raw> {
    let both = [("image", photos::DOG), ("image", photos::DOG)];
    let call = server.post("/v1/models/efficientnet-lite0/predict");
    let wire = call.form(both).wire();
    let mut clients = Vec::new();
    for _ in 0..count {
        let mut client = server.raw().await;
        client.write(&wire).await;
        clients.push(client);
    }
    let admitted = 1 + 2 * count;
    server.metric_is("ocelli_admitted_images", admitted as f64).await;
    clients
}

#[tokio::test]
async fn a_photo_whose_client_left_is_not_decoded() {
    let mut setup = Setup::default();
    setup.pipeline.cores = 1;
    setup.engine_uses_cores = true;
    let server = setup.start().await;
    // The engine has the only core, so nothing is decoded until it is done.
    let first = server.occupy().await;
    let clients = send_from(&server, 3).await;
    assert_eq!(server.metric("ocelli_queue_depth").await, 0.0);
    drop(clients);
    server.metric_is("ocelli_connections", 2.0).await;
    server.engine.release();
    server.metric_is(GONE, 6.0).await;
    assert_eq!(first.await.unwrap().best(), photos::grey(1).label());
    assert_eq!(server.engine.items(), 1);
    server.is_well().await;
}

#[tokio::test]
async fn photos_of_64_clients_that_left_are_not_computed_and_the_next_is_at_once() {
    let server = Server::start().await;
    let first = server.occupy().await;
    let clients = send_from(&server, 64).await;
    drop(clients);
    server.metric_is("ocelli_connections", 2.0).await;
    let good = server.photo(&photos::grey(2)).spawn();
    server.metric_is("ocelli_admitted_images", 2.0).await;
    server.engine.release();
    assert_eq!(good.await.unwrap().best(), photos::grey(2).label());
    assert_eq!(first.await.unwrap().best(), photos::grey(1).label());
    assert_eq!(
        server.engine.batch_sizes(),
        [1, 1],
        "only the clients that waited were served"
    );
    server.metric_is(GONE, 128.0).await;
    server.is_well().await;
}

#[tokio::test]
async fn clients_that_left_take_no_room_in_the_queue() {
    let mut setup = Setup::default();
    // Requests of normal priority have room for 21 images: a tenth of the queue is kept for those of high priority.
    setup.pipeline.admission.jobs = 23;
    let server = setup.start().await;
    let first = server.occupy().await;
    for _ in 0..3 {
        let clients = send_from(&server, 10).await;
        drop(clients);
        // Slots are free although the engine has not moved.
        server.metric_is("ocelli_admitted_images", 1.0).await;
    }
    let good = server.photo(&photos::grey(2)).spawn();
    server.metric_is("ocelli_admitted_images", 2.0).await;
    server.engine.release();
    assert_eq!(good.await.unwrap().best(), photos::grey(2).label());
    assert_eq!(first.await.unwrap().best(), photos::grey(1).label());
    assert_eq!(server.engine.items(), 2);
    server.is_well().await;
}

#[tokio::test]
async fn an_http2_client_that_takes_back_its_request_is_gone_too() {
    use crate::harness::client::Connection;

    let server = Server::start().await;
    let first = server.occupy().await;
    let mut connection = Connection::http2(server.address).await;
    let call = server.photo(&photos::dog());
    let taken_back = tokio::spawn(async move { call.send_on(&mut connection).await });
    server.metric_is("ocelli_admitted_images", 2.0).await;
    taken_back.abort();
    server.metric_is("ocelli_admitted_images", 1.0).await;
    server.engine.release();
    assert_eq!(first.await.unwrap().best(), photos::grey(1).label());
    assert_eq!(server.engine.items(), 1);
    server.is_well().await;
}
