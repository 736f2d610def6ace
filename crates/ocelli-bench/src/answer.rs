//! Judges an answer: did the server classify the photo?
//!
//! Knows the bodies of `POST /predict` (`success`) and `POST /v1/models/{model}/predict` (`results`), and
//! the one error body. The whole body is parsed, for half an answer must not count as one; at a few
//! hundred bytes that costs about a microsecond.

use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::failure::{Failure, FailureKind};

#[derive(Deserialize)]
struct AnswerBody {
    success: Option<bool>,
    results: Option<Vec<ResultItem>>,
}

#[derive(Deserialize)]
struct ResultItem {
    error: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct ErrorBody {
    code: Option<String>,
}

/// Accepts status 200 with `"success": true`, or with at least one result and no error among them.
pub(crate) fn judge(status: u16, body: &[u8]) -> Result<(), Failure> {
    if status != 200 {
        let code = serde_json::from_slice::<ErrorBody>(body)
            .ok()
            .and_then(|body| body.code);
        return Err(Failure::status(status, code.as_deref()));
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
        Err(Failure::new(FailureKind::BadAnswer))
    }
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
            assert_eq!(
                judge(200, body.as_bytes()),
                Err(Failure::new(FailureKind::BadAnswer)),
                "{body}"
            );
        }
    }

    #[test]
    fn other_statuses_fail_with_the_servers_code() {
        let body = br#"{"success":false,"error":"the queue is full","code":"queue_full"}"#;
        assert_eq!(judge(429, body), Err(Failure::status(429, Some("queue_full"))));
        assert_eq!(judge(502, b"<html>"), Err(Failure::status(502, None)));
        assert_eq!(
            judge(201, br#"{"success":true}"#),
            Err(Failure::status(201, None))
        );
    }

    #[test]
    fn a_long_code_is_cut() {
        let body = format!(r#"{{"code":"{}"}}"#, "é".repeat(1000));
        let code = judge(500, body.as_bytes()).unwrap_err().code.unwrap();
        assert_eq!(code.chars().count(), 64);
    }

    #[test]
    fn server_timing_gives_names_and_milliseconds() {
        let header = r#"decode;dur=1.25, queue;desc="in line";DUR="0.5",infer ; dur = 3, cache, bad;dur=x, neg;dur=-1, ;dur=1"#;
        let timings: Vec<_> = server_timings(header).collect();
        assert_eq!(timings, [("decode", 1.25), ("queue", 0.5), ("infer", 3.0)]);
    }
}
