//! Carries jobs to workers and replies back.
//!
//! The contract: bounded; what is accepted is answered or its waiter is told; answered once; jobs whose waiter has
//! left or whose deadline has passed are not handed out; after `close`, what was accepted is still handed out.
//! A closed set of implementations, so an enum's worth of dispatch would do; today there is one.

mod memory;

pub use memory::{Leased, MemoryBroker as Broker, Pending, Unsubmitted};
