//! Real servers of the Redis protocol, started for one test and gone with it.
//!
//! ```ignore
//! let Some(redis) = Binary::redis() else { return };
//! let mut server = RedisServer::start(&redis, Options::default().set("maxmemory", "64mb")).await;
//! let depth: usize = server.command(&["XLEN", "a stream"]).await;
//! ```

mod binary;
mod ports;
mod server;

pub(crate) use binary::Binary;
pub(crate) use server::{Data, Options, RedisServer, Stop};
