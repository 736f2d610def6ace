//! Reads the replies to this web process and answers the requests that wait for them.

use std::time::Duration;

use super::state::ProducerState;
use crate::queue::job::{JobCost, JobError, Reply};
use crate::queue::redis::{entries, keys};
use crate::queue::wire;

const BLOCK: Duration = Duration::from_secs(1);

const READ_REPLIES: usize = 64;

/// Between attempts to read replies while Redis cannot be used.
const PAUSE: Duration = Duration::from_millis(100);

pub(super) async fn listen(shared: &ProducerState) {
    let link = &shared.replies;
    let key = keys::replies(&shared.config.prefix, &shared.config.name);
    let mut read_before: Vec<String> = Vec::new();
    loop {
        let mut read = ::redis::cmd("XREAD");
        read.arg("COUNT")
            .arg(READ_REPLIES)
            .arg("BLOCK")
            .arg(BLOCK.as_millis() as u64)
            .arg("STREAMS")
            .arg(&key)
            // From the start, because replies that were read are deleted. So no jump of a clock can hide a reply.
            .arg("0-0");
        let mut delete = ::redis::cmd("XDEL");
        delete.arg(&key).arg(&read_before);
        let answer = if read_before.is_empty() {
            link.query(&read).await
        } else {
            // Sent together and executed in this order.
            let (deleted, answer) = tokio::join!(link.query::<i64>(&delete), link.query(&read));
            deleted.and(answer)
        };
        match answer {
            Ok(value) => {
                let read = entries::streams(value)
                    .into_iter()
                    .flat_map(|(_, entries)| entries);
                read_before = read.map(|entry| deliver(shared, entry)).collect();
            }
            Err(error) => {
                tracing::debug!(%error, "cannot read replies");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// Answers the request of a reply, and returns the reply's entry.
fn deliver(shared: &ProducerState, mut entry: entries::StreamEntry) -> String {
    match wire::decode_reply(&entry.take("r").unwrap_or_default()) {
        Ok(received) => {
            if !shared.pending.answer(received.id, received.reply) {
                shared.metrics.orphaned_replies.inc();
                tracing::debug!(job = %received.id, worker = received.worker, "a reply came too late");
            }
        }
        Err((error, id)) => {
            shared.metrics.count_refused("reply");
            tracing::warn!(%error, entry = entry.id, "cannot read a reply");
            if let Some(id) = id {
                let reply = Reply {
                    result: Err(JobError::Incompatible),
                    cost: JobCost::default(),
                };
                shared.pending.answer(id, reply);
            }
        }
    }
    entry.id
}
