//! The way of a reply back to the request that waits for it.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::oneshot;

use super::job::Reply;
use crate::error::Error;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PrepareTimes {
    /// Until a decoder and a core were free.
    pub wait: Duration,
    /// Decoding, orienting, resizing and cropping.
    pub decode: Duration,
}

#[derive(Debug)]
pub struct ImageReply {
    pub reply: Reply,
    pub prepare: PrepareTimes,
}

/// Answers one request for one image, once. Dropping it is an error for that image.
#[derive(Debug)]
pub struct ReplySender {
    sender: oneshot::Sender<Result<ImageReply, Error>>,
    prepare: PrepareTimes,
}

/// Dropping it abandons the image.
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
    /// Whether the receiver was dropped.
    pub fn is_gone(&self) -> bool {
        self.sender.is_closed()
    }

    #[must_use]
    pub fn prepared(self, prepare: PrepareTimes) -> Self {
        Self { prepare, ..self }
    }

    pub fn complete(self, reply: Reply) {
        let _ = self.sender.send(Ok(ImageReply {
            reply,
            prepare: self.prepare,
        }));
    }

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
