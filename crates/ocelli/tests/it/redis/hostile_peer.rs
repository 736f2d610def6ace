//! What another program writes into the Redis that Ocelli uses: hand-made entries with sizes that are not true, announcements
//! and records that make no sense.

use std::time::{SystemTime, UNIX_EPOCH};

use ocelli::queue::job::JobId;
use ocelli::queue::redis::Announcement;
use ocelli::queue::wire::{
    BadImage, ElementKind, JobHeader, JobRecord, ReplyKind, TensorHeader, WantMessage, decode_reply,
};
use prost::Message as _;

use crate::harness::photos;
use crate::harness::process::Process;
use crate::jobs::over_redis::{metric, web, worker};
use crate::support::redis::{Binary, Options, RedisServer};
use crate::{PATIENCE, eventually};

const REPLIES: &str = "ocelli:replies:stranger";
const PIXELS: usize = 224 * 224 * 3;

/// What a worker may grow by while it refuses: a few of the entries, and what their decoding takes.
const GROWTH: u64 = 64 << 20;

/// A job that is as it should be.
fn header(id: u128) -> JobHeader {
    JobHeader {
        id: JobId(id).0.to_be_bytes().to_vec(),
        reply_to: REPLIES.to_owned(),
        timeout_us: 60_000_000,
        priority: 1,
        request_id: String::new(),
        inputs: vec![tensor(&[224, 224, 3])],
        reply_kind: ReplyKind::Stream as i32,
        part: 0,
        wants: vec![want()],
    }
}

fn tensor(shape: &[u32]) -> TensorHeader {
    TensorHeader {
        name: String::new(),
        kind: ElementKind::U8 as i32,
        shape: shape.to_vec(),
    }
}

fn want() -> WantMessage {
    WantMessage {
        output: "logits".to_owned(),
        top_k: 5,
        threshold: None,
        normalize: false,
    }
}

/// The header and payload of jobs that a worker must refuse.
fn lies() -> Vec<(&'static str, JobHeader, Vec<u8>)> {
    let mut id = 0;
    let mut lie = |name: &'static str, change: &dyn Fn(&mut JobHeader), bytes: usize| {
        id += 1;
        let mut header = header(id);
        change(&mut header);
        (name, header, vec![7; bytes])
    };
    let shaped =
        |shape: &'static [u32]| move |header: &mut JobHeader| header.inputs[0].shape = shape.to_vec();
    vec![
        lie("no pixels", &|_| (), 0),
        lie("a byte too few", &|_| (), PIXELS - 1),
        lie("a byte too many", &|_| (), PIXELS + 1),
        lie("20 MB of pixels", &|_| (), 20 << 20),
        lie("a vast shape", &shaped(&[u32::MAX, u32::MAX, 3]), PIXELS),
        lie("sides that swap", &shaped(&[3, 224, 224]), PIXELS),
        lie("no axes", &shaped(&[]), PIXELS),
        lie("an empty axis", &shaped(&[0, 224, 3]), 0),
        lie(
            "a million axes",
            &|header| header.inputs[0].shape = vec![1; 1 << 20],
            PIXELS,
        ),
        lie("floats", &|header| header.inputs[0].kind = 1, PIXELS * 4),
        lie("no tensor", &|header| header.inputs.clear(), PIXELS),
        lie(
            "100,000 tensors",
            &|header| header.inputs = vec![tensor(&[224, 224, 3]); 100_000],
            PIXELS,
        ),
        lie("no outputs", &|header| header.wants.clear(), PIXELS),
        lie(
            "an unknown output",
            &|header| header.wants[0].output = "x".repeat(1 << 20),
            PIXELS,
        ),
        lie(
            "100,000 outputs",
            &|header| header.wants = vec![want(); 100_000],
            PIXELS,
        ),
    ]
}

/// A command whose words may be any bytes.
async fn command<T: redis::FromRedisValue>(server: &RedisServer, name: &str, words: &[&[u8]]) -> T {
    let config = redis::AsyncConnectionConfig::new().set_response_timeout(Some(PATIENCE));
    let client = redis::Client::open(server.url()).unwrap();
    let mut connection = client
        .get_multiplexed_async_connection_with_config(&config)
        .await
        .unwrap();
    let mut command = redis::cmd(name);
    command.arg(words);
    command.query_async(&mut connection).await.unwrap()
}

async fn add(redis: &RedisServer, header: &[u8], payload: &[u8]) {
    add_at(redis, header, payload, &now_us().to_string()).await;
}

async fn add_at(redis: &RedisServer, header: &[u8], payload: &[u8], submitted: &str) {
    let stream = stream(redis).await;
    let words: [&[u8]; 8] = [
        stream.as_bytes(),
        b"*",
        b"j",
        header,
        b"t",
        submitted.as_bytes(),
        b"p",
        payload,
    ];
    command::<String>(redis, "XADD", &words).await;
}

fn now_us() -> u128 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros()
}

async fn stream(redis: &RedisServer) -> String {
    let keys = redis.keys().await;
    let jobs = keys.into_iter().find(|key| key.ends_with(":jobs:normal"));
    jobs.expect("the worker made it")
}

/// The replies that the stranger got, by id: whether there is an outcome.
async fn replies(redis: &RedisServer) -> Vec<(u128, bool)> {
    type Entry = (String, Vec<Vec<u8>>);
    let entries: Vec<Entry> = redis.command(&["XRANGE", REPLIES, "-", "+"]).await;
    let frames = entries.iter().filter(|(_, fields)| fields[0] == b"r");
    let mut replies: Vec<(u128, bool)> = frames
        .map(|(_, fields)| {
            let received = decode_reply(&fields[1]).expect("a worker wrote it");
            (received.id.0, received.reply.result.is_ok())
        })
        .collect();
    replies.sort_unstable();
    replies
}

async fn start() -> Option<(RedisServer, Process, Process)> {
    let binary = Binary::redis()?;
    let redis = RedisServer::start(&binary, Options::default()).await;
    let worker = worker(&redis.url(), &[]).await;
    let web = web(&redis.url(), &[]).await;
    Some((redis, worker, web))
}

async fn is_well(web: &Process) {
    let dog = photos::dog();
    let answer = web.post("/predict").form([("image", &dog.bytes[..])]);
    assert_eq!(answer.send().await.best(), dog.label());
}

#[tokio::test]
async fn a_worker_trusts_no_size_that_a_job_declares() {
    let Some((redis, worker, web)) = start().await else {
        return;
    };
    redis
        .command::<String>(&["XADD", REPLIES, "*", "made", "by hand"])
        .await;
    let idle = worker.memory("VmHWM");
    let lies = lies();
    for (_, header, payload) in &lies {
        add(&redis, &header.encode_frame(), payload).await;
    }
    let refused = |count: usize| {
        let name = "ocelli_refused_messages_total{what=\"garbage\"}";
        worker.metric(name, move |refused| refused == count as f64)
    };
    refused(lies.len()).await;
    eventually("each lie has its reply", async || {
        replies(&redis).await.len() == lies.len()
    })
    .await;
    for ((id, good), (name, ..)) in replies(&redis).await.into_iter().zip(&lies) {
        assert!(!good, "{name} ({id}) was computed");
    }
    // Bytes that are no job have nobody who could be told.
    let mut short = header(999);
    short.id.truncate(3);
    for bytes in [
        &b""[..],
        b"J",
        b"J\x02\x02\xff\xff\xff\xff\xff\xff",
        &[b'X'; 4096],
    ] {
        add(&redis, bytes, &[7; PIXELS]).await;
    }
    add(&redis, &short.encode_frame(), &[7; PIXELS]).await;
    redis
        .command::<String>(&["XADD", &stream(&redis).await, "*", "nothing", "here"])
        .await;
    refused(lies.len() + 6).await;
    let grown = worker.memory("VmHWM") - idle;
    assert!(grown < GROWTH, "it grew by {grown} bytes");
    is_well(&web).await;
}

#[tokio::test]
async fn times_and_numbers_of_a_job_are_bounded() {
    let Some((redis, worker, web)) = start().await else {
        return;
    };
    redis
        .command::<String>(&["XADD", REPLIES, "*", "made", "by hand"])
        .await;
    let pixels = [7; PIXELS];
    let changed = |id, change: &dyn Fn(&mut JobHeader)| {
        let mut header = header(id);
        change(&mut header);
        header.encode_frame()
    };
    let endless = changed(1, &|header| header.timeout_us = u64::MAX);
    add_at(&redis, &endless, &pixels, &u64::MAX.to_string()).await;
    // Submitted long ago, as far as anyone can read.
    add_at(&redis, &changed(9, &|_| ()), &pixels, "-1").await;
    let all = changed(2, &|header| header.wants[0].top_k = u32::MAX);
    add(&redis, &all, &pixels).await;
    let strange = changed(3, &|header| {
        header.wants[0].threshold = Some(f32::NAN);
        header.priority = u32::MAX;
        header.reply_kind = i32::MAX;
        header.part = u32::MAX;
        header.request_id = "x".repeat(1 << 20);
    });
    add(&redis, &strange, &pixels).await;
    eventually("all are answered", async || replies(&redis).await.len() == 4).await;
    assert_eq!(
        replies(&redis).await,
        [(1, true), (2, true), (3, true), (9, false)]
    );
    // A vector of an output that has classes: that job fails, and the engine is not blamed.
    let vector = changed(4, &|header| header.wants[0].top_k = 0);
    add(&redis, &vector, &pixels).await;
    eventually("it is answered", async || replies(&redis).await.len() == 5).await;
    is_well(&web).await;
    assert_eq!(metric(&worker, "ocelli_engine_faults_total").await, 0.0);
}

#[tokio::test]
async fn a_web_process_trusts_no_number_of_an_announcement() {
    let Some((redis, _worker, web)) = start().await else {
        return;
    };
    let workers = "ocelli:{@registry}:workers";
    let model = web.get("/v1/models/efficientnet-lite0").send().await.ok();
    let announce = async |name: &str, bytes: &[u8]| {
        let entry = [now_us().to_string().as_bytes(), bytes].concat();
        let words: [&[u8]; 3] = [workers.as_bytes(), name.as_bytes(), &entry];
        command::<i64>(&redis, "HSET", &words).await;
    };
    let mut lie = Announcement {
        model: "efficientnet-lite0".to_owned(),
        version: "1".to_owned(),
        digest: model["digest"].as_str().unwrap().to_owned(),
        instances: u32::MAX,
        max_batch: u32::MAX,
        ..Announcement::default()
    };
    for name in ["one", "two"] {
        announce(name, &lie.encode_to_vec()).await;
    }
    announce("garbage", b"\xff\xff\xff").await;
    // Another name on a card that is there.
    lie.model = "another".to_owned();
    (lie.instances, lie.max_batch) = (1, 1);
    announce("three", &lie.encode_to_vec()).await;
    web.metric("ocelli_workers", |workers| workers == 2.0).await;
    is_well(&web).await;
    let models = web.get("/v1/models").send().await.ok();
    assert_eq!(models["models"].as_array().unwrap().len(), 1, "{models}");
}

#[tokio::test]
async fn a_record_with_many_parts_is_read_in_one_pass() {
    let Some((redis, _worker, web)) = start().await else {
        return;
    };
    let model = web.get("/v1/models/efficientnet-lite0").send().await.ok();
    let record = |parts, bad: u32| JobRecord {
        model: "efficientnet-lite0".to_owned(),
        version: "1".to_owned(),
        digest: model["digest"].as_str().unwrap().to_owned(),
        top_k: 1,
        parts,
        keep_ms: 60_000,
        bad: (0..bad)
            .map(|part| BadImage {
                part,
                error: String::new(),
            })
            .collect(),
        ..JobRecord::default()
    };
    let write = async |id: u128, record: JobRecord| {
        let id = JobId(id);
        let key = format!("ocelli:job:{{{id}}}");
        let asked = record.encode_frame();
        let words: [&[u8]; 9] = [
            key.as_bytes(),
            b"asked",
            &asked,
            b"created",
            b"1",
            b"deadline",
            b"2",
            b"queued",
            b"",
        ];
        command::<i64>(&redis, "HSET", &words).await;
        web.get(&format!("/v1/jobs/{id}")).send().await
    };
    write(1, record(u32::MAX, 0))
        .await
        .refused(503, "broker_unavailable");
    // Each part is looked up among as many bad images: a list would be searched for 4 x 10^10 steps.
    let answer = write(2, record(200_000, 200_000)).await;
    assert_eq!(answer.ok()["results"].as_array().unwrap().len(), 200_000);
    is_well(&web).await;
}
