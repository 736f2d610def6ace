//! The results of all requests of a scenario.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// The result of one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The correct label.
    Right,
    /// A wrong label, a wrong request id, or an invalid response.
    Wrong(String),
    /// An error body with this code.
    Refused(String),
    /// The connection was closed before a response.
    Broken,
    /// No response, long after the deadline.
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
    /// Responses without a request.
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

    /// Number of each error; a connection that broke with its web process counts as one.
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

    /// The longest time until a response of any kind.
    pub(crate) fn longest(&self) -> Duration {
        let answered = self
            .records
            .iter()
            .filter(|record| !matches!(record.outcome, Outcome::Silent | Outcome::Broken));
        answered.map(Record::took).max().unwrap_or_default()
    }

    /// Time from a moment until the first correct answer after it.
    pub(crate) fn first_right_after(&self, moment: Instant) -> Option<Duration> {
        let after = self
            .records
            .iter()
            .filter(|record| record.is_right() && record.ended >= moment);
        after.map(|record| record.ended - moment).min()
    }

    /// The longest time from one of these moments to the response of a request that was in progress.
    pub(crate) fn longest_after(&self, moments: &[Instant]) -> Duration {
        let waits = self.records.iter().filter_map(|record| {
            let within = |moment: &&Instant| record.sent <= **moment && **moment <= record.ended;
            let last = moments.iter().filter(within).max()?;
            Some(record.ended - *last)
        });
        waits.max().unwrap_or_default()
    }
}
