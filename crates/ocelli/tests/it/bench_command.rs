//! `ocelli bench` against a server of our own.

use std::fs;
use std::process::Output;

use serde_json::Value;

use crate::photos;
use crate::process::{ocelli, run};
use crate::server::{Server, Setup};

/// Runs it against `server` with a folder that holds `photo`.
async fn bench(server: &Server, photo: &[u8], arguments: &[&str]) -> Output {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("photo.jpg"), photo).unwrap();
    let mut command = ocelli(&["bench", &format!("http://{}", server.address), "--warmup", "0s"]);
    command.args(arguments).arg("--photos").arg(folder.path());
    run(command, b"").await
}

#[tokio::test]
async fn a_good_run_is_counted_and_succeeds() {
    let server = Server::start().await;
    for form in [&[][..], &["--raw"]] {
        let arguments = [&["-n", "40", "-c", "4", "--json"], form].concat();
        let output = bench(&server, photos::DOG, &arguments).await;
        assert!(output.status.success(), "{output:?}");
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(report["ok"], 40, "{report:#}");
        assert_eq!(report["failed"], 0, "{report:#}");
    }
    assert_eq!(server.metric("ocelli_images_total").await, 80.0);
    server.is_well().await;
}

#[tokio::test]
async fn an_open_loop_keeps_its_rate_and_prints_a_table() {
    let server = Server::start().await;
    let output = bench(&server, photos::DOG, &["--rate", "100", "-n", "30"]).await;
    assert!(output.status.success(), "{output:?}");
    let table = String::from_utf8(output.stdout).unwrap();
    assert!(table.contains("30") && table.contains("p99"), "{table}");
    assert_eq!(server.metric("ocelli_images_total").await, 30.0);
    server.is_well().await;
}

#[tokio::test]
async fn a_run_with_failures_fails() {
    let server = Server::start().await;
    // Photos are only read by the server, so the client sends what it is given.
    let damaged = &photos::DOG[..photos::DOG.len() / 2];
    let output = bench(&server, damaged, &["-n", "10", "-c", "2", "--json"]).await;
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["failed"], 10, "{report:#}");
    assert!(report.to_string().contains("invalid_image"), "{report:#}");
    server.is_well().await;
}

#[tokio::test]
async fn a_full_server_fails_the_run_with_its_code() {
    let mut setup = Setup::default();
    setup.pipeline.admission.jobs = 1;
    let server = setup.start().await;
    let first = server.occupy().await;
    let output = bench(&server, photos::DOG, &["-n", "5", "-c", "1", "--json"]).await;
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(String::from_utf8(output.stdout).unwrap().contains("queue_full"));
    server.engine.release();
    first.await.unwrap().ok();
    server.is_well().await;
}

#[tokio::test]
async fn no_server_and_no_photos_are_no_benchmark() {
    let server = Server::start().await;
    let folder = tempfile::tempdir().unwrap();
    let mut command = ocelli(&["bench", &format!("http://{}", server.address), "--photos"]);
    command.arg(folder.path());
    let output = run(command, b"").await;
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    let address = server.address;
    server.stop().await;
    let photo = folder.path().join("photo.jpg");
    fs::write(&photo, photos::DOG).unwrap();
    let mut command = ocelli(&[
        "bench",
        &format!("http://{address}"),
        "-n",
        "2",
        "--warmup",
        "0s",
        "--photos",
    ]);
    command.arg(&photo);
    let output = run(command, b"").await;
    assert_ne!(output.status.code(), Some(0), "{output:?}");
}
