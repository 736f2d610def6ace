//! The options of `ocelli queue`.

use clap::{Args, Subcommand};

use super::RedisArgs;

/// `ocelli queue`.
#[derive(Debug, Args)]
pub struct QueueArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: QueueCommand,
}

/// What can be done to queues.
#[derive(Debug, Subcommand)]
pub enum QueueCommand {
    /// Show the queue of every model: queued jobs, workers, dead letters
    Status {
        /// Where the queues are.
        #[command(flatten)]
        redis: RedisArgs,
        /// Print JSON, one object per line
        #[arg(long)]
        json: bool,
    },
    /// Manage dead letters: jobs that were given up because they ended each worker that computed them
    #[command(subcommand)]
    Dead(DeadCommand),
}

impl QueueCommand {
    /// Where the queues are.
    #[must_use]
    pub fn redis(&self) -> &RedisArgs {
        match self {
            Self::Status { redis, .. } | Self::Dead(DeadCommand::List { redis, .. }) => redis,
            Self::Dead(DeadCommand::Retry(args) | DeadCommand::Drop(args)) => &args.redis,
        }
    }
}

/// What can be done to dead letters.
#[derive(Debug, Subcommand)]
pub enum DeadCommand {
    /// List dead letters
    List {
        /// Where the queues are.
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

/// Which dead letters.
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
    /// Where the queues are.
    #[command(flatten)]
    pub redis: RedisArgs,
}
