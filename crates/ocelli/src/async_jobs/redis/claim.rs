//! Claims on idempotency keys.

use std::fmt::Write as _;

use ring::digest::{SHA256, digest};

use crate::queue::job::JobId;

/// The value of an idempotency key in Redis: `state:id:fingerprint`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Claim {
    /// Whether its job was accepted; until then others wait.
    pub(super) accepted: bool,
    pub(super) id: JobId,
    pub(super) fingerprint: [u8; 32],
}

/// Only hashes of clients' keys are stored.
pub(super) fn hashed(key: &str) -> String {
    hex(digest(&SHA256, key.as_bytes()).as_ref())
}

fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
            // Writing to a String cannot fail.
            let _ = write!(text, "{byte:02x}");
            text
        })
}

impl Claim {
    pub(super) fn text(&self) -> String {
        let state = if self.accepted { "accepted" } else { "pending" };
        format!("{state}:{}:{}", self.id, hex(&self.fingerprint))
    }

    pub(super) fn parse(text: &str) -> Option<Self> {
        let (state, rest) = text.split_once(':')?;
        let (id, digits) = rest.split_once(':')?;
        let (pairs, []) = digits.as_bytes().as_chunks::<2>() else {
            return None;
        };
        let bytes: Option<Vec<u8>> = pairs
            .iter()
            .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
            .collect();
        Some(Self {
            accepted: match state {
                "accepted" => true,
                "pending" => false,
                _ => return None,
            },
            id: JobId::parse(id)?,
            fingerprint: bytes?.try_into().ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_comes_back_as_it_was() {
        let claim = Claim {
            accepted: true,
            id: JobId(0xab),
            fingerprint: std::array::from_fn(|index| index as u8 * 8),
        };
        let pending = Claim {
            accepted: false,
            ..claim.clone()
        };
        for claim in [claim.clone(), pending] {
            assert_eq!(Claim::parse(&claim.text()), Some(claim));
        }
        let text = claim.text();
        for bad in [
            "",
            "accepted",
            "accepted::",
            &text[1..],
            &text[..text.len() - 2],
            &text.replace("00", "+0"),
        ] {
            assert_eq!(Claim::parse(bad), None, "{bad}");
        }
    }
}
