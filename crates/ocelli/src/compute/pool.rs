//! The threads that compute: one for each core, each doing whatever is most useful next.
//!
//! The same threads decode photos and run batches. Waking another thread for each hand-over leaves a core idle and its
//! caches cold: two hand-overs for each photo cost a tenth of the throughput. This module decides what comes next; a
//! [`WorkSource`] decides what the work is.
//!
//! Sources are added and removed as models are loaded and unloaded. They take turns: a thread starts with the source after the
//! one that it worked for last. A source that was passed over several times in a row may do ordinary work, too.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

/// How often other sources may go first while one has ordinary work.
const MOST_PASSED_OVER: u32 = 4;

/// How long to wait for threads to let go of a removed source. A thread may hang in an engine.
const RELEASED_WITHIN: Duration = Duration::from_secs(30);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Urgency {
    Urgent,
    Ordinary,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// One piece of work was done; there may be more.
    Worked,
    /// There is nothing to do until the pool is called.
    Nothing,
    /// There is nothing to do until the pool is called or this time comes.
    NothingUntil(Instant),
}

pub trait WorkSource: Send + Sync {
    /// Does one piece of work of at least this urgency, if there is one. `thread` is the number of the calling thread in the
    /// pool, from 0, so that a source can keep state for each.
    fn turn(&self, thread: usize, urgency: Urgency) -> Turn;
}

/// Adds work and wakes threads. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Pool {
    shared: Arc<PoolShared>,
}

#[derive(Debug, Default)]
struct PoolShared {
    state: Mutex<PoolState>,
    calls: Condvar,
    /// Notified when a thread has taken over the current sources.
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
    /// The edition that each running thread uses.
    known: Vec<Option<u64>>,
}

/// A source, and how often others went first since it was last asked for ordinary work.
struct PoolSource {
    work: Arc<dyn WorkSource>,
    passed_over: AtomicU32,
}

impl fmt::Debug for PoolSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PoolSource").finish_non_exhaustive()
    }
}

/// One thread of a pool, to be run by a [`super::threads::Threads`].
pub struct ComputeThread {
    pool: Pool,
    index: usize,
    /// Comes before the sources, unless one of them has urgent work.
    leading: Option<Arc<dyn WorkSource>>,
    sources: Arc<[Arc<PoolSource>]>,
    edition: Option<u64>,
    /// The source that is asked first.
    next: usize,
}

impl Pool {
    /// `count` threads. They do urgent work first, that of `leading` before that of the other sources; then ordinary work in
    /// the same order. The other sources take turns.
    #[must_use]
    pub fn threads(&self, count: usize, leading: Option<&Arc<dyn WorkSource>>) -> Vec<ComputeThread> {
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

    pub fn add(&self, work: Arc<dyn WorkSource>) {
        let source = Arc::new(PoolSource {
            work,
            passed_over: AtomicU32::new(0),
        });
        let mut state = self.shared.state.lock();
        let sources = state.sources.iter().cloned().chain([source]).collect();
        self.publish(&mut state, sources);
    }

    /// Removes a source and waits until no thread uses it. False if one still does after the longest wait; it drops the source
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

    /// Wakes a thread for one more piece of work.
    pub fn call(&self) {
        let mut state = self.shared.state.lock();
        state.calls += 1;
        if state.sleeping > 0 {
            self.shared.calls.notify_one();
        }
    }

    /// Ends the threads once they find nothing to do.
    pub fn close(&self) {
        self.shared.state.lock().closed = true;
        self.shared.calls.notify_all();
    }

    /// Sleeps unless there was a call since `seen`. False if the pool is closed.
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

    /// Notes which edition a thread uses; `None` for one that has ended.
    fn note(&self, thread: usize, edition: Option<u64>) {
        let mut state = self.shared.state.lock();
        if state.known.len() <= thread {
            state.known.resize(thread + 1, None);
        }
        state.known[thread] = edition;
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

    /// Takes over the sources where they have changed, and returns the number of calls so far.
    fn look(&mut self) -> u64 {
        let state = self.pool.shared.state.lock();
        let calls = state.calls;
        if self.edition == Some(state.edition) {
            return calls;
        }
        let (sources, edition) = (Arc::clone(&state.sources), state.edition);
        // The old sources are dropped without the lock, because dropping one may take long, and before `remove` may return.
        drop(state);
        self.sources = sources;
        self.edition = Some(edition);
        self.pool.note(self.index, self.edition);
        calls
    }

    /// Does one piece of work, or returns when there may be some.
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

/// A thread that has ended or never started must not keep `remove` waiting.
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

    /// Does its pieces in order and names them.
    struct List {
        pieces: Mutex<Vec<(&'static str, Urgency)>>,
        done: Sender<&'static str>,
    }

    impl WorkSource for List {
        fn turn(&self, _thread: usize, urgency: Urgency) -> Turn {
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

    /// The order in which one thread does everything.
    fn order(leading: &[(&'static str, Urgency)], sources: &[&[(&'static str, Urgency)]]) -> String {
        let (done, order) = channel();
        let pool = Pool::default();
        for pieces in sources {
            pool.add(list(&done, pieces));
        }
        let threads = pool.threads(1, Some(&list(&done, leading)));
        pool.close();
        threads.into_iter().for_each(ComputeThread::run);
        drop(pool);
        drop(done);
        order.iter().collect()
    }

    #[test]
    fn urgent_work_comes_first_then_what_leads_then_the_rest() {
        let done = order(
            &[("a", Ordinary)],
            &[&[("b", Urgent), ("c", Ordinary)], &[("d", Ordinary)]],
        );
        assert_eq!(done, "badc", "c's source has had its turn");
    }

    #[test]
    fn urgent_work_of_what_leads_comes_before_that_of_the_rest() {
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
    fn ordinary_work_is_done_after_a_few_batches_of_others() {
        let done = order(&[("l", Ordinary)], &[&[("a", Urgent); 10], &[("b", Ordinary); 2]]);
        assert_eq!(done, "aaaabaaaabaal");
    }

    #[test]
    fn sleeping_threads_drop_a_removed_source() {
        let inbox: Arc<dyn WorkSource> = Arc::new(Inbox(Mutex::default()));
        let pool = Pool::default();
        pool.add(Arc::clone(&inbox));
        let threads = pool.threads(3, None);
        let threads: Vec<_> = threads
            .into_iter()
            .map(|thread| thread::spawn(move || thread.run()))
            .collect();
        for _ in 0..100 {
            assert!(pool.remove(&inbox));
            assert_eq!(Arc::strong_count(&inbox), 1, "a thread still has it");
            pool.add(Arc::clone(&inbox));
        }
        pool.close();
        threads
            .into_iter()
            .for_each(|thread| thread.join().expect("no panic"));
        assert!(pool.remove(&inbox), "no thread is left to wait for");
    }

    /// Counts pieces that the test adds.
    struct Inbox(Mutex<(usize, usize)>);

    impl WorkSource for Inbox {
        fn turn(&self, _thread: usize, _urgency: Urgency) -> Turn {
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
            .threads(3, None)
            .into_iter()
            .map(|thread| thread::spawn(move || thread.run()))
            .collect();
        for piece in 0..2000 {
            inbox.0.lock().0 += 1;
            pool.call();
            if piece % 7 == 0 {
                // The threads find nothing and go to sleep; a missed call would leave pieces undone.
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
