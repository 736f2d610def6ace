//! How far a download is: a bar where somebody watches, one line of the log otherwise.

use std::io::{self, IsTerminal as _};

use bytesize::ByteSize;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::names::RepoPath;
use crate::printable::one_line;

/// Shows one file's download.
pub(super) struct Progress {
    bar: ProgressBar,
}

impl Progress {
    /// Begins to show the download of `size` bytes.
    pub(super) fn new(file: &RepoPath, size: u64) -> Self {
        if !io::stderr().is_terminal() {
            tracing::info!(%file, size = %ByteSize(size), "fetching");
            return Self {
                bar: ProgressBar::hidden(),
            };
        }
        let bar = ProgressBar::with_draw_target(Some(size), ProgressDrawTarget::stderr_with_hz(5));
        let style = ProgressStyle::with_template(
            "{msg} {wide_bar} {bytes}/{total_bytes}, {bytes_per_sec}, {eta} left",
        );
        if let Ok(style) = style {
            bar.set_style(style);
        }
        bar.set_message(one_line(file.name()).into_owned());
        Self { bar }
    }

    /// So many bytes are here.
    pub(super) fn at(&self, bytes: u64) {
        self.bar.set_position(bytes);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
