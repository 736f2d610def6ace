//! The access log: one line for each request, written when its client has read the response or left. Where the line would not
//! be logged there is no [`AccessLine`].

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use axum::http::{HeaderValue, Method, Request};
use parking_lot::Mutex;
use tracing::Level;

use crate::models::served_model::ServedModel;
use crate::output::timing::Phases;
use crate::process::telemetry::ACCESS;

/// The longest path that is written whole.
const PATH_LENGTH: usize = 256;

/// What is known of a request. It is written when the last reference is dropped, however the request ends.
#[derive(Debug)]
pub(crate) struct AccessLine {
    /// Whether it is written at every log level.
    wanted: bool,
    begun: Instant,
    method: Method,
    path: String,
    client: Option<SocketAddr>,
    facts: Mutex<Facts>,
}

#[derive(Debug, Default)]
pub(super) struct Facts {
    /// The status and the error code; `None` for a client that left earlier.
    pub(super) outcome: Option<(u16, &'static str)>,
    pub(super) request_id: Option<HeaderValue>,
    pub(super) model: Option<Arc<ServedModel>>,
    pub(super) images: Option<usize>,
    pub(super) bytes: u64,
    pub(super) phases: Option<Phases>,
    /// Bytes of the response's body, and how many of them the client did not read.
    pub(super) response: Option<(u64, u64)>,
}

impl AccessLine {
    /// The line of a request, if it is `wanted` or the log shows debug lines.
    pub(super) fn begin<B>(
        wanted: bool,
        request: &Request<B>,
        client: impl FnOnce() -> Option<SocketAddr>,
    ) -> Option<Arc<Self>> {
        if !wanted && !tracing::enabled!(target: ACCESS, Level::DEBUG) {
            return None;
        }
        Some(Arc::new(Self {
            wanted,
            begun: Instant::now(),
            method: request.method().clone(),
            path: shown(request.uri().path()),
            client: client(),
            facts: Mutex::default(),
        }))
    }

    pub(super) fn note(&self, add: impl FnOnce(&mut Facts)) {
        add(&mut self.facts.lock());
    }

    /// When the client left, unless it got the whole response.
    fn aborted(&self, facts: &Facts) -> Option<&'static str> {
        match facts.response {
            None => Some("before the response"),
            // The body of a response to HEAD is never sent.
            Some((_, unsent)) if unsent > 0 && self.method != Method::HEAD => Some("during the response"),
            Some(_) => None,
        }
    }
}

impl Drop for AccessLine {
    fn drop(&mut self) {
        let facts = self.facts.lock();
        let phases = facts.phases.map(|phases| phases.milliseconds());
        let phase = |index: usize| phases.map(|phases| phases[index].1);
        let model = facts.model.as_ref().map(|model| &model.id);
        // The level of an event is part of its place in the code.
        macro_rules! write_at {
            ($level:ident) => {
                tracing::$level!(
                    target: ACCESS,
                    method = %self.method,
                    path = %self.path,
                    status = facts.outcome.map(|(status, _)| status),
                    code = facts.outcome.map(|(_, code)| tracing::field::display(code)),
                    model = model.map(|id| id.name.as_str()),
                    version = model.map(|id| id.version.as_str()),
                    images = facts.images,
                    bytes = facts.bytes,
                    response_bytes = facts.response.map(|(length, unsent)| length - unsent),
                    ms = milliseconds(self.begun),
                    receive_ms = phase(0),
                    wait_ms = phase(1),
                    decode_ms = phase(2),
                    queue_ms = phase(3),
                    fill_ms = phase(4),
                    infer_ms = phase(5),
                    request_id = facts.request_id.as_ref().and_then(|id| id.to_str().ok()).map(tracing::field::display),
                    client = self.client.map(tracing::field::display),
                    aborted = self.aborted(&facts),
                    "request"
                )
            };
        }
        if self.wanted {
            write_at!(info);
        } else {
            write_at!(debug);
        }
    }
}

fn milliseconds(since: Instant) -> f64 {
    (since.elapsed().as_secs_f64() * 1e6).round() / 1e3
}

/// A path for the log: short, without spaces and control characters. The query is not logged, because clients put secrets
/// there.
fn shown(path: &str) -> String {
    let mut shown = String::with_capacity(path.len().min(PATH_LENGTH));
    for byte in path.bytes() {
        if shown.len() >= PATH_LENGTH {
            shown.push_str("...");
            break;
        }
        if byte.is_ascii_graphic() {
            shown.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(shown, "%{byte:02X}");
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_one_short_word() {
        assert_eq!(shown("/v1/models/a%0Ab"), "/v1/models/a%0Ab");
        assert_eq!(
            shown("/a b\n\x1b[31m\u{202e}\u{e9}"),
            "/a%20b%0A%1B[31m%E2%80%AE%C3%A9"
        );
        let long = shown(&"x".repeat(70_000));
        assert_eq!(long, format!("{}...", "x".repeat(PATH_LENGTH)));
        assert_eq!(shown(&"x".repeat(PATH_LENGTH)).len(), PATH_LENGTH);
        assert!(shown(&"\n".repeat(1000)).len() < PATH_LENGTH + 6);
    }

    #[test]
    fn nothing_is_collected_where_nothing_is_logged() {
        let request = Request::new(());
        let client = || -> Option<SocketAddr> { unreachable!("the client's address costs a system call") };
        assert!(AccessLine::begin(false, &request, client).is_none());
        assert!(AccessLine::begin(true, &request, || None).is_some());
    }

    #[test]
    fn a_client_that_left_is_told_from_one_that_has_its_response() {
        let line = |method: Method| {
            let request = Request::builder().method(method).body(()).expect("a request");
            AccessLine::begin(true, &request, || None).expect("a line")
        };
        let aborted = |method: Method, response| {
            let facts = Facts {
                response,
                ..Facts::default()
            };
            line(method).aborted(&facts)
        };
        assert_eq!(aborted(Method::GET, None), Some("before the response"));
        assert_eq!(aborted(Method::GET, Some((9, 4))), Some("during the response"));
        assert_eq!(aborted(Method::GET, Some((9, 0))), None);
        assert_eq!(aborted(Method::HEAD, Some((9, 9))), None);
    }
}
