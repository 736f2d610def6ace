//! The two native prediction routes: requests translated into the one path, its results into JSON.

use std::sync::Arc;

use axum::extract::{Path, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderName, HeaderValue};
use axum::response::Response;
use serde::{Deserialize, Serialize};

use super::AppState;
use super::answer::to_json;
use super::asking::{Asked, Door, Order, arrival, ask, deadline, parameters};
use crate::error::Error;
use crate::model::ServedModel;
use crate::results::{ImageAnswer, LabelledPrediction, labelled};
use crate::timing::Phases;

/// Where the time went (W3C Server Timing).
const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");

/// The names of [`Parameters`].
const PARAMETERS: &str = "top_k and model";

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Parameters {
    top_k: Option<String>,
    model: Option<String>,
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

/// `POST /predict`: the tutorial's route, for exactly one image.
pub(super) async fn predict(State(state): State<AppState>, request: Request) -> Result<Response, Error> {
    let (parts, _) = request.into_parts();
    let parameters: Parameters = parameters(&parts, PARAMETERS)?;
    let model = state.infer.catalog.find(parameters.model.as_deref())?;
    let order = order(&state, &parts, model, parameters.top_k, 1)?;
    let Asked { request, images } = ask(&state, &parts, order).await?;
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
    let parameters: Parameters = parameters(&parts, PARAMETERS)?;
    if parameters.model.is_some() {
        return Err(Error::InvalidRequest(
            "the path names the model; leave out the parameter 'model'".to_owned(),
        ));
    }
    let model = state.infer.catalog.find(Some(&name))?;
    let order = order(&state, &parts, model, parameters.top_k, state.config.max_images)?;
    let Asked { request, images } = ask(&state, &parts, order).await?;
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
        .map(|result| ImageAnswer::new(&request.model, result))
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

/// What is asked of [`ask`] by a client that waits for the answer.
fn order(
    state: &AppState,
    parts: &Parts,
    model: Arc<ServedModel>,
    top_k: Option<String>,
    most: usize,
) -> Result<Order, Error> {
    let deadline = deadline(
        arrival(parts),
        &parts.headers,
        (state.config.deadline, state.config.max_deadline, "--max-deadline"),
    )?;
    Ok(Order {
        model,
        top_k,
        most,
        deadline,
        reading: deadline,
        door: Door::Now,
    })
}

fn answer(body: &impl Serialize, phases: &Phases) -> Result<Response, Error> {
    let mut response = to_json(body)?;
    if let Ok(timing) = HeaderValue::try_from(phases.server_timing()) {
        response.headers_mut().insert(SERVER_TIMING, timing);
    }
    Ok(response)
}
