//! Whether the load before the measurement shows that there is nothing to measure.

use crate::failure::Failed;
use crate::link::Outcome;

/// The requests of a warm-up.
#[derive(Debug, Default)]
pub(crate) struct WarmUp {
    in_flight: u64,
    failed: u64,
    succeeded: bool,
    /// The latest failure.
    last: Option<Failed>,
}

impl WarmUp {
    /// Notes that a request started.
    pub(crate) fn start(&mut self) {
        self.in_flight += 1;
    }

    /// Notes how a request ended.
    pub(crate) fn finish(&mut self, outcome: &Outcome) {
        self.in_flight -= 1;
        match outcome {
            Ok(_) => self.succeeded = true,
            Err(failed) => {
                self.failed += 1;
                self.last = Some(failed.clone());
            }
        }
    }

    /// How many requests failed and how the last one did, once the warm-up `is_over` and all of them are known to have
    /// failed.
    pub(crate) fn failure(&self, is_over: bool) -> Option<(u64, &Failed)> {
        let all_failed = is_over && self.in_flight == 0 && !self.succeeded;
        let last = self.last.as_ref()?;
        all_failed.then_some((self.failed, last))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::{Failure, FailureKind};

    fn failed(kind: FailureKind) -> Outcome {
        Err(Failure::new(kind).into())
    }

    #[test]
    fn a_warm_up_fails_when_it_is_over_and_every_request_failed() {
        let mut warm_up = WarmUp::default();
        assert_eq!(warm_up.failure(true), None, "nothing was sent");
        warm_up.start();
        warm_up.start();
        assert_eq!(warm_up.failure(true), None, "nothing is known yet");
        warm_up.finish(&failed(FailureKind::Cut));
        assert_eq!(warm_up.failure(true), None, "one may still succeed");
        warm_up.finish(&failed(FailureKind::Timeout));
        assert_eq!(warm_up.failure(false), None, "more will be sent");
        let last = Failed::from(Failure::new(FailureKind::Timeout));
        assert_eq!(warm_up.failure(true), Some((2, &last)));
        warm_up.start();
        warm_up.finish(&Ok(Vec::new()));
        warm_up.start();
        warm_up.finish(&failed(FailureKind::Cut));
        assert_eq!(warm_up.failure(true), None, "one succeeded");
    }
}
