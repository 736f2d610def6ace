//! Text that others wrote, such as file names and labels, on its way to a terminal: control characters could move the
//! cursor, rename the window or invent log lines, so they are shown and not sent.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::io;

/// The reader of standard output has seen enough, as `head` has: the command ends, and nothing failed.
#[derive(Debug, thiserror::Error)]
#[error("nobody reads standard output any more")]
pub struct ReaderGone;

/// Any other reason why nothing can be printed.
#[derive(Debug, thiserror::Error)]
#[error("standard output cannot be written: {0}")]
struct Unwritable(io::Error);

impl ReaderGone {
    /// Tells a write to standard output that failed for this from all other failures, broken connections among them. Of any
    /// other reason, it says what could not be written.
    #[must_use]
    pub fn mark(error: io::Error) -> io::Error {
        match error.kind() {
            io::ErrorKind::BrokenPipe => io::Error::new(io::ErrorKind::BrokenPipe, Self),
            kind => io::Error::new(kind, Unwritable(error)),
        }
    }

    /// Whether it is the reason of a failure.
    #[must_use]
    pub fn caused(error: &anyhow::Error) -> bool {
        error
            .chain()
            .filter_map(|cause| cause.downcast_ref::<io::Error>()?.get_ref())
            .any(<dyn std::error::Error + Send + Sync>::is::<Self>)
    }
}

/// The text with its control characters escaped, line breaks too.
#[must_use]
pub fn one_line(text: &str) -> Cow<'_, str> {
    escape(text, char::is_control)
}

/// The text with its control characters escaped; line breaks and tabs stay.
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
            // Also an escape of JSON, so that it stays the same text there. Writing to a String cannot fail.
            _ => drop(write!(escaped, "\\u{:04x}", u32::from(character))),
        }
    }
    Cow::Owned(escaped)
}

/// Standard output of a command that prints for people, or a stand-in for it.
#[derive(Debug)]
pub struct Lines<W>(pub W);

impl<W: io::Write> io::Write for Lines<W> {
    /// Each call has whole characters, for what is formatted arrives as strings.
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
    fn a_reader_that_is_gone_is_told_from_a_broken_connection() {
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
            &anyhow::Error::new(gone).context("asking Redis")
        ));
        let broken = io::Error::from(io::ErrorKind::BrokenPipe);
        assert!(!ReaderGone::caused(&broken.into()));
        let full = ReaderGone::mark(io::ErrorKind::StorageFull.into());
        assert_eq!(full.kind(), io::ErrorKind::StorageFull);
        assert!(
            full.to_string()
                .starts_with("standard output cannot be written: ")
        );
        assert!(!ReaderGone::caused(&full.into()));
    }

    #[test]
    fn control_characters_are_shown() {
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
