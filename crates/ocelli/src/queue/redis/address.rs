//! Where a job is in Redis, and where its reply goes.

use crate::models::priority::Priority;
use crate::queue::wire::ReplyKind;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct EntryAddress {
    pub priority: Priority,
    pub entry: String,
}

impl EntryAddress {
    /// The number of its stream, as scripts count them.
    pub(crate) fn stream(&self) -> usize {
        self.priority.index() + 1
    }

    /// Its name in the hashes of its model.
    pub(crate) fn field(&self) -> String {
        format!("{}/{}", self.stream(), self.entry)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ReplyTo {
    pub kind: ReplyKind,
    pub key: String,
    /// The image of an asynchronous job.
    pub part: u32,
}
