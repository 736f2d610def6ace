//! The native prediction routes: requests translated into the one path, its results into JSON.

use std::borrow::Cow;

use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderName, HeaderValue};
use axum::response::Response;
use serde::Serialize;

use super::AppState;
use super::access_log::note;
use super::image_body::Most;
use super::info::Named;
use super::path::Path;
use super::query::{Accepts, Parameters};
use super::request::{AdmitWhen, AdmittedRequest, Found, ReadPlan, arrival, ask, deadline};
use super::response::to_json;
use crate::error::Error;
use crate::inference::json_output::{ImageAnswer, VectorEncoding};
use crate::output::postprocess::Output;
use crate::output::timing::Phases;

/// Where the time went (W3C Server Timing).
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
pub(super) async fn predict(State(state): State<AppState>, request: Request) -> Result<Response, Error> {
    let (parts, _) = request.into_parts();
    let parameters = Parameters::of(&parts, Accepts::PREDICT)?;
    let find = || {
        let model = state.infer.catalog.find(parameters.model.as_deref())?;
        let want = parameters.params.classes(&model)?;
        Ok((model, want))
    };
    let order = order(&state, &parts, find, Most::One)?;
    let AdmittedRequest { request, images } = ask(&state, &parts, order).await?;
    let scored = state
        .infer
        .run(&request, images)
        .await
        .pop()
        .unwrap_or(Err(Error::Internal))?;
    let predictions = match &scored.outcome {
        Output::Classes(predictions) => predictions.as_slice(),
        Output::Vector(_) => &[],
    };
    let labels = request.envelope.model.labels_of(request.want.output);
    let predictions = predictions.iter().map(|prediction| TutorialPrediction {
        label: prediction.class.label(labels),
        probability: prediction.probability,
    });
    answer(
        &parts,
        &TutorialAnswer {
            success: true,
            predictions: predictions.collect(),
        },
        &scored.phases,
    )
}

/// `POST /v1/models/{model}/predict`, with or without a version: one or many images, each of which succeeds or fails alone.
pub(super) async fn predict_many(
    State(state): State<AppState>,
    Path(named): Path<Named>,
    request: Request,
) -> Result<Response, Error> {
    let (parts, _) = request.into_parts();
    let parameters = Parameters::of(&parts, Accepts::CLASSES)?;
    let find = || {
        let model = named.find(&state.infer.catalog)?;
        let want = parameters.params.classes(&model)?;
        Ok((model, want))
    };
    many(&state, &parts, find, VectorEncoding::default()).await
}

/// `POST /v1/models/{model}/embed`: the same for feature vectors.
pub(super) async fn embed(
    State(state): State<AppState>,
    Path(named): Path<Named>,
    request: Request,
) -> Result<Response, Error> {
    let (parts, _) = request.into_parts();
    let parameters = Parameters::of(&parts, Accepts::VECTORS)?;
    let find = || {
        let model = named.find(&state.infer.catalog)?;
        let want = parameters.params.vector(&model)?;
        Ok((model, want))
    };
    many(&state, &parts, find, parameters.encoding).await
}

async fn many(
    state: &AppState,
    parts: &Parts,
    find: impl Fn() -> Result<Found, Error>,
    encoding: VectorEncoding,
) -> Result<Response, Error> {
    let order = order(state, parts, find, Most::Option(state.config.max_images))?;
    let AdmittedRequest { request, images } = ask(state, parts, order).await?;
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
        .map(|result| ImageAnswer::encoded(&request.envelope.model, &request.want, result, encoding))
        .collect();
    answer(
        parts,
        &PredictResponse {
            model: &request.envelope.model.id.name,
            version: &request.envelope.model.id.version,
            results,
        },
        &phases,
    )
}

/// What is asked of [`ask`] by a client that waits for the answer.
fn order<F>(state: &AppState, parts: &Parts, find: F, most: Most) -> Result<ReadPlan<F>, Error> {
    let deadline = deadline(
        arrival(parts),
        &parts.headers,
        (state.config.deadline, state.config.max_deadline, "--max-deadline"),
    )?;
    Ok(ReadPlan {
        find,
        most,
        deadline,
        door: AdmitWhen::Now,
    })
}

fn answer(parts: &Parts, body: &impl Serialize, phases: &Phases) -> Result<Response, Error> {
    note(parts, |facts| facts.phases = Some(*phases));
    let mut response = to_json(body)?;
    if let Ok(timing) = HeaderValue::try_from(phases.server_timing()) {
        response.headers_mut().insert(SERVER_TIMING, timing);
    }
    Ok(response)
}
