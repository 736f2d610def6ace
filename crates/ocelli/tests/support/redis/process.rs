//! A server process, and the signals that stop, freeze and kill it.

use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};

use super::Binary;
use crate::support::eventually;

/// How a server is stopped.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Stop {
    /// SIGTERM: an orderly shutdown.
    Term,
    /// SIGKILL.
    Kill,
}

/// A process that is killed when it is dropped.
pub(super) struct Process {
    child: Child,
    paused: bool,
}

impl Process {
    /// Starts the program. Its output is appended to `log`.
    pub(super) fn spawn(binary: &Binary, config: &Path, arguments: &[&str], log: File) -> Self {
        let child = Command::new(&binary.path)
            .arg(config)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(Stdio::null())
            .spawn();
        let child = child.unwrap_or_else(|error| panic!("{}: {error}", binary.path.display()));
        Self { child, paused: false }
    }

    pub(super) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(super) fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    pub(super) fn is_paused(&self) -> bool {
        self.paused
    }

    pub(super) fn pause(&mut self) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, Signal::STOP).unwrap();
        // Until all of its threads have stopped.
        waitpid(Some(pid), WaitOptions::UNTRACED).unwrap();
        self.paused = true;
    }

    pub(super) fn resume(&mut self) {
        kill_process(Pid::from_child(&self.child), Signal::CONT).unwrap();
        self.paused = false;
    }

    /// Returns when it has ended.
    pub(super) async fn stop(mut self, how: Stop) {
        let signal = match how {
            Stop::Term => Signal::TERM,
            Stop::Kill => Signal::KILL,
        };
        kill_process(Pid::from_child(&self.child), signal).unwrap();
        // A frozen process would not receive SIGTERM.
        self.resume();
        eventually("the server ends", async || self.has_ended()).await;
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
