//! Requests that are wrong in a usual way: what they are told leads to the mistake, and what is harmless is accepted.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::json;

use crate::harness::client::Raw;
use crate::harness::photos;
use crate::harness::process::Process;
use crate::harness::server::Server;

#[tokio::test]
async fn a_second_image_is_told_where_to_go() {
    let server = Server::start().await;
    let two = [("image", photos::DOG); 2];
    let error = server.post("/predict").form(two).send().await;
    let error = error.refused(413, "too_large");
    assert!(error.contains("/v1/models/{model}/predict"), "{error}");
    assert!(!error.contains("--max-images"), "{error}");
    let list = json!({ "images": [STANDARD.encode(photos::DOG), STANDARD.encode(photos::DOG)] });
    let error = server.post("/predict").json(&list).send().await;
    assert!(
        error
            .refused(413, "too_large")
            .contains("/v1/models/{model}/predict")
    );
    server.is_well().await;
}

#[tokio::test]
async fn base64_is_read_however_it_is_written() {
    let server = Server::start().await;
    let text = STANDARD.encode(photos::DOG);
    let lines: Vec<&str> = text
        .as_bytes()
        .chunks(76)
        .map(|line| str::from_utf8(line).unwrap())
        .collect();
    for text in [
        lines.join("\n") + "\n",
        lines.join("\r\n"),
        URL_SAFE_NO_PAD.encode(photos::DOG),
    ] {
        let call = server.post("/predict").json(&json!({ "image": text }));
        assert_eq!(call.send().await.best(), photos::dog().label());
    }
    server.is_well().await;
}

#[tokio::test]
async fn wrong_json_is_named() {
    let server = Server::start().await;
    let text = STANDARD.encode(photos::DOG);
    for (body, advice) in [
        (
            json!({ "image": "http://example.com/a.jpg" }),
            "URLs are not fetched",
        ),
        (json!([text, null]), "expected an object"),
        (json!([text]), "expected an object"),
        (json!({ "image": { "b64": text } }), "expected a base64 string"),
    ] {
        let error = server.post("/predict").json(&body).send().await;
        let error = error.refused(400, "invalid_request");
        assert!(error.contains(advice), "{error}");
    }
    server.is_well().await;
}

#[tokio::test]
async fn a_compressed_body_is_refused_with_what_is_accepted() {
    let server = Server::start().await;
    for route in ["/predict", "/v1/models/efficientnet-lite0/predict", "/v1/jobs"] {
        for coding in ["gzip", "identity, br", "x-unknown"] {
            let call = server.post(route).body("image/jpeg", photos::DOG);
            let answer = call.header("content-encoding", coding).send().await;
            let error = answer.refused(415, "unsupported_media_type");
            assert!(error.contains(coding), "{error}");
            assert_eq!(answer.header("accept-encoding"), "identity");
        }
    }
    let plain = server
        .photo(&photos::dog())
        .header("content-encoding", "Identity");
    assert_eq!(plain.send().await.best(), photos::dog().label());
    server.is_well().await;
}

#[tokio::test]
async fn the_case_of_a_forms_words_does_not_matter() {
    let server = Server::start().await;
    let head = b"--XX\r\nContent-Disposition: Form-Data; Name=\"image\"; Filename=\"x.jpg\"\r\n\r\n";
    let body = [head, photos::DOG, b"\r\n--XX--\r\n"].concat();
    let call = server
        .post("/predict")
        .body("Multipart/Form-Data; Boundary=XX", body);
    assert_eq!(call.send().await.best(), photos::dog().label());
    server.is_well().await;
}

#[tokio::test]
async fn a_path_that_is_no_text_is_an_error_like_any_other() {
    let server = Server::start().await;
    for call in [
        server.get("/v1/models/%ff"),
        server.get("/v1/models/a/versions/%ff"),
        server.post("/v1/models/%ff/predict"),
        server.post("/v1/models/%ff/embed"),
        server.get("/v1/jobs/%ff"),
        server.delete("/v1/jobs/%ff"),
    ] {
        let error = call.send().await.refused(400, "invalid_request");
        assert!(error.contains("UTF-8"), "{error}");
    }
    let counted =
        "ocelli_requests_total{route=\"/v1/models/{model}\",status=\"400\",code=\"invalid_request\"}";
    server.metric_is(counted, 1.0).await;
    server.is_well().await;
}

#[tokio::test]
async fn a_request_names_its_host_once() {
    let server = Server::start().await;
    for (hosts, version, status) in [
        ("", "1.1", 400),
        ("Host: a\r\nHost: b\r\n", "1.1", 400),
        ("Host: a\r\nHost: a\r\n", "1.0", 400),
        ("Host: a\r\n", "1.1", 200),
        ("Host:\r\n", "1.1", 200),
        ("", "1.0", 200),
    ] {
        let mut client = server.raw().await;
        client
            .write(format!("GET /livez HTTP/{version}\r\n{hosts}\r\n").as_bytes())
            .await;
        let answer = client.answer().await;
        if status == 200 {
            assert_eq!(answer.text(), "ok\n", "{hosts:?}");
        } else {
            assert!(answer.refused(status, "invalid_request").contains("Host"));
        }
    }
    server.is_well().await;
}

/// The beginning of what `curl https://` sends.
const CLIENT_HELLO: &[u8] = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03";

#[tokio::test]
async fn tls_on_the_plain_port_is_named() {
    let mut process = Process::fake(&["--fake-image-time", "1ms"]).await;
    for pieces in [&[CLIENT_HELLO][..], &[&CLIENT_HELLO[..1], &CLIENT_HELLO[1..]]] {
        let mut client = Raw::connect(process.address).await;
        for piece in pieces {
            // The server may have hung up after the first.
            let _ = client.0.try_write(piece);
        }
        let answer = client.answer().await;
        assert_eq!(answer.status, 400);
        let error = answer.json();
        assert_eq!(error["code"], "invalid_request");
        assert!(error["error"].as_str().unwrap().contains("TLS"), "{error}");
        assert_eq!(client.until_closed().await, "");
    }
    let counted = "ocelli_requests_total{route=\"other\",status=\"400\",code=\"invalid_request\"}";
    process.metric(counted, |count| count == 2.0).await;
    process.logs("TLS handshake on the HTTP port").await;
    process.signal("TERM");
    let (_, log) = process.ended().await;
    let warnings = log.iter().filter(|line| line.contains("TLS handshake")).count();
    assert_eq!(warnings, 1, "one is enough: {log:?}");
}
