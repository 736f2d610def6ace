//! The options of `ocelli queue`.

use std::time::Duration;

use clap::{Args, Subcommand};

use super::{RedisArgs, duration};

#[derive(Debug, Args)]
pub struct QueueArgs {
    #[command(subcommand)]
    pub command: QueueCommand,
}

#[derive(Debug, Subcommand)]
pub enum QueueCommand {
    /// Show queued jobs, workers and dead letters of each model
    Status(StatusArgs),
    /// Manage dead letters: jobs given up because each worker that computed them crashed or hung
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
    /// Repeat until Ctrl-C, every DURATION or every 2s
    ///
    /// On a terminal, each status replaces the previous one. The command goes on while Redis cannot be reached.
    #[arg(long, num_args = 0..=1, default_missing_value = "2s", value_parser = interval)]
    pub watch: Option<Duration>,
    /// Print JSON, one object per line
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub redis: RedisArgs,
}

/// Each status queries every queue, so a shorter interval would load Redis.
fn interval(text: &str) -> Result<Duration, String> {
    const LEAST: Duration = Duration::from_millis(100);
    Some(duration(text)?)
        .filter(|interval| *interval >= LEAST)
        .ok_or(format!("must be at least {LEAST:?}"))
}

#[derive(Debug, Subcommand)]
pub enum DeadCommand {
    /// List dead letters
    List {
        /// Print JSON, one object per line
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        redis: RedisArgs,
    },
    /// Queue dead letters again
    Retry(DeadArgs),
    /// Delete dead letters
    Drop(DeadArgs),
}

#[derive(Debug, Args)]
pub struct DeadArgs {
    /// Entries as shown by `list`
    #[arg(required_unless_present = "all", value_name = "ENTRY")]
    pub entries: Vec<String>,
    /// All entries
    #[arg(long, conflicts_with = "entries")]
    pub all: bool,
    /// Only entries of this model, as shown by `list`
    ///
    /// Add the version, and the start of the digest, where the name is ambiguous.
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
            _ => unreachable!("another command"),
        }
    }

    #[test]
    fn watch_has_a_default_and_a_minimum_interval() {
        assert_eq!(watch(&[]), Ok(None));
        assert_eq!(watch(&["--watch"]), Ok(Some(Duration::from_secs(2))));
        assert_eq!(watch(&["--watch", "--json"]), Ok(Some(Duration::from_secs(2))));
        assert_eq!(watch(&["--watch", "500ms"]), Ok(Some(Duration::from_millis(500))));
        assert!(watch(&["--watch", "1ms"]).unwrap_err().contains("at least 100ms"));
        assert!(watch(&["--watch", "5"]).unwrap_err().contains("such as"));
    }
}
