//! Schedules the webhook calls of all jobs of this process.
//!
//! There is a limit on all calls in flight and a smaller one for each receiver, so that a slow receiver does not delay others.
//! A receiver that fails is paused for all its jobs.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{Instant, sleep_until};

/// The pause after the first failed call; each later one is three times the one before, up to the longest.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const MOST_FAILURES: u32 = 5;

/// Calls in flight.
#[derive(Clone, Copy, Debug)]
pub struct CallLimits {
    pub total: usize,
    pub per_receiver: usize,
}

/// A host and a port.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(in crate::async_jobs) struct Receiver(pub(in crate::async_jobs) Arc<str>);

/// Cheap to clone.
#[derive(Clone, Debug)]
pub(in crate::async_jobs) struct Dispatcher {
    limits: CallLimits,
    total: Arc<Semaphore>,
    /// Those with calls in flight or waiting, or that are paused.
    receivers: Arc<Mutex<HashMap<Receiver, Arc<ReceiverLine>>>>,
}

#[derive(Debug)]
struct ReceiverLine {
    places: Arc<Semaphore>,
    pause: watch::Sender<Pause>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Pause {
    /// Rounds of failed calls since the last success.
    failures: u32,
    /// When the last of them ended, and when the pause ends.
    times: Option<(Instant, Instant)>,
}

/// Permission for one call. Holds its places until it is dropped.
#[derive(Debug)]
pub(in crate::async_jobs) struct Turn {
    line: Arc<ReceiverLine>,
    began: Instant,
    _places: [Option<OwnedSemaphorePermit>; 2],
}

impl fmt::Display for Receiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Pause {
    /// The pause after a call that `began` and has ended `now`. Calls that were in flight together fail together, and
    /// count once. `random` is from 0 to 1.
    fn after(self, answered: bool, began: Instant, now: Instant, random: f64) -> Self {
        if answered {
            return Self::default();
        }
        if self.times.is_some_and(|(since, _)| began < since) {
            return self;
        }
        let pause = FIRST_PAUSE * 3_u32.pow(self.failures);
        Self {
            failures: (self.failures + 1).min(MOST_FAILURES - 1),
            times: Some((now, now + pause.mul_f64(0.8 + 0.4 * random.clamp(0.0, 1.0)))),
        }
    }

    /// The end of the pause, if it is paused.
    fn until(&self, now: Instant) -> Option<Instant> {
        let (_, until) = self.times?;
        (until > now).then_some(until)
    }
}

impl ReceiverLine {
    async fn open(&self) {
        let mut changes = self.pause.subscribe();
        loop {
            let pause = *changes.borrow_and_update();
            let Some(until) = pause.until(Instant::now()) else {
                return;
            };
            tokio::select! {
                () = sleep_until(until) => {}
                // The sender lives as long as the line.
                _ = changes.changed() => {}
            }
        }
    }
}

impl Turn {
    /// Ends the call. `answered` is whether the receiver as a whole works.
    pub(super) fn end(self, answered: bool) {
        let (began, now) = (self.began, Instant::now());
        self.line
            .pause
            .send_modify(|pause| *pause = pause.after(answered, began, now, fastrand::f64()));
    }
}

impl Dispatcher {
    pub(super) fn new(limits: CallLimits) -> Self {
        Self {
            limits,
            total: Arc::new(Semaphore::new(limits.total)),
            receivers: Arc::default(),
        }
    }

    /// Waits until `receiver` may be called, first come, first served.
    pub(in crate::async_jobs) async fn turn(&self, receiver: &Receiver) -> Turn {
        let line = self.line(receiver);
        // Neither semaphore is ever closed.
        let place = Arc::clone(&line.places).acquire_owned().await.ok();
        loop {
            line.open().await;
            let any = Arc::clone(&self.total).acquire_owned().await.ok();
            let began = Instant::now();
            // Another call may have failed while this one waited.
            if line.pause.borrow().until(began).is_none() {
                return Turn {
                    line,
                    began,
                    _places: [place, any],
                };
            }
        }
    }

    /// How long `receiver` is still paused, if it is.
    pub(in crate::async_jobs) fn paused_for(&self, receiver: &Receiver) -> Option<Duration> {
        let line = self.receivers.lock().get(receiver).cloned()?;
        let now = Instant::now();
        line.pause.borrow().until(now).map(|until| until - now)
    }

    pub(in crate::async_jobs) async fn paused(&self, receiver: &Receiver) {
        let line = self.line(receiver);
        let mut changes = line.pause.subscribe();
        let is_paused = |pause: &Pause| pause.until(Instant::now()).is_some();
        // The sender lives as long as the line.
        let _ = changes.wait_for(is_paused).await;
    }

    fn line(&self, receiver: &Receiver) -> Arc<ReceiverLine> {
        let mut receivers = self.receivers.lock();
        if let Some(line) = receivers.get(receiver) {
            return Arc::clone(line);
        }
        // Clients may name any number of hosts over time, so unused ones are removed.
        let now = Instant::now();
        receivers.retain(|_, line| Arc::strong_count(line) > 1 || line.pause.borrow().until(now).is_some());
        let line = Arc::new(ReceiverLine {
            places: Arc::new(Semaphore::new(self.limits.per_receiver)),
            pause: watch::Sender::new(Pause::default()),
        });
        receivers.insert(receiver.clone(), Arc::clone(&line));
        line
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use futures_util::future::join_all;
    use tokio::time::{sleep, timeout};

    use super::*;

    const LIMITS: CallLimits = CallLimits {
        total: 5,
        per_receiver: 2,
    };

    fn receiver(name: &str) -> Receiver {
        Receiver(name.into())
    }

    fn now_or_later(turn: Option<Turn>) -> &'static str {
        turn.map_or("later", |_| "now")
    }

    async fn soon(dispatcher: &Dispatcher, name: &str) -> Option<Turn> {
        // The clock stands still, so this passes when nothing else can happen.
        let wait = Duration::from_millis(1);
        timeout(wait, dispatcher.turn(&receiver(name))).await.ok()
    }

    #[tokio::test(start_paused = true)]
    async fn calls_are_bounded_for_each_receiver_and_for_all() {
        let dispatcher = Dispatcher::new(LIMITS);
        let mut turns = Vec::new();
        for (name, wanted) in [
            ("a", "now"),
            ("a", "now"),
            ("a", "later"),
            ("b", "now"),
            ("b", "now"),
            ("c", "now"),
            ("d", "later"),
        ] {
            let turn = soon(&dispatcher, name).await;
            assert_eq!(turn.is_some(), wanted == "now", "{name}");
            turns.extend(turn);
        }
        drop(turns.pop());
        assert_eq!(now_or_later(soon(&dispatcher, "a").await), "later");
        assert_eq!(now_or_later(soon(&dispatcher, "d").await), "now");
        drop(turns);
        assert_eq!(now_or_later(soon(&dispatcher, "a").await), "now");
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_receiver_is_tried_as_a_whole_and_holds_up_no_other() {
        let dispatcher = Dispatcher::new(LIMITS);
        let (calls, start) = (RefCell::new(Vec::new()), Instant::now());
        let silent = receiver("silent");
        let try_for_ever = async || {
            loop {
                let turn = dispatcher.turn(&silent).await;
                calls.borrow_mut().push(start.elapsed());
                sleep(Duration::from_secs(10)).await;
                turn.end(false);
            }
        };
        let jobs = join_all((0..1000).map(|_| try_for_ever()));
        let others = async {
            for _ in 0..300 {
                let turn = soon(&dispatcher, "good").await.expect("nothing is in its way");
                turn.end(true);
                sleep(Duration::from_secs(1)).await;
            }
        };
        tokio::select! {
            _ = jobs => {}
            () = others => {}
        }
        // Two at 0 s, after pauses of 1, 3, 9, 27 and 81 s, and of 81 s again; each takes 10 s.
        let rounds = calls.borrow().len() / LIMITS.per_receiver;
        assert!((6..=8).contains(&rounds), "{:?}", calls.borrow());
    }

    #[tokio::test(start_paused = true)]
    async fn one_answer_ends_a_pause() {
        let dispatcher = Dispatcher::new(LIMITS);
        let (first, second) = (soon(&dispatcher, "a").await, soon(&dispatcher, "a").await);
        first.expect("a turn").end(false);
        assert!(dispatcher.paused_for(&receiver("a")).is_some());
        timeout(Duration::from_secs(9), dispatcher.paused(&receiver("a")))
            .await
            .expect("it is paused");
        assert_eq!(now_or_later(soon(&dispatcher, "a").await), "later");
        second.expect("a turn").end(true);
        assert_eq!(dispatcher.paused_for(&receiver("a")), None);
        assert_eq!(now_or_later(soon(&dispatcher, "a").await), "now");
    }

    #[tokio::test(start_paused = true)]
    async fn receivers_are_forgotten() {
        let dispatcher = Dispatcher::new(LIMITS);
        for index in 0..1000 {
            let turn = soon(&dispatcher, &index.to_string()).await.expect("a turn");
            turn.end(index % 10 != 0);
            sleep(FIRST_PAUSE).await;
        }
        assert!(dispatcher.receivers.lock().len() < 5);
    }

    #[test]
    fn calls_that_fail_together_count_once() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let one = Pause::default().after(false, at(0), at(10), 0.5);
        assert_eq!(one.until(at(10)), Some(at(11)));
        assert_eq!(one.after(false, at(9), at(10), 0.5), one);
        let two = one.after(false, at(11), at(21), 0.5);
        assert_eq!(two.until(at(21)), Some(at(24)));
        let many = (0..10_u64).fold(two, |pause, round| {
            let began = at(1000 * (round + 1));
            pause.after(false, began, began, 0.5)
        });
        assert_eq!(many.until(at(10_000)), Some(at(10_081)));
        assert_eq!(many.after(true, at(0), at(10_001), 0.5), Pause::default());
    }
}
