//! Asynchronous jobs in Redis: their records, the submission of their images, and when webhooks are called.

pub(crate) mod records;
pub(crate) mod submit;
pub(crate) mod webhook_schedule;
