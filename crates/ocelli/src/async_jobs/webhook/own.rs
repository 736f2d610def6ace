//! The addresses that this process listens on. Webhooks must not call them: a client could otherwise send requests in this
//! server's name.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;

use parking_lot::Mutex;

/// Cheap to clone; clones share the addresses.
#[derive(Clone, Debug, Default)]
pub struct OwnListeners(Arc<Mutex<Vec<SocketAddr>>>);

impl OwnListeners {
    pub fn add(&self, address: SocketAddr) {
        self.0.lock().push(address);
    }

    /// Whether a connection to `address` might reach a listener: it is an address of this machine with the port of one. Every
    /// address of this machine counts, because there are many ways to write one.
    #[must_use]
    pub(super) fn include(&self, address: SocketAddr) -> bool {
        let known = |own: &SocketAddr| own.port() == address.port();
        let listens = self.0.lock().iter().any(known);
        listens && is_here(address.ip())
    }
}

fn is_here(address: IpAddr) -> bool {
    let address = address.to_canonical();
    // A socket can be bound to the machine's own addresses only; nothing is sent.
    address.is_loopback() || address.is_unspecified() || UdpSocket::bind((address, 0)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_address_of_this_machine_with_a_port_of_a_listener_counts() {
        let own = OwnListeners::default();
        let include = |text: &str| own.include(text.parse().expect("an address"));
        assert!(!include("127.0.0.1:5000"), "nothing listens yet");
        own.add("0.0.0.0:5000".parse().expect("an address"));
        own.add("127.0.0.1:5002".parse().expect("an address"));
        for ours in [
            "127.0.0.1:5000",
            "127.9.9.9:5002",
            "0.0.0.0:5002",
            "[::1]:5000",
            "[::]:5002",
            "[::ffff:127.0.0.1]:5002",
        ] {
            assert!(include(ours), "{ours}");
        }
        // 192.0.2.0/24 is for documentation.
        for other in ["127.0.0.1:5001", "192.0.2.1:5000", "[2001:db8::1]:5002"] {
            assert!(!include(other), "{other}");
        }
    }
}
