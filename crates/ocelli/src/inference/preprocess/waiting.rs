//! Photos that wait to be decoded: which one is next. Decisions only.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::oneshot;

use super::Photo;
use crate::error::Error;
use crate::models::priority::Priority;
use crate::models::served_model::ServedModel;
use crate::queue::ReplySender;
use crate::queue::job::Job;
use crate::queue::priority_queue::PriorityQueue;

/// Queued photos, in a line for each model, so that a busy model does not delay the others.
#[derive(Debug, Default)]
pub(super) struct Queue {
    pub(super) closed: bool,
    /// The next model in turn comes first. No line is empty.
    lines: VecDeque<ModelLine>,
}

#[derive(Debug)]
struct ModelLine {
    model: Arc<ServedModel>,
    tasks: PriorityQueue<WaitingPhoto>,
}

impl Queue {
    pub(super) fn push(&mut self, task: WaitingPhoto) {
        let (model, priority) = (&task.photo.envelope.model, task.photo.envelope.priority);
        match self.lines.iter_mut().find(|line| Arc::ptr_eq(&line.model, model)) {
            Some(line) => line.tasks.push(priority, task),
            None => {
                let model = Arc::clone(model);
                let mut tasks = PriorityQueue::default();
                tasks.push(priority, task);
                self.lines.push_back(ModelLine { model, tasks });
            }
        }
    }

    /// The next photo of the first model that wants one. The model then goes to the end.
    pub(super) fn next(&mut self, wants: impl Fn(&ServedModel, Priority) -> bool) -> Option<WaitingPhoto> {
        let wanted = self
            .lines
            .iter()
            .position(|line| line.tasks.any_of(|priority| wants(&line.model, priority)))?;
        let mut line = self.lines.remove(wanted)?;
        let task = line.tasks.pop_of(|priority| wants(&line.model, priority));
        if line.tasks.len() > 0 {
            self.lines.push_back(line);
        }
        task
    }

    pub(super) fn any(&self, wanted: impl Fn(&ServedModel, Priority) -> bool) -> bool {
        self.lines
            .iter()
            .any(|line| line.tasks.any_of(|priority| wanted(&line.model, priority)))
    }

    pub(super) fn drop_unless(&mut self, keep: impl Fn(&WaitingPhoto) -> bool) {
        self.lines.retain_mut(|line| {
            line.tasks.filter(|task| keep(&task).then_some(task));
            line.tasks.len() > 0
        });
    }
}

#[derive(Debug)]
pub(super) struct WaitingPhoto {
    pub(super) photo: Photo,
    pub(super) submitted: Instant,
    pub(super) goal: Completion,
}

/// Where the job of a photo goes.
#[derive(Debug)]
pub(super) enum Completion {
    /// To the broker, which sends its reply here.
    Submit(ReplySender),
    Return(oneshot::Sender<Result<Job, Error>>),
}

impl Completion {
    /// Whether the receiver is gone.
    pub(super) fn is_gone(&self) -> bool {
        match self {
            Self::Submit(waiter) => waiter.is_gone(),
            Self::Return(sender) => sender.is_closed(),
        }
    }

    pub(super) fn fail(self, error: Error) {
        match self {
            Self::Submit(waiter) => waiter.fail(error),
            // The receiver is gone if the client has left.
            Self::Return(sender) => drop(sender.send(Err(error))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inference::preprocess::tests::task;
    use crate::models::served_model;

    #[test]
    fn a_photo_of_high_priority_is_prepared_before_any_number_of_others() {
        let (model, _) = ServedModel::split(served_model::builtin().expect("it is valid"));
        let model = Arc::new(model);
        let mut queue = Queue::default();
        for (priority, byte) in [(Priority::Low, 1), (Priority::Normal, 2), (Priority::High, 3)] {
            for _ in 0..50 {
                let mut task = task(&model, byte);
                task.photo.envelope.priority = priority;
                queue.push(task);
            }
        }
        let mut next = |wants: fn(Priority) -> bool| {
            let task = queue.next(|_, priority| wants(priority)).expect("more wait");
            task.photo.bytes[0]
        };
        assert_eq!(next(|_| true), 3);
        let full = |priority| priority != Priority::High;
        assert_eq!(next(full), 2, "one that is not wanted holds up no other");
        let taken: Vec<u8> = (0..26).map(|_| next(|_| true)).collect();
        let count = |byte| taken.iter().filter(|taken| **taken == byte).count();
        assert!(count(3) >= 15 && count(2) >= 7 && count(1) >= 1, "{taken:?}");
    }

    #[test]
    fn models_take_turns_and_one_that_wants_nothing_delays_no_other() {
        let [busy, other, full] = [0; 3].map(|_| {
            let (model, _) = ServedModel::split(served_model::builtin().expect("it is valid"));
            Arc::new(model)
        });
        let mut queue = Queue::default();
        let sent = [
            (&full, 1),
            (&busy, 2),
            (&busy, 3),
            (&busy, 4),
            (&other, 5),
            (&other, 6),
        ];
        for (model, byte) in sent {
            queue.push(task(model, byte));
        }
        let mut order = Vec::new();
        while let Some(task) = queue.next(|model, _| !std::ptr::eq(model, &raw const *full)) {
            order.push(task.photo.bytes[0]);
        }
        assert_eq!(order, [2, 5, 3, 6, 4]);
        assert_eq!(queue.lines.len(), 1, "empty lines are not kept");
        queue.drop_unless(|task| task.photo.bytes[0] > 1);
        assert!(queue.lines.is_empty());
    }
}
