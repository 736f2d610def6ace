//! Deletes jobs that were answered or abandoned.

use super::connection::{Link, LinkError};
use super::keys::{GROUP, ModelKeys};
use super::scripts::FINISH;
use crate::models::priority::Priority;

/// Deletes jobs of one priority from their stream, and returns how many were still there.
pub(crate) async fn finish<'a>(
    link: &Link,
    keys: &ModelKeys,
    priority: Priority,
    entries: impl Iterator<Item = &'a str>,
) -> Result<u64, LinkError> {
    let mut script = FINISH.call();
    script
        .key(&keys.jobs[priority.index()])
        .key(&keys.bytes)
        .key(&keys.index)
        .key(&keys.crashes)
        .arg(GROUP)
        .arg(priority.index() + 1);
    for entry in entries {
        script.arg(entry);
    }
    link.script(&script).await
}
