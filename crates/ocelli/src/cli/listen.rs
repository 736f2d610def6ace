//! Parses the addresses to listen on, in the forms that other servers accept.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs as _};
use std::str::FromStr;
use std::{fmt, io};

/// Where a server listens: a host and a port.
///
/// Reads `host:port` with a name or an IP address, `[::1]:5000` for IPv6, `:5000` for every IPv4 address of the machine,
/// and `5000` for clients on the same machine only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenAddress {
    host: Host,
    port: u16,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Host {
    Ip(IpAddr),
    Name(String),
}

impl ListenAddress {
    /// The socket addresses of the host, IPv4 first. A name may have several.
    ///
    /// # Errors
    /// When the name cannot be resolved.
    pub fn resolve(&self) -> io::Result<Vec<SocketAddr>> {
        match &self.host {
            Host::Ip(ip) => Ok(vec![SocketAddr::new(*ip, self.port)]),
            Host::Name(name) => {
                let mut addresses: Vec<SocketAddr> = (name.as_str(), self.port).to_socket_addrs()?.collect();
                addresses.sort_by_key(SocketAddr::is_ipv6);
                Ok(addresses)
            }
        }
    }

    #[must_use]
    pub fn with_port(&self, port: u16) -> Self {
        Self {
            host: self.host.clone(),
            port,
        }
    }

    /// The host name, or `None` for an IP address.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        match &self.host {
            Host::Ip(_) => None,
            Host::Name(name) => Some(name),
        }
    }

    /// The port; 0 means any free port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::Ip(ip) => SocketAddr::new(*ip, self.port).fmt(formatter),
            Host::Name(name) => write!(formatter, "{name}:{}", self.port),
        }
    }
}

impl FromStr for ListenAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(port) = text.parse() {
            return Ok(Self {
                host: Host::Ip(Ipv4Addr::LOCALHOST.into()),
                port,
            });
        }
        if text.contains("://") {
            return Err(format!("an address has no scheme; {EXAMPLES}"));
        }
        if text.parse::<Ipv6Addr>().is_ok() {
            return Err(format!(
                "an IPv6 address needs brackets and a port, as in {}",
                bracketed(text)
            ));
        }
        let Some((host, port)) = text.rsplit_once(':') else {
            return Err(match text.parse::<u64>() {
                Ok(_) => format!("a port is at most {}; {EXAMPLES}", u16::MAX),
                Err(_) => format!("the port is missing; {EXAMPLES}"),
            });
        };
        let port = port.parse().map_err(|_| {
            format!(
                "'{port}' is not a port, which is a number from 0 to {}; {EXAMPLES}",
                u16::MAX
            )
        })?;
        let host = match host {
            "" | "*" => Host::Ip(Ipv4Addr::UNSPECIFIED.into()),
            host => host_of(host)?,
        };
        Ok(Self { host, port })
    }
}

/// Adds the missing brackets to an IPv6 address, whose last group may be a port: `::1:5000`.
fn bracketed(text: &str) -> String {
    match text.rsplit_once(':') {
        Some((host, port)) if host.parse::<Ipv6Addr>().is_ok() && port.parse::<u16>().is_ok() => {
            format!("[{host}]:{port}")
        }
        _ => format!("[{text}]:5000"),
    }
}

const EXAMPLES: &str =
    "write localhost:5000, 0.0.0.0:5000 (every IPv4 address of this machine), [::]:5000 or just 5000";

fn host_of(text: &str) -> Result<Host, String> {
    if let Some(inner) = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')) {
        let ip = inner.parse::<Ipv6Addr>();
        return ip
            .map(|ip| Host::Ip(ip.into()))
            .map_err(|_| format!("'{inner}' is not an IPv6 address; {EXAMPLES}"));
    }
    if let Ok(ip) = text.parse::<Ipv4Addr>() {
        return Ok(Host::Ip(ip.into()));
    }
    let is_name = |text: &str| {
        text.bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte))
            // Digits and dots alone are a mistyped IP address.
            && text.bytes().any(|byte| byte.is_ascii_alphabetic())
    };
    if is_name(text) {
        return Ok(Host::Name(text.to_owned()));
    }
    Err(format!(
        "'{text}' is neither a host name nor an IP address; {EXAMPLES}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<ListenAddress, String> {
        text.parse()
    }

    #[test]
    fn common_forms_of_addresses_are_accepted() {
        for (text, expected) in [
            ("5000", "127.0.0.1:5000"),
            ("0.0.0.0:5000", "0.0.0.0:5000"),
            (":5000", "0.0.0.0:5000"),
            ("*:5000", "0.0.0.0:5000"),
            ("0.0.0.0:80", "0.0.0.0:80"),
            ("127.0.0.1:0", "127.0.0.1:0"),
            ("[::]:5000", "[::]:5000"),
            ("[::1]:65535", "[::1]:65535"),
            ("localhost:5000", "localhost:5000"),
            ("web-1.example.com:5000", "web-1.example.com:5000"),
        ] {
            let address = parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(address.to_string(), expected);
            assert_eq!(parse(&address.to_string()).as_ref(), Ok(&address), "{text}");
        }
    }

    #[test]
    fn errors_include_an_example() {
        for (text, expected) in [
            ("everywhere", "port is missing"),
            ("localhost", "port is missing"),
            ("127.0.0.1", "port is missing"),
            ("", "port is missing"),
            ("70000", "at most 65535"),
            ("localhost:70000", "'70000' is not a port"),
            ("localhost:http", "'http' is not a port"),
            ("localhost:", "'' is not a port"),
            ("::1", "in [::1]:5000"),
            ("::1:5000", "in [::1]:5000"),
            ("fe80::1:a", "in [fe80::1:a]:5000"),
            ("::1:x", "is not a port"),
            ("[::x]:5000", "not an IPv6 address"),
            ("fe80::1%eth0:5000", "neither"),
            ("256.0.0.1:5000", "neither"),
            ("a b:5000", "neither"),
            ("http://localhost:5000", "no scheme"),
        ] {
            let error = parse(text).expect_err(text);
            assert!(error.contains(expected), "{text}: {error}");
            assert!(error.contains(":5000"), "no example for {text}: {error}");
        }
    }

    #[test]
    fn a_name_resolves_to_ipv4_first() {
        let addresses = parse("localhost:5000").unwrap().resolve().unwrap();
        let loopback = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 5000);
        assert_eq!(addresses.first(), Some(&loopback));
        assert_eq!(
            parse("[::1]:7").unwrap().resolve().unwrap(),
            ["[::1]:7".parse().unwrap()]
        );
    }
}
