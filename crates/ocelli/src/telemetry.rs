//! Where log lines go, and how they look.

use std::io::{self, IsTerminal as _};

use tracing::level_filters::LevelFilter;

use crate::cli::{LogArgs, LogFormat, LogLevel};

/// Sends events to standard error from now on. A second call changes nothing.
pub fn init(args: &LogArgs) {
    let level = match args.log_level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
    };
    let builder = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(io::stderr)
        .with_target(false)
        .with_ansi(io::stderr().is_terminal());
    // An error here means that a subscriber is there already, as in tests.
    let _ = match args.log_format {
        LogFormat::Text => builder.try_init(),
        LogFormat::Json => builder.json().try_init(),
    };
}
