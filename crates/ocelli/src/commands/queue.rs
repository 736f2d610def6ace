//! `ocelli queue`.

use std::io::{self, Write as _};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use serde_json::json;

use super::settings;
use crate::broker::redis::keys::ModelName;
use crate::broker::redis::{DeadLetter, Inspector, Link, QueueStatus};
use crate::cli::{DeadArgs, DeadCommand, QueueCommand, RedisArgs};
use crate::job::Priority;
use crate::printable::Lines;

/// How long one question may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// The digits of a digest that are shown.
const DIGITS: usize = 12;

pub(super) fn run(command: &QueueCommand) -> anyhow::Result<ExitCode> {
    let asked = settings::runtime()?.block_on(async {
        match command {
            QueueCommand::Status { redis, json } => status(redis, *json).await,
            QueueCommand::Dead(DeadCommand::List { redis, json }) => list(redis, *json).await,
            QueueCommand::Dead(DeadCommand::Retry(args)) => {
                each(args, "queued again", async |inspector, model, entry| {
                    Ok(inspector.retry(model, entry).await?)
                })
                .await
            }
            QueueCommand::Dead(DeadCommand::Drop(args)) => {
                each(args, "deleted", async |inspector, model, entry| {
                    Ok(inspector.drop_dead(model, entry).await?)
                })
                .await
            }
        }
    });
    asked.with_context(|| format!("asking Redis at {}", settings::redis_name(command.redis())))
}

fn inspector(args: &RedisArgs) -> anyhow::Result<Inspector> {
    let link = Link::new(settings::redis(args)?, settings::process_name("queue"), PATIENCE);
    Ok(Inspector::new(link, args.prefix.clone()))
}

async fn status(args: &RedisArgs, as_json: bool) -> anyhow::Result<ExitCode> {
    let queues = inspector(args)?.status().await?;
    let mut out = Lines(io::stdout().lock());
    if as_json {
        for queue in &queues {
            writeln!(out, "{}", status_json(queue))?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    if queues.is_empty() {
        writeln!(
            out,
            "no queue begins with '{}': no worker has served a model there",
            args.prefix
        )?;
        return Ok(ExitCode::SUCCESS);
    }
    writeln!(
        out,
        "{:<32} {:<12} {:>8} {:>6} {:>6} {:>6} {:>9} {:>9} {:>9} {:>5}",
        "model", "digest", "workers", "high", "normal", "low", "in flight", "consumers", "oldest", "dead"
    )?;
    for queue in &queues {
        let [high, normal, low] = queue.depth;
        let name = format!("{} {}", queue.model.name, queue.model.version);
        writeln!(
            out,
            "{name:<32} {:<12} {:>8} {high:>6} {normal:>6} {low:>6} {:>9} {:>9} {:>9} {:>5}",
            shown(&queue.model.digest),
            queue.workers,
            queue.in_flight,
            queue.consumers,
            queue.oldest.map_or_else(|| "-".to_owned(), shown_age),
            queue.dead
        )?;
    }
    Ok(ExitCode::SUCCESS)
}

fn status_json(queue: &QueueStatus) -> serde_json::Value {
    let depth: serde_json::Map<String, serde_json::Value> = Priority::ALL
        .into_iter()
        .map(|priority| (priority.name().to_owned(), queue.depth[priority.index()].into()))
        .collect();
    json!({
        "model": queue.model.name,
        "version": queue.model.version,
        "digest": queue.model.digest,
        "workers": queue.workers,
        "depth": depth,
        "in_flight": queue.in_flight,
        "consumers": queue.consumers,
        "oldest_seconds": queue.oldest.map(|age| age.as_secs_f64()),
        "dead": queue.dead,
    })
}

async fn list(args: &RedisArgs, as_json: bool) -> anyhow::Result<ExitCode> {
    let letters = all_dead(&inspector(args)?).await?;
    let mut out = Lines(io::stdout().lock());
    if as_json {
        for (model, letter) in &letters {
            let line = json!({
                "entry": letter.entry,
                "model": model.name,
                "version": model.version,
                "digest": model.digest,
                "job": letter.job.to_string(),
                "age_seconds": letter.age.as_secs_f64(),
                "bytes": letter.bytes,
                "worker": letter.worker,
                "reason": letter.reason,
            });
            writeln!(out, "{line}")?;
        }
    } else if letters.is_empty() {
        writeln!(out, "no dead letters")?;
    } else {
        writeln!(
            out,
            "{:<20} {:<28} {:<32} {:>9} {:>9} reason",
            "entry", "model", "job", "age", "bytes"
        )?;
        for (model, letter) in &letters {
            writeln!(
                out,
                "{:<20} {:<28} {:<32} {:>9} {:>9} {}; given up by {}",
                letter.entry,
                format!("{} {}", model.name, model.version),
                letter.job,
                shown_age(letter.age),
                letter.bytes,
                letter.reason,
                letter.worker
            )?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Does something to each dead letter that was asked for, and then says what came of it: whether somebody reads on decides
/// nothing.
async fn each(
    args: &DeadArgs,
    done: &str,
    act: impl AsyncFn(&Inspector, &ModelName, &str) -> anyhow::Result<bool>,
) -> anyhow::Result<ExitCode> {
    let inspector = inspector(&args.redis)?;
    let letters = all_dead(&inspector).await?;
    let known = |entry: &&String| letters.iter().any(|(_, letter)| letter.entry == **entry);
    let missing: Vec<&String> = args.entries.iter().filter(|entry| !known(entry)).collect();
    let mut acted = Vec::new();
    let mut outcome = Ok(());
    for (model, letter) in &letters {
        if args.all || args.entries.contains(&letter.entry) {
            match act(&inspector, model, &letter.entry).await {
                Ok(true) => acted.push(&letter.entry),
                Ok(false) => {}
                Err(error) => {
                    outcome = Err(error);
                    break;
                }
            }
        }
    }
    let mut out = Lines(io::stdout().lock());
    let printed = missing
        .iter()
        .try_for_each(|entry| {
            writeln!(
                out,
                "{entry}: there is no such dead letter; `ocelli queue dead list` shows them"
            )
        })
        .and_then(|()| {
            acted
                .iter()
                .try_for_each(|entry| writeln!(out, "{entry}: {done}"))
        });
    outcome?;
    printed?;
    Ok(if !missing.is_empty() {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

async fn all_dead(inspector: &Inspector) -> anyhow::Result<Vec<(ModelName, DeadLetter)>> {
    let mut all = Vec::new();
    for queue in inspector.status().await? {
        if queue.dead > 0 {
            let letters = inspector.dead(&queue.model).await?;
            all.extend(letters.into_iter().map(|letter| (queue.model.clone(), letter)));
        }
    }
    Ok(all)
}

fn shown(digest: &str) -> &str {
    digest.get(..DIGITS).unwrap_or(digest)
}

/// To the second, once there is one.
fn shown_age(age: Duration) -> String {
    let rounded = if age.as_secs() > 0 {
        Duration::from_secs(age.as_secs())
    } else {
        Duration::from_millis(age.as_millis() as u64)
    };
    humantime::format_duration(rounded).to_string().replace(' ', "")
}
