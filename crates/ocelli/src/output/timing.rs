//! The time that one image spent in each phase: filled along the path, read by metrics and `Server-Timing`.

use std::fmt::Write as _;
use std::time::Duration;

/// The phases of one image, in order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Phases {
    /// From the end of the headers to the end of the body.
    pub receive: Duration,
    /// Waiting for a decoder and for a core.
    pub decode_wait: Duration,
    /// Decoding, orienting, resizing and cropping.
    pub decode: Duration,
    /// Waiting in the broker and in the worker for an engine and for cores.
    pub queue: Duration,
    pub fill: Duration,
    pub infer: Duration,
}

impl Phases {
    /// The phases with their names in metrics and in `Server-Timing`.
    #[must_use]
    pub fn named(&self) -> [(&'static str, Duration); 6] {
        [
            ("receive", self.receive),
            ("wait", self.decode_wait),
            ("decode", self.decode),
            ("queue", self.queue),
            ("fill", self.fill),
            ("infer", self.infer),
        ]
    }

    /// The same in milliseconds, rounded to microseconds.
    #[must_use]
    pub fn milliseconds(&self) -> [(&'static str, f64); 6] {
        self.named()
            .map(|(name, duration)| (name, (duration.as_secs_f64() * 1e6).round() / 1e3))
    }

    /// The maximum of each phase, for a request of several images.
    #[must_use]
    pub fn max(self, other: Self) -> Self {
        Self {
            receive: self.receive.max(other.receive),
            decode_wait: self.decode_wait.max(other.decode_wait),
            decode: self.decode.max(other.decode),
            queue: self.queue.max(other.queue),
            fill: self.fill.max(other.fill),
            infer: self.infer.max(other.infer),
        }
    }

    /// The value of a `Server-Timing` header (W3C Server Timing), in milliseconds.
    #[must_use]
    pub fn server_timing(&self) -> String {
        let mut header = String::with_capacity(112);
        for (name, ms) in self.milliseconds() {
            let separator = if header.is_empty() { "" } else { ", " };
            // Writing to a String cannot fail.
            let _ = write!(header, "{separator}{name};dur={ms:.3}");
        }
        header
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn server_timing_is_in_milliseconds_and_names_every_phase() {
        let ms = Duration::from_millis;
        let phases = Phases {
            receive: ms(1),
            decode_wait: ms(2),
            decode: ms(3),
            queue: ms(4),
            fill: ms(5),
            infer: ms(6),
        };
        assert_eq!(
            phases.server_timing(),
            "receive;dur=1.000, wait;dur=2.000, decode;dur=3.000, queue;dur=4.000, fill;dur=5.000, infer;dur=6.000"
        );
    }
}
