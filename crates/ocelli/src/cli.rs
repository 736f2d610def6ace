//! Every option, its environment variable and its default. Nowhere else has a default.

mod bench;
mod browser;
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

use self::tips::improve;
use bytesize::ByteSize;
use clap::{Args, Parser, Subcommand, ValueEnum};

pub use bench::BenchArgs;
pub use browser::BrowserArgs;
pub use jobs::JobArgs;
pub use listen::ListenAddress;
pub use log::{LogArgs, LogFormat, LogLevel};
pub use model::{EngineArgs, EngineKind, Filter, HintArgs, ModelArgs, SourceArgs};
pub use model_command::{
    CheckArgs, InitArgs, ListArgs, ModelCommand, ModelCommandArgs, PullArgs, RemoveArgs, ShowArgs,
};
pub use parse::{parse, wants_json};
pub use predict::{OutputFormat, PredictArgs};
pub use queue::{DeadArgs, DeadCommand, QueueArgs, QueueCommand};
pub use repository::{ModelControl, NameArgs, RepositoryArgs};

/// Serves image models: send it a photo, it answers with labels.
#[derive(Debug, Parser)]
#[command(name = "ocelli", version, about, max_term_width = 110)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// What to log.
    #[command(flatten)]
    pub log: LogArgs,
}

/// One for each role and tool.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Answer requests over HTTP, in one process
    Serve(Box<ServeArgs>),
    /// Answer requests over HTTP, computed by workers anywhere that share a Redis with this process
    Web(Box<WebArgs>),
    /// Compute what web processes anywhere ask for that share a Redis with this process
    Worker(Box<WorkerArgs>),
    /// Look at the queues in Redis
    Queue(QueueArgs),
    /// Get models, without serving them
    Model(ModelCommandArgs),
    /// Classify files, without a server
    Predict(Box<PredictArgs>),
    /// Put a server under load and measure it
    Bench(Box<BenchArgs>),
}

/// `ocelli serve`.
#[derive(Debug, Args)]
pub struct ServeArgs {
    /// Address to listen on: host:port, :port for all addresses, or a port; port 0 takes a free one
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
    /// More models.
    #[command(flatten)]
    pub repository: RepositoryArgs,
    /// What clients may call models.
    #[command(flatten)]
    pub names: NameArgs,
    /// Limits of an image.
    #[command(flatten)]
    pub image: ImageArgs,
    /// Limits of requests.
    #[command(flatten)]
    pub limits: LimitArgs,
    /// Web pages of other origins.
    #[command(flatten)]
    pub browser: BrowserArgs,
    /// Asynchronous jobs.
    #[command(flatten)]
    pub jobs: JobArgs,
    /// Times of connections.
    #[command(flatten)]
    pub connections: ConnectionArgs,
    /// How it ends.
    #[command(flatten)]
    pub drain: DrainArgs,
}

/// `ocelli web`.
#[derive(Debug, Args)]
pub struct WebArgs {
    /// Address to listen on: host:port, :port for all addresses, or a port; port 0 takes a free one
    #[arg(
        long,
        env = "OCELLI_LISTEN",
        value_name = "ADDRESS",
        default_value = "127.0.0.1:5000"
    )]
    pub listen: ListenAddress,
    /// Where the workers are.
    #[command(flatten)]
    pub redis: RedisArgs,
    /// What to speak with the workers
    #[arg(long, env = "OCELLI_WIRE", value_enum, default_value_t = Wire::Native)]
    pub wire: Wire,
    /// What clients may call models.
    #[command(flatten)]
    pub names: NameArgs,
    /// Limits of an image.
    #[command(flatten)]
    pub image: ImageArgs,
    /// Limits of requests.
    #[command(flatten)]
    pub limits: LimitArgs,
    /// Web pages of other origins.
    #[command(flatten)]
    pub browser: BrowserArgs,
    /// Asynchronous jobs.
    #[command(flatten)]
    pub jobs: JobArgs,
    /// Times of connections.
    #[command(flatten)]
    pub connections: ConnectionArgs,
    /// How it ends.
    #[command(flatten)]
    pub drain: DrainArgs,
}

/// `ocelli worker`.
#[derive(Debug, Args)]
pub struct WorkerArgs {
    /// Address of /livez, /readyz and /metrics: host:port, :port for all addresses, or a port; port 0 takes a free one,
    /// which the log names
    #[arg(
        long,
        env = "OCELLI_LISTEN",
        value_name = "ADDRESS",
        default_value = "127.0.0.1:0"
    )]
    pub listen: ListenAddress,
    /// Where the jobs are.
    #[command(flatten)]
    pub redis: RedisArgs,
    /// What to speak with the web processes
    #[arg(long, env = "OCELLI_WIRE", value_enum, default_value_t = Wire::Native)]
    pub wire: Wire,
    /// The model and how to run it.
    #[command(flatten)]
    pub model: ModelArgs,
    /// More models.
    #[command(flatten)]
    pub repository: RepositoryArgs,
    /// How long a job is this worker's without a sign of life; then another worker takes it
    #[arg(long, env = "OCELLI_LEASE", default_value = "3s", value_parser = lease)]
    pub lease: Duration,
    /// Jobs that end each worker which computes them are set aside: the most that are kept
    #[arg(long, env = "OCELLI_DEAD_LETTERS", default_value_t = NonZeroUsize::new(1000).expect("not zero"))]
    pub dead_letters: NonZeroUsize,
    /// How long they are kept
    #[arg(long, env = "OCELLI_DEAD_TTL", default_value = "7days", value_parser = positive_duration)]
    pub dead_ttl: Duration,
    /// Times of connections.
    #[command(flatten)]
    pub connections: ConnectionArgs,
    /// After SIGTERM or Ctrl-C: how long to go on taking jobs, so that web processes learn that this worker leaves
    #[arg(long, env = "OCELLI_DRAIN_DELAY", default_value = "2s", value_parser = duration)]
    pub drain_delay: Duration,
    /// After that: how long to finish what has been taken
    #[arg(long, env = "OCELLI_DRAIN_TIMEOUT", default_value = "30s", value_parser = duration)]
    pub drain_timeout: Duration,
}

/// What web processes and workers say to each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Wire {
    /// Streams of Ocelli's own, which lose nothing
    Native,
    /// The list `image_queue` of the tutorial "Keras + Redis + Flask", to move from it one half at a time; no
    /// prefix, no priorities, and its polling and its losses
    Tutorial,
}

/// Where Redis is.
#[derive(Debug, Args)]
#[command(next_help_heading = "Redis")]
pub struct RedisArgs {
    /// Redis or Valkey: redis://user:password@host:6379/0, of which only the host must be there; rediss:// for TLS,
    /// redis+sentinel://host,host/service or redis+cluster://host,host
    #[arg(
        long = "redis",
        env = "OCELLI_REDIS",
        value_name = "URL",
        hide_env_values = true
    )]
    pub url: String,
    /// What all keys in Redis begin with; another prefix is another system
    #[arg(long = "redis-prefix", env = "OCELLI_REDIS_PREFIX", default_value = "ocelli", value_parser = redis_prefix)]
    pub prefix: String,
    /// The certificates (PEM) of those who may sign Redis' certificate; the system's if left out
    #[arg(long = "redis-ca", env = "OCELLI_REDIS_CA", value_name = "FILE")]
    pub authorities: Option<PathBuf>,
}

/// How a server ends.
#[derive(Debug, Args)]
pub struct DrainArgs {
    /// After SIGTERM or Ctrl-C: how long to go on accepting requests while /readyz already says no. A second signal, a second
    /// or more after the first, ends the process at once
    #[arg(long, env = "OCELLI_DRAIN_DELAY", default_value = "0s", value_parser = duration)]
    pub drain_delay: Duration,
    /// After that: how long to finish what has been accepted. Requests whose bodies have not arrived a second later are
    /// refused, and once all are answered, clients that take nothing for 5 s are cut off
    #[arg(long, env = "OCELLI_DRAIN_TIMEOUT", default_value = "30s", value_parser = duration)]
    pub drain_timeout: Duration,
}

/// Limits of an image.
#[derive(Debug, Args)]
#[command(next_help_heading = "Limits of an image")]
pub struct ImageArgs {
    /// Pixels of an image, from its header
    #[arg(long, env = "OCELLI_MAX_PIXELS", default_value_t = 50_000_000)]
    pub max_pixels: u64,
    /// Scans of a progressive JPEG
    #[arg(long, env = "OCELLI_MAX_SCANS", default_value_t = 32)]
    pub max_scans: u32,
    /// Memory for decoding at once, of all images together: pixels, a decoder's tables and copies of parts of the file
    #[arg(long, env = "OCELLI_MAX_DECODING_BYTES", default_value = "512MiB")]
    pub max_decoding_bytes: ByteSize,
}

/// Limits of requests.
#[derive(Debug, Args)]
#[command(next_help_heading = "Limits of requests")]
pub struct LimitArgs {
    /// Images admitted and not yet answered; more are refused with 429. One of several models may take half of it, and
    /// always finds its share of the other half
    #[arg(long, env = "OCELLI_QUEUE_JOBS", default_value_t = NonZeroUsize::new(1024).expect("not zero"))]
    pub queue_jobs: NonZeroUsize,
    /// Bytes that those images may hold, shared in the same way
    #[arg(long, env = "OCELLI_QUEUE_BYTES", default_value = "256MiB")]
    pub queue_bytes: ByteSize,
    /// Requests whose bodies are still arriving; beyond that the slowest is answered 408 to make room
    #[arg(long, env = "OCELLI_MAX_RECEIVING", default_value_t = NonZeroUsize::new(1024).expect("not zero"))]
    pub max_receiving: NonZeroUsize,
    /// Bytes that those bodies may hold, in addition to --queue-bytes; at least --max-body
    #[arg(long, env = "OCELLI_RECEIVING_BYTES", default_value = "128MiB")]
    pub receiving_bytes: ByteSize,
    /// From the end of a request's headers to the end of its body, whatever X-Timeout-Ms says
    #[arg(long, env = "OCELLI_BODY_TIMEOUT", default_value = "30s", value_parser = positive_duration)]
    pub body_timeout: Duration,
    /// Bytes per second at which a body must arrive; it may fall behind by 5 seconds
    #[arg(long, env = "OCELLI_MIN_BODY_RATE", default_value = "1KiB", value_parser = positive_size)]
    pub min_body_rate: ByteSize,
    /// Bytes of a request's body
    #[arg(long, env = "OCELLI_MAX_BODY", default_value = "32MiB")]
    pub max_body: ByteSize,
    /// Images in one request
    #[arg(long, env = "OCELLI_MAX_IMAGES", default_value_t = NonZeroUsize::new(64).expect("not zero"))]
    pub max_images: NonZeroUsize,
    /// From the end of a request's headers to its answer, unless X-Timeout-Ms says otherwise; 60s with --wire tutorial, whose
    /// clients wait as long as it takes
    #[arg(
        long,
        env = "OCELLI_DEADLINE",
        default_value = "10s",
        default_value_if("wire", "tutorial", "60s"),
        value_parser = positive_duration
    )]
    pub deadline: Duration,
    /// The most that X-Timeout-Ms may ask for
    #[arg(long, env = "OCELLI_MAX_DEADLINE", default_value = "60s", value_parser = positive_duration)]
    pub max_deadline: Duration,
}

/// Times of connections.
#[derive(Debug, Args)]
#[command(next_help_heading = "Connections")]
pub struct ConnectionArgs {
    /// For the head of a request to arrive, from the moment of connecting
    #[arg(long, env = "OCELLI_HEADER_TIMEOUT", default_value = "10s", value_parser = positive_duration)]
    pub header_timeout: Duration,
    /// For a connection to stay open without a request
    #[arg(long, env = "OCELLI_IDLE_TIMEOUT", default_value = "75s", value_parser = positive_duration)]
    pub idle_timeout: Duration,
    /// For a client to take the next piece of a response; then the response is dropped, and over HTTP/1.1 its connection
    #[arg(long, env = "OCELLI_RESPONSE_TIMEOUT", default_value = "30s", value_parser = positive_duration)]
    pub response_timeout: Duration,
    /// Bytes of responses that clients have not taken yet; beyond that those that have waited longest are dropped
    #[arg(long, env = "OCELLI_RESPONSE_BYTES", default_value = "128MiB")]
    pub response_bytes: ByteSize,
    /// Connections open at once; more wait to be accepted
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
