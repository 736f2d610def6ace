//! Progress of a download: a bar on a terminal, else one log line.

use std::io::{self, IsTerminal as _};

use bytesize::ByteSize;

use super::spec::RepoPath;
use crate::process::printable::one_line;
use crate::process::progress::Bar;

pub(super) struct DownloadProgress {
    bar: Bar,
}

impl DownloadProgress {
    pub(super) fn new(file: &RepoPath, size: u64) -> Self {
        if !io::stderr().is_terminal() {
            tracing::info!(%file, size = %ByteSize(size), "fetching");
        }
        let mut bar = Bar::new(
            size,
            "{msg} {wide_bar} {bytes}/{total_bytes}, {bytes_per_sec}{left}",
        );
        bar.say(one_line(file.name()).into_owned());
        Self { bar }
    }

    pub(super) fn at(&mut self, bytes: u64) {
        self.bar.at(bytes);
    }
}
