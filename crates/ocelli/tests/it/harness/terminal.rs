//! A terminal that commands write to, and everything that they write there.

use std::fs::File;
use std::io::Read as _;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

use crate::eventually;

/// Clears the line that the cursor is on.
pub(crate) const CLEAR: &str = "\r\x1b[2K";

/// A pseudoterminal.
pub(crate) struct Terminal {
    /// Where commands write. While it is open, reading does not end.
    end: File,
    written: Arc<Mutex<Vec<u8>>>,
    reader: JoinHandle<()>,
}

impl Terminal {
    pub(crate) fn open() -> Self {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let path = ptsname(&master, Vec::new()).unwrap().into_string().unwrap();
        let end = File::options().read(true).write(true).open(path).unwrap();
        let written: Arc<Mutex<Vec<u8>>> = Arc::default();
        let reading = Arc::clone(&written);
        let reader = thread::spawn(move || {
            let (mut master, mut piece) = (File::from(master), [0; 4096]);
            // It fails once all ends that are written to are closed.
            while let Ok(read @ 1..) = master.read(&mut piece) {
                reading.lock().unwrap().extend_from_slice(&piece[..read]);
            }
        });
        Self { end, written, reader }
    }

    /// For a command to write to.
    pub(crate) fn stdio(&self) -> Stdio {
        self.end.try_clone().unwrap().into()
    }

    /// What was read so far.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.written.lock().unwrap()).into_owned()
    }

    /// Waits until `text` was written.
    pub(crate) async fn shows(&self, text: &str) {
        eventually(text, async || self.text().contains(text)).await;
    }

    /// All that was written by commands that have ended.
    pub(crate) fn end(self) -> String {
        drop(self.end);
        self.reader.join().unwrap();
        String::from_utf8_lossy(&self.written.lock().unwrap()).into_owned()
    }
}
