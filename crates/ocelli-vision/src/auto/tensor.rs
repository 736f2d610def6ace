//! A graph's input as an image: which axes are which.

use super::Note;
use crate::{
    InputType, Layout,
    graph::{Element, TensorInfo},
};

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Tensor {
    pub(super) name: String,
    pub(super) dtype: InputType,
    pub(super) layout: Layout,
    pub(super) is_gray: bool,
    /// Width and height, each where the graph fixes it.
    pub(super) sides: [Option<u32>; 2],
}

impl Tensor {
    /// Width and height, where the graph fixes both.
    pub(super) fn size(&self) -> Option<[u32; 2]> {
        let [width, height] = self.sides;
        width.zip(height).map(<[u32; 2]>::from)
    }

    /// Interprets `input` as an image; notes what the graph leaves open.
    pub(super) fn of(input: &TensorInfo, usual: Usual, notes: &mut Vec<Note>) -> Result<Self, String> {
        let name = &input.name;
        let dtype = match input.element {
            Element::Uint8 => InputType::Uint8,
            Element::Float32 => InputType::Float32,
            Element::Float16 => InputType::Float16,
            Element::Float64 | Element::Other(_) => {
                return Err(format!(
                    "takes `{name}` as {}: export it with an image of float32, float16 or uint8 as its input",
                    input.element
                ));
            }
        };
        let Some(axes) = &input.shape else {
            let layout = usual.layout(name, input, notes);
            return Ok(Self {
                name: name.clone(),
                dtype,
                layout,
                is_gray: false,
                sides: [None, None],
            });
        };
        let &[batch, second, third, last] = axes.as_slice() else {
            return Err(format!(
                "takes `{name}` as {input}, which is no batch of images: an image model takes [batch, channels, \
                 height, width] or [batch, height, width, channels]"
            ));
        };
        if let Some(batch) = batch.filter(|&batch| batch != 1) {
            return Err(format!(
                "takes batches of exactly {batch} images: export it with an open first axis (dynamic_axes), or with 1"
            ));
        }
        let is_channels = |axis: Option<u64>| matches!(axis, Some(1 | 3));
        let layout = match (is_channels(second), is_channels(last)) {
            (true, _) => Layout::Nchw,
            (false, true) => Layout::Nhwc,
            (false, false) if second.is_none() || last.is_none() => usual.layout(name, input, notes),
            (false, false) => {
                return Err(format!(
                    "takes `{name}` as {input}, which has neither 1 nor 3 channels: Ocelli prepares grey and colour \
                     images"
                ));
            }
        };
        let (channels, height, width) = match layout {
            Layout::Nchw => (second, third, last),
            Layout::Nhwc => (last, second, third),
        };
        let side = |axis: Option<u64>| axis.and_then(|side| u32::try_from(side).ok());
        Ok(Self {
            name: name.clone(),
            dtype,
            layout,
            is_gray: channels == Some(1),
            sides: [side(width), side(height)],
        })
    }
}

/// The layout of tensors whose axes say nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Usual {
    /// The library that the model is from has no other.
    Known(Layout),
    /// Most that were written by the same program.
    Likely(Layout),
}

impl Usual {
    /// What files by `producer` mostly have: TensorFlow has the channels last, everybody else has them first.
    pub(super) fn of_producer(producer: &str) -> Self {
        let producer = producer.to_ascii_lowercase();
        let is_tensorflow = ["tf2onnx", "keras", "tensorflow", "tflite"]
            .iter()
            .any(|name| producer.contains(name));
        Self::Likely(if is_tensorflow { Layout::Nhwc } else { Layout::Nchw })
    }

    fn layout(self, name: &str, input: &TensorInfo, notes: &mut Vec<Note>) -> Layout {
        match self {
            Self::Known(layout) => layout,
            Self::Likely(layout) => {
                notes.push(Note::guessed(format!(
                    "{} and 3 channels, for the graph leaves the axes of `{name}` open ({input})",
                    in_words(layout)
                )));
                layout
            }
        }
    }
}

fn in_words(layout: Layout) -> &'static str {
    match layout {
        Layout::Nchw => "channels first (nchw)",
        Layout::Nhwc => "channels last (nhwc)",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensor(
        element: Element,
        shape: Option<&[u64]>,
        producer: &str,
    ) -> (Result<Tensor, String>, Vec<Note>) {
        let input = TensorInfo {
            name: "x".into(),
            element,
            shape: shape.map(|axes| axes.iter().map(|&len| (len != 0).then_some(len)).collect()),
        };
        let mut notes = Vec::new();
        (
            Tensor::of(&input, Usual::of_producer(producer), &mut notes),
            notes,
        )
    }

    #[test]
    fn layouts_sizes_and_channels_stand_in_the_shape() {
        for (shape, layout, is_gray, size) in [
            (&[0, 3, 192, 256][..], Layout::Nchw, false, Some([256, 192])),
            (&[1, 192, 256, 3], Layout::Nhwc, false, Some([256, 192])),
            (&[0, 1, 28, 28], Layout::Nchw, true, Some([28, 28])),
            (&[0, 28, 28, 1], Layout::Nhwc, true, Some([28, 28])),
            (&[0, 3, 0, 0], Layout::Nchw, false, None),
            (&[0, 0, 0, 3], Layout::Nhwc, false, None),
            (&[0, 3, 224, 0], Layout::Nchw, false, None),
        ] {
            let (found, notes) = tensor(Element::Float32, Some(shape), "pytorch");
            let found = found.unwrap();
            assert_eq!(
                (found.layout, found.is_gray, found.size()),
                (layout, is_gray, size),
                "{shape:?}"
            );
            assert!(notes.is_empty(), "{shape:?}: {notes:?}");
        }
    }

    #[test]
    fn what_the_graph_leaves_open_is_guessed_from_who_wrote_it() {
        for (producer, layout) in [("tf2onnx 1.16", Layout::Nhwc), ("pytorch 2.9", Layout::Nchw)] {
            for shape in [None, Some(&[0, 0, 0, 0][..])] {
                let (found, notes) = tensor(Element::Float16, shape, producer);
                assert_eq!(found.unwrap().layout, layout);
                assert!(notes[0].to_string().starts_with("guessed: channels"), "{notes:?}");
            }
        }
    }

    #[test]
    fn what_is_no_batch_of_images_is_refused() {
        for (element, shape, word) in [
            (Element::Other("int64"), &[1, 3, 8, 8][..], "int64"),
            (Element::Float32, &[1, 8], "no batch of images"),
            (Element::Float32, &[1, 3, 8, 8, 8], "no batch of images"),
            (Element::Float32, &[8, 3, 8, 8], "exactly 8 images"),
            (Element::Float32, &[1, 4, 8, 8], "neither 1 nor 3 channels"),
        ] {
            let error = tensor(element, Some(shape), "").0.unwrap_err();
            assert!(error.contains(word), "{error}");
        }
    }
}
