//! The options of `ocelli bench`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::{duration, help, positive_duration};

#[derive(Debug, Args)]
#[command(after_help = help::BENCH)]
pub struct BenchArgs {
    /// URL of the server, such as http://127.0.0.1:5000
    ///
    /// The default path is /predict. https:// uses TLS.
    pub url: String,
    /// Photos to send in turn: files, folders or patterns such as 'photos/*.jpg'
    #[arg(long, required = true, num_args = 1.., value_name = "PATH")]
    pub photos: Vec<String>,
    /// Closed loop: number of clients, each of which sends its next photo after an answer
    #[arg(long, short, default_value_t = 8, conflicts_with_all = ["rate", "tutorial"])]
    pub concurrency: usize,
    /// Open loop: photos per second, at even intervals, without waiting for answers
    #[arg(long, short, value_name = "PER_SECOND", conflicts_with = "tutorial")]
    pub rate: Option<f64>,
    /// Stress test of the tutorial: 500 photos, one every 0.05 s
    #[arg(long, conflicts_with_all = ["duration", "requests"])]
    pub tutorial: bool,
    /// Duration of the measurement
    #[arg(long, short, default_value = "10s", value_parser = positive_duration)]
    pub duration: Duration,
    /// Number of requests to measure, instead of --duration
    #[arg(long, short = 'n', conflicts_with = "duration")]
    pub requests: Option<u64>,
    /// Duration of the warm-up before the measurement
    #[arg(long, default_value = "1s", value_parser = duration)]
    pub warmup: Duration,
    /// Time after which an unanswered request counts as failed
    #[arg(long, default_value = "30s", value_parser = positive_duration)]
    pub timeout: Duration,
    /// Maximum number of connections of an open loop
    #[arg(long, default_value_t = 1024)]
    pub max_connections: usize,
    /// Send the photo itself as the body instead of a multipart form
    #[arg(long)]
    pub raw: bool,
    /// CA certificates (PEM) for an https:// server [default: those of the system]
    #[arg(long = "ca", value_name = "FILE")]
    pub authorities: Option<PathBuf>,
    /// Print the report as JSON
    #[arg(long)]
    pub json: bool,
}
