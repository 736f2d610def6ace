//! The threads that compute: one for each core, each doing whatever is most useful next.
//!
//! A photo is decoded and its batch is run by the same few threads, because a thread that goes on with the next piece
//! of work costs nothing, while waking another one leaves a core idle and its caches cold: handing over twice for each
//! photo was measured to cost a tenth of the throughput. What is useful next is decided here; what the work is, and
//! where it comes from, is the business of [`WorkSource`].
//!
//! Sources come and go while the pool works, as models are loaded and unloaded. They take turns: each member asks them
//! from the one on that comes after the last which had something, and one that others were preferred to again and again
//! is asked for whatever it has.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

/// How often other sources may go first while one has work that is not pressing. Each time costs it one of their batches.
const MOST_PASSED_OVER: u32 = 4;

/// How long a source that is removed is waited for. A member that hangs in an engine must not keep everybody else.
const RELEASED_WITHIN: Duration = Duration::from_secs(30);

/// How badly a piece of work has to wait for its turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Urgency {
    /// Nothing else should come first.
    Urgent,
    Ordinary,
}

/// What came of a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// Something was done; there may be more.
    Worked,
    /// There is nothing to do until the pool is called.
    Nothing,
    /// There is nothing to do until the pool is called or this time comes.
    NothingUntil(Instant),
}

pub trait WorkSource: Send + Sync {
    /// Does one piece of work of at least this urgency, if there is one. `member` says which of the pool's threads
    /// asks, from 0, so that state can be kept for each.
    fn turn(&self, member: usize, urgency: Urgency) -> Turn;
}

/// Calls the pool. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Pool {
    shared: Arc<PoolShared>,
}

#[derive(Debug, Default)]
struct PoolShared {
    state: Mutex<PoolState>,
    calls: Condvar,
    /// Told when every member knows the sources as they are now.
    up_to_date: Condvar,
}

#[derive(Debug, Default)]
struct PoolState {
    /// Grows with every call, so that one that comes between looking for work and going to sleep is noticed.
    calls: u64,
    sleeping: usize,
    closed: bool,
    sources: Arc<[Arc<PoolSource>]>,
    /// Grows whenever the sources change.
    edition: u64,
    /// The edition that each member knows, who is at work.
    known: Vec<Option<u64>>,
}

/// A source of work, and how often others went first since it was last asked for everything.
struct PoolSource {
    work: Arc<dyn WorkSource>,
    passed_over: AtomicU32,
}

impl fmt::Debug for PoolSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PoolSource").finish_non_exhaustive()
    }
}

/// One thread of a pool; whoever owns the process's threads runs it.
pub struct ComputeThread {
    pool: Pool,
    index: usize,
    /// Comes before the sources, unless one of them is pressing.
    leading: Option<Arc<dyn WorkSource>>,
    sources: Arc<[Arc<PoolSource>]>,
    edition: Option<u64>,
    /// The source that is asked first.
    next: usize,
}

impl Pool {
    /// `count` members. They do pressing work first, that of `leading` before that of the other sources; then ordinary work in
    /// the same order. The other sources take turns.
    #[must_use]
    pub fn members(&self, count: usize, leading: Option<&Arc<dyn WorkSource>>) -> Vec<ComputeThread> {
        (0..count)
            .map(|index| ComputeThread {
                pool: self.clone(),
                index,
                leading: leading.cloned(),
                sources: Arc::default(),
                edition: None,
                next: 0,
            })
            .collect()
    }

    /// Adds a source of work.
    pub fn add(&self, work: Arc<dyn WorkSource>) {
        let source = Arc::new(PoolSource {
            work,
            passed_over: AtomicU32::new(0),
        });
        let mut state = self.shared.state.lock();
        let sources = state.sources.iter().cloned().chain([source]).collect();
        self.publish(&mut state, sources);
    }

    /// Takes a source away, and waits until no member uses it any more. False when one still does, and lets go of it
    /// when its turn ends.
    pub fn remove(&self, work: &Arc<dyn WorkSource>) -> bool {
        let mut state = self.shared.state.lock();
        let rest = state
            .sources
            .iter()
            .filter(|other| !Arc::ptr_eq(&other.work, work));
        let rest = rest.cloned().collect();
        self.publish(&mut state, rest);
        let edition = state.edition;
        let waited = self.shared.up_to_date.wait_while_for(
            &mut state,
            |state| state.known.iter().flatten().any(|known| *known < edition),
            RELEASED_WITHIN,
        );
        !waited.timed_out()
    }

    fn publish(&self, state: &mut PoolState, sources: Arc<[Arc<PoolSource>]>) {
        state.sources = sources;
        state.edition += 1;
        state.calls += 1;
        self.shared.calls.notify_all();
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

    /// Sleeps unless there was a call since `seen`. False means that the pool is closed.
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

    /// Notes which edition a member knows; `None` for one that has gone home.
    fn note(&self, member: usize, edition: Option<u64>) {
        let mut state = self.shared.state.lock();
        if state.known.len() <= member {
            state.known.resize(member + 1, None);
        }
        state.known[member] = edition;
        self.shared.up_to_date.notify_all();
    }
}

impl ComputeThread {
    /// Works until the pool is closed and nothing is left to do.
    pub fn run(mut self) {
        loop {
            let seen = self.look();
            if let Err(until) = self.turn()
                && !self.pool.sleep(seen, until)
            {
                return;
            }
        }
    }

    /// Learns of the calls, and of the sources where they have changed.
    fn look(&mut self) -> u64 {
        let state = self.pool.shared.state.lock();
        let calls = state.calls;
        if self.edition == Some(state.edition) {
            return calls;
        }
        let (sources, edition) = (Arc::clone(&state.sources), state.edition);
        // Let go of the old ones outside of the lock, for a source may end here, and before anybody is told.
        drop(state);
        self.sources = sources;
        self.edition = Some(edition);
        self.pool.note(self.index, self.edition);
        calls
    }

    /// Does one piece of work, or says when there may be some.
    fn turn(&mut self) -> Result<(), Option<Instant>> {
        let mut soonest: Option<Instant> = None;
        let mut note = |turn| match turn {
            Turn::Worked => true,
            Turn::Nothing => false,
            Turn::NothingUntil(time) => {
                soonest = Some(soonest.map_or(time, |other| other.min(time)));
                false
            }
        };
        if let Some(leading) = &self.leading
            && note(leading.turn(self.index, Urgency::Urgent))
        {
            return Ok(());
        }
        let count = self.sources.len();
        let first = self.next;
        let in_turn = (0..count).map(move |offset| (first + offset) % count);
        for index in in_turn.clone() {
            let source = &self.sources[index];
            let passed_over = source.passed_over.load(Ordering::Relaxed) >= MOST_PASSED_OVER;
            let urgency = if passed_over {
                Urgency::Ordinary
            } else {
                Urgency::Urgent
            };
            if note(source.work.turn(self.index, urgency)) {
                self.worked(index);
                return Ok(());
            }
            if passed_over {
                source.passed_over.store(0, Ordering::Relaxed);
            }
        }
        if let Some(leading) = &self.leading
            && note(leading.turn(self.index, Urgency::Ordinary))
        {
            return Ok(());
        }
        for index in in_turn {
            if note(self.sources[index].work.turn(self.index, Urgency::Ordinary)) {
                self.worked(index);
                return Ok(());
            }
        }
        Err(soonest)
    }

    /// Notes whose turn it was: the next one is asked first.
    fn worked(&mut self, index: usize) {
        for (other, source) in self.sources.iter().enumerate() {
            if other == index {
                source.passed_over.store(0, Ordering::Relaxed);
            } else {
                source.passed_over.fetch_add(1, Ordering::Relaxed);
            }
        }
        self.next = index + 1;
    }
}

/// One that has gone home, or whose thread never started, keeps nobody waiting.
impl Drop for ComputeThread {
    fn drop(&mut self) {
        self.sources = Arc::default();
        self.pool.note(self.index, None);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Sender, channel};
    use std::thread;

    use super::Urgency::{Ordinary, Urgent};
    use super::*;

    /// Does its pieces in order and names them; only those marked are pressing.
    struct List {
        pieces: Mutex<Vec<(&'static str, Urgency)>>,
        done: Sender<&'static str>,
    }

    impl WorkSource for List {
        fn turn(&self, _member: usize, urgency: Urgency) -> Turn {
            let mut pieces = self.pieces.lock();
            match pieces.first() {
                Some(&(name, own)) if own == Urgent || urgency == Ordinary => {
                    pieces.remove(0);
                    self.done.send(name).expect("the test listens");
                    Turn::Worked
                }
                _ => Turn::Nothing,
            }
        }
    }

    fn list(done: &Sender<&'static str>, pieces: &[(&'static str, Urgency)]) -> Arc<dyn WorkSource> {
        Arc::new(List {
            pieces: Mutex::new(pieces.to_vec()),
            done: done.clone(),
        })
    }

    /// The order in which one member does everything.
    fn order(leading: &[(&'static str, Urgency)], sources: &[&[(&'static str, Urgency)]]) -> String {
        let (done, order) = channel();
        let pool = Pool::default();
        for pieces in sources {
            pool.add(list(&done, pieces));
        }
        let members = pool.members(1, Some(&list(&done, leading)));
        pool.close();
        members.into_iter().for_each(ComputeThread::run);
        drop(pool);
        drop(done);
        order.iter().collect()
    }

    #[test]
    fn pressing_work_comes_first_then_what_leads_then_the_rest() {
        let done = order(
            &[("a", Ordinary)],
            &[&[("b", Urgent), ("c", Ordinary)], &[("d", Ordinary)]],
        );
        assert_eq!(done, "badc", "c's source has had its turn");
    }

    #[test]
    fn pressing_work_of_what_leads_comes_before_that_of_the_rest() {
        let done = order(&[("b", Urgent), ("a", Ordinary)], &[&[("c", Urgent)]]);
        assert_eq!(done, "bca");
    }

    #[test]
    fn sources_take_turns_among_equals() {
        let done = order(
            &[],
            &[&[("a", Urgent); 3], &[("b", Urgent); 3], &[("c", Urgent); 2]],
        );
        assert_eq!(done, "abcabcab");
    }

    #[test]
    fn what_is_not_pressing_is_done_after_a_few_batches_of_others() {
        let done = order(&[("l", Ordinary)], &[&[("a", Urgent); 10], &[("b", Ordinary); 2]]);
        assert_eq!(done, "aaaabaaaabaal");
    }

    #[test]
    fn a_source_that_is_removed_is_let_go_of_by_members_that_sleep() {
        let inbox: Arc<dyn WorkSource> = Arc::new(Inbox(Mutex::default()));
        let pool = Pool::default();
        pool.add(Arc::clone(&inbox));
        let members = pool.members(3, None);
        let threads: Vec<_> = members
            .into_iter()
            .map(|member| thread::spawn(move || member.run()))
            .collect();
        for _ in 0..100 {
            assert!(pool.remove(&inbox));
            assert_eq!(Arc::strong_count(&inbox), 1, "somebody still has it");
            pool.add(Arc::clone(&inbox));
        }
        pool.close();
        threads
            .into_iter()
            .for_each(|thread| thread.join().expect("no panic"));
        assert!(pool.remove(&inbox), "nobody is left to wait for");
    }

    /// Counts pieces that come from outside; now and then it has to wait for the clock.
    struct Inbox(Mutex<(usize, usize)>);

    impl WorkSource for Inbox {
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
        let pool = Pool::default();
        pool.add(inbox.clone());
        let threads: Vec<_> = pool
            .members(3, None)
            .into_iter()
            .map(|member| thread::spawn(move || member.run()))
            .collect();
        for piece in 0..2000 {
            inbox.0.lock().0 += 1;
            pool.call();
            if piece % 7 == 0 {
                // Members find nothing and go to sleep; a call that were missed would leave pieces undone.
                while inbox.0.lock().0 > 0 {
                    thread::yield_now();
                }
            }
        }
        pool.close();
        threads
            .into_iter()
            .for_each(|thread| thread.join().expect("no panic"));
        assert_eq!(*inbox.0.lock(), (0, 2000));
    }
}
