//! The native prediction routes: from requests to the one inference path, and from its results to JSON.

use std::borrow::Cow;

use axum::extract::State;
use axum::http::{HeaderName, HeaderValue};
use axum::response::Response;
use serde::Serialize;

use super::AppState;
use super::admit::{AdmitOptions, AdmittedRequest, admit};
use super::image_body::Most;
use super::path::Path;
use super::request::{HttpRequest, deadline};
use super::response::to_json;
use super::target::{AnswerKind, ModelPath, Target};
use crate::error::Error;
use crate::inference::WithoutWorker;
use crate::inference::json_output::ImageAnswer;
use crate::output::postprocess::Output;
use crate::output::timing::Phases;

/// W3C Server Timing.
const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");

#[derive(Serialize)]
struct TutorialAnswer<'a> {
    success: bool,
    predictions: Vec<TutorialPrediction<'a>>,
}

#[derive(Serialize)]
struct TutorialPrediction<'a> {
    label: Cow<'a, str>,
    probability: f32,
}

#[derive(Serialize)]
struct PredictResponse<'a> {
    model: &'a str,
    version: &'a str,
    results: Vec<ImageAnswer<'a>>,
}

/// `POST /predict`: the tutorial's route, for exactly one image.
pub(super) async fn predict(State(state): State<AppState>, http: HttpRequest) -> Result<Response, Error> {
    let target = Target::new(None, &http.head, AnswerKind::Classes)?;
    let AdmittedRequest { request, images } =
        admit(&state, &http, &target, options(&state, &http, Most::One)?).await?;
    let scored = state
        .infer
        .run(&request, images)
        .await
        .pop()
        .unwrap_or_else(|| Err(no_result()))?;
    let predictions = match &scored.outcome {
        Output::Classes(predictions) => predictions.as_slice(),
        Output::Vector(_) => &[],
    };
    let labels = request.envelope.model.labels_of(request.want.output);
    let predictions = predictions.iter().map(|prediction| TutorialPrediction {
        label: prediction.class.label(labels),
        probability: prediction.probability,
    });
    respond(
        &http,
        &TutorialAnswer {
            success: true,
            predictions: predictions.collect(),
        },
        &scored.phases,
    )
}

/// `POST /v1/models/{model}/predict`, with or without a version. Each image succeeds or fails alone.
pub(super) async fn predict_many(
    State(state): State<AppState>,
    Path(model): Path<ModelPath>,
    http: HttpRequest,
) -> Result<Response, Error> {
    let target = Target::new(Some(model), &http.head, AnswerKind::Classes)?;
    many(&state, &http, &target).await
}

/// `POST /v1/models/{model}/embed`: the same for feature vectors.
pub(super) async fn embed(
    State(state): State<AppState>,
    Path(model): Path<ModelPath>,
    http: HttpRequest,
) -> Result<Response, Error> {
    let target = Target::new(Some(model), &http.head, AnswerKind::Vector)?;
    many(&state, &http, &target).await
}

async fn many(state: &AppState, http: &HttpRequest, target: &Target) -> Result<Response, Error> {
    let options = options(state, http, Most::Option(state.config.max_images))?;
    let AdmittedRequest { request, images } = admit(state, http, target, options).await?;
    let mut results = state.infer.run(&request, images).await;
    // The error of the only image is the request's.
    if let [Err(_)] = results.as_slice() {
        return Err(results.pop().and_then(Result::err).unwrap_or_else(no_result));
    }
    http.context.log_each(&results);
    let phases = results
        .iter()
        .flatten()
        .map(|scored| scored.phases)
        .fold(Phases::default(), Phases::max);
    let results = results
        .iter()
        .map(|result| ImageAnswer::new(&request.envelope.model, &request.want, result, target.encoding))
        .collect();
    respond(
        http,
        &PredictResponse {
            model: &request.envelope.model.id.name,
            version: &request.envelope.model.id.version,
            results,
        },
        &phases,
    )
}

/// The admitted images and their results are as many, and there is at least one.
fn no_result() -> Error {
    Error::internal("an image has no result")
}

/// The options of a request whose client waits for the answer.
fn options(state: &AppState, http: &HttpRequest, most: Most) -> Result<AdmitOptions, Error> {
    let config = &state.config;
    let deadline = deadline(http, (config.deadline, config.max_deadline, "--max-deadline"))?;
    Ok(AdmitOptions {
        most,
        deadline,
        without_worker: WithoutWorker::Refuse,
    })
}

fn respond(http: &HttpRequest, body: &impl Serialize, phases: &Phases) -> Result<Response, Error> {
    http.context.note(|facts| facts.phases = Some(*phases));
    let mut response = to_json(body)?;
    if let Ok(timing) = HeaderValue::try_from(phases.server_timing()) {
        response.headers_mut().insert(SERVER_TIMING, timing);
    }
    Ok(response)
}
