//! Answers jobs: first the reply is written, then the job is taken away. A worker that dies in between leaves a job that
//! another one computes again; its second reply changes nothing. Whatever keeps a reply from being written, a full Redis
//! or one that accepts no writes, its job stays.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use tokio::sync::mpsc;

use super::lease::{Done, RenewTask};
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

/// A reply on its way.
struct ReplyInFlight {
    task: RenewTask,
    frame: Vec<u8>,
    written: bool,
    finished: bool,
}

/// Sends replies until no lease can be completed any more. One that cannot be sent is tried again, and keeps no other
/// one waiting.
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
                // Not renewed any more, it is another worker's soon.
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

fn encode(shared: &ModelState, task: RenewTask, reply: &Reply) -> ReplyInFlight {
    ReplyInFlight {
        frame: wire::encode_reply(task.id, reply, &shared.name),
        task,
        written: false,
        finished: false,
    }
}

/// Writes the replies that can be written, and takes their jobs away.
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
                    "a reply is refused"
                );
            }
            Err(error) => {
                tracing::debug!(%error, "a reply cannot be sent yet");
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
            Err(error) => tracing::debug!(%error, "answered jobs cannot be taken away yet"),
        }
    }
}

/// Whether no attempt can succeed, because the key that the job names for its reply holds something else. Everything else,
/// such as `MISCONF` or `NOREPLICAS`, may pass.
fn is_permanent(error: &LinkError) -> bool {
    matches!(error, LinkError::Refused(text) if text.contains("WRONGTYPE"))
}

/// Writes one reply. False when the place for it is gone, and with it whoever waited.
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
    fn only_a_place_that_holds_something_else_is_given_up() {
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
