//! Writes log lines.
//!
//! Logging never blocks: lines wait in a bounded queue, one thread writes them, and a line that cannot be written is
//! dropped and counted.

pub(crate) mod lines;

use std::backtrace::{Backtrace, BacktraceStatus};
use std::io::{self, IsTerminal as _};
use std::sync::LazyLock;
use std::time::Duration;
use std::{panic, thread};

use clap::ValueEnum;
use prometheus_client::metrics::counter::Counter;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::field::MakeExt as _;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::fmt::FormatFields;
use tracing_subscriber::fmt::format::debug_fn;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use super::printable::{self, one_line};
use super::progress::Aside;
use lines::{Lines, Out};

/// How long the process waits at its end until the last lines are written. A live reader takes milliseconds, and a
/// supervisor should not have to wait for a reader that hangs.
const FLUSH_WITHIN: Duration = Duration::from_secs(1);

/// The target of the access log's lines.
pub const ACCESS: &str = "ocelli::access";

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    Text,
    /// One JSON object per line
    Json,
}

static LINES: LazyLock<Lines> = LazyLock::new(Lines::default);

/// Whether a separate thread writes the lines. If the system refuses a thread, the logging thread writes each line.
static HAS_WRITER: LazyLock<bool> = LazyLock::new(|| {
    let writer = thread::Builder::new().name("log".to_owned());
    writer
        .spawn(|| LINES.write_all(Out::new(Aside(io::stderr()))))
        .is_ok()
});

/// Sends events and panics to standard error from now on. A second call has no effect.
pub fn init(level: LogLevel, format: LogFormat) {
    let level = match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
    };
    let builder = tracing_subscriber::fmt()
        .with_max_level(level.max(LevelFilter::INFO))
        .with_writer(|| LogWriter)
        // The subscriber would report errors with `eprintln!`, which panics when it cannot print.
        .log_internal_errors(false)
        .with_target(false)
        .with_ansi(io::stderr().is_terminal());
    // Lines of the access log have the level INFO only if --access-log wants them at any level.
    let shown = filter_fn(move |event| *event.level() <= level || event.target() == ACCESS);
    let begun = match format {
        LogFormat::Text => {
            let lines = builder.fmt_fields(printable_fields()).finish();
            lines.with(shown).try_init()
        }
        LogFormat::Json => {
            let lines = builder
                .json()
                .with_writer(|| printable::Lines(LogWriter))
                .finish();
            lines.with(shown).try_init()
        }
    };
    // An error means that there is a subscriber already, as in tests.
    if begun.is_ok() {
        log_panics();
    }
}

/// Writes why the process fails, in the format of the log. It is the last line.
pub fn log_failure(format: LogFormat, text: &str) {
    match format {
        LogFormat::Text => put(format!("ocelli: {text}\n").into_bytes()),
        LogFormat::Json => {
            // After an error in the command line there is no log yet. Otherwise this has no effect.
            init(LogLevel::Error, format);
            tracing::error!("{text}");
        }
    }
}

/// On drop, waits until all lines are written, for at most [`FLUSH_WITHIN`]. `main` holds one.
#[derive(Debug)]
pub struct Flush;

impl Drop for Flush {
    fn drop(&mut self) {
        LINES.flush(FLUSH_WITHIN);
    }
}

/// The counter of dropped lines.
#[must_use]
pub fn lost_lines() -> Counter {
    LINES.lost().clone()
}

/// Logs panics as events. The standard library would write them directly, and block on a reader that does not read.
fn log_panics() {
    panic::set_hook(Box::new(|panic| {
        let trace = Backtrace::capture();
        let backtrace = (trace.status() == BacktraceStatus::Captured).then(|| trace.to_string());
        tracing::error!(
            thread = thread::current().name(),
            at = panic.location().map(ToString::to_string),
            backtrace,
            "panicked: {}",
            panic.payload_as_str().unwrap_or("no message")
        );
    }));
}

fn put(line: Vec<u8>) {
    if *HAS_WRITER {
        LINES.push(line);
    } else {
        LINES.write_now(&mut Out::new(Aside(io::stderr())), &line);
    }
}

/// Puts events into the queue. The subscriber writes each event with a single call.
struct LogWriter;

impl io::Write for LogWriter {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        put(line.to_vec());
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Escapes the fields of an event, so that it is one line whatever its values contain.
fn printable_fields() -> impl for<'writer> FormatFields<'writer> + Send + Sync + 'static {
    debug_fn(|writer, field, value| {
        let text = format!("{value:?}");
        let text = one_line(&text);
        match field.name() {
            "message" => write!(writer, "{text}"),
            name => write!(writer, "{}={text}", name.trim_start_matches("r#")),
        }
    })
    .delimited(" ")
}

/// What a test logs on its thread, until the guard is dropped.
#[cfg(test)]
pub(crate) fn capture() -> (Captured, tracing::subscriber::DefaultGuard) {
    let captured = Captured::default();
    let writer = captured.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_ansi(false)
        .fmt_fields(printable_fields())
        .with_writer(move || writer.clone())
        .finish();
    (captured, tracing::subscriber::set_default(subscriber))
}

#[cfg(test)]
#[derive(Clone, Default)]
pub(crate) struct Captured(std::sync::Arc<std::sync::Mutex<Vec<u8>>>);

#[cfg(test)]
impl Captured {
    /// The text since the last call.
    pub(crate) fn take(&self) -> String {
        let bytes = std::mem::take(&mut *self.0.lock().expect("no panic"));
        String::from_utf8(bytes).expect("text")
    }
}

#[cfg(test)]
impl io::Write for Captured {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("no panic").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_one_line_without_escape_codes() {
        let (log, _guard) = capture();
        let hostile = "x\x1b[31m\nERROR all is lost";
        tracing::info!(label = %hostile, name = hostile, count = 3, "loaded {hostile}");
        let text = log.take();
        assert_eq!(text.lines().count(), 1, "{text}");
        assert!(!text.contains('\x1b'), "{text}");
        let fields = "loaded x\\u001b[31m\\nERROR all is lost label=x\\u001b[31m\\nERROR";
        assert!(
            text.contains(fields) && text.trim_end().ends_with("count=3"),
            "{text}"
        );
    }
}
