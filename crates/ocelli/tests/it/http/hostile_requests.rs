//! Garbage beside a steady load: requests with photos are answered as without it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::future::join_all;
use hyper::Method;
use serde_json::json;
use tokio::io::AsyncWriteExt as _;

use crate::harness::client::{Call, Connection, Raw};
use crate::harness::photos::{self, Photo};
use crate::harness::server::Server;
use crate::http::bad_images;

/// How often every kind of garbage is sent.
const ROUNDS: usize = 3;

/// Sends one photo after the other until told to stop; gives how many were answered as they should be.
async fn steady(server: Arc<Server>, level: u8, stop: Arc<AtomicBool>) -> usize {
    let grey = photos::grey(level);
    let mut connection = Connection::http1(server.address).await;
    let mut answered = 0;
    while !stop.load(Ordering::Relaxed) {
        let answer = server.photo(&grey).send_on(&mut connection).await;
        assert_eq!(answer.best(), grey.label());
        answered += 1;
    }
    answered
}

/// Bytes that are the same in every run and nothing in particular.
fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(seed);
    std::iter::repeat_with(|| random.u8(..)).take(length).collect()
}

/// Requests that must all be refused.
fn bad_calls(server: &Server, round: usize) -> Vec<Call> {
    let post = || server.post("/predict");
    let mut calls: Vec<Call> = bad_images::bad()
        .iter()
        .map(|(_, photo, _)| server.photo(photo))
        .collect();
    let seed = round as u64;
    let mut damaged = photos::DOG.to_vec();
    damaged.truncate(20_000 + round * 1000);
    calls.extend([
        post(),
        post().body("text/plain", "hello"),
        post().body("image/jpeg", noise(seed, 5000)),
        post().form([("image", &noise(seed + 100, 5000)[..])]),
        post().body("multipart/form-data; boundary=b", noise(seed + 200, 5000)),
        post().body("application/json", noise(seed + 300, 5000)),
        post().json(&json!({ "image": "%%%" })),
        server.photo(&Photo::new(damaged)),
        server.post("/predict?top_k=abc").form([("image", photos::DOG)]),
        server
            .post("/v1/models/nothing/predict")
            .form([("image", photos::DOG)]),
        Call::new(server.address, Method::DELETE, "/predict"),
        server.get("/nowhere"),
    ]);
    calls
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbage_does_not_affect_requests_with_photos() {
    let server = Arc::new(Server::start().await);
    let stop = Arc::new(AtomicBool::new(false));
    let load: Vec<_> = (1..=8)
        .map(|level| tokio::spawn(steady(Arc::clone(&server), level, Arc::clone(&stop))))
        .collect();
    for round in 0..ROUNDS {
        for call in bad_calls(&server, round) {
            let answer = call.send().await;
            let status = answer.status.as_u16();
            assert!((400..500).contains(&status), "{answer:?}");
        }
        for seed in 0..20 {
            let mut client = Raw::connect(server.address).await;
            // The server may hang up at any time.
            let _ = client.0.write_all(&noise(seed, 1000)).await;
        }
        let wire = server.photo(&photos::dog()).wire();
        for end in [1, 10, 100, 1000, wire.len() - 1] {
            Raw::connect(server.address).await.write(&wire[..end]).await;
        }
    }
    stop.store(true, Ordering::Relaxed);
    let answered = join_all(load).await;
    for answered in answered {
        assert!(answered.unwrap() > 0, "each of them was served");
    }
    server.is_well().await;
}
