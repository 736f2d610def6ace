//! Answers jobs: first the reply, then the job goes. A worker that dies in between leaves a job that is computed again,
//! whose second reply nobody waits for.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use tokio::sync::mpsc;

use super::due::Due;
use super::finish::finish;
use super::keys;
use super::lease::{Done, Task};
use super::link::LinkError;
use super::records::{Noted, note_reply};
use super::worker::Shared;
use crate::broker::wire::{self, Origin, ReplyKind};
use crate::job::{Priority, Reply};

/// Replies that are sent together.
const TOGETHER: usize = 64;

/// Between attempts to send replies while Redis cannot be used.
const PAUSE: Duration = Duration::from_millis(100);

/// A reply on its way.
struct Outgoing {
    task: Task,
    frame: Vec<u8>,
    written: bool,
    finished: bool,
}

/// Sends replies until no lease can be completed any more. One that cannot be sent is tried again, and keeps no other
/// one waiting.
pub(super) async fn run(shared: &Shared, mut done: mpsc::UnboundedReceiver<Done>) {
    let mut ended = Vec::with_capacity(TOGETHER);
    let mut outgoing: Vec<Outgoing> = Vec::new();
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

fn encode(shared: &Shared, task: Task, reply: &Reply) -> Outgoing {
    Outgoing {
        frame: wire::encode_reply(
            task.id,
            reply,
            &Origin {
                worker: &shared.config.name,
                outputs: &task.outputs,
            },
        ),
        task,
        written: false,
        finished: false,
    }
}

/// Writes the replies that can be written, and takes their jobs away.
async fn send(shared: &Shared, outgoing: &mut [Outgoing]) {
    let unwritten = outgoing.iter().enumerate().filter(|(_, reply)| !reply.written);
    let writing = unwritten.map(|(index, reply)| async move { (index, write(shared, reply).await) });
    let mut full = Vec::new();
    for (index, written) in join_all(writing).await {
        match written {
            Ok(true) => {}
            Ok(false) => {
                shared.metrics.orphaned_replies.inc();
            }
            Err(LinkError::OutOfMemory) => {
                full.push(index);
                continue;
            }
            Err(LinkError::Refused(error)) => {
                // The same tomorrow: the key that the job names for its reply is something else.
                shared.metrics.count_refused("reply_place");
                tracing::warn!(
                    error,
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
        // A Redis that is full has room again once a job is gone, and its web process submits the job again should this
        // worker die before it has told the result.
        let due = |index: &usize, reply: &Outgoing| {
            reply.task.place.priority == priority
                && !reply.finished
                && (reply.written || full.contains(index))
        };
        let indices: Vec<usize> = (0..outgoing.len())
            .filter(|index| due(index, &outgoing[*index]))
            .collect();
        if indices.is_empty() {
            continue;
        }
        let entries = indices
            .iter()
            .map(|&index| outgoing[index].task.place.entry.as_str());
        match finish(&shared.link, &shared.keys, priority, entries).await {
            Ok(_) => {
                for index in indices {
                    outgoing[index].finished = outgoing[index].written;
                }
            }
            Err(error) => tracing::debug!(%error, "answered jobs cannot be taken away yet"),
        }
    }
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
