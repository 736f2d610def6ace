//! One connection to the server and the exchange of one request for one answer on it.
//!
//! The connection is driven by the future that waits for the answer, not by a task of its own: that saves
//! two wake-ups a request and leaves nothing running when the future is dropped. The price is that a
//! connection closed by the server while idle is only noticed at its next use, where a request that was
//! not sent yet moves to a fresh one.

use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use http::header::HeaderValue;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Incoming};
use hyper::client::conn::http1::{Builder, Connection, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::time::timeout;

use crate::answer::judge;
use crate::failure::{Failed, Failure, FailureKind};
use crate::schedule::Ticket;
use crate::stream::{Stream, connect};
use crate::target::Target;

/// An answer's body may have this many bytes; more is a failure.
pub(crate) const MAX_ANSWER_BYTES: usize = 1 << 20;

/// A connection that is not made within this time fails, even where the request timeout is longer.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// After a failed connection its slot rests this long. The clients of a closed loop would otherwise try
/// again without pause while a server restarts, and take the processor that it needs.
const CONNECT_BACKOFF: Duration = Duration::from_millis(50);

/// A connection without a request on it.
#[derive(Debug)]
pub(crate) struct Link {
    sender: SendRequest<Full<Bytes>>,
    connection: Connection<TokioIo<Stream>, Full<Bytes>>,
    /// Whether it has carried a measured request.
    is_counted: bool,
}

#[derive(Debug)]
pub(crate) struct Exchange {
    pub(crate) ticket: Ticket,
    pub(crate) ended: Instant,
    pub(crate) effort: Effort,
    pub(crate) result: RequestResult,
    /// The connection, where it can carry another request.
    pub(crate) link: Option<Box<Link>>,
}

/// The values of `Server-Timing` of a good answer, or what went wrong.
pub(crate) type RequestResult = Result<Vec<HeaderValue>, Failed>;

/// What a request cost, kept apart from its result because a timeout takes that away.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Effort {
    pub(crate) body_bytes: u64,
    pub(crate) connections_opened: u32,
    /// Connections that carried their first measured request.
    pub(crate) connections_used: u32,
}

/// An result with the connection it came over.
struct Answered {
    result: RequestResult,
    link: Option<Box<Link>>,
}

/// A request of which nothing was sent, so that it may go to another connection.
type Unsent = Box<Request<Full<Bytes>>>;

impl Link {
    /// Connects to the target. Boxed, for a link is large and changes hands often.
    pub(crate) async fn open(target: &Target) -> io::Result<Box<Self>> {
        let connect = connect(&target.addresses, target.tls.as_ref());
        let stream = timeout(CONNECT_TIMEOUT, connect).await??;
        let handshake = Builder::new().handshake(TokioIo::new(stream)).await;
        let (sender, connection) = handshake.map_err(io::Error::other)?;
        Ok(Box::new(Self {
            sender,
            connection,
            is_counted: false,
        }))
    }

    /// Sends `request` and judges the answer.
    async fn send(mut self: Box<Self>, request: Request<Full<Bytes>>) -> Result<Answered, Unsent> {
        let mut closed = false;
        let result = {
            let Self {
                sender, connection, ..
            } = &mut *self;
            let mut work = pin!(answer_to(sender, request));
            poll_fn(|cx| {
                // Work first queues the request, the connection writes it or reads, work takes the answer.
                if let Poll::Ready(answer) = work.as_mut().poll(cx) {
                    return Poll::Ready(answer);
                }
                // The request fails with the reason.
                closed = closed || Pin::new(&mut *connection).poll(cx).is_ready();
                work.as_mut().poll(cx)
            })
            .await?
        };
        let whole = result
            .as_ref()
            .err()
            .is_none_or(|failed| failed.failure.kind.leaves_connection());
        let reusable = whole && !closed && !self.sender.is_closed();
        Ok(Answered {
            result,
            link: reusable.then_some(self),
        })
    }
}

/// Sends the request of `ticket`, on `idle` if there is one, and waits for its whole answer.
pub(crate) async fn exchange(
    target: &Target,
    idle: Option<Box<Link>>,
    ticket: Ticket,
    limit: Duration,
) -> Exchange {
    let mut effort = Effort::default();
    // Dropping the attempt on timeout closes its connection: HTTP/1.1 cannot take a request back.
    let answered = timeout(limit, attempt(target, idle, ticket, &mut effort))
        .await
        .unwrap_or_else(|_| Answered::failed(FailureKind::Timeout));
    let ended = Instant::now();
    if let Err(failed) = &answered.result
        && let FailureKind::Refused | FailureKind::Connect = failed.failure.kind
    {
        tokio::time::sleep(CONNECT_BACKOFF).await;
    }
    Exchange {
        ticket,
        ended,
        effort,
        result: answered.result,
        link: answered.link,
    }
}

async fn attempt(
    target: &Target,
    mut idle: Option<Box<Link>>,
    ticket: Ticket,
    effort: &mut Effort,
) -> Answered {
    let mut request = target.request(ticket.index);
    let body_bytes = request.body().size_hint().exact().unwrap_or(0);
    loop {
        let reused = idle.is_some();
        let mut link = match idle.take() {
            Some(link) => link,
            // Boxed, so that this rare path does not make every request's future larger.
            None => match Box::pin(Link::open(target)).await {
                Ok(link) => link,
                Err(error) => return Answered::failed(connect_failure(&error)),
            },
        };
        *effort = Effort {
            body_bytes,
            connections_opened: u32::from(!reused),
            connections_used: u32::from(ticket.measured && !link.is_counted),
        };
        link.is_counted |= ticket.measured;
        match link.send(request).await {
            Ok(answered) => return answered,
            Err(unsent) if reused => request = *unsent,
            // A new connection that closes before it takes the request: there is no third try.
            Err(_) => return Answered::failed(FailureKind::Cut),
        }
        *effort = Effort::default();
    }
}

impl Answered {
    fn failed(kind: FailureKind) -> Self {
        Self {
            result: Err(Failure::new(kind).into()),
            link: None,
        }
    }
}

async fn answer_to(
    sender: &mut SendRequest<Full<Bytes>>,
    request: Request<Full<Bytes>>,
) -> Result<RequestResult, Unsent> {
    if sender.ready().await.is_err() {
        return Err(Box::new(request));
    }
    let response = match sender.try_send_request(request).await {
        Ok(response) => response,
        Err(mut error) => {
            return match error.take_message() {
                Some(request) => Err(Box::new(request)),
                None => Ok(Err(transport_failure(error.error()).into())),
            };
        }
    };
    Ok(read_answer(response).await)
}

async fn read_answer(response: Response<Incoming>) -> RequestResult {
    let (head, body) = response.into_parts();
    let body = read_body(body).await?;
    judge(head.status.as_u16(), &body)?;
    Ok(head.headers.get_all("server-timing").iter().cloned().collect())
}

/// The whole body. An answer usually fits into one frame, which is then not copied.
async fn read_body(mut body: Incoming) -> Result<Bytes, Failed> {
    let mut first = Bytes::new();
    let mut rest = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| transport_failure(&error))?;
        let Ok(data) = frame.into_data() else { continue };
        if first.len() + rest.len() + data.len() > MAX_ANSWER_BYTES {
            return Err(Failure::new(FailureKind::TooLarge).into());
        }
        if first.is_empty() && rest.is_empty() {
            first = data;
        } else {
            if rest.is_empty() {
                rest.extend_from_slice(&std::mem::take(&mut first));
            }
            rest.extend_from_slice(&data);
        }
    }
    Ok(if rest.is_empty() { first } else { rest.freeze() })
}

fn connect_failure(error: &io::Error) -> FailureKind {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => FailureKind::Refused,
        _ => FailureKind::Connect,
    }
}

fn transport_failure(error: &hyper::Error) -> Failure {
    Failure::new(if error.is_parse() {
        FailureKind::Protocol
    } else {
        FailureKind::Cut
    })
}

#[cfg(test)]
mod tests {
    use http::Uri;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;
    use crate::config::{BenchConfig, Load};
    use crate::photo::Photo;
    use crate::schedule::{Next, Schedule};

    fn config(listener: &TcpListener) -> BenchConfig {
        let url = format!("http://{}", listener.local_addr().unwrap());
        let photo = Photo {
            name: "dog.jpg".to_owned(),
            bytes: Bytes::from_static(b"dog"),
        };
        BenchConfig::tutorial(Uri::try_from(url).unwrap(), vec![photo])
    }

    fn first_ticket(config: &BenchConfig) -> Ticket {
        let load = Load::Closed { concurrency: 1 };
        let now = Instant::now();
        match Schedule::new(load, config.stop, 1, now, Duration::ZERO).next(now, 0) {
            Next::Start(ticket) => ticket,
            next => panic!("expected a start, got {next:?}"),
        }
    }

    /// A server closes an idle connection whenever it likes; that is not a failure of the next request.
    #[tokio::test]
    async fn a_connection_that_was_closed_while_idle_is_replaced() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let config = config(&listener);
        let target = Target::prepare(&config).await.unwrap();
        let idle = Link::open(&target).await.unwrap();
        drop(listener.accept().await.unwrap());
        // What arrives here was sent after the close, so the runtime knows of the close as well.
        let mut witness = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (mut other_end, _) = listener.accept().await.unwrap();
        other_end.write_all(b"!").await.unwrap();
        witness.read_u8().await.unwrap();
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.read_u8().await.unwrap();
            let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 16\r\n\r\n{\"success\":true}";
            stream.write_all(answer).await.unwrap();
            stream.read_to_end(&mut Vec::new()).await.unwrap();
        });
        let exchange = exchange(&target, Some(idle), first_ticket(&config), config.request_timeout).await;
        assert_eq!(exchange.result, Ok(Vec::new()));
        assert_eq!(exchange.effort.connections_opened, 1);
        drop(exchange);
        server.await.unwrap();
    }
}
