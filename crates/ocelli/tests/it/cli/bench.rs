//! `ocelli bench` against a test server.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::Output;

use serde_json::Value;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::harness::photos;
use crate::harness::process::{ocelli, run};
use crate::harness::server::{Server, Setup};
use crate::jobs::webhooks::acceptor;
use crate::support::redis::certificates;

/// Runs it against `server` with a folder that contains `photo`.
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
        // The first of four connections is opened before the measurement.
        assert_eq!(report["connections"], 4, "{report:#}");
        assert_eq!(report["connections_opened"], 3, "{report:#}");
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
    let connections = table
        .lines()
        .find(|line| line.starts_with("connections "))
        .unwrap();
    assert!(connections.contains(" used, "), "{table}");
    assert_eq!(server.metric("ocelli_images_total").await, 30.0);
    server.is_well().await;
}

#[tokio::test]
async fn a_run_with_failures_fails() {
    let server = Server::start().await;
    // Only the server decodes photos, so the client sends any file.
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
async fn a_missing_server_or_missing_photos_fail_the_run() {
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

#[tokio::test]
async fn a_wrong_path_ends_the_run_with_its_warm_up() {
    let server = Server::start().await;
    let folder = tempfile::tempdir().unwrap();
    let photo = folder.path().join("photo.jpg");
    fs::write(&photo, photos::DOG).unwrap();
    let url = format!("http://{}/predictions/resnet", server.address);
    for warm_up in ["50ms", "1h"] {
        let mut command = ocelli(&["bench", &url, "--warmup", warm_up, "--duration", "1h"]);
        command.arg("--photos").arg(&photo);
        let output = run(command, b"").await;
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(output.stdout.is_empty(), "there is no report");
        for text in [
            &format!("ocelli: every warm-up request to {url} failed ("),
            "404 unknown_route: ",
            "/v1/models",
        ] {
            assert!(said.contains(text), "{text}: {said}");
        }
    }
    assert_eq!(server.metric("ocelli_images_total").await, 0.0);
}

/// Runs a TLS proxy in front of `server` during the test.
async fn encrypted(server: SocketAddr, tls: TlsAcceptor) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let tls = tls.clone();
            tokio::spawn(async move {
                // A client that does not trust the certificate disconnects.
                if let Ok(mut stream) = tls.accept(stream).await {
                    let mut behind = TcpStream::connect(server).await.unwrap();
                    let _ = copy_bidirectional(&mut stream, &mut behind).await;
                }
            });
        }
    });
    address
}

#[tokio::test]
async fn an_encrypted_server_must_be_trusted() {
    let server = Server::start().await;
    let (folder, strangers) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let trusted = certificates(folder.path());
    let stranger = certificates(strangers.path()).authority;
    let address = encrypted(server.address, acceptor(&trusted.certificate, &trusted.key)).await;
    let photo = folder.path().join("photo.jpg");
    fs::write(&photo, photos::DOG).unwrap();
    let bench = async |url: &str, ca: Option<&std::path::Path>, system: Option<&std::path::Path>| {
        let mut command = ocelli(&["bench", url, "-n", "40", "-c", "4", "--warmup", "0s", "--json"]);
        command.arg("--photos").arg(&photo);
        command.env_remove("SSL_CERT_DIR");
        ca.map(|file| command.arg("--ca").arg(file));
        system.map(|file| command.env("SSL_CERT_FILE", file));
        let output = run(command, b"").await;
        let said = String::from_utf8(output.stderr).unwrap();
        (
            output.status.code(),
            String::from_utf8(output.stdout).unwrap(),
            said,
        )
    };
    let (by_name, by_ip) = (
        format!("https://localhost:{}", address.port()),
        format!("https://{address}"),
    );
    for (url, ca, system) in [
        (&by_name, Some(&*trusted.authority), None),
        (&by_ip, Some(&*trusted.authority), Some(&*stranger)),
        (&by_name, None, Some(&*trusted.authority)),
    ] {
        let (status, printed, said) = bench(url, ca, system).await;
        assert_eq!(status, Some(0), "{said}");
        let report: Value = serde_json::from_str(&printed).unwrap();
        assert_eq!(
            (&report["ok"], &report["connections"]),
            (&40.into(), &4.into()),
            "{report:#}"
        );
        assert_eq!(report["url"], format!("{url}/predict"));
    }
    let images = server.metric("ocelli_images_total").await;
    for (url, ca, system, says) in [
        (
            &*by_name,
            Some(&*stranger),
            Some(&*trusted.authority),
            "--ca FILE",
        ),
        (&by_name, None, Some(&*stranger), "invalid peer certificate"),
        (&by_name, Some(&*trusted.key), None, "has no usable certificate"),
        (&by_name, Some(&*photo), None, "has no usable certificate"),
        (
            "http://localhost",
            Some(&*trusted.authority),
            None,
            "--ca needs an https:// URL",
        ),
        (
            &format!("https://{}", server.address),
            Some(&*trusted.authority),
            None,
            "http://",
        ),
    ] {
        let (status, printed, said) = bench(url, ca, system).await;
        assert_eq!((status, printed.as_str()), (Some(2), ""), "{url}: {said}");
        assert!(said.contains(says), "{says}: {said}");
    }
    assert_eq!(server.metric("ocelli_images_total").await, images);
}
