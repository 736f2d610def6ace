//! A pseudoterminal for commands, and their output.

use std::fs::File;
use std::io::Read as _;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

use crate::eventually;

/// Clears the current line.
pub(crate) const CLEAR: &str = "\r\x1b[2K";

/// A pseudoterminal.
pub(crate) struct Terminal {
    /// The end for commands. While it is open, reading does not end.
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
            // Fails once all writing ends are closed.
            while let Ok(read @ 1..) = master.read(&mut piece) {
                reading.lock().unwrap().extend_from_slice(&piece[..read]);
            }
        });
        Self { end, written, reader }
    }

    /// A writing end for a command.
    pub(crate) fn stdio(&self) -> Stdio {
        self.end.try_clone().unwrap().into()
    }

    /// The output so far.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.written.lock().unwrap()).into_owned()
    }

    /// Waits until `text` was written.
    pub(crate) async fn shows(&self, text: &str) {
        eventually(text, async || self.text().contains(text)).await;
    }

    /// The complete output, after all commands have ended.
    pub(crate) fn end(self) -> String {
        drop(self.end);
        self.reader.join().unwrap();
        String::from_utf8_lossy(&self.written.lock().unwrap()).into_owned()
    }
}
