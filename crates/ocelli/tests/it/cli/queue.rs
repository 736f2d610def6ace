//! `ocelli queue`, on a real Redis with a real worker.

use std::process::Stdio;

use ocelli::models::model_id::ModelId;
use ocelli::queue::job::JobId;
use ocelli::queue::redis::keys::{ModelKeys, ModelName};
use ocelli::queue::wire::{ElementKind, JobHeader, TensorHeader};

use crate::harness::photos;
use crate::harness::process::{ocelli, run, run_unread};
use crate::support::eventually;
use crate::support::redis::{Binary, Options, RedisServer};

/// Runs the command, which must succeed; returns the output.
async fn prints(server: &RedisServer, arguments: &[&str]) -> String {
    let (ok, text) = says(server, arguments).await;
    assert!(ok, "{text}");
    text
}

async fn says(server: &RedisServer, arguments: &[&str]) -> (bool, String) {
    let mut command = ocelli(&["queue"]);
    command.args(arguments).args(["--redis", &server.url()]);
    let output = run(command, b"").await;
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(text).unwrap())
}

fn keys() -> ModelKeys {
    keys_of(&photos::PACKAGE.card.manifest.name)
}

/// The keys of the built-in model under another name.
fn keys_of(name: &str) -> ModelKeys {
    let card = &photos::PACKAGE.card;
    let model = ModelId {
        name: name.to_owned(),
        version: card.manifest.version.clone(),
        digest: card.digest().to_owned(),
    };
    ModelKeys::named("ocelli", &ModelName::of(&model))
}

/// Dead-letters a job, as a worker does.
async fn bury(server: &RedisServer, id: u128) -> String {
    bury_as(server, keys(), id, "*").await
}

/// The same for any model, with this entry.
async fn bury_as(server: &RedisServer, keys: ModelKeys, id: u128, entry: &str) -> String {
    let input = &photos::PACKAGE.card.manifest.input;
    let header = JobHeader {
        id: JobId(id).0.to_be_bytes().to_vec(),
        reply_to: "ocelli:replies:gone".to_owned(),
        timeout_us: 60_000_000,
        priority: 2,
        inputs: vec![TensorHeader {
            name: String::new(),
            kind: ElementKind::U8 as i32,
            shape: vec![input.height, input.width, 3],
        }],
        ..JobHeader::default()
    };
    let mut add = redis::cmd("XADD");
    add.arg(keys.dead)
        .arg(entry)
        .arg("j")
        .arg(header.encode_frame())
        .arg("t")
        .arg("1")
        .arg("p")
        .arg(vec![7_u8; input.elements()])
        .arg("reason")
        .arg("a test says so")
        .arg("worker")
        .arg("w9");
    let client = redis::Client::open(server.url()).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    add.query_async(&mut connection).await.unwrap()
}

#[tokio::test]
async fn queues_are_shown_and_dead_letters_are_listed_dropped_and_retried() {
    let Some(binary) = Binary::redis() else { return };
    let server = RedisServer::start(&binary, Options::default()).await;
    assert!(
        prints(&server, &["status"])
            .await
            .contains("no worker has served")
    );
    assert_eq!(prints(&server, &["dead", "list"]).await, "no dead letters\n");

    let (first, second) = (bury(&server, 1).await, bury(&server, 2).await);
    let status = prints(&server, &["status", "--json"]).await;
    let status: serde_json::Value = serde_json::from_str(&status).unwrap();
    assert_eq!(
        (&status["dead"], &status["workers"]),
        (&2.into(), &0.into()),
        "{status}"
    );
    let list = prints(&server, &["dead", "list"]).await;
    for word in [
        &first,
        "a test says so",
        "w9",
        "00000000000000000000000000000001",
        "150528",
    ] {
        assert!(list.contains(word), "{word} is missing from\n{list}");
    }

    let dropped = prints(&server, &["dead", "drop", &first]).await;
    assert_eq!(dropped, format!("{first}: deleted\n"));
    let (ok, text) = says(&server, &["dead", "drop", &first]).await;
    assert!(!ok && text.contains("no such dead letter"), "{text}");
    assert!(prints(&server, &["dead", "list"]).await.contains(&second));

    let retried = prints(&server, &["dead", "retry", "--all"]).await;
    assert_eq!(retried, format!("{second}: queued again\n"));
    assert_eq!(prints(&server, &["dead", "list"]).await, "no dead letters\n");
    let queued: usize = server.command(&["XLEN", &keys().jobs[2]]).await;
    assert_eq!(queued, 1, "it is queued with its own priority");
    let status = prints(&server, &["status"]).await;
    assert!(status.contains("efficientnet-lite0 1"), "{status}");

    let mut worker = ocelli(&["worker", "--listen", "127.0.0.1:0", "--engine", "fake"]);
    let mut worker = worker
        .args(["--redis", &server.url()])
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    eventually("the job is computed", async || {
        let left: usize = server.command(&["XLEN", &keys().jobs[2]]).await;
        left == 0
    })
    .await;
    worker.kill().unwrap();
    worker.wait().unwrap();
}

#[tokio::test]
async fn an_entry_that_several_models_have_needs_the_model_option() {
    const ENTRY: &str = "1700000000000-0";
    let Some(binary) = Binary::redis() else { return };
    let server = RedisServer::start(&binary, Options::default()).await;
    for name in ["cats", "dogs"] {
        bury_as(&server, keys_of(name), 1, ENTRY).await;
    }
    let dead = async || {
        let mut left = Vec::new();
        for name in ["cats", "dogs"] {
            left.push(server.command::<usize>(&["XLEN", &keys_of(name).dead]).await);
        }
        left
    };
    for what in ["drop", "retry"] {
        let (ok, text) = says(&server, &["dead", what, ENTRY]).await;
        assert!(!ok && text.contains("--model"), "{text}");
        for name in ["cats/1/", "dogs/1/"] {
            assert!(text.contains(name), "{text}");
        }
        assert_eq!(dead().await, [1, 1], "{what}");
    }
    let retried = prints(&server, &["dead", "retry", ENTRY, "--model", "dogs"]).await;
    assert_eq!(retried, format!("{ENTRY}: queued again\n"));
    assert_eq!(dead().await, [1, 0]);
    let queued: usize = server.command(&["XLEN", &keys_of("cats").jobs[2]]).await;
    assert_eq!(queued, 0);
    // It is the only one now.
    prints(&server, &["dead", "drop", ENTRY]).await;
    assert_eq!(dead().await, [0, 0]);
}

#[tokio::test]
async fn a_model_may_have_the_name_of_a_part_of_the_keys() {
    let Some(binary) = Binary::redis() else { return };
    let server = RedisServer::start(&binary, Options::default()).await;
    for name in ["registry", "jobs", "webhooks"] {
        let entry = bury_as(&server, keys_of(name), 1, "*").await;
        let status = prints(&server, &["status"]).await;
        assert!(status.contains(name), "{status}");
        let list = prints(&server, &["dead", "list"]).await;
        assert!(list.contains(name) && list.contains(&entry), "{list}");
        prints(&server, &["dead", "drop", "--all"]).await;
    }
}

#[tokio::test]
async fn an_unreachable_redis_is_reported_once_with_advice() {
    for arguments in [
        &["status"][..],
        &["status", "--json"],
        &["dead", "list"],
        &["dead", "retry", "--all"],
        &["dead", "drop", "1-0"],
    ] {
        let mut command = ocelli(&["queue"]);
        command.args(arguments).args(["--redis", "redis://127.0.0.1:1"]);
        let output = run(command, b"").await;
        assert_eq!(output.status.code(), Some(2));
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(text.lines().count(), 1, "{text}");
        assert_eq!(text.matches("127.0.0.1:1").count(), 1, "{text}");
        for part in [
            "ocelli: Redis at 127.0.0.1:1 cannot be reached: ",
            "is it running? `redis-server --port 1`",
        ] {
            assert!(text.contains(part), "no {part:?} in {text}");
        }
    }
}

#[tokio::test]
async fn a_refused_login_is_reported_once() {
    let Some(binary) = Binary::redis() else { return };
    let server = RedisServer::start(&binary, Options::default()).await;
    let url = format!("redis://stranger:secret@{}", server.address());
    for more in [&[][..], &["--watch"]] {
        let mut command = ocelli(&["queue", "status", "--redis", &url]);
        command.args(more);
        let output = run(command, b"").await;
        assert_eq!(output.status.code(), Some(2));
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(text.lines().count(), 1, "{text}");
        assert!(
            text.contains("check the user") && !text.contains("secret"),
            "{text}"
        );
    }
}

#[tokio::test]
async fn queue_commands_act_even_if_standard_output_is_closed() {
    let Some(binary) = Binary::redis() else { return };
    let server = RedisServer::start(&binary, Options::default()).await;
    for id in 0..5 {
        bury(&server, id).await;
    }
    for arguments in [&["status"][..], &["dead", "list"], &["dead", "drop", "--all"]] {
        let mut command = ocelli(&["queue"]);
        command.args(arguments).args(["--redis", &server.url()]);
        let output = run_unread(command).await;
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(
            (output.status.code(), said.as_str()),
            (Some(0), ""),
            "{arguments:?}"
        );
    }
    assert_eq!(prints(&server, &["dead", "list"]).await, "no dead letters\n");
}
