//! What is not a photo, or not one that anybody should decode.

use serde_json::json;

use crate::harness::client::Call;
use crate::harness::photos::{self, Photo};
use crate::harness::server::Server;

/// Every bad image, with what its refusal has to say.
pub(crate) fn bad() -> Vec<(&'static str, Photo, &'static str)> {
    let cut = &photos::DOG[..photos::DOG.len() / 2];
    let text = "Dear Sir or Madam, please find my photo attached.";
    vec![
        ("a file of zero bytes", Photo::new(&b""[..]), "empty"),
        ("text", Photo::new(text.as_bytes()), "JPEG, PNG"),
        ("a truncated JPEG", Photo::new(cut), "ends early"),
        ("a PNG that unpacks to 1 GB", photos::bomb(), "pixels"),
        (
            "a huge header",
            photos::header_only(20_000, 20_000),
            "20000 x 20000",
        ),
        ("a JPEG of 100 scans", photos::with_scans(100), "scans"),
        (
            "a BMP without colour masks",
            photos::without_masks(),
            "colour masks",
        ),
        ("zeros", Photo::new(vec![0; 10_000]), "JPEG, PNG"),
        (
            "only the first bytes of a JPEG",
            Photo::new(&photos::DOG[..3]),
            "ends early",
        ),
    ]
}

#[tokio::test]
async fn a_bad_image_is_refused_in_every_form_and_leaves_nothing() {
    let server = Server::start().await;
    for (name, photo, says) in bad() {
        let raw = || server.post("/predict").body("image/jpeg", photo.bytes.to_vec());
        let mut calls: Vec<Call> = vec![
            server.photo(&photo),
            server
                .post("/v1/models/efficientnet-lite0/predict")
                .form([("image", &photo.bytes[..])]),
        ];
        // As a body of its own, a file of zero bytes is no body at all.
        if !photo.bytes.is_empty() {
            calls.push(raw());
        }
        for call in calls {
            let error = call.send().await.refused(400, "invalid_image");
            assert!(error.contains(says), "{name}: {error}");
        }
    }
    assert_eq!(server.engine.items(), 0, "none of them was computed");
    server.is_well().await;
}

#[tokio::test]
async fn a_request_without_an_image_is_refused() {
    let server = Server::start().await;
    let post = || server.post("/predict");
    let cases = [
        ("no body", post(), "the body is empty"),
        (
            "no body, typed",
            post().body("image/jpeg", ""),
            "the body is empty",
        ),
        ("an empty form", post().form([]), "no part named 'image'"),
        (
            "another part",
            post().form([("file", photos::DOG)]),
            "found 'file'",
        ),
        (
            "two images",
            post().json(&json!({"images": ["aGk=", "aGk="]})),
            "takes one image",
        ),
        ("no JSON field", post().json(&json!({})), "'image'"),
        (
            "another JSON field",
            post().json(&json!({"photo": "aGk="})),
            "photo",
        ),
        ("a number", post().json(&json!({"image": 7})), "base64"),
        (
            "wrong base64",
            post().json(&json!({"image": "%%%"})),
            "not valid base64",
        ),
        (
            "base64 that ends early",
            post().json(&json!({"image": "aGkaa"})),
            "not valid base64",
        ),
        (
            "half a JSON",
            post().body("application/json", "{\"image\":\"aGk"),
            "not the JSON",
        ),
        ("no boundary", post().body("multipart/form-data", "x"), "boundary"),
        (
            "half a form",
            post().body("multipart/form-data; boundary=b", "--b\r\nContent-"),
            "malformed",
        ),
        (
            "no form",
            post().body("multipart/form-data; boundary=b", photos::DOG),
            "malformed",
        ),
    ];
    for (name, call, says) in cases {
        let answer = call.send().await;
        let error = match name {
            "two images" => answer.refused(413, "too_large"),
            _ => answer.refused(400, "invalid_request"),
        };
        assert!(error.contains(says), "{name}: {error}");
    }
    assert_eq!(server.engine.items(), 0, "none of them was computed");
    server.is_well().await;
}

#[tokio::test]
async fn a_body_of_another_kind_is_refused() {
    let server = Server::start().await;
    for kind in [
        "text/plain",
        "text/html; charset=utf-8",
        "video/mp4",
        "application/pdf",
        "nonsense",
    ] {
        let answer = server.post("/predict").body(kind, photos::DOG).send().await;
        let error = answer.refused(415, "unsupported_media_type");
        assert!(
            error.contains(kind) && error.contains("multipart/form-data"),
            "{error}"
        );
    }
    server.is_well().await;
}
