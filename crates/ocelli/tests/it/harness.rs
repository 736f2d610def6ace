//! What tests use: a server in this process, the real binary, clients, terminals and photos.

pub(crate) mod client;
pub(crate) mod photos;
pub(crate) mod process;
pub(crate) mod server;
pub(crate) mod terminal;
