//! Bodies that are too large, never end, or break off.

use std::time::Duration;

use tokio::io::AsyncWriteExt as _;

use crate::PATIENCE;
use crate::harness::client::{FORM, Raw};
use crate::harness::photos;
use crate::harness::server::{Server, Setup};

const LARGE: usize = 100_000_000;

/// Writes a head and `LARGE` bytes in `pieces`, without reading the response, as simple clients do.
async fn pour(client: &mut Raw, head: &str, piece: &[u8], content: usize) {
    let pour = async {
        client.write(head.as_bytes()).await;
        for _ in 0..LARGE.div_ceil(content) {
            // Everything is taken: a refusal that broke the connection would be lost on the way.
            client.0.write_all(piece).await.unwrap();
        }
    };
    tokio::time::timeout(PATIENCE, pour)
        .await
        .expect("the server takes it off the client's hands");
}

#[tokio::test]
async fn a_large_upload_is_refused_and_its_sender_hears_so() {
    let server = Server::start().await;
    let mut client = server.raw().await;
    let piece = vec![b'x'; 64 * 1024];
    let length = LARGE.div_ceil(piece.len()) * piece.len();
    let head = format!(
        "POST /predict HTTP/1.1\r\nHost: test\r\nContent-Type: {FORM}\r\nContent-Length: {length}\r\n\r\n"
    );
    pour(&mut client, &head, &piece, piece.len()).await;
    let error = client.answer().await.refused(413, "too_large");
    assert!(error.contains("--max-body"), "{error}");
    assert_eq!(
        client.until_closed().await,
        "",
        "a connection in this state is not used again"
    );
    server.is_well().await;
}

#[tokio::test]
async fn a_large_upload_of_unknown_length_is_refused_too() {
    let server = Server::start().await;
    let mut client = server.raw().await;
    let content = 64 * 1024;
    let mut piece = format!("{content:x}\r\n").into_bytes();
    piece.resize(piece.len() + content, b'x');
    piece.extend_from_slice(b"\r\n");
    let head = "POST /predict HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n";
    pour(&mut client, head, &piece, content).await;
    client.answer().await.refused(413, "too_large");
    server.is_well().await;
}

#[tokio::test]
async fn a_large_upload_that_asks_first_is_never_sent() {
    let server = Server::start().await;
    let mut client = server.raw().await;
    let head = format!(
        "POST /predict HTTP/1.1\r\nHost: test\r\nExpect: 100-continue\r\nContent-Length: {LARGE}\r\n\r\n"
    );
    client.write(head.as_bytes()).await;
    client.answer().await.refused(413, "too_large");
    drop(client);
    server.is_well().await;
}

#[tokio::test]
async fn a_body_that_never_ends_is_given_up_at_the_deadline() {
    let mut setup = Setup::default();
    setup.pipeline.admission.jobs = 1;
    let server = setup.start().await;
    let unending = [
        "Content-Length: 1000000\r\n\r\n------".to_owned(),
        "Transfer-Encoding: chunked\r\n\r\n5\r\n-----\r\n".to_owned(),
    ];
    for rest in unending {
        let mut client = server.raw().await;
        let head =
            format!("POST /predict HTTP/1.1\r\nHost: test\r\nContent-Type: {FORM}\r\nX-Timeout-Ms: 100\r\n");
        client.write((head + &rest).as_bytes()).await;
        let error = client.answer().await.refused(504, "deadline_exceeded");
        assert!(error.contains("100ms"), "{error}");
        drop(client);
        // The only slot there is can be had again.
        server.is_well().await;
    }
}

#[tokio::test]
async fn a_body_that_breaks_off_frees_its_place() {
    let mut setup = Setup::default();
    setup.http.receiving.requests = 1;
    let server = setup.start().await;
    let wire = server.photo(&photos::dog()).wire();
    let mut client = server.raw().await;
    client.write(&wire[..wire.len() / 2]).await;
    server.metric_is("ocelli_receiving_requests", 1.0).await;
    // A client that says so, and one that is simply gone.
    client.0.shutdown().await.unwrap();
    server.is_empty().await;
    let mut client = server.raw().await;
    client.write(&wire[..wire.len() / 2]).await;
    server.metric_is("ocelli_receiving_requests", 1.0).await;
    drop(client);
    server.is_well().await;
}

#[tokio::test]
async fn a_refused_small_body_leaves_the_connection_usable() {
    let server = Server::start().await;
    let mut client = server.raw().await;
    let refused = server
        .post("/predict?top_k=0")
        .form([("image", photos::DOG)])
        .wire();
    let good = server.photo(&photos::dog()).wire();
    client.write(&[refused, good].concat()).await;
    client.answer().await.refused(400, "invalid_request");
    assert_eq!(client.answer().await.best(), photos::dog().label());
    drop(client);
    server.is_well().await;
}

#[tokio::test]
async fn many_small_pieces_make_one_photo() {
    let server = Server::start().await;
    let mut client = server.raw().await;
    let head = "POST /predict HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n";
    client.write(head.as_bytes()).await;
    for piece in photos::DOG.chunks(1000) {
        client.write(format!("{:x}\r\n", piece.len()).as_bytes()).await;
        client.write(piece).await;
        client.write(b"\r\n").await;
    }
    client.write(b"0\r\n\r\n").await;
    assert_eq!(client.answer().await.best(), photos::dog().label());
    drop(client);
    server.is_well().await;
}

#[tokio::test]
async fn a_head_without_end_is_refused() {
    let server = Server::start().await;
    let mut client = server.raw().await;
    client.write(b"GET /livez HTTP/1.1\r\nHost: test\r\n").await;
    let line = format!("X-Filler: {}\r\n", "x".repeat(1000));
    for _ in 0..1000 {
        // The server hangs up in the middle.
        if client.0.write_all(line.as_bytes()).await.is_err() {
            break;
        }
    }
    let answer = client.until_closed().await;
    assert!(
        answer.is_empty() || answer.starts_with("HTTP/1.1 431"),
        "{answer}"
    );
    server.is_well().await;
}

#[tokio::test]
async fn bytes_that_are_no_request_are_refused() {
    let server = Server::start().await;
    for garbage in [
        &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..],
        b"\r\n\r\nHELO\r\n\r\n",
        photos::DOG,
    ] {
        let mut client = server.raw().await;
        // The server may hang up before it has read everything.
        let _ = client.0.write_all(garbage).await;
        let _ = client.0.shutdown().await;
        let answer = client.until_closed().await;
        assert!(
            answer.is_empty() || answer.starts_with("HTTP/1.1 400"),
            "{answer}"
        );
    }
    server.is_well().await;
}

/// Times are counted from the end of the headers, so a slow body is no excuse.
#[tokio::test]
async fn the_deadline_covers_the_body() {
    let mut setup = Setup::default();
    setup.http.deadline = Duration::from_millis(150);
    let server = setup.start().await;
    let mut client = server.raw().await;
    let wire = server.photo(&photos::dog()).wire();
    client.write(&wire[..wire.len() - 1]).await;
    let answer = client.answer().await;
    answer.refused(504, "deadline_exceeded");
    drop(client);
    server.is_empty().await;
    assert_eq!(server.engine.items(), 0);
}
