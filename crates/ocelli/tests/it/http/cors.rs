//! Web pages of other origins, as browsers ask for them.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use hyper::Method;
use hyper::header::HeaderName;
use ocelli::http::Cors;
use ocelli::models::admission::AdmissionLimits;

use crate::harness::client::{Answer, Call, Connection};
use crate::harness::photos;
use crate::harness::process::{Process, ocelli, run};
use crate::harness::server::{Server, Setup};
use crate::jobs::job;
use crate::models::repository::Shelf;
use crate::models::repository::admin;

const PAGE: &str = "https://app.example";
const FOREIGN: &str = "https://evil.example";

const ALLOW_ORIGIN: &str = "access-control-allow-origin";

/// A server that one origin may read, and room for one image in its queue.
async fn server(origins: &[&str]) -> Server {
    let origins: Vec<_> = origins.iter().map(|origin| origin.parse().unwrap()).collect();
    let mut setup = Setup {
        cors: Cors::new(&origins),
        ..Setup::default()
    };
    setup.pipeline.admission = AdmissionLimits {
        jobs: 1,
        bytes: 256 << 20,
    };
    setup.http.max_body = 1 << 20;
    setup.start().await
}

/// What a browser asks before it sends JSON for a page.
async fn preflight(address: SocketAddr, target: &str, origin: &str) -> Answer {
    let call = Call::new(address, Method::OPTIONS, target)
        .header("Origin", origin)
        .header("Access-Control-Request-Method", "POST")
        .header("Access-Control-Request-Headers", "content-type,x-timeout-ms");
    let mut connection = Connection::http1(address).await;
    call.try_send_on(&mut connection).await.unwrap()
}

/// The page may read the response, and every header that we say something with.
#[track_caller]
fn may_read(answer: &Answer, allowed: &str) {
    assert_eq!(answer.header(ALLOW_ORIGIN), allowed, "{answer:?}");
    let exposed = answer.header("access-control-expose-headers").split(", ");
    // Those that pages may always read, and those that are no page's business.
    let others = "content-type content-length connection date vary allow accept-encoding";
    let known: BTreeSet<&str> = exposed.chain(others.split(' ')).collect();
    for name in answer.headers.keys().map(HeaderName::as_str) {
        let ours = !name.starts_with("access-control-");
        assert!(!ours || known.contains(name), "{name} is not exposed: {answer:?}");
    }
}

#[tokio::test]
async fn a_page_of_a_listed_origin_reads_every_response() {
    let server = server(&["http://localhost:3000", PAGE]).await;
    let large = vec![0; 2 << 20];
    let posted = |target: &str| server.post(target);
    let mut answers = Vec::new();
    for (call, status) in [
        (server.photo(&photos::grey(1)), 200),
        (posted("/predict").body("text/csv", "1,2"), 415),
        (posted("/predict").body("image/png", "nothing"), 400),
        (posted("/predict").body("image/png", large), 413),
        (server.get("/predict"), 405),
        (server.get("/v1/models"), 200),
        (server.get("/v1/models/none"), 404),
        (server.get("/v1/jobs/none"), 404),
        (server.get("/nothing"), 404),
        (server.get("/readyz"), 200),
        (job(server.address, &[photos::grey(1)]), 202),
    ] {
        for http2 in [false, true] {
            let mut connection = match http2 {
                true => Connection::http2(server.address).await,
                false => Connection::http1(server.address).await,
            };
            let call = call.clone().header("Origin", PAGE);
            let answer = call.send_on(&mut connection).await;
            assert_eq!(answer.status, status, "{answer:?}");
            answers.push(answer);
            drop(connection);
            server.is_empty().await;
        }
        server.is_empty().await;
    }
    let waiting = server.occupy().await;
    let full = server.photo(&photos::grey(2)).header("Origin", PAGE).send().await;
    full.refused(429, "queue_full");
    answers.push(full);
    server.engine.release();
    waiting.await.unwrap();
    for answer in &answers {
        may_read(answer, PAGE);
        assert_eq!(answer.header("vary"), "origin", "{answer:?}");
    }
    let sent: BTreeSet<&str> = answers
        .iter()
        .flat_map(|answer| answer.headers.keys())
        .map(HeaderName::as_str)
        .collect();
    for name in ["retry-after", "server-timing", "location", "x-request-id"] {
        assert!(sent.contains(name), "no response has had {name}");
    }
}

#[tokio::test]
async fn a_page_that_is_not_listed_reads_nothing() {
    let server = server(&[PAGE]).await;
    for call in [
        server.get("/v1/models"),
        server.get("/nothing"),
        server.photo(&photos::grey(1)),
    ] {
        let answer = call.clone().header("Origin", FOREIGN).send().await;
        assert!(!answer.headers.contains_key(ALLOW_ORIGIN), "{answer:?}");
        // A cache that keeps this response must not give it to the page that may read.
        assert_eq!(answer.header("vary"), "origin");
        let answer = call.send().await;
        assert!(!answer.headers.contains_key(ALLOW_ORIGIN), "{answer:?}");
        assert_eq!(answer.header("vary"), "origin");
        server.is_empty().await;
    }
    let refused = preflight(server.address, "/predict", FOREIGN).await;
    assert!(refused.refused(403, "forbidden").contains("--cors-origin"));
    assert!(!refused.headers.contains_key(ALLOW_ORIGIN), "{refused:?}");
}

#[tokio::test]
async fn browsers_that_ask_first_are_answered() {
    let server = server(&[PAGE]).await;
    for target in ["/predict", "/v1/jobs", "/v1/models/m/predict", "/nothing"] {
        let answer = preflight(server.address, target, PAGE).await;
        assert_eq!(answer.status, 204, "{answer:?}");
        assert!(answer.body.is_empty());
        assert_eq!(answer.header(ALLOW_ORIGIN), PAGE);
        assert_eq!(
            answer.header("access-control-allow-headers"),
            "content-type,x-timeout-ms"
        );
        for method in ["GET", "POST", "DELETE"] {
            assert!(answer.header("access-control-allow-methods").contains(method));
        }
        assert!(!answer.header("x-request-id").is_empty());
    }
    let counted = "ocelli_requests_total{route=\"/predict\",status=\"204\",code=\"ok\"}";
    server.metric_is(counted, 1.0).await;
}

#[tokio::test]
async fn every_page_may_read_if_the_operator_says_so() {
    let server = server(&["*"]).await;
    for origin in [PAGE, FOREIGN, "null"] {
        let answer = server.get("/v1/models").header("Origin", origin).send().await;
        may_read(&answer, "*");
        assert!(!answer.headers.contains_key("vary"), "it is the same for all");
        let asked = preflight(server.address, "/predict", origin).await;
        assert_eq!((asked.status.as_u16(), asked.header(ALLOW_ORIGIN)), (204, "*"));
    }
    may_read(&server.get("/v1/models").send().await, "*");
}

#[tokio::test]
async fn no_page_reads_anything_by_default() {
    let server = Server::start().await;
    let answer = server.get("/v1/models").header("Origin", PAGE).send().await;
    let names: Vec<&str> = answer.headers.keys().map(HeaderName::as_str).collect();
    assert!(
        !names
            .iter()
            .any(|name| name.starts_with("access-control") || *name == "vary"),
        "{names:?}"
    );
    let asked = preflight(server.address, "/predict", PAGE).await;
    asked.refused(405, "method_not_allowed");
    assert!(!asked.headers.contains_key(ALLOW_ORIGIN));
}

#[tokio::test]
async fn origins_come_from_options_and_the_environment_and_reach_no_admin_address() {
    let shelf = Shelf::new();
    shelf.put("a", ("a", "1", "a"));
    let cors = ["--cors-origin", "*", "--cors-origin", PAGE];
    let (process, admin) = admin::start(&shelf, &cors).await;
    may_read(
        &process.get("/v1/models").header("Origin", PAGE).send().await,
        "*",
    );
    for method in [Method::GET, Method::POST, Method::OPTIONS] {
        let call = Call::new(admin, method, "/v2/repository/index")
            .header("Origin", PAGE)
            .header("Access-Control-Request-Method", "POST");
        let mut connection = Connection::http1(admin).await;
        let answer = call.try_send_on(&mut connection).await.unwrap();
        assert!(answer.status.is_client_error(), "{answer:?}");
        let names = answer.headers.keys().map(HeaderName::as_str);
        assert!(
            !names.into_iter().any(|name| name.starts_with("access-control")),
            "{answer:?}"
        );
    }
    drop(process);
    let mut command = ocelli(&["serve", "--listen", "127.0.0.1:0", "--engine", "fake"]);
    command.env("OCELLI_CORS_ORIGIN", format!("http://localhost:3000,{PAGE}"));
    let process = Process::start(command).await;
    may_read(
        &process.get("/v1/models").header("Origin", PAGE).send().await,
        PAGE,
    );
}

#[tokio::test]
async fn an_origin_that_no_browser_sends_is_refused_at_the_start() {
    for (role, origin, says) in [
        ("serve", "https://app.example/", "write https://app.example"),
        ("serve", "app.example", "such as https://app.example"),
        ("web", "htps://app.example", "such as https://app.example"),
        ("web", "https://*.example", "list each origin"),
    ] {
        let mut command = ocelli(&[role, "--cors-origin", origin]);
        command.env("OCELLI_REDIS", "redis://127.0.0.1:1");
        let output = run(command, b"").await;
        assert_eq!(output.status.code(), Some(2));
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(text.contains("--cors-origin") && text.contains(says), "{text}");
    }
}
