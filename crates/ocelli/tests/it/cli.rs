//! The commands, run as the real binary.

pub(crate) mod bench;
pub(crate) mod command_line;
pub(crate) mod predict;
pub(crate) mod queue;
pub(crate) mod queue_watch;
