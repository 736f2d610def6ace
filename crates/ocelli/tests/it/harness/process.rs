//! The real binary: started without the user's settings, observed, and sent signals.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use hyper::Method;
use tokio::net::TcpStream;

use crate::harness::client::Call;
use crate::harness::server;
use crate::{comes_to_hold, eventually};

/// A running server process.
pub(crate) struct Process {
    pub(crate) address: SocketAddr,
    child: Child,
    log: Arc<Mutex<Vec<String>>>,
    reader: Option<JoinHandle<()>>,
}

/// `ocelli` with these arguments, without the user's OCELLI_ variables.
pub(crate) fn ocelli(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ocelli"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("OCELLI_") {
            command.env_remove(name);
        }
    }
    command.args(arguments).stdin(Stdio::null());
    command
}

/// Runs a command with `input` on standard input.
pub(crate) async fn run(command: Command, input: &'static [u8]) -> Output {
    run_into(command, input, Stdio::piped()).await
}

/// The same, with a closed standard output.
pub(crate) async fn run_unread(command: Command) -> Output {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    run_into(command, b"", writer.into()).await
}

/// The same, with this standard output.
pub(crate) async fn run_into(mut command: Command, input: &'static [u8], stdout: Stdio) -> Output {
    let run = move || {
        command
            .stdin(Stdio::piped())
            .stdout(stdout)
            .stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        // A command that reads nothing may have ended already.
        let _ = child.stdin.take().unwrap().write_all(input);
        child.wait_with_output().unwrap()
    };
    let output = tokio::time::timeout(crate::PATIENCE, tokio::task::spawn_blocking(run));
    output.await.expect("the command ends").unwrap()
}

/// The folder or file of the ONNX Runtime library; `None` with a message if there is none, unless
/// `OCELLI_REQUIRE_ENGINES=1` makes that a failure.
#[expect(clippy::print_stderr, reason = "a test that did not run must say so")]
pub(crate) fn onnxruntime() -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_BIN_EXE_ocelli"))
        .ancestors()
        .nth(2)
        .map(|target| target.join("release/libonnxruntime.so"))
        .filter(|library| library.exists());
    let found = std::env::var_os("OCELLI_ONNXRUNTIME")
        .map(PathBuf::from)
        .or(beside);
    if found.is_none() {
        let required = std::env::var("OCELLI_REQUIRE_ENGINES").is_ok_and(|value| value == "1");
        assert!(
            !required,
            "OCELLI_REQUIRE_ENGINES=1, and OCELLI_ONNXRUNTIME names no library"
        );
        eprintln!("SKIPPED: OCELLI_ONNXRUNTIME names no library; `make runtime` fetches one");
    }
    found
}

/// Sends a process a signal, such as `TERM`.
pub(crate) fn signal(child: &Child, name: &str) {
    signals(child, &[name]);
}

fn signals(child: &Child, names: &[&str]) {
    // `kill` is a shell builtin; not every system has it as a program.
    let kills: Vec<String> = names
        .iter()
        .map(|name| format!("kill -{name} {}", child.id()))
        .collect();
    let status = Command::new("sh")
        .args(["-c", &kills.join(" && ")])
        .status()
        .unwrap();
    assert!(status.success());
}

impl Process {
    /// Serves with the fake engine on a free port; returns when ready.
    pub(crate) async fn fake(arguments: &[&str]) -> Self {
        let mut command = ocelli(&["serve", "--listen", "127.0.0.1:0", "--engine", "fake"]);
        command.args(arguments);
        Self::start(command).await
    }

    /// Starts a serving command; returns when ready.
    pub(crate) async fn start(command: Command) -> Self {
        Self::start_until(command, "ready; try:", "listening on http://").await
    }

    /// Starts a worker; returns when it takes jobs. The address is that of its probes.
    pub(crate) async fn start_worker(command: Command) -> Self {
        Self::start_until(command, "ready; computing", "probes listen on http://").await
    }

    /// Starts a worker, possibly before its Redis; returns when its probes listen.
    pub(crate) async fn start_worker_early(command: Command) -> Self {
        let probes = "probes listen on http://";
        Self::start_until(command, probes, probes).await
    }

    /// Starts a web process, possibly before its Redis; returns when it listens.
    pub(crate) async fn start_early(command: Command) -> Self {
        let listens = "listening on http://";
        Self::start_until(command, listens, listens).await
    }

    /// Starts a command whose log is discarded; returns when `/livez` on `address` answers.
    pub(crate) async fn start_unheard(
        mut command: Command,
        log: impl Into<Stdio>,
        address: SocketAddr,
    ) -> Self {
        let mut process = Self {
            address,
            child: command.stderr(log).spawn().unwrap(),
            log: Arc::default(),
            reader: None,
        };
        eventually("it answers", async || {
            assert_eq!(process.child.try_wait().unwrap(), None, "it ended");
            TcpStream::connect(address).await.is_ok() && process.get("/livez").send().await.status == 200
        })
        .await;
        process
    }

    /// Starts a command; returns when it has logged `ready` and, after `address`, its address.
    async fn start_until(mut command: Command, ready: &str, address: &str) -> Self {
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let log: Arc<Mutex<Vec<String>>> = Arc::default();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let written = Arc::clone(&log);
        let reader = thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                written.lock().unwrap().push(line);
            }
        });
        let mut process = Self {
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            child,
            log,
            reader: Some(reader),
        };
        process.logs(ready).await;
        let line = process.logs(address).await;
        let end = line.rsplit('/').next().unwrap();
        // In JSON, more text follows.
        process.address = end.split('"').next().unwrap().parse().unwrap();
        process
    }

    /// Waits for a line that contains `text`.
    pub(crate) async fn logs(&mut self, text: &str) -> String {
        let mut found = None;
        let look = async || {
            let ended = self.child.try_wait().unwrap();
            let log = self.log.lock().unwrap();
            found = log.iter().find(|line| line.contains(text)).cloned();
            assert!(
                found.is_some() || ended.is_none(),
                "it ended, having said {log:?}"
            );
            found.is_some()
        };
        eventually(&format!("it says {text:?}"), look).await;
        found.unwrap()
    }

    /// The log so far.
    pub(crate) fn log(&self) -> Vec<String> {
        self.log.lock().unwrap().clone()
    }

    /// The environment of the process, from the system.
    pub(crate) fn environment(&self) -> String {
        let environment = std::fs::read(format!("/proc/{}/environ", self.child.id())).unwrap();
        String::from_utf8_lossy(&environment).replace('\0', "\n")
    }

    /// Sends a signal, such as `TERM`.
    pub(crate) fn signal(&self, name: &str) {
        self.signals(&[name]);
    }

    /// Sends signals in quick succession.
    pub(crate) fn signals(&self, names: &[&str]) {
        signals(&self.child, names);
    }

    /// Whether it has ended; does not wait.
    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Waits until it has ended; returns its exit status and log.
    pub(crate) async fn ended(mut self) -> (Option<i32>, Vec<String>) {
        let mut status = None;
        eventually("the process ends", async || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        })
        .await;
        // It ends with the process, the only writer.
        if let Some(reader) = self.reader.take() {
            reader.join().unwrap();
        }
        let log = self.log.lock().unwrap().clone();
        (status.unwrap().code(), log)
    }

    /// A file of the process in `/proc`.
    fn described(&self, file: &str) -> String {
        std::fs::read_to_string(format!("/proc/{}/{file}", self.child.id())).unwrap()
    }

    /// A line `name: 123 kB` of the process's memory status, in bytes.
    pub(crate) fn memory(&self, name: &str) -> u64 {
        let status = self.described("status");
        let mut lines = status.lines();
        let line = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        let number = line.and_then(|line| line.trim().strip_suffix(" kB"));
        let kilobytes: u64 = number.expect("Linux shows it").parse().unwrap();
        kilobytes * 1024
    }

    /// Number of open files.
    pub(crate) fn open_files(&self) -> usize {
        let folder = std::fs::read_dir(format!("/proc/{}/fd", self.child.id()));
        folder.unwrap().count()
    }

    /// Limit of open files.
    pub(crate) fn file_limit(&self) -> u64 {
        let limits = self.described("limits");
        let mut lines = limits.lines();
        let line = lines.find_map(|line| line.strip_prefix("Max open files"));
        let number = line.and_then(|line| line.split_whitespace().next());
        number.expect("Linux shows it").parse().unwrap()
    }

    pub(crate) fn get(&self, target: &str) -> Call {
        Call::new(self.address, Method::GET, target)
    }

    pub(crate) fn post(&self, target: &str) -> Call {
        Call::new(self.address, Method::POST, target)
    }

    /// Waits until a metric satisfies `wanted`.
    pub(crate) async fn metric(&self, name: &str, wanted: impl Fn(f64) -> bool) {
        let mut last = f64::NAN;
        let seen = comes_to_hold(async || {
            last = server::value(self.get("/metrics").send().await.text(), name);
            wanted(last)
        });
        assert!(seen.await, "{name} stays at {last}");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
