//! The processes of a scenario: two web processes, three workers, and their replacements.

use std::fs;
use std::mem;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::Signal;

use crate::load::Balancer;
use crate::program::Program;
use crate::support::eventually;

const WEBS: usize = 2;

/// Time per image of each worker.
const IMAGE_TIMES: [&str; 3] = ["5ms", "10ms", "20ms"];

/// A short TTL of dead letters, so that a scenario can wait until no key is left.
const DEAD_LETTERS_LIVE: &str = "20s";

/// Additional options of a scenario.
#[derive(Clone, Debug, Default)]
pub(crate) struct Extras {
    pub(crate) web: Vec<String>,
    pub(crate) worker: Vec<String>,
}

/// All processes of a scenario.
pub(crate) struct Processes {
    pub(crate) balancer: Balancer,
    pub(crate) webs: Vec<Program>,
    pub(crate) workers: Vec<Program>,
    /// Addresses of killed web processes.
    pub(crate) killed_webs: Vec<SocketAddr>,
    /// Common options of all processes of a role.
    pub(crate) extras: Extras,
    url: String,
    folder: PathBuf,
    started: usize,
    /// Processes that did not stop successfully.
    unwell: Vec<String>,
}

impl Processes {
    /// Starts all processes; returns when they are ready. Logs go to `folder`.
    pub(crate) async fn open(url: &str, folder: &Path, extras: Extras) -> Self {
        fs::create_dir_all(folder).unwrap();
        let mut processes = Self {
            balancer: Balancer::default(),
            webs: Vec::new(),
            workers: Vec::new(),
            killed_webs: Vec::new(),
            extras,
            url: url.to_owned(),
            folder: folder.to_owned(),
            started: 0,
            unwell: Vec::new(),
        };
        for _ in IMAGE_TIMES {
            let worker = processes.start_worker().await;
            processes.workers.push(worker);
        }
        for _ in 0..WEBS {
            let web = processes.start_web().await;
            processes.webs.push(web);
        }
        for program in processes.workers.iter_mut().chain(&mut processes.webs) {
            program.ready().await;
        }
        for web in &processes.webs {
            eventually("a web process knows all workers", async || {
                web.metric("ocelli_workers")
                    .await
                    .is_ok_and(|workers| workers == IMAGE_TIMES.len() as f64)
            })
            .await;
        }
        processes.publish();
        processes
    }

    /// Starts another worker, which is not ready yet.
    pub(crate) async fn start_worker(&mut self) -> Program {
        let image_time = IMAGE_TIMES[self.started % IMAGE_TIMES.len()];
        let mut arguments = vec![
            "--redis",
            &self.url,
            "--engine",
            "fake",
            "--fake-image-time",
            image_time,
        ];
        arguments.extend(["--dead-ttl", DEAD_LETTERS_LIVE]);
        let mut arguments: Vec<String> = arguments.into_iter().map(str::to_owned).collect();
        arguments.extend(self.extras.worker.iter().cloned());
        self.start("worker", &arguments).await
    }

    /// Starts another web process, which is not ready yet and gets no requests.
    pub(crate) async fn start_web(&mut self) -> Program {
        let mut arguments = vec!["--redis".to_owned(), self.url.clone()];
        arguments.extend(self.extras.web.iter().cloned());
        self.start("web", &arguments).await
    }

    async fn start(&mut self, role: &str, arguments: &[String]) -> Program {
        self.started += 1;
        Program::start(format!("{role}-{}", self.started), role, arguments, &self.folder).await
    }

    /// Updates the addresses of the web processes for the clients.
    pub(crate) fn publish(&self) {
        self.balancer
            .set(self.webs.iter().map(|web| web.address).collect());
    }

    /// A worker that has jobs.
    pub(crate) async fn busy_worker(&self) -> usize {
        let mut index = fastrand::usize(..self.workers.len());
        eventually("a worker is busy", async || {
            index = (index + 1) % self.workers.len();
            let leases = self.workers[index].metric("ocelli_leases").await;
            leases.is_ok_and(|leases| leases > 0.0)
        })
        .await;
        index
    }

    /// Kills a worker, and starts a replacement without waiting for it.
    pub(crate) async fn kill_worker(&mut self, index: usize) {
        self.workers[index].signal(Signal::KILL);
        self.workers[index] = self.start_worker().await;
    }

    /// Stops a worker and starts a replacement; returns when the first has ended and the second is ready.
    pub(crate) async fn restart_worker(&mut self, index: usize) {
        self.workers[index].signal(Signal::TERM);
        let new = self.start_worker().await;
        let old = mem::replace(&mut self.workers[index], new);
        self.ends_well(old).await;
        self.workers[index].ready().await;
    }

    /// The same for a web process. New clients use the new one as soon as it is ready.
    pub(crate) async fn restart_web(&mut self, index: usize) {
        self.webs[index].signal(Signal::TERM);
        let mut new = self.start_web().await;
        new.ready().await;
        let old = mem::replace(&mut self.webs[index], new);
        self.publish();
        self.ends_well(old).await;
    }

    async fn ends_well(&mut self, program: Program) {
        let name = program.name.clone();
        if program.ended().await != Some(0) {
            self.unwell.push(name);
        }
    }

    /// Replaces workers that have crashed; returns their number.
    pub(crate) async fn replace_fallen_workers(&mut self) -> usize {
        let mut fallen = 0;
        for index in 0..self.workers.len() {
            if self.workers[index].has_ended() {
                self.workers[index] = self.start_worker().await;
                fallen += 1;
            }
        }
        fallen
    }

    /// Kills a web process. Only its own clients are affected.
    pub(crate) async fn kill_web(&mut self, index: usize) {
        self.killed_webs.push(self.webs[index].address);
        self.webs[index].signal(Signal::KILL);
        let mut web = self.start_web().await;
        web.ready().await;
        self.webs[index] = web;
        self.publish();
    }

    /// The sum of a metric over all web processes.
    pub(crate) async fn webs_sum(&self, metric: &str) -> f64 {
        let mut sum = 0.0;
        for web in &self.webs {
            sum += web.metric(metric).await.unwrap_or(f64::NAN);
        }
        sum
    }

    /// The largest memory use of a web process, in bytes.
    pub(crate) fn largest_web(&self) -> u64 {
        self.webs
            .iter()
            .filter_map(Program::resident)
            .max()
            .unwrap_or_default()
    }

    /// The names of processes that have ended unexpectedly.
    pub(crate) fn fallen(&mut self) -> Vec<String> {
        let all = self.webs.iter_mut().chain(&mut self.workers);
        all.filter_map(|program| program.has_ended().then(|| program.name.clone()))
            .collect()
    }

    /// Stops all processes, the web processes first; returns the names of those that failed.
    pub(crate) async fn close(mut self) -> Vec<String> {
        for programs in [mem::take(&mut self.webs), mem::take(&mut self.workers)] {
            for program in &programs {
                program.signal(Signal::TERM);
            }
            for program in programs {
                self.ends_well(program).await;
            }
        }
        self.unwell
    }
}

/// Waits between two steps of a scenario.
pub(crate) async fn pause(seconds: f64) {
    tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
}
