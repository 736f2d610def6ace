//! Ports for servers that have to be told which one to take, and that take the same one again when they come back.

use std::collections::HashSet;
use std::net::{Ipv4Addr, TcpListener};
use std::ops::Range;
use std::sync::{LazyLock, Mutex};

/// A cluster node also listens this far above its port (Redis' `CLUSTER_PORT_INCR`).
const BUS_OFFSET: u16 = 10_000;

/// Below the ports that Linux gives to outgoing connections (32768 and up), buses included. Of those, one could be taken
/// while the server that owned it is down; and a client that tries again and again to reach such a port on its own
/// machine connects to itself one day, for it is given that very port to call from.
const PORTS: Range<u16> = 11_000..22_000;

/// What this process has handed out. Never given back: a server that is down must find its port again.
static TAKEN: LazyLock<Mutex<HashSet<u16>>> = LazyLock::new(Mutex::default);

/// A port that nothing listens on, nor on its bus port. Another process may still be faster: whoever starts a server on
/// it has to look whether it is its own that answers.
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
