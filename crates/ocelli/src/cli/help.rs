//! What all help texts share: units of values, the options that `-h` shows, and examples.

use std::any::TypeId;
use std::num::NonZeroUsize;
use std::time::Duration;

use bytesize::ByteSize;
use clap::{Arg, Command};

/// Commands with more options than fit on a screen. Their `-h` shows only [`COMMON`]; `--help` shows everything.
const LARGE: [&str; 3] = ["serve", "web", "worker"];

const COMMON: [&str; 21] = [
    "listen",
    "redis",
    "wire",
    "model",
    "preset",
    "labels",
    "instances",
    "threads-per-instance",
    "max-batch",
    "max-delay",
    "model-dir",
    "default-model",
    "max-pixels",
    "queue-jobs",
    "max-body",
    "max-images",
    "deadline",
    "job-ttl",
    "lease",
    "drain-timeout",
    "access-log",
];

fn units() -> [(TypeId, &'static str); 6] {
    [
        (TypeId::of::<Duration>(), "DURATION"),
        (TypeId::of::<ByteSize>(), "SIZE"),
        (TypeId::of::<NonZeroUsize>(), "COUNT"),
        (TypeId::of::<usize>(), "COUNT"),
        (TypeId::of::<u64>(), "COUNT"),
        (TypeId::of::<u32>(), "COUNT"),
    ]
}

/// The command as its help shows it. Short help omits the names of environment variables and the lists of values, which
/// would take most of its width.
pub(super) fn shown(command: Command, short: bool) -> Command {
    let is_large = LARGE.contains(&command.get_name());
    command
        .mut_args(|argument| {
            let argument = with_unit(argument);
            let is_common = argument.get_long().is_none_or(|name| COMMON.contains(&name));
            let argument = if is_large && !is_common {
                argument.hide_short_help(true)
            } else {
                argument
            };
            let takes_value = argument.get_action().takes_values();
            if short {
                argument.hide_env(true).hide_possible_values(takes_value)
            } else {
                argument
            }
        })
        .mut_subcommands(|command| shown(command, short))
}

/// Clap names a value after its option; the unit tells the user more.
fn with_unit(argument: Arg) -> Arg {
    let own_name = argument.get_id().as_str().to_uppercase();
    let is_unnamed = argument
        .get_value_names()
        .is_some_and(|names| names.len() == 1 && names[0] == own_name.as_str());
    let kind = argument.get_value_parser().type_id();
    match units().into_iter().find(|(known, _)| kind == *known) {
        Some((_, unit)) if is_unnamed => argument.value_name(unit),
        _ => argument,
    }
}

pub(super) const SERVE: &str = "\
Examples:
  ocelli serve                                    # the built-in model, on http://127.0.0.1:5000
  ocelli serve --listen 0.0.0.0:8080 --model my-model
  ocelli serve --model hf:owner/name
  ocelli serve --model-dir models --default-model cats
  curl -F image=@photo.jpg localhost:5000/predict";

pub(super) const WEB: &str = "\
Examples:
  ocelli web --redis redis://localhost            # uses the workers on this Redis
  ocelli web --redis rediss://user:password@redis.example:6379 --listen 0.0.0.0:5000";

pub(super) const WORKER: &str = "\
Examples:
  ocelli worker --redis redis://localhost         # the built-in model
  ocelli worker --redis redis://localhost --model my-model --instances 2";

pub(super) const PREDICT: &str = "\
Examples:
  ocelli predict photo.jpg
  ocelli predict photos/ --top-k 1 --format csv
  ocelli predict 'photos/*.jpg' --model my-model --format jsonl";

pub(super) const BENCH: &str = "\
Examples:
  ocelli bench http://localhost:5000 --photos photos/
  ocelli bench http://localhost:5000 --photos photo.jpg --rate 50 --duration 30s
  ocelli bench https://ocelli.example/predict --photos photos/ --ca ca.pem --json";

pub(super) const CHECK: &str = "\
Examples:
  ocelli model check my-model photo.jpg           # prints the input values and the scores
  ocelli model check hf:owner/name photo.jpg --save-input input.npy";

#[cfg(test)]
mod tests;
