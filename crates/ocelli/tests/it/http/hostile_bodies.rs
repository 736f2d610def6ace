//! Bodies of strangers through `POST /predict`: each is answered or refused, and leaves nothing behind.

use std::fs;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::{Config, TestRunner};
use serde_json::json;
use tokio::runtime::Runtime;

use crate::harness::client::{Answer, FORM, form};
use crate::harness::photos;
use crate::harness::process::Process;
use crate::harness::server::Server;

const CORPUS: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../ocelli-vision/tests/corpus/images"
);

/// What all decoders together may take, and what the rest of the process may grow by.
const BUDGET: u64 = 128 << 20;
const REST: u64 = 32 << 20;

const JSON: &str = "application/json";

/// Requests of each property.
const CASES: u32 = 200;

/// Pieces that mean something in a form or in JSON.
const PIECES: &[&[u8]] = &[
    b"\r\n\r\n",
    b"\r\n--------------------------d74496d66958873e",
    b"--------------------------d74496d66958873e--",
    b"Content-Disposition: form-data; name=\"image\"\r\n",
    b"Content-Disposition: form-data; name*=utf-8''image; filename=\"\xff\0\"\r\n",
    b"Content-Transfer-Encoding: base64\r\n",
    b"\"image\":",
    b"\"images\":[",
    b"]}",
    b"\"\\ud800\"",
    b"{\"image\":{\"image\":",
    b"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[",
    b"1e99999",
    b"\0\0\0\0",
    b"\xff\xfe",
];

fn is_refused_or_answered(answer: &Answer) -> bool {
    let code = answer.json()["code"].as_str().map(str::to_owned);
    match answer.status.as_u16() {
        200 | 202 => code.is_none(),
        400 => code.is_some_and(|code| code == "invalid_image" || code == "invalid_request"),
        413 => code.is_some_and(|code| code == "too_large"),
        _ => false,
    }
}

#[tokio::test]
async fn every_damaged_image_is_answered_or_refused_within_the_memory_limit() {
    let limit = BUDGET.to_string();
    let process = Process::fake(&["--fake-image-time", "1ms", "--max-decoding-bytes", &limit]).await;
    let idle = process.memory("VmRSS");
    let (mut answered, mut refused) = (0, 0);
    for (index, entry) in fs::read_dir(CORPUS).unwrap().enumerate() {
        let path = entry.unwrap().path();
        let bytes = fs::read(&path).unwrap();
        let post = process.post("/predict");
        let answer = match index % 3 {
            0 => post.form([("image", &bytes[..])]),
            1 => post.body("application/octet-stream", bytes),
            _ => post.json(&json!({ "image": BASE64_STANDARD.encode(&bytes) })),
        };
        let answer = answer.send().await;
        assert!(is_refused_or_answered(&answer), "{}: {answer:?}", path.display());
        if answer.status == 200 {
            answered += 1;
        } else {
            refused += 1;
        }
    }
    assert!(
        answered > 20 && refused > 200,
        "{answered} answered, {refused} refused"
    );
    let grown = process.memory("VmHWM") - idle;
    assert!(grown < BUDGET + REST, "it grew by {grown} bytes");
    process
        .metric("ocelli_admitted_images", |images| images == 0.0)
        .await;
    let dog = photos::dog();
    let answer = process.post("/predict").form([("image", &dog.bytes[..])]);
    assert_eq!(answer.send().await.best(), dog.label());
}

/// A change to a body: bytes at a place are replaced by others.
type Change = (Index, usize, Vec<u8>);

fn changes() -> impl Strategy<Value = Vec<Change>> {
    let piece = prop_oneof![
        (0..PIECES.len()).prop_map(|piece| PIECES[piece].to_vec()),
        prop::collection::vec(any::<u8>(), 0..4),
    ];
    prop::collection::vec((any::<Index>(), 0..40_usize, piece), 1..5)
}

fn changed(mut body: Vec<u8>, changes: &[Change]) -> Vec<u8> {
    for (at, removed, piece) in changes {
        let at = at.index(body.len() + 1);
        let end = (at + removed).min(body.len());
        body.splice(at..end, piece.iter().copied());
    }
    body
}

/// Sends bodies that were right before they were changed, to each of these paths in turn.
fn survives(kind: &str, right: &[Vec<u8>], paths: &[&str]) {
    let runtime = Runtime::new().unwrap();
    let server = runtime.block_on(Server::start());
    let config = Config {
        cases: CASES,
        failure_persistence: None,
        ..Config::default()
    };
    let cases = (0..right.len(), 0..paths.len(), changes());
    let tested = TestRunner::new(config).run(&cases, |(body, path, changes)| {
        let body = changed(right[body].clone(), &changes);
        // Without a body it is another refusal, which other tests see.
        prop_assume!(!body.is_empty());
        let call = server.post(paths[path]).body(kind, body);
        let answer = runtime.block_on(call.send());
        prop_assert!(is_refused_or_answered(&answer), "{:?}", answer);
        Ok(())
    });
    tested.unwrap();
    runtime.block_on(server.is_well());
}

const PATHS: &[&str] = &["/predict", "/v1/models/efficientnet-lite0/predict", "/v1/jobs"];

#[test]
fn changed_forms_are_answered_or_refused() {
    let grey = photos::grey(5).bytes;
    let one = form([("image", &grey[..])]);
    let two = form([("other", &b"text"[..]), ("image", &grey[..]), ("image", &b""[..])]);
    survives(FORM, &[one, two], PATHS);
}

#[test]
fn changed_json_is_answered_or_refused() {
    let grey = BASE64_STANDARD.encode(&photos::grey(5).bytes);
    let one = json!({ "image": grey }).to_string().into_bytes();
    let two = json!({ "images": [grey, "", "%%"] }).to_string().into_bytes();
    survives(JSON, &[one, two], PATHS);
}
