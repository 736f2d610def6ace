//! Receivers of webhooks that do not respond affect neither other receivers nor the server.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::future::join_all;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::eventually;
use crate::harness::photos;
use crate::harness::process::{Process, ocelli};
use crate::jobs::over_redis::{web, worker};
use crate::jobs::webhooks::{Receiver, key_file, server, told};
use crate::jobs::{accepted, ask, job, until};
use crate::support::redis::{Binary, Options, RedisServer};

/// A receiver that accepts every connection and sends nothing.
struct Silent {
    port: u16,
    connections: Arc<AtomicUsize>,
    accepting: JoinHandle<()>,
}

impl Silent {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let connections = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&connections);
        let accepting = tokio::spawn(async move {
            let mut kept = Vec::new();
            loop {
                kept.extend(listener.accept().await.ok());
                counted.store(kept.len(), Ordering::Relaxed);
            }
        });
        Self {
            port,
            connections,
            accepting,
        }
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}/hook", self.port)
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }
}

impl Drop for Silent {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

#[tokio::test]
async fn a_silent_receiver_gets_few_calls_and_delays_no_other() {
    let server = server(&["127.0.0.1"], true).await;
    let (silent, mut good) = (Silent::start().await, Receiver::start(&["200 OK"]).await);
    let url = silent.url();
    let jobs = join_all((0..50).map(|_| told(&server, &url).send())).await;
    for answer in &jobs {
        until(server.address, &accepted(answer), "done").await;
    }
    eventually("it is called", async || silent.connections() > 0).await;
    accepted(&told(&server, &good.url("127.0.0.1")).send().await);
    good.call().await;
    // Two calls, and two more for each timeout of 10 s.
    let calls = silent.connections();
    assert!(calls <= 6, "{calls} calls of a receiver that is silent");
    server.is_well().await;
}

/// The options that allow webhooks on this machine.
fn allowed(key: &str) -> [&str; 5] {
    [
        "--webhook-hosts",
        "127.0.0.1",
        "--webhook-allow-private",
        "--webhook-secret-file",
        key,
    ]
}

async fn told_by(process: &Process, url: &str) -> String {
    let call = job(process.address, &[photos::grey(1)]).header("X-Webhook-Url", url);
    accepted(&call.send().await)
}

#[tokio::test]
async fn a_silent_receiver_gets_few_calls_over_redis_and_delays_no_other() {
    let Some(binary) = Binary::redis() else { return };
    let redis = RedisServer::start(&binary, Options::default()).await;
    let folder = tempfile::tempdir().unwrap();
    let key = key_file(&folder);
    let _worker = worker(&redis.url(), &[]).await;
    let web = web(&redis.url(), &allowed(&key)).await;
    let (silent, mut good) = (Silent::start().await, Receiver::start(&["200 OK"]).await);
    let mut last = String::new();
    for _ in 0..60 {
        last = told_by(&web, &silent.url()).await;
    }
    until(web.address, &last, "done").await;
    eventually("it is called", async || silent.connections() > 0).await;
    told_by(&web, &good.url("127.0.0.1")).await;
    good.call().await;
    let calls = silent.connections();
    assert!(calls <= 12, "{calls} calls of a receiver that is silent");
    // None is lost: all are still pending.
    let left: usize = redis.command(&["ZCARD", "ocelli:{@webhooks}:due"]).await;
    assert!(left >= 60 - 1, "{left} of 60 are left");
}

/// Starts `ocelli serve` with these soft and hard limits of open files.
async fn limited(soft: u32, hard: u32, arguments: &[&str]) -> Process {
    let serve = ocelli(&["serve", "--listen", "127.0.0.1:0", "--engine", "fake"]);
    let mut command = std::process::Command::new("sh");
    let limits = format!("ulimit -Sn {soft} && ulimit -Hn {hard} && exec \"$0\" \"$@\"");
    command.args(["-c", &limits]).arg(serve.get_program());
    command.args(serve.get_args()).args(arguments);
    for (name, value) in serve.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command.stdin(std::process::Stdio::null());
    Process::start(command).await
}

#[tokio::test]
async fn receivers_that_are_silent_do_not_use_up_the_files() {
    let folder = tempfile::tempdir().unwrap();
    let key = key_file(&folder);
    let arguments = [&allowed(&key)[..], &["--max-connections", "40"]].concat();
    let process = limited(64, 400, &arguments).await;
    // More receivers than open files.
    let receivers = join_all((0..100).map(|_| Silent::start())).await;
    let mut jobs = Vec::new();
    for receiver in receivers.iter().chain(&receivers).chain(&receivers) {
        jobs.push(told_by(&process, &receiver.url()).await);
    }
    for job in &jobs {
        until(process.address, job, "done").await;
    }
    let called = || {
        receivers
            .iter()
            .filter(|receiver| receiver.connections() > 0)
            .count()
    };
    eventually("they are called", async || called() > 0).await;
    assert_eq!(process.get("/livez").send().await.status, 200);
    assert_eq!(ask(process.address, &jobs[0]).await.status, 200);
    let open = process.open_files();
    assert!(open < 128 + 40 + 64, "{open} files are open");
}

#[tokio::test]
async fn the_limit_of_open_files_is_raised_as_needed() {
    let folder = tempfile::tempdir().unwrap();
    let key = key_file(&folder);
    let connections = ["--max-connections", "100", "--max-webhook-calls", "50"];
    let arguments = [&allowed(&key)[..], &connections].concat();
    let process = limited(64, 1000, &arguments).await;
    let limit = process.file_limit();
    assert!((300..=400).contains(&limit), "{limit}");
    drop(process);
    // Within the hard limit, with fewer connections and a warning.
    let mut process = limited(64, 300, &arguments).await;
    process.logs("fewer connections than --max-connections").await;
    assert_eq!(process.get("/livez").send().await.status, 200);
    process
        .metric("ocelli_connections", |connections| connections == 1.0)
        .await;
    drop(process);
    let mut serve = std::process::Command::new("sh");
    let command = format!(
        "ulimit -n 100 && exec {} serve --engine fake --listen 127.0.0.1:0",
        env!("CARGO_BIN_EXE_ocelli")
    );
    serve.args(["-c", &command]);
    let output = crate::harness::process::run(serve, b"").await;
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert!(
        text.contains("144 open files") && text.contains("ulimit -Hn"),
        "{text}"
    );
}
