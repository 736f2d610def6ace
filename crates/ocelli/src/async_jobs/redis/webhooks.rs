//! Calls webhooks of jobs in Redis, whichever process accepted them.
//!
//! Redis has the schedule. Few calls are taken at once, and a limited number for each receiver; the others are postponed, so that
//! a slow or silent receiver does not hold up another one.

use std::collections::HashMap;
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt as _};
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use super::state::RedisJobsShared;
use crate::async_jobs::webhook::{self, Receiver};
use crate::async_jobs::{JobState, Sender};
use crate::queue::job::JobId;
use crate::queue::redis::{DueWebhook, LinkError};

/// Between reads of the schedule.
const LOOK: Duration = Duration::from_secs(1);

/// Calls that one command takes, and commands of one read: enough for all jobs of a silent receiver, so that those of another
/// are not behind them.
const BATCH: usize = 256;
const BATCHES: usize = 64;

/// Calls of one receiver that are taken at once: those in progress, and those that start before the next read.
const TAKEN_UP: usize = 16;

/// How long a call waits for its turn; then it is postponed.
const WAIT: Duration = Duration::from_secs(15);

/// When another process takes a call that this one did not end: longer than a wait and a call take.
const HOLD: Duration = Duration::from_secs(30);

/// The longest time that a call is postponed because of those before it.
const LONGEST: Duration = Duration::from_secs(60);

/// How many calls of each receiver are taken.
type TakenUp = HashMap<String, usize>;

/// Runs until `stop`. Other processes repeat calls that are in progress then.
pub(crate) async fn run(shared: &RedisJobsShared, sender: &Sender, stop: &CancellationToken) {
    let most = sender.config().calls.total;
    let mut under_way = FuturesUnordered::new();
    let mut taken_up = TakenUp::new();
    let mut next_look = Instant::now();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            Some(call) = under_way.next() => leave(&mut taken_up, &call),
            () = sleep_until(next_look), if under_way.len() < most => {
                next_look = Instant::now() + LOOK;
                match look(shared, sender, &mut taken_up, most - under_way.len()).await {
                    Ok(calls) => under_way.extend(calls.into_iter().map(|call| handle(shared, sender, call))),
                    Err(error) => tracing::debug!(%error, "cannot read the schedule of webhooks"),
                }
            }
        }
    }
}

/// Takes at most `room` calls. All others that are due are postponed.
async fn look(
    shared: &RedisJobsShared,
    sender: &Sender,
    taken_up: &mut TakenUp,
    mut room: usize,
) -> Result<Vec<DueWebhook>, LinkError> {
    let mut calls = Vec::new();
    let mut put_off = TakenUp::new();
    let pause = |receiver: &str| sender.dispatcher.paused_for(&Receiver(receiver.into()));
    for _ in 0..BATCHES {
        let due = shared.due.take(BATCH, HOLD).await?;
        let last = due.len() < BATCH;
        let plan = plan(due, (taken_up, &mut put_off), room, pause);
        room -= plan.now.len();
        calls.extend(plan.now);
        // Calls that are not postponed are taken again after a while, so this may fail.
        if let Err(error) = shared.due.postpone(&plan.later).await {
            tracing::debug!(%error, "cannot postpone webhooks");
            break;
        }
        if last {
            break;
        }
    }
    Ok(calls)
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Plan {
    now: Vec<DueWebhook>,
    later: Vec<(JobId, Duration)>,
}

/// Decides which calls are made now, `room` at most, and how long the others are postponed: those of a paused receiver until
/// its pause is over, the others for about as long as those before them take.
fn plan(
    due: Vec<DueWebhook>,
    (taken_up, put_off): (&mut TakenUp, &mut TakenUp),
    room: usize,
    pause: impl Fn(&str) -> Option<Duration>,
) -> Plan {
    let mut plan = Plan::default();
    for call in due {
        let pause = pause(&call.receiver);
        let taken = taken_up.entry(call.receiver.clone()).or_default();
        if pause.is_none() && *taken < TAKEN_UP && plan.now.len() < room {
            *taken += 1;
            plan.now.push(call);
            continue;
        }
        let before = put_off.entry(call.receiver).or_default();
        let wait = LOOK * (*before / TAKEN_UP) as u32;
        *before += 1;
        plan.later
            .push((call.id, pause.unwrap_or(LOOK) + wait.min(LONGEST)));
    }
    taken_up.retain(|_, taken| *taken > 0);
    plan
}

fn leave(taken_up: &mut TakenUp, call: &DueWebhook) {
    if let Some(taken) = taken_up.get_mut(&call.receiver) {
        *taken -= 1;
        if *taken == 0 {
            taken_up.remove(&call.receiver);
        }
    }
}

async fn handle(shared: &RedisJobsShared, sender: &Sender, due: DueWebhook) -> DueWebhook {
    if let Err(error) = call(shared, sender, &due).await {
        // It is taken again.
        tracing::debug!(%error, job = %due.id, "cannot handle a webhook");
    }
    due
}

async fn call(shared: &RedisJobsShared, sender: &Sender, due: &DueWebhook) -> Result<(), LinkError> {
    let id = due.id;
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
    let job = match shared.snapshot(id, &record).await {
        Ok(job) => job,
        Err(error) => {
            tracing::error!(error = error.detail(), job = %id, "a webhook is not called");
            return shared.due.leave(id).await;
        }
    };
    if !JobState::of(&job.results).is_final() {
        return shared.due.call_in(id, LOOK).await;
    }
    let Ok(body) = job.webhook_body(due.tries + 1) else {
        tracing::error!(job = %id, "a job could not be written as JSON");
        return shared.due.leave(id).await;
    };
    let receiver = url.receiver();
    let turn = tokio::select! {
        biased;
        turn = sender.dispatcher.turn(&receiver) => turn,
        () = sender.dispatcher.paused(&receiver) => {
            let pause = sender.dispatcher.paused_for(&receiver).unwrap_or_default();
            return shared.due.call_in(id, pause.max(LOOK)).await;
        }
        () = sleep(WAIT) => return shared.due.call_in(id, LOOK).await,
    };
    let attempt = sender.call(turn, &url, body).await;
    match webhook::next(&attempt, due.tries + 1, &url, &shared.infer.metrics) {
        Some(pause) => shared.due.call_again_in(id, pause).await,
        None => shared.due.leave(id).await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn due(receiver: &str, ids: std::ops::Range<u128>) -> Vec<DueWebhook> {
        ids.map(|id| DueWebhook {
            id: JobId(id),
            tries: 0,
            receiver: receiver.to_owned(),
        })
        .collect()
    }

    #[test]
    fn a_receiver_with_many_jobs_leaves_room_for_others() {
        let (mut taken_up, mut put_off) = (TakenUp::new(), TakenUp::new());
        let all = [due("many", 0..200), due("one", 200..201)].concat();
        let first = plan(all, (&mut taken_up, &mut put_off), 20, |_| None);
        assert_eq!(first.now.len(), TAKEN_UP + 1);
        assert_eq!(first.now[TAKEN_UP].id, JobId(200));
        assert_eq!(first.later.len(), 200 - TAKEN_UP);
        assert_eq!(first.later[0], (JobId(TAKEN_UP as u128), LOOK));
        // The later ones come when those before them have had time.
        assert_eq!(first.later[TAKEN_UP].1, LOOK * 2);
        let more = due("many", 300..301);
        let second = plan(more, (&mut taken_up, &mut put_off), 20, |_| None);
        assert_eq!(second.now, []);
        leave(&mut taken_up, &due("many", 0..1)[0]);
        let third = plan(due("many", 301..302), (&mut taken_up, &mut put_off), 20, |_| None);
        assert_eq!(third.now.len(), 1);
        leave(&mut taken_up, &due("one", 0..1)[0]);
        assert!(!taken_up.contains_key("one"), "it is forgotten");
    }

    #[test]
    fn a_receiver_that_is_paused_is_put_off_as_a_whole() {
        let (mut taken_up, mut put_off) = (TakenUp::new(), TakenUp::new());
        let minute = Duration::from_secs(60);
        let pause = |receiver: &str| (receiver == "silent").then_some(minute);
        let all = [due("silent", 0..9000), due("good", 9000..9001)].concat();
        let plan = plan(all, (&mut taken_up, &mut put_off), 20, pause);
        assert_eq!(plan.now.len(), 1);
        assert_eq!(plan.now[0].receiver, "good");
        assert!(
            plan.later
                .iter()
                .all(|(_, wait)| (minute..=minute + LONGEST).contains(wait))
        );
        assert!(!taken_up.contains_key("silent"));
    }

    #[test]
    fn nothing_is_taken_up_without_room() {
        let (mut taken_up, mut put_off) = (TakenUp::new(), TakenUp::new());
        let plan = plan(due("a", 0..5), (&mut taken_up, &mut put_off), 3, |_| None);
        assert_eq!((plan.now.len(), plan.later.len()), (3, 2));
    }
}
