//! Starting: what is wrong is said in one line, and nothing is left running.

use std::fs;
use std::process::Command;

use tokio::net::TcpListener;

use crate::harness::photos;
use crate::harness::process::{Process, ocelli, onnxruntime, run};

/// Runs a command that must not start; gives its exit status and what it said.
async fn fails(command: Command) -> (i32, String) {
    let output = run(command, b"").await;
    assert!(output.stdout.is_empty(), "{output:?}");
    let said = String::from_utf8(output.stderr).unwrap();
    (output.status.code().unwrap(), said)
}

/// It says one line that has all of `parts`, and ends with status 2.
async fn says_in_one_line(command: Command, parts: &[&str]) {
    let (status, said) = fails(command).await;
    let lines: Vec<&str> = said
        .lines()
        .filter(|line| !line.contains("returns made-up results"))
        .collect();
    assert_eq!(lines.len(), 1, "{said}");
    for part in parts {
        assert!(lines[0].contains(part), "no {part:?} in {said}");
    }
    assert!(lines[0].starts_with("ocelli: "), "{said}");
    assert_eq!(status, 2, "{said}");
}

#[tokio::test]
async fn a_variable_without_a_value_is_not_set() {
    let mut command = ocelli(&["serve", "--listen", "127.0.0.1:0", "--engine", "fake"]);
    for name in [
        "MODEL",
        "MODEL_DIR",
        "MAX_BODY",
        "DEADLINE",
        "QUEUE_JOBS",
        "LOG_LEVEL",
        "ADMIN_LISTEN",
    ] {
        command.env(format!("OCELLI_{name}"), "");
    }
    let serve = Process::start(command).await;
    assert_eq!(serve.get("/livez").send().await.text(), "ok\n");
}

#[tokio::test]
async fn a_missing_library_is_named_with_the_way_to_get_it() {
    for command in ["serve", "predict"] {
        let mut command = ocelli(&[command]);
        if command.get_args().eq(["predict"]) {
            command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/dog.jpg"));
        }
        command.env("OCELLI_ONNXRUNTIME", "/nowhere/libonnxruntime.so");
        says_in_one_line(
            command,
            &["ONNX Runtime", "/nowhere/libonnxruntime.so", "OCELLI_ONNXRUNTIME"],
        )
        .await;
    }
}

#[tokio::test]
async fn a_library_that_is_none_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let library = folder.path().join("libonnxruntime.so");
    fs::write(&library, "this is no library").unwrap();
    let mut command = ocelli(&["serve", "--listen", "127.0.0.1:0"]);
    command.arg("--onnxruntime").arg(&library);
    says_in_one_line(command, &[library.to_str().unwrap()]).await;
}

#[tokio::test]
async fn a_limit_of_open_files_that_is_too_low_is_named() {
    for command in [
        "serve --engine fake",
        "web --redis redis://127.0.0.1:1",
        "queue status --redis redis://127.0.0.1:1",
        "model list",
    ] {
        for files in [6, 7, 8, 31] {
            let mut limited = Command::new("sh");
            let ocelli = env!("CARGO_BIN_EXE_ocelli");
            limited.args(["-c", &format!("ulimit -n {files} && exec {ocelli} {command}")]);
            says_in_one_line(limited, &[&format!("may have {files}"), "ulimit -Hn"]).await;
        }
    }
}

#[tokio::test]
async fn a_soft_limit_of_open_files_is_raised() {
    let mut limited = Command::new("sh");
    let ocelli = env!("CARGO_BIN_EXE_ocelli");
    limited.args(["-c", &format!("ulimit -Sn 6 && exec {ocelli} model show --json")]);
    let output = run(limited, b"").await;
    assert_eq!(output.status.code(), Some(0), "{output:?}");
}

#[tokio::test]
async fn a_port_in_use_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let command = ocelli(&["serve", "--engine", "fake", "--listen", &address]);
    says_in_one_line(command, &[&address, "another process uses port", "--listen"]).await;
}

#[tokio::test]
async fn an_address_of_another_machine_is_named() {
    // Reserved for documentation, so no machine has it.
    let command = ocelli(&["serve", "--engine", "fake", "--listen", "192.0.2.1:5000"]);
    says_in_one_line(
        command,
        &["this machine has no address 192.0.2.1", "0.0.0.0:5000"],
    )
    .await;
}

#[tokio::test]
async fn addresses_may_be_written_in_every_usual_form() {
    for (form, address) in [
        ("0", "127.0.0.1"),
        ("localhost:0", "127.0.0.1"),
        (":0", "0.0.0.0"),
        ("0.0.0.0:0", "0.0.0.0"),
        ("[::]:0", "::"),
    ] {
        // Some machines have no IPv6.
        if address == "::" && TcpListener::bind(form).await.is_err() {
            continue;
        }
        let server = Process::start(ocelli(&["serve", "--engine", "fake", "--listen", form])).await;
        assert_eq!(server.address.ip().to_string(), address, "{form}");
    }
}

#[tokio::test]
async fn workers_start_beside_each_other_without_an_address() {
    let start = async || {
        let mut command = ocelli(&["worker", "--engine", "fake"]);
        // Nothing answers there; a worker waits for its Redis.
        command.env("OCELLI_REDIS", "redis://127.0.0.1:1");
        Process::start_worker_early(command).await
    };
    let (first, second) = (start().await, start().await);
    assert_ne!(first.address.port(), second.address.port());
}

#[tokio::test]
async fn a_model_that_is_not_there_or_broken_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let with = |folder: &std::path::Path| {
        let mut command = ocelli(&["serve", "--engine", "fake", "--listen", "127.0.0.1:0"]);
        command.arg("--model").arg(folder);
        command
    };
    let missing = folder.path().join("missing");
    says_in_one_line(with(&missing), &[missing.to_str().unwrap(), "name a folder"]).await;
    let bad = [
        ("schema = \"one\"", "schema"),
        ("schema = 1\nnmae = \"x\"", "nmae"),
        ("this is no TOML", "model.toml"),
    ];
    for (manifest, says) in bad {
        fs::write(folder.path().join("model.toml"), manifest).unwrap();
        let (status, said) = fails(with(folder.path())).await;
        assert_eq!(status, 2, "{said}");
        assert!(said.contains(says), "no {says:?} in {said}");
    }
}

#[tokio::test]
async fn a_bad_option_is_named() {
    let cases: [(&[&str], &str); 15] = [
        (&["serve", "--max-batch", "0"], "1 to 1024"),
        (&["serve", "--deadline", "10"], "10s"),
        (&["serve", "--deadline", "0s"], "longer than 0s"),
        (&["serve", "--listen", "everywhere"], "localhost:5000"),
        (&["serve", "--port", "80"], "--listen HOST:PORT"),
        (
            &["serve", "--redis", "redis://localhost"],
            "ocelli web --redis URL",
        ),
        (&["worker", "--config", "ocelli.toml"], "environment variable"),
        (&["serve", "--queue-jobs", "0"], "--queue-jobs"),
        (&["serve", "--engine", "tensorflow"], "onnxruntime"),
        (&["serve", "--max-body", "much"], "--max-body"),
        (&["serve", "--min-body-rate", "0"], "at least 1 byte"),
        (
            &["serve", "--engine", "fake", "--receiving-bytes", "1MiB"],
            "--max-body 32",
        ),
        (&["serve", "--instance", "2"], "--instances"),
        (&["predict"], "PHOTO"),
        (&["bench", "http://127.0.0.1:1"], "--photos"),
    ];
    for (arguments, says) in cases {
        let (status, said) = fails(ocelli(arguments)).await;
        assert_eq!(status, 2, "{said}");
        assert!(said.contains(says), "{arguments:?}: no {says:?} in {said}");
    }
}

#[tokio::test]
async fn the_environment_sets_what_options_do() {
    let mut command = ocelli(&["serve"]);
    command
        .env("OCELLI_LISTEN", "127.0.0.1:0")
        .env("OCELLI_ENGINE", "fake")
        .env("OCELLI_MAX_BODY", "10KiB");
    let process = Process::start(command).await;
    let answer = process
        .post("/predict")
        .form([("image", photos::DOG)])
        .send()
        .await;
    assert!(answer.refused(413, "too_large").contains("10240"));
}

#[tokio::test]
async fn the_dog_is_a_beagle() {
    let Some(library) = onnxruntime() else { return };
    let mut command = ocelli(&["serve", "--listen", "127.0.0.1:0"]);
    command.env("OCELLI_ONNXRUNTIME", library);
    let process = Process::start(command).await;
    let photo = || process.post("/predict").form([("image", photos::DOG)]);
    assert_eq!(photo().send().await.best(), "beagle");
    // Also when they share batches with each other.
    let together: Vec<_> = (0..16).map(|_| photo().spawn()).collect();
    for answer in together {
        assert_eq!(answer.await.unwrap().best(), "beagle");
    }
    let model = process.get("/v1/models/efficientnet-lite0").send().await.ok();
    assert_eq!(model["engine"]["name"], "onnxruntime");
    process.signal("TERM");
    assert_eq!(process.ended().await.0, Some(0));
}

/// ONNX Runtime would look up its maker's host as soon as it is loaded.
#[tokio::test]
async fn the_engine_is_told_to_tell_nobody() {
    let server = Process::fake(&[]).await;
    let environment = server.environment();
    assert!(
        environment.lines().any(|line| line == "ORT_DISABLE_TELEMETRY=1"),
        "{environment}"
    );
}
