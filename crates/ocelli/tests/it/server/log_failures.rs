//! A log that cannot be written: lines are lost and counted, and nothing else changes.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

use crate::eventually;
use crate::harness::photos;
use crate::harness::process::{Process, ocelli};
use crate::support::redis::{Binary, Data, Options, RedisServer, Stop, free_port};

const LOST: &str = "ocelli_lost_log_lines_total";

/// A grey that makes the engine panic.
const MARKED: u8 = 66;

/// What is wrong with standard error.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Broken {
    /// A pipe whose reader has ended: `EPIPE`.
    ReaderGone,
    /// A file on a full disk: `ENOSPC`.
    DiskFull,
    /// A terminal that was closed: `EIO`.
    TerminalClosed,
    /// A socket that is full and does not block: `EAGAIN`.
    Full,
    /// A socket that is full and blocks: a write there never ends.
    Unread,
}

impl Broken {
    const ALL: [Self; 5] = [
        Self::ReaderGone,
        Self::DiskFull,
        Self::TerminalClosed,
        Self::Full,
        Self::Unread,
    ];

    /// Such a log, and the end that reads it, which does so only if the test does.
    fn log(self) -> (Stdio, Option<UnixStream>) {
        match self {
            Self::ReaderGone => (io::pipe().unwrap().1.into(), None),
            Self::DiskFull => (
                File::options().write(true).open("/dev/full").unwrap().into(),
                None,
            ),
            Self::TerminalClosed => {
                let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
                grantpt(&master).unwrap();
                unlockpt(&master).unwrap();
                let path = ptsname(&master, Vec::new()).unwrap().into_string().unwrap();
                (File::options().write(true).open(path).unwrap().into(), None)
            }
            Self::Full | Self::Unread => {
                let (mut log, reader) = UnixStream::pair().unwrap();
                log.set_nonblocking(true).unwrap();
                while let Err(error) = fill(&mut log) {
                    assert_eq!(error.kind(), ErrorKind::Interrupted);
                }
                log.set_nonblocking(self == Self::Full).unwrap();
                (OwnedFd::from(log).into(), Some(reader))
            }
        }
    }

    /// Whether each line is lost at once, and not only when too many wait.
    fn loses_at_once(self) -> bool {
        !matches!(self, Self::Full | Self::Unread)
    }

    /// Starts a command that listens on a free port with such a log.
    async fn start(self, arguments: &[&str]) -> (Process, Option<UnixStream>) {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
        let mut command = ocelli(arguments);
        command.args(["--listen", &address.to_string()]);
        let (log, reader) = self.log();
        (Process::start_unheard(command, log, address).await, reader)
    }

    async fn counts_what_is_lost(self, process: &Process) {
        if self.loses_at_once() {
            process.metric(LOST, |lines| lines > 0.0).await;
        }
    }
}

/// Writes until there is no room for another byte.
fn fill(log: &mut UnixStream) -> io::Result<()> {
    for size in [4096, 1] {
        loop {
            match log.write(&[b'.'; 4096][..size]) {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
    }
    Ok(())
}

async fn is_ready(process: &Process) {
    eventually("it is ready", async || {
        process.get("/readyz").send().await.status == 200
    })
    .await;
}

/// Asks about a photo, and says that the process stops while the photo is computed.
async fn answers_what_it_has_when_it_stops(process: Process) {
    let asked = process.post("/predict").form([("image", photos::DOG)]).spawn();
    process
        .metric("ocelli_admitted_images", |images| images == 1.0)
        .await;
    process.signal("TERM");
    assert_eq!(asked.await.unwrap().best(), photos::dog().label());
    assert_eq!(process.ended().await.0, Some(0));
}

fn marked() -> String {
    MARKED.to_string()
}

#[tokio::test]
async fn a_broken_log_changes_nothing_at_the_start_in_a_request_and_at_the_end() {
    for broken in Broken::ALL {
        let marked = marked();
        let arguments = ["serve", "--engine", "fake", "--fake-panic-on", &marked];
        let (process, _reader) = broken
            .start(&[&arguments[..], &["--fake-batch-time", "1s"]].concat())
            .await;
        is_ready(&process).await;
        broken.counts_what_is_lost(&process).await;
        // A panic and two errors are logged, and the instance is built anew.
        let bad = photos::grey(MARKED);
        let failed = process.post("/predict").form([("image", &bad.bytes[..])]);
        failed.send().await.refused(500, "internal");
        answers_what_it_has_when_it_stops(process).await;
    }
}

#[tokio::test]
async fn a_log_whose_reader_dies_later_changes_nothing() {
    let marked = marked();
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
    let mut command = ocelli(&["serve", "--engine", "fake", "--fake-panic-on", &marked]);
    command.args(["--fake-batch-time", "1s", "--listen", &address.to_string()]);
    let (reader, log) = io::pipe().unwrap();
    let process = Process::start_unheard(command, log, address).await;
    let mut lines = BufReader::new(reader).lines();
    assert!(lines.any(|line| line.unwrap().contains("ready; try:")));
    drop(lines);
    let bad = photos::grey(MARKED);
    let failed = process.post("/predict").form([("image", &bad.bytes[..])]);
    failed.send().await.refused(500, "internal");
    process.metric(LOST, |lines| lines >= 3.0).await;
    answers_what_it_has_when_it_stops(process).await;
}

#[tokio::test]
async fn a_broken_log_changes_nothing_when_redis_comes_and_goes() {
    let Some(binary) = Binary::redis() else { return };
    for broken in Broken::ALL {
        let mut redis = RedisServer::start(&binary, Options::default()).await;
        let url = redis.url();
        let (worker, _reader) = broken
            .start(&["worker", "--engine", "fake", "--redis", &url])
            .await;
        is_ready(&worker).await;
        let (web, _web_reader) = broken.start(&["web", "--redis", &url]).await;
        is_ready(&web).await;
        redis.stop(Stop::Kill).await;
        for process in [&web, &worker] {
            eventually("it misses Redis", async || {
                process.get("/readyz").send().await.status == 503
            })
            .await;
            broken.counts_what_is_lost(process).await;
        }
        redis.restart(Data::Lost).await;
        is_ready(&worker).await;
        eventually("photos are answered again", async || {
            let photo = web.post("/predict").form([("image", photos::DOG)]);
            photo.send().await.status == 200
        })
        .await;
        for process in [web, worker] {
            process.signal("TERM");
            assert_eq!(process.ended().await.0, Some(0), "{broken:?}");
        }
    }
}

/// The last line of a process that cannot start says why. The process must write it before it ends, even if the reader is
/// slow.
#[tokio::test]
async fn a_slow_reader_gets_the_last_line_and_a_stuck_one_does_not_keep_the_process() {
    let fails = |log: Stdio| {
        let mut command: Command = ocelli(&["serve", "--engine", "fake", "--load-model", "x"]);
        command.stderr(log).spawn().unwrap()
    };
    let status =
        |mut child: std::process::Child| tokio::task::spawn_blocking(move || child.wait().unwrap().code());
    let (log, reader) = Broken::Full.log();
    let child = fails(log);
    let mut said = String::new();
    reader.unwrap().read_to_string(&mut said).unwrap();
    assert!(
        said.contains("ocelli: --admin-listen and --load-model need"),
        "{said}"
    );
    assert_eq!(status(child).await.unwrap(), Some(2));
    for broken in Broken::ALL {
        let (log, _reader) = broken.log();
        assert_eq!(status(fails(log)).await.unwrap(), Some(2), "{broken:?}");
    }
}
