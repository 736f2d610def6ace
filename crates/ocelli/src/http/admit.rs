//! Checks and reads a request and admits its images to the queue, the same for every route.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::AppState;
use super::body::check_declared;
use super::conn::receiving::Arriving;
use super::image_body::{InputForm, Most};
use super::request::{HttpRequest, check_encoding, priority};
use super::target::Target;
use crate::error::Error;
use crate::inference;
use crate::inference::{Deadline, Needed, WithoutWorker};
use crate::models::admission::Load;
use crate::models::served_model::ServedModel;
use crate::queue::Envelope;

#[derive(Clone, Copy, Debug)]
pub(super) struct AdmitOptions {
    pub(super) most: Most,
    pub(super) deadline: Deadline,
    pub(super) without_worker: WithoutWorker,
}

pub(super) struct AdmittedRequest {
    pub(super) request: inference::Request,
    pub(super) images: Vec<Bytes>,
}

/// Cheap checks first, then the body, then room in the queue: a client holds no queue slot before its body is complete, and a
/// full queue refuses a request before its body is read.
pub(super) async fn admit(
    state: &AppState,
    request: &HttpRequest,
    target: &Target,
    options: AdmitOptions,
) -> Result<AdmittedRequest, Error> {
    let infer = &state.infer;
    let (mut model, mut want) = target.find(&infer.catalog)?;
    request.context.note_model(&model);
    let priority = priority(request.headers())?;
    let incoming = Incoming::new(state, request)?;
    // Images hold bytes as their files first and as their pixels later, never both for long.
    let needed = |model: &ServedModel, images: usize, length: u64| Needed {
        load: Load {
            jobs: images,
            bytes: length.max((images * model.input().elements()) as u64),
        },
        priority,
        deadline: options.deadline,
        without_worker: options.without_worker,
    };
    let declared = incoming.declared;
    if let Err(error) = infer.check(&model, needed(&model, 1, declared)) {
        (model, want) = target.find_again(&infer.catalog, error)?;
        infer.check(&model, needed(&model, 1, declared))?;
    }
    let received = incoming.read(state, options.most, options.deadline).await?;
    let (count, length) = (received.images.len(), received.length);
    let permit = match infer.admit(&model, needed(&model, count, length)) {
        Ok(permit) => permit,
        // The model may have been replaced while the body was on its way.
        Err(error) => {
            (model, want) = target.find_again(&infer.catalog, error)?;
            infer.admit(&model, needed(&model, count, length))?
        }
    };
    Ok(AdmittedRequest {
        request: inference::Request {
            envelope: Envelope {
                request_id: request.context.id.to_str().unwrap_or_default().into(),
                model,
                priority,
                deadline: options.deadline,
            },
            want,
            permit: Arc::new(permit),
            receive: received.took,
        },
        images: received.images,
    })
}

/// A request whose headers are accepted, and whose body has not been read.
pub(super) struct Incoming<'a> {
    request: &'a HttpRequest,
    form: InputForm,
    declared: u64,
}

/// The parsed body. Its bytes count as arriving until this is dropped.
pub(super) struct Received {
    pub(super) images: Vec<Bytes>,
    length: u64,
    took: Duration,
    _arriving: Arriving,
}

impl<'a> Incoming<'a> {
    pub(super) fn new(state: &AppState, request: &'a HttpRequest) -> Result<Self, Error> {
        check_encoding(request.headers())?;
        let form = InputForm::from_headers(request.headers())?;
        let declared = check_declared(request.context.body.declared_length(), state.config.max_body)?;
        Ok(Self {
            request,
            form,
            declared,
        })
    }

    pub(super) async fn read(
        self,
        state: &AppState,
        most: Most,
        deadline: Deadline,
    ) -> Result<Received, Error> {
        let context = &self.request.context;
        let (arriving, evicted) = state.receiving.enter(context.arrival)?;
        let reading = context.body.read(state.config.max_body, deadline, |bytes| {
            context.note(|facts| facts.bytes += bytes);
            arriving.arrived(bytes)
        });
        let bytes = arriving.watch(evicted, reading).await?;
        let took = context.arrival.elapsed();
        let (form, length) = (self.form, bytes.len() as u64);
        arriving.arrived(form.copies(length))?;
        let work = form.work(bytes.len());
        let parse = move || form.images(bytes, most);
        let images = state.off_thread.run(work, parse).await??;
        context.note(|facts| facts.images = Some(images.len()));
        Ok(Received {
            images,
            length,
            took,
            _arriving: arriving,
        })
    }
}
