//! A minimal HTTP/1.1 client that accounts for every byte: an unrequested answer is an error.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Time to connect to a local process; a frozen one does not accept.
const CONNECT: Duration = Duration::from_secs(2);

/// Maximum size of a response head.
const MOST_HEAD: usize = 16 << 10;

/// A connection to a web process.
pub(crate) struct Connection {
    stream: TcpStream,
}

/// A complete response.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// The request id of the response.
    pub(crate) request_id: String,
    /// Whether the server closes the connection.
    pub(crate) closes: bool,
    pub(crate) body: Bytes,
}

/// The state of a connection between two requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Between {
    /// No bytes have arrived.
    Quiet,
    /// The server has closed the connection.
    Closed,
    /// Bytes have arrived that belong to no response.
    Talking,
}

impl Connection {
    pub(crate) async fn open(address: SocketAddr) -> io::Result<Self> {
        let stream = timeout(CONNECT, TcpStream::connect(address)).await??;
        stream.set_nodelay(true)?;
        Ok(Self { stream })
    }

    /// The state since the last response.
    pub(crate) fn look(&self) -> Between {
        let mut byte = [0];
        match self.stream.try_read(&mut byte) {
            Ok(0) => Between::Closed,
            Ok(_) => Between::Talking,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Between::Quiet,
            Err(_) => Between::Closed,
        }
    }

    /// Sends a request and reads its answer.
    ///
    /// # Errors
    /// When the connection ends before the answer does.
    pub(crate) async fn ask(&mut self, head: &str, body: &[u8]) -> io::Result<Answer> {
        let mut request = format!("{head}Host: chaos\r\nContent-Length: {}\r\n\r\n", body.len()).into_bytes();
        request.extend_from_slice(body);
        self.stream.write_all(&request).await?;
        let mut read = Vec::with_capacity(1024);
        let end = loop {
            if let Some(end) = read.windows(4).position(|window| window == b"\r\n\r\n") {
                break end + 4;
            }
            if read.len() > MOST_HEAD || self.stream.read_buf(&mut read).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        };
        let head = String::from_utf8_lossy(&read[..end]).into_owned();
        let mut answer = parse(&head).ok_or(io::ErrorKind::InvalidData)?;
        let length: usize = header(&head, "content-length")
            .and_then(|length| length.parse().ok())
            .ok_or(io::ErrorKind::InvalidData)?;
        while read.len() < end + length {
            if self.stream.read_buf(&mut read).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        if read.len() > end + length {
            return Err(io::Error::other("more came than one answer"));
        }
        answer.body = Bytes::from(read).slice(end..);
        Ok(answer)
    }
}

/// Sends a GET request on a new connection.
///
/// # Errors
/// When there is no answer within `limit`.
pub(crate) async fn get(address: SocketAddr, target: &str, limit: Duration) -> io::Result<Answer> {
    let head = format!("GET {target} HTTP/1.1\r\n");
    let ask = async { Connection::open(address).await?.ask(&head, &[]).await };
    timeout(limit, ask).await?
}

fn parse(head: &str) -> Option<Answer> {
    Some(Answer {
        status: head.split(' ').nth(1)?.parse().ok()?,
        request_id: header(head, "x-request-id").unwrap_or_default().to_owned(),
        closes: header(head, "connection").is_some_and(|value| value.eq_ignore_ascii_case("close")),
        body: Bytes::new(),
    })
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().find_map(|line| {
        let (found, value) = line.split_once(':')?;
        found.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}
