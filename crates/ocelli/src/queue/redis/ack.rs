//! Taking jobs away.

use super::connection::{Link, LinkError};
use super::keys::{GROUP, ModelKeys};
use super::scripts::FINISH;
use crate::models::priority::Priority;

/// Takes jobs of one priority out of their stream, and says how many were still there. That some were not is no error.
///
/// # Errors
/// [`LinkError`].
pub(crate) async fn finish<'a>(
    link: &Link,
    keys: &ModelKeys,
    priority: Priority,
    entries: impl Iterator<Item = &'a str>,
) -> Result<u64, LinkError> {
    let mut script = FINISH.prepare_invoke();
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
