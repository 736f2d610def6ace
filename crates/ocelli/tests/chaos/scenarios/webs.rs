//! What happens to web processes.

use crate::house::pause;
use crate::stage::{Played, Stage};
use crate::store::Store;
use crate::support::redis::{Binary, Options};

const KILLS: usize = 4;

/// Clients of the killed process lose their connections; clients of the other one notice nothing.
pub(crate) async fn killed(redis: &Binary) -> Played {
    let store = Store::one(redis, Options::default()).await;
    let mut stage = Stage::open("kill -9 of a web process, again and again", store).await;
    for kill in 0..KILLS {
        let victim = kill % stage.house.webs.len();
        stage.house.kill_web(victim).await;
        pause(1.0).await;
    }
    stage.finish(&["connection"]).await
}

pub(crate) async fn restarted(redis: &Binary) -> Played {
    let store = Store::one(redis, Options::default()).await;
    let mut stage = Stage::open("SIGTERM of all web processes, one after the other", store).await;
    for index in 0..stage.house.webs.len() {
        stage.house.restart_web(index).await;
        pause(1.0).await;
    }
    stage.finish(&[]).await
}
