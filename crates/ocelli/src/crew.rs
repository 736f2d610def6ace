//! The threads that compute: one for each core, each doing whatever is most useful next.
//!
//! A photo is decoded and its batch is run by the same few threads, because a thread that goes on with the next piece
//! of work costs nothing, while waking another one leaves a core idle and its caches cold: handing over twice for each
//! photo was measured to cost a tenth of the throughput. What is useful next is decided here; what the work is, and
//! where it comes from, is the business of [`Work`].

use std::sync::Arc;
use std::time::Instant;

use parking_lot::{Condvar, Mutex};

/// How badly a piece of work has to wait for its turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Urgency {
    /// Nothing else should come first.
    Pressing,
    /// Worth doing.
    Ordinary,
}

/// What came of a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// Something was done; there may be more.
    Worked,
    /// There is nothing to do until the crew is called.
    Nothing,
    /// There is nothing to do until the crew is called or this time comes.
    NothingUntil(Instant),
}

/// A source of work.
pub trait Work: Send + Sync {
    /// Does one piece of work of at least this urgency, if there is one. `member` says which of the crew's threads
    /// asks, from 0, so that state can be kept for each.
    fn turn(&self, member: usize, urgency: Urgency) -> Turn;
}

/// Calls the crew. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Crew {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    calls: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// Grows with every call, so that one that comes between looking for work and going to sleep is noticed.
    calls: u64,
    sleeping: usize,
    closed: bool,
}

/// One thread of a crew; whoever owns the process's threads runs it.
pub struct Member {
    crew: Crew,
    index: usize,
    work: Vec<Arc<dyn Work>>,
}

impl Crew {
    /// `count` members who do the work of all sources: pressing work first, then the sources in their order.
    #[must_use]
    pub fn members(&self, count: usize, work: &[Arc<dyn Work>]) -> Vec<Member> {
        (0..count)
            .map(|index| Member {
                crew: self.clone(),
                index,
                work: work.to_vec(),
            })
            .collect()
    }

    /// Says that there is one more piece of work.
    pub fn call(&self) {
        let mut state = self.shared.state.lock();
        state.calls += 1;
        if state.sleeping > 0 {
            self.shared.calls.notify_one();
        }
    }

    /// Sends the members home once they find nothing to do.
    pub fn close(&self) {
        self.shared.state.lock().closed = true;
        self.shared.calls.notify_all();
    }

    fn calls(&self) -> u64 {
        self.shared.state.lock().calls
    }

    /// Sleeps unless there was a call since `seen`. False means that the crew is closed.
    fn sleep(&self, seen: u64, until: Option<Instant>) -> bool {
        let mut state = self.shared.state.lock();
        if state.calls != seen {
            return true;
        }
        if state.closed {
            return false;
        }
        state.sleeping += 1;
        match until {
            Some(until) => {
                self.shared.calls.wait_until(&mut state, until);
            }
            None => self.shared.calls.wait(&mut state),
        }
        state.sleeping -= 1;
        true
    }
}

impl Member {
    /// Works until the crew is closed and nothing is left to do.
    pub fn run(self) {
        loop {
            let seen = self.crew.calls();
            if let Err(until) = self.turn()
                && !self.crew.sleep(seen, until)
            {
                return;
            }
        }
    }

    /// Does one piece of work, or says when there may be some.
    fn turn(&self) -> Result<(), Option<Instant>> {
        let mut soonest: Option<Instant> = None;
        for urgency in [Urgency::Pressing, Urgency::Ordinary] {
            for work in &self.work {
                match work.turn(self.index, urgency) {
                    Turn::Worked => return Ok(()),
                    Turn::Nothing => {}
                    Turn::NothingUntil(time) => soonest = Some(soonest.map_or(time, |other| other.min(time))),
                }
            }
        }
        Err(soonest)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Sender, channel};
    use std::thread;
    use std::time::Duration;

    use super::*;

    /// Does its pieces in order and names them; only those marked are pressing.
    struct List {
        pieces: Mutex<Vec<(&'static str, Urgency)>>,
        done: Sender<&'static str>,
    }

    impl Work for List {
        fn turn(&self, _member: usize, urgency: Urgency) -> Turn {
            let mut pieces = self.pieces.lock();
            match pieces.first() {
                Some(&(name, own)) if own == Urgency::Pressing || urgency == Urgency::Ordinary => {
                    pieces.remove(0);
                    self.done.send(name).expect("the test listens");
                    Turn::Worked
                }
                _ => Turn::Nothing,
            }
        }
    }

    #[test]
    fn pressing_work_comes_first_and_then_the_sources_in_order() {
        let (done, order) = channel();
        let list = |pieces: &[(&'static str, Urgency)]| -> Arc<dyn Work> {
            Arc::new(List {
                pieces: Mutex::new(pieces.to_vec()),
                done: done.clone(),
            })
        };
        let first = list(&[("a", Urgency::Ordinary), ("b", Urgency::Pressing)]);
        let second = list(&[("c", Urgency::Pressing), ("d", Urgency::Ordinary)]);
        let crew = Crew::default();
        let members = crew.members(1, &[first, second]);
        crew.close();
        members.into_iter().for_each(Member::run);
        drop(done);
        assert_eq!(order.iter().collect::<Vec<_>>(), ["c", "a", "b", "d"]);
    }

    /// Counts pieces that come from outside; now and then it has to wait for the clock.
    struct Inbox(Mutex<(usize, usize)>);

    impl Work for Inbox {
        fn turn(&self, _member: usize, _urgency: Urgency) -> Turn {
            let mut state = self.0.lock();
            if state.0 == 0 {
                return Turn::NothingUntil(Instant::now() + Duration::from_secs(3600));
            }
            state.0 -= 1;
            state.1 += 1;
            Turn::Worked
        }
    }

    #[test]
    fn no_call_is_missed_and_nothing_is_left_at_the_end() {
        let inbox = Arc::new(Inbox(Mutex::default()));
        let crew = Crew::default();
        let work: Arc<dyn Work> = inbox.clone();
        let threads: Vec<_> = crew
            .members(3, &[work])
            .into_iter()
            .map(|member| thread::spawn(move || member.run()))
            .collect();
        for piece in 0..2000 {
            inbox.0.lock().0 += 1;
            crew.call();
            if piece % 7 == 0 {
                // Members find nothing and go to sleep; a call that were missed would leave pieces undone.
                while inbox.0.lock().0 > 0 {
                    thread::yield_now();
                }
            }
        }
        crew.close();
        threads
            .into_iter()
            .for_each(|thread| thread.join().expect("no panic"));
        assert_eq!(*inbox.0.lock(), (0, 2000));
    }
}
