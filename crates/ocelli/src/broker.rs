//! Carries jobs to workers and replies back.
//!
//! The contract: bounded; what is accepted is answered or its waiter is told; answered once; jobs whose waiter has
//! left or whose deadline has passed are not handed out; after `close`, what was accepted is still handed out.
//! Taking jobs never blocks: a broker calls the crew of a model when there is something to take. So a broker of this
//! process costs no thread and no task, and one across a network would fetch ahead on its own.

mod memory;
mod waiter;

pub use memory::{Leased, MemoryBroker as Broker, Unsubmitted};
pub use waiter::{Answer, Pending, PrepareTimes, Waiter, waiter};
