//! What a repository holds at a commit, as the hub lists it.
//!
//! A list is checked as a whole before anything of it is used: one name that leads out of the repository makes it invalid.
//! It is kept in the cache in the form in which it came, for a commit never changes.

use serde::{Deserialize, Serialize};

use super::hash::Hash;
use super::spec::{Commit, RepoPath};

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Listing {
    pub(super) commit: Commit,
    pub(super) files: Vec<RepoFile>,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct RepoFile {
    pub(super) path: RepoPath,
    /// In bytes. A mirror may leave it out.
    pub(super) size: Option<u64>,
    /// A mirror may leave it out.
    pub(super) hash: Option<Hash>,
}

/// Why a list is refused.
#[derive(Debug, PartialEq)]
pub(super) enum BadListing {
    Form(String),
    /// It has a file of this name, which is no path within a repository.
    Outside(String),
}

#[derive(Serialize, Deserialize)]
struct ListingResponse {
    sha: String,
    siblings: Vec<Sibling>,
}

#[derive(Serialize, Deserialize)]
struct Sibling {
    rfilename: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
    #[serde(rename = "blobId", skip_serializing_if = "Option::is_none")]
    blob_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lfs: Option<Lfs>,
}

#[derive(Serialize, Deserialize)]
struct Lfs {
    /// As lists call it; trees, and mirrors that make lists of them, call it otherwise.
    #[serde(alias = "oid")]
    sha256: String,
}

impl Listing {
    pub(super) fn parse(json: &[u8]) -> Result<Self, BadListing> {
        let answer: ListingResponse =
            serde_json::from_slice(json).map_err(|error| BadListing::Form(error.to_string()))?;
        let commit = Commit::new(&answer.sha)
            .ok_or_else(|| BadListing::Form(format!("{:?} is no commit", answer.sha)))?;
        let file = |sibling: Sibling| {
            let Some(path) = RepoPath::new(&sibling.rfilename) else {
                return Err(BadListing::Outside(sibling.rfilename));
            };
            // Of a large file, the blob is only a pointer.
            let digits = sibling.lfs.map(|lfs| lfs.sha256).or(sibling.blob_id);
            let hash = match digits {
                None => None,
                Some(digits) => Some(
                    Hash::new(&digits).ok_or_else(|| BadListing::Form(format!("{digits:?} is no hash")))?,
                ),
            };
            Ok(RepoFile {
                path,
                size: sibling.size,
                hash,
            })
        };
        let files: Result<_, _> = answer.siblings.into_iter().map(file).collect();
        Ok(Self {
            commit,
            files: files?,
        })
    }

    /// The form that [`Listing::parse`] reads.
    pub(super) fn to_json(&self) -> Vec<u8> {
        let sibling = |file: &RepoFile| {
            let digits = file.hash.as_ref().map(|hash| hash.as_str().to_owned());
            let large = file.hash.as_ref().is_some_and(Hash::is_sha256);
            Sibling {
                rfilename: file.path.to_string(),
                size: file.size,
                lfs: digits.clone().filter(|_| large).map(|sha256| Lfs { sha256 }),
                blob_id: digits.filter(|_| !large),
            }
        };
        let answer = ListingResponse {
            sha: self.commit.to_string(),
            siblings: self.files.iter().map(sibling).collect(),
        };
        // Strings and numbers are always JSON.
        serde_json::to_vec(&answer).unwrap_or_default()
    }

    pub(super) fn find(&self, path: &RepoPath) -> Option<&RepoFile> {
        self.files.iter().find(|file| file.path == *path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

    fn listing(siblings: &str) -> Result<Listing, BadListing> {
        Listing::parse(
            format!(r#"{{"id":"a/b","sha":"{COMMIT}","siblings":[{siblings}],"gated":false}}"#).as_bytes(),
        )
    }

    #[test]
    fn a_large_file_is_known_by_its_own_hash_and_not_by_its_pointers() {
        let large = "c".repeat(64);
        let read = listing(&format!(
            r#"{{"rfilename":"onnx/model.onnx","size":7,"blobId":"{COMMIT}","lfs":{{"sha256":"{large}","size":7}}}},
               {{"rfilename":"config.json","size":3,"blobId":"{COMMIT}"}}, {{"rfilename":"README.md"}}"#
        ))
        .unwrap();
        let hashes: Vec<_> = read
            .files
            .iter()
            .map(|file| file.hash.as_ref().map(Hash::as_str))
            .collect();
        assert_eq!(hashes, [Some(large.as_str()), Some(COMMIT), None]);
        assert_eq!(read.files[0].size, Some(7));
        assert_eq!(Listing::parse(&read.to_json()), Ok(read));
    }

    #[test]
    fn one_name_that_leads_out_condemns_the_list() {
        for name in ["../../x", "/etc/passwd", "a/../../b", "a\\\\b", "a\\u0000b", ""] {
            let bad = listing(&format!(
                r#"{{"rfilename":"config.json"}},{{"rfilename":"{name}"}}"#
            ));
            assert!(matches!(bad, Err(BadListing::Outside(_))), "{name}: {bad:?}");
        }
    }

    #[test]
    fn commits_and_hashes_become_file_names_and_are_checked() {
        let bad = [
            listing(r#"{"rfilename":"a","blobId":"../../x"}"#),
            listing(r#"{"rfilename":"a","lfs":{"sha256":"short"}}"#),
            Listing::parse(br#"{"sha":"../..","siblings":[]}"#),
            Listing::parse(b"<!doctype html>"),
        ];
        for bad in bad {
            assert!(matches!(bad, Err(BadListing::Form(_))), "{bad:?}");
        }
    }
}
