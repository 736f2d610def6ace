//! What web pages, rebound names and webhooks must not do: change models, or have a server ask itself.

use std::net::SocketAddr;

use hyper::Method;
use serde_json::Value;

use crate::harness::client::{Answer, Call, Connection};
use crate::harness::photos;
use crate::harness::process::{Process, run};
use crate::jobs::webhooks::{FAILED, key_file};
use crate::jobs::{accepted, job, until};
use crate::models::repository::Shelf;
use crate::models::repository::admin::admin_of;

/// A server with an address that changes models, which may call any webhook of this machine.
struct Target {
    process: Process,
    admin: SocketAddr,
    _shelf: Shelf,
    _key: tempfile::TempDir,
}

impl Target {
    async fn start(arguments: &[&str]) -> Self {
        let (shelf, folder) = (Shelf::new(), tempfile::tempdir().unwrap());
        shelf.put("a", ("a", "1", "a"));
        let key = key_file(&folder);
        let dir = shelf.path().to_str().unwrap().to_owned();
        let usual = [
            "--model-dir",
            &dir,
            "--model-control",
            "explicit",
            "--load-model",
            "a",
            "--webhook-secret-file",
            &key,
            "--webhook-allow-private",
        ];
        let mut process = Process::fake(&[&usual, arguments].concat()).await;
        let admin = admin_of(&mut process).await;
        Self {
            process,
            admin,
            _shelf: shelf,
            _key: folder,
        }
    }

    /// Asks the address that changes models to unload the one that there is.
    async fn unload(&self, headers: &[(&str, &str)]) -> Answer {
        let target = "/v2/repository/models/a/unload";
        let mut call = Call::new(self.admin, Method::POST, target);
        for (name, value) in headers {
            call = call.header(name, *value);
        }
        let mut connection = Connection::http1(self.admin).await;
        call.try_send_on(&mut connection).await.unwrap()
    }

    /// The model is still there.
    async fn is_untouched(&self) {
        let call = Call::new(self.admin, Method::GET, "/v2/repository/index");
        let mut connection = Connection::http1(self.admin).await;
        let index: Value = call.try_send_on(&mut connection).await.unwrap().ok();
        assert_eq!(index[0]["state"], "ready", "{index}");
    }

    /// A job whose webhook is `url`.
    async fn job_for(&self, url: &str) -> Answer {
        let call = job(self.process.address, &[photos::grey(1)]);
        call.header("X-Webhook-Url", url).send().await
    }

    /// The URL that unloads the model of `other`, at a host.
    fn unload_at(other: &Self, host: &str) -> String {
        format!(
            "http://{host}:{}/v2/repository/models/a/unload",
            other.admin.port()
        )
    }
}

const JSON: (&str, &str) = ("content-type", "application/json");

#[tokio::test]
async fn a_web_page_cannot_change_models() {
    let target = Target::start(&["--admin-listen", "127.0.0.1:0"]).await;
    // What a browser sends for a page without asking the server first.
    for kind in [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=b",
    ] {
        let page = [("content-type", kind), ("origin", "https://evil.example")];
        target.unload(&page).await.refused(403, "forbidden");
        let refused = target.unload(&[("content-type", kind)]).await;
        let text = refused.refused(415, "unsupported_media_type");
        assert!(text.contains("application/json"), "{text}");
    }
    target.unload(&[]).await.refused(415, "unsupported_media_type");
    target
        .unload(&[JSON, ("origin", "null")])
        .await
        .refused(403, "forbidden");
    target.is_untouched().await;
    // An operator's tool does as before.
    let origin = format!("http://{}", target.admin);
    assert_eq!(target.unload(&[JSON, ("origin", &origin)]).await.status, 200);
}

#[tokio::test]
async fn a_name_that_was_rebound_cannot_change_models() {
    let target = Target::start(&["--admin-listen", "localhost:0", "--admin-hosts", "models.example"]).await;
    let named = async |host: &str| {
        let mut raw = crate::harness::client::Raw::connect(target.admin).await;
        let head = format!(
            "POST /v2/repository/models/a/unload HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n\
             Content-Length: 0\r\n\r\n"
        );
        raw.write(head.as_bytes()).await;
        raw.answer().await
    };
    for foreign in ["evil.example", "evil.example:5002", "localhost.evil.example"] {
        let text = named(foreign).await.refused(403, "forbidden");
        assert!(text.contains("--admin-hosts"), "{text}");
    }
    target.is_untouched().await;
    assert_eq!(named("models.example:5002").await.status, 200);
}

#[tokio::test]
async fn a_server_does_not_call_itself() {
    let target = Target::start(&[
        "--admin-listen",
        "127.0.0.1:0",
        "--webhook-hosts",
        "127.0.0.1,localhost",
    ])
    .await;
    let main = target.process.address.port();
    for url in [
        Target::unload_at(&target, "127.0.0.1"),
        format!("http://127.0.0.1:{main}/v1/jobs"),
    ] {
        let text = target.job_for(&url).await.refused(400, "invalid_request");
        assert!(text.contains("listens on"), "{text}");
    }
    // What a name stands for is known only when it is called.
    for (url, failed) in [
        (Target::unload_at(&target, "localhost"), 1.0),
        (format!("http://localhost:{main}/v1/jobs"), 2.0),
    ] {
        let job = accepted(&target.job_for(&url).await);
        until(target.process.address, &job, "done").await;
        target.process.metric(FAILED, |count| count == failed).await;
    }
    let name = "ocelli_requests_total{route=\"/v1/jobs\",status=\"403\",code=\"forbidden\"}";
    target.process.metric(name, |count| count == 0.0).await;
    target.is_untouched().await;
}

#[tokio::test]
async fn a_server_takes_no_webhook_of_another_one() {
    let target = Target::start(&["--admin-listen", "127.0.0.1:0"]).await;
    let hosts = format!("127.0.0.1:{}", target.admin.port());
    let caller = Target::start(&["--admin-listen", "127.0.0.1:0", "--webhook-hosts", &hosts]).await;
    accepted(&caller.job_for(&Target::unload_at(&target, "127.0.0.1")).await);
    caller.process.metric(FAILED, |failed| failed == 1.0).await;
    target.is_untouched().await;
    // The list names one port of that host.
    let other = format!("http://127.0.0.1:{}/", target.process.address.port());
    let text = caller.job_for(&other).await.refused(400, "invalid_request");
    assert!(text.contains("--webhook-hosts"), "{text}");
    let signed = target
        .process
        .post("/v1/jobs")
        .header("X-Ocelli-Signature", "t=1,v1=00");
    signed.send().await.refused(403, "forbidden");
}

#[tokio::test]
async fn a_list_of_hosts_that_cannot_be_read_is_refused() {
    for hosts in ["https://example.com", "example.com:0", "example.com/hook"] {
        let command =
            crate::harness::process::ocelli(&["serve", "--engine", "fake", "--webhook-hosts", hosts]);
        let output = run(command, b"").await;
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{text}");
        assert!(text.contains("example.com:8443"), "{text}");
    }
}
