//! Where a job is in Redis, and where its reply goes.

use crate::models::priority::Priority;
use crate::queue::wire::ReplyKind;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct EntryAddress {
    pub priority: Priority,
    pub entry: String,
}

impl EntryAddress {
    /// The number of its stream, as scripts count them.
    #[must_use]
    pub(crate) fn stream(&self) -> usize {
        self.priority.index() + 1
    }

    /// Its name in the hashes of its model.
    #[must_use]
    pub(crate) fn field(&self) -> String {
        format!("{}/{}", self.stream(), self.entry)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplyTo {
    pub kind: ReplyKind,
    pub key: String,
    /// Which part of an asynchronous job.
    pub part: u32,
}
