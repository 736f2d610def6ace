//! Ports for servers that need a fixed port, also across restarts.

use std::collections::HashSet;
use std::net::{Ipv4Addr, TcpListener};
use std::ops::Range;
use std::sync::{LazyLock, Mutex};

/// The cluster bus port is this much higher than the port (Redis' `CLUSTER_PORT_INCR`).
const BUS_OFFSET: u16 = 10_000;

/// Below the ports that Linux gives to outgoing connections (32768 and up), buses included. Of those, one could be taken
/// while the server that owned it is down; and a client that tries again and again to reach such a port on its own
/// machine connects to itself one day, for it is given that very port to call from.
const PORTS: Range<u16> = 11_000..22_000;

/// Ports that this process has assigned. They are never released: a stopped server must find its port again.
static TAKEN: LazyLock<Mutex<HashSet<u16>>> = LazyLock::new(Mutex::default);

/// A free port whose bus port is free too. Another process may still take it first, so the caller must check that its own
/// server answers.
pub(crate) fn free() -> u16 {
    loop {
        let port = fastrand::u16(PORTS);
        let pair = [port, port + BUS_OFFSET];
        let mut taken = TAKEN.lock().unwrap();
        let is_free =
            |port: &u16| !taken.contains(port) && TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok();
        if pair.iter().all(is_free) {
            taken.extend(pair);
            return port;
        }
    }
}
