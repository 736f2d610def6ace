//! `ocelli queue`.

mod status;
mod watch;

use std::collections::BTreeSet;
use std::io::{self, Write as _};
use std::process::ExitCode;
use std::time::Duration;

use serde_json::json;

use super::settings;
use crate::cli::{DeadArgs, DeadCommand, QueueCommand, RedisArgs, StatusArgs};
use crate::process::printable::Lines;
use crate::queue::redis::keys::ModelName;
use crate::queue::redis::{DeadLetter, Link, LinkError, Outage, QueueAdmin, RedisUrl};
use watch::watch;

/// Maximum time of one command to Redis.
const TIMEOUT: Duration = Duration::from_secs(5);

pub(super) fn run(command: &QueueCommand) -> anyhow::Result<ExitCode> {
    let target = settings::redis(command.redis())?;
    let runtime = settings::runtime()?;
    let result = runtime.block_on(async {
        match command {
            QueueCommand::Status(args) => status(args, &target).await,
            QueueCommand::Dead(DeadCommand::List { redis, json }) => list(redis, &target, *json).await,
            QueueCommand::Dead(DeadCommand::Retry(args)) => {
                each(args, &target, "queued again", async |inspector, model, entry| {
                    Ok(inspector.retry(model, entry).await?)
                })
                .await
            }
            QueueCommand::Dead(DeadCommand::Drop(args)) => {
                each(args, &target, "deleted", async |inspector, model, entry| {
                    Ok(inspector.drop_dead(model, entry).await?)
                })
                .await
            }
        }
    });
    // A thread that prints to a pipe without a reader must not keep the process alive.
    runtime.shutdown_background();
    result.map_err(|error| match error.downcast::<LinkError>() {
        Ok(error) => explained(error, &target),
        Err(error) => error,
    })
}

fn inspector(args: &RedisArgs, target: &RedisUrl) -> QueueAdmin {
    let link = Link::new(target.clone(), settings::process_name("queue"), TIMEOUT);
    QueueAdmin::new(link, args.prefix.clone())
}

/// Adds the address and advice to an error.
fn explained(error: LinkError, target: &RedisUrl) -> anyhow::Error {
    let text = error.to_string();
    match error {
        LinkError::Down(outage) => anyhow::anyhow!("{outage}{}", advice(&outage, target)),
        error if text.contains(&target.to_string()) => error.into(),
        error => anyhow::Error::new(error).context(format!("cannot query Redis at {target}")),
    }
}

/// Advice to append to the message of an outage.
fn advice(outage: &Outage, target: &RedisUrl) -> String {
    if outage.is_unreachable {
        format!("; {}", target.advice())
    } else {
        String::new()
    }
}

async fn status(args: &StatusArgs, target: &RedisUrl) -> anyhow::Result<ExitCode> {
    let inspector = inspector(&args.redis, target);
    if let Some(interval) = args.watch {
        return watch(&inspector, args, interval, target).await;
    }
    let queues = inspector.status().await?;
    let text = if args.json {
        status::json_lines(&queues, None)
    } else {
        status::table(&queues, &args.redis.prefix)
    };
    Lines(io::stdout().lock()).write_all(text.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

async fn list(args: &RedisArgs, target: &RedisUrl, as_json: bool) -> anyhow::Result<ExitCode> {
    let letters = all_dead(&inspector(args, target)).await?;
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

/// Applies `act` to each chosen dead letter and prints the results afterwards, so that a closed pipe does not interrupt
/// the work.
async fn each(
    args: &DeadArgs,
    target: &RedisUrl,
    done: &str,
    act: impl AsyncFn(&QueueAdmin, &ModelName, &str) -> anyhow::Result<bool>,
) -> anyhow::Result<ExitCode> {
    let inspector = inspector(&args.redis, target);
    let letters = all_dead(&inspector).await?;
    let places = letters
        .iter()
        .map(|(model, letter)| (model, letter.entry.as_str()));
    let (chosen, refused) = choose(args, places.collect());
    let mut lines = refused;
    let complete = lines.is_empty();
    let mut result = Ok(());
    for (model, entry) in chosen {
        match act(&inspector, model, entry).await {
            Ok(true) => lines.push(format!("{entry}: {done}")),
            Ok(false) => {}
            Err(error) => {
                result = Err(error);
                break;
            }
        }
    }
    let mut out = Lines(io::stdout().lock());
    let printed = lines.iter().try_for_each(|line| writeln!(out, "{line}"));
    result?;
    printed?;
    Ok(if complete {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// A dead letter: its model and its entry. Dead letters of different models may have the same entry.
type Letter<'a> = (&'a ModelName, &'a str);

/// The dead letters that `args` select, and an error for each entry that does not exist or that several models have.
fn choose<'a>(args: &DeadArgs, letters: Vec<Letter<'a>>) -> (Vec<Letter<'a>>, Vec<String>) {
    let wanted = |(model, _): &Letter<'_>| args.model.as_ref().is_none_or(|text| names(text, model));
    let letters: Vec<Letter<'a>> = letters.into_iter().filter(wanted).collect();
    if args.all {
        return (letters, Vec::new());
    }
    let (mut chosen, mut refused) = (Vec::new(), Vec::new());
    let entries: BTreeSet<&String> = args.entries.iter().collect();
    for entry in entries {
        let found: Vec<Letter<'a>> = letters.iter().copied().filter(|(_, one)| one == entry).collect();
        match found[..] {
            [] => refused.push(format!(
                "{entry}: no such dead letter; `ocelli queue dead list` lists them"
            )),
            [letter] => chosen.push(letter),
            _ => {
                let models: Vec<String> = found.iter().map(|(model, _)| full_name(model)).collect();
                refused.push(format!(
                    "{entry}: several models have this dead letter; choose one with --model: {}",
                    models.join(", ")
                ));
            }
        }
    }
    (chosen, refused)
}

/// The unambiguous value of `--model`.
fn full_name(model: &ModelName) -> String {
    format!("{}/{}/{}", model.name, model.version, model.digest)
}

/// Whether `text`, a value of `--model`, refers to this model.
fn names(text: &str, model: &ModelName) -> bool {
    let mut parts = text.splitn(3, '/');
    parts.next() == Some(model.name.as_str())
        && parts.next().is_none_or(|version| version == model.version)
        && parts.next().is_none_or(|digest| model.digest.starts_with(digest))
}

async fn all_dead(inspector: &QueueAdmin) -> anyhow::Result<Vec<(ModelName, DeadLetter)>> {
    let mut all = Vec::new();
    for queue in inspector.status().await? {
        if queue.dead > 0 {
            let letters = inspector.dead(&queue.model).await?;
            all.extend(letters.into_iter().map(|letter| (queue.model.clone(), letter)));
        }
    }
    Ok(all)
}

/// Rounded to seconds, or to milliseconds below one second.
fn shown_age(age: Duration) -> String {
    let rounded = if age.as_secs() > 0 {
        Duration::from_secs(age.as_secs())
    } else {
        Duration::from_millis(age.as_millis() as u64)
    };
    humantime::format_duration(rounded).to_string().replace(' ', "")
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[derive(Debug, clap::Parser)]
    struct Parsed {
        #[command(flatten)]
        args: DeadArgs,
    }

    fn model(name: &str, version: &str, digest: &str) -> ModelName {
        let [name, version, digest] = [name, version, digest].map(str::to_owned);
        ModelName {
            name,
            version,
            digest,
        }
    }

    #[test]
    fn an_entry_that_several_models_have_needs_a_model() {
        let models = [
            model("a", "1", "aaaa"),
            model("a", "1", "abcd"),
            model("b", "2", "aaaa"),
        ];
        let letters = || {
            let mut letters: Vec<Letter<'_>> = models.iter().map(|model| (model, "1-0")).collect();
            letters.push((&models[2], "2-0"));
            letters
        };
        let chosen = |words: &[&str]| {
            let words = ["x", "--redis", "redis://localhost"].iter().chain(words);
            let parsed = Parsed::try_parse_from(words).expect("valid arguments");
            let (chosen, refused) = choose(&parsed.args, letters());
            let chosen = chosen
                .iter()
                .map(|(model, entry)| format!("{} {entry}", full_name(model)));
            (chosen.collect::<Vec<_>>(), refused)
        };
        let (none, refused) = chosen(&["1-0"]);
        assert!(none.is_empty());
        assert!(
            refused[0].contains("--model: a/1/aaaa, a/1/abcd, b/2/aaaa"),
            "{refused:?}"
        );
        for (name, found) in [
            ("b", "b/2/aaaa 1-0"),
            ("b/2", "b/2/aaaa 1-0"),
            ("a/1/ab", "a/1/abcd 1-0"),
        ] {
            assert_eq!(
                chosen(&["1-0", "--model", name]),
                (vec![found.to_owned()], vec![])
            );
        }
        assert_eq!(
            chosen(&["1-0", "--model", "a"]).1.len(),
            1,
            "two models have this name"
        );
        for name in ["c", "b/1", "a/1/x"] {
            let (none, refused) = chosen(&["1-0", "--model", name]);
            assert!(
                none.is_empty() && refused[0].contains("no such dead letter"),
                "{refused:?}"
            );
        }
        // A refused entry does not affect others, and a repeated entry counts once.
        let (one, refused) = chosen(&["1-0", "2-0", "2-0"]);
        assert_eq!((one, refused.len()), (vec!["b/2/aaaa 2-0".to_owned()], 1));
        assert_eq!(chosen(&["--all"]).0.len(), 4);
        assert_eq!(chosen(&["--all", "--model", "b"]).0.len(), 2);
    }
}
