//! The queue of log lines, and the thread that writes them.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Write};
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use prometheus_client::metrics::counter::Counter;

/// Maximum bytes of queued lines. A burst of some thousand lines fits, and a reader that has stopped costs no more memory.
const MAX_BYTES: usize = 1 << 20;

/// Pause between attempts to write to a non-blocking standard error that is full.
const PAUSE: Duration = Duration::from_millis(20);

/// The lines that are not written yet, in order.
#[derive(Debug, Default)]
pub(super) struct Lines {
    state: Mutex<LogState>,
    /// Notified when there is a line to write.
    filled: Condvar,
    /// Notified when all lines are written or lost.
    emptied: Condvar,
    lost: Counter,
}

#[derive(Debug, Default)]
struct LogState {
    queued: VecDeque<Vec<u8>>,
    /// Bytes of the queued lines and of the line that is being written.
    bytes: usize,
}

/// The writer of lines. A failed write loses one line and no other.
pub(super) struct Out<W> {
    to: W,
    /// The last line was cut off, so the next one must begin with a line break.
    torn: bool,
}

impl Lines {
    pub(super) fn lost(&self) -> &Counter {
        &self.lost
    }

    /// Adds a line, or counts it as lost if the queue is full. Never waits for a reader.
    pub(super) fn push(&self, line: Vec<u8>) {
        let mut state = self.state.lock();
        if state.bytes + line.len() > MAX_BYTES {
            self.lost.inc();
            return;
        }
        state.bytes += line.len();
        state.queued.push_back(line);
        self.filled.notify_one();
    }

    /// Writes lines as they arrive, forever.
    pub(super) fn write_all(&self, mut out: Out<impl Write>) {
        loop {
            let line = self.next();
            self.write_now(&mut out, &line);
            let mut state = self.state.lock();
            state.bytes -= line.len();
            if state.bytes == 0 {
                self.emptied.notify_all();
            }
        }
    }

    /// Writes a line, or counts it as lost.
    pub(super) fn write_now(&self, out: &mut Out<impl Write>, line: &[u8]) {
        if out.write(line).is_err() {
            self.lost.inc();
        }
    }

    /// Waits until every line is written or lost, for at most `limit`. Returns whether they are.
    pub(super) fn flush(&self, limit: Duration) -> bool {
        let until = Instant::now() + limit;
        let mut state = self.state.lock();
        while state.bytes > 0 {
            if self.emptied.wait_until(&mut state, until).timed_out() {
                return state.bytes == 0;
            }
        }
        true
    }

    fn next(&self) -> Vec<u8> {
        let mut state = self.state.lock();
        loop {
            match state.queued.pop_front() {
                Some(line) => return line,
                None => self.filled.wait(&mut state),
            }
        }
    }
}

impl<W: Write> Out<W> {
    pub(super) fn new(to: W) -> Self {
        Self { to, torn: false }
    }

    /// Writes a whole line. Waits while there is no room for it.
    fn write(&mut self, line: &[u8]) -> io::Result<()> {
        if self.torn {
            self.write_part(b"\n")?;
        }
        self.write_part(line)
    }

    fn write_part(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut rest = bytes;
        while !rest.is_empty() {
            match self.to.write(rest) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(written) => {
                    rest = &rest[written..];
                    self.torn = !rest.is_empty();
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // The reader is slow: later lines wait, and are lost once the queue is full.
                Err(error) if error.kind() == ErrorKind::WouldBlock => pause(),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "nothing in this process knows when a reader has made room, and this thread has nothing else to do"
)]
fn pause() {
    thread::sleep(PAUSE);
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;

    /// The result of a write: the number of bytes written, or an error.
    type Step = Result<usize, i32>;

    /// Returns one step for each write, and then accepts everything.
    struct Scripted {
        steps: VecDeque<Step>,
        written: Arc<Mutex<Vec<u8>>>,
    }

    impl Write for Scripted {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let taken = self.steps.pop_front().unwrap_or(Ok(bytes.len()));
            let taken = taken.map_err(io::Error::from_raw_os_error)?.min(bytes.len());
            self.written.lock().extend(&bytes[..taken]);
            Ok(taken)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// Blocks until the test reads.
    struct Unread(Receiver<()>, Arc<Mutex<Vec<u8>>>);

    impl Write for Unread {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.recv().map_err(|_| ErrorKind::BrokenPipe)?;
            self.1.lock().extend(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn started(out: impl Write + Send + 'static) -> Arc<Lines> {
        let lines = Arc::new(Lines::default());
        let writing = Arc::clone(&lines);
        thread::spawn(move || writing.write_all(Out::new(out)));
        lines
    }

    fn unread() -> (Arc<Lines>, Sender<()>, Arc<Mutex<Vec<u8>>>) {
        let (reader, reads) = channel();
        let written = Arc::default();
        (started(Unread(reads, Arc::clone(&written))), reader, written)
    }

    /// Writes three lines with the results `steps`; returns the text and the number of lost lines.
    fn written(steps: impl IntoIterator<Item = Step>) -> (String, u64) {
        let written = Arc::default();
        let lines = started(Scripted {
            steps: steps.into_iter().collect(),
            written: Arc::clone(&written),
        });
        for line in ["first\n", "second\n", "third\n"] {
            lines.push(line.into());
        }
        assert!(lines.flush(Duration::from_secs(60)));
        let text = String::from_utf8(written.lock().clone()).expect("UTF-8");
        (text, lines.lost().get())
    }

    fn errno(error: rustix::io::Errno) -> Step {
        Err(error.raw_os_error())
    }

    #[test]
    fn a_failed_write_loses_one_line_and_counts_it() {
        use rustix::io::Errno;
        for error in [Errno::PIPE, Errno::NOSPC, Errno::IO, Errno::FBIG] {
            assert_eq!(
                written([errno(error)]),
                ("second\nthird\n".to_owned(), 1),
                "{error}"
            );
            assert_eq!(written([errno(error); 3]), (String::new(), 3), "{error}");
        }
        let cut = [Ok(3), errno(Errno::NOSPC)];
        assert_eq!(written(cut), ("fir\nsecond\nthird\n".to_owned(), 1));
    }

    #[test]
    fn a_full_pipe_delays_lines() {
        use rustix::io::Errno;
        let all = || ("first\nsecond\nthird\n".to_owned(), 0);
        assert_eq!(written([errno(Errno::AGAIN), errno(Errno::INTR)]), all());
        assert_eq!(written([Ok(2), errno(Errno::AGAIN), Ok(1)]), all());
    }

    #[test]
    fn a_reader_that_does_not_read_costs_bounded_memory_and_blocks_no_logging() {
        let (lines, reader, written) = unread();
        let line = vec![b'x'; MAX_BYTES / 4];
        for _ in 0..6 {
            lines.push(line.clone());
        }
        assert_eq!(lines.lost().get(), 2, "the first four fit");
        assert!(!lines.flush(Duration::from_millis(1)));
        // The reader resumes: it gets the queued lines and new ones.
        for _ in 0..5 {
            reader.send(()).expect("a pending write");
        }
        assert!(lines.flush(Duration::from_secs(60)));
        lines.push(b"new".to_vec());
        assert!(lines.flush(Duration::from_secs(60)));
        assert_eq!(written.lock().len(), MAX_BYTES + 3);
        assert_eq!(lines.lost().get(), 2);
    }
}
