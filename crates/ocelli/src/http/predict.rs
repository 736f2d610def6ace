//! The two native prediction routes: requests translated into the one path, its results into JSON.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::{Path, Query, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::response::Response;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::AppState;
use super::answer::{Arrival, json};
use super::body::{BodySlot, check_declared, grow_permit};
use super::inputs::InputForm;
use crate::error::Error;
use crate::infer::{self, DEFAULT_TOP_K, Deadline, Scored};
use crate::job::Priority;
use crate::model::ServedModel;
use crate::timing::Phases;

/// How long the client wants to wait, in milliseconds from the end of the headers.
const TIMEOUT: HeaderName = HeaderName::from_static("x-timeout-ms");

/// How soon, compared with other requests: `high`, `normal` or `low`.
const PRIORITY: HeaderName = HeaderName::from_static("x-priority");

/// The trace of the request (W3C Trace Context).
const TRACE: HeaderName = HeaderName::from_static("traceparent");

/// Where the time went (W3C Server Timing).
const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Parameters {
    top_k: Option<String>,
    model: Option<String>,
}

/// What one request asks for, whatever the route.
struct Asked {
    request: infer::Request,
    images: Vec<Bytes>,
}

#[derive(Serialize)]
struct TutorialAnswer<'a> {
    success: bool,
    predictions: Vec<TutorialPrediction<'a>>,
}

#[derive(Serialize)]
struct TutorialPrediction<'a> {
    label: &'a str,
    probability: f32,
}

#[derive(Serialize)]
struct Answer<'a> {
    model: &'a str,
    version: &'a str,
    results: Vec<ImageAnswer<'a>>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum ImageAnswer<'a> {
    Predictions {
        predictions: Vec<LabelledPrediction<'a>>,
    },
    Failure {
        error: String,
        code: &'static str,
    },
}

/// A prediction with its label, as the versioned route and the command line show it.
#[derive(Clone, Debug, Serialize)]
pub struct LabelledPrediction<'a> {
    /// The class's name.
    pub label: &'a str,
    /// The class's index.
    pub index: usize,
    /// The probability, 0 to 1.
    pub probability: f32,
}

/// `POST /predict`: the tutorial's route, for exactly one image.
pub(super) async fn predict(State(state): State<AppState>, request: Request) -> Result<Response, Error> {
    let (parts, _) = request.into_parts();
    let parameters = parameters(&parts)?;
    let model = state.infer.catalog.find(parameters.model.as_deref())?;
    let Asked { request, images } = ask(&state, &parts, model, &parameters, 1).await?;
    let scored = state
        .infer
        .run(&request, images)
        .await
        .pop()
        .unwrap_or(Err(Error::Internal))?;
    let predictions = labelled(&request.model, &scored)
        .into_iter()
        .map(
            |LabelledPrediction {
                 label, probability, ..
             }| TutorialPrediction { label, probability },
        )
        .collect();
    answer(
        &TutorialAnswer {
            success: true,
            predictions,
        },
        &scored.phases,
    )
}

/// `POST /v1/models/{model}/predict`: one or many images, each of which succeeds or fails alone.
pub(super) async fn predict_many(
    State(state): State<AppState>,
    Path(name): Path<String>,
    request: Request,
) -> Result<Response, Error> {
    let (parts, _) = request.into_parts();
    let parameters = parameters(&parts)?;
    if parameters.model.is_some() {
        return Err(Error::InvalidRequest(
            "the path names the model; leave out the parameter 'model'".to_owned(),
        ));
    }
    let model = state.infer.catalog.find(Some(&name))?;
    let Asked { request, images } = ask(&state, &parts, model, &parameters, state.config.max_images).await?;
    let mut results = state.infer.run(&request, images).await;
    // With one image there is nothing to tell apart, so its error is the request's.
    if let [Err(_)] = results.as_slice() {
        return Err(results.pop().and_then(Result::err).unwrap_or(Error::Internal));
    }
    let phases = results
        .iter()
        .flatten()
        .map(|scored| scored.phases)
        .fold(Phases::default(), Phases::max);
    let results = results
        .iter()
        .map(|result| match result {
            Ok(scored) => ImageAnswer::Predictions {
                predictions: labelled(&request.model, scored),
            },
            Err(error) => ImageAnswer::Failure {
                error: error.to_string(),
                code: error.status().code,
            },
        })
        .collect();
    answer(
        &Answer {
            model: &request.model.id.name,
            version: &request.model.id.version,
            results,
        },
        &phases,
    )
}

/// Everything before the images are computed: checks that cost nothing, then room, then the body.
async fn ask(
    state: &AppState,
    parts: &Parts,
    model: Arc<ServedModel>,
    parameters: &Parameters,
    most: usize,
) -> Result<Asked, Error> {
    let arrival = parts
        .extensions
        .get::<Arrival>()
        .map_or_else(Instant::now, |arrival| arrival.0);
    let top_k = top_k(parameters.top_k.as_deref(), model.labels().len())?;
    let deadline = Deadline::new(arrival, timeout(&parts.headers, &state.config)?);
    let priority = priority(&parts.headers)?;
    let form = InputForm::from_headers(&parts.headers)?;
    let body = parts.extensions.get::<BodySlot>().ok_or(Error::Internal)?;
    let declared = check_declared(body.declared_length(), state.config.max_body)?;
    // An image holds its file first and its pixels later, never both for long.
    let tensor = model.input().elements() as u64;
    let mut permit = state.infer.admit(&model, 1, declared.max(tensor))?;
    let bytes = body
        .read(
            state.config.max_body,
            deadline,
            grow_permit(&state.infer, &model, &mut permit),
        )
        .await?;
    let receive = arrival.elapsed();
    let images = form.images(bytes, most).await?;
    if images.len() > 1 {
        let tensors = (images.len() as u64 * tensor).saturating_sub(declared);
        permit
            .grow(images.len() - 1, tensors)
            .map_err(|full| state.infer.refuse(&model, full))?;
    }
    let permit = Arc::new(permit);
    Ok(Asked {
        request: infer::Request {
            model,
            top_k,
            priority,
            trace: trace(&parts.headers),
            deadline,
            permit,
            receive,
        },
        images,
    })
}

fn parameters(parts: &Parts) -> Result<Parameters, Error> {
    match Query::<Parameters>::try_from_uri(&parts.uri) {
        Ok(Query(parameters)) => Ok(parameters),
        Err(rejection) => Err(Error::InvalidRequest(format!(
            "{}; the parameters are top_k and model",
            rejection.body_text()
        ))),
    }
}

/// The number of predictions wanted.
///
/// # Errors
/// [`Error::InvalidRequest`] unless it is a whole number from 1 to the number of classes.
pub fn top_k(text: Option<&str>, classes: usize) -> Result<usize, Error> {
    let Some(text) = text else {
        return Ok(DEFAULT_TOP_K.min(classes));
    };
    text.parse()
        .ok()
        .filter(|top_k| (1..=classes).contains(top_k))
        .ok_or_else(|| {
            Error::InvalidRequest(format!(
                "top_k must be a whole number from 1 to {classes}, the number of classes"
            ))
        })
}

fn timeout(headers: &HeaderMap, config: &super::HttpConfig) -> Result<Duration, Error> {
    let Some(value) = headers.get(TIMEOUT) else {
        return Ok(config.deadline);
    };
    let longest = config.max_deadline;
    let asked = value
        .to_str()
        .ok()
        .and_then(|text| text.trim().parse().ok())
        .map(Duration::from_millis);
    asked
        .filter(|asked| !asked.is_zero() && *asked <= longest)
        .ok_or_else(|| {
            Error::InvalidRequest(format!(
                "X-Timeout-Ms must be a whole number of milliseconds from 1 to {}; see --max-deadline",
                longest.as_millis()
            ))
        })
}

fn priority(headers: &HeaderMap) -> Result<Priority, Error> {
    let Some(value) = headers.get(PRIORITY) else {
        return Ok(Priority::default());
    };
    value
        .to_str()
        .ok()
        .and_then(|text| Priority::from_name(text.trim()))
        .ok_or_else(|| Error::InvalidRequest("X-Priority must be high, normal or low".to_owned()))
}

/// What the trace's header says, as long as W3C Trace Context allows for. One that is not like that is ignored, as the
/// standard asks for.
fn trace(headers: &HeaderMap) -> Option<Arc<str>> {
    const LENGTH: usize = 55;
    let text = headers.get(TRACE)?.to_str().ok()?;
    (text.len() == LENGTH).then(|| text.into())
}

/// Adds labels to predictions.
#[must_use]
pub fn labelled<'a>(model: &'a ServedModel, scored: &Scored) -> Vec<LabelledPrediction<'a>> {
    let labels = model.labels();
    scored
        .predictions
        .iter()
        .map(|prediction| LabelledPrediction {
            label: labels.get(prediction.index).map_or("", String::as_str),
            index: prediction.index,
            probability: prediction.probability,
        })
        .collect()
}

fn answer(body: &impl Serialize, phases: &Phases) -> Result<Response, Error> {
    let body = serde_json::to_vec(body).map_err(|error| {
        tracing::error!(%error, "an answer could not be written as JSON");
        Error::Internal
    })?;
    let mut response = json(body);
    if let Ok(timing) = HeaderValue::try_from(phases.server_timing()) {
        response.headers_mut().insert(SERVER_TIMING, timing);
    }
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn top_k_is_a_whole_number_within_the_classes() {
        assert_eq!(top_k(None, 1000), Ok(5));
        assert_eq!(top_k(None, 3), Ok(3), "a small model has no five classes");
        assert_eq!(top_k(Some("1000"), 1000), Ok(1000));
        for bad in ["0", "1001", "abc", "-1", "1.5", "", "99999999999999999999999"] {
            assert_eq!(
                top_k(Some(bad), 1000).unwrap_err().status().code,
                "invalid_request",
                "{bad}"
            );
        }
    }
}
