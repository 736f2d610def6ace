//! Every option, its environment variable and its default. Defaults live only here.

mod bench;
mod browser;
mod help;
mod jobs;
mod listen;
mod log;
mod model;
mod model_command;
mod parse;
mod predict;
mod queue;
mod repository;
mod tips;

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use bytesize::ByteSize;
use clap::{Args, Parser, Subcommand, ValueEnum};
use tips::improve;

pub use bench::BenchArgs;
pub use browser::BrowserArgs;
pub use jobs::JobArgs;
pub use listen::ListenAddress;
pub use log::LogArgs;
pub use model::{EngineArgs, EngineKind, Filter, HintArgs, ModelArgs, SourceArgs};
pub use model_command::{
    CheckArgs, InitArgs, ListArgs, ModelCommand, ModelCommandArgs, PullArgs, RemoveArgs, ShowArgs,
};
pub use parse::{parse, wants_json};
pub use predict::{OutputFormat, PredictArgs};
pub use queue::{DeadArgs, DeadCommand, QueueArgs, QueueCommand, StatusArgs};
pub use repository::{ModelControl, NameArgs, RepositoryArgs};

/// Image model server: send a photo over HTTP, get labels back
#[derive(Debug, Parser)]
#[command(name = "ocelli", version, about, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
    #[command(flatten)]
    pub log: LogArgs,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve models over HTTP, in one process
    Serve(Box<ServeArgs>),
    /// Serve HTTP and send the images through Redis to workers
    Web(Box<WebArgs>),
    /// Run models on the images that web processes send through Redis
    Worker(Box<WorkerArgs>),
    /// Show the queues in Redis and manage dead letters
    Queue(QueueArgs),
    /// Inspect, check, download and package models
    Model(ModelCommandArgs),
    /// Classify image files without a server
    Predict(Box<PredictArgs>),
    /// Measure throughput and latency of a server
    Bench(Box<BenchArgs>),
}

#[derive(Debug, Args)]
#[command(after_help = help::SERVE)]
pub struct ServeArgs {
    /// Address to listen on, such as 0.0.0.0:8080
    ///
    /// Takes host:port, :port for all IPv4 addresses of this machine, or a port alone for 127.0.0.1. Port 0 picks a
    /// free port.
    #[arg(
        long,
        env = "OCELLI_LISTEN",
        value_name = "ADDRESS",
        default_value = "127.0.0.1:5000"
    )]
    pub listen: ListenAddress,
    #[command(flatten)]
    pub model: ModelArgs,
    #[command(flatten)]
    pub repository: RepositoryArgs,
    #[command(flatten)]
    pub names: NameArgs,
    #[command(flatten)]
    pub image: ImageArgs,
    #[command(flatten)]
    pub limits: LimitArgs,
    #[command(flatten)]
    pub browser: BrowserArgs,
    #[command(flatten)]
    pub jobs: JobArgs,
    #[command(flatten)]
    pub connections: ConnectionArgs,
    #[command(flatten)]
    pub drain: DrainArgs,
}

#[derive(Debug, Args)]
#[command(after_help = help::WEB)]
pub struct WebArgs {
    /// Address to listen on, such as 0.0.0.0:8080
    ///
    /// Takes host:port, :port for all IPv4 addresses of this machine, or a port alone for 127.0.0.1. Port 0 picks a
    /// free port.
    #[arg(
        long,
        env = "OCELLI_LISTEN",
        value_name = "ADDRESS",
        default_value = "127.0.0.1:5000"
    )]
    pub listen: ListenAddress,
    #[command(flatten)]
    pub redis: RedisArgs,
    /// Protocol between web processes and workers: native or tutorial
    #[arg(long, env = "OCELLI_WIRE", value_name = "NAME", value_enum, default_value_t = Wire::Native)]
    pub wire: Wire,
    #[command(flatten)]
    pub names: NameArgs,
    #[command(flatten)]
    pub image: ImageArgs,
    #[command(flatten)]
    pub limits: LimitArgs,
    #[command(flatten)]
    pub browser: BrowserArgs,
    #[command(flatten)]
    pub jobs: JobArgs,
    #[command(flatten)]
    pub connections: ConnectionArgs,
    #[command(flatten)]
    pub drain: DrainArgs,
}

#[derive(Debug, Args)]
#[command(after_help = help::WORKER)]
pub struct WorkerArgs {
    /// Address for /livez, /readyz and /metrics
    ///
    /// With the default, the system picks a free port; the log shows it.
    /// Takes host:port, :port for all IPv4 addresses of this machine, or a port alone for 127.0.0.1. Port 0 picks a
    /// free port.
    #[arg(
        long,
        env = "OCELLI_LISTEN",
        value_name = "ADDRESS",
        default_value = "127.0.0.1:0"
    )]
    pub listen: ListenAddress,
    #[command(flatten)]
    pub redis: RedisArgs,
    /// Protocol between web processes and workers: native or tutorial
    #[arg(long, env = "OCELLI_WIRE", value_name = "NAME", value_enum, default_value_t = Wire::Native)]
    pub wire: Wire,
    #[command(flatten)]
    pub model: ModelArgs,
    #[command(flatten)]
    pub repository: RepositoryArgs,
    #[command(flatten)]
    pub redelivery: RedeliveryArgs,
    #[command(flatten)]
    pub connections: ConnectionArgs,
    #[command(flatten)]
    pub drain: WorkerDrainArgs,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Redelivery")]
pub struct RedeliveryArgs {
    /// Time after which another worker takes over the jobs of a silent worker
    ///
    /// A worker renews the lease of each of its jobs three times in this time.
    #[arg(long, env = "OCELLI_LEASE", default_value = "3s", value_parser = lease)]
    pub lease: Duration,
    /// Maximum number of dead letters to keep
    ///
    /// A job becomes a dead letter when each worker that computes it crashes or hangs.
    #[arg(long, env = "OCELLI_DEAD_LETTERS", default_value_t = NonZeroUsize::new(1000).expect("not zero"))]
    pub dead_letters: NonZeroUsize,
    /// Time to keep a dead letter
    #[arg(long, env = "OCELLI_DEAD_TTL", default_value = "7days", value_parser = positive_duration)]
    pub dead_ttl: Duration,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Shutdown")]
pub struct WorkerDrainArgs {
    /// Time to keep taking jobs after SIGTERM or Ctrl-C
    ///
    /// Meanwhile web processes learn that this worker is shutting down.
    #[arg(long, env = "OCELLI_DRAIN_DELAY", default_value = "2s", value_parser = duration)]
    pub drain_delay: Duration,
    /// Time to finish taken jobs during shutdown
    ///
    /// Counted from the end of --drain-delay.
    #[arg(long, env = "OCELLI_DRAIN_TIMEOUT", default_value = "30s", value_parser = duration)]
    pub drain_timeout: Duration,
}

/// Protocol between web processes and workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Wire {
    /// Ocelli's own protocol; loses no job
    Native,
    /// The list `image_queue` of the tutorial "Keras + Redis + Flask", to replace one of its two processes at a time;
    /// polls, has no prefix and no priorities, and can lose jobs
    Tutorial,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Redis")]
pub struct RedisArgs {
    /// URL of the Redis or Valkey server, such as redis://localhost
    ///
    /// The form is redis://user:password@host:6379/0; only the host is required. Use rediss:// for TLS,
    /// redis+sentinel://host,host/service for Sentinel and redis+cluster://host,host for a cluster.
    #[arg(
        long = "redis",
        env = "OCELLI_REDIS",
        value_name = "URL",
        hide_env_values = true
    )]
    pub url: String,
    /// Prefix of all keys in Redis
    ///
    /// Processes with different prefixes do not see each other.
    #[arg(long = "redis-prefix", env = "OCELLI_REDIS_PREFIX", value_name = "PREFIX", default_value = "ocelli", value_parser = redis_prefix)]
    pub prefix: String,
    /// CA certificates (PEM) for TLS connections to Redis [default: those of the system]
    #[arg(long = "redis-ca", env = "OCELLI_REDIS_CA", value_name = "FILE")]
    pub authorities: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Shutdown")]
pub struct DrainArgs {
    /// Time to keep accepting requests after SIGTERM or Ctrl-C, while /readyz answers 503
    ///
    /// A second signal, at least 1 s after the first, ends the process at once.
    #[arg(long, env = "OCELLI_DRAIN_DELAY", default_value = "0s", value_parser = duration)]
    pub drain_delay: Duration,
    /// Time to finish accepted requests during shutdown
    ///
    /// Counted from the end of --drain-delay. Requests whose bodies have not arrived 1 s after --drain-delay are refused. When all requests are answered,
    /// clients that read nothing for 5 s are disconnected.
    #[arg(long, env = "OCELLI_DRAIN_TIMEOUT", default_value = "30s", value_parser = duration)]
    pub drain_timeout: Duration,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Limits")]
pub struct ImageArgs {
    /// Maximum number of pixels per image
    ///
    /// The size is read from the header, before the image is decoded.
    #[arg(long, env = "OCELLI_MAX_PIXELS", default_value_t = 50_000_000)]
    pub max_pixels: u64,
    /// Maximum number of scans in a progressive JPEG
    #[arg(long, env = "OCELLI_MAX_SCANS", default_value_t = 32)]
    pub max_scans: u32,
    /// Maximum memory for decoding images
    ///
    /// All images share it. It covers pixels, decoder tables and copies of parts of the file.
    #[arg(long, env = "OCELLI_MAX_DECODING_BYTES", default_value = "512MiB")]
    pub max_decoding_bytes: ByteSize,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Limits")]
pub struct LimitArgs {
    /// Maximum number of images accepted and not yet answered
    ///
    /// Further images are refused with 429. Low-priority requests may fill 80 % of the queue, normal ones 90 %. With
    /// several models, one model may fill half of the queue, and the other half is divided among all of them.
    #[arg(long, env = "OCELLI_QUEUE_JOBS", default_value_t = NonZeroUsize::new(1024).expect("not zero"))]
    pub queue_jobs: NonZeroUsize,
    /// Maximum memory for accepted images, shared like --queue-jobs
    #[arg(long, env = "OCELLI_QUEUE_BYTES", default_value = "256MiB")]
    pub queue_bytes: ByteSize,
    /// Maximum number of requests whose bodies are still arriving
    ///
    /// At the limit, the slowest request is answered 408 to make room.
    #[arg(long, env = "OCELLI_MAX_RECEIVING", default_value_t = NonZeroUsize::new(1024).expect("not zero"))]
    pub max_receiving: NonZeroUsize,
    /// Maximum memory for bodies that are still arriving
    ///
    /// It is needed in addition to --queue-bytes, and must be at least --max-body.
    #[arg(long, env = "OCELLI_RECEIVING_BYTES", default_value = "128MiB")]
    pub receiving_bytes: ByteSize,
    /// Time for a request body to arrive, counted from the end of the headers
    ///
    /// X-Timeout-Ms does not change it.
    #[arg(long, env = "OCELLI_BODY_TIMEOUT", default_value = "30s", value_parser = positive_duration)]
    pub body_timeout: Duration,
    /// Minimum bytes per second of an arriving body
    ///
    /// A body may fall up to 5 s behind this rate.
    #[arg(long, env = "OCELLI_MIN_BODY_RATE", default_value = "1KiB", value_parser = positive_size)]
    pub min_body_rate: ByteSize,
    /// Maximum size of a request body
    #[arg(long, env = "OCELLI_MAX_BODY", default_value = "32MiB")]
    pub max_body: ByteSize,
    /// Maximum number of images in one request
    #[arg(long, env = "OCELLI_MAX_IMAGES", default_value_t = NonZeroUsize::new(64).expect("not zero"))]
    pub max_images: NonZeroUsize,
    /// Time to answer a request without X-Timeout-Ms
    ///
    /// Counted from the end of the request headers. With --wire tutorial the default is 60s, because the tutorial's
    /// clients wait without a limit.
    #[arg(
        long,
        env = "OCELLI_DEADLINE",
        default_value = "10s",
        default_value_if("wire", "tutorial", "60s"),
        value_parser = positive_duration
    )]
    pub deadline: Duration,
    /// Maximum value of X-Timeout-Ms
    #[arg(long, env = "OCELLI_MAX_DEADLINE", default_value = "60s", value_parser = positive_duration)]
    pub max_deadline: Duration,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Connections")]
pub struct ConnectionArgs {
    /// Time for the request headers to arrive, counted from the start of the connection
    #[arg(long, env = "OCELLI_HEADER_TIMEOUT", default_value = "10s", value_parser = positive_duration)]
    pub header_timeout: Duration,
    /// Time after which an idle connection is closed
    #[arg(long, env = "OCELLI_IDLE_TIMEOUT", default_value = "75s", value_parser = positive_duration)]
    pub idle_timeout: Duration,
    /// Time for a client to read the next part of a response
    ///
    /// After that the response is dropped, and an HTTP/1.1 connection is closed.
    #[arg(long, env = "OCELLI_RESPONSE_TIMEOUT", default_value = "30s", value_parser = positive_duration)]
    pub response_timeout: Duration,
    /// Maximum memory for responses that clients have not read yet
    ///
    /// At the limit, the oldest responses are dropped.
    #[arg(long, env = "OCELLI_RESPONSE_BYTES", default_value = "128MiB")]
    pub response_bytes: ByteSize,
    /// Maximum number of open connections; further ones wait to be accepted
    #[arg(long, env = "OCELLI_MAX_CONNECTIONS", default_value_t = NonZeroUsize::new(4096).expect("not zero"))]
    pub max_connections: NonZeroUsize,
    /// Log one line per request, at any --log-level
    ///
    /// At --log-level debug these lines are always logged.
    #[arg(long, env = "OCELLI_ACCESS_LOG", help_heading = "Logging")]
    pub access_log: bool,
}

fn duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text)
        .map_err(|error| format!("{error}; write a duration such as 500ms, 10s or 2m"))
}

fn positive_duration(text: &str) -> Result<Duration, String> {
    duration(text)?
        .checked_sub(Duration::from_nanos(1))
        .ok_or("must be longer than 0s")?;
    duration(text)
}

fn positive_size(text: &str) -> Result<ByteSize, String> {
    let size: ByteSize = text.parse()?;
    Some(size)
        .filter(|size| size.as_u64() > 0)
        .ok_or("must be at least 1 byte".to_owned())
}

/// Braces would choose the slot of every key in a cluster, and other characters have a meaning in Redis patterns.
fn redis_prefix(text: &str) -> Result<String, String> {
    const LONGEST: usize = 64;
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | ':');
    if (1..=LONGEST).contains(&text.len()) && text.chars().all(is_plain) {
        return Ok(text.to_owned());
    }
    Err(format!(
        "use 1 to {LONGEST} characters of A-Z, a-z, 0-9, '.', '_', '-' and ':'"
    ))
}

/// A worker renews each lease three times before it expires, over a network.
fn lease(text: &str) -> Result<Duration, String> {
    const LEAST: Duration = Duration::from_secs(1);
    Some(duration(text)?)
        .filter(|lease| *lease >= LEAST)
        .ok_or(format!("must be at least {LEAST:?}"))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_deadline_is_longer_for_clients_of_the_tutorial() {
        let deadline = |arguments: &[&str]| {
            let cli = Cli::try_parse_from([&["ocelli"], arguments].concat()).expect("valid arguments");
            match cli.command {
                Command::Web(web) => web.limits.deadline,
                Command::Serve(serve) => serve.limits.deadline,
                _ => unreachable!("another command"),
            }
        };
        let web = ["web", "--redis", "redis://localhost", "--wire"];
        let tutorial = [&web[..], &["tutorial"]].concat();
        assert_eq!(deadline(&["serve"]), Duration::from_secs(10));
        assert_eq!(
            deadline(&[&web[..], &["native"]].concat()),
            Duration::from_secs(10)
        );
        assert_eq!(deadline(&tutorial), Duration::from_secs(60));
        assert_eq!(
            deadline(&[&tutorial[..], &["--deadline", "5s"]].concat()),
            Duration::from_secs(5)
        );
    }

    #[test]
    fn durations_are_checked() {
        assert_eq!(duration("1m 30s"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("0s"), Ok(Duration::ZERO));
        assert!(positive_duration("0s").is_err());
        assert!(duration("10").unwrap_err().contains("10s"));
        assert_eq!(redis_prefix("prod:ocelli"), Ok("prod:ocelli".to_owned()));
        assert!(
            ["", "{a}", "a*", "a b"]
                .iter()
                .all(|prefix| redis_prefix(prefix).is_err())
        );
        assert_eq!(positive_size("1KiB"), Ok(ByteSize::kib(1)));
        assert!(positive_size("0").is_err());
        assert_eq!(lease("1s"), Ok(Duration::from_secs(1)));
        assert!(lease("999ms").unwrap_err().contains("at least 1s"));
    }
}
