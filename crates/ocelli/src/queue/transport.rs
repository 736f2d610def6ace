//! How jobs travel between the web side and the worker side of each wire.

pub(crate) mod web;
pub(crate) mod worker;
