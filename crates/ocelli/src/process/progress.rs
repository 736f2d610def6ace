//! Progress bars on a terminal, and output beside them.
//!
//! A process shows one bar at a time. It appears after a second of work and is cleared on drop.

use std::fmt;
use std::io::{self, Write};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};
use parking_lot::Mutex;

const APPEARS_AFTER: Duration = Duration::from_secs(1);

/// How often to call [`Bar::tick`] while there is no progress.
pub(crate) const TICK: Duration = Duration::from_millis(200);

/// Maximum draws of a bar per second.
const DRAWS_PER_SECOND: u8 = 5;

static SHOWN: Mutex<Option<ProgressBar>> = Mutex::new(None);

#[derive(Debug)]
pub(crate) struct Bar {
    bar: ProgressBar,
    since: Instant,
    is_shown: bool,
}

impl Bar {
    /// A bar from 0 to `total`. `template` is one of indicatif's; `{rate}` and `{left}` are the steps per second and the
    /// remaining time, each after a comma, once they are known.
    pub(crate) fn new(total: u64, template: &str) -> Self {
        let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::hidden());
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.with_key("rate", write_rate).with_key("left", write_left));
        }
        Self {
            bar,
            since: Instant::now(),
            is_shown: false,
        }
    }

    /// Sets the number of steps that are done.
    pub(crate) fn at(&mut self, done: u64) {
        self.appear(Instant::now());
        self.bar.set_position(done);
    }

    /// Sets `{msg}`.
    pub(crate) fn say(&mut self, message: String) {
        self.bar.set_message(message);
    }

    /// Shows the bar when it is time, and updates rate and remaining time.
    pub(crate) fn tick(&mut self) {
        self.appear(Instant::now());
        self.bar.tick();
    }

    fn appear(&mut self, now: Instant) {
        if !self.is_shown && now.saturating_duration_since(self.since) >= APPEARS_AFTER {
            self.is_shown = true;
            // Indicatif hides it if standard error is not a terminal.
            self.bar
                .set_draw_target(ProgressDrawTarget::stderr_with_hz(DRAWS_PER_SECOND));
            *SHOWN.lock() = Some(self.bar.clone());
        }
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
        if self.is_shown {
            *SHOWN.lock() = None;
        }
    }
}

/// Clears the bar from the terminal while `write` runs.
pub(crate) fn aside<T>(write: impl FnOnce() -> T) -> T {
    let shown = SHOWN.lock().clone();
    match shown {
        Some(bar) => bar.suspend(write),
        None => write(),
    }
}

/// Writes whole lines to standard error, or a stand-in, beside the bar.
#[derive(Debug)]
pub(crate) struct Aside<W>(pub(crate) W);

impl<W: Write> Write for Aside<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        aside(|| self.0.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

fn write_rate(state: &ProgressState, out: &mut dyn fmt::Write) {
    // A failure only affects the bar.
    let _ = write!(out, "{}", Rate(state.pos(), state.per_sec()));
}

fn write_left(state: &ProgressState, out: &mut dyn fmt::Write) {
    let _ = write!(out, "{}", Left(state.pos(), state.eta()));
}

/// Steps done, and steps per second.
struct Rate(u64, f64);

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self(0, _) => Ok(()),
            Self(_, rate) if rate < 10.0 => write!(f, ", {rate:.1}/s"),
            Self(_, rate) => write!(f, ", {rate:.0}/s"),
        }
    }
}

/// Steps done, and the remaining time.
struct Left(u64, Duration);

impl fmt::Display for Left {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self(0, _) => Ok(()),
            Self(_, left) => {
                let seconds = Duration::from_secs(left.as_secs_f64().ceil() as u64);
                write!(f, ", {} left", humantime::format_duration(seconds))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_work_has_no_bar() {
        let mut bar = Bar::new(3, "{pos}");
        bar.appear(bar.since + APPEARS_AFTER - Duration::from_nanos(1));
        assert!(!bar.is_shown);
        bar.appear(bar.since + APPEARS_AFTER);
        assert!(bar.is_shown);
    }

    #[test]
    fn rate_and_remaining_time_appear_after_the_first_step() {
        assert_eq!(Rate(0, 0.0).to_string(), "");
        assert_eq!(Left(0, Duration::ZERO).to_string(), "");
        assert_eq!(Rate(3, 1.25).to_string(), ", 1.2/s");
        assert_eq!(Rate(300, 123.4).to_string(), ", 123/s");
        assert_eq!(Left(3, Duration::from_millis(61_200)).to_string(), ", 1m 2s left");
    }
}
