//! Real Redis and Valkey servers, each started for one test.
//!
//! ```ignore
//! let Some(redis) = Binary::redis() else { return };
//! let mut server = RedisServer::start(&redis, Options::default().set("maxmemory", "64mb")).await;
//! let depth: usize = server.command(&["XLEN", "a stream"]).await;
//! ```

mod binary;
mod cluster;
mod options;
mod ports;
mod process;
mod sentinels;
mod server;
mod tls;

pub(crate) use binary::Binary;
pub(crate) use cluster::Cluster;
pub(crate) use options::Options;
pub(crate) use ports::free as free_port;
pub(crate) use process::Stop;
pub(crate) use sentinels::Sentinels;
pub(crate) use server::{Data, RedisServer};
pub(crate) use tls::make as certificates;
