//! The hub's HTTP API: requests, redirects, the token, and the meaning of refusals.
//!
//! The token goes to the hub's own origin and nowhere else: redirects are followed here, one by one, and not by the HTTP
//! library.

use std::sync::Arc;
use std::time::Duration;

use axum::http::header::{ACCEPT_ENCODING, AUTHORIZATION, CONTENT_TYPE, ETAG, LOCATION, RANGE, USER_AGENT};
use axum::http::{HeaderMap, HeaderValue, Method, Request, Response};
use ureq::tls::{Certificate, RootCerts, TlsConfig};
use ureq::{Agent, Body};
use url::Url;

use super::cache::MAX_LISTING;
use super::config::HubConfig;
use super::error::HubError;
use super::hash::Hash;
use super::listing::{BadListing, Listing, RepoFile};
use super::spec::{Commit, HubSpec, RepoPath, Repository};
use crate::process::tls;

/// Maximum number of redirects of one request.
const MAX_REDIRECTS: usize = 5;

/// The minimum average speed of a body, in bytes per second. A slower download is aborted and tried again.
const SLOWEST: u64 = 8 << 10;

/// The hash and the size of a large file, in the answer that leads to it.
const LINKED_ETAG: &str = "x-linked-etag";
const LINKED_SIZE: &str = "x-linked-size";

/// Headers of an error: its code and its message.
const ERROR_CODE: &str = "x-error-code";
const ERROR_MESSAGE: &str = "x-error-message";

const AGENT: &str = concat!("ocelli/", env!("CARGO_PKG_VERSION"));

pub(super) struct Client {
    agent: Agent,
    endpoint: Url,
    authorization: Option<HeaderValue>,
    patience: Duration,
}

/// What a request is about, for messages.
#[derive(Clone, Copy)]
pub(super) struct About<'a> {
    pub(super) repository: &'a Repository,
    pub(super) revision: &'a str,
    pub(super) file: Option<&'a RepoPath>,
}

/// A successful response, and the address that gave it.
pub(super) struct HubResponse {
    pub(super) url: Url,
    pub(super) response: Response<Body>,
}

impl Client {
    /// A client of the hub that `config` names. It connects with the first request.
    pub(super) fn new(config: &HubConfig) -> Self {
        let authorities = tls::system_authorities();
        if config.endpoint.scheme() == "https" {
            tls::warn_of_none(&authorities, "no hub can be reached with https");
        }
        let trusted: Vec<_> = authorities
            .iter()
            .map(|certificate| Certificate::from_der(certificate).to_owned())
            .collect();
        let tls = TlsConfig::builder()
            .root_certs(RootCerts::Specific(Arc::new(trusted)))
            .unversioned_rustls_crypto_provider(tls::provider())
            .build();
        let agent = Agent::config_builder()
            .tls_config(tls)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .http_status_as_error(false)
            .timeout_resolve(Some(config.patience))
            .timeout_connect(Some(config.patience))
            .timeout_per_read(Some(config.patience))
            .timeout_per_write(Some(config.patience))
            .build()
            .new_agent();
        let authorization = config.token.as_ref().and_then(|token| {
            let mut value = HeaderValue::from_str(&format!("Bearer {}", token.reveal())).ok()?;
            value.set_sensitive(true);
            Some(value)
        });
        Self {
            agent,
            endpoint: config.endpoint.clone(),
            authorization,
            patience: config.patience,
        }
    }

    pub(super) fn listing(&self, spec: &HubSpec) -> Result<Listing, HubError> {
        let (owner, name) = spec.repository.parts();
        let revision = spec.revision();
        let path = ["api", "models", owner, name, "revision", revision.as_str()];
        let mut url = self.url(path);
        // With their sizes and hashes.
        url.set_query(Some("blobs=true"));
        let about = About {
            repository: &spec.repository,
            revision: revision.as_str(),
            file: None,
        };
        let answer = self.ask(&Method::GET, url, about, 0, MAX_LISTING)?;
        let not_hub = |problem| HubError::NotHub {
            url: plain(&answer.url),
            problem,
        };
        let mut body = answer.response.into_body();
        let json = body
            .with_config()
            .limit(MAX_LISTING)
            .read_to_vec()
            .map_err(|error| not_hub(error.to_string()))?;
        Listing::parse(&json).map_err(|bad| match bad {
            BadListing::Form(problem) => not_hub(problem),
            BadListing::Outside(name) => HubError::Outside {
                repository: spec.repository.clone(),
                name,
            },
        })
    }

    /// What a file's hash and size are, of a hub whose lists do not say so.
    pub(super) fn describe(
        &self,
        about: About<'_>,
        commit: &Commit,
        file: &RepoFile,
    ) -> Result<(Hash, u64), HubError> {
        let url = self.file(about.repository, commit, &file.path);
        let answer = self.ask(&Method::HEAD, url, about, 0, 0)?;
        let headers = answer.response.headers();
        let hash = text(headers, LINKED_ETAG).or_else(|| text(headers, ETAG.as_str()));
        let size = text(headers, LINKED_SIZE).or_else(|| text(headers, "content-length"));
        hash.and_then(Hash::of_etag)
            .zip(size.and_then(|size| size.parse().ok()))
            .ok_or_else(|| HubError::NoHash {
                repository: about.repository.clone(),
                file: file.path.to_string(),
            })
    }

    /// A file of `size` bytes from byte `from` on, or from its beginning where the answer's status is not 206.
    pub(super) fn fetch(
        &self,
        about: About<'_>,
        commit: &Commit,
        path: &RepoPath,
        from: u64,
        size: u64,
    ) -> Result<HubResponse, HubError> {
        let url = self.file(about.repository, commit, path);
        let answer = self.ask(&Method::GET, url, about, from, size)?;
        let kind = text(answer.response.headers(), CONTENT_TYPE.as_str()).unwrap_or_default();
        if kind.starts_with("text/html") && !path.as_str().ends_with(".html") {
            return Err(HubError::NotHub {
                url: plain(&answer.url),
                problem: "it sent a web page instead of the file".to_owned(),
            });
        }
        Ok(answer)
    }

    /// Sends a request and follows redirects. A HEAD request stops at the hub's last response, because its headers
    /// describe a large file, and those of the storage server do not.
    fn ask(
        &self,
        method: &Method,
        start: Url,
        about: About<'_>,
        from: u64,
        size: u64,
    ) -> Result<HubResponse, HubError> {
        let mut url = start;
        for _ in 0..=MAX_REDIRECTS {
            let response = self.send(method, &url, from, size)?;
            let status = response.status();
            if status.is_success() {
                return Ok(HubResponse { url, response });
            }
            if !status.is_redirection() {
                return Err(self.refusal(&url, &response, about));
            }
            let next =
                text(response.headers(), LOCATION.as_str()).and_then(|location| url.join(location).ok());
            let Some(next) = next.filter(|next| is_safe_step(&url, next)) else {
                return Err(HubError::NotHub {
                    url: plain(&url),
                    problem: "it leads to an address that cannot be followed".to_owned(),
                });
            };
            if method == Method::HEAD && !self.is_home(&next) {
                return Ok(HubResponse { url, response });
            }
            url = next;
        }
        Err(HubError::NotHub {
            url: plain(&url),
            problem: format!("it leads on and on, through more than {MAX_REDIRECTS} addresses"),
        })
    }

    fn send(&self, method: &Method, url: &Url, from: u64, size: u64) -> Result<Response<Body>, HubError> {
        let mut request = Request::builder()
            .method(method)
            .uri(url.as_str())
            .header(USER_AGENT, AGENT)
            // The known hash is that of the uncompressed bytes.
            .header(ACCEPT_ENCODING, "identity");
        if from > 0 {
            request = request.header(RANGE, format!("bytes={from}-"));
        }
        if let Some(authorization) = self.authorization.as_ref().filter(|_| self.is_home(url)) {
            request = request.header(AUTHORIZATION, authorization);
        }
        let unreachable = |why: String| HubError::Unreachable {
            host: origin(url),
            why,
        };
        let request = request.body(()).map_err(|error| unreachable(error.to_string()))?;
        let longest = self.patience + Duration::from_secs(size.saturating_sub(from) / SLOWEST);
        let request = self
            .agent
            .configure_request(request)
            .timeout_recv_body(Some(longest))
            .build();
        self.agent
            .run(request)
            .map_err(|error| unreachable(self.why(error)))
    }

    /// What ended a connection or a body, in words.
    pub(super) fn why(&self, error: impl Into<ureq::Error>) -> String {
        match error.into() {
            ureq::Error::Timeout(_) => format!("nothing came for {:?}, or too slowly", self.patience),
            ureq::Error::Io(error) => error.to_string(),
            error => error.to_string(),
        }
    }

    fn refusal(&self, url: &Url, response: &Response<Body>, about: About<'_>) -> HubError {
        let status = response.status().as_u16();
        if !self.is_home(url) {
            // Storage servers know nothing of repositories; their addresses expire.
            return HubError::Failing {
                host: origin(url),
                status,
            };
        }
        let headers = response.headers();
        let said = Refused {
            status,
            code: text(headers, ERROR_CODE),
            message: text(headers, ERROR_MESSAGE),
            with_token: self.authorization.is_some(),
        };
        said.meaning(url, self.endpoint.as_str().trim_end_matches('/'), about)
    }

    fn is_home(&self, url: &Url) -> bool {
        url.origin() == self.endpoint.origin()
    }

    fn file(&self, repository: &Repository, commit: &Commit, path: &RepoPath) -> Url {
        let (owner, name) = repository.parts();
        let start = [owner, name, "resolve", commit.as_str()];
        self.url(start.into_iter().chain(path.as_str().split('/')))
    }

    fn url<'a>(&self, parts: impl IntoIterator<Item = &'a str>) -> Url {
        let mut url = self.endpoint.clone();
        // An address of http or https always has a path.
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(parts);
        }
        url
    }
}

struct Refused<'a> {
    status: u16,
    code: Option<&'a str>,
    message: Option<&'a str>,
    with_token: bool,
}

impl Refused<'_> {
    fn meaning(&self, url: &Url, hub: &str, about: About<'_>) -> HubError {
        let repository = about.repository.clone();
        let host = hub.to_owned();
        match (self.code, self.status) {
            (Some("GatedRepo"), _) => HubError::Gated { repository, host },
            (Some("RevisionNotFound"), _) => self.no_revision(about),
            (_, 429 | 500..) => HubError::Failing {
                host,
                status: self.status,
            },
            (Some("EntryNotFound"), _) | (None, 404) if about.file.is_some() => HubError::NoFile {
                repository,
                file: about.file.map(ToString::to_string).unwrap_or_default(),
                others: Vec::new(),
            },
            (None, 404) if about.revision != "main" => self.no_revision(about),
            // Without a token the hub answers 401 for a missing repository as well as for a private one.
            (_, 401 | 403) if self.with_token && self.code != Some("RepoNotFound") => HubError::Token {
                repository,
                host,
                status: self.status,
            },
            (None, 403) => HubError::Gated { repository, host },
            (Some("RepoNotFound"), _) | (_, 401 | 404) => HubError::NoRepository { repository, host },
            (_, status) => HubError::Refused {
                url: plain(url),
                status,
                message: self.message.map(str::to_owned),
            },
        }
    }

    fn no_revision(&self, about: About<'_>) -> HubError {
        HubError::NoRevision {
            repository: about.repository.clone(),
            revision: about.revision.to_owned(),
        }
    }
}

/// Whether a redirect may be followed: never from an encrypted address to an unencrypted one.
fn is_safe_step(from: &Url, to: &Url) -> bool {
    match to.scheme() {
        "https" => true,
        "http" => from.scheme() == "http",
        _ => false,
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// An address without its query, which may hold a signature that grants access to the file.
fn plain(url: &Url) -> String {
    let mut url = url.clone();
    url.set_query(None);
    url.into()
}

fn origin(url: &Url) -> String {
    url.origin().ascii_serialization()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meaning(status: u16, code: Option<&str>, with_token: bool, file: bool, revision: &str) -> String {
        let repository = Repository::new("a/b").unwrap();
        let path = RepoPath::new("config.json").unwrap();
        let said = Refused {
            status,
            code,
            message: Some("no"),
            with_token,
        };
        let about = About {
            repository: &repository,
            revision,
            file: file.then_some(&path),
        };
        let url = Url::parse("https://hub.test/api/models/a/b?x=y").unwrap();
        let debug = format!("{:?}", said.meaning(&url, "https://hub.test", about));
        debug.split([' ', '{']).next().unwrap().to_owned()
    }

    #[test]
    fn refusals_are_distinguished() {
        for (status, code, with_token, file, revision, wanted) in [
            // As the hub answers.
            (401, Some("RepoNotFound"), false, false, "main", "NoRepository"),
            (404, Some("RepoNotFound"), true, false, "main", "NoRepository"),
            (404, Some("RevisionNotFound"), false, false, "v9", "NoRevision"),
            (404, Some("EntryNotFound"), false, true, "main", "NoFile"),
            (401, Some("GatedRepo"), false, true, "main", "Gated"),
            (403, Some("GatedRepo"), true, true, "main", "Gated"),
            (401, None, true, false, "main", "Token"),
            (403, None, true, true, "main", "Token"),
            // As others do.
            (401, None, false, false, "main", "NoRepository"),
            (403, None, false, true, "main", "Gated"),
            (404, None, false, false, "main", "NoRepository"),
            (404, None, false, false, "v9", "NoRevision"),
            (404, None, true, true, "main", "NoFile"),
            (429, None, false, false, "main", "Failing"),
            (500, None, false, true, "main", "Failing"),
            (503, Some("EntryNotFound"), false, true, "main", "Failing"),
            (418, None, false, false, "main", "Refused"),
        ] {
            let case = format!("{status} {code:?} token {with_token} file {file} {revision}");
            assert_eq!(
                meaning(status, code, with_token, file, revision),
                wanted,
                "{case}"
            );
        }
    }

    #[test]
    fn a_step_never_leaves_encryption() {
        let url = |text| Url::parse(text).unwrap();
        let (http, https) = (url("http://a/"), url("https://b/"));
        assert!(is_safe_step(&http, &https) && is_safe_step(&https, &https) && is_safe_step(&http, &http));
        assert!(!is_safe_step(&https, &http) && !is_safe_step(&http, &url("file:///etc/passwd")));
    }

    #[test]
    fn signatures_in_addresses_are_not_repeated() {
        let url = Url::parse("https://cdn.test/a/b?Signature=secret").unwrap();
        assert_eq!(
            (plain(&url), origin(&url)),
            ("https://cdn.test/a/b".into(), "https://cdn.test".into())
        );
    }
}
