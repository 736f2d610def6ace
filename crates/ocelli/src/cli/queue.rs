//! The options of `ocelli queue`.

use std::time::Duration;

use clap::{Args, Subcommand};

use super::{RedisArgs, duration};

#[derive(Debug, Args)]
pub struct QueueArgs {
    #[command(subcommand)]
    pub command: QueueCommand,
}

/// What can be done to queues.
#[derive(Debug, Subcommand)]
pub enum QueueCommand {
    /// Show the queue of every model: queued jobs, workers, dead letters
    Status(StatusArgs),
    /// Manage dead letters: jobs that were given up because they ended each worker that computed them
    #[command(subcommand)]
    Dead(DeadCommand),
}

impl QueueCommand {
    #[must_use]
    pub fn redis(&self) -> &RedisArgs {
        match self {
            Self::Status(args) => &args.redis,
            Self::Dead(DeadCommand::List { redis, .. }) => redis,
            Self::Dead(DeadCommand::Retry(args) | DeadCommand::Drop(args)) => &args.redis,
        }
    }
}

#[derive(Debug, Args)]
pub struct StatusArgs {
    /// Repeat every DURATION until Ctrl-C; 2s where none is given
    ///
    /// On a terminal each status takes the place of the one before, elsewhere it follows it. A Redis that cannot be reached
    /// does not end the command.
    #[arg(long, num_args = 0..=1, default_missing_value = "2s", value_parser = interval)]
    pub watch: Option<Duration>,
    /// Print JSON, one object per line
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub redis: RedisArgs,
}

/// Each status asks Redis about every queue.
fn interval(text: &str) -> Result<Duration, String> {
    const LEAST: Duration = Duration::from_millis(100);
    Some(duration(text)?)
        .filter(|interval| *interval >= LEAST)
        .ok_or(format!("it must be at least {LEAST:?}"))
}

/// What can be done to dead letters.
#[derive(Debug, Subcommand)]
pub enum DeadCommand {
    /// List dead letters
    List {
        #[command(flatten)]
        redis: RedisArgs,
        /// Print JSON, one object per line
        #[arg(long)]
        json: bool,
    },
    /// Queue dead letters again
    Retry(DeadArgs),
    /// Delete dead letters
    Drop(DeadArgs),
}

#[derive(Debug, Args)]
pub struct DeadArgs {
    /// Entries, as `list` shows them
    #[arg(required_unless_present = "all", value_name = "ENTRY")]
    pub entries: Vec<String>,
    /// All entries
    #[arg(long, conflicts_with = "entries")]
    pub all: bool,
    /// Only those of this model, as `list` shows it: a name, with its version and the start of its digest where that is
    /// not enough
    #[arg(long, value_name = "NAME[/VERSION[/DIGEST]]")]
    pub model: Option<String>,
    #[command(flatten)]
    pub redis: RedisArgs,
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::{Cli, Command};

    fn watch(arguments: &[&str]) -> Result<Option<Duration>, String> {
        let command = ["ocelli", "queue", "status", "--redis", "redis://localhost"];
        let cli = Cli::try_parse_from([&command, arguments].concat()).map_err(|error| error.to_string())?;
        match cli.command {
            Command::Queue(QueueArgs {
                command: QueueCommand::Status(args),
            }) => Ok(args.watch),
            _ => unreachable!("it was not asked for"),
        }
    }

    #[test]
    fn a_watch_needs_no_duration_and_is_not_too_fast() {
        assert_eq!(watch(&[]), Ok(None));
        assert_eq!(watch(&["--watch"]), Ok(Some(Duration::from_secs(2))));
        assert_eq!(watch(&["--watch", "--json"]), Ok(Some(Duration::from_secs(2))));
        assert_eq!(watch(&["--watch", "500ms"]), Ok(Some(Duration::from_millis(500))));
        assert!(watch(&["--watch", "1ms"]).unwrap_err().contains("at least 100ms"));
        assert!(watch(&["--watch", "5"]).unwrap_err().contains("such as"));
    }
}
