//! Answers jobs: first the reply, then the job goes. A worker that dies in between leaves a job that is computed again,
//! whose second reply nobody waits for.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use tokio::sync::mpsc;

use super::due::Due;
use super::keys::{self, GROUP};
use super::lease::{Done, Task};
use super::link::LinkError;
use super::records::{Noted, note_reply};
use super::scripts::FINISH;
use super::worker::Shared;
use crate::broker::wire::{self, ReplyKind};
use crate::job::{Priority, Reply};

/// Replies that are sent together.
const TOGETHER: usize = 64;

/// Between attempts to send replies while Redis cannot be used.
const PAUSE: Duration = Duration::from_millis(100);

/// A reply on its way.
struct Outgoing {
    task: Task,
    frame: Vec<u8>,
    sent: bool,
}

/// Sends replies until no lease can be completed any more.
pub(super) async fn run(shared: &Shared, mut done: mpsc::UnboundedReceiver<Done>) {
    let mut ended = Vec::with_capacity(TOGETHER);
    while done.recv_many(&mut ended, TOGETHER).await > 0 {
        let mut outgoing = Vec::with_capacity(ended.len());
        for done in ended.drain(..) {
            match done {
                Done::Completed(task, reply) => outgoing.push(encode(shared, task, &reply)),
                // Not renewed any more, it is another worker's soon.
                Done::GivenUp(place) => shared.leases.end(&place),
            }
        }
        send_all(shared, outgoing).await;
    }
}

fn encode(shared: &Shared, task: Task, reply: &Reply) -> Outgoing {
    Outgoing {
        frame: wire::encode_reply(task.id, reply, &shared.config.name),
        task,
        sent: false,
    }
}

/// Sends replies and takes their jobs away, as often as it takes, or until nobody wants them any more.
async fn send_all(shared: &Shared, mut outgoing: Vec<Outgoing>) {
    while !outgoing.is_empty() {
        match send(shared, &mut outgoing).await {
            Ok(()) => return,
            Err(error) => {
                tracing::debug!(%error, replies = outgoing.len(), "replies cannot be sent");
                let now = Instant::now();
                outgoing.retain(|reply| {
                    let wanted = reply.task.deadline > now;
                    if !wanted {
                        shared.leases.end(&reply.task.place);
                    }
                    wanted
                });
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

async fn send(shared: &Shared, outgoing: &mut [Outgoing]) -> Result<(), LinkError> {
    let unsent = outgoing.iter().enumerate().filter(|(_, reply)| !reply.sent);
    let written = unsent.map(|(index, reply)| async move { (index, write(shared, reply).await) });
    let mut full = false;
    for (index, written) in join_all(written).await {
        match written {
            Ok(true) => {}
            Ok(false) => {
                shared.metrics.orphaned_replies.inc();
            }
            Err(LinkError::OutOfMemory) => {
                full = true;
                continue;
            }
            // A job that names a key of another kind must not keep the others from their replies.
            Err(LinkError::Refused(error)) => {
                shared.metrics.count_refused("reply_place");
                tracing::warn!(
                    error,
                    key = outgoing[index].task.reply_to.key,
                    "a reply has no place to go to"
                );
            }
            Err(error) => return Err(error),
        }
        outgoing[index].sent = true;
    }
    // A Redis that is full has room again once the job is gone, and its web process submits the job again should this
    // worker die before it has told the result.
    finish(shared, outgoing).await?;
    if full {
        return Err(LinkError::OutOfMemory);
    }
    for reply in outgoing.iter() {
        shared.leases.end(&reply.task.place);
    }
    Ok(())
}

/// Writes one reply. False when the place for it is gone, and with it whoever waited.
async fn write(shared: &Shared, reply: &Outgoing) -> Result<bool, LinkError> {
    let to = &reply.task.reply_to;
    match to.kind {
        ReplyKind::Stream => {
            let mut add = ::redis::cmd("XADD");
            add.arg(&to.key)
                .arg("NOMKSTREAM")
                .arg("*")
                .arg("r")
                .arg(&reply.frame);
            let entry: Option<String> = shared.link.query(&add).await?;
            Ok(entry.is_some())
        }
        ReplyKind::Record => {
            let noted = note_reply(&shared.link, &to.key, to.part, &reply.frame).await?;
            if noted == Noted::Tell
                && let Some(job) = keys::job_of(&to.key)
            {
                let due = Due::new(shared.link.clone(), shared.config.prefix.clone());
                due.call_in(job, Duration::ZERO).await?;
            }
            Ok(noted != Noted::Unwanted)
        }
    }
}

/// Takes the jobs away, stream by stream.
async fn finish(shared: &Shared, outgoing: &[Outgoing]) -> Result<(), LinkError> {
    let mut by_priority: HashMap<Priority, Vec<&Task>> = HashMap::new();
    for reply in outgoing {
        by_priority
            .entry(reply.task.place.priority)
            .or_default()
            .push(&reply.task);
    }
    for (priority, tasks) in by_priority {
        let mut script = FINISH.prepare_invoke();
        script
            .key(&shared.keys.jobs[priority.index()])
            .key(&shared.keys.bytes)
            .key(&shared.keys.crashes)
            .arg(GROUP);
        for task in tasks {
            script.arg(&task.place.entry).arg(task.size);
        }
        let _: i64 = shared.link.script(&script).await?;
    }
    Ok(())
}
