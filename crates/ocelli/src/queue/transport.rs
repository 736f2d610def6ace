//! The web side and the worker side of each wire: Ocelli's own, and the tutorial's.

pub(crate) mod web;
pub(crate) mod worker;
