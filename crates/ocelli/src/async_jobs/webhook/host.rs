//! The hosts that the operator lets webhooks call.

use std::net::Ipv6Addr;
use std::str::FromStr;

/// A host that may be called: `example.com`, `*.example.com` for those below it, with `:port` for that port only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebhookHost {
    /// In lower case, without the brackets of IPv6.
    name: String,
    /// Whether those below it are meant.
    below: bool,
    /// The only port that may be called; `None` for any.
    port: Option<u16>,
}

impl WebhookHost {
    /// Whether `host`, in lower case, may be called at `port`.
    pub(super) fn allows(&self, host: &str, port: u16) -> bool {
        let named = if self.below {
            host.strip_suffix(&self.name)
                .is_some_and(|name| name.len() > 1 && name.ends_with('.'))
        } else {
            self.name == host
        };
        named && self.port.is_none_or(|only| only == port)
    }
}

impl FromStr for WebhookHost {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "'{text}' is no host; write example.com, *.example.com, example.com:8443 or [::1]:8080, without a scheme or path"
            )
        };
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (host, port) = rest.split_once(']').ok_or_else(wrong)?;
                let port = match port {
                    "" => None,
                    port => Some(port.strip_prefix(':').ok_or_else(wrong)?),
                };
                (host, port)
            }
            None if text.parse::<Ipv6Addr>().is_ok() => (text, None),
            None => match text.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (text, None),
            },
        };
        let port = port.map(str::parse).transpose().map_err(|_| wrong())?;
        let (name, below) = match host.strip_prefix("*.") {
            Some(name) => (name, true),
            None => (host, false),
        };
        let is_host = name.parse::<Ipv6Addr>().is_ok()
            || name
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte));
        if name.is_empty() || !is_host || port == Some(0) {
            return Err(wrong());
        }
        Ok(Self {
            name: name.to_ascii_lowercase(),
            below,
            port,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_may_name_a_port() {
        let allows = |host: &str, name: &str, port| {
            let host: WebhookHost = host.parse().expect("a host");
            host.allows(name, port)
        };
        for (host, name, port, allowed) in [
            ("Example.com", "example.com", 1, true),
            ("example.com:8443", "example.com", 8443, true),
            ("example.com:8443", "example.com", 443, false),
            ("*.example.com:443", "a.example.com", 443, true),
            ("*.example.com:443", "a.example.com", 80, false),
            ("*.example.com", "example.com", 443, false),
            ("::1", "::1", 80, true),
            ("[::1]", "::1", 80, true),
            ("[::1]:80", "::1", 80, true),
            ("[::1]:80", "::1", 81, false),
            ("127.0.0.1:80", "127.0.0.1", 81, false),
        ] {
            assert_eq!(allows(host, name, port), allowed, "{host} {name}:{port}");
        }
    }

    #[test]
    fn what_is_no_host_is_refused() {
        for bad in [
            "",
            "*.",
            ":80",
            "example.com:",
            "example.com:0",
            "example.com:99999",
            "http://example.com",
            "example.com/hook",
            "[::1",
            "[::1]80",
            "a*.example.com",
            "user@example.com",
        ] {
            assert!(bad.parse::<WebhookHost>().is_err(), "{bad}");
        }
    }
}
