//! What may be asked for, and what happens to what may not.

use crate::harness::client::FORM;
use crate::harness::photos;
use crate::harness::server::Server;

#[tokio::test]
async fn as_many_predictions_as_asked_for() {
    let server = Server::start().await;
    for top_k in [1, 2, 1000] {
        let answer = server
            .post(&format!("/predict?top_k={top_k}"))
            .body("image/jpeg", photos::DOG)
            .send()
            .await;
        assert_eq!(answer.best(), photos::dog().label());
        let count = answer.json()["predictions"].as_array().unwrap().len();
        assert_eq!(count, top_k);
    }
}

#[tokio::test]
async fn the_model_may_be_named() {
    let server = Server::start().await;
    let answer = server
        .post("/predict?model=efficientnet-lite0&top_k=1")
        .body("image/jpeg", photos::DOG)
        .send()
        .await;
    assert_eq!(answer.best(), photos::dog().label());
}

#[tokio::test]
async fn a_wrong_parameter_is_refused_and_says_what_is_right() {
    let server = Server::start().await;
    let many = "/v1/models/efficientnet-lite0/predict";
    let cases = [
        ("/predict?top_k=0", "from 1 to 1000"),
        ("/predict?top_k=1001", "from 1 to 1000"),
        ("/predict?top_k=abc", "from 1 to 1000"),
        ("/predict?top_k=-1", "from 1 to 1000"),
        ("/predict?top_k=", "from 1 to 1000"),
        ("/predict?top_k=1&top_k=2", "twice"),
        ("/predict?topk=3", "top_k, threshold, output and model"),
        ("/v1/models/efficientnet-lite0/predict?top_k=0", "from 1 to 1000"),
        (
            "/v1/models/efficientnet-lite0/predict?model=efficientnet-lite0",
            "leave out",
        ),
    ];
    for (target, advice) in cases {
        let answer = server.post(target).form([("image", photos::DOG)]).send().await;
        let error = answer.refused(400, "invalid_request");
        assert!(error.contains(advice), "{target}: {error}");
    }
    for timeout in [
        "0",
        "-1",
        "abc",
        "1.5",
        "",
        "999999999",
        "99999999999999999999999",
    ] {
        for target in ["/predict", many] {
            let call = server.post(target).header("x-timeout-ms", timeout);
            let answer = call.form([("image", photos::DOG)]).send().await;
            let error = answer.refused(400, "invalid_request");
            assert!(error.contains("--max-deadline"), "{timeout}: {error}");
        }
    }
    assert_eq!(server.engine.items(), 0, "none of them was computed");
    server.is_well().await;
}

#[tokio::test]
async fn an_unknown_model_is_refused_and_the_known_are_named() {
    let server = Server::start().await;
    for target in [
        "/predict?model=resnet",
        "/predict?model=",
        "/v1/models/resnet/predict",
    ] {
        let answer = server.post(target).form([("image", photos::DOG)]).send().await;
        let error = answer.refused(404, "unknown_model");
        assert!(error.contains("efficientnet-lite0"), "{error}");
    }
    let long = format!("/v1/models/{}", "x".repeat(5000));
    let error = server.get(&long).send().await.refused(404, "unknown_model");
    assert!(error.len() < 500, "what a client makes up is cut short: {error}");
    server.is_well().await;
}

#[tokio::test]
async fn unknown_routes_and_methods_are_refused() {
    let server = Server::start().await;
    for target in [
        "/predict/",
        "/v1",
        "/v1/models/a/b/c",
        "/v2/health/ready",
        "/../etc/passwd",
    ] {
        server.get(target).send().await.refused(404, "unknown_route");
    }
    for target in ["/predict", "/v1/models/efficientnet-lite0/predict"] {
        server.get(target).send().await.refused(405, "method_not_allowed");
    }
    for target in ["/v1/models", "/readyz", "/metrics", "/openapi.json"] {
        let answer = server.post(target).body(FORM, "").send().await;
        answer.refused(405, "method_not_allowed");
    }
    let other = "ocelli_requests_total{route=\"other\",status=\"404\",code=\"unknown_route\"}";
    assert_eq!(server.metric(other).await, 5.0, "made-up paths are one label");
    server.is_well().await;
}
