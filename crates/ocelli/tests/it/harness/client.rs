//! An HTTP client with a fluent interface, and one for raw bytes.

use std::net::SocketAddr;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::{http1, http2};
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{HeaderMap, Method, Request, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::PATIENCE;
use crate::http::api;

#[derive(Clone, Debug)]
pub(crate) struct Call {
    address: SocketAddr,
    method: Method,
    target: String,
    headers: Vec<(String, String)>,
    body: Bytes,
}

#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// A persistent connection.
pub(crate) enum Connection {
    Http1(http1::SendRequest<Full<Bytes>>),
    Http2(http2::SendRequest<Full<Bytes>>),
}

impl Call {
    pub(crate) fn new(address: SocketAddr, method: Method, target: &str) -> Self {
        Self {
            address,
            method,
            target: target.to_owned(),
            headers: Vec::new(),
            body: Bytes::new(),
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    pub(crate) fn body(mut self, content_type: &str, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self.header(CONTENT_TYPE.as_str(), content_type)
    }

    pub(crate) fn json(self, body: &Value) -> Self {
        self.body("application/json", body.to_string())
    }

    /// A multipart form as written by curl, of parts `(name, content)`.
    pub(crate) fn form<'a>(self, parts: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> Self {
        self.body(FORM, form(parts))
    }

    /// Sends it on a new connection.
    pub(crate) async fn send(self) -> Answer {
        let mut connection = Connection::http1(self.address).await;
        self.send_on(&mut connection).await
    }

    /// Sends it and checks the response against the API description.
    pub(crate) async fn send_on(self, connection: &mut Connection) -> Answer {
        let (method, target) = (self.method.clone(), self.target.clone());
        let answer = self.try_send_on(connection).await.unwrap();
        api::check(&method, &target, &answer);
        answer
    }

    pub(crate) async fn try_send_on(self, connection: &mut Connection) -> hyper::Result<Answer> {
        let request = self.request(matches!(connection, Connection::Http2(_)));
        let answer = async {
            let response = match connection {
                Connection::Http1(sender) => {
                    sender.ready().await?;
                    sender.send_request(request).await?
                }
                Connection::Http2(sender) => {
                    sender.ready().await?;
                    sender.send_request(request).await?
                }
            };
            let (head, body) = response.into_parts();
            Ok(Answer {
                status: head.status,
                headers: head.headers,
                body: body.collect().await?.to_bytes(),
            })
        };
        timeout(PATIENCE, answer)
            .await
            .expect("the server answers within the tests' patience")
    }

    /// Sends it on a new connection, in the background.
    pub(crate) fn spawn(self) -> JoinHandle<Answer> {
        tokio::spawn(self.send())
    }

    /// The bytes of the request in HTTP/1.1.
    pub(crate) fn wire(&self) -> Vec<u8> {
        let mut bytes = format!("{} {} HTTP/1.1\r\nHost: test\r\n", self.method, self.target).into_bytes();
        for (name, value) in &self.headers {
            bytes.extend(format!("{name}: {value}\r\n").into_bytes());
        }
        bytes.extend(format!("Content-Length: {}\r\n\r\n", self.body.len()).into_bytes());
        bytes.extend_from_slice(&self.body);
        bytes
    }

    fn request(self, absolute: bool) -> Request<Full<Bytes>> {
        let mut request = Request::builder().method(self.method);
        request = if absolute {
            request.uri(format!("http://{}{}", self.address, self.target))
        } else {
            request.uri(self.target).header(HOST, self.address.to_string())
        };
        for (name, value) in self.headers {
            request = request.header(name, value);
        }
        request.body(Full::new(self.body)).unwrap()
    }
}

/// The content type of [`form`].
pub(crate) const FORM: &str = "multipart/form-data; boundary=------------------------d74496d66958873e";

/// The body of a form, as written by curl.
pub(crate) fn form<'a>(parts: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> Vec<u8> {
    let boundary = FORM.split_once("boundary=").unwrap().1;
    let mut body = Vec::new();
    for (name, content) in parts {
        let head = format!(
            "--{boundary}\r\nContent-Disposition: form-data; name=\"{name}\"; filename=\"photo\"\r\n\
             Content-Type: application/octet-stream\r\n\r\n"
        );
        body.extend(head.into_bytes());
        body.extend_from_slice(content);
        body.extend_from_slice(b"\r\n");
    }
    body.extend(format!("--{boundary}--\r\n").into_bytes());
    body
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("not JSON: {self:?}"))
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .unwrap_or_else(|| panic!("no {name} in {self:?}"))
            .to_str()
            .unwrap()
    }

    /// Checks for success; returns the JSON.
    #[track_caller]
    pub(crate) fn ok(&self) -> Value {
        assert_eq!(self.status, 200, "{self:?}");
        self.json()
    }

    /// Checks for an error with this status and code; returns its text.
    #[track_caller]
    pub(crate) fn refused(&self, status: u16, code: &str) -> String {
        assert_eq!(self.status, status, "{self:?}");
        let body = self.json();
        assert_eq!(body["code"], code, "{self:?}");
        assert_eq!(body["success"], false, "{self:?}");
        assert_eq!(body["request_id"], self.header("x-request-id"), "{self:?}");
        body["error"].as_str().unwrap().to_owned()
    }

    /// The label of the best prediction, in the tutorial's format.
    #[track_caller]
    pub(crate) fn best(&self) -> String {
        let body = self.ok();
        assert_eq!(body["success"], true, "{self:?}");
        body["predictions"][0]["label"].as_str().unwrap().to_owned()
    }
}

impl Connection {
    pub(crate) async fn http1(address: SocketAddr) -> Self {
        Self::try_http1(address).await.unwrap()
    }

    pub(crate) async fn try_http1(address: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(Self::Http1(sender))
    }

    /// With prior knowledge, as `curl --http2-prior-knowledge` does.
    pub(crate) async fn http2(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
        tokio::spawn(connection);
        Self::Http2(sender)
    }
}

/// A client that sends and reads raw bytes.
pub(crate) struct Raw(pub(crate) TcpStream);

impl Raw {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self(stream)
    }

    pub(crate) async fn write(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).await.unwrap();
    }

    /// All bytes until the server closes the connection; a reset counts as closing.
    pub(crate) async fn until_closed(&mut self) -> String {
        let mut bytes = Vec::new();
        let read = timeout(PATIENCE, self.0.read_to_end(&mut bytes)).await;
        let _ = read.expect("the server closes within the tests' patience");
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Reads the next line only.
    pub(crate) async fn line(&mut self) -> String {
        let mut line = Vec::new();
        let read = async {
            while line.last() != Some(&b'\n') {
                line.push(self.0.read_u8().await.unwrap());
            }
        };
        timeout(PATIENCE, read)
            .await
            .expect("the server answers within the tests' patience");
        String::from_utf8(line).unwrap()
    }

    /// The head and body of one response with a length.
    pub(crate) async fn answer(&mut self) -> Answer {
        timeout(PATIENCE, read_answer(&mut self.0))
            .await
            .expect("the server answers within the tests' patience")
    }
}

async fn read_answer(stream: &mut TcpStream) -> Answer {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        if let Some(answer) = parse(&bytes) {
            return answer;
        }
        let read = stream.read(&mut buffer).await.unwrap();
        assert!(read > 0, "closed amid {:?}", String::from_utf8_lossy(&bytes));
        bytes.extend_from_slice(&buffer[..read]);
    }
}

/// The response in `bytes`, if it is complete.
fn parse(bytes: &[u8]) -> Option<Answer> {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&bytes[..end]).unwrap();
    let mut lines = head.lines();
    let status = lines.next()?.split(' ').nth(1)?.parse().unwrap();
    let headers: HeaderMap = lines
        .map(|line| line.split_once(": ").unwrap())
        .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
        .collect();
    let length: usize = headers.get("content-length")?.to_str().unwrap().parse().unwrap();
    let body = bytes[end + 4..].get(..length)?;
    Some(Answer {
        status,
        headers,
        body: Bytes::copy_from_slice(body),
    })
}
