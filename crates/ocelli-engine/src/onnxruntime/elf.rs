//! Whether a file can be loaded as a shared library at all.
//!
//! The system's loader maps a file before it knows that all of it is there: one that was cut short while it was
//! copied kills the process with SIGBUS instead of giving an error. So the headers are read first. The layout is
//! that of ELF-64 (System V ABI, chapters 4 and 5), little-endian, which is what all supported machines use.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

const HEADER_LEN: usize = 64;
const PROGRAM_HEADER_LEN: usize = 56;
const TYPE_SHARED: u16 = 3;
const SEGMENT_LOAD: u32 = 1;

/// How far from the start a symbol version is looked for.
const SYMBOL_SEARCH_LEN: u64 = 1 << 20;

/// ELF's number for the processor that this program is compiled for; `None` where it is not known here.
const MACHINE: Option<u16> = if cfg!(target_arch = "x86_64") {
    Some(62)
} else if cfg!(target_arch = "aarch64") {
    Some(183)
} else {
    None
};

/// Says what is wrong with the file, if anything is.
pub(super) fn check(path: &Path) -> Result<(), String> {
    let mut file = File::open(path).map_err(|error| error.to_string())?;
    let len = file.metadata().map_err(|error| error.to_string())?.len();
    let mut header = [0_u8; HEADER_LEN];
    match file.read_exact(&mut header) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Err(not_a_library()),
        other => other.map_err(|error| error.to_string())?,
    }
    // 64 bits, little-endian.
    if header[..4] != *b"\x7fELF" || header[4] != 2 || header[5] != 1 || u16_at(&header, 16) != TYPE_SHARED {
        return Err(not_a_library());
    }
    if MACHINE.is_some_and(|machine| machine != u16_at(&header, 18)) {
        return Err(format!(
            "it is built for another processor than {}",
            std::env::consts::ARCH
        ));
    }
    let (offset, count) = (u64_at(&header, 32), u16_at(&header, 56));
    if usize::from(u16_at(&header, 54)) != PROGRAM_HEADER_LEN {
        return Err(not_a_library());
    }
    let mut segments = vec![0_u8; usize::from(count) * PROGRAM_HEADER_LEN];
    file.seek(SeekFrom::Start(offset))
        .map_err(|error| error.to_string())?;
    file.read_exact(&mut segments).map_err(|_| cut_short(len))?;
    let mut end = 0;
    for segment in segments.chunks_exact(PROGRAM_HEADER_LEN) {
        if u32_at(segment, 0) == SEGMENT_LOAD {
            end = end.max(u64_at(segment, 8).saturating_add(u64_at(segment, 32)));
        }
    }
    if end > len { Err(cut_short(len)) } else { Ok(()) }
}

/// The version in the name of the library's symbols, such as `1.31.1` in `VERS_1.31.1`.
///
/// The C interface has the version as well, but `ort` does not hand it on. The name stands in the table of dynamic
/// strings, which linkers put near the start of the file.
pub(super) fn symbol_version(path: &Path) -> Option<String> {
    const PREFIX: &[u8] = b"\0VERS_";
    let mut start = Vec::new();
    File::open(path)
        .ok()?
        .take(SYMBOL_SEARCH_LEN)
        .read_to_end(&mut start)
        .ok()?;
    let at = start.windows(PREFIX.len()).position(|window| window == PREFIX)? + PREFIX.len();
    let version: Vec<u8> = start[at..]
        .iter()
        .copied()
        .take_while(|byte| byte.is_ascii_digit() || *byte == b'.')
        .collect();
    String::from_utf8(version)
        .ok()
        .filter(|version| !version.is_empty())
}

fn not_a_library() -> String {
    "it is not a shared library".to_owned()
}

fn cut_short(len: u64) -> String {
    format!("it is cut short after {len} bytes")
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    (u32::from(u16_at(bytes, at + 2)) << 16) | u32::from(u16_at(bytes, at))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    (u64::from(u32_at(bytes, at + 4)) << 32) | u64::from(u32_at(bytes, at))
}

#[cfg(test)]
mod tests {
    use tempfile::NamedTempFile;

    use super::*;

    /// A library of one segment that ends at `end`, without content.
    fn library(machine: u16, end: u64) -> Vec<u8> {
        let mut bytes = vec![0_u8; HEADER_LEN + PROGRAM_HEADER_LEN];
        bytes[..6].copy_from_slice(b"\x7fELF\x02\x01");
        bytes[16..18].copy_from_slice(&TYPE_SHARED.to_le_bytes());
        bytes[18..20].copy_from_slice(&machine.to_le_bytes());
        bytes[32..40].copy_from_slice(&(HEADER_LEN as u64).to_le_bytes());
        bytes[54..56].copy_from_slice(&(PROGRAM_HEADER_LEN as u16).to_le_bytes());
        bytes[56..58].copy_from_slice(&1_u16.to_le_bytes());
        bytes[64..68].copy_from_slice(&SEGMENT_LOAD.to_le_bytes());
        bytes[72..80].copy_from_slice(&100_u64.to_le_bytes());
        bytes[96..104].copy_from_slice(&(end - 100).to_le_bytes());
        bytes
    }

    fn checked(bytes: &[u8]) -> Result<(), String> {
        let file = NamedTempFile::new().unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        check(file.path())
    }

    #[test]
    fn a_library_is_distinguished_from_other_files() {
        let own = MACHINE.unwrap_or(0);
        assert_eq!(checked(&library(own, 120)), Ok(()));
        assert_eq!(
            checked(&library(own, 121)),
            Err("it is cut short after 120 bytes".to_owned())
        );
        assert_eq!(
            checked(&library(own, 120)[..119]),
            Err("it is cut short after 119 bytes".to_owned())
        );
        let mut program = library(own, 120);
        program[16] = 2;
        for other in [&b""[..], b"\x7fELF", &[b'a'; 200], &program] {
            assert_eq!(checked(other), Err("it is not a shared library".to_owned()));
        }
        if MACHINE.is_some() {
            let error = checked(&library(own + 1, 120)).unwrap_err();
            assert!(error.starts_with("it is built for another processor"), "{error}");
        }
    }

    #[test]
    fn the_version_is_read_from_the_symbols() {
        let cases = [
            ("junk\0VERS_1.31.1\0more", Some("1.31.1")),
            ("xVERS_1.2\0", None),
            ("\0VERS_\0", None),
        ];
        for (content, version) in cases {
            let file = NamedTempFile::new().unwrap();
            std::fs::write(file.path(), content).unwrap();
            assert_eq!(symbol_version(file.path()).as_deref(), version, "{content:?}");
        }
    }
}
