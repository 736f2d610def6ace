//! A job as JSON, for clients and webhooks.

use bytes::Bytes;
use humantime::format_rfc3339_millis;
use serde::Serialize;

use super::{JobState, Snapshot};
use crate::inference::json_output::{ImageAnswer, VectorEncoding};

/// The body of `GET /v1/jobs/{id}`.
#[derive(Clone, Debug, Serialize)]
pub struct JobView<'a> {
    id: String,
    state: &'static str,
    model: &'a str,
    version: &'a str,
    created: String,
    expires: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    results: Option<Vec<ImageAnswer<'a>>>,
}

impl<'a> JobView<'a> {
    /// Results are shown when all are there.
    #[must_use]
    pub fn new(job: &'a Snapshot) -> Self {
        let state = JobState::of(&job.results);
        let answers = job.results.iter().flatten();
        let results = state.is_final().then(|| {
            answers
                .map(|result| ImageAnswer::new(&job.model, &job.want, result, VectorEncoding::Float))
                .collect()
        });
        Self {
            id: job.ticket.id.to_string(),
            state: state.name(),
            model: &job.model.id.name,
            version: &job.model.id.version,
            created: format_rfc3339_millis(job.ticket.created).to_string(),
            expires: format_rfc3339_millis(job.ticket.expires).to_string(),
            results,
        }
    }
}

impl Snapshot {
    /// The body of a webhook's `tries`th call. The first one logs the causes that the body does not show.
    pub(super) fn webhook_body(&self, tries: u32) -> serde_json::Result<Bytes> {
        for (image, result) in self.results.iter().flatten().enumerate() {
            if let Err(error) = result
                && let Some(cause) = error.cause()
                && tries == 1
            {
                let (job, model) = (self.ticket.id, &self.model.id.name);
                tracing::error!(%job, model, image, %cause, "job failed");
            }
        }
        serde_json::to_vec(&JobView::new(self)).map(Bytes::from)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::{Duration, SystemTime};

    use super::*;
    use crate::async_jobs::JobTicket;
    use crate::error::Error;
    use crate::models::served_model;
    use crate::models::served_model::ServedModel;
    use crate::output::params::OutputParams;
    use crate::output::postprocess::{Class, Output, Prediction};
    use crate::output::timing::Phases;
    use crate::queue::job::{JobId, Scored};

    #[test]
    fn results_are_shown_when_all_are_there() {
        let (model, _) = ServedModel::split(served_model::builtin().expect("it is valid"));
        let want = OutputParams::default().classes(&model).expect("it has classes");
        let created = SystemTime::UNIX_EPOCH + Duration::from_millis(1_500);
        let mut job = Snapshot {
            ticket: JobTicket {
                id: JobId(7),
                created,
                expires: created + Duration::from_secs(60),
            },
            model: Arc::new(model),
            want,
            results: vec![None, Some(Err(Error::InvalidImage("it is empty".to_owned())))],
        };
        let json = |job: &Snapshot| serde_json::to_string(&JobView::new(job)).expect("it is JSON");
        insta::assert_snapshot!(json(&job), @r#"{"id":"00000000000000000000000000000007","state":"running","model":"efficientnet-lite0","version":"1","created":"1970-01-01T00:00:01.500Z","expires":"1970-01-01T00:01:01.500Z"}"#);
        job.results[0] = Some(Ok(Scored {
            outcome: Output::Classes(vec![Prediction {
                class: Class::Index(162),
                probability: 0.5,
            }]),
            phases: Phases::default(),
        }));
        insta::assert_snapshot!(json(&job), @r#"{"id":"00000000000000000000000000000007","state":"done","model":"efficientnet-lite0","version":"1","created":"1970-01-01T00:00:01.500Z","expires":"1970-01-01T00:01:01.500Z","results":[{"predictions":[{"label":"beagle","index":162,"probability":0.5}]},{"error":"it is empty","code":"invalid_image"}]}"#);
    }
}
