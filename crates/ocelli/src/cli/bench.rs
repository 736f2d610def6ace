//! The options of `ocelli bench`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::{duration, positive_duration};

/// `ocelli bench`.
#[derive(Debug, Args)]
pub struct BenchArgs {
    /// The server, such as http://127.0.0.1:5000 (then /predict) or with another path
    pub url: String,
    /// Photos to send, in turn: files and folders
    #[arg(long, required = true, num_args = 1.., value_name = "PATH")]
    pub photos: Vec<PathBuf>,
    /// Closed loop: connections that send their next photo when they have their answer
    #[arg(long, short, default_value_t = 8, conflicts_with_all = ["rate", "tutorial"])]
    pub concurrency: usize,
    /// Open loop: photos a second, sent at even intervals whether or not there are answers
    #[arg(long, short, conflicts_with = "tutorial")]
    pub rate: Option<f64>,
    /// The tutorial's stress test: 500 photos, one each 0.05 s
    #[arg(long, conflicts_with_all = ["duration", "requests"])]
    pub tutorial: bool,
    /// How long to measure
    #[arg(long, short, default_value = "10s", value_parser = positive_duration)]
    pub duration: Duration,
    /// Measure this many requests instead
    #[arg(long, short = 'n', conflicts_with = "duration")]
    pub requests: Option<u64>,
    /// How long to load the server before measuring
    #[arg(long, default_value = "1s", value_parser = duration)]
    pub warmup: Duration,
    /// When a request without an answer counts as failed
    #[arg(long, default_value = "30s", value_parser = positive_duration)]
    pub timeout: Duration,
    /// Connections that an open loop may open
    #[arg(long, default_value_t = 1024)]
    pub max_connections: usize,
    /// Send the photo itself as the body instead of a multipart form
    #[arg(long)]
    pub raw: bool,
    /// Print the report as JSON
    #[arg(long)]
    pub json: bool,
}
