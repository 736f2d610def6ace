//! Faults of workers.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::client::Connection;
use crate::counts::Outcome;
use crate::load::Question;
use crate::processes::{Extras, pause};
use crate::setup::{Finished, Run, Setup};
use crate::store::Store;
use crate::support::redis::{Binary, Options};

/// Maximum time until the jobs of a dead worker are answered.
const TAKEN_OVER_WITHIN: Duration = Duration::from_secs(5);

/// Duration of a lease: the default of `--lease`.
const LEASE: Duration = Duration::from_secs(3);

/// Kills that are far enough apart to measure each, and kills that are not.
const SINGLE_KILLS: usize = 2;
const QUICK_KILLS: usize = 5;

/// A grey that only this scenario sends, and that makes the engine crash.
const POISON: u8 = 99;

/// Enough time for a job to crash a batch, and then three workers alone.
const POISON_DEADLINE: Duration = Duration::from_secs(25);

pub(crate) async fn killed(redis: &Binary) -> Finished {
    let store = Store::one(redis, Options::default()).await;
    let mut run = Run::open("Repeated kill -9 of a worker during a batch", store).await;
    let mut kills = Vec::new();
    for _ in 0..SINGLE_KILLS {
        let victim = run.processes.busy_worker().await;
        kills.push(Instant::now());
        run.processes.kill_worker(victim).await;
        pause(TAKEN_OVER_WITHIN.as_secs_f64() + 0.5).await;
    }
    for _ in 0..QUICK_KILLS {
        let victim = run.processes.busy_worker().await;
        run.processes.kill_worker(victim).await;
        pause(1.0).await;
    }
    pause(TAKEN_OVER_WITHIN.as_secs_f64()).await;
    let mut played = run.finish(&[]).await;
    taken_over_in_time(&mut played, "killed", &kills);
    played
}

pub(crate) async fn restarted(redis: &Binary) -> Finished {
    let store = Store::one(redis, Options::default()).await;
    let mut run = Run::open("SIGTERM of all workers, one after the other", store).await;
    for index in 0..run.processes.workers.len() {
        run.processes.restart_worker(index).await;
    }
    pause(1.0).await;
    let mut played = run.finish(&[]).await;
    no_lease_expired(&mut played);
    played
}

/// A stopping worker finishes its jobs and leaves the others in the queue, so no lease has to expire.
pub(super) fn no_lease_expired(played: &mut Finished) {
    let longest = played.counts.longest();
    played.fact(
        longest < LEASE,
        format!(
            "no lease had to expire: the longest answer took {} ms",
            longest.as_millis()
        ),
    );
}

pub(crate) async fn frozen(redis: &Binary) -> Finished {
    let store = Store::one(redis, Options::default()).await;
    let run = Run::open("A worker frozen until its leases have expired", store).await;
    let victim = run.processes.busy_worker().await;
    let freeze = Instant::now();
    run.processes.workers[victim].signal(Signal::STOP);
    pause(TAKEN_OVER_WITHIN.as_secs_f64() + 1.0).await;
    run.processes.workers[victim].signal(Signal::CONT);
    pause(2.0).await;
    let lost = run.processes.workers[victim]
        .metric("ocelli_lost_leases_total")
        .await;
    let mut played = run.finish(&[]).await;
    taken_over_in_time(&mut played, "frozen", &[freeze]);
    let lost = lost.unwrap_or(0.0);
    played.fact(
        lost > 0.0,
        format!("it lost {lost} leases, and knew it when it came back"),
    );
    played
}

pub(crate) async fn poisoned(redis: &Binary) -> Finished {
    let store = Store::one(redis, Options::default()).await;
    let extras = Extras {
        worker: vec!["--fake-crash-on".to_owned(), POISON.to_string()],
        ..Extras::default()
    };
    let setup = Setup {
        extras,
        ..Setup::default()
    };
    let mut run = Run::open_with("A job that crashes each process that computes it", store, setup).await;
    let web = run.processes.webs[0].address;
    let mut asking = tokio::spawn(async move {
        let mut poison = Question::grey(POISON);
        poison.deadline = POISON_DEADLINE;
        let mut connection = Connection::open(web).await.unwrap();
        poison.ask(web, &mut connection).await.0
    });
    let mut crashes = 0;
    let answered = loop {
        crashes += run.processes.replace_fallen_workers().await;
        tokio::select! {
            answered = &mut asking => break answered.unwrap(),
            () = pause(0.1) => {}
        }
    };
    pause(1.0).await;
    let mut dead = 0_usize;
    for (key, _) in run.store.left().await {
        if key.ends_with(":dead") {
            dead += run.store.server().command::<usize>(&["XLEN", &key]).await;
        }
    }
    let mut played = run.finish(&[]).await;
    let outcome = answered.outcome.clone();
    played.fact(
        outcome == Outcome::Refused("poisonous".to_owned()),
        format!(
            "after {:.1} s its client got {outcome:?}",
            answered.took().as_secs_f64()
        ),
    );
    played.fact(dead == 1, format!("dead letters: {dead}"));
    played.fact(
        (3..=4).contains(&crashes),
        format!("it crashed {crashes} workers, which were started again"),
    );
    played
}

fn taken_over_in_time(played: &mut Finished, what: &str, moments: &[Instant]) {
    let longest = played.counts.longest_after(moments);
    played.fact(
        longest < TAKEN_OVER_WITHIN,
        format!(
            "the jobs of the {what} worker were answered at most {:.1} s later",
            longest.as_secs_f64()
        ),
    );
}
