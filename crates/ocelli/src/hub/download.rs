//! Downloads one blob: locks it, starts or resumes the download, checks the hash, and only then gives the file its name.
//!
//! A later try resumes the partial file of an interrupted one. The file is named by the hash of the whole, so it cannot be part
//! of another file, and `If-Range` is not needed.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::path::Path;
use std::thread;
use std::time::Duration;

use axum::http::StatusCode;
use axum::http::header::CONTENT_RANGE;

use super::cache::{RepoCache, at};
use super::client::{About, Client, HubResponse};
use super::error::HubError;
use super::hash::{Hash, Hasher};
use super::progress::DownloadProgress;
use super::spec::{Commit, RepoPath};

/// Maximum number of consecutive tries without new bytes.
const TRIES: u32 = 4;

/// Before the second try; each pause after that is twice the one before.
const FIRST_PAUSE: Duration = Duration::from_millis(250);

/// What is read at once, in bytes.
const PIECE: usize = 256 << 10;

pub(super) struct Download<'a> {
    pub(super) client: &'a Client,
    pub(super) cache: &'a RepoCache,
    pub(super) about: About<'a>,
    pub(super) commit: &'a Commit,
    pub(super) path: &'a RepoPath,
    pub(super) hash: &'a Hash,
    pub(super) size: u64,
}

/// The beginning of a file, and its hash so far.
struct Part {
    file: File,
    hasher: Hasher,
    length: u64,
    /// Bytes that came over the network, including those that were discarded.
    fetched: u64,
}

/// Why a try failed.
enum Trouble {
    Passing(HubError),
    Lasting(HubError),
}

impl Download<'_> {
    /// Downloads the blob unless the cache has it, and returns how many bytes came over the network.
    pub(super) fn run(&self) -> Result<u64, HubError> {
        let blob = self.cache.blob(self.hash);
        if self.is_whole(&blob) {
            return Ok(0);
        }
        let _lock = self.lock()?;
        // Another process may just have finished it.
        if self.is_whole(&blob) {
            return Ok(0);
        }
        let partial = self.cache.partial(self.hash);
        make_parent(&partial)?;
        let mut part = self.resume(&partial)?;
        let kept = part.length;
        self.check_room(&partial, kept)?;
        let mut progress = DownloadProgress::new(self.path, self.size);
        self.complete(&mut part, &partial, &mut progress)?;
        let mut fetched = part.fetched;
        if kept > 0 && !self.is_right(&part) {
            // The bytes of the earlier try may be wrong.
            fs::write(&partial, b"").map_err(at(&partial))?;
            part = self.resume(&partial)?;
            self.complete(&mut part, &partial, &mut progress)?;
            fetched += part.fetched;
        }
        self.settle(part, &partial)?;
        fs::rename(&partial, &blob).map_err(at(&blob))?;
        Ok(fetched)
    }

    fn is_whole(&self, blob: &Path) -> bool {
        fs::metadata(blob).is_ok_and(|about| about.is_file() && about.len() == self.size)
    }

    /// Waits until no other process fetches this blob. The other one is bounded by its own patience, and a process that
    /// has ended holds no lock.
    fn lock(&self) -> Result<File, HubError> {
        let path = self.cache.lock(self.hash);
        make_parent(&path)?;
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(at(&path))?;
        match file.try_lock() {
            Ok(()) => Ok(()),
            Err(TryLockError::WouldBlock) => {
                tracing::info!(file = %self.path, "another process is fetching this file; waiting for it");
                file.lock()
            }
            Err(TryLockError::Error(error)) => Err(error),
        }
        .map_err(at(&path))?;
        Ok(file)
    }

    /// The partial file of an earlier try.
    fn resume(&self, partial: &Path) -> Result<Part, HubError> {
        let open = || -> io::Result<Part> {
            let mut file = OpenOptions::new()
                .create(true)
                .truncate(false)
                .read(true)
                .write(true)
                .open(partial)?;
            if file.metadata()?.len() > self.size {
                file.set_len(0)?;
            }
            let mut hasher = self.hash.hasher(self.size);
            let mut piece = vec![0; PIECE];
            let mut length = 0;
            loop {
                let read = file.read(&mut piece)?;
                if read == 0 {
                    break;
                }
                hasher.update(&piece[..read]);
                length += read as u64;
            }
            Ok(Part {
                file,
                hasher,
                length,
                fetched: 0,
            })
        };
        let part = open().map_err(at(partial))?;
        if part.length > 0 {
            tracing::info!(file = %self.path, from = part.length, "going on where it broke off");
        }
        Ok(part)
    }

    /// Fetches what is missing, in as many tries as it takes while each brings something.
    fn complete(
        &self,
        part: &mut Part,
        partial: &Path,
        progress: &mut DownloadProgress,
    ) -> Result<(), HubError> {
        let (mut tries, mut pause) = (0, FIRST_PAUSE);
        while part.length < self.size {
            let before = part.length;
            let error = match self.attempt(part, partial, progress) {
                Ok(()) => continue,
                Err(Trouble::Lasting(error)) => return Err(error),
                Err(Trouble::Passing(error)) => error,
            };
            if part.length > before {
                (tries, pause) = (0, FIRST_PAUSE);
            }
            tries += 1;
            if tries == TRIES {
                return Err(self.given_up(part.length, error));
            }
            tracing::info!(file = %self.path, %error, "the download broke off and goes on");
            thread::park_timeout(pause);
            pause *= 2;
        }
        Ok(())
    }

    /// One request, and its bytes as far as they come.
    fn attempt(
        &self,
        part: &mut Part,
        partial: &Path,
        progress: &mut DownloadProgress,
    ) -> Result<(), Trouble> {
        let answer = self
            .client
            .fetch(self.about, self.commit, self.path, part.length, self.size)
            .map_err(|error| match error {
                HubError::Unreachable { .. } | HubError::Failing { .. } => Trouble::Passing(error),
                _ => Trouble::Lasting(error),
            })?;
        if !goes_on(&answer, part.length, self.size) {
            // The whole comes, from its beginning.
            part.file
                .set_len(0)
                .and_then(|()| part.file.rewind())
                .map_err(|error| self.lasting(partial, error, part))?;
            (part.hasher, part.length) = (self.hash.hasher(self.size), 0);
        }
        let mut body = answer.response.into_body().into_reader();
        let mut piece = vec![0; PIECE];
        while part.length < self.size {
            let most = usize::try_from(self.size - part.length).map_or(PIECE, |left| left.min(PIECE));
            let read = match body.read(&mut piece[..most]) {
                Ok(0) => return Err(Trouble::Passing(self.broken(part.length, "it ended too early"))),
                Ok(read) => read,
                Err(error) => {
                    return Err(Trouble::Passing(
                        self.broken(part.length, &self.client.why(error)),
                    ));
                }
            };
            part.file
                .write_all(&piece[..read])
                .map_err(|error| self.lasting(partial, error, part))?;
            part.hasher.update(&piece[..read]);
            part.length += read as u64;
            part.fetched += read as u64;
            progress.at(part.length);
        }
        Ok(())
    }

    fn is_right(&self, part: &Part) -> bool {
        part.hasher.clone().finish() == self.hash.as_str()
    }

    /// Checks the whole file and syncs it to the disk. A wrong file is deleted.
    fn settle(&self, part: Part, partial: &Path) -> Result<(), HubError> {
        let found = part.hasher.finish();
        if found != self.hash.as_str() {
            drop(part.file);
            fs::remove_file(partial).map_err(at(partial))?;
            return Err(HubError::WrongHash {
                repository: self.about.repository.clone(),
                file: self.path.to_string(),
                expected: self.hash.to_string(),
                found,
            });
        }
        // A name that outlives a power failure must not belong to nothing.
        part.file.sync_all().map_err(at(partial))
    }

    /// Refuses a file that does not fit on the disk, before it is downloaded.
    fn check_room(&self, partial: &Path, have: u64) -> Result<(), HubError> {
        let folder = partial.parent().unwrap_or(partial);
        // If the system does not report the free space, writing fails later.
        let Ok(about) = rustix::fs::statvfs(folder) else {
            return Ok(());
        };
        let free = about.f_bavail.saturating_mul(about.f_frsize);
        let needed = self.size.saturating_sub(have);
        if needed > free {
            return Err(self.full(folder, needed, Some(free)));
        }
        Ok(())
    }

    fn full(&self, path: &Path, needed: u64, free: Option<u64>) -> HubError {
        HubError::DiskFull {
            path: path.to_owned(),
            file: self.path.to_string(),
            needed,
            free,
        }
    }

    fn lasting(&self, partial: &Path, error: io::Error, part: &Part) -> Trouble {
        Trouble::Lasting(match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                self.full(partial, self.size - part.length, None)
            }
            io::ErrorKind::FileTooLarge => HubError::FileLimit {
                path: partial.to_owned(),
                file: self.path.to_string(),
                needed: self.size - part.length,
            },
            _ => at(partial)(error),
        })
    }

    fn broken(&self, bytes: u64, why: &str) -> HubError {
        HubError::Broken {
            repository: self.about.repository.clone(),
            file: self.path.to_string(),
            bytes,
            why: why.to_owned(),
        }
    }

    /// The last try's failure, and what is kept.
    fn given_up(&self, bytes: u64, error: HubError) -> HubError {
        match error {
            HubError::Broken { .. } => error,
            _ if bytes > 0 => self.broken(bytes, &error.to_string()),
            _ => error,
        }
    }
}

/// Whether an answer begins where the part ends.
fn goes_on(answer: &HubResponse, length: u64, size: u64) -> bool {
    let headers = answer.response.headers();
    let range = headers.get(CONTENT_RANGE).and_then(|value| value.to_str().ok());
    answer.response.status() == StatusCode::PARTIAL_CONTENT
        && range.is_some_and(|range| {
            range.starts_with(&format!("bytes {length}-")) && range.ends_with(&format!("/{size}"))
        })
}

fn make_parent(path: &Path) -> Result<(), HubError> {
    let folder = path.parent().unwrap_or(path);
    fs::create_dir_all(folder).map_err(at(folder))
}
