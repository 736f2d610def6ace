//! Webhooks: called when a job has ended, signed, and only on allowed hosts.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use ocelli::async_jobs::{CallLimits, Secret, Sender, WebhookConfig};
use ring::hmac;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use crate::PATIENCE;
use crate::harness::client::Call;
use crate::harness::photos;
use crate::harness::process::{Process, ocelli};
use crate::harness::server::{Server, Setup};
use crate::jobs::over_redis::{webs_without_worker, worker};
use crate::jobs::{accepted, ask, job, shows, until};
use crate::support::redis::{Binary, Options, RedisServer, certificates};

const KEY: &str = "a key of more than 16 bytes";

/// A receiver of webhooks. It repeats the last of its answers.
pub(crate) struct Receiver {
    pub(crate) port: u16,
    calls: mpsc::UnboundedReceiver<Received>,
}

#[derive(Debug)]
pub(crate) struct Received {
    head: String,
    body: Vec<u8>,
}

impl Receiver {
    pub(crate) async fn start(answers: &'static [&'static str]) -> Self {
        Self::start_with(answers, None).await
    }

    async fn start_with(answers: &'static [&'static str], tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (sender, calls) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            for call in 0.. {
                let (stream, _) = listener.accept().await.unwrap();
                let answer: &str = answers[call.min(answers.len() - 1)];
                let received = match &tls {
                    None => receive(stream, answer).await,
                    // A client that does not trust the certificate disconnects.
                    Some(tls) => match tls.accept(stream).await {
                        Ok(stream) => receive(stream, answer).await,
                        Err(_) => continue,
                    },
                };
                if sender.send(received).is_err() {
                    return;
                }
            }
        });
        Self { port, calls }
    }

    pub(crate) fn url(&self, host: &str) -> String {
        format!("http://{host}:{}/hook?token=x", self.port)
    }

    pub(crate) async fn call(&mut self) -> Received {
        let call = timeout(PATIENCE, self.calls.recv()).await;
        call.expect("it is called").unwrap()
    }

    fn was_not_called(&mut self) {
        assert!(self.calls.try_recv().is_err(), "it was called");
    }
}

async fn receive(mut stream: impl AsyncRead + AsyncWrite + Unpin, answer: &str) -> Received {
    let mut bytes = Vec::new();
    let (head, length) = loop {
        bytes.push(stream.read_u8().await.unwrap());
        if let Some(head) = bytes.strip_suffix(b"\r\n\r\n") {
            let head = String::from_utf8(head.to_vec()).unwrap();
            let length = field(&head, "content-length").parse().unwrap();
            break (head, length);
        }
    };
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.unwrap();
    let answer = format!("HTTP/1.1 {answer}\r\ncontent-length: 0\r\n\r\n");
    stream.write_all(answer.as_bytes()).await.unwrap();
    // TLS announces the end of a connection.
    let _ = stream.shutdown().await;
    Received { head, body }
}

fn field<'a>(head: &'a str, name: &str) -> &'a str {
    head.lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
        .unwrap_or_else(|| panic!("no {name} in {head}"))
}

impl Received {
    /// The body, after checking the signature.
    #[track_caller]
    fn signed(&self) -> Value {
        assert!(
            self.head.starts_with("POST /hook?token=x HTTP/1.1\r\n"),
            "{}",
            self.head
        );
        let (time, signature) = field(&self.head, "x-ocelli-signature")
            .split_once(",v1=")
            .unwrap();
        let mut signed = time.strip_prefix("t=").unwrap().as_bytes().to_vec();
        signed.push(b'.');
        signed.extend(&self.body);
        let tag: Vec<u8> = signature
            .as_bytes()
            .chunks(2)
            .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
            .collect();
        let key = hmac::Key::new(hmac::HMAC_SHA256, KEY.as_bytes());
        hmac::verify(&key, &signed, &tag).expect("the signature is right");
        assert_eq!(field(&self.head, "content-type"), "application/json");
        serde_json::from_slice(&self.body).unwrap()
    }
}

/// A server in this process that calls these hosts.
pub(crate) async fn server(hosts: &[&str], allow_private: bool) -> Server {
    let mut setup = Setup::default();
    let config = WebhookConfig {
        hosts: hosts.iter().map(|host| host.parse().unwrap()).collect(),
        allow_private,
        secret: Secret::new(KEY.as_bytes()),
        calls: CallLimits {
            total: 16,
            per_receiver: 2,
        },
    };
    setup.jobs.webhooks = Some(Sender::new(config).unwrap());
    setup.start().await
}

/// A job of one grey photo, with the webhook `url`.
pub(crate) fn told(server: &Server, url: &str) -> Call {
    job(server.address, &[photos::grey(1)]).header("X-Webhook-Url", url)
}

pub(crate) const DELIVERED: &str = "ocelli_webhooks_total{outcome=\"delivered\"}";
const RETRIED: &str = "ocelli_webhooks_total{outcome=\"retried\"}";
pub(crate) const FAILED: &str = "ocelli_webhooks_total{outcome=\"failed\"}";

#[tokio::test]
async fn a_webhook_gets_the_body_of_get() {
    let server = server(&["127.0.0.1"], true).await;
    let mut receiver = Receiver::start(&["204 No Content"]).await;
    let url = receiver.url("127.0.0.1");
    let job = accepted(&told(&server, &url).send().await);
    let call = receiver.call().await;
    let body = call.signed();
    assert_eq!(body, ask(server.address, &job).await.ok());
    assert_eq!(body["state"], "done");
    assert_eq!(field(&call.head, "host"), format!("127.0.0.1:{}", receiver.port));
    server.metric_is(DELIVERED, 1.0).await;
    receiver.was_not_called();
    server.is_well().await;
}

#[tokio::test]
async fn a_webhook_that_fails_is_called_again() {
    let server = server(&["127.0.0.1"], true).await;
    let mut receiver = Receiver::start(&["500 Internal Server Error", "200 OK"]).await;
    accepted(&told(&server, &receiver.url("127.0.0.1")).send().await);
    let first = receiver.call().await.signed();
    assert_eq!(receiver.call().await.signed(), first);
    server.metric_is(DELIVERED, 1.0).await;
    assert_eq!(server.metric(RETRIED).await, 1.0);
    server.is_well().await;
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let server = server(&["127.0.0.1"], true).await;
    let mut receiver = Receiver::start(&["307 Temporary Redirect\r\nlocation: /hook?token=elsewhere"]).await;
    accepted(&told(&server, &receiver.url("127.0.0.1")).send().await);
    receiver.call().await.signed();
    server.metric_is(FAILED, 1.0).await;
    receiver.was_not_called();
    server.is_well().await;
}

#[tokio::test]
async fn only_listed_hosts_of_the_internet_are_called() {
    let mut receiver = Receiver::start(&["200 OK"]).await;
    let off = Server::start().await;
    let text = told(&off, &receiver.url("127.0.0.1"))
        .send()
        .await
        .refused(400, "invalid_request");
    assert!(text.contains("--webhook-hosts"), "{text}");
    let server = server(&["127.0.0.1", "localhost"], false).await;
    for (url, says) in [
        (receiver.url("127.0.0.1"), "public internet"),
        (receiver.url("example.com"), "example.com"),
        ("ftp://localhost/".to_owned(), "http or https"),
    ] {
        let text = told(&server, &url).send().await.refused(400, "invalid_request");
        assert!(text.contains(says), "{text}");
    }
    // A name is resolved only when it is called.
    let job = accepted(&told(&server, &receiver.url("localhost")).send().await);
    server.metric_is(FAILED, 1.0).await;
    until(server.address, &job, "done").await;
    receiver.was_not_called();
    server.is_well().await;
}

#[tokio::test]
async fn a_deleted_job_calls_no_webhook() {
    let server = server(&["127.0.0.1"], true).await;
    let mut receiver = Receiver::start(&["200 OK"]).await;
    let url = receiver.url("127.0.0.1");
    let first = server.occupy().await;
    let deleted = accepted(&told(&server, &url).send().await);
    let kept = accepted(&told(&server, &url).send().await);
    assert_eq!(server.delete(&deleted).send().await.status, 204);
    server.engine.release();
    first.await.unwrap();
    let body = receiver.call().await.signed();
    assert!(kept.ends_with(body["id"].as_str().unwrap()), "{body}");
    server.metric_is(DELIVERED, 1.0).await;
    receiver.was_not_called();
    server.is_well().await;
}

#[tokio::test]
async fn a_stopping_server_calls_the_webhooks_of_accepted_jobs() {
    let mut server = server(&["127.0.0.1"], true).await;
    let mut receiver = Receiver::start(&["200 OK"]).await;
    let mut failing = Receiver::start(&["500 Internal Server Error"]).await;
    let first = server.occupy().await;
    accepted(&told(&server, &receiver.url("127.0.0.1")).send().await);
    accepted(&told(&server, &failing.url("127.0.0.1")).send().await);
    accepted(&job(server.address, &[photos::grey(2)]).send().await);
    server.begin_to_stop();
    server.engine.release();
    first.await.unwrap();
    for receiver in [&mut receiver, &mut failing] {
        assert_eq!(receiver.call().await.signed()["state"], "done");
    }
    assert_eq!(server.ended().await.unwrap(), ocelli::server::ServeEnd::Drained);
    failing.was_not_called();
}

#[tokio::test]
async fn the_same_key_with_another_webhook_is_another_request() {
    let server = server(&["127.0.0.1"], true).await;
    let mut receiver = Receiver::start(&["200 OK"]).await;
    let url = receiver.url("127.0.0.1");
    let send = async |url: &str| told(&server, url).header("Idempotency-Key", "a").send().await;
    let job = accepted(&send(&url).await);
    assert_eq!(accepted(&send(&url).await), job);
    send("http://127.0.0.1/")
        .await
        .refused(422, "idempotency_conflict");
    receiver.call().await.signed();
    server.metric_is(DELIVERED, 1.0).await;
    receiver.was_not_called();
}

/// A file with the key.
pub(crate) fn key_file(folder: &TempDir) -> String {
    let path = folder.path().join("key");
    std::fs::write(&path, format!("{KEY}\n")).unwrap();
    path.to_str().unwrap().to_owned()
}

/// A TLS acceptor with these certificates.
pub(crate) fn acceptor(certificate: &Path, key: &Path) -> TlsAcceptor {
    let certificate = CertificateDer::from_pem_file(certificate).unwrap();
    let key = PrivateKeyDer::from_pem_file(key).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    TlsAcceptor::from(Arc::new(config))
}

#[tokio::test]
async fn an_https_webhook_needs_a_valid_certificate() {
    let folder = tempfile::tempdir().unwrap();
    let trusted = certificates(folder.path());
    let mut receiver =
        Receiver::start_with(&["200 OK"], Some(acceptor(&trusted.certificate, &trusted.key))).await;
    let key = key_file(&folder);
    let start = async |authority: PathBuf| {
        let mut command = ocelli(&["serve", "--listen", "127.0.0.1:0", "--engine", "fake"]);
        command
            .args(["--webhook-hosts", "localhost", "--webhook-allow-private"])
            .args(["--webhook-secret-file", &key])
            .env("SSL_CERT_FILE", authority)
            .env_remove("SSL_CERT_DIR");
        Process::start(command).await
    };
    let url = receiver.url("localhost").replace("http:", "https:");
    let send = async |process: &Process| {
        let call = job(process.address, &[photos::grey(1)]).header("X-Webhook-Url", &url);
        accepted(&call.send().await)
    };
    // A certificate of another CA is refused.
    let strangers = tempfile::tempdir().unwrap();
    let stranger = start(certificates(strangers.path()).authority).await;
    send(&stranger).await;
    stranger.metric(RETRIED, |retried| retried >= 1.0).await;
    receiver.was_not_called();
    drop(stranger);
    let process = start(trusted.authority).await;
    let job = send(&process).await;
    let body = receiver.call().await.signed();
    assert!(job.ends_with(body["id"].as_str().unwrap()), "{body}");
    process.metric(DELIVERED, |delivered| delivered == 1.0).await;
}

#[tokio::test]
async fn webhook_hosts_need_a_valid_key() {
    let folder = tempfile::tempdir().unwrap();
    let short = folder.path().join("short");
    std::fs::write(&short, "too short\n").unwrap();
    let short = short.to_str().unwrap();
    for (arguments, says) in [
        (&[][..], "--webhook-secret-file"),
        (&["--webhook-secret-file", short][..], "at least 16"),
        (&["--webhook-secret-file", "/nowhere/key"][..], "cannot read"),
    ] {
        let mut command = ocelli(&["serve", "--engine", "fake", "--listen", "127.0.0.1:0"]);
        command.args(["--webhook-hosts", "example.com"]).args(arguments);
        let output = crate::harness::process::run(command, b"").await;
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && text.contains(says), "{text}");
    }
}

#[tokio::test]
async fn a_webhook_survives_the_web_process_that_accepted_it() {
    let Some(binary) = Binary::redis() else { return };
    let redis = RedisServer::start(&binary, Options::default()).await;
    let folder = tempfile::tempdir().unwrap();
    let key = key_file(&folder);
    let arguments = [
        "--webhook-hosts",
        "127.0.0.1",
        "--webhook-allow-private",
        "--webhook-secret-file",
        &key,
    ];
    let [accepting, other] = webs_without_worker(&redis.url(), &arguments).await;
    let mut receiver = Receiver::start(&["503 Service Unavailable", "200 OK"]).await;
    let url = receiver.url("127.0.0.1");
    let send = |web: &Process| job(web.address, &[photos::grey(1)]).header("X-Webhook-Url", &url);
    let deleted = accepted(&send(&accepting).send().await);
    let delete = Call::new(other.address, hyper::Method::DELETE, &deleted);
    assert_eq!(delete.send().await.status, 204);
    let lasting = accepted(&send(&accepting).send().await);
    accepting.signal("KILL");
    accepting.ended().await;
    let worker = worker(&redis.url(), &[]).await;
    let first = receiver.call().await.signed();
    assert!(lasting.ends_with(first["id"].as_str().unwrap()), "{first}");
    shows(&first, &[photos::grey(1)]);
    assert_eq!(receiver.call().await.signed(), first, "called again");
    other.metric(DELIVERED, |delivered| delivered == 1.0).await;
    // A job without a worker calls its webhook too.
    worker.signal("TERM");
    worker.ended().await;
    let late = accepted(&send(&other).header("X-Timeout-Ms", "1000").send().await);
    let body = receiver.call().await.signed();
    assert!(late.ends_with(body["id"].as_str().unwrap()), "{body}");
    assert_eq!(body["results"][0]["code"], "deadline_exceeded");
    other.metric(DELIVERED, |delivered| delivered == 2.0).await;
    receiver.was_not_called();
    let keys = redis.keys().await;
    assert!(!keys.iter().any(|key| key.contains("{@webhooks}")), "{keys:?}");
}
