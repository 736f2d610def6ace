//! The wire of the tutorial "Keras + Redis + Flask": what its web process and its model process say to each other.
//!
//! Owns the texts and the picture inside them: a job is `{"id", "image"}` on the list [`QUEUE`], where the image is the
//! base64 of a float32 tensor in Keras' caffe mode ([`input`]); its reply is the value of the key that is the id, a
//! list of `{"label", "probability"}`. It deliberately has no versions, deadlines, priorities or errors, for the
//! tutorial has none; who loses what by that is the business of whoever carries these texts.

mod job;
mod reply;

use std::sync::LazyLock;

use ocelli_vision::{InputSpec, Manifest};

pub use job::{BadJob, MAX_JOB_BYTES, TutorialJob};
pub use reply::{BadReply, MAX_REPLY_BYTES, Named, decode_reply, encode_reply};

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_manifest_is_one() {
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
        input().fill_f32(&rgb, &mut tensor);
        let keras = [
            -101.939, -115.779, -123.68, 151.061, 137.221, 129.32, -71.939, -52.779, 4.32,
        ];
        for (ours, keras) in tensor.iter().zip(keras) {
            assert!((ours - keras).abs() < 1e-4, "{ours} is not {keras}");
        }
    }
}
