//! Jobs that were taken from the list and are not answered yet.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{Notify, mpsc};

use crate::queue::job::Reply;

/// Answers one job, once. Dropping it answers that the job failed.
#[derive(Debug)]
pub struct Ticket {
    /// `None` once it was used.
    answer: Option<(String, Held)>,
    answers: mpsc::UnboundedSender<TicketResult>,
}

#[derive(Debug)]
pub(super) struct TicketResult {
    /// The key of the reply.
    pub(super) id: String,
    /// `None` when the job was given up.
    pub(super) reply: Option<Reply>,
    /// Until the reply is set.
    pub(super) held: Held,
}

#[derive(Clone, Debug, Default)]
pub(super) struct InFlight {
    shared: Arc<InFlightShared>,
}

#[derive(Debug, Default)]
struct InFlightShared {
    count: Mutex<usize>,
    none_left: Notify,
}

/// One that is in flight until this is dropped.
#[derive(Debug)]
pub(super) struct Held(Arc<InFlightShared>);

impl Ticket {
    pub(super) fn new(id: String, held: Held, answers: mpsc::UnboundedSender<TicketResult>) -> Self {
        Self {
            answer: Some((id, held)),
            answers,
        }
    }

    pub fn complete(mut self, reply: Reply) {
        self.send(Some(reply));
    }

    fn send(&mut self, reply: Option<Reply>) {
        if let Some((id, held)) = self.answer.take() {
            // Without a receiver the worker has ended, its drain cut short.
            let _ = self.answers.send(TicketResult { id, reply, held });
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.send(None);
    }
}

impl InFlight {
    pub(super) fn hold(&self) -> Held {
        *self.shared.count.lock() += 1;
        Held(Arc::clone(&self.shared))
    }

    pub(super) fn count(&self) -> usize {
        *self.shared.count.lock()
    }

    pub(super) async fn none_left(&self) {
        loop {
            let notified = self.shared.none_left.notified();
            tokio::pin!(notified);
            // Registered before looking, so that no end is missed.
            notified.as_mut().enable();
            if self.count() == 0 {
                return;
            }
            notified.await;
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut count = self.0.count.lock();
        *count -= 1;
        if *count == 0 {
            self.0.none_left.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::job::JobCost;

    fn reply() -> Reply {
        Reply {
            result: Ok(Vec::new()),
            cost: JobCost::default(),
        }
    }

    #[tokio::test]
    async fn each_ticket_answers_once_and_counts_until_its_answer_is_gone() {
        let tickets = InFlight::default();
        let (answers, mut inbox) = mpsc::unbounded_channel();
        let ticket = |id: &str| Ticket::new(id.to_owned(), tickets.hold(), answers.clone());
        ticket("used").complete(reply());
        drop(ticket("given up"));
        assert_eq!(tickets.count(), 2);
        let first = inbox.recv().await.expect("an answer");
        assert_eq!((first.id.as_str(), first.reply.is_some()), ("used", true));
        let second = inbox.recv().await.expect("an answer");
        assert_eq!((second.id.as_str(), second.reply.is_none()), ("given up", true));
        assert!(inbox.try_recv().is_err(), "no ticket answers twice");
        let finished = tokio::spawn({
            let tickets = tickets.clone();
            async move { tickets.none_left().await }
        });
        drop(first.held);
        tokio::task::yield_now().await;
        assert!(!finished.is_finished(), "one is left");
        drop(second.held);
        finished.await.expect("it ends");
    }
}
