//! Answers jobs: first the reply is written, then the job is deleted. If the worker dies in between, another one computes the
//! job again, and the second reply is ignored. While a reply cannot be written, its job stays.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use tokio::sync::mpsc;

use super::lease::{Done, LeasedEntry};
use super::state::ModelState;
use crate::models::priority::Priority;
use crate::queue::job::Reply;
use crate::queue::redis::ack::finish;
use crate::queue::redis::async_jobs::records::{Noted, note_reply};
use crate::queue::redis::async_jobs::webhook_schedule::WebhookSchedule;
use crate::queue::redis::connection::LinkError;
use crate::queue::redis::keys;
use crate::queue::redis::scripts::REPLY;
use crate::queue::wire::{self, ReplyKind};

/// Replies that are sent together.
const TOGETHER: usize = 64;

/// Between attempts to send replies while Redis cannot be used.
const PAUSE: Duration = Duration::from_millis(100);

struct ReplyInFlight {
    task: LeasedEntry,
    frame: Vec<u8>,
    written: bool,
    finished: bool,
}

/// Sends replies until no lease can be completed any more. One that cannot be sent is tried again and does not hold up others.
pub(crate) async fn run(shared: &ModelState, mut done: mpsc::UnboundedReceiver<Done>) {
    let mut ended = Vec::with_capacity(TOGETHER);
    let mut outgoing: Vec<ReplyInFlight> = Vec::new();
    loop {
        let received = if outgoing.is_empty() {
            done.recv_many(&mut ended, TOGETHER).await
        } else {
            tokio::select! {
                received = done.recv_many(&mut ended, TOGETHER) => received,
                () = tokio::time::sleep(PAUSE) => usize::MAX,
            }
        };
        if received == 0 {
            return;
        }
        for done in ended.drain(..) {
            match done {
                Done::Completed(task, reply) => outgoing.push(encode(shared, task, &reply)),
                // Without renewals another worker takes it soon.
                Done::GivenUp(place) => shared.leases.end(&place),
            }
        }
        send(shared, &mut outgoing).await;
        let now = Instant::now();
        outgoing.retain(|reply| {
            let over = reply.finished || reply.task.deadline <= now;
            if over {
                shared.leases.end(&reply.task.place);
            }
            !over
        });
    }
}

fn encode(shared: &ModelState, task: LeasedEntry, reply: &Reply) -> ReplyInFlight {
    ReplyInFlight {
        frame: wire::encode_reply(task.id, reply, &shared.name),
        task,
        written: false,
        finished: false,
    }
}

/// Writes the replies that can be written, and deletes their jobs.
async fn send(shared: &ModelState, outgoing: &mut [ReplyInFlight]) {
    let unwritten = outgoing.iter().enumerate().filter(|(_, reply)| !reply.written);
    let writing = unwritten.map(|(index, reply)| async move { (index, write(shared, reply).await) });
    for (index, written) in join_all(writing).await {
        match written {
            Ok(true) => {}
            Ok(false) => {
                shared.metrics().orphaned_replies.inc();
            }
            Err(error) if is_permanent(&error) => {
                shared.metrics().count_refused("reply_place");
                tracing::warn!(
                    %error,
                    key = outgoing[index].task.reply_to.key,
                    "the key for a reply holds something else"
                );
            }
            Err(error) => {
                tracing::debug!(%error, "cannot send a reply yet");
                continue;
            }
        }
        outgoing[index].written = true;
    }
    for priority in Priority::ALL {
        let due =
            |reply: &ReplyInFlight| reply.task.place.priority == priority && reply.written && !reply.finished;
        let indices: Vec<usize> = (0..outgoing.len())
            .filter(|&index| due(&outgoing[index]))
            .collect();
        if indices.is_empty() {
            continue;
        }
        let entries = indices
            .iter()
            .map(|&index| outgoing[index].task.place.entry.as_str());
        match finish(shared.link(), &shared.keys, priority, entries).await {
            Ok(_) => {
                for index in indices {
                    outgoing[index].finished = true;
                }
            }
            Err(error) => tracing::debug!(%error, "cannot delete answered jobs yet"),
        }
    }
}

/// Whether no attempt can succeed, because the key for the reply holds another type. Other errors, such as `MISCONF` or
/// `NOREPLICAS`, may pass.
fn is_permanent(error: &LinkError) -> bool {
    matches!(error, LinkError::Refused(text) if text.contains("WRONGTYPE"))
}

/// Writes one reply. False if the key for it is gone, and the client with it.
async fn write(shared: &ModelState, reply: &ReplyInFlight) -> Result<bool, LinkError> {
    let to = &reply.task.reply_to;
    match to.kind {
        ReplyKind::Stream => {
            let mut add = REPLY.key(&to.key);
            add.arg(&reply.frame);
            let added: i64 = shared.link().script(&add).await?;
            Ok(added == 1)
        }
        ReplyKind::Record => {
            let noted = note_reply(shared.link(), &to.key, to.part, &reply.frame).await?;
            if noted == Noted::Tell
                && let Some(job) = keys::job_of(&to.key)
            {
                let due = WebhookSchedule::new(shared.link().clone(), shared.process.config.prefix.clone());
                due.call_in(job, Duration::ZERO).await?;
            }
            Ok(noted != Noted::Unwanted)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::redis::refusal::Outage;

    #[test]
    fn a_reply_is_given_up_only_where_its_key_holds_something_else() {
        let refused = |text: &str| LinkError::Refused(text.to_owned());
        assert!(is_permanent(&refused(
            "WRONGTYPE: Operation against a key holding the wrong kind of value"
        )));
        for error in [
            refused(
                "MISCONF: Redis is configured to save RDB snapshots, but it is unable to persist to disk",
            ),
            refused("NOREPLICAS: Not enough good replicas to write"),
            LinkError::OutOfMemory,
            LinkError::Down(Outage::unreachable("no answer".to_owned())),
            LinkError::Login("NOPERM".to_owned()),
        ] {
            assert!(!is_permanent(&error), "{error}");
        }
    }
}
