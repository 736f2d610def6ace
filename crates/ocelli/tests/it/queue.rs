//! The queue: the contract of its brokers, priorities, and what happens when it is full.

pub(crate) mod brokers;
pub(crate) mod full_queue;
pub(crate) mod priorities;
pub(crate) mod reserves;
