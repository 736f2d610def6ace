//! `ocelli queue status --watch`: on a terminal, into a file, as JSON, and without its Redis.

use std::fs::File;
use std::io::Read;
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use serde_json::Value;

use crate::harness::process::{ocelli, signal};
use crate::support::eventually;
use crate::support::redis::{Binary, Data, Options, RedisServer, Stop};

/// A running watch, and its output.
struct Watch {
    child: Child,
    printed: Arc<Mutex<String>>,
}

impl Watch {
    /// Starts a watch that prints into a pipe.
    fn start(server: &RedisServer, arguments: &[&str]) -> Self {
        let (reader, writer) = std::io::pipe().unwrap();
        Self::printing_to(server, arguments, writer.into(), reader)
    }

    /// Starts a watch on a terminal.
    fn on_terminal(server: &RedisServer) -> Self {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let path = ptsname(&master, Vec::new()).unwrap().into_string().unwrap();
        let terminal = File::options().write(true).open(path).unwrap();
        Self::printing_to(server, &[], terminal.into(), File::from(master))
    }

    fn printing_to(
        server: &RedisServer,
        arguments: &[&str],
        stdout: Stdio,
        mut reader: impl Read + Send + 'static,
    ) -> Self {
        let mut command = ocelli(&["queue", "status", "--watch", "100ms", "--redis", &server.url()]);
        command.args(arguments).stdout(stdout).stderr(Stdio::piped());
        let child = command.spawn().unwrap();
        let printed: Arc<Mutex<String>> = Arc::default();
        let written = Arc::clone(&printed);
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(length @ 1..) = reader.read(&mut buffer) {
                *written.lock().unwrap() += &String::from_utf8_lossy(&buffer[..length]);
            }
        });
        Self { child, printed }
    }

    fn printed(&self) -> String {
        self.printed.lock().unwrap().clone()
    }

    /// Waits until it has printed `text` this often after the first `after` bytes.
    async fn prints(&self, text: &str, times: usize, after: usize) {
        eventually(&format!("{text:?} is printed"), async || {
            self.printed()[after..].matches(text).count() >= times
        })
        .await;
    }

    /// Stops it with a signal; it must succeed and print nothing else.
    async fn ends_well_by(mut self, name: &str) -> String {
        signal(&self.child, name);
        self.ended().await;
        self.printed()
    }

    async fn ended(&mut self) {
        let mut status = None;
        eventually("the watch ends", async || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        })
        .await;
        let mut said = String::new();
        self.child
            .stderr
            .take()
            .unwrap()
            .read_to_string(&mut said)
            .unwrap();
        assert_eq!((status.unwrap().code(), said.as_str()), (Some(0), ""));
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

const EMPTY: &str = "no worker has served";

#[tokio::test]
async fn a_watch_continues_through_an_outage_until_a_signal() {
    let Some(binary) = Binary::redis() else { return };
    let mut server = RedisServer::start(&binary, Options::default()).await;
    let watch = Watch::start(&server, &[]);
    watch.prints(EMPTY, 2, 0).await;
    server.stop(Stop::Kill).await;
    watch.prints("cannot be reached", 2, 0).await;
    let after = watch.printed().len();
    server.restart(Data::Lost).await;
    watch.prints(EMPTY, 2, after).await;
    let printed = watch.ends_well_by("INT").await;
    assert!(!printed.contains('\x1b'), "this is no terminal: {printed}");
    let outage = printed
        .lines()
        .find(|line| line.contains("cannot be reached"))
        .unwrap();
    for part in [
        &server.address().to_string(),
        "retrying every 100ms",
        "is it running?",
    ] {
        assert!(outage.contains(part), "no {part:?} in {outage}");
    }
    let mut blocks: Vec<&str> = printed.split("\n\n").collect();
    // The last block may be incomplete.
    blocks.pop();
    assert!(blocks.iter().all(|block| block.lines().count() == 2), "{printed}");
}

#[tokio::test]
async fn a_watch_may_start_before_its_redis() {
    let Some(binary) = Binary::redis() else { return };
    let mut server = RedisServer::start(&binary, Options::default()).await;
    server.stop(Stop::Kill).await;
    let watch = Watch::start(&server, &[]);
    watch.prints("cannot be reached", 1, 0).await;
    server.restart(Data::Lost).await;
    watch.prints(EMPTY, 1, 0).await;
    watch.ends_well_by("TERM").await;
}

#[tokio::test]
async fn a_watch_in_json_prints_one_object_with_the_time_per_line() {
    let Some(binary) = Binary::redis() else { return };
    let mut server = RedisServer::start(&binary, Options::default()).await;
    let mut worker = ocelli(&["worker", "--listen", "127.0.0.1:0", "--engine", "fake"]);
    worker.args(["--redis", &server.url()]).stderr(Stdio::null());
    let mut worker = worker.spawn().unwrap();
    let watch = Watch::start(&server, &["--json"]);
    watch.prints("\"model\":\"efficientnet-lite0\"", 2, 0).await;
    worker.kill().unwrap();
    worker.wait().unwrap();
    server.stop(Stop::Kill).await;
    watch.prints("\"error\":", 2, 0).await;
    let printed = watch.ends_well_by("INT").await;
    for line in printed.lines() {
        let object: Value = serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"));
        let time = object["time"].as_str().expect("it has a time");
        assert!(humantime::parse_rfc3339(time).is_ok(), "{line}");
        assert_eq!(object["model"].is_string(), object["error"].is_null(), "{line}");
    }
}

#[tokio::test]
async fn on_a_terminal_each_status_replaces_the_previous_one() {
    let Some(binary) = Binary::redis() else { return };
    let mut server = RedisServer::start(&binary, Options::default()).await;
    let watch = Watch::on_terminal(&server);
    // The status has three lines: the time, an empty line, and the queues.
    watch.prints("\x1b[3A\r\x1b[J", 2, 0).await;
    server.stop(Stop::Kill).await;
    watch.prints("cannot be reached", 1, 0).await;
    let printed = watch.ends_well_by("INT").await;
    let mut blocks: Vec<&str> = printed.split("\x1b[J").collect();
    // The last block may be incomplete.
    blocks.pop();
    assert!(
        blocks.iter().all(|block| block.contains("Ctrl-C to stop")),
        "{blocks:?}"
    );
    assert!(blocks[0].contains(EMPTY), "{blocks:?}");
}

#[tokio::test]
async fn a_watch_ends_quietly_when_standard_output_is_closed() {
    let Some(binary) = Binary::redis() else { return };
    let server = RedisServer::start(&binary, Options::default()).await;
    let (reader, writer) = std::io::pipe().unwrap();
    let mut watch = Watch::printing_to(&server, &[], writer.into(), reader.take(20));
    watch.ended().await;
}
