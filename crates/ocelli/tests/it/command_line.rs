//! What every command has in common: the options of the log, and the last words of one that fails.

use std::process::Command;

use serde_json::Value;

use crate::process::{ocelli, run};

/// Where nothing listens: port 1 needs rights that nobody uses for it.
const NO_REDIS: &str = "redis://127.0.0.1:1";

/// The last words of a command that fails with status 2, of which standard error must hold nothing twice.
async fn last_words(command: Command) -> Value {
    let output = run(command, b"").await;
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{said}");
    let lines: Vec<Value> = said
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {line} in {said}")))
        .collect();
    let last = lines.last().expect("it says why").clone();
    assert_eq!(last["level"], "ERROR", "{said}");
    assert!(last["timestamp"].is_string(), "{said}");
    last
}

#[tokio::test]
async fn the_last_words_of_every_command_are_json_where_the_log_is() {
    let cases: [(&[&str], &str); 9] = [
        (&["serve", "--model", "/no/model"], "/no/model"),
        (&["serve", "--lsiten", "5000"], "--lsiten"),
        (&["nonsense"], "nonsense"),
        (
            &["worker", "--redis", "redis://127.0.0.1:1", "--model", "/no/model"],
            "/no/model",
        ),
        (
            &[
                "web",
                "--redis",
                "redis://127.0.0.1:1",
                "--webhook-hosts",
                "example.com",
            ],
            "--webhook-secret-file",
        ),
        (&["predict", "--model", "/no/model", "Cargo.toml"], "/no/model"),
        (&["model", "show", "/no/model"], "/no/model"),
        (&["queue", "status", "--redis", NO_REDIS], "127.0.0.1:1"),
        (
            &["bench", "http://127.0.0.1:1", "--photos", "/no/photo.jpg"],
            "/no/photo.jpg",
        ),
    ];
    for (arguments, says) in cases {
        for before in [true, false] {
            let option: &[&str] = &["--log-format", "json"];
            let all = if before {
                [option, arguments].concat()
            } else {
                [arguments, option].concat()
            };
            let last = last_words(ocelli(&all)).await;
            let message = last["fields"]["message"].as_str().unwrap();
            assert!(message.contains(says), "{all:?}: {message}");
        }
        let mut by_environment = ocelli(arguments);
        by_environment.env("OCELLI_LOG_FORMAT", "json");
        last_words(by_environment).await;
    }
}

/// What `serve` says, given these options before its name, that finds nothing but a broken package.
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
async fn why_no_model_loads_is_said_once() {
    let said = serve_broken(&[]).await;
    assert_eq!(said.matches("TOML parse error").count(), 1, "{said}");
    let last = said.lines().last().unwrap();
    assert!(
        last.starts_with("ocelli: --model-dir") && last.contains("none of its 1 models"),
        "{said}"
    );
}

#[tokio::test]
async fn the_level_of_the_log_may_come_before_the_command() {
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
