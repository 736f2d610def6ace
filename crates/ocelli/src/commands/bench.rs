//! `ocelli bench`.

use std::io::{self, IsTerminal as _, Write as _};
use std::process::ExitCode;

use anyhow::Context as _;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use ocelli_bench::{BenchConfig, BodyForm, Load, PhotoLimit, Stop, load_photos, run_until};

use crate::cli::BenchArgs;
use crate::lifecycle::StopSignals;
use crate::printable::Lines;

/// Photos are kept in memory while the benchmark runs.
const PHOTO_LIMIT: PhotoLimit = PhotoLimit {
    count: 10_000,
    bytes: 2 * 1024 * 1024 * 1024,
};

/// Steps of the progress bar.
const STEPS: u64 = 1000;

pub(super) fn run(args: &BenchArgs) -> anyhow::Result<ExitCode> {
    let config = config(args)?;
    let bar = progress_bar();
    // One thread: the server under test needs the other cores.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let report = runtime.block_on(run_until(config, interrupted(), |progress| {
        bar.set_position((progress.fraction * STEPS as f64) as u64);
        bar.set_message(format!("{} ok, {} failed", progress.ok, progress.failed));
    }))?;
    bar.finish_and_clear();
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
    let url = args
        .url
        .parse()
        .with_context(|| format!("'{}' is not a URL such as http://127.0.0.1:5000", args.url))?;
    let photos = load_photos(&args.photos, PHOTO_LIMIT)?;
    let body = if args.raw {
        BodyForm::Raw
    } else {
        BodyForm::Multipart
    };
    if args.tutorial {
        return Ok(BenchConfig {
            body,
            ..BenchConfig::tutorial(url, photos)
        });
    }
    Ok(BenchConfig {
        url,
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

async fn interrupted() {
    match StopSignals::begin() {
        Ok(mut signals) => _ = signals.next().await,
        Err(_) => std::future::pending().await,
    }
}

fn progress_bar() -> ProgressBar {
    let target = if io::stderr().is_terminal() {
        ProgressDrawTarget::stderr_with_hz(5)
    } else {
        ProgressDrawTarget::hidden()
    };
    let bar = ProgressBar::with_draw_target(Some(STEPS), target);
    if let Ok(style) = ProgressStyle::with_template("{wide_bar} {percent} %  {msg}") {
        bar.set_style(style);
    }
    bar
}
