//! The wire of the tutorial, between its own processes and ours.

use std::net::SocketAddr;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::Method;
use ocelli::queue::tutorial::{self, TutorialJob};
use ocelli_engine::fake::class_of;
use ocelli_vision::{DecodeLimits, Decoder, ImageHeader};
use serde_json::{Value, json};

use crate::eventually;
use crate::harness::client::{Answer, Call, Connection};
use crate::harness::photos;
use crate::harness::process::{self, Process, ocelli, onnxruntime};
use crate::support::redis::{Binary, Data, Options, RedisServer, Stop};
use crate::support::tutorial::Python;

/// What is said of this to users.
const DOCUMENT: &str = include_str!("../../../../../docs/tutorial.md");

async fn redis() -> Option<RedisServer> {
    let binary = Binary::redis()?;
    Some(RedisServer::start(&binary, Options::default()).await)
}

/// An Ocelli worker with the fake engine, for the tutorial's web process.
async fn worker(redis: &RedisServer, more: &[&str]) -> Process {
    let mut command = ocelli(&["worker", "--wire", "tutorial", "--listen", "127.0.0.1:0"]);
    command
        .args(["--redis", &redis.url(), "--drain-delay", "0s"])
        .args(more);
    Process::start_worker(command).await
}

async fn fake_worker(redis: &RedisServer) -> Process {
    worker(redis, &["--engine", "fake", "--fake-image-time", "1ms"]).await
}

/// An Ocelli web process, for the tutorial's model process.
async fn web(redis: &RedisServer) -> Process {
    let mut command = ocelli(&["web", "--wire", "tutorial", "--listen", "127.0.0.1:0"]);
    command.args(["--redis", &redis.url()]);
    Process::start(command).await
}

/// What the tutorial's web process says of the dog. It is no answer of ours, so that our API says nothing of it.
async fn ask_flask(address: SocketAddr) -> Answer {
    let call = Call::new(address, Method::POST, "/predict").form([("image", photos::DOG)]);
    let mut connection = Connection::http1(address).await;
    call.try_send_on(&mut connection).await.unwrap()
}

/// The pixels that the tutorial's web process makes of a photo.
async fn prepared_in_python(python: &Python, photo: &'static [u8]) -> Vec<u8> {
    let output = process::run(python.script("prepare.py"), photo).await;
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let job = TutorialJob::decode(output.stdout.trim_ascii_end()).unwrap();
    assert_eq!(job.id, "golden");
    job.rgb
}

fn prepared(photo: &[u8]) -> Vec<u8> {
    let header = ImageHeader::read(photo, &DecodeLimits::default()).unwrap();
    Decoder::new()
        .unwrap()
        .prepare(photo, &header, tutorial::input())
        .unwrap()
}

/// The label that the fake engine gives a picture that came over the tutorial's wire to the built-in model.
fn fake_label(rgb: &[u8]) -> &'static str {
    let card = &photos::PACKAGE.card;
    let mut decoder = Decoder::new().unwrap();
    let pixels = decoder
        .prepare_pixels(rgb, (224, 224), &card.manifest.input)
        .unwrap();
    &card.labels[0][class_of(&pixels, card.labels[0].len())]
}

/// A picture that no other is like, and its job.
fn job(id: &str, level: u8) -> (TutorialJob, &'static str) {
    let rgb = vec![level; tutorial::input().elements()];
    let label = fake_label(&rgb);
    (
        TutorialJob {
            id: id.to_owned(),
            rgb,
        },
        label,
    )
}

async fn push(redis: &RedisServer, text: &str) {
    redis.command::<()>(&["RPUSH", tutorial::QUEUE, text]).await;
}

/// Waits for the reply to a job.
async fn reply(redis: &RedisServer, id: &str) -> Value {
    let mut text = None;
    eventually(&format!("{id} is answered"), async || {
        text = redis.command::<Option<String>>(&["GET", id]).await;
        text.is_some()
    })
    .await;
    serde_json::from_str(&text.unwrap()).unwrap()
}

/// Waits until a job is in the list, as the tutorial's model process reads it.
async fn pushed(redis: &RedisServer) -> TutorialJob {
    let mut text = None;
    eventually("a job is pushed", async || {
        text = redis.command::<Option<String>>(&["LPOP", tutorial::QUEUE]).await;
        text.is_some()
    })
    .await;
    TutorialJob::decode(text.unwrap().as_bytes()).unwrap()
}

async fn nothing_is_left(redis: &RedisServer) {
    eventually("Redis is empty", async || redis.keys().await.is_empty()).await;
}

/// The same tolerance as of the goldens of `ocelli-vision`.
#[tokio::test]
async fn photos_are_prepared_as_the_tutorials_web_process_does() {
    let Some(python) = Python::find() else { return };
    let python = prepared_in_python(&python, photos::DOG).await;
    let ours = prepared(photos::DOG);
    assert_eq!(ours.len(), python.len());
    for channel in 0..3 {
        let difference = |(ours, python): (&u8, &u8)| f64::from(ours.abs_diff(*python));
        let channel = ours.iter().zip(&python).skip(channel).step_by(3);
        let mean = channel.map(difference).sum::<f64>() / (224.0 * 224.0);
        assert!(mean <= 1.0, "{mean:.3} of 255 off on average");
    }
}

/// That the fixtures are the tutorial, and that an Ocelli web process in the place of Flask changes nothing: the model
/// process refuses tensors that are not in Keras' caffe mode, and channels in the wrong order would halve the
/// probability.
#[tokio::test]
async fn a_web_process_feeds_the_tutorials_model_process_as_flask_does() {
    let (Some(python), Some(redis)) = (Python::find(), redis().await) else {
        return;
    };
    let _model = python.model_server(redis.address()).await;
    let (_flask, flask) = python.web_server(redis.address()).await;
    let mut web = web(&redis).await;
    web.logs("--wire tutorial: replies are polled").await;
    let flasks = ask_flask(flask).await;
    let ours = web.post("/predict").form([("image", photos::DOG)]).send().await;
    assert_eq!(
        (flasks.best(), ours.best()),
        ("beagle".to_owned(), "beagle".to_owned())
    );
    let probability = |answer: &Answer| answer.json()["predictions"][0]["probability"].as_f64().unwrap();
    let (flasks, ours) = (probability(&flasks), probability(&ours));
    assert!((flasks - ours).abs() < 0.05, "{flasks} became {ours}");
    let many = web.post("/v1/models/tutorial/predict?top_k=2");
    let many = many.form([
        ("image", photos::DOG),
        ("image", b"no photo"),
        ("image", photos::DOG),
    ]);
    let answer = many.send().await.ok();
    for index in [0, 2] {
        let predictions = answer["results"][index]["predictions"].as_array().unwrap();
        assert_eq!(
            (predictions.len(), &predictions[0]["label"]),
            (2, &json!("beagle"))
        );
        assert_eq!(predictions[0].get("index"), None, "the tutorial sends no index");
    }
    assert_eq!(answer["results"][1]["code"], "invalid_image");
    nothing_is_left(&redis).await;
}

/// The tutorial's stress test, shortened: 500 photos that come faster than the model process takes them. The last ones wait
/// longer than the usual deadline, as the tutorial's own clients do.
#[tokio::test]
async fn every_photo_of_the_stress_test_is_answered() {
    let (Some(python), Some(redis)) = (Python::find(), redis().await) else {
        return;
    };
    let _model = python
        .slow_model_server(redis.address(), Duration::from_millis(25))
        .await;
    let web = web(&redis).await;
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("dog.jpg"), photos::DOG).unwrap();
    let url = format!("http://{}", web.address);
    let mut bench = ocelli(&["bench", &url, "--requests", "500", "--rate", "100", "--json"]);
    bench.args(["--warmup", "0s", "--timeout", "2m", "--photos"]);
    bench.arg(folder.path());
    let output = process::run(bench, b"").await;
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (&report["ok"], &report["failed"]),
        (&json!(500), &json!(0)),
        "{report}"
    );
}

#[tokio::test]
async fn a_worker_serves_the_tutorials_web_process() {
    let (Some(python), Some(redis)) = (Python::find(), redis().await) else {
        return;
    };
    let mut worker = fake_worker(&redis).await;
    worker.logs("--wire tutorial: jobs have no deadline").await;
    let (_flask, flask) = python.web_server(redis.address()).await;
    let label = fake_label(&prepared_in_python(&python, photos::DOG).await);
    let answers = futures_util::future::join_all((0..6).map(|_| ask_flask(flask))).await;
    for answer in answers {
        assert_eq!(answer.best(), label);
        assert_eq!(answer.json()["predictions"].as_array().unwrap().len(), 5);
    }
    nothing_is_left(&redis).await;
}

/// As `docs/tutorial.md` says.
#[tokio::test]
async fn a_worker_serves_the_tutorials_version_in_one_file() {
    let (Some(python), Some(redis)) = (Python::find(), redis().await) else {
        return;
    };
    let _worker = fake_worker(&redis).await;
    let (process, flask) = python.one_file_web_server(redis.address()).await;
    assert!(!process.has_said("* Loading model"), "its model thread runs");
    let label = fake_label(&prepared_in_python(&python, photos::DOG).await);
    assert_eq!(ask_flask(flask).await.best(), label);
    assert!(DOCUMENT.contains("flask --app run_keras_server run"));
}

/// What `docs/tutorial.md` says of clients that talked to Flask before.
#[tokio::test]
async fn what_changes_for_the_tutorials_clients_is_as_the_page_says() {
    let Some(redis) = redis().await else { return };
    let _worker = fake_worker(&redis).await;
    let web = web(&redis).await;
    let form = |parts: Vec<(&'static str, &'static [u8])>| web.post("/predict").form(parts).send();
    form(vec![]).await.refused(400, "invalid_request");
    form(vec![("picture", photos::DOG)])
        .await
        .refused(400, "invalid_request");
    form(vec![("image", b"no photo")])
        .await
        .refused(400, "invalid_image");
    form(vec![("image", b"II*\0\x08\0\0\0\0\0")])
        .await
        .refused(400, "invalid_image");
    let late = web.post("/predict").header("X-Timeout-Ms", "1");
    let late = late.form([("image", photos::DOG)]).send().await;
    late.refused(504, "deadline_exceeded");
    for said in [
        "400 `invalid_request`",
        "400 `invalid_image`",
        "413 `too_large`",
        "504 `deadline_exceeded`",
        "TIFF",
        "`GET /`",
    ] {
        assert!(DOCUMENT.contains(said), "{said}");
    }
}

#[tokio::test]
async fn the_built_in_model_knows_the_dog_of_the_tutorials_web_process() {
    let (Some(python), Some(redis), Some(library)) = (Python::find(), redis().await, onnxruntime()) else {
        return;
    };
    let _worker = worker(&redis, &["--onnxruntime", library.to_str().unwrap()]).await;
    let (_flask, flask) = python.web_server(redis.address()).await;
    assert_eq!(ask_flask(flask).await.best(), "beagle");
}

#[tokio::test]
async fn garbage_in_the_list_is_counted_and_stops_nothing() {
    let Some(redis) = redis().await else { return };
    let mut worker = fake_worker(&redis).await;
    let (job, label) = job("good", 7);
    let short = json!({"id": "short", "image": "AAAA"}).to_string();
    let nan = vec![0xFF; tutorial::input().elements() * 4];
    let nan = json!({"id": "nan", "image": STANDARD.encode(nan)}).to_string();
    for text in ["garbage", "", "{}", &short, &nan, &job.encode()] {
        push(&redis, text).await;
    }
    assert_eq!(reply(&redis, "good").await[0]["label"], label);
    // Jobs with a readable id get an empty reply, because the tutorial's web process would wait forever.
    assert_eq!(reply(&redis, "short").await, json!([]));
    assert_eq!(reply(&redis, "nan").await, json!([]));
    worker
        .metric("ocelli_refused_messages_total{what=\"garbage\"}", |count| {
            count == 5.0
        })
        .await;
    let said = worker.logs("job short").await;
    assert!(
        said.contains("3 bytes") && said.contains("preprocess_input"),
        "{said}"
    );
    // A list that is none is no reason to end either.
    redis.command::<()>(&["SET", tutorial::QUEUE, "no list"]).await;
    worker.logs("WRONGTYPE").await;
    redis.command::<()>(&["DEL", tutorial::QUEUE]).await;
    push(
        &redis,
        &TutorialJob {
            id: "again".to_owned(),
            ..job
        }
        .encode(),
    )
    .await;
    assert_eq!(reply(&redis, "again").await[0]["label"], label);
}

#[tokio::test]
async fn replies_that_are_not_fetched_expire() {
    let Some(redis) = redis().await else { return };
    let _worker = fake_worker(&redis).await;
    push(&redis, &job("left", 1).0.encode()).await;
    reply(&redis, "left").await;
    let ttl: i64 = redis.command(&["TTL", "left"]).await;
    assert!((1..=300).contains(&ttl), "{ttl}");
}

#[tokio::test]
async fn each_of_many_jobs_gets_its_own_answer() {
    let Some(redis) = redis().await else { return };
    let jobs: Vec<_> = (0..40).map(|level| job(&format!("job {level}"), level)).collect();
    for (job, _) in &jobs {
        push(&redis, &job.encode()).await;
    }
    let _workers = (fake_worker(&redis).await, fake_worker(&redis).await);
    for (job, label) in jobs {
        assert_eq!(reply(&redis, &job.id).await[0]["label"], label, "{}", job.id);
    }
}

#[tokio::test]
async fn a_worker_that_is_stopped_answers_what_it_has_taken() {
    let Some(redis) = redis().await else { return };
    let slow = [
        "--engine",
        "fake",
        "--fake-image-time",
        "700ms",
        "--max-batch",
        "1",
    ];
    let worker = worker(&redis, &slow).await;
    let (job, label) = job("taken", 3);
    push(&redis, &job.encode()).await;
    eventually("the job is taken", async || {
        redis.command::<usize>(&["LLEN", tutorial::QUEUE]).await == 0
    })
    .await;
    worker.signal("TERM");
    let (status, said) = worker.ended().await;
    assert_eq!(status, Some(0), "{said:#?}");
    let text: String = redis.command(&["GET", "taken"]).await;
    assert!(text.contains(label), "{text}");
}

#[tokio::test]
async fn a_redis_that_comes_back_is_used_again() {
    let Some(mut redis) = redis().await else { return };
    let (worker, web) = (fake_worker(&redis).await, web(&redis).await);
    let ask = || web.post("/predict").form([("image", photos::DOG)]).send();
    let label = fake_label(&prepared(photos::DOG));
    assert_eq!(ask().await.best(), label, "both sides may be Ocelli's");
    redis.stop(Stop::Kill).await;
    eventually("the web process notices", async || ask().await.status == 503).await;
    ask().await.refused(503, "broker_unavailable");
    eventually("the worker is not ready", async || {
        worker.get("/readyz").send().await.status == 503
    })
    .await;
    redis.restart(Data::Lost).await;
    eventually("both go on", async || ask().await.status == 200).await;
    assert_eq!(ask().await.best(), label);
    nothing_is_left(&redis).await;
}

#[tokio::test]
async fn a_reply_to_a_client_that_has_left_is_deleted() {
    let Some(redis) = redis().await else { return };
    let web = web(&redis).await;
    let asked = web.post("/predict").form([("image", photos::DOG)]).spawn();
    let job = pushed(&redis).await;
    assert_eq!(job.rgb, prepared(photos::DOG), "the pixels arrive as they were");
    asked.abort();
    web.metric("ocelli_admitted_images", |images| images == 0.0).await;
    let text = r#"[{"label": "beagle", "probability": 0.9}]"#;
    redis.command::<()>(&["SET", &job.id, text]).await;
    nothing_is_left(&redis).await;
    web.metric("ocelli_orphaned_replies_total", |count| count == 1.0)
        .await;
}

#[tokio::test]
async fn a_reply_that_is_none_is_an_error_of_its_request_alone() {
    let Some(redis) = redis().await else { return };
    let mut web = web(&redis).await;
    for bad in ["not json", "[]", r#"[{"label": "beagle", "probability": NaN}]"#] {
        let asked = web.post("/predict").form([("image", photos::DOG)]).spawn();
        let job = pushed(&redis).await;
        redis.command::<()>(&["SET", &job.id, bad]).await;
        asked.await.unwrap().refused(500, "internal");
    }
    web.metric("ocelli_refused_messages_total{what=\"reply\"}", |count| {
        count == 3.0
    })
    .await;
    web.logs("it names no class").await;
    let asked = web.post("/predict").form([("image", photos::DOG)]).spawn();
    let job = pushed(&redis).await;
    let text = r#"[{"label": "beagle", "probability": 0.9}]"#;
    redis.command::<()>(&["SET", &job.id, text]).await;
    assert_eq!(asked.await.unwrap().best(), "beagle");
    nothing_is_left(&redis).await;
}
