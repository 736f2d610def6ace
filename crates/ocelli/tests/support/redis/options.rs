//! The options of a server.

use std::net::SocketAddr;

/// By default, nothing is saved, there is no password, and memory is unlimited.
#[derive(Clone, Debug, Default)]
pub(crate) struct Options {
    settings: Vec<(String, String)>,
    pub(super) tls: bool,
}

impl Options {
    /// A line of the configuration file, such as `set("maxmemory", "64mb")`.
    pub(crate) fn set(mut self, name: &str, value: &str) -> Self {
        self.settings.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Every write is on disk before it is answered, so that it survives a kill.
    pub(crate) fn durable(self) -> Self {
        self.set("appendonly", "yes")
    }

    /// Clients connect over TLS. Debian's Redis supports it; the downloaded Valkey does not.
    pub(crate) fn tls(mut self) -> Self {
        self.tls = true;
        self
    }

    /// The last value that was given to a setting.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        let mut settings = self.settings.iter().rev();
        settings.find_map(|(set, value)| (set == name).then_some(value.as_str()))
    }

    /// The URL of a server with these options, with the password.
    pub(super) fn url(&self, scheme: &str, address: SocketAddr) -> String {
        let password = self.get("requirepass");
        let user = password.map_or_else(String::new, |password| format!(":{password}@"));
        format!("{scheme}://{user}{address}")
    }

    /// The content of the configuration file.
    pub(super) fn lines(&self) -> String {
        let settings = self.settings.iter();
        settings
            .map(|(name, value)| format!("{name} {value}\n"))
            .collect()
    }
}
