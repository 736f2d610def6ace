//! The hashes that the hub states for files, and their verification.
//!
//! A file that is kept in large file storage is named by the SHA-256 of its bytes; one that is part of the Git
//! repository itself by Git's hash of it, which is SHA-1. SHA-1 does not withstand attackers who make two files of one
//! hash, but Git's commits, and so the hub, have nothing better to offer for these.

use std::fmt::{self, Write as _};

use ring::digest;

use super::spec::is_hash;

/// The name of a file's content.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Hash {
    digits: String,
    kind: HashKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum HashKind {
    Sha256,
    GitBlob,
}

impl Hash {
    /// From hexadecimal digits, as the hub writes them.
    pub(super) fn new(text: &str) -> Option<Self> {
        let kind = match text.len() {
            64 => HashKind::Sha256,
            _ => HashKind::GitBlob,
        };
        let wanted = if kind == HashKind::Sha256 { 64 } else { 40 };
        is_hash(text, wanted).then(|| Self {
            digits: text.to_owned(),
            kind,
        })
    }

    /// From the value of an `ETag`, which quotes it and may call it weak.
    pub(super) fn of_etag(etag: &str) -> Option<Self> {
        Self::new(etag.trim_start_matches("W/").trim_matches('"'))
    }

    /// Its digits, which are also the file's name among the blobs of the cache.
    pub(super) fn as_str(&self) -> &str {
        &self.digits
    }

    /// Whether it is that of a file in large file storage.
    pub(super) fn is_sha256(&self) -> bool {
        self.kind == HashKind::Sha256
    }

    /// Begins to hash a file of `size` bytes in the way of this hash.
    pub(super) fn hasher(&self, size: u64) -> Hasher {
        match self.kind {
            HashKind::Sha256 => Hasher(digest::Context::new(&digest::SHA256)),
            HashKind::GitBlob => {
                let mut context = digest::Context::new(&digest::SHA1_FOR_LEGACY_USE_ONLY);
                context.update(format!("blob {size}\0").as_bytes());
                Hasher(context)
            }
        }
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.digits)
    }
}

#[derive(Clone)]
pub(super) struct Hasher(digest::Context);

impl Hasher {
    pub(super) fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    pub(super) fn finish(self) -> String {
        let mut digits = String::new();
        for byte in self.0.finish().as_ref() {
            // Writing to a String cannot fail.
            let _ = write!(digits, "{byte:02x}");
        }
        digits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hashed(hash: &str, bytes: &[u8]) -> String {
        let mut hasher = Hash::new(hash).unwrap().hasher(bytes.len() as u64);
        // In two pieces, as from a network.
        let (start, end) = bytes.split_at(bytes.len() / 2);
        hasher.update(start);
        hasher.update(end);
        hasher.finish()
    }

    #[test]
    fn both_kinds_of_hash_are_computed() {
        // `printf hello | sha256sum` and `printf hello | git hash-object --stdin`.
        for hash in [
            "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824",
            "b6fc4c620b67d95f953a5c1c1230aaab5db5a1b0",
        ] {
            assert_eq!(hashed(hash, b"hello"), hash);
            assert_ne!(hashed(hash, b"hullo"), hash);
        }
    }

    #[test]
    fn etags_are_unwrapped_and_others_are_refused() {
        let digits = "b6fc4c620b67d95f953a5c1c1230aaab5db5a1b0";
        for etag in [
            digits.to_owned(),
            format!("\"{digits}\""),
            format!("W/\"{digits}\""),
        ] {
            assert_eq!(Hash::of_etag(&etag).unwrap().as_str(), digits);
        }
        for other in [
            "",
            "\"5f3a-1\"",
            "../../../x",
            &digits.to_uppercase(),
            &digits[1..],
        ] {
            assert_eq!(Hash::of_etag(other), None, "{other}");
        }
    }
}
