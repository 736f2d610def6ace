//! What to send, where, how fast and for how long. Checked here in full before a connection opens.

use std::sync::Arc;
use std::time::Duration;

use http::Uri;
use tokio_rustls::rustls::ClientConfig;

use crate::error::BenchError;
use crate::photo::Photo;
use crate::url::check_url;

/// The most connections a benchmark may hold at once.
pub const MAX_CONNECTIONS: usize = 16_384;

pub const MAX_REQUESTS: u64 = 1_000_000_000;

/// The highest rate of an open loop, in requests per second.
pub const MAX_RATE: f64 = 1_000_000.0;

/// The lowest rate of an open loop, in requests per second.
pub const MIN_RATE: f64 = 0.001;

/// The longest duration, warm-up or request timeout.
pub const MAX_DURATION: Duration = Duration::from_hours(24);

#[derive(Debug, Clone)]
pub struct BenchConfig {
    /// Where to post, for example `http://127.0.0.1:5000/predict`. An address without a path means
    /// `/predict`, one without a scheme means `http`. HTTP/1.1 is spoken, and TLS below it for `https`.
    pub url: Uri,
    /// How to speak TLS. Required for `https` addresses, and not used for others.
    pub tls: Option<Arc<ClientConfig>>,
    /// The photos, sent in turn. At least one.
    pub photos: Vec<Photo>,
    pub body: BodyForm,
    pub load: Load,
    pub stop: Stop,
    /// Load before the measurement, excluded from every figure. Zero for none.
    pub warmup: Duration,
    /// A request without its whole answer after this time, counted from the moment it is really sent
    /// (connecting included), fails as [`FailureKind::Timeout`](crate::FailureKind::Timeout).
    pub request_timeout: Duration,
    /// The most connections an open loop opens. Requests due beyond that wait, and their wait counts as
    /// latency. A closed loop has as many as its concurrency.
    pub max_connections: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyForm {
    /// `multipart/form-data` with one part `image`, as the tutorial's client sends it.
    Multipart,
    /// The photo's bytes as they are, under its own media type.
    Raw,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Load {
    /// Each of `concurrency` clients sends its next request when the last one is answered.
    Closed {
        /// The number of clients, each with one kept-alive connection.
        concurrency: usize,
    },
    /// Requests start evenly spaced, whatever becomes of the earlier ones.
    Open { rate: f64 },
}

/// When the measurement ends. Requests in flight at that moment are waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    Requests(u64),
    /// This long after the warm-up.
    Duration(Duration),
}

impl BenchConfig {
    /// The stress test of the 2018 tutorial "Keras + Redis + Flask" (`stress_test.py`): 500 requests
    /// started 0.05 s apart, a multipart photo each. Its thread per request is here an open loop at 20
    /// requests per second with a connection for each if need be.
    #[must_use]
    pub fn tutorial(url: Uri, photos: Vec<Photo>) -> Self {
        const REQUESTS: u16 = 500;
        const STARTS_PER_SECOND: f64 = 20.0;
        Self {
            url,
            tls: None,
            photos,
            body: BodyForm::Multipart,
            load: Load::Open {
                rate: STARTS_PER_SECOND,
            },
            stop: Stop::Requests(u64::from(REQUESTS)),
            warmup: Duration::ZERO,
            request_timeout: Duration::from_mins(1),
            max_connections: usize::from(REQUESTS),
        }
    }

    /// Checks every setting against its limits.
    ///
    /// # Errors
    ///
    /// The first setting that is wrong, with what it may be.
    pub fn validate(&self) -> Result<(), BenchError> {
        check_url(&self.url, self.tls.is_some())?;
        if self.photos.is_empty() {
            return Err(BenchError::NoPhotos);
        }
        match self.load {
            Load::Closed { concurrency } => check_connections("concurrency", concurrency)?,
            Load::Open { rate } => {
                if !(MIN_RATE..=MAX_RATE).contains(&rate) {
                    let allowed =
                        format!("give a number of requests per second from {MIN_RATE} to {MAX_RATE}");
                    return Err(setting("rate", &rate, allowed));
                }
                check_connections("max_connections", self.max_connections)?;
            }
        }
        match self.stop {
            Stop::Requests(requests) if requests == 0 || requests > MAX_REQUESTS => {
                let allowed = format!("give a count from 1 to {MAX_REQUESTS}");
                return Err(setting("requests", &requests, allowed));
            }
            Stop::Requests(_) => {}
            Stop::Duration(duration) => check_duration("duration", duration, false)?,
        }
        check_duration("warmup", self.warmup, true)?;
        check_duration("request_timeout", self.request_timeout, false)
    }
}

fn check_connections(name: &'static str, value: usize) -> Result<(), BenchError> {
    if (1..=MAX_CONNECTIONS).contains(&value) {
        return Ok(());
    }
    Err(setting(
        name,
        &value,
        format!("give a count from 1 to {MAX_CONNECTIONS}"),
    ))
}

fn check_duration(name: &'static str, value: Duration, zero_is_fine: bool) -> Result<(), BenchError> {
    if value <= MAX_DURATION && (zero_is_fine || value > Duration::ZERO) {
        return Ok(());
    }
    let from = if zero_is_fine { "from 0" } else { "above 0 and" };
    let hours = MAX_DURATION.as_secs() / 3600;
    Err(setting(
        name,
        &format!("{value:?}"),
        format!("give a time {from} up to {hours} hours"),
    ))
}

fn setting(setting: &'static str, value: &impl ToString, allowed: String) -> BenchError {
    BenchError::Setting {
        setting,
        value: value.to_string(),
        allowed,
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn tutorial() -> BenchConfig {
        let photo = Photo {
            name: "dog.jpg".to_owned(),
            bytes: Bytes::from_static(b"dog"),
        };
        BenchConfig::tutorial(Uri::from_static("http://localhost:5000"), vec![photo])
    }

    #[test]
    fn the_tutorial_starts_500_requests_50_ms_apart() {
        let config = tutorial();
        config.validate().unwrap();
        assert_eq!(
            (config.load, config.stop),
            (Load::Open { rate: 20.0 }, Stop::Requests(500))
        );
        assert_eq!((config.body, config.max_connections), (BodyForm::Multipart, 500));
    }

    #[test]
    fn each_setting_has_limits() {
        type Change = fn(&mut BenchConfig);
        let cases: [(&str, Change); 13] = [
            ("TLS", |c| c.url = Uri::from_static("https://h")),
            ("no photo", |c| c.photos.clear()),
            ("concurrency is 0", |c| c.load = Load::Closed { concurrency: 0 }),
            ("concurrency is 16385", |c| {
                c.load = Load::Closed {
                    concurrency: MAX_CONNECTIONS + 1,
                }
            }),
            ("rate is 0", |c| c.load = Load::Open { rate: 0.0 }),
            ("rate is NaN", |c| c.load = Load::Open { rate: f64::NAN }),
            ("rate is inf", |c| c.load = Load::Open { rate: f64::INFINITY }),
            ("max_connections is 0", |c| c.max_connections = 0),
            ("requests is 0", |c| c.stop = Stop::Requests(0)),
            ("duration is 0ns", |c| c.stop = Stop::Duration(Duration::ZERO)),
            ("duration is 86401s", |c| {
                c.stop = Stop::Duration(MAX_DURATION + Duration::from_secs(1));
            }),
            ("warmup is 86401s", |c| {
                c.warmup = MAX_DURATION + Duration::from_secs(1);
            }),
            ("request_timeout is 0ns", |c| c.request_timeout = Duration::ZERO),
        ];
        for (expected, change) in cases {
            let mut config = tutorial();
            change(&mut config);
            let error = config.validate().unwrap_err().to_string();
            assert!(error.contains(expected), "{expected}: {error}");
        }
    }

    #[test]
    fn the_limits_themselves_are_allowed() {
        let mut config = tutorial();
        config.load = Load::Closed {
            concurrency: MAX_CONNECTIONS,
        };
        config.max_connections = 0;
        config.stop = Stop::Duration(MAX_DURATION);
        config.warmup = MAX_DURATION;
        config.request_timeout = MAX_DURATION;
        config.validate().unwrap();
    }
}
