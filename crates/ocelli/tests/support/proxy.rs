//! A proxy that simulates a faulty network.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};
use tokio_util::task::TaskTracker;

/// Maximum bytes per read.
const CHUNK: usize = 64 << 10;

/// Maximum chunks in flight per direction: far more than anything sends within the tested delays, so that a delay does
/// not limit the throughput.
const CHUNKS: usize = 16 << 10;

/// The current state of the network.
#[derive(Clone, Debug, Default)]
struct Weather {
    to_server: Duration,
    to_client: Duration,
    stalled: bool,
    /// How often all connections were cut.
    cuts: u64,
    trap: Option<(&'static [&'static str], Spring)>,
}

/// What happens when a trap is sprung, before the server gets what sprang it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Spring {
    /// As [`Proxy::stall`].
    Stall,
    /// That connection is closed.
    Cut,
}

/// Forwards connections from a free loopback port to another address. Its tasks end with it.
pub(crate) struct Proxy {
    address: SocketAddr,
    weather: Arc<watch::Sender<Weather>>,
    connections: TaskTracker,
    accepting: JoinHandle<()>,
}

impl Proxy {
    /// A network without fault to `target`, which need not be there yet.
    pub(crate) async fn start(target: SocketAddr) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let weather = Arc::new(watch::Sender::new(Weather::default()));
        let connections = TaskTracker::new();
        let accepting = accept(listener, target, Arc::clone(&weather), connections.clone());
        let accepting = tokio::spawn(accepting);
        Self {
            address,
            weather,
            connections,
            accepting,
        }
    }

    /// Where clients connect to.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on, every byte takes this long to the server and back to the client, however many are under way.
    pub(crate) fn delay(&self, to_server: Duration, to_client: Duration) {
        self.weather.send_modify(|weather| {
            weather.to_server = to_server;
            weather.to_client = to_client;
        });
    }

    /// Closes all connections. New ones are accepted.
    pub(crate) fn cut(&self) {
        self.weather.send_modify(|weather| weather.cuts += 1);
    }

    /// A black hole: connections stay and are accepted, and nothing comes through until [`Proxy::resume`]. What was sent
    /// meanwhile comes late, as TCP would deliver it.
    pub(crate) fn stall(&self) {
        self.weather.send_modify(|weather| weather.stalled = true);
    }

    /// Ends [`Proxy::stall`].
    pub(crate) fn resume(&self) {
        self.weather.send_modify(|weather| weather.stalled = false);
    }

    /// Sets a trap, once: for the first chunk to the server that contains all of these texts.
    pub(crate) fn trap(&self, texts: &'static [&'static str], spring: Spring) {
        self.weather
            .send_modify(|weather| weather.trap = Some((texts, spring)));
    }

    /// Waits until the trap has triggered.
    pub(crate) async fn sprung(&self) {
        let mut weather = self.weather.subscribe();
        let sprung = weather.wait_for(|weather| weather.trap.is_none());
        let sprung = tokio::time::timeout(super::PATIENCE, sprung).await;
        sprung.expect("the trap is sprung").unwrap();
    }

    /// Number of open connections.
    pub(crate) fn connections(&self) -> usize {
        self.connections.len()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
        // Otherwise the connections would stay open as long as their ends.
        self.cut();
    }
}

/// Accepts connections, each in its own task, which ends with it or with the next cut.
async fn accept(
    listener: TcpListener,
    target: SocketAddr,
    weather: Arc<watch::Sender<Weather>>,
    connections: TaskTracker,
) {
    while let Ok((client, _)) = listener.accept().await {
        let mut watching = weather.subscribe();
        let cuts = watching.borrow().cuts;
        let weather = Arc::clone(&weather);
        connections.spawn(async move {
            let cut = async {
                let _ = watching.wait_for(|weather| weather.cuts != cuts).await;
            };
            tokio::select! {
                // A failed or missing end closes the other one.
                _ = carry(client, target, weather) => {}
                () = cut => {}
            }
        });
    }
}

/// Forwards one connection until both ends have finished or one has failed.
async fn carry(
    client: TcpStream,
    target: SocketAddr,
    weather: Arc<watch::Sender<Weather>>,
) -> io::Result<()> {
    let server = TcpStream::connect(target).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let to = |weather: &Weather| weather.to_server;
    let there = forward(from_client, to_server, weather.subscribe(), to, |chunk| {
        spring(&weather, chunk)
    });
    let to = |weather: &Weather| weather.to_client;
    let back = forward(from_server, to_client, weather.subscribe(), to, |_| Ok(()));
    tokio::try_join!(there, back)?;
    Ok(())
}

/// Springs the trap if this chunk is one for it.
///
/// # Errors
/// When the connection is to be cut.
fn spring(weather: &watch::Sender<Weather>, chunk: &[u8]) -> io::Result<()> {
    let Some((texts, spring)) = weather.borrow().trap else {
        return Ok(());
    };
    let contains = |text: &&str| chunk.windows(text.len()).any(|part| part == text.as_bytes());
    if !texts.iter().all(contains) {
        return Ok(());
    }
    weather.send_modify(|weather| {
        weather.trap = None;
        weather.stalled |= matches!(spring, Spring::Stall);
    });
    match spring {
        Spring::Stall => Ok(()),
        Spring::Cut => Err(io::ErrorKind::ConnectionReset.into()),
    }
}

/// One direction: each chunk is sent `delay` after its arrival, unless the network is stalled.
async fn forward(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut weather: watch::Receiver<Weather>,
    delay: impl Fn(&Weather) -> Duration,
    look: impl Fn(&[u8]) -> io::Result<()>,
) -> io::Result<()> {
    let (depart, mut under_way) = mpsc::channel::<(Option<Instant>, Bytes)>(CHUNKS);
    let forecast = weather.clone();
    let read = async move {
        loop {
            let mut chunk = BytesMut::with_capacity(CHUNK);
            if from.read_buf(&mut chunk).await? == 0 {
                return Ok(());
            }
            look(&chunk)?;
            let delay = delay(&forecast.borrow());
            // A timer fires a millisecond late, which is too much without a delay.
            let due = (!delay.is_zero()).then(|| Instant::now() + delay);
            if depart.send((due, chunk.freeze())).await.is_err() {
                return Ok(());
            }
        }
    };
    let write = async move {
        while let Some((due, chunk)) = under_way.recv().await {
            if let Some(due) = due {
                sleep_until(due).await;
            }
            if weather.wait_for(|weather| !weather.stalled).await.is_err() {
                break;
            }
            to.write_all(&chunk).await?;
        }
        to.shutdown().await
    };
    tokio::try_join!(read, write)?;
    Ok(())
}
