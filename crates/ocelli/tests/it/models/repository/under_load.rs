//! Requests during the replacement of models.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::harness::photos;
use crate::models::repository::Shelf;

#[tokio::test]
async fn no_request_fails_while_a_model_is_replaced_repeatedly() {
    const CLIENTS: usize = 8;
    let shelf = Shelf::new();
    shelf.put("a", ("a", "0", "a0"));
    let server = shelf.serve().await;
    let stop = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let (call, stop) = (server.post("/predict"), Arc::clone(&stop));
            let call = call.form([("image", &photos::grey(1).bytes[..])]);
            tokio::spawn(async move {
                let mut answered = 0;
                while !stop.load(Ordering::Acquire) {
                    let answer = call.clone().send().await;
                    assert_eq!(answer.status, 200, "{answer:?}");
                    answered += 1;
                }
                answered
            })
        })
        .collect();
    for round in 1..=30 {
        shelf.put("a", ("a", &round.to_string(), "a"));
        server.models.rescan().await;
    }
    stop.store(true, Ordering::Release);
    for client in clients {
        assert!(client.await.unwrap() > 0);
    }
    assert_eq!(server.engine.live_instances(), 1);
    server.is_empty().await;
}
