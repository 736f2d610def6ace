//! Whether the load before the measurement shows that there is nothing to measure.

use crate::failure::Failed;
use crate::link::RequestResult;

/// After so many refusals and no success the rest of a warm-up is not sent: a wrong path costs a server thousands of photos
/// otherwise.
const HOPELESS: u64 = 100;

#[derive(Debug, Default)]
pub(crate) struct WarmUp {
    in_flight: u64,
    failed: u64,
    /// Those of them that the server refused in a way that waiting does not change.
    refused: u64,
    succeeded: bool,
    last: Option<Failed>,
}

impl WarmUp {
    pub(crate) fn start(&mut self) {
        self.in_flight += 1;
    }

    pub(crate) fn finish(&mut self, result: &RequestResult) {
        self.in_flight -= 1;
        match result {
            Ok(_) => self.succeeded = true,
            Err(failed) => {
                self.failed += 1;
                self.refused += u64::from(failed.failure.is_lasting());
                self.last = Some(failed.clone());
            }
        }
    }

    /// How many requests failed and how the last one did, once the warm-up `is_over` and all of them are known to have
    /// failed, or [`HOPELESS`] of them were refused for good and none succeeded.
    pub(crate) fn failure(&self, is_over: bool) -> Option<(u64, &Failed)> {
        let is_complete = is_over && self.in_flight == 0;
        let all_failed = !self.succeeded && (is_complete || self.refused >= HOPELESS);
        let last = self.last.as_ref()?;
        all_failed.then_some((self.failed, last))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::{Failure, FailureKind};

    fn failed(kind: FailureKind) -> RequestResult {
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

    #[test]
    fn a_warm_up_ends_early_when_the_server_refuses_for_good() {
        let refusals = |status: u16, count: u64| {
            let mut warm_up = WarmUp::default();
            for _ in 0..count {
                warm_up.start();
                warm_up.finish(&Err(Failure::status(status, None).into()));
            }
            // Another is on its way.
            warm_up.start();
            warm_up.failure(false).map(|(failed, _)| failed)
        };
        for status in [400, 401, 404, 405, 413, 415] {
            assert_eq!(refusals(status, HOPELESS - 1), None, "{status}");
            assert_eq!(refusals(status, HOPELESS), Some(HOPELESS), "{status}");
        }
        for status in [408, 425, 429, 500, 503] {
            assert_eq!(refusals(status, 2 * HOPELESS), None, "{status} may pass");
        }
        let mut warm_up = WarmUp::default();
        warm_up.start();
        warm_up.finish(&Ok(Vec::new()));
        for _ in 0..HOPELESS {
            warm_up.start();
            warm_up.finish(&Err(Failure::status(400, None).into()));
        }
        assert_eq!(warm_up.failure(false), None, "one succeeded");
    }
}
