//! Finds the server programs, and skips or fails tests without them.

use std::path::{Path, PathBuf};

/// A server program on this machine.
#[derive(Clone, Debug)]
pub(crate) struct Binary {
    pub(crate) name: &'static str,
    pub(crate) path: PathBuf,
}

impl Binary {
    /// Redis; `None` with a message if there is none, unless `OCELLI_REQUIRE_REDIS=1` makes that a failure.
    pub(crate) fn redis() -> Option<Self> {
        Self::find("redis-server", "OCELLI_REDIS_SERVER")
    }

    /// Valkey; `None` as with [`Binary::redis`].
    pub(crate) fn valkey() -> Option<Self> {
        Self::find("valkey-server", "OCELLI_VALKEY_SERVER")
    }

    /// The oldest Redis that has all commands; `None` as with [`Binary::redis`].
    pub(crate) fn oldest_redis() -> Option<Self> {
        Self::find("oldest-redis-server", "OCELLI_OLDEST_REDIS_SERVER")
    }

    /// The program in `variable`, or the one that `make test-servers` has installed in target, or the one on the
    /// `PATH`.
    #[expect(clippy::print_stderr, reason = "a test that did not run must say so")]
    fn find(name: &'static str, variable: &str) -> Option<Self> {
        let fetched = Path::new(env!("CARGO_BIN_EXE_ocelli"))
            .ancestors()
            .nth(2)
            .map(|target| target.join("test-servers").join(name));
        let path = std::env::var_os("PATH").unwrap_or_default();
        let installed = std::env::split_paths(&path).map(|folder| folder.join(name));
        let found = std::env::var_os(variable)
            .map(PathBuf::from)
            .or_else(|| fetched.into_iter().chain(installed).find(|path| path.is_file()));
        if found.is_none() {
            // The oldest version is pinned for one architecture only.
            let required = std::env::var("OCELLI_REQUIRE_REDIS").is_ok_and(|value| value == "1")
                && (name != "oldest-redis-server" || cfg!(target_arch = "x86_64"));
            let missing = format!("there is no {name}: run `make test-servers`, or let {variable} name one");
            assert!(!required, "OCELLI_REQUIRE_REDIS=1, and {missing}");
            eprintln!("SKIPPED: {missing}");
        }
        found.map(|path| Self { name, path })
    }
}
