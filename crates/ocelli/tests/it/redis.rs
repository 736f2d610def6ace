//! Redis: several processes, faults and refusals, the tutorial's wire.

pub(crate) mod connections;
pub(crate) mod faults;
pub(crate) mod full;
pub(crate) mod hostile_peer;
pub(crate) mod notices;
pub(crate) mod refusals;
pub(crate) mod scale_out;
pub(crate) mod test_proxy;
pub(crate) mod test_servers;
pub(crate) mod tutorial;
