//! Why a model cannot be fetched from the hub.

use std::io;
use std::path::PathBuf;

use bytesize::ByteSize;
use ocelli_vision::Format;

use super::spec::{Repository, SpecError};

#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HubError {
    #[error(transparent)]
    Spec(#[from] SpecError),
    #[error("{name}: {problem}")]
    Setting { name: &'static str, problem: String },
    #[error(
        "{host} cannot be reached: {why}; check the network, HTTPS_PROXY and HF_ENDPOINT, or set HF_HUB_OFFLINE=1 to use \
         only what is in the cache"
    )]
    Unreachable { host: String, why: String },
    #[error("{host} answered {status}: it does not work now; try again later")]
    Failing { host: String, status: u16 },
    /// The hub does not distinguish missing from private repositories.
    #[error(
        "{repository} is not on {host}, or it is private: check the name; for a private one set HF_TOKEN to a token that \
         may read it"
    )]
    NoRepository { repository: Repository, host: String },
    #[error(
        "{repository} is gated: accept its conditions at {host}/{repository}, then set HF_TOKEN to a token of that \
         account"
    )]
    Gated { repository: Repository, host: String },
    #[error(
        "{host} refuses the token for {repository} ({status}): set HF_TOKEN to a valid one that may read this repository, \
         or unset it for a public one"
    )]
    Token {
        repository: Repository,
        host: String,
        status: u16,
    },
    #[error(
        "{repository} has no revision '{revision}': name a branch, a tag or a commit of it, or leave it out for main"
    )]
    NoRevision {
        repository: Repository,
        revision: String,
    },
    #[error("{repository} has no file '{file}'{}", listed("; its ONNX files are", others))]
    NoFile {
        repository: Repository,
        file: String,
        /// The ONNX files that are there.
        others: Vec<String>,
    },
    #[error(
        "{repository} has no ONNX file that can be served{}{}",
        foreign.as_ref().map(|(file, format)| format!(": {file} {format}")).unwrap_or_default(),
        listed("; it has", files)
    )]
    NoModel {
        repository: Repository,
        /// A model in another format.
        foreign: Option<(String, &'static Format)>,
        files: Vec<String>,
    },
    #[error("{repository}: {file} {format}")]
    Foreign {
        repository: Repository,
        file: String,
        format: &'static Format,
    },
    #[error(
        "{spec} does not say which of its ONNX files is meant{}: write {spec}#FILE",
        listed(", of", files)
    )]
    Unclear { spec: String, files: Vec<String> },
    #[error("{url} answered {status}{}", message.as_ref().map(|text| format!(": {text}")).unwrap_or_default())]
    Refused {
        url: String,
        status: u16,
        message: Option<String>,
    },
    #[error(
        "{url} did not answer as a model hub does: {problem}; check HF_ENDPOINT, and whether a proxy or a login page answers instead"
    )]
    NotHub { url: String, problem: String },
    #[error(
        "the hub lists a file {name:?} in {repository}: that is no path within a repository, so nothing of it was written; do not use this repository"
    )]
    Outside { repository: Repository, name: String },
    #[error("{file} of {repository} has {}, and {} is the limit for such a file: check that it is the right one", ByteSize(*bytes), ByteSize(*limit))]
    TooLarge {
        repository: Repository,
        file: String,
        bytes: u64,
        limit: u64,
    },
    #[error(
        "{file} of {repository} arrived with the hash {found} instead of {expected} and was deleted: try again; if it happens again, something on the way changes the bytes"
    )]
    WrongHash {
        repository: Repository,
        file: String,
        expected: String,
        found: String,
    },
    #[error(
        "the hub does not say the hash of {file} in {repository}, so it cannot be checked: set HF_ENDPOINT to a hub or mirror that does"
    )]
    NoHash { repository: Repository, file: String },
    #[error("{file} of {repository} broke off after {}: {why}; the part is kept, and the next try goes on from there", ByteSize(*bytes))]
    Broken {
        repository: Repository,
        file: String,
        bytes: u64,
        why: String,
    },
    #[error("{}: {file} needs {} more and {}: free some space, or set HF_HOME to a larger disk", path.display(), ByteSize(*needed), free.map_or("the disk is full".to_owned(), |free| format!("{} are free", ByteSize(free))))]
    DiskFull {
        path: PathBuf,
        file: String,
        needed: u64,
        free: Option<u64>,
    },
    #[error("{}: {file} needs {} more than a file may have: raise the limit on the size of files (ulimit -f), or set HF_HOME to a disk that holds larger ones", path.display(), ByteSize(*needed))]
    FileLimit {
        path: PathBuf,
        file: String,
        needed: u64,
    },
    #[error("{}: {source}; the cache of models is there, HF_HOME moves it", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("{spec}: {missing} is not in the cache ({}), and HF_HUB_OFFLINE is set: unset it, or run `ocelli model pull {spec}` where there is a network and copy the cache", cache.display())]
    Offline {
        spec: String,
        missing: String,
        cache: PathBuf,
    },
    #[error("{spec} is not in the cache ({}); `ocelli model list` says what is", cache.display())]
    NotCached { spec: String, cache: PathBuf },
    #[error("{file} ({}) {problem}", path.display())]
    Graph {
        file: String,
        path: PathBuf,
        problem: String,
    },
    #[error(transparent)]
    File(#[from] ocelli_vision::FileError),
    #[error("{}: {source}", path.display())]
    Package {
        path: PathBuf,
        source: ocelli_vision::PackageError,
    },
}

/// The most names that a message lists.
const NAMES: usize = 12;

fn listed(before: &str, names: &[String]) -> String {
    if names.is_empty() {
        return String::new();
    }
    let more = names.len().saturating_sub(NAMES);
    let shown = names[..names.len() - more].join(", ");
    match more {
        0 => format!("{before} {shown}"),
        more => format!("{before} {shown} and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_list_is_cut() {
        let names: Vec<String> = (0..14).map(|index| index.to_string()).collect();
        assert_eq!(listed("; it has", &names[..2]), "; it has 0, 1");
        assert!(listed("; it has", &names).ends_with("10, 11 and 2 more"));
        assert_eq!(listed("; it has", &[]), "");
    }
}
