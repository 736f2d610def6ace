//! The network of `support` is as bad as a test asks, and no worse.
//!
//! Tests that measure time use tokio's paused clock, which advances only while all tasks wait.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep, timeout};

use crate::eventually;
use crate::support::proxy::Proxy;

/// Something that sends back what it gets, and a network to it.
async fn echo() -> Proxy {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut from, mut to) = stream.split();
                tokio::io::copy(&mut from, &mut to).await
            });
        }
    });
    Proxy::start(address).await
}

async fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

/// Sends a byte and waits for it to come back.
async fn round_trip(stream: &mut TcpStream) -> std::io::Result<u8> {
    stream.write_u8(7).await?;
    stream.read_u8().await
}

#[tokio::test(start_paused = true)]
async fn a_delay_takes_its_time_and_does_not_hold_up_later_bytes() {
    let proxy = echo().await;
    let mut stream = connect(proxy.address()).await;
    let (there, back) = (Duration::from_millis(80), Duration::from_millis(40));
    proxy.delay(there, back);
    let sent = Instant::now();
    round_trip(&mut stream).await.unwrap();
    let alone = sent.elapsed();
    assert!(alone >= there + back, "only {alone:?}");

    let (mut from, mut to) = stream.split();
    let send = async {
        for number in 0..100 {
            to.write_u8(number).await.unwrap();
            // Bytes that are written at the same time would travel together.
            sleep(Duration::from_millis(1)).await;
        }
    };
    let receive = async {
        for number in 0..100 {
            assert_eq!(from.read_u8().await.unwrap(), number);
        }
    };
    let sent = Instant::now();
    tokio::join!(send, receive);
    let all = sent.elapsed();
    assert!(
        all < alone + Duration::from_millis(200),
        "one after the other: {all:?}"
    );

    proxy.delay(Duration::ZERO, Duration::ZERO);
    let sent = Instant::now();
    round_trip(&mut stream).await.unwrap();
    assert_eq!(sent.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn each_direction_has_a_delay_of_its_own() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = Proxy::start(listener.local_addr().unwrap()).await;
    let mut client = connect(proxy.address()).await;
    let (mut server, _) = listener.accept().await.unwrap();
    let hour = Duration::from_secs(3600);
    proxy.delay(hour, Duration::ZERO);
    let sent = Instant::now();
    server.write_u8(7).await.unwrap();
    client.read_u8().await.unwrap();
    assert_eq!(sent.elapsed(), Duration::ZERO);
    client.write_u8(7).await.unwrap();
    server.read_u8().await.unwrap();
    assert!(sent.elapsed() >= hour);
}

#[tokio::test(start_paused = true)]
async fn nothing_comes_out_of_a_black_hole_until_it_closes() {
    let proxy = echo().await;
    let mut stream = connect(proxy.address()).await;
    round_trip(&mut stream).await.unwrap();
    proxy.stall();
    let mut late = connect(proxy.address()).await;
    let hour = Duration::from_secs(3600);
    for stream in [&mut stream, &mut late] {
        let answer = timeout(hour, round_trip(stream)).await;
        assert!(answer.is_err(), "something came through");
    }
    assert_eq!(proxy.connections(), 2);
    proxy.resume();
    for mut stream in [stream, late] {
        assert_eq!(stream.read_u8().await.unwrap(), 7);
    }
}

#[tokio::test]
async fn a_cut_ends_connections_and_lets_new_ones_in() {
    let proxy = echo().await;
    let mut stream = connect(proxy.address()).await;
    round_trip(&mut stream).await.unwrap();
    assert_eq!(proxy.connections(), 1);
    proxy.cut();
    assert!(round_trip(&mut stream).await.is_err());
    eventually("the connection is gone", async || proxy.connections() == 0).await;
    round_trip(&mut connect(proxy.address()).await).await.unwrap();
}

#[tokio::test]
async fn an_end_that_leaves_or_was_never_there_ends_the_other() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = Proxy::start(listener.local_addr().unwrap()).await;
    let mut left = connect(proxy.address()).await;
    drop(listener.accept().await.unwrap());
    assert!(round_trip(&mut left).await.is_err());
    drop(listener);
    let mut never = connect(proxy.address()).await;
    assert!(round_trip(&mut never).await.is_err());
    drop(left);
    eventually("no connection is left", async || proxy.connections() == 0).await;
}

#[tokio::test]
async fn a_network_that_is_gone_takes_its_connections_along() {
    let proxy = echo().await;
    let mut stream = connect(proxy.address()).await;
    round_trip(&mut stream).await.unwrap();
    drop(proxy);
    assert!(round_trip(&mut stream).await.is_err());
}
