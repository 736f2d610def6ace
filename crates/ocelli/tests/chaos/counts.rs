//! What became of every request of a scenario.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// What became of one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The label that this photo has.
    Right,
    /// Another photo's label, another request's id, or something that is no answer.
    Wrong(String),
    /// An error body with this code.
    Refused(String),
    /// The connection ended first.
    Broken,
    /// Nothing came, long after the deadline.
    Silent,
}

/// One request.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    pub(crate) web: SocketAddr,
    pub(crate) sent: Instant,
    pub(crate) ended: Instant,
    pub(crate) outcome: Outcome,
}

/// All requests of a scenario.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) records: Vec<Record>,
    /// Answers that came without a question.
    pub(crate) unasked: usize,
}

impl Record {
    pub(crate) fn took(&self) -> Duration {
        self.ended - self.sent
    }

    pub(crate) fn is_right(&self) -> bool {
        self.outcome == Outcome::Right
    }

    /// Whether it was refused with this code.
    pub(crate) fn is_refused(&self, code: &str) -> bool {
        matches!(&self.outcome, Outcome::Refused(refused) if refused == code)
    }
}

impl Counts {
    pub(crate) fn right(&self) -> usize {
        self.records.iter().filter(|record| record.is_right()).count()
    }

    /// How often each error was the answer; a connection that broke with its web process is one of them.
    pub(crate) fn errors(&self) -> BTreeMap<String, usize> {
        let mut errors = BTreeMap::new();
        for record in &self.records {
            let code = match &record.outcome {
                Outcome::Refused(code) => code.as_str(),
                Outcome::Wrong(_) => "wrong",
                Outcome::Broken => "connection",
                Outcome::Right | Outcome::Silent => continue,
            };
            *errors.entry(code.to_owned()).or_default() += 1;
        }
        errors
    }

    /// Requests without an answer although their web process was alive: all silent ones, and those whose connection broke
    /// without a kill at the other end.
    pub(crate) fn unanswered(&self, killed: &[SocketAddr]) -> usize {
        let lost = self.records.iter().filter(|record| match record.outcome {
            Outcome::Silent => true,
            Outcome::Broken => !killed.contains(&record.web),
            _ => false,
        });
        lost.count()
    }

    /// The longest that an answer took, of whatever kind.
    pub(crate) fn longest(&self) -> Duration {
        let answered = self
            .records
            .iter()
            .filter(|record| !matches!(record.outcome, Outcome::Silent | Outcome::Broken));
        answered.map(Record::took).max().unwrap_or_default()
    }

    /// How long the first right answer after a moment took from there on.
    pub(crate) fn first_right_after(&self, moment: Instant) -> Option<Duration> {
        let after = self
            .records
            .iter()
            .filter(|record| record.is_right() && record.ended >= moment);
        after.map(|record| record.ended - moment).min()
    }

    /// The longest that a request was answered after the last of these moments that fell into its time.
    pub(crate) fn longest_after(&self, moments: &[Instant]) -> Duration {
        let waits = self.records.iter().filter_map(|record| {
            let within = |moment: &&Instant| record.sent <= **moment && **moment <= record.ended;
            let last = moments.iter().filter(within).max()?;
            Some(record.ended - *last)
        });
        waits.max().unwrap_or_default()
    }
}
