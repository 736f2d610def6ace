//! The way back: from whoever finishes an image to whoever waits for it.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::oneshot;

use super::job::Reply;
use crate::error::Error;

/// What preparing an image took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PrepareTimes {
    /// Waiting for a decoder and for a core.
    pub wait: Duration,
    /// Decoding, orienting, resizing and cropping.
    pub decode: Duration,
}

/// What becomes of an image that was submitted.
#[derive(Debug)]
pub struct ImageReply {
    pub reply: Reply,
    pub prepare: PrepareTimes,
}

/// Answers one waiter, once. Dropping it tells the waiter that its image is lost.
#[derive(Debug)]
pub struct ReplySender {
    sender: oneshot::Sender<Result<ImageReply, Error>>,
    prepare: PrepareTimes,
}

/// Resolves to the answer. Dropping it abandons the image.
#[derive(Debug)]
pub struct ReplyReceiver {
    receiver: oneshot::Receiver<Result<ImageReply, Error>>,
}

#[must_use]
pub fn waiter() -> (ReplySender, ReplyReceiver) {
    let (sender, receiver) = oneshot::channel();
    (
        ReplySender {
            sender,
            prepare: PrepareTimes::default(),
        },
        ReplyReceiver { receiver },
    )
}

impl ReplySender {
    /// Whether nobody waits any more.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        self.sender.is_closed()
    }

    #[must_use]
    pub fn prepared(self, prepare: PrepareTimes) -> Self {
        Self { prepare, ..self }
    }

    /// Answers with a worker's reply. A waiter that has left in the meantime needs none.
    pub fn complete(self, reply: Reply) {
        let _ = self.sender.send(Ok(ImageReply {
            reply,
            prepare: self.prepare,
        }));
    }

    /// Answers that the image was not computed.
    pub fn fail(self, error: Error) {
        let _ = self.sender.send(Err(error));
    }
}

impl Future for ReplyReceiver {
    type Output = Result<ImageReply, Error>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.receiver).poll(context).map(|answer| {
            answer.unwrap_or_else(|_| Err(Error::internal("the image was dropped without a reply")))
        })
    }
}
