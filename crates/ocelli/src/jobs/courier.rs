//! Calls webhooks of jobs in Redis, whichever process accepted them.

use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt as _};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::redis::Shared;
use super::{JobView, Sender, State, webhook};
use crate::broker::redis::LinkError;
use crate::job::JobId;

/// Between looks at what is to be called. Whoever asked to be called is in no hurry, and a look costs one command.
const LOOK: Duration = Duration::from_secs(1);

/// Calls under way at once.
const MOST: usize = 16;

/// When another process takes a call that this one did not end: longer than a call and what belongs to it may take.
const HOLD: Duration = Duration::from_secs(30);

/// Calls until `stop`. What is under way then is called again by others.
pub(super) async fn run(shared: &Shared, sender: &Sender, stop: &CancellationToken) {
    let mut under_way = FuturesUnordered::new();
    let mut next_look = Instant::now();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            Some(()) = under_way.next() => {}
            () = sleep_until(next_look), if under_way.len() < MOST => {
                next_look = Instant::now() + LOOK;
                match shared.due.take(MOST - under_way.len(), HOLD).await {
                    Ok(due) => under_way.extend(due.into_iter().map(|(id, tries)| handle(shared, sender, id, tries))),
                    Err(error) => tracing::debug!(%error, "which webhooks are to be called cannot be told"),
                }
            }
        }
    }
}

async fn handle(shared: &Shared, sender: &Sender, id: JobId, tries: u32) {
    if let Err(error) = call(shared, sender, id, tries).await {
        // Somebody takes it again.
        tracing::debug!(%error, job = %id, "a webhook could not be seen to");
    }
}

async fn call(shared: &Shared, sender: &Sender, id: JobId, tries: u32) -> Result<(), LinkError> {
    let Some(record) = shared.records.read(id).await? else {
        return shared.due.leave(id).await;
    };
    if !record.accepted {
        // All replies came before the job was accepted, which it may never be.
        return shared.due.call_in(id, LOOK).await;
    }
    let url = match sender.config().url(&record.webhook) {
        Ok(url) => url,
        Err(error) => {
            tracing::warn!(%error, job = %id, "a webhook that another process accepted is not allowed here");
            return shared.due.leave(id).await;
        }
    };
    let Ok(job) = shared.snapshot(id, &record).await else {
        return shared.due.leave(id).await;
    };
    if !State::of(&job.results).is_final() {
        return shared.due.call_in(id, LOOK).await;
    }
    let Ok(body) = JobView::new(&job).body() else {
        tracing::error!(job = %id, "a job could not be written as JSON");
        return shared.due.leave(id).await;
    };
    let attempt = sender.call(&url, body).await;
    match webhook::next(&attempt, tries, &url, &shared.infer.metrics) {
        Some(pause) => shared.due.call_in(id, pause).await,
        None => shared.due.leave(id).await,
    }
}
