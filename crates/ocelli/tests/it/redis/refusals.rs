//! A Redis that refuses something: what cannot become better by itself ends the start, with the server and the command
//! named; everything else is waited for, and shown meanwhile.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::Stdio;

use hyper::Method;

use crate::eventually;
use crate::harness::client::{Answer, Call};
use crate::harness::photos;
use crate::harness::process::{Process, ocelli, run};
use crate::jobs::over_redis;
use crate::jobs::{accepted, job, shows, until};
use crate::support::redis::{Binary, Data, Options, RedisServer, Stop, free_port};

/// A server with a user for each kind of refusal, all with the password `secret`.
async fn strict(binary: &Binary, options: Options) -> RedisServer {
    let users = [
        ("info", "~* &* +@all -info"),
        ("keys", "~myapp:* &* +@all"),
        ("streams", "~* &* +@all -xadd"),
        ("scripts", "~* &* +@all -eval"),
        ("groups", "~* &* +@all -xgroup"),
    ];
    let options = users.into_iter().fold(options, |options, (name, rights)| {
        options.set("user", &format!("{name} on >secret {rights}"))
    });
    RedisServer::start(binary, options).await
}

fn url(server: &RedisServer, user: &str) -> String {
    format!("redis://{user}:secret@{}", server.address())
}

/// A role that ends at its start says all of `parts`, and nothing of a password.
async fn ends(role: &str, url: &str, parts: &[&str]) {
    let mut command = ocelli(&[role, "--listen", "127.0.0.1:0", "--redis", url]);
    if role == "worker" {
        command.args(["--engine", "fake"]);
    }
    let output = run(command, b"").await;
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{role} {url}: {text}");
    let last = text.lines().last().unwrap();
    for part in parts {
        assert!(last.contains(part), "{role} {url}: no {part:?} in {text}");
    }
    let reason = last.trim_start_matches("ocelli: ");
    assert_eq!(text.matches(reason).count(), 1, "it is said once: {text}");
    let problems = text.lines().filter(|line| {
        [" WARN ", " ERROR "].iter().any(|level| line.contains(level))
            && !line.contains("returns made-up results")
    });
    assert_eq!(problems.count(), 0, "{text}");
    assert!(!text.contains("secret"), "{text}");
    let is_login = parts.contains(&"check the user");
    assert_eq!(text.contains("the password"), is_login, "{text}");
}

#[tokio::test]
async fn what_will_not_change_ends_the_start_and_names_the_server_and_the_command() {
    for binary in [Binary::redis(), Binary::oldest_redis()].into_iter().flatten() {
        let server = strict(&binary, Options::default()).await;
        let host = server.address().to_string();
        let renamed = ["EVAL", "EVALSHA"]
            .into_iter()
            .fold(Options::default(), |options, name| {
                options.set("rename-command", &format!("{name} \"\""))
            });
        let renamed = RedisServer::start(&binary, renamed).await;
        let renamed_host = renamed.address().to_string();
        let node = RedisServer::start(&binary, Options::default().set("cluster-enabled", "yes")).await;
        let node_host = node.address().to_string();
        node.command::<()>(&[
            "ACL", "SETUSER", "least", "on", ">secret", "~*", "+@all", "-cluster",
        ])
        .await;
        let lacks_slots = url(&node, "least").replace("redis://", "redis+cluster://");
        let unknown_user = lacks_slots.replace("least", "unknown");
        for role in ["web", "worker"] {
            for (user, command) in [
                ("info", "command INFO"),
                ("keys", "command SET with this key"),
                ("streams", "command XADD"),
                ("scripts", "command EVAL"),
                ("groups", "command XGROUP"),
            ] {
                ends(role, &url(&server, user), &[&host, command, "ACL SETUSER"]).await;
            }
            ends(
                role,
                &renamed.url(),
                &[&renamed_host, "command EVAL", "rename-command"],
            )
            .await;
            ends(role, &node.url(), &[&node_host, "redis+cluster://"]).await;
            ends(role, &lacks_slots, &[&node_host, "command CLUSTER SLOTS"]).await;
            ends(role, &unknown_user, &[&node_host, "check the user"]).await;
            let no_database = format!("redis://{host}?db=99");
            ends(role, &no_database, &[&host, "database"]).await;
            ends(role, &format!("redis+cluster://{host}"), &["redis://"]).await;
            ends(
                role,
                &format!("redis://{host}?timeout=1"),
                &["'timeout'", "the only one is db"],
            )
            .await;
        }
    }
}

#[tokio::test]
async fn the_database_of_the_url_is_the_one_that_is_used() {
    let Some(binary) = Binary::redis() else { return };
    let redis = RedisServer::start(&binary, Options::default()).await;
    let _worker = over_redis::worker(&format!("{}?db=1", redis.url()), &[]).await;
    let used = redis.info("db1").await;
    assert!(used.contains("keys="), "{used}");
    assert_eq!(redis.info("db0").await, "");
}

/// Starts a role that need not be ready yet.
async fn early(role: &str, url: &str, arguments: &[&str]) -> Process {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
    let mut command = ocelli(&[role, "--redis", url, "--listen", &address.to_string()]);
    if role == "worker" {
        command.args(["--engine", "fake"]);
    }
    command.args(arguments);
    Process::start_unheard(command, Stdio::null(), address).await
}

/// Waits until `/readyz` says all of `parts`.
async fn not_ready(process: &Process, parts: &[&str]) {
    let mut last = String::new();
    eventually(&format!("/readyz says {parts:?}"), async || {
        let answer = process.get("/readyz").send().await;
        last = format!("{} {}", answer.status, answer.text());
        answer.status == 503 && parts.iter().all(|part| last.contains(part))
    })
    .await;
    last.lines()
        .for_each(|line| assert!(!line.contains("secret"), "{line}"));
}

async fn ready(process: &Process) {
    eventually("it is ready", async || {
        process.get("/readyz").send().await.status == 200
    })
    .await;
}

#[tokio::test]
async fn a_redis_that_is_not_there_or_only_a_replica_is_waited_for_and_named() {
    let Some(binary) = Binary::redis() else { return };
    let mut redis = RedisServer::start(&binary, Options::default()).await;
    let host = redis.address().to_string();
    redis.stop(Stop::Kill).await;
    let web = early("web", &redis.url(), &[]).await;
    let worker = early("worker", &redis.url(), &[]).await;
    for process in [&web, &worker] {
        not_ready(process, &["broker_unavailable", &host, "cannot be reached"]).await;
    }
    redis.restart(Data::Lost).await;
    ready(&web).await;
    ready(&worker).await;

    let replica = RedisServer::start(&binary, Options::default().set("replicaof", "127.0.0.1 1")).await;
    let host = replica.address().to_string();
    for role in ["web", "worker"] {
        let process = early(role, &replica.url(), &[]).await;
        not_ready(&process, &[&host, "SET now", "READONLY"]).await;
        replica.command::<()>(&["REPLICAOF", "NO", "ONE"]).await;
        ready(&process).await;
        replica.command::<()>(&["REPLICAOF", "127.0.0.1", "1"]).await;
    }
}

async fn photo(web: &Process) -> Answer {
    web.post("/predict").form([("image", photos::DOG)]).send().await
}

#[tokio::test]
async fn what_is_refused_later_is_named_until_it_is_allowed_again() {
    let Some(binary) = Binary::redis() else { return };
    let users = ["web", "worker"]
        .into_iter()
        .fold(Options::default(), |options, name| {
            options.set("user", &format!("{name} on >secret ~* &* +@all"))
        });
    let redis = RedisServer::start(&binary, users).await;
    let host = redis.address().to_string();
    let worker = over_redis::worker(&url(&redis, "worker"), &[]).await;
    let web = over_redis::web(&url(&redis, "web"), &[]).await;
    assert_eq!(photo(&web).await.status, 200);

    // Only what a request needs is refused, so it is a request that finds out.
    redis.command::<()>(&["ACL", "SETUSER", "web", "-xadd"]).await;
    photo(&web).await.refused(503, "broker_unavailable");
    not_ready(&web, &[&host, "command XADD"]).await;
    redis.command::<()>(&["ACL", "SETUSER", "web", "+xadd"]).await;
    ready(&web).await;
    assert_eq!(photo(&web).await.status, 200);

    for (right, name) in [
        ("xreadgroup", "XREADGROUP"),
        ("evalsha", "EVALSHA"),
        ("pexpire", "PEXPIRE"),
    ] {
        redis
            .command::<()>(&["ACL", "SETUSER", "worker", &format!("-{right}")])
            .await;
        not_ready(&worker, &[&host, &format!("command {name}")]).await;
        redis
            .command::<()>(&["ACL", "SETUSER", "worker", &format!("+{right}")])
            .await;
        ready(&worker).await;
    }
    // The keys of another application.
    redis
        .command::<()>(&["ACL", "SETUSER", "web", "resetkeys", "~myapp:*"])
        .await;
    not_ready(&web, &[&host, "with this key"]).await;
    redis.command::<()>(&["ACL", "SETUSER", "web", "~*"]).await;
    ready(&web).await;
    eventually("photos are answered again", async || {
        photo(&web).await.status == 200
    })
    .await;
}

/// The lists of the manual, with a password.
fn documented_rights() -> Vec<Vec<String>> {
    let manual = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/scale-out.md");
    let manual = std::fs::read_to_string(manual).unwrap();
    let lines = manual.lines().filter(|line| line.starts_with("ACL SETUSER"));
    let rights: Vec<Vec<String>> = lines
        .map(|line| {
            line.replace("PASSWORD", "secret")
                .split(' ')
                .map(str::to_owned)
                .collect()
        })
        .collect();
    assert_eq!(rights.len(), 3);
    rights
}

#[tokio::test]
async fn the_documented_rights_are_enough() {
    let binaries = [Binary::redis(), Binary::oldest_redis(), Binary::valkey()];
    for binary in binaries.into_iter().flatten() {
        let redis = RedisServer::start(&binary, Options::default()).await;
        for rights in documented_rights() {
            let words: Vec<&str> = rights.iter().map(String::as_str).collect();
            redis.command::<()>(&words).await;
        }
        let worker = over_redis::worker(&url(&redis, "ocelli-worker"), &[]).await;
        let web = over_redis::web(&url(&redis, "ocelli-web"), &[]).await;
        ready(&worker).await;
        ready(&web).await;
        assert_eq!(photo(&web).await.best(), photos::dog().label());

        let photos = [photos::grey(1), photos::grey(2)];
        let call = job(web.address, &photos).header("Idempotency-Key", "once");
        let id = accepted(&call.clone().send().await);
        shows(&until(web.address, &id, "done").await, &photos);
        assert_eq!(accepted(&call.send().await), id);
        let delete = Call::new(web.address, Method::DELETE, &id);
        assert_eq!(delete.send().await.status, 204);

        let queue = url(&redis, "ocelli-queue");
        for arguments in [
            &["status"][..],
            &["dead", "list"],
            &["dead", "retry", "--all"],
            &["dead", "drop", "--all"],
        ] {
            let mut command = ocelli(&["queue"]);
            command.args(arguments).args(["--redis", &queue]);
            let output = run(command, b"").await;
            assert!(output.status.success(), "{arguments:?}: {output:?}");
        }
        for (process, role) in [(web, "web"), (worker, "worker")] {
            process.signal("TERM");
            let (status, log) = process.ended().await;
            assert_eq!(status, Some(0), "{log:?}");
            let refused = log
                .iter()
                .find(|line| line.contains("NOPERM") || line.contains("can't run"));
            assert_eq!(refused, None, "{role}");
        }
        let denied: Vec<redis::Value> = redis.command(&["ACL", "LOG"]).await;
        assert!(denied.is_empty(), "{}: {denied:?}", binary.name);
    }
}
