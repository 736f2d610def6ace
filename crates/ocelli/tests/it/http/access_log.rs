//! The access log: one line for each request, however it ends.

use std::collections::HashMap;
use std::net::SocketAddr;

use http_body_util::Empty;
use hyper::body::Bytes;
use hyper::client::conn::http2;
use hyper::{Method, Request};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Map, Value};
use tokio::net::TcpStream;

use crate::harness::client::{Answer, Call, Connection, Raw, form};
use crate::harness::photos;
use crate::harness::process::Process;
use crate::jobs::job;

const ID: &str = "x-request-id";

/// The fields of the line of a request, by its id. It is the only one.
#[track_caller]
fn line(log: &[Value], id: &str) -> Map<String, Value> {
    let lines: Vec<&Value> = log
        .iter()
        .filter(|line| line["fields"]["request_id"] == id)
        .collect();
    assert_eq!(lines.len(), 1, "{id}: {lines:#?}");
    lines[0]["fields"].as_object().unwrap().clone()
}

/// The lines of the access log, from a process that has ended.
async fn log_of(process: Process) -> Vec<Value> {
    process.signal("TERM");
    let (_, lines) = process.ended().await;
    let parsed = lines
        .iter()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}")));
    parsed
        .filter(|line: &Value| line["fields"]["message"] == "request")
        .collect()
}

async fn json(arguments: &[&str]) -> Process {
    let usual = ["--log-format", "json", "--drain-timeout", "5s"];
    Process::fake(&[&usual, arguments].concat()).await
}

/// The phases, as `Server-Timing` has them.
fn server_timing(answer: &Answer) -> HashMap<String, f64> {
    let phases = answer.header("server-timing").split(", ");
    let phase = |text: &str| {
        let (name, ms) = text.split_once(";dur=").unwrap();
        (format!("{name}_ms"), ms.parse().unwrap())
    };
    phases.map(phase).collect()
}

fn photo(process: &Process, id: &str) -> Call {
    let call = process.post("/predict?model=efficientnet-lite0").header(ID, id);
    call.form([("image", photos::DOG)])
}

/// The line of a photo that was answered says all that there is to say.
#[track_caller]
fn is_complete(line: &Map<String, Value>, sent: usize, answer: &Answer) {
    for (name, wanted) in [
        ("method", Value::from("POST")),
        ("path", "/predict".into()),
        ("status", 200.into()),
        ("code", "ok".into()),
        ("model", "efficientnet-lite0".into()),
        ("version", "1".into()),
        ("images", 1.into()),
        ("bytes", sent.into()),
        ("response_bytes", answer.body.len().into()),
    ] {
        assert_eq!(line[name], wanted, "{name}: {line:?}");
    }
    let mut sum = 0.0;
    for (name, ms) in server_timing(answer) {
        assert_eq!(line[&name].as_f64(), Some(ms), "{name}: {line:?}");
        sum += ms;
    }
    assert!(line["ms"].as_f64().unwrap() >= sum - 0.01, "{line:?}");
    let client: SocketAddr = line["client"].as_str().unwrap().parse().unwrap();
    assert!(client.ip().is_loopback());
    assert!(!line.contains_key("aborted"), "{line:?}");
}

#[tokio::test]
async fn a_photo_has_one_line_with_all_that_is_known_of_it() {
    let process = json(&["--access-log"]).await;
    let mut http2 = Connection::http2(process.address).await;
    let mut http1 = Connection::http1(process.address).await;
    let answers = [
        ("first", photo(&process, "first").send_on(&mut http1).await),
        ("second", photo(&process, "second").send_on(&mut http1).await),
        ("stream", photo(&process, "stream").send_on(&mut http2).await),
    ];
    drop((http1, http2));
    let log = log_of(process).await;
    let sent = form([("image", photos::DOG)]).len();
    for (id, answer) in &answers {
        is_complete(&line(&log, id), sent, answer);
    }
    assert_eq!(log.len(), answers.len(), "{log:#?}");
    assert!(log.iter().all(|line| line["level"] == "INFO"));
}

#[tokio::test]
async fn every_kind_of_request_has_its_line() {
    let process = json(&["--access-log"]).await;
    let many = process
        .post("/v1/models/efficientnet-lite0/predict")
        .header(ID, "many");
    let many = many.form([("image", photos::DOG), ("image", photos::DOG)]);
    many.send().await.ok();
    let taken = job(process.address, &[photos::grey(1)]).header(ID, "job");
    assert_eq!(taken.send().await.status, 202);
    let bad = process
        .post("/predict")
        .header(ID, "bad")
        .body("image/png", "no photo");
    bad.send().await.refused(400, "invalid_image");
    let lost = process.get("/nothing").header(ID, "lost");
    lost.send().await.refused(404, "unknown_route");
    let secret = process.get("/predict?token=hunter2").header(ID, "secret");
    secret.send().await.refused(405, "method_not_allowed");
    let head = Call::new(process.address, Method::HEAD, "/").header(ID, "head");
    let mut connection = Connection::http1(process.address).await;
    head.try_send_on(&mut connection).await.unwrap();
    drop(connection);
    let log = log_of(process).await;
    assert_eq!(line(&log, "many")["images"], 2);
    let job = line(&log, "job");
    assert_eq!(
        (&job["status"], &job["images"]),
        (&202.into(), &1.into()),
        "{job:?}"
    );
    let bad = line(&log, "bad");
    let wanted = (&400.into(), &"invalid_image".into(), &8.into());
    assert_eq!((&bad["status"], &bad["code"], &bad["bytes"]), wanted);
    assert!(!bad.contains_key("infer_ms"), "{bad:?}");
    let lost = line(&log, "lost");
    assert_eq!(
        (&lost["status"], &lost["code"]),
        (&404.into(), &"unknown_route".into())
    );
    assert!(!lost.contains_key("model"), "{lost:?}");
    assert_eq!(line(&log, "head").get("aborted"), None);
    assert_eq!(line(&log, "secret")["path"], "/predict");
    assert_eq!(log.len(), 6, "{log:#?}");
    assert!(!format!("{log:?}").contains("hunter2"), "queries are not logged");
}

#[tokio::test]
async fn lines_are_written_whatever_the_level_is_if_they_are_asked_for() {
    let mut process = Process::fake(&["--access-log", "--log-level", "debug"]).await;
    photo(&process, "asked").send().await.ok();
    let line = process.logs("request_id=asked").await;
    for text in [
        " INFO ",
        "method=POST",
        "path=/predict",
        "status=200",
        "code=ok",
        "images=1",
        "infer_ms=",
    ] {
        assert!(line.contains(text), "{text}: {line}");
    }
    drop(process);
    // Its readiness is not logged at this level.
    let redis = "redis://127.0.0.1:1";
    let mut command =
        crate::harness::process::ocelli(&["worker", "--engine", "fake", "--redis", redis, "--access-log"]);
    let port = crate::support::redis::free_port();
    command.args(["--log-level", "error", "--listen", &format!("127.0.0.1:{port}")]);
    let (reader, writer) = std::io::pipe().unwrap();
    let process = Process::start_unheard(command, writer, SocketAddr::from(([127, 0, 0, 1], port))).await;
    process.get("/livez").header(ID, "quiet").send().await;
    process.signal("TERM");
    process.ended().await;
    let log = std::io::read_to_string(reader).unwrap();
    assert!(log.lines().any(|line| line.contains("request_id=quiet")), "{log}");
    assert!(log.lines().all(|line| line.contains(" request ")), "{log}");
}

#[tokio::test]
async fn errors_are_found_by_their_id_at_level_debug() {
    let process = json(&["--log-level", "debug"]).await;
    let answer = process.get("/nothing").send().await;
    answer.refused(404, "unknown_route");
    let late = photo(&process, "late").header("X-Timeout-Ms", "0").send().await;
    late.refused(400, "invalid_request");
    let log = log_of(process).await;
    let found = line(&log, answer.header(ID));
    assert_eq!(
        (&found["status"], &found["code"]),
        (&404.into(), &"unknown_route".into())
    );
    assert_eq!(line(&log, "late")["code"], "invalid_request");
    assert!(log.iter().all(|line| line["level"] == "DEBUG"));
}

#[tokio::test]
async fn there_is_no_access_log_by_default() {
    let process = json(&[]).await;
    photo(&process, "mine").send().await.ok();
    process.get("/nothing").send().await.refused(404, "unknown_route");
    assert_eq!(log_of(process).await, Vec::<Value>::new());
}

#[tokio::test]
async fn a_client_invents_no_line_and_no_field() {
    for format in ["text", "json"] {
        let process = Process::fake(&["--access-log", "--log-format", format]).await;
        let long = "x".repeat(20_000);
        for (id, target) in [
            ("break", "/a%0Astatus=200\"b\\?token=hunter2"),
            ("raw", "/\u{9b}31m\u{202e}evil"),
            ("long", &*format!("/{long}?token=hunter2")),
        ] {
            let mut raw = Raw::connect(process.address).await;
            let head = format!("GET {target} HTTP/1.1\r\nHost: here\r\nX-Request-Id: {id}\r\n\r\n");
            raw.write(head.as_bytes()).await;
            assert_eq!(raw.answer().await.status, 404);
        }
        // An id with a space is not taken.
        let forged = process.get("/forged").header(ID, "x status=200");
        forged.send().await.refused(404, "unknown_route");
        process.signal("TERM");
        let (_, log) = process.ended().await;
        let lines: Vec<&String> = log.iter().filter(|line| line.contains("unknown_route")).collect();
        assert_eq!(lines.len(), 4, "{log:#?}");
        let of = |id: &str| *lines.iter().find(|line| line.contains(id)).unwrap();
        assert!(of("raw").contains("/%C2%9B31m%E2%80%AEevil"), "{}", of("raw"));
        assert!(of("long").len() < 1000, "{}", of("long"));
        assert!(!of("forged").contains("x status=200"), "{}", of("forged"));
        for line in lines {
            assert!(!line.contains("hunter2") && !line.contains('\u{202e}'), "{line}");
            let statuses = line.matches(" status=").count();
            assert_eq!(statuses, usize::from(format == "text"), "{line}");
        }
    }
}

#[tokio::test]
async fn a_request_whose_client_left_has_its_line_too() {
    let process = json(&["--access-log", "--fake-batch-time", "1ms", "--fake-hang-on", "77"]).await;
    let hanging = process
        .post("/predict")
        .header(ID, "left")
        .form([("image", &photos::grey(77).bytes[..])]);
    let mut raw = Raw::connect(process.address).await;
    raw.write(&hanging.wire()).await;
    process
        .metric("ocelli_admitted_images", |images| images == 1.0)
        .await;
    drop(raw);
    // Half a body, and then nothing.
    let mut raw = Raw::connect(process.address).await;
    let head = "POST /predict HTTP/1.1\r\nHost: here\r\nX-Request-Id: half\r\nContent-Length: 10\r\n\r\nhalf";
    raw.write(head.as_bytes()).await;
    process
        .metric("ocelli_receiving_requests", |requests| requests == 1.0)
        .await;
    drop(raw);
    // A response that is not taken: the client lets the server send nothing over HTTP/2, and goes.
    let socket = TcpStream::connect(process.address).await.unwrap();
    let (mut client, connection) = http2::Builder::new(TokioExecutor::new())
        .initial_stream_window_size(0)
        .handshake(TokioIo::new(socket))
        .await
        .unwrap();
    let connection = tokio::spawn(connection);
    let target = format!("http://{}/openapi.json", process.address);
    let request = Request::get(target)
        .header(ID, "untaken")
        .body(Empty::<Bytes>::new())
        .unwrap();
    let response = client.send_request(request).await.unwrap();
    assert_eq!(response.status(), 200);
    connection.abort();
    drop((client, response));
    process.metric("ocelli_connections", |open| open == 1.0).await;
    process
        .metric("ocelli_receiving_requests", |requests| requests == 0.0)
        .await;
    let log = log_of(process).await;
    let left = line(&log, "left");
    assert_eq!(left["aborted"], "before the response");
    assert_eq!(
        (&left["images"], left.get("status")),
        (&1.into(), None),
        "{left:?}"
    );
    assert_eq!(line(&log, "half")["bytes"], 4);
    let untaken = line(&log, "untaken");
    assert_eq!(
        (&untaken["status"], &untaken["aborted"]),
        (&200.into(), &"during the response".into())
    );
    let length = response_length(include_str!("../../../src/http/openapi.json"));
    assert!(
        untaken["response_bytes"].as_u64().unwrap() < length,
        "{untaken:?}"
    );
}

fn response_length(text: &str) -> u64 {
    text.len() as u64
}
