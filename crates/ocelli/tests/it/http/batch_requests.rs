//! Many photos in one request, each of which succeeds or fails alone.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::harness::photos::{self, Photo};
use crate::harness::server::Server;

const MANY: &str = "/v1/models/efficientnet-lite0/predict";

#[track_caller]
fn shows(result: &Value, photo: &Photo) {
    let best = &result["predictions"][0];
    assert_eq!(best["label"], photo.label(), "{result}");
    assert!(
        best["index"].is_u64() && result.get("error").is_none(),
        "{result}"
    );
}

#[tokio::test]
async fn one_photo_is_answered_as_many_are() {
    let server = Server::start().await;
    let call = server
        .post(&format!("{MANY}?top_k=3"))
        .body("image/jpeg", photos::DOG);
    let answer = call.send().await.ok();
    assert_eq!(answer["model"], "efficientnet-lite0");
    assert_eq!(answer["version"], "1");
    assert_eq!(answer["results"].as_array().unwrap().len(), 1);
    assert_eq!(answer["results"][0]["predictions"].as_array().unwrap().len(), 3);
    shows(&answer["results"][0], &photos::dog());
    server.is_well().await;
}

#[tokio::test]
async fn one_bad_photo_among_32_fails_alone() {
    let server = Server::start().await;
    let bad = Photo::new(&photos::DOG[..photos::DOG.len() / 2]);
    let photos: Vec<Photo> = (1..=32)
        .map(|level| {
            if level == 17 {
                bad.clone()
            } else {
                photos::grey(level)
            }
        })
        .collect();
    let form = server
        .post(MANY)
        .form(photos.iter().map(|photo| ("image", &photo.bytes[..])));
    let base64: Vec<String> = photos.iter().map(|photo| STANDARD.encode(&photo.bytes)).collect();
    let json = server.post(MANY).json(&json!({ "images": base64 }));
    for call in [form, json] {
        let answer = call.send().await.ok();
        let results = answer["results"].as_array().unwrap();
        assert_eq!(results.len(), 32);
        for (index, (result, photo)) in results.iter().zip(&photos).enumerate() {
            if index == 16 {
                assert_eq!(result["code"], "invalid_image", "{result}");
                assert!(
                    result["error"].as_str().unwrap().contains("ends early"),
                    "{result}"
                );
            } else {
                shows(result, photo);
            }
        }
    }
    assert_eq!(server.engine.items(), 62);
    server.is_well().await;
}

#[tokio::test]
async fn when_all_images_are_bad_each_has_its_error() {
    let server = Server::start().await;
    let both = [("image", &b""[..]), ("image", &b"text"[..])];
    let answer = server.post(MANY).form(both).send().await.ok();
    for result in answer["results"].as_array().unwrap() {
        assert_eq!(result["code"], "invalid_image", "{result}");
    }
    // Alone, its error is the request's.
    let alone = server.post(MANY).form([("image", &b"text"[..])]).send().await;
    alone.refused(400, "invalid_image");
    server.is_well().await;
}

#[tokio::test]
async fn one_base64_among_many_that_is_wrong_is_named() {
    let server = Server::start().await;
    let good = STANDARD.encode(photos::DOG);
    let answer = server
        .post(MANY)
        .json(&json!({ "images": [good, "%%%"] }))
        .send()
        .await;
    let error = answer.refused(400, "invalid_request");
    assert!(error.contains("image 1"), "{error}");
    server.is_well().await;
}

#[tokio::test]
async fn more_than_the_most_are_refused() {
    let server = Server::start().await;
    let grey = photos::grey(5);
    let form = |count| server.post(MANY).form(vec![("image", &grey.bytes[..]); count]);
    let error = form(65).send().await.refused(413, "too_large");
    assert!(error.contains("64") && error.contains("--max-images"), "{error}");
    let json = json!({ "images": vec!["aGk="; 65] });
    server
        .post(MANY)
        .json(&json)
        .send()
        .await
        .refused(413, "too_large");
    assert_eq!(server.engine.items(), 0);
    let answer = form(64).send().await.ok();
    assert_eq!(answer["results"].as_array().unwrap().len(), 64);
    server.is_well().await;
}
