//! Escapes untrusted text, such as file names and labels, for a terminal: control characters could move the cursor,
//! rename the window or forge log lines.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::io;

/// The reader of standard output has closed the pipe, as `head` does: the command ends successfully.
#[derive(Debug, thiserror::Error)]
#[error("standard output is closed")]
pub struct ReaderGone;

/// Any other failure of standard output.
#[derive(Debug, thiserror::Error)]
#[error("cannot write to standard output: {0}")]
struct Unwritable(io::Error);

impl ReaderGone {
    /// Marks a failed write to standard output, so that a closed pipe is not confused with a broken connection, and other
    /// errors name standard output.
    #[must_use]
    pub fn mark(error: io::Error) -> io::Error {
        match error.kind() {
            io::ErrorKind::BrokenPipe => io::Error::new(io::ErrorKind::BrokenPipe, Self),
            kind => io::Error::new(kind, Unwritable(error)),
        }
    }

    /// Whether a closed standard output caused `error`.
    #[must_use]
    pub fn caused(error: &anyhow::Error) -> bool {
        error
            .chain()
            .filter_map(|cause| cause.downcast_ref::<io::Error>()?.get_ref())
            .any(<dyn std::error::Error + Send + Sync>::is::<Self>)
    }
}

/// The text with all control characters escaped, including line breaks.
#[must_use]
pub fn one_line(text: &str) -> Cow<'_, str> {
    escape(text, char::is_control)
}

/// The text with control characters escaped except line breaks and tabs.
#[must_use]
pub fn lines(text: &str) -> Cow<'_, str> {
    escape(text, |character| {
        character.is_control() && !matches!(character, '\n' | '\t')
    })
}

fn escape(text: &str, wanted: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.contains(&wanted) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        match character {
            _ if !wanted(character) => escaped.push(character),
            '\n' => escaped.push_str("\\n"),
            '\r' => escaped.push_str("\\r"),
            '\t' => escaped.push_str("\\t"),
            // This is JSON's escape too, so the text keeps its meaning there. Writing to a String cannot fail.
            _ => drop(write!(escaped, "\\u{:04x}", u32::from(character))),
        }
    }
    Cow::Owned(escaped)
}

/// Escapes what is written to standard output, or to a stand-in.
#[derive(Debug)]
pub struct Lines<W>(pub W);

impl<W: io::Write> io::Write for Lines<W> {
    /// Each call has whole characters, because formatting writes strings.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(bytes);
        self.0
            .write_all(lines(&text).as_bytes())
            .map_err(ReaderGone::mark)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush().map_err(ReaderGone::mark)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn a_closed_pipe_differs_from_a_broken_connection() {
        struct Closed;
        impl io::Write for Closed {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let gone = writeln!(Lines(Closed), "text").expect_err("it is closed");
        assert!(ReaderGone::caused(
            &anyhow::Error::new(gone).context("cannot query Redis")
        ));
        let broken = io::Error::from(io::ErrorKind::BrokenPipe);
        assert!(!ReaderGone::caused(&broken.into()));
        let full = ReaderGone::mark(io::ErrorKind::StorageFull.into());
        assert_eq!(full.kind(), io::ErrorKind::StorageFull);
        assert!(full.to_string().starts_with("cannot write to standard output: "));
        assert!(!ReaderGone::caused(&full.into()));
    }

    #[test]
    fn control_characters_are_escaped() {
        let hostile = "a\x1b[2J\u{9b}31m\x07\x7f\r\n\tö";
        assert_eq!(one_line(hostile), "a\\u001b[2J\\u009b31m\\u0007\\u007f\\r\\n\\tö");
        assert_eq!(lines(hostile), "a\\u001b[2J\\u009b31m\\u0007\\u007f\\r\n\tö");
        assert!(matches!(one_line("größe ✓"), Cow::Borrowed(_)));
        let mut out = Lines(Vec::new());
        writeln!(out, "{hostile}").expect("memory takes it");
        assert_eq!(out.0, format!("{}\n", lines(hostile)).into_bytes());
        let json = serde_json::to_string(hostile).expect("a string");
        let read: String = serde_json::from_str(&lines(&json)).expect("still JSON");
        assert_eq!(read, hostile);
    }
}
