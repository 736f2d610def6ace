//! What every process has: lifecycle, log, progress bars, TLS, and escaping of untrusted text.

pub mod lifecycle;
pub mod printable;
pub(crate) mod progress;
pub mod telemetry;
pub(crate) mod tls;
