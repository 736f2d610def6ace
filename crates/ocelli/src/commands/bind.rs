//! Binds the socket that a server listens on, with an error message for each reason why that fails.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;

use anyhow::Context as _;
use tokio::net::{TcpListener, TcpSocket};

use crate::cli::ListenAddress;

/// Connections that may wait to be accepted, as far as the system allows. With the usual 128, the kernel would drop most
/// connections of a thousand clients that connect at once, and they would retry for seconds.
const BACKLOG: u32 = 4096;

/// Listens on the first usable socket address of `address`, the value of `option`.
///
/// # Errors
/// When the name cannot be resolved, or none of its addresses can be used.
pub(super) fn listen(address: &ListenAddress, option: &str) -> anyhow::Result<TcpListener> {
    listen_by(bind, address, option)
}

fn listen_by<T>(
    bind: impl Fn(SocketAddr) -> io::Result<T>,
    address: &ListenAddress,
    option: &str,
) -> anyhow::Result<T> {
    let resolved = address.resolve().with_context(|| {
        format!(
            "cannot listen on {address}: the host name cannot be resolved; {option} also accepts an IP address"
        )
    })?;
    let mut failed = None;
    for socket_address in resolved {
        match bind(socket_address) {
            Ok(listener) => return Ok(listener),
            Err(error) => _ = failed.get_or_insert((socket_address, error)),
        }
    }
    let (socket_address, error) =
        failed.with_context(|| format!("cannot listen on {address}: the host name has no address"))?;
    let advice = advice(error.kind(), address, socket_address, option);
    Err(anyhow::Error::new(error).context(format!("cannot listen on {address}: {advice}")))
}

fn advice(kind: ErrorKind, address: &ListenAddress, tried: SocketAddr, option: &str) -> String {
    /// Ports below this need a privilege on Linux.
    const FIRST_UNPRIVILEGED: u16 = 1024;
    let ip = tried.ip();
    match kind {
        ErrorKind::AddrInUse => format!(
            "another process uses port {port}; stop it, or choose another port, such as {option} {other}",
            port = address.port(),
            other = address.with_port(address.port().checked_add(1).unwrap_or(5000)),
        ),
        ErrorKind::PermissionDenied if address.port() < FIRST_UNPRIVILEGED => format!(
            "a port below {FIRST_UNPRIVILEGED} needs the capability CAP_NET_BIND_SERVICE; choose a higher port, such as \
             {option} {}",
            address.with_port(5000)
        ),
        ErrorKind::AddrNotAvailable => format!(
            "this machine has no address {ip}; {option} 0.0.0.0:{port} listens on all of its IPv4 addresses",
            port = address.port()
        ),
        _ => format!("choose another address with {option}"),
    }
}

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4(),
        SocketAddr::V6(_) => TcpSocket::new_v6(),
    }?;
    // As in the standard library: a restarted server need not wait for old connections to time out.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_has_its_own_error() {
        use rustix::io::Errno;
        let text = |errno: Errno, address: &str| {
            let fails = |_| Err::<(), _>(io::Error::from(errno));
            let error = listen_by(fails, &address.parse().unwrap(), "--listen").expect_err(address);
            format!("{error:#}")
        };
        for (errno, address, expected) in [
            (
                Errno::ADDRINUSE,
                "localhost:5000",
                "cannot listen on localhost:5000: another process uses port 5000; stop it, or choose another port, such as \
                 --listen localhost:5001: Address already in use (os error 98)",
            ),
            (
                Errno::ACCESS,
                ":80",
                "cannot listen on 0.0.0.0:80: a port below 1024 needs the capability CAP_NET_BIND_SERVICE; choose a \
                 higher port, such as --listen 0.0.0.0:5000: Permission denied (os error 13)",
            ),
            (
                Errno::ADDRNOTAVAIL,
                "192.0.2.1:5000",
                "cannot listen on 192.0.2.1:5000: this machine has no address 192.0.2.1; --listen 0.0.0.0:5000 listens on \
                 all of its IPv4 addresses: Cannot assign requested address (os error 99)",
            ),
        ] {
            assert_eq!(text(errno, address), expected);
        }
    }

    #[test]
    fn each_reason_has_its_own_advice() {
        let text = |kind, address: &str| {
            let address: ListenAddress = address.parse().unwrap();
            let tried = address.resolve().unwrap()[0];
            advice(kind, &address, tried, "--listen")
        };
        assert_eq!(
            text(ErrorKind::AddrInUse, "localhost:5000"),
            "another process uses port 5000; stop it, or choose another port, such as --listen localhost:5001"
        );
        assert!(text(ErrorKind::AddrInUse, "65535").ends_with("--listen 127.0.0.1:5000"));
        assert!(text(ErrorKind::PermissionDenied, ":80").contains("CAP_NET_BIND_SERVICE"));
        assert!(!text(ErrorKind::PermissionDenied, ":5000").contains("CAP_NET_BIND_SERVICE"));
        assert!(text(ErrorKind::AddrNotAvailable, "192.0.2.1:5000").contains("no address 192.0.2.1"));
    }
}
