//! The real program as a process: started, observed, and sent signals.

use std::fs::{self, File};
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::client;
use crate::support::eventually;

/// Time limit for the metrics of a process that may be frozen.
const ASK: Duration = Duration::from_secs(2);

/// A running `ocelli`. It is killed when it is dropped.
pub(crate) struct Program {
    /// Name in the harness: `web-2`, `worker-7`.
    pub(crate) name: String,
    pub(crate) address: SocketAddr,
    child: Child,
    log: PathBuf,
}

impl Program {
    /// Starts a role on a free port, without the user's OCELLI_ variables; returns when it listens, which is long before
    /// it is ready. Its log goes into a file in `folder`.
    pub(crate) async fn start(name: String, role: &str, arguments: &[String], folder: &Path) -> Self {
        let log = folder.join(format!("{name}.log"));
        let mut command = Command::new(env!("CARGO_BIN_EXE_ocelli"));
        for (variable, _) in std::env::vars_os() {
            if variable.to_string_lossy().starts_with("OCELLI_") {
                command.env_remove(variable);
            }
        }
        let child = command
            .args([role, "--listen", "127.0.0.1:0"])
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&log).unwrap())
            .spawn()
            .unwrap();
        let mut program = Self {
            name,
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            child,
            log,
        };
        eventually("a process listens", async || {
            let ended = program.has_ended();
            let said = fs::read_to_string(&program.log).unwrap();
            assert!(!ended, "{} ended, having said:\n{said}", program.name);
            let listening = said
                .lines()
                .find_map(|line| line.rsplit_once("listen")?.1.rsplit_once("http://"));
            match listening {
                Some((_, address)) => {
                    program.address = address.parse().unwrap();
                    true
                }
                None => false,
            }
        })
        .await;
        program
    }

    /// Waits until it is ready.
    pub(crate) async fn ready(&mut self) {
        eventually(&format!("{} is ready", self.name), async || {
            assert!(
                !self.has_ended(),
                "{} ended; see {}",
                self.name,
                self.log.display()
            );
            let answer = client::get(self.address, "/readyz", ASK).await;
            answer.is_ok_and(|answer| answer.status == 200)
        })
        .await;
    }

    pub(crate) fn signal(&self, signal: Signal) {
        // It may have ended already.
        let _ = kill_process(Pid::from_child(&self.child), signal);
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Waits until it has ended; returns its exit status, or `None` after a signal.
    pub(crate) async fn ended(mut self) -> Option<i32> {
        eventually(&format!("{} ends", self.name), async || self.has_ended()).await;
        self.child.wait().unwrap().code()
    }

    /// The sum of all metrics with this prefix; `None` while the process does not answer.
    pub(crate) async fn metric(&self, name: &str) -> io::Result<f64> {
        let answer = client::get(self.address, "/metrics", ASK).await?;
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        let values = text.lines().filter_map(|line| {
            let rest = line.strip_prefix(name)?;
            let (_, value) = rest.starts_with([' ', '{']).then(|| rest.rsplit_once(' '))??;
            value.parse::<f64>().ok()
        });
        Ok(values.sum())
    }

    /// Memory use in bytes; `None` once it has ended.
    pub(crate) fn resident(&self) -> Option<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        let kilobytes: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
        Some(kilobytes * 1024)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
