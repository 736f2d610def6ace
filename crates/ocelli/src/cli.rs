//! Every option, its environment variable and its default. Nowhere else has a default.

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

/// Serves image models: send it a photo, it answers with labels.
#[derive(Debug, Parser)]
#[command(name = "ocelli", version, about, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
    #[command(flatten)]
    pub log: LogArgs,
}

/// One for each role and tool.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Answer requests over HTTP, in one process
    Serve(Box<ServeArgs>),
    /// Answer requests over HTTP with the results of workers behind a Redis server
    Web(Box<WebArgs>),
    /// Compute the requests of web processes behind a Redis server
    Worker(Box<WorkerArgs>),
    /// Show and repair the queues in Redis
    Queue(QueueArgs),
    /// Inspect, check, fetch and package models
    Model(ModelCommandArgs),
    /// Classify files without a server
    Predict(Box<PredictArgs>),
    /// Measure a server under load
    Bench(Box<BenchArgs>),
}

#[derive(Debug, Args)]
#[command(after_help = help::SERVE)]
pub struct ServeArgs {
    /// Address to listen on, such as 0.0.0.0:8080
    ///
    /// host:port, or a port alone for clients on this machine. :port stands for every address of this machine, and port 0 for a
    /// free one.
    #[arg(
        long,
        env = "OCELLI_LISTEN",
        value_name = "ADDRESS",
        default_value = "127.0.0.1:5000"
    )]
    pub listen: ListenAddress,
    /// The model and how to run it.
    #[command(flatten)]
    pub model: ModelArgs,
    #[command(flatten)]
    pub repository: RepositoryArgs,
    /// What clients may call models.
    #[command(flatten)]
    pub names: NameArgs,
    #[command(flatten)]
    pub image: ImageArgs,
    #[command(flatten)]
    pub limits: LimitArgs,
    /// Web pages of other origins.
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
    /// host:port, or a port alone for clients on this machine. :port stands for every address of this machine, and port 0 for a
    /// free one.
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
    /// What clients may call models.
    #[command(flatten)]
    pub names: NameArgs,
    #[command(flatten)]
    pub image: ImageArgs,
    #[command(flatten)]
    pub limits: LimitArgs,
    /// Web pages of other origins.
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
    /// Address of /livez, /readyz and /metrics; the log names the port
    ///
    /// host:port, or a port alone for clients on this machine. :port stands for every address of this machine, and port 0 for a
    /// free one.
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
    /// The model and how to run it.
    #[command(flatten)]
    pub model: ModelArgs,
    #[command(flatten)]
    pub repository: RepositoryArgs,
    /// How long a worker owns a job without renewing it
    ///
    /// After that another worker takes the job.
    #[arg(long, env = "OCELLI_LEASE", default_value = "3s", value_parser = lease)]
    pub lease: Duration,
    /// Jobs to keep that were given up because they ended each worker that computed them
    #[arg(long, env = "OCELLI_DEAD_LETTERS", default_value_t = NonZeroUsize::new(1000).expect("not zero"))]
    pub dead_letters: NonZeroUsize,
    /// How long such jobs are kept
    #[arg(long, env = "OCELLI_DEAD_TTL", default_value = "7days", value_parser = positive_duration)]
    pub dead_ttl: Duration,
    #[command(flatten)]
    pub connections: ConnectionArgs,
    /// After SIGTERM or Ctrl-C: how long to go on taking jobs
    ///
    /// Meanwhile web processes learn that this worker leaves.
    #[arg(long, env = "OCELLI_DRAIN_DELAY", default_value = "2s", value_parser = duration)]
    pub drain_delay: Duration,
    /// After that: how long to finish the jobs that were taken
    #[arg(long, env = "OCELLI_DRAIN_TIMEOUT", default_value = "30s", value_parser = duration)]
    pub drain_timeout: Duration,
}

/// What web processes and workers say to each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Wire {
    /// Ocelli's own, which loses no job
    Native,
    /// The list `image_queue` of the tutorial "Keras + Redis + Flask", to replace one of its two processes at a time. It has no
    /// prefix and no priorities, polls, and may lose jobs
    Tutorial,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Redis")]
pub struct RedisArgs {
    /// Redis or Valkey server, such as redis://localhost
    ///
    /// The form is redis://user:password@host:6379/0; only the host is required. rediss:// uses TLS,
    /// redis+sentinel://host,host/service Sentinel, and redis+cluster://host,host a cluster.
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
    /// Certificates (PEM) that may sign the certificate of Redis [default: those of the system]
    #[arg(long = "redis-ca", env = "OCELLI_REDIS_CA", value_name = "FILE")]
    pub authorities: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Shutdown")]
pub struct DrainArgs {
    /// After SIGTERM or Ctrl-C: how long to go on accepting requests while /readyz answers 503
    ///
    /// A second signal, a second or more after the first, ends the process at once.
    #[arg(long, env = "OCELLI_DRAIN_DELAY", default_value = "0s", value_parser = duration)]
    pub drain_delay: Duration,
    /// After SIGTERM: how long to finish accepted requests
    ///
    /// Ctrl-C does the same. The time begins after --drain-delay. Requests whose bodies have not arrived a second later are refused. When all are
    /// answered, clients that take nothing for 5 s are disconnected.
    #[arg(long, env = "OCELLI_DRAIN_TIMEOUT", default_value = "30s", value_parser = duration)]
    pub drain_timeout: Duration,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Limits")]
pub struct ImageArgs {
    /// Maximum pixels of an image, according to its header
    #[arg(long, env = "OCELLI_MAX_PIXELS", default_value_t = 50_000_000)]
    pub max_pixels: u64,
    /// Maximum scans of a progressive JPEG
    #[arg(long, env = "OCELLI_MAX_SCANS", default_value_t = 32)]
    pub max_scans: u32,
    /// Memory for decoding, all images together
    ///
    /// Counts pixels, the tables of decoders and copies of parts of the file.
    #[arg(long, env = "OCELLI_MAX_DECODING_BYTES", default_value = "512MiB")]
    pub max_decoding_bytes: ByteSize,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Limits")]
pub struct LimitArgs {
    /// Maximum images accepted and not yet answered
    ///
    /// Further ones are refused with 429. Requests of low priority may take 80 percent of the places and those of normal
    /// priority 90 percent. One of several models may take half of the places, and each model finds its
    /// share of the other half.
    #[arg(long, env = "OCELLI_QUEUE_JOBS", default_value_t = NonZeroUsize::new(1024).expect("not zero"))]
    pub queue_jobs: NonZeroUsize,
    /// Memory for those images, shared in the same way
    #[arg(long, env = "OCELLI_QUEUE_BYTES", default_value = "256MiB")]
    pub queue_bytes: ByteSize,
    /// Maximum requests whose bodies are still arriving
    ///
    /// Beyond that the slowest one is answered 408 to make room.
    #[arg(long, env = "OCELLI_MAX_RECEIVING", default_value_t = NonZeroUsize::new(1024).expect("not zero"))]
    pub max_receiving: NonZeroUsize,
    /// Memory for those bodies, in addition to --queue-bytes; at least --max-body
    #[arg(long, env = "OCELLI_RECEIVING_BYTES", default_value = "128MiB")]
    pub receiving_bytes: ByteSize,
    /// Time for a body to arrive, from the end of the headers, whatever X-Timeout-Ms says
    #[arg(long, env = "OCELLI_BODY_TIMEOUT", default_value = "30s", value_parser = positive_duration)]
    pub body_timeout: Duration,
    /// Bytes per second at which a body must arrive; it may fall behind by 5 seconds
    #[arg(long, env = "OCELLI_MIN_BODY_RATE", default_value = "1KiB", value_parser = positive_size)]
    pub min_body_rate: ByteSize,
    /// Maximum size of a request body
    #[arg(long, env = "OCELLI_MAX_BODY", default_value = "32MiB")]
    pub max_body: ByteSize,
    /// Maximum images in one request
    #[arg(long, env = "OCELLI_MAX_IMAGES", default_value_t = NonZeroUsize::new(64).expect("not zero"))]
    pub max_images: NonZeroUsize,
    /// Time to answer a request that sets no X-Timeout-Ms
    ///
    /// Counts from the end of the request's headers. It is 60s with --wire tutorial, whose clients wait as long as it
    /// takes.
    #[arg(
        long,
        env = "OCELLI_DEADLINE",
        default_value = "10s",
        default_value_if("wire", "tutorial", "60s"),
        value_parser = positive_duration
    )]
    pub deadline: Duration,
    /// Maximum of X-Timeout-Ms
    #[arg(long, env = "OCELLI_MAX_DEADLINE", default_value = "60s", value_parser = positive_duration)]
    pub max_deadline: Duration,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Connections")]
pub struct ConnectionArgs {
    /// Time for the headers of a request to arrive, from the moment of connecting
    #[arg(long, env = "OCELLI_HEADER_TIMEOUT", default_value = "10s", value_parser = positive_duration)]
    pub header_timeout: Duration,
    /// Time after which a connection without a request is closed
    #[arg(long, env = "OCELLI_IDLE_TIMEOUT", default_value = "75s", value_parser = positive_duration)]
    pub idle_timeout: Duration,
    /// Time for a client to take the next part of a response
    ///
    /// After that the response is dropped, and over HTTP/1.1 its connection is closed.
    #[arg(long, env = "OCELLI_RESPONSE_TIMEOUT", default_value = "30s", value_parser = positive_duration)]
    pub response_timeout: Duration,
    /// Memory for responses that clients have not taken yet; beyond that the oldest are dropped
    #[arg(long, env = "OCELLI_RESPONSE_BYTES", default_value = "128MiB")]
    pub response_bytes: ByteSize,
    /// Maximum open connections; further ones wait to be accepted
    #[arg(long, env = "OCELLI_MAX_CONNECTIONS", default_value_t = NonZeroUsize::new(4096).expect("not zero"))]
    pub max_connections: NonZeroUsize,
    /// Write a line for each request, whatever --log-level is; at level debug there is one in any case
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
        .ok_or("it must be longer than nothing")?;
    duration(text)
}

fn positive_size(text: &str) -> Result<ByteSize, String> {
    let size: ByteSize = text.parse()?;
    Some(size)
        .filter(|size| size.as_u64() > 0)
        .ok_or("it must be at least 1 byte".to_owned())
}

/// Braces would decide the slot of every key in a cluster, and Redis' patterns have meanings for other characters.
fn redis_prefix(text: &str) -> Result<String, String> {
    const LONGEST: usize = 64;
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | ':');
    if (1..=LONGEST).contains(&text.len()) && text.chars().all(is_plain) {
        return Ok(text.to_owned());
    }
    Err(format!(
        "use 1 to {LONGEST} of A-Z, a-z, 0-9, '.', '_', '-' and ':'"
    ))
}

/// Leases are renewed three times in their life, over a network.
fn lease(text: &str) -> Result<Duration, String> {
    const LEAST: Duration = Duration::from_secs(1);
    Some(duration(text)?)
        .filter(|lease| *lease >= LEAST)
        .ok_or(format!("it must be at least {LEAST:?}"))
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
    fn the_tutorials_clients_have_more_time() {
        let deadline = |arguments: &[&str]| {
            let cli = Cli::try_parse_from([&["ocelli"], arguments].concat()).expect("it is complete");
            match cli.command {
                Command::Web(web) => web.limits.deadline,
                Command::Serve(serve) => serve.limits.deadline,
                _ => unreachable!("it was not asked for"),
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
