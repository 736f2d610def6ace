//! The wire of the tutorial "Keras + Redis + Flask": what its web process and its model process say to each other.
//!
//! Owns both sides of it, the texts and the picture inside them: a job is `{"id", "image"}` on the list [`QUEUE`], where
//! the image is the base64 of a float32 tensor in Keras' caffe mode ([`input`]); its reply is the value of the key that
//! is the id, a list of `{"label", "probability"}`. It deliberately has no versions, deadlines, priorities or errors, for the
//! tutorial has none; `docs/tutorial.md` says who loses what by that.

pub(crate) mod consumer;
pub(crate) mod in_flight;
pub(crate) mod job;
pub(crate) mod pending;
pub(crate) mod producer;
pub(crate) mod reply;

use std::sync::LazyLock;

use ocelli_vision::{InputSpec, Manifest, ModelCard};

pub use consumer::{TutorialWorker, TutorialWorkerTasks, worker};
pub use in_flight::Ticket;
pub use job::{BadJob, BadPicture, MAX_JOB_BYTES, TutorialJob};
pub use producer::{MOST_BYTES_UNDER_WAY, TutorialBroker, TutorialWebTask, web};
pub use reply::{BadReply, MAX_REPLY_BYTES, Named, decode_reply, encode_reply};

use crate::models::served_model::ServedModel;

/// The list that jobs wait in, oldest first.
pub const QUEUE: &str = "image_queue";

/// How many jobs the tutorial's model process takes at once.
pub const BATCH_SIZE: usize = 32;

/// What the web side serves in place of a package: how photos are prepared, and no model.
pub const MANIFEST: &str = include_str!("tutorial/model.toml");

/// The tensor that travels, and how a photo becomes it.
pub fn input() -> &'static InputSpec {
    static INPUT: LazyLock<InputSpec> = LazyLock::new(|| {
        let manifest = Manifest::parse(MANIFEST);
        manifest.expect("a test parses it").input
    });
    &INPUT
}

/// The model process as a model. Its state cannot be known, so it counts as ready.
pub fn model() -> ServedModel {
    // Its digest is that of nothing, for its weights are not known.
    let digest = "0".repeat(64);
    let card = ModelCard::restore(MANIFEST.to_owned(), vec![Vec::new()], digest);
    let model = ServedModel::elsewhere(card.expect("a test restores it"));
    model.set_instances(1);
    model
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_manifest_is_one() {
        assert!(model().ready().is_ok());
        let Manifest { input: parsed, .. } = Manifest::parse(MANIFEST).unwrap();
        assert_eq!(&parsed, input());
        assert_eq!(
            (parsed.width, parsed.height, parsed.elements()),
            (224, 224, 150_528)
        );
    }

    /// Keras 3.15's `preprocess_input` of the pixels (0, 1, 2), (253, 254, 255) and (128, 64, 32).
    #[test]
    fn the_tensor_is_keras_caffe_mode() {
        let mut rgb = vec![0; input().elements()];
        rgb[..9].copy_from_slice(&[0, 1, 2, 253, 254, 255, 128, 64, 32]);
        let mut tensor = vec![0.0; input().elements()];
        input().fill(&rgb, &mut tensor);
        let keras = [
            -101.939, -115.779, -123.68, 151.061, 137.221, 129.32, -71.939, -52.779, 4.32,
        ];
        for (ours, keras) in tensor.iter().zip(keras) {
            assert!((ours - keras).abs() < 1e-4, "{ours} is not {keras}");
        }
    }
}
