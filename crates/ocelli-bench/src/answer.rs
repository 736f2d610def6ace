//! Judges an answer: did the server classify the photo?
//!
//! Knows the bodies of `POST /predict` (`success`) and `POST /v1/models/{model}/predict` (`results`), and
//! the one error body. The whole body is parsed, for half an answer must not count as one; at a few
//! hundred bytes that costs about a microsecond.

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;

use crate::failure::{Failed, Failure, FailureKind};

/// A message is kept up to this many characters.
const MAX_MESSAGE_CHARS: usize = 300;

#[derive(Deserialize)]
struct AnswerBody {
    success: Option<bool>,
    results: Option<Vec<ResultItem>>,
}

#[derive(Deserialize)]
struct ResultItem {
    error: Option<IgnoredAny>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ErrorBody {
    code: Value,
    error: Value,
    message: Value,
    detail: Value,
}

impl ErrorBody {
    /// The message, under one of the names that it has in Ocelli, TorchServe and FastAPI.
    fn message(&self) -> Option<&str> {
        [&self.error, &self.message, &self.detail]
            .into_iter()
            .find_map(Value::as_str)
    }
}

/// Accepts status 200 with `"success": true`, or with at least one result and no error among them.
pub(crate) fn judge(status: u16, body: &[u8]) -> Result<(), Failed> {
    let failed = |failure: fn(u16, Option<&str>) -> Failure| {
        let error = serde_json::from_slice::<ErrorBody>(body);
        let message = match &error {
            Ok(error) => error.message().map(shorten),
            Err(_) => Some(shorten(&String::from_utf8_lossy(body))),
        };
        let code = error.as_ref().ok().and_then(|error| error.code.as_str());
        Failed {
            failure: failure(status, code),
            message: message.filter(|message| !message.is_empty()),
        }
    };
    if status != 200 {
        return Err(failed(Failure::status));
    }
    let good = match serde_json::from_slice::<AnswerBody>(body) {
        Ok(AnswerBody {
            success: Some(success),
            ..
        }) => success,
        Ok(AnswerBody {
            results: Some(results),
            ..
        }) => !results.is_empty() && results.iter().all(|result| result.error.is_none()),
        Ok(_) | Err(_) => false,
    };
    if good {
        Ok(())
    } else {
        Err(failed(|_, _| Failure::new(FailureKind::BadAnswer)))
    }
}

/// The beginning of a text, in one line.
fn shorten(text: &str) -> String {
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    words.chars().take(MAX_MESSAGE_CHARS).collect()
}

/// The metrics of a `Server-Timing` header with their durations in milliseconds, as the W3C
/// recommendation "Server Timing" writes them: `decode;dur=1.3, queue;desc="in line";dur=0.2`. Metrics
/// without a usable duration are left out.
pub(crate) fn server_timings(header: &str) -> impl Iterator<Item = (&str, f64)> {
    header.split(',').filter_map(|metric| {
        let mut parts = metric.split(';').map(str::trim);
        let name = parts.next().filter(|name| !name.is_empty())?;
        let duration = parts.find_map(|parameter| {
            let (key, value) = parameter.split_once('=')?;
            key.trim()
                .eq_ignore_ascii_case("dur")
                .then(|| value.trim().trim_matches('"'))
        })?;
        let duration: f64 = duration.parse().ok()?;
        (duration.is_finite() && duration >= 0.0).then_some((name, duration))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn good_answers_of_both_routes_pass() {
        for body in [
            r#"{"success":true,"predictions":[{"label":"beagle","probability":0.9}]}"#,
            r#"{ "predictions": [], "success": true }"#,
            r#"{"model":"m","results":[{"predictions":[]},{"predictions":[],"error":null}]}"#,
        ] {
            assert_eq!(judge(200, body.as_bytes()), Ok(()), "{body}");
        }
    }

    #[test]
    fn wrong_answers_with_status_200_are_bad() {
        for body in [
            "",
            "OK",
            "{}",
            "[true]",
            r#"{"success":false}"#,
            r#"{"success":"true"}"#,
            r#"{"success":true"#,
            r#"{"success":true} trailing"#,
            r#"{"nested":{"success":true}}"#,
            r#"{"success":false,"results":[{}]}"#,
            r#"{"results":[]}"#,
            r#"{"results":[{"predictions":[]},{"error":"not an image"}]}"#,
            r#"{"results":"none"}"#,
        ] {
            let failed = judge(200, body.as_bytes()).unwrap_err();
            assert_eq!(failed.failure, Failure::new(FailureKind::BadAnswer), "{body}");
        }
    }

    #[test]
    fn other_statuses_fail_with_the_servers_code() {
        let failure = |status, body: &[u8]| judge(status, body).unwrap_err().failure;
        let body = br#"{"success":false,"error":"the queue is full","code":"queue_full"}"#;
        assert_eq!(failure(429, body), Failure::status(429, Some("queue_full")));
        assert_eq!(failure(502, b"<html>"), Failure::status(502, None));
        assert_eq!(failure(201, br#"{"success":true}"#), Failure::status(201, None));
    }

    #[test]
    fn the_message_of_a_body_is_found() {
        let message = |body: &str| judge(404, body.as_bytes()).unwrap_err().message;
        for (body, expected) in [
            (
                r#"{"error":"no such path","code":"unknown_route"}"#,
                "no such path",
            ),
            (r#"{"code":404,"type":"x","message":"no model"}"#, "no model"),
            (r#"{"error":{"message":1},"detail":"Not Found"}"#, "Not Found"),
            ("<h1>Not\n  Found</h1>\n", "<h1>Not Found</h1>"),
        ] {
            assert_eq!(message(body).as_deref(), Some(expected), "{body}");
        }
        assert_eq!(message(""), None);
        assert_eq!(message("{}"), None);
        assert_eq!(message(&"é".repeat(1000)), Some("é".repeat(MAX_MESSAGE_CHARS)));
    }

    #[test]
    fn a_long_code_is_cut() {
        let body = format!(r#"{{"code":"{}"}}"#, "é".repeat(1000));
        let code = judge(500, body.as_bytes()).unwrap_err().failure.code.unwrap();
        assert_eq!(code.chars().count(), 64);
    }

    #[test]
    fn server_timing_gives_names_and_milliseconds() {
        let header = r#"decode;dur=1.25, queue;desc="in line";DUR="0.5",infer ; dur = 3, cache, bad;dur=x, neg;dur=-1, ;dur=1"#;
        let timings: Vec<_> = server_timings(header).collect();
        assert_eq!(timings, [("decode", 1.25), ("queue", 0.5), ("infer", 3.0)]);
    }
}
