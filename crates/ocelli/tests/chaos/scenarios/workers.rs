//! What happens to workers.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::client::Connection;
use crate::house::{Extras, pause};
use crate::load::Question;
use crate::stage::{Played, Setup, Stage};
use crate::store::Store;
use crate::support::redis::{Binary, Options};
use crate::tally::Outcome;

/// How soon the jobs of a worker that is no more must be answered.
const TAKEN_OVER_WITHIN: Duration = Duration::from_secs(5);

/// How long a lease lives unless it is renewed: the default of `--lease`.
const LEASE: Duration = Duration::from_secs(3);

/// Kills that are far enough apart to tell how long each was felt, and kills that are not.
const SINGLE_KILLS: usize = 2;
const QUICK_KILLS: usize = 5;

/// A grey that no client sends otherwise, and at which the engine crashes.
const POISON: u8 = 99;

/// Time enough for a job to end a batch, and then three workers alone.
const POISON_DEADLINE: Duration = Duration::from_secs(25);

pub(crate) async fn killed(redis: &Binary) -> Played {
    let store = Store::one(redis, Options::default()).await;
    let mut stage = Stage::open("kill -9 of a worker amid a batch, again and again", store).await;
    let mut kills = Vec::new();
    for _ in 0..SINGLE_KILLS {
        let victim = stage.house.busy_worker().await;
        kills.push(Instant::now());
        stage.house.kill_worker(victim).await;
        pause(TAKEN_OVER_WITHIN.as_secs_f64() + 0.5).await;
    }
    for _ in 0..QUICK_KILLS {
        let victim = stage.house.busy_worker().await;
        stage.house.kill_worker(victim).await;
        pause(1.0).await;
    }
    pause(TAKEN_OVER_WITHIN.as_secs_f64()).await;
    let mut played = stage.finish(&[]).await;
    taken_over_in_time(&mut played, "killed", &kills);
    played
}

pub(crate) async fn restarted(redis: &Binary) -> Played {
    let store = Store::one(redis, Options::default()).await;
    let mut stage = Stage::open("SIGTERM of all workers, one after the other", store).await;
    for index in 0..stage.house.workers.len() {
        stage.house.restart_worker(index).await;
    }
    pause(1.0).await;
    let mut played = stage.finish(&[]).await;
    nobody_noticed(&mut played);
    played
}

/// A worker that leaves hands over what it has not taken, and finishes what it has: no lease has to run out.
pub(super) fn nobody_noticed(played: &mut Played) {
    let longest = played.tally.longest();
    played.fact(
        longest < LEASE,
        format!(
            "no lease had to run out: the longest answer took {} ms",
            longest.as_millis()
        ),
    );
}

pub(crate) async fn frozen(redis: &Binary) -> Played {
    let store = Store::one(redis, Options::default()).await;
    let stage = Stage::open("A worker frozen until its leases have gone", store).await;
    let victim = stage.house.busy_worker().await;
    let freeze = Instant::now();
    stage.house.workers[victim].signal(Signal::STOP);
    pause(TAKEN_OVER_WITHIN.as_secs_f64() + 1.0).await;
    stage.house.workers[victim].signal(Signal::CONT);
    pause(2.0).await;
    let lost = stage.house.workers[victim]
        .metric("ocelli_lost_leases_total")
        .await;
    let mut played = stage.finish(&[]).await;
    taken_over_in_time(&mut played, "frozen", &[freeze]);
    let lost = lost.unwrap_or(0.0);
    played.fact(
        lost > 0.0,
        format!("it lost {lost} leases, and knew it when it came back"),
    );
    played
}

pub(crate) async fn poisoned(redis: &Binary) -> Played {
    let store = Store::one(redis, Options::default()).await;
    let extras = Extras {
        worker: vec!["--fake-crash-on".to_owned(), POISON.to_string()],
        ..Extras::default()
    };
    let setup = Setup {
        extras,
        ..Setup::default()
    };
    let mut stage = Stage::open_with("A job that crashes each process that computes it", store, setup).await;
    let web = stage.house.webs[0].address;
    let mut asking = tokio::spawn(async move {
        let mut poison = Question::grey(POISON);
        poison.deadline = POISON_DEADLINE;
        let mut connection = Connection::open(web).await.unwrap();
        poison.ask(web, &mut connection).await.0
    });
    let mut crashes = 0;
    let answered = loop {
        crashes += stage.house.replace_fallen_workers().await;
        tokio::select! {
            answered = &mut asking => break answered.unwrap(),
            () = pause(0.1) => {}
        }
    };
    pause(1.0).await;
    let mut dead = 0_usize;
    for (key, _) in stage.store.left().await {
        if key.ends_with(":dead") {
            dead += stage.store.server().command::<usize>(&["XLEN", &key]).await;
        }
    }
    let mut played = stage.finish(&[]).await;
    let outcome = answered.outcome.clone();
    played.fact(
        outcome == Outcome::Refused("poisonous".to_owned()),
        format!(
            "after {:.1} s its client was told: {outcome:?}",
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

fn taken_over_in_time(played: &mut Played, what: &str, moments: &[Instant]) {
    let longest = played.tally.longest_after(moments);
    played.fact(
        longest < TAKEN_OVER_WITHIN,
        format!(
            "what the {what} worker had was answered {:.1} s later at most",
            longest.as_secs_f64()
        ),
    );
}
