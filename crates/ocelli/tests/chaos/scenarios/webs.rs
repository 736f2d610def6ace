//! Faults of web processes.

use crate::processes::pause;
use crate::setup::{Finished, Run};
use crate::store::Store;
use crate::support::redis::{Binary, Options};

const KILLS: usize = 4;

/// Clients of the killed process lose their connections; clients of the other one notice nothing.
pub(crate) async fn killed(redis: &Binary) -> Finished {
    let store = Store::one(redis, Options::default()).await;
    let mut run = Run::open("Repeated kill -9 of a web process", store).await;
    for kill in 0..KILLS {
        let victim = kill % run.processes.webs.len();
        run.processes.kill_web(victim).await;
        pause(1.0).await;
    }
    run.finish(&["connection"]).await
}

pub(crate) async fn restarted(redis: &Binary) -> Finished {
    let store = Store::one(redis, Options::default()).await;
    let mut run = Run::open("SIGTERM of all web processes, one after the other", store).await;
    for index in 0..run.processes.webs.len() {
        run.processes.restart_web(index).await;
        pause(1.0).await;
    }
    run.finish(&[]).await
}
