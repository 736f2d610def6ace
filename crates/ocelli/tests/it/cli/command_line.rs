//! What all commands share: log options, errors, help.

use std::process::Command;

use serde_json::Value;
use tokio::net::TcpListener;

use crate::harness::process::{ocelli, run, run_into, run_unread};

/// Nothing listens here: port 1 is privileged and unused.
const NO_REDIS: &str = "redis://127.0.0.1:1";

/// The last message of a command that fails with status 2. All lines are JSON, and no earlier line repeats the message.
async fn last_words(command: Command) -> String {
    let output = run(command, b"").await;
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{said}");
    let lines: Vec<Value> = said
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {line} in {said}")))
        .collect();
    let (last, earlier) = lines.split_last().expect("it says why");
    assert_eq!(last["level"], "ERROR", "{said}");
    assert!(last["timestamp"].is_string(), "{said}");
    let words = message(last);
    for line in earlier.iter().map(message) {
        assert!(!words.contains(line) && !line.contains(words), "twice: {said}");
    }
    words.to_owned()
}

fn message(line: &Value) -> &str {
    line["fields"]["message"].as_str().unwrap()
}

/// Checks the last message with the option in each position, and with the environment variable.
async fn last_words_are_json(arguments: &[&str], says: &str) {
    let option: &[&str] = &["--log-format", "json"];
    for all in [[option, arguments].concat(), [arguments, option].concat()] {
        let words = last_words(ocelli(&all)).await;
        assert!(words.contains(says), "{all:?}: {words}");
    }
    let mut by_environment = ocelli(arguments);
    by_environment.env("OCELLI_LOG_FORMAT", "json");
    let words = last_words(by_environment).await;
    assert!(words.contains(says), "{arguments:?}: {words}");
}

/// Serving commands that fail at startup, and a part of the message.
const SERVING: [(&[&str], &str); 13] = [
    (&["nonsense"], "nonsense"),
    (&["serve", "--lsiten", "5000"], "--lsiten"),
    (&["serve", "--model", "/no/model"], "/no/model"),
    (&["serve", "--onnxruntime", "/no/library.so"], "/no/library.so"),
    (
        &["serve", "--engine", "fake", "--receiving-bytes", "1MiB"],
        "--max-body",
    ),
    (
        &["serve", "--engine", "fake", "--load-model", "x"],
        "--model-control explicit",
    ),
    (
        &[
            "serve",
            "--engine",
            "fake",
            "--listen",
            "0",
            "--model-dir",
            "/no/dir",
        ],
        "/no/dir",
    ),
    (&["web", "--redis", "localhost"], "has no scheme"),
    (
        &["web", "--redis", NO_REDIS, "--redis-ca", "/no/file.pem"],
        "--redis-ca: /no/file.pem",
    ),
    (
        &["web", "--redis", NO_REDIS, "--webhook-hosts", "example.com"],
        "--webhook-secret-file",
    ),
    (&["worker"], "--redis"),
    (
        &["worker", "--redis", NO_REDIS, "--model", "/no/model"],
        "/no/model",
    ),
    (
        &[
            "worker",
            "--redis",
            NO_REDIS,
            "--wire",
            "tutorial",
            "--model-dir",
            "x",
        ],
        "--wire tutorial",
    ),
];

/// The same for other commands.
const TOOLS: [(&[&str], &str); 17] = [
    (&["queue"], "subcommand"),
    (&["queue", "status", "--redis", "localhost"], "has no scheme"),
    (&["queue", "status", "--redis", NO_REDIS], "127.0.0.1:1"),
    (
        &["queue", "status", "--json", "--redis", NO_REDIS],
        "is it running?",
    ),
    (
        &["queue", "dead", "retry", "--all", "--redis", NO_REDIS],
        "127.0.0.1:1",
    ),
    (&["model", "show", "/no/model"], "/no/model"),
    (&["model", "check", "/no/model", "Cargo.toml"], "/no/model"),
    (&["model", "init", "/no/model", "--out", "/no/dir"], "/no/model"),
    (&["model", "pull", "/no/model"], "begin with hf:"),
    (&["model", "remove", "/no/model"], "begin with hf:"),
    (&["predict"], "PHOTO"),
    (&["predict", "--model", "/no/model", "Cargo.toml"], "/no/model"),
    (
        &["predict", "--engine", "fake", "--top-k", "0", "Cargo.toml"],
        "top_k",
    ),
    (
        &["predict", "--engine", "fake", "--format", "xml", "Cargo.toml"],
        "xml",
    ),
    (
        &["bench", "http://127.0.0.1:1", "--photos", "/no/photo.jpg"],
        "/no/photo.jpg",
    ),
    (
        &["bench", "http://127.0.0.1:1", "--photos", "Cargo.toml"],
        "start the server first",
    ),
    (&["bench", "ftp://localhost", "--photos", "Cargo.toml"], "ftp"),
];

#[tokio::test]
async fn errors_of_every_command_are_json_if_the_log_is() {
    for (arguments, says) in SERVING.into_iter().chain(TOOLS) {
        last_words_are_json(arguments, says).await;
    }
}

#[tokio::test]
async fn a_port_in_use_is_reported_once_and_in_json() {
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for role in ["serve", "web", "worker"] {
        let mut arguments = vec![role, "--listen", &address];
        if role != "web" {
            arguments.extend(["--engine", "fake"]);
        }
        if role != "serve" {
            arguments.extend(["--redis", NO_REDIS]);
        }
        last_words_are_json(&arguments, "another process uses port").await;
    }
    let admin = ["serve", "--engine", "fake", "--listen", "0", "--model-dir", "."];
    let admin = [
        &admin[..],
        &["--model-control", "explicit", "--admin-listen", &address],
    ];
    last_words_are_json(&admin.concat(), "another process uses port").await;
}

#[tokio::test]
async fn a_full_disk_for_standard_output_is_reported_once_and_in_json() {
    for arguments in [&["--help"][..], &["serve", "-h"], &["model", "show"]] {
        let mut command = ocelli(arguments);
        command.env("OCELLI_LOG_FORMAT", "json");
        let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
        let output = run_into(command, b"", full.into()).await;
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {said}");
        let line: Value = serde_json::from_str(&said).unwrap_or_else(|_| panic!("{said}"));
        assert!(
            message(&line).starts_with("cannot write to standard output: "),
            "{said}"
        );
    }
}

#[tokio::test]
async fn help_into_a_closed_pipe_succeeds() {
    let output = run_unread(ocelli(&["--help"])).await;
    assert_eq!((output.status.code(), output.stderr.len()), (Some(0), 0));
}

/// The log of `serve`, with these options before the command, when the only package is broken.
async fn serve_broken(before: &[&str]) -> String {
    let shelf = tempfile::tempdir().unwrap();
    std::fs::create_dir(shelf.path().join("broken")).unwrap();
    std::fs::write(shelf.path().join("broken/model.toml"), "nmae = 1").unwrap();
    let mut command = ocelli(before);
    command.args(["serve", "--engine", "fake", "--listen", "127.0.0.1:0"]);
    command.arg("--model-dir").arg(shelf.path());
    let output = run(command, b"").await;
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{said}");
    said
}

#[tokio::test]
async fn the_reason_why_no_model_loads_is_reported_once() {
    let said = serve_broken(&[]).await;
    assert_eq!(said.matches("TOML parse error").count(), 1, "{said}");
    let last = said.lines().last().unwrap();
    assert!(
        last.starts_with("ocelli: --model-dir") && last.contains("none of its 1 models"),
        "{said}"
    );
}

#[tokio::test]
async fn the_log_level_may_come_before_the_command() {
    assert!(serve_broken(&["--log-level", "debug"]).await.contains("INFO"));
    assert!(!serve_broken(&["--log-level", "warn"]).await.contains("INFO"));
}

#[tokio::test]
async fn short_help_fits_on_a_screen_and_long_help_has_everything() {
    for command in ["serve", "web", "worker", "predict", "bench"] {
        let help = async |option: &str| {
            let output = run(ocelli(&[command, option]), b"").await;
            assert_eq!(output.status.code(), Some(0), "{command} {option}");
            assert!(output.stderr.is_empty());
            String::from_utf8(output.stdout).unwrap()
        };
        let (short, long) = (help("-h").await, help("--help").await);
        assert!(short.lines().count() <= 50, "{short}");
        assert!(
            short.contains("Examples:") && long.contains("Examples:"),
            "{short}{long}"
        );
        assert!(
            long.contains("--log-level") && long.contains("OCELLI_LOG_LEVEL"),
            "{long}"
        );
        assert!(
            !short.contains("OCELLI_") && !long.contains("fake"),
            "{short}{long}"
        );
    }
}
