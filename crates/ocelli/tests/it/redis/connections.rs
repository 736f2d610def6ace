//! How many connections a process has to Redis: one for commands, and one for each read that blocks.

use crate::eventually;
use crate::harness::photos;
use crate::harness::process::{Process, ocelli};
use crate::jobs::over_redis::new_web;
use crate::models::repository::{Shelf, maker};
use crate::support::redis::{Binary, Options, RedisServer};

/// The connections of the processes whose names begin with `role`: those for commands, and those for reads that block.
async fn connections(redis: &RedisServer, role: &str) -> (usize, usize) {
    let clients: String = redis.command(&["CLIENT", "LIST"]).await;
    let names = clients.split(' ').filter_map(|field| field.strip_prefix("name="));
    let ours = names.filter(|name| name.starts_with(role));
    let (blocking, commands): (Vec<&str>, Vec<&str>) = ours.partition(|name| name.ends_with("-blocking"));
    (commands.len(), blocking.len())
}

#[tokio::test]
async fn connections_for_commands_do_not_grow_with_the_number_of_models() {
    let Some(binary) = Binary::redis() else { return };
    for models in [1, 10] {
        let redis = RedisServer::start(&binary, Options::default()).await;
        let shelf = Shelf::new();
        let names: Vec<String> = (0..models).map(|model| format!("m{model}")).collect();
        for name in &names {
            shelf.put(name, (name, "1", name));
        }
        let mut command = ocelli(&["worker", "--listen", "127.0.0.1:0", "--redis", &redis.url()]);
        command
            .args(["--engine", "fake", "--model-dir"])
            .arg(shelf.path());
        let _worker = Process::start_worker(command).await;
        let web = new_web(&redis.url(), &[]).await;
        for name in &names {
            let target = format!("/predict?model={name}");
            eventually(&format!("{name} answers"), async || {
                let answer = web.post(&target).form([("image", photos::DOG)]).send().await;
                answer.status == 200 && maker(&answer) == *name
            })
            .await;
        }
        assert_eq!(connections(&redis, "worker").await, (1, models));
        assert_eq!(connections(&redis, "web").await, (1, 1));
    }
}
