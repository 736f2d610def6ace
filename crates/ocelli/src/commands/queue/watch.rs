//! `ocelli queue status --watch`: prints the status repeatedly. On a terminal, each replaces the previous one.

use std::io::{self, IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use rustix::termios::tcgetwinsize;
use serde_json::json;
use tokio::task::spawn_blocking;
use tokio::time::{MissedTickBehavior, interval};

use super::advice;
use super::status::{json_lines, table};
use crate::cli::StatusArgs;
use crate::process::lifecycle::StopSignals;
use crate::process::printable::{Lines, ReaderGone};
use crate::queue::redis::{LinkError, QueueAdmin, QueueStatus, RedisUrl};

/// Shows the status at every interval until a signal arrives.
///
/// # Errors
/// When Redis refuses a command. An outage is shown, and the next interval tries again.
pub(super) async fn watch(
    inspector: &QueueAdmin,
    args: &StatusArgs,
    every: Duration,
    target: &RedisUrl,
) -> anyhow::Result<ExitCode> {
    let mut signals = StopSignals::begin().context("cannot receive Ctrl-C")?;
    let on_terminal = !args.json && io::stdout().is_terminal();
    let shown = Shown {
        every,
        prefix: &args.redis.prefix,
        target,
        as_json: args.json,
        on_terminal,
    };
    let showing = async {
        let mut ticks = interval(every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut screen = Screen::new(on_terminal);
        loop {
            ticks.tick().await;
            let result = inspector.status().await;
            let time = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
            let text = shown.text(result, &time)?;
            // A reader that has stopped reading must not keep a signal from ending this loop.
            let printing = spawn_blocking(move || screen.show(&text).map(|()| screen));
            screen = printing.await??;
        }
    };
    tokio::select! {
        ended = showing => ended,
        _ = signals.next() => Ok(ExitCode::SUCCESS),
    }
}

struct Shown<'a> {
    every: Duration,
    prefix: &'a str,
    target: &'a RedisUrl,
    as_json: bool,
    /// Whether each status replaces the previous one.
    on_terminal: bool,
}

impl Shown<'_> {
    fn text(&self, status: Result<Vec<QueueStatus>, LinkError>, time: &str) -> Result<String, LinkError> {
        let every = humantime::format_duration(self.every);
        let (body, problem) = match status {
            Ok(queues) if self.as_json => return Ok(json_lines(&queues, Some(time))),
            Ok(queues) => (table(&queues, self.prefix), None),
            Err(LinkError::Down(outage)) => {
                let problem = format!("{outage}; retrying every {every}{}", advice(&outage, self.target));
                (format!("{problem}\n"), Some(problem))
            }
            Err(error) => return Err(error),
        };
        Ok(match problem {
            Some(problem) if self.as_json => format!("{}\n", json!({ "time": time, "error": problem })),
            _ if self.on_terminal => format!("{time}, every {every}; Ctrl-C to stop\n\n{body}"),
            _ => format!("{time}\n{body}\n"),
        })
    }
}

struct Screen {
    replaces: bool,
    /// Terminal rows of the previous block; `None` before the first.
    rows: Option<usize>,
}

impl Screen {
    fn new(replaces: bool) -> Self {
        Self { replaces, rows: None }
    }

    fn show(&mut self, text: &str) -> io::Result<()> {
        let mut out = io::stdout().lock();
        if !self.replaces {
            return Lines(out).write_all(text.as_bytes());
        }
        let (text, rows) = fitted(text, size());
        if let Some(before) = self.rows.replace(rows) {
            // Moves to the start of the previous block and clears it.
            write!(out, "\x1b[{before}A\r\x1b[J").map_err(ReaderGone::mark)?;
        }
        Lines(&mut out).write_all(text.as_bytes())?;
        out.flush().map_err(ReaderGone::mark)
    }
}

/// Rows and columns of a terminal.
#[derive(Clone, Copy, Debug)]
struct Size {
    rows: usize,
    columns: usize,
}

/// The size of the terminal, or `None` if it is unknown.
fn size() -> Option<Size> {
    let size = tcgetwinsize(io::stdout()).ok()?;
    let known = size.ws_row > 0 && size.ws_col > 0;
    known.then(|| Size {
        rows: size.ws_row.into(),
        columns: size.ws_col.into(),
    })
}

/// As many lines as fit on the terminal, and the rows that they take. Lines that scroll away could not be replaced.
fn fitted(text: &str, size: Option<Size>) -> (String, usize) {
    let rows_of = |line: &str| size.map_or(1, |size| line.chars().count().div_ceil(size.columns).max(1));
    let needed: usize = text.lines().map(rows_of).sum();
    // The last row holds the cursor.
    let room = size.map_or(usize::MAX, |size| size.rows.saturating_sub(1));
    if needed <= room {
        return (text.to_owned(), needed);
    }
    let (mut kept, mut rows, mut left) = (String::new(), 0, text.lines().count());
    for line in text.lines() {
        rows += rows_of(line);
        // One row is reserved for the number of omitted lines.
        if rows >= room {
            rows -= rows_of(line);
            break;
        }
        kept.push_str(line);
        kept.push('\n');
        left -= 1;
    }
    (format!("{kept}({left} more lines)\n"), rows + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::redis::Outage;

    fn sized(text: &str, rows: usize, columns: usize) -> (String, usize) {
        fitted(text, Some(Size { rows, columns }))
    }

    #[test]
    fn a_block_always_fits_on_the_screen() {
        let text = "12345678\nb\nc\n";
        assert_eq!(fitted(text, None), (text.to_owned(), 3));
        assert_eq!(sized(text, 4, 80), (text.to_owned(), 3));
        assert_eq!(
            sized(text, 5, 4),
            (text.to_owned(), 4),
            "the first takes two rows"
        );
        assert_eq!(sized(text, 4, 4), ("12345678\n(2 more lines)\n".to_owned(), 3));
        assert_eq!(sized(text, 3, 80), ("12345678\n(2 more lines)\n".to_owned(), 2));
        assert_eq!(sized(text, 1, 80), ("(3 more lines)\n".to_owned(), 1));
        assert_eq!(sized("\n\n", 24, 80), ("\n\n".to_owned(), 2), "empty lines count");
    }

    #[test]
    fn an_outage_replaces_the_status_and_a_refusal_ends_the_watch() {
        let target = RedisUrl::parse("redis://:secret@127.0.0.1", None).expect("a URL");
        let mut shown = Shown {
            every: Duration::from_secs(2),
            prefix: "ocelli",
            target: &target,
            as_json: false,
            on_terminal: true,
        };
        let down = || {
            let text = "Redis at 127.0.0.1:6379 cannot be reached: Connection refused (os error 111)";
            Err(LinkError::Down(Outage::unreachable(text.to_owned())))
        };
        let text = |shown: &Shown<'_>, status| shown.text(status, "2026-01-02T03:04:05Z").expect("a text");
        insta::assert_snapshot!(text(&shown, down()), @r"
        2026-01-02T03:04:05Z, every 2s; Ctrl-C to stop

        Redis at 127.0.0.1:6379 cannot be reached: Connection refused (os error 111); retrying every 2s; is it running? `redis-server` starts one, and --redis names another
        ");
        insta::assert_snapshot!(text(&shown, Ok(vec![])), @r"
        2026-01-02T03:04:05Z, every 2s; Ctrl-C to stop

        no queues with the prefix 'ocelli': no worker has served a model there yet
        ");
        shown.on_terminal = false;
        let between = text(&shown, Ok(vec![]));
        assert!(between.starts_with("2026-01-02T03:04:05Z\nno queues") && between.ends_with("\n\n"));
        assert!(shown.text(Err(LinkError::Login("no".to_owned())), "").is_err());
        shown.as_json = true;
        let line = text(&shown, down());
        let object: serde_json::Value = serde_json::from_str(&line).expect("JSON");
        assert_eq!(object["time"], "2026-01-02T03:04:05Z");
        let error = object["error"].as_str().expect("a text");
        assert!(error.contains("cannot be reached"), "{error}");
        assert_eq!(
            (line.lines().count(), text(&shown, Ok(vec![]))),
            (1, String::new())
        );
    }
}
