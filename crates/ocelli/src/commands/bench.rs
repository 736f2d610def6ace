//! `ocelli bench`.

use std::io::{self, Write as _};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use axum::http::Uri;
use ocelli_bench::{BenchConfig, BodyForm, Load, Photo, Stop, run_until};
use rustls::ClientConfig;

use super::photos;
use crate::cli::BenchArgs;
use crate::process::lifecycle::StopSignals;
use crate::process::printable::Lines;
use crate::process::progress::Bar;
use crate::process::tls;

/// Maximum number of photos, which stay in memory while the benchmark runs.
const MAX_PHOTOS: usize = 10_000;

/// Maximum size of all photos together.
const MAX_BYTES: usize = 2 * 1024 * 1024 * 1024;

/// Steps of the progress bar.
const STEPS: u64 = 1000;

pub(super) fn run(args: &BenchArgs) -> anyhow::Result<ExitCode> {
    let config = config(args)?;
    let mut bar = Bar::new(STEPS, "{wide_bar} {percent} %  {msg}");
    // One thread: the server under test needs the other cores.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let report = runtime.block_on(run_until(config, interrupted(), |progress| {
        bar.say(format!("{} ok, {} failed", progress.ok, progress.failed));
        bar.at((progress.fraction * STEPS as f64) as u64);
    }))?;
    drop(bar);
    let mut out = Lines(io::stdout().lock());
    if args.json {
        writeln!(out, "{}", serde_json::to_string_pretty(&report)?)?;
    } else {
        write!(out, "{report}")?;
    }
    let clean = report.failed == 0 && report.ok > 0;
    Ok(if clean {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn config(args: &BenchArgs) -> anyhow::Result<BenchConfig> {
    let url: Uri = args
        .url
        .parse()
        .with_context(|| format!("'{}' is not a URL such as http://127.0.0.1:5000", args.url))?;
    let photos = read_photos(&args.photos)?;
    let tls = tls_for(&url, args.authorities.as_deref())?;
    let body = if args.raw {
        BodyForm::Raw
    } else {
        BodyForm::Multipart
    };
    if args.tutorial {
        return Ok(BenchConfig {
            tls,
            body,
            ..BenchConfig::tutorial(url, photos)
        });
    }
    Ok(BenchConfig {
        url,
        tls,
        photos,
        body,
        load: args.rate.map_or(
            Load::Closed {
                concurrency: args.concurrency,
            },
            |rate| Load::Open { rate },
        ),
        stop: args
            .requests
            .map_or(Stop::Duration(args.duration), Stop::Requests),
        warmup: args.warmup,
        request_timeout: args.timeout,
        max_connections: args.max_connections,
    })
}

/// Fails if one photo cannot be sent: runs that leave out photos silently could not be compared.
fn read_photos(arguments: &[String]) -> anyhow::Result<Vec<Photo>> {
    let sources = photos::find(arguments);
    anyhow::ensure!(
        sources.len() <= MAX_PHOTOS,
        "--photos names {} photos, and {MAX_PHOTOS} fit in memory; name fewer",
        sources.len()
    );
    let mut room = MAX_BYTES;
    let read = sources.iter().map(|source| {
        let name = source.name();
        let bytes = source
            .read()
            .map_err(|problem| anyhow::anyhow!("cannot read photos from {name}: {problem}"))?;
        anyhow::ensure!(!bytes.is_empty(), "cannot send {name}: the file is empty");
        room = room.checked_sub(bytes.len()).with_context(|| {
            format!("the photos exceed the limit of {MAX_BYTES} bytes (reached at {name}); name fewer")
        })?;
        Ok(Photo { name, bytes })
    });
    read.collect()
}

/// How to speak TLS with the server, if `url` asks for it.
fn tls_for(url: &Uri, authorities: Option<&Path>) -> anyhow::Result<Option<Arc<ClientConfig>>> {
    let is_https = url.scheme_str() == Some("https");
    let authorities = match authorities {
        Some(path) if is_https => tls::authorities_of(path).context("--ca")?,
        Some(_) => anyhow::bail!("--ca needs an https:// URL; {url} has no TLS"),
        None if is_https => {
            let authorities = tls::system_authorities();
            tls::warn_of_none(&authorities, "https:// servers need --ca");
            authorities
        }
        None => return Ok(None),
    };
    Ok(Some(Arc::new(tls::client(authorities)?)))
}

async fn interrupted() {
    match StopSignals::begin() {
        Ok(mut signals) => _ = signals.next().await,
        Err(_) => std::future::pending().await,
    }
}
