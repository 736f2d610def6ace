//! From a record in Redis to a job.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::async_jobs::{JobTicket, Snapshot};
use crate::error::Error;
use crate::models::served_model::ServedModel;
use crate::output::postprocess::OutputRequest;
use crate::queue::job::{JobId, Scored, scored};
use crate::queue::redis::Record;
use crate::queue::wire;

pub(super) fn ticket(id: JobId, record: &Record) -> JobTicket {
    JobTicket::new(id, record.created_us, Duration::from_millis(record.asked.keep_ms))
}

impl JobTicket {
    pub(super) fn new(id: JobId, created_us: u64, keep: Duration) -> Self {
        let created = SystemTime::UNIX_EPOCH + Duration::from_micros(created_us);
        Self {
            id,
            created,
            expires: created + keep,
        }
    }
}

/// Parts without a reply at the deadline have failed.
pub(super) fn snapshot(id: JobId, record: &Record, model: Arc<ServedModel>) -> Snapshot {
    let timeout = Duration::from_millis(record.asked.timeout_ms);
    let late = record.now_us >= record.deadline_us;
    let want = record.asked.want(&model);
    let bad: HashMap<u32, &str> = record
        .asked
        .bad
        .iter()
        .map(|bad| (bad.part, bad.error.as_str()))
        .collect();
    let result = |part| -> Option<Result<Scored, Error>> {
        if let Some(error) = bad.get(&part) {
            return Some(Err(Error::InvalidImage((*error).to_owned())));
        }
        match record.replies.get(&part) {
            Some(frame) => Some(answer(frame, record, (&model, &want))),
            None => late.then_some(Err(Error::DeadlineExceeded(timeout))),
        }
    };
    Snapshot {
        ticket: ticket(id, record),
        results: (0..record.asked.parts).map(result).collect(),
        want,
        model,
    }
}

fn answer(
    frame: &[u8],
    record: &Record,
    (model, want): (&ServedModel, &OutputRequest),
) -> Result<Scored, Error> {
    let received = wire::decode_reply(frame).map_err(|(error, _)| Error::internal(error))?;
    let timeout = Duration::from_millis(record.asked.timeout_ms);
    scored(model, received.reply, want, timeout)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::async_jobs::JobState;
    use crate::models::served_model;
    use crate::output::postprocess::Output;
    use crate::queue::job::{JobCost, Reply};
    use crate::queue::wire::{BadImage, JobRecord, QueuedParts};

    #[test]
    fn parts_without_a_reply_wait_until_the_deadline_and_not_longer() {
        let (model, _) = ServedModel::split(served_model::builtin().expect("it is valid"));
        let model = Arc::new(model);
        let reply = Reply {
            result: Ok(vec![Output::Classes(Vec::new())]),
            cost: JobCost::default(),
        };
        let good = wire::encode_reply(JobId(1), &reply, "worker");
        let record = |now_us, replies: &[(u32, &[u8])]| Record {
            asked: JobRecord {
                parts: 3,
                top_k: 1,
                timeout_ms: 5,
                bad: vec![BadImage {
                    part: 1,
                    error: "bad".to_owned(),
                }],
                ..JobRecord::default()
            },
            created_us: 1_000,
            deadline_us: 6_000,
            now_us,
            queued: QueuedParts::default(),
            accepted: true,
            webhook: String::new(),
            replies: replies
                .iter()
                .map(|(part, frame)| (*part, frame.to_vec()))
                .collect::<HashMap<_, _>>(),
        };
        let codes = |record: &Record| {
            let job = snapshot(JobId(1), record, Arc::clone(&model));
            let codes: Vec<&str> = job
                .results
                .iter()
                .map(|result| match result {
                    None => "none",
                    Some(Ok(_)) => "ok",
                    Some(Err(error)) => error.status().code,
                })
                .collect();
            (codes, JobState::of(&job.results))
        };
        let some = [(0, &good[..])];
        assert_eq!(
            codes(&record(5_999, &some)),
            (vec!["ok", "invalid_image", "none"], JobState::Running)
        );
        assert_eq!(
            codes(&record(6_000, &some)),
            (vec!["ok", "invalid_image", "deadline_exceeded"], JobState::Done)
        );
        assert_eq!(
            codes(&record(6_000, &[])),
            (
                vec!["deadline_exceeded", "invalid_image", "deadline_exceeded"],
                JobState::Failed
            )
        );
        let garbage = [(0, &b"garbage"[..]), (2, &good[..])];
        assert_eq!(
            codes(&record(1_000, &garbage)),
            (vec!["internal", "invalid_image", "ok"], JobState::Done)
        );
    }
}
