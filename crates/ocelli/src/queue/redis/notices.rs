//! Logs outages of Redis: their start, once a minute that they last, and their end, once for all links of a process.
//!
//! Permanent errors during the start end the process, which reports them, so they are not logged here.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::refusal::LinkError;
use super::url::RedisUrl;

/// The longest time between attempts to connect.
pub(super) const RETRY_EVERY: Duration = Duration::from_millis(500);

/// The shortest time between equal lines.
const LOG_AGAIN: Duration = Duration::from_secs(60);

/// How long all commands must succeed after one failed on a working connection. A server that accepts connections and refuses
/// some commands is not back with each new connection.
const QUIET: Duration = Duration::from_secs(2);

/// How long an unused link counts as down. Links in use are tried every second or two.
const GIVEN_UP: Duration = Duration::from_secs(10);

/// Shared by all links of a process to one Redis.
#[derive(Debug)]
pub(super) struct Notices {
    target: String,
    advice: String,
    links: AtomicU64,
    started: AtomicBool,
    /// Whether there is an outage: without one a success takes no lock.
    away: AtomicBool,
    decisions: Mutex<Decisions>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Connecting,
    /// A command on a connection that had worked.
    Command,
}

/// Why Redis cannot be used. Each is logged once in an outage, however often its text changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cause {
    Unreachable,
    NotNow,
    Refused,
}

impl Cause {
    fn of(error: &LinkError) -> Self {
        match error {
            LinkError::Down(outage) if outage.is_unreachable => Self::Unreachable,
            LinkError::Down(_) => Self::NotNow,
            _ => Self::Refused,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Notice {
    /// The first connection, after this long without one.
    Connected(Option<Duration>),
    Lost,
    StillAway(Duration),
    Back(Duration),
}

/// Decides what is logged.
#[derive(Debug, Default)]
struct Decisions {
    was_connected: bool,
    away: Option<Away>,
    /// Refusals of commands, and when they were last logged.
    refusals: BTreeMap<String, Instant>,
}

#[derive(Debug)]
struct Away {
    since: Instant,
    /// The last failure.
    failed: (Step, Instant),
    /// Links that are down, and when each last failed.
    down: BTreeMap<u64, Instant>,
    broken: BTreeSet<u64>,
    logged: Option<Instant>,
    causes: Vec<Cause>,
}

impl Decisions {
    fn failed(&mut self, link: u64, step: Step, cause: Cause, now: Instant) -> Option<Notice> {
        let away = self.away.get_or_insert_with(|| Away {
            since: now,
            failed: (step, now),
            down: BTreeMap::new(),
            broken: BTreeSet::new(),
            logged: None,
            causes: Vec::new(),
        });
        away.failed = (step, now);
        away.down.insert(link, now);
        // The attempt to reconnect, which is next, shows whether and why Redis is away.
        let is_first_break = step == Step::Command && cause == Cause::Unreachable && away.broken.insert(link);
        if is_first_break {
            return None;
        }
        let is_new = !away.causes.contains(&cause);
        let notice = match away.logged {
            Some(said) if !is_new && now.saturating_duration_since(said) < LOG_AGAIN => return None,
            Some(_) if !is_new => Notice::StillAway(now.saturating_duration_since(away.since)),
            _ => Notice::Lost,
        };
        away.logged = Some(now);
        if is_new {
            away.causes.push(cause);
        }
        Some(notice)
    }

    fn worked(&mut self, link: u64, now: Instant) -> Option<Notice> {
        if let Some(away) = &mut self.away
            && !away.is_over(link, now)
        {
            return None;
        }
        let is_first = !std::mem::replace(&mut self.was_connected, true);
        let away = self
            .away
            .take()
            .filter(|away| away.logged.is_some())
            .map(|away| now.saturating_duration_since(away.since));
        if is_first {
            Some(Notice::Connected(away))
        } else {
            away.map(Notice::Back)
        }
    }

    /// Whether to log this refusal: it was not logged lately.
    fn refused(&mut self, text: &str, now: Instant) -> bool {
        self.refusals
            .retain(|_, said| now.saturating_duration_since(*said) < LOG_AGAIN);
        if self.refusals.contains_key(text) {
            return false;
        }
        self.refusals.insert(text.to_owned(), now);
        true
    }
}

impl Away {
    /// Whether the outage is over, now that this link works.
    fn is_over(&mut self, link: u64, now: Instant) -> bool {
        self.down.remove(&link);
        self.down
            .retain(|_, failed| now.saturating_duration_since(*failed) < GIVEN_UP);
        let (step, failed) = self.failed;
        let is_quiet = step == Step::Connecting || now.saturating_duration_since(failed) >= QUIET;
        self.down.is_empty() && is_quiet
    }
}

impl Notices {
    pub(super) fn new(target: &RedisUrl) -> Self {
        Self {
            target: target.to_string(),
            advice: target.advice(),
            links: AtomicU64::new(0),
            started: AtomicBool::new(false),
            away: AtomicBool::new(false),
            decisions: Mutex::default(),
        }
    }

    pub(super) fn number(&self) -> u64 {
        self.links.fetch_add(1, Ordering::Relaxed)
    }

    /// The process has started: from now on permanent errors are logged.
    pub(super) fn start(&self) {
        self.started.store(true, Ordering::Release);
    }

    /// Whether successes must be reported, also by links that were not down.
    pub(super) fn is_away(&self) -> bool {
        self.away.load(Ordering::Relaxed)
    }

    pub(super) fn failed(&self, link: u64, step: Step, error: &LinkError) {
        if self.is_left_to_the_caller(error) {
            return;
        }
        let cause = Cause::of(error);
        let mut decisions = self.decisions.lock();
        let notice = decisions.failed(link, step, cause, Instant::now());
        self.away.store(true, Ordering::Relaxed);
        drop(decisions);
        if let Some(notice) = notice {
            tracing::warn!("{}", self.line(notice, cause, &error.to_string()));
        }
    }

    pub(super) fn worked(&self, link: u64) {
        let mut decisions = self.decisions.lock();
        let notice = decisions.worked(link, Instant::now());
        self.away.store(decisions.away.is_some(), Ordering::Relaxed);
        drop(decisions);
        if let Some(notice) = notice {
            tracing::info!("{}", self.line(notice, Cause::NotNow, ""));
        }
    }

    /// Logs that a command is refused, unless that was logged lately.
    pub(super) fn refused(&self, error: &LinkError) {
        if self.is_left_to_the_caller(error) {
            return;
        }
        let text = error.to_string();
        if self.decisions.lock().refused(&text, Instant::now()) {
            tracing::error!("{text}");
        }
    }

    fn is_left_to_the_caller(&self, error: &LinkError) -> bool {
        error.is_permanent() && !self.started.load(Ordering::Acquire)
    }

    fn line(&self, notice: Notice, cause: Cause, problem: &str) -> String {
        let target = &self.target;
        let retrying = format!("retrying every {} s", RETRY_EVERY.as_secs_f64());
        let advice = match cause {
            Cause::Unreachable => format!("; {}", self.advice),
            Cause::NotNow | Cause::Refused => String::new(),
        };
        match notice {
            Notice::Connected(None) => format!("connected to Redis at {target}"),
            Notice::Connected(Some(away)) => {
                format!("connected to Redis at {target} after {}", seconds(away))
            }
            Notice::Lost => format!("{problem}; {retrying}{advice}"),
            Notice::StillAway(away) => format!("{problem}; away for {}; {retrying}{advice}", seconds(away)),
            Notice::Back(away) => format!(
                "connected to Redis at {target} again; it was away for {}",
                seconds(away)
            ),
        }
    }
}

/// In whole seconds, at least one.
fn seconds(time: Duration) -> String {
    humantime::format_duration(Duration::from_secs(time.as_secs().max(1))).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::redis::refusal::Outage;

    const SECOND: Duration = Duration::from_secs(1);

    /// Feeds decisions with events at given seconds.
    struct Script {
        decisions: Decisions,
        start: Instant,
    }

    impl Script {
        fn new() -> Self {
            Self {
                decisions: Decisions::default(),
                start: Instant::now(),
            }
        }

        /// One that was connected at once.
        fn connected() -> Self {
            let mut script = Self::new();
            assert_eq!(script.worked(0, 0.0), Some(Notice::Connected(None)));
            script
        }

        fn at(&self, second: f64) -> Instant {
            self.start + Duration::from_secs_f64(second)
        }

        fn refused(&mut self, link: u64, second: f64) -> Option<Notice> {
            let now = self.at(second);
            self.decisions
                .failed(link, Step::Connecting, Cause::Unreachable, now)
        }

        fn command(&mut self, link: u64, cause: Cause, second: f64) -> Option<Notice> {
            let now = self.at(second);
            self.decisions.failed(link, Step::Command, cause, now)
        }

        fn worked(&mut self, link: u64, second: f64) -> Option<Notice> {
            let now = self.at(second);
            self.decisions.worked(link, now)
        }
    }

    #[test]
    fn an_outage_is_said_once_then_each_minute_and_once_that_it_is_over() {
        let mut script = Script::new();
        assert_eq!(script.refused(0, 0.0), Some(Notice::Lost));
        for second in 1..60 {
            assert_eq!(script.refused(second % 3, second as f64), None, "second {second}");
        }
        assert_eq!(script.refused(1, 60.0), Some(Notice::StillAway(60 * SECOND)));
        assert_eq!(script.refused(1, 119.0), None);
        assert_eq!(script.refused(2, 125.0), Some(Notice::StillAway(125 * SECOND)));
        assert_eq!(script.refused(0, 126.0), None);
        for link in [1, 2] {
            assert_eq!(script.worked(link, 127.0), None, "link 0 is still down");
        }
        assert_eq!(
            script.worked(0, 127.0),
            Some(Notice::Connected(Some(127 * SECOND)))
        );
        assert_eq!(script.worked(1, 128.0), None);
        // The next outage has its own lines, and its own time.
        assert_eq!(script.refused(1, 130.0), Some(Notice::Lost));
        assert_eq!(script.worked(1, 133.0), Some(Notice::Back(3 * SECOND)));
    }

    #[test]
    fn a_first_connection_is_said_once_for_all_links() {
        let mut script = Script::connected();
        assert_eq!(script.worked(1, 0.0), None);
        assert_eq!(script.worked(0, 9.0), None);
    }

    #[test]
    fn connections_that_break_are_an_outage_only_where_they_do_not_come_back() {
        let mut script = Script::connected();
        for link in 0..3 {
            assert_eq!(script.command(link, Cause::Unreachable, 1.0), None);
        }
        for link in 0..3 {
            assert_eq!(script.worked(link, 1.1), None);
        }
        assert_eq!(
            script.worked(0, 4.0),
            None,
            "nothing was said, so nothing is over"
        );
        for link in 0..3 {
            assert_eq!(script.command(link, Cause::Unreachable, 5.0), None);
        }
        assert_eq!(script.refused(1, 5.1), Some(Notice::Lost));
        assert_eq!(script.refused(0, 5.1), None);
    }

    #[test]
    fn a_server_that_connects_and_answers_no_command_is_away() {
        let mut script = Script::connected();
        assert_eq!(script.command(0, Cause::Unreachable, 1.0), None);
        assert_eq!(script.worked(0, 1.1), None);
        assert_eq!(script.command(0, Cause::Unreachable, 2.0), Some(Notice::Lost));
        for second in 3..60 {
            assert_eq!(script.worked(0, second as f64 - 0.5), None);
            assert_eq!(script.command(0, Cause::Unreachable, second as f64), None);
        }
        assert_eq!(script.worked(0, 59.5), None);
        assert_eq!(
            script.worked(0, 61.5),
            Some(Notice::Back(60 * SECOND + SECOND / 2))
        );
    }

    #[test]
    fn a_replica_that_takes_no_writes_is_not_back_with_each_read() {
        let mut script = Script::connected();
        assert_eq!(script.command(0, Cause::NotNow, 1.0), Some(Notice::Lost));
        for second in 2..61 {
            assert_eq!(script.worked(0, second as f64 - 0.5), None);
            assert_eq!(script.command(0, Cause::NotNow, second as f64), None);
        }
        assert_eq!(
            script.command(0, Cause::NotNow, 61.0),
            Some(Notice::StillAway(60 * SECOND))
        );
        assert_eq!(script.worked(0, 62.0), None);
        assert_eq!(script.worked(0, 63.0), Some(Notice::Back(62 * SECOND)));
    }

    #[test]
    fn another_cause_is_said_once() {
        let mut script = Script::connected();
        assert_eq!(script.refused(0, 1.0), Some(Notice::Lost));
        assert_eq!(script.command(0, Cause::NotNow, 2.0), Some(Notice::Lost));
        assert_eq!(script.refused(0, 3.0), None);
        assert_eq!(script.command(0, Cause::NotNow, 4.0), None);
    }

    #[test]
    fn an_unused_link_does_not_keep_redis_away() {
        let mut script = Script::connected();
        assert_eq!(script.refused(7, 1.0), Some(Notice::Lost));
        assert_eq!(script.worked(0, 10.9), None);
        assert_eq!(script.worked(0, 11.0), Some(Notice::Back(10 * SECOND)));
    }

    #[test]
    fn a_refusal_is_said_once_a_minute() {
        let mut script = Script::new();
        let mut refused = |text, second| {
            let now = script.at(second);
            script.decisions.refused(text, now)
        };
        assert!(refused("XADD", 0.0));
        assert!(refused("EVAL", 1.0));
        assert!(!refused("XADD", 2.0) && !refused("EVAL", 59.0));
        assert!(refused("XADD", 60.0));
        assert!(!refused("EVAL", 60.5));
    }

    fn notices(url: &str) -> Notices {
        Notices::new(&RedisUrl::parse(url, None).expect("a URL"))
    }

    #[test]
    fn lines_say_what_is_wrong_what_is_done_and_what_to_do() {
        let notices = notices("redis://:secret@127.0.0.1");
        let problem = "Redis at 127.0.0.1:6379 cannot be reached: Connection refused (os error 111)";
        let lost = notices.line(Notice::Lost, Cause::Unreachable, problem);
        insta::assert_snapshot!(lost, @"Redis at 127.0.0.1:6379 cannot be reached: Connection refused (os error 111); retrying every 0.5 s; is it running? `redis-server` starts one, and --redis names another");
        let still = notices.line(Notice::StillAway(150 * SECOND), Cause::NotNow, "Redis is loading");
        insta::assert_snapshot!(still, @"Redis is loading; away for 2m 30s; retrying every 0.5 s");
        let line = |notice| notices.line(notice, Cause::NotNow, "");
        insta::assert_snapshot!(line(Notice::Connected(None)), @"connected to Redis at 127.0.0.1:6379");
        insta::assert_snapshot!(line(Notice::Connected(Some(5 * SECOND))), @"connected to Redis at 127.0.0.1:6379 after 5s");
        insta::assert_snapshot!(line(Notice::Back(SECOND / 5)), @"connected to Redis at 127.0.0.1:6379 again; it was away for 1s");
    }

    #[test]
    fn errors_that_end_the_start_are_not_logged() {
        let notices = notices("redis://127.0.0.1");
        let login = LinkError::Login("no".to_owned());
        let down = LinkError::Down(Outage::not_now("loading".to_owned()));
        assert!(notices.is_left_to_the_caller(&login));
        assert!(!notices.is_left_to_the_caller(&down));
        notices.start();
        assert!(!notices.is_left_to_the_caller(&login));
    }
}
