//! The processes of the tutorial, as `tests/tutorial` has them, each started for one test and gone with it.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use crate::support::eventually;

/// The interpreter that has what the processes import.
#[derive(Clone, Debug)]
pub(crate) struct Python(PathBuf);

/// One of the processes.
pub(crate) struct TutorialProcess {
    child: Child,
    log: Arc<Mutex<Vec<String>>>,
}

impl Python {
    /// The one that `OCELLI_TUTORIAL_PYTHON` names, or the one of `make test-tutorial`; `None` after saying so where
    /// there is none, unless `OCELLI_REQUIRE_TUTORIAL=1` makes that a failure.
    #[expect(clippy::print_stderr, reason = "a test that did not run must say so")]
    pub(crate) fn find() -> Option<Self> {
        let installed = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.venv-tutorial/bin/python");
        let found = std::env::var_os("OCELLI_TUTORIAL_PYTHON")
            .map(PathBuf::from)
            .or_else(|| installed.is_file().then_some(installed));
        if found.is_none() {
            let required = std::env::var("OCELLI_REQUIRE_TUTORIAL").is_ok_and(|value| value == "1");
            let missing = "the tutorial's packages are missing: run `make test-tutorial`, or let \
                           OCELLI_TUTORIAL_PYTHON name an interpreter that has them";
            assert!(!required, "OCELLI_REQUIRE_TUTORIAL=1, and {missing}");
            eprintln!("SKIPPED: {missing}");
        }
        found.map(Self)
    }

    /// One of the scripts of `tests/tutorial`.
    pub(crate) fn script(&self, name: &str) -> Command {
        let mut command = Command::new(&self.0);
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tutorial");
        command
            .arg("-u")
            .arg(folder.join(name))
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .stdin(Stdio::null());
        command
    }

    /// The model process, once its model is loaded.
    pub(crate) async fn model_server(&self, redis: SocketAddr) -> TutorialProcess {
        self.slow_model_server(redis, Duration::ZERO).await
    }

    /// The same, which takes so much longer for each photo.
    pub(crate) async fn slow_model_server(&self, redis: SocketAddr, photo: Duration) -> TutorialProcess {
        let mut script = self.script("run_model_server.py");
        script.env("TUTORIAL_SECONDS_A_PHOTO", photo.as_secs_f64().to_string());
        let mut process = TutorialProcess::start(script, redis);
        process.says("* Model loaded").await;
        process
    }

    /// The web process, once it listens, and where.
    pub(crate) async fn web_server(&self, redis: SocketAddr) -> (TutorialProcess, SocketAddr) {
        let mut process = TutorialProcess::start(self.script("run_web_server.py"), redis);
        let line = process.says("Running on http://").await;
        let address = line.rsplit('/').next().unwrap().trim().parse().unwrap();
        (process, address)
    }

    /// The version in one file, whose model thread is not started, once it listens, and where: as `docs/tutorial.md` says.
    pub(crate) async fn one_file_web_server(&self, redis: SocketAddr) -> (TutorialProcess, SocketAddr) {
        let mut command = Command::new(&self.0);
        command
            .args([
                "-u",
                "-m",
                "flask",
                "--app",
                "run_keras_server",
                "run",
                "--port",
                "0",
            ])
            .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tutorial"))
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .stdin(Stdio::null());
        let mut process = TutorialProcess::start(command, redis);
        let line = process.says("Running on http://").await;
        let address = line.rsplit('/').next().unwrap().trim().parse().unwrap();
        (process, address)
    }
}

impl TutorialProcess {
    /// Whether a line so far contains `text`.
    pub(crate) fn has_said(&self, text: &str) -> bool {
        self.log.lock().unwrap().iter().any(|line| line.contains(text))
    }

    fn start(mut command: Command, redis: SocketAddr) -> Self {
        // Both outputs into one pipe would need unsafe code; the model process prints, Flask logs.
        let mut child = command
            .env("TUTORIAL_REDIS_PORT", redis.port().to_string())
            .env("TUTORIAL_PORT", "0")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log: Arc<Mutex<Vec<String>>> = Arc::default();
        let (said, logged) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        collect(said, Arc::clone(&log));
        collect(logged, Arc::clone(&log));
        Self { child, log }
    }

    /// Waits for a line that contains `text`.
    pub(crate) async fn says(&mut self, text: &str) -> String {
        let mut found = None;
        let look = async || {
            let ended = self.child.try_wait().unwrap();
            let log = self.log.lock().unwrap();
            found = log.iter().find(|line| line.contains(text)).cloned();
            assert!(
                found.is_some() || ended.is_none(),
                "it ended, having said {log:#?}"
            );
            found.is_some()
        };
        eventually(&format!("it says {text:?}"), look).await;
        found.unwrap()
    }
}

fn collect(output: impl std::io::Read + Send + 'static, log: Arc<Mutex<Vec<String>>>) {
    let lines = BufReader::new(output).lines();
    thread::spawn(move || {
        for line in lines.map_while(Result::ok) {
            log.lock().unwrap().push(line);
        }
    });
}

impl Drop for TutorialProcess {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
