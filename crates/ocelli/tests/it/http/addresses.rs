//! Addresses that people, browsers and load balancers try first, and those that other servers have.

use hyper::Method;
use ocelli_engine::fake::FakeControl;

use crate::harness::client::{Answer, Call, Connection};
use crate::harness::process::{Process, ocelli};
use crate::harness::server::{Server, Setup};
use crate::models::repository::Shelf;
use crate::models::repository::admin;
use crate::support::redis::{Binary, Options, RedisServer};

/// Asks without holding the response against the description of the public API.
async fn ask(call: Call) -> Answer {
    let mut connection = Connection::http1(call.address()).await;
    call.try_send_on(&mut connection).await.unwrap()
}

#[tokio::test]
async fn the_first_page_names_the_model_and_how_to_ask() {
    let server = Server::start().await;
    let page = server.get("/").send().await;
    assert_eq!(page.status, 200);
    let address = server.address;
    for text in [
        "efficientnet-lite0".to_owned(),
        format!("curl -F image=@photo.jpg 'http://{address}/predict'"),
        "/readyz".to_owned(),
        "/v1/models".to_owned(),
        "README".to_owned(),
    ] {
        assert!(page.text().contains(&text), "{text}: {}", page.text());
    }
    assert!(page.header("content-type").starts_with("text/plain"));
    let head = ask(Call::new(address, Method::HEAD, "/")).await;
    assert_eq!((head.status.as_u16(), head.body.len()), (200, 0));
    assert_eq!(head.header("content-length"), page.header("content-length"));
    let mut http2 = Connection::http2(address).await;
    assert_eq!(server.get("/").send_on(&mut http2).await.body, page.body);
    let counted = "ocelli_requests_total{route=\"/\",status=\"200\",code=\"ok\"}";
    server.metric_is(counted, 3.0).await;
}

#[tokio::test]
async fn the_first_page_is_there_before_the_model_is() {
    let server = Setup::default().begin(FakeControl::hold).await;
    server.held(1).await;
    let page = server.get("/").send().await;
    assert_eq!(page.status, 200);
    assert!(
        page.text().contains("being loaded") && page.text().contains("/readyz"),
        "{}",
        page.text()
    );
    server.engine.release();
    server.ready().await;
    assert!(!server.get("/").send().await.text().contains("being loaded"));
}

#[tokio::test]
async fn the_first_page_is_there_over_the_tutorials_wire() {
    let Some(binary) = Binary::redis() else { return };
    let redis = RedisServer::start(&binary, Options::default()).await;
    let mut command = ocelli(&["web", "--wire", "tutorial", "--listen", "127.0.0.1:0"]);
    command.args(["--redis", &redis.url()]);
    let web = Process::start(command).await;
    let page = web.get("/").send().await;
    assert_eq!(page.status, 200);
    let curl = format!("curl -F image=@photo.jpg 'http://{}/predict'", web.address);
    assert!(
        page.text().contains("tutorial") && page.text().contains(&curl),
        "{}",
        page.text()
    );
}

#[tokio::test]
async fn paths_of_other_servers_get_errors_that_name_ours() {
    let server = Server::start().await;
    for target in [
        "/ping",
        "/health",
        "/healthz",
        "/docs",
        "/predictions/resnet-18",
        "/v2/health/ready",
        "/favicon.ico",
    ] {
        let said = server.get(target).send().await.refused(404, "unknown_route");
        for text in [target, "/readyz", "/v1/models", "README", "https://"] {
            assert!(said.contains(text), "{text}: {said}");
        }
    }
}

#[tokio::test]
async fn each_address_names_only_what_it_has() {
    let shelf = Shelf::new();
    shelf.put("a", ("a", "1", "a"));
    let (process, admin) = admin::start(&shelf, &[]).await;
    let said = ask(Call::new(admin, Method::GET, "/v1/models"))
        .await
        .refused(404, "unknown_route");
    assert!(
        said.contains("/v2/repository/index") && !said.contains("/readyz"),
        "{said}"
    );
    let mut command = ocelli(&["worker", "--listen", "127.0.0.1:0", "--engine", "fake"]);
    command.args(["--redis", "redis://127.0.0.1:1"]);
    let worker = Process::start_worker_early(command).await;
    let said = worker.get("/predict").send().await.refused(404, "unknown_route");
    assert!(said.contains("/readyz") && !said.contains("/v1/models"), "{said}");
    // What it says of methods holds at every address.
    let call = Call::new(admin, Method::DELETE, "/v2/repository/index").body("application/json", "");
    let answer = ask(call).await;
    assert!(answer.refused(405, "method_not_allowed").contains("Allow header"));
    assert_eq!(answer.header("allow"), "GET,HEAD,POST");
    let answer = process.get("/predict").send().await;
    let said = answer.refused(405, "method_not_allowed");
    assert!(said.contains("POST an image"), "{said}");
    assert_eq!(answer.header("allow"), "POST");
}
