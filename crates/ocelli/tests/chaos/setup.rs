//! Runs a scenario from the first process to the last key, and checks its results.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::counts::{Counts, Outcome};
use crate::load::{Load, Question};
use crate::processes::{Extras, Processes, pause};
use crate::store::{Left, Store};

/// The longest that anything of Ocelli's lives in Redis after the last process has ended: a minute longer than the time of the
/// longest job that a scenario submits (25 s), and some.
const KEYS_LIVE: Duration = Duration::from_secs(90);

/// The settings of a scenario that differ from the default.
#[derive(Default)]
pub(crate) struct Setup {
    /// URL of the store, if not the direct one.
    pub(crate) url: Option<String>,
    pub(crate) extras: Extras,
    pub(crate) questions: Option<Vec<Question>>,
}

/// A running scenario.
pub(crate) struct Run {
    pub(crate) processes: Processes,
    pub(crate) store: Store,
    pub(crate) load: Load,
    title: &'static str,
}

/// A finished scenario, except for the keys in Redis.
pub(crate) struct Finished {
    pub(crate) title: &'static str,
    pub(crate) counts: Counts,
    pub(crate) unanswered: usize,
    /// Second replies that the web processes dropped.
    pub(crate) orphaned: f64,
    pub(crate) facts: Vec<Fact>,
    pub(crate) left: usize,
    store: Store,
    over: Instant,
}

/// A measurement, and whether it is as expected.
#[derive(Clone, Debug)]
pub(crate) struct Fact {
    pub(crate) holds: bool,
    pub(crate) text: String,
}

impl Run {
    /// Starts the processes over `store`, and the load.
    pub(crate) async fn open(title: &'static str, store: Store) -> Self {
        Self::open_with(title, store, Setup::default()).await
    }

    /// The same, with other settings.
    pub(crate) async fn open_with(title: &'static str, store: Store, setup: Setup) -> Self {
        let url = setup.url.unwrap_or_else(|| store.url());
        let folder: String = title
            .chars()
            .map(|letter| {
                if letter.is_ascii_alphanumeric() {
                    letter
                } else {
                    '-'
                }
            })
            .collect();
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("chaos").join(folder);
        let processes = Processes::open(&url, &folder, setup.extras).await;
        let questions = setup.questions.unwrap_or_else(Question::usual);
        let load = Load::start(&processes.balancer, questions.into());
        pause(1.0).await;
        Self {
            processes,
            store,
            load,
            title,
        }
    }

    /// Ends the load and the processes. `allowed` are the errors that a client may see in this scenario.
    pub(crate) async fn finish(mut self, allowed: &[&str]) -> Finished {
        let counts = self.load.stop().await;
        let orphaned = self.processes.webs_sum("ocelli_orphaned_replies_total").await;
        let fallen = self.processes.fallen();
        let killed = std::mem::take(&mut self.processes.killed_webs);
        let unwell = self.processes.close().await;
        let mut played = Finished {
            title: self.title,
            unanswered: counts.unanswered(&killed),
            counts,
            orphaned,
            facts: Vec::new(),
            left: 0,
            store: self.store,
            over: Instant::now(),
        };
        let others: Vec<_> = played
            .counts
            .errors()
            .into_keys()
            .filter(|code| !allowed.contains(&code.as_str()))
            .collect();
        played.must(others.is_empty(), || {
            format!("errors that clients must not see here: {}", others.join(", "))
        });
        played.must(fallen.is_empty(), || {
            format!("ended of themselves: {}", fallen.join(", "))
        });
        played.must(unwell.is_empty(), || {
            format!("did not end well: {}", unwell.join(", "))
        });
        let wrong = played
            .counts
            .records
            .iter()
            .find_map(|record| match &record.outcome {
                Outcome::Wrong(what) => Some(what.clone()),
                _ => None,
            });
        played.must(wrong.is_none(), || wrong.unwrap_or_default());
        let endless: Vec<String> = played
            .store
            .left()
            .await
            .into_iter()
            .filter(is_endless)
            .map(|(key, _)| key)
            .collect();
        played.must(endless.is_empty(), || {
            format!("keys without an end in sight: {}", endless.join(", "))
        });
        played
    }
}

fn is_endless((_, ends_in): &Left) -> bool {
    u64::try_from(*ends_in).map_or(true, |ends_in| Duration::from_millis(ends_in) > KEYS_LIVE)
}

impl Finished {
    /// Records a measurement, and whether it is as expected.
    pub(crate) fn fact(&mut self, holds: bool, text: String) {
        self.facts.push(Fact { holds, text });
    }

    /// Records a measurement only if it is not as expected.
    pub(crate) fn must(&mut self, holds: bool, text: impl FnOnce() -> String) {
        if !holds {
            self.fact(false, text());
        }
    }

    /// Whether all results are as expected.
    pub(crate) fn is_well(&self) -> bool {
        self.facts.iter().all(|fact| fact.holds)
            && self.counts.unasked == 0
            && self.unanswered == 0
            && self.left == 0
    }

    /// Waits until all keys should have expired, and counts the remaining ones.
    pub(crate) async fn wait_for_keys(&mut self) {
        loop {
            self.left = self.store.left().await.len();
            if self.left == 0 || self.over.elapsed() > KEYS_LIVE {
                return;
            }
            pause(0.5).await;
        }
    }
}
