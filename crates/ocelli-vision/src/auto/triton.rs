//! A model of NVIDIA Triton's repository: `NAME/config.pbtxt` and `NAME/VERSION/model.onnx`.
//!
//! Triton serves tensors, so its configuration says nothing of how photos become them: that needs a preset, or is
//! guessed. What it says of batches, instances and labels is taken over.

use std::path::Path;

use super::{AutoError, Note, tensor::Tensor, text_proto::Message};
use crate::{Layout, RunSpec};

pub(super) const CONFIG_FILE: &str = "config.pbtxt";

/// Fields that are taken over, or that say nothing that matters here.
const KNOWN: [&str; 10] = [
    "name",
    "platform",
    "backend",
    "max_batch_size",
    "default_model_filename",
    "input",
    "output",
    "instance_group",
    "dynamic_batching",
    "version_policy",
];

#[derive(Debug, Clone)]
pub(super) struct Config {
    message: Message,
}

impl Config {
    /// Reads the text of a `config.pbtxt`, which is at `path`.
    pub(super) fn parse(path: &Path, text: &str) -> Result<Self, AutoError> {
        let message = Message::parse(text).map_err(|problem| AutoError::unsuitable(path, problem))?;
        let kinds = ["platform", "backend"].map(|key| (key, message.scalar(key).unwrap_or_default()));
        if let Some((key, kind)) = kinds
            .into_iter()
            .find(|(_, kind)| !kind.is_empty() && !kind.to_ascii_lowercase().contains("onnx"))
        {
            return Err(AutoError::Value {
                path: path.into(),
                key: key.into(),
                problem: format!(
                    "is {kind}: Ocelli serves ONNX models (platform: \"onnxruntime_onnx\"); export it"
                ),
            });
        }
        Ok(Self { message })
    }

    /// The file of the model in its version's folder.
    pub(super) fn model_file(&self) -> &str {
        self.message
            .scalar("default_model_filename")
            .filter(|name| !name.is_empty())
            .unwrap_or("model.onnx")
    }

    /// The file of labels beside `config.pbtxt`, of the output named so or of the first that has one.
    pub(super) fn label_file(&self) -> Option<&str> {
        self.message
            .messages("output")
            .filter_map(|output| output.scalar("label_filename"))
            .find(|name| !name.is_empty())
    }

    pub(super) fn run(&self) -> RunSpec {
        let number = |text: Option<&str>| {
            text.and_then(|text| text.parse::<u32>().ok())
                .filter(|&number| number > 0)
        };
        let instances = self
            .message
            .messages("instance_group")
            .filter_map(|group| number(group.scalar("count")))
            .fold(0_u32, u32::saturating_add);
        let batching = self.message.messages("dynamic_batching").last();
        let delay_us = batching.and_then(|batching| number(batching.scalar("max_queue_delay_microseconds")));
        let policy = batching.and_then(|batching| batching.messages("default_queue_policy").last());
        RunSpec {
            instances: (instances > 0).then_some(instances),
            threads_per_instance: None,
            max_batch: number(self.message.scalar("max_batch_size")),
            // A delay that was asked for does not become none.
            max_delay_ms: delay_us.map(|delay| delay.div_ceil(1000)),
            queue_jobs: policy.and_then(|policy| number(policy.scalar("max_queue_size"))),
        }
    }

    /// Takes over what it says of the input and the graph leaves open.
    pub(super) fn refine(&self, tensor: &mut Tensor) {
        let Some(input) = self.message.messages("input").next() else {
            return;
        };
        match input.scalar("format") {
            Some("FORMAT_NCHW") => tensor.layout = Layout::Nchw,
            Some("FORMAT_NHWC") => tensor.layout = Layout::Nhwc,
            _ => {}
        }
        let dims: Vec<i64> = input.scalars("dims").filter_map(|dim| dim.parse().ok()).collect();
        // With batches the first axis is left out, without them it is there.
        if tensor.size().is_none()
            && let [.., first, second, third] = *dims
        {
            let (height, width) = match tensor.layout {
                Layout::Nchw => (second, third),
                Layout::Nhwc => (first, second),
            };
            let side = |side: i64| u32::try_from(side).ok().filter(|&side| side > 0);
            tensor.sides = [side(width), side(height)];
        }
    }

    /// What was taken from it, and what was not.
    pub(super) fn notes(&self) -> Vec<Note> {
        let mut notes = vec![Note::read("batches, instances and labels from config.pbtxt")];
        let ignored: Vec<&str> = self
            .message
            .names()
            .into_iter()
            .filter(|name| !KNOWN.contains(name))
            .collect();
        if !ignored.is_empty() {
            notes.push(Note::read(format!(
                "ignored in config.pbtxt: {}",
                ignored.join(", ")
            )));
        }
        let has_gpu = self
            .message
            .messages("instance_group")
            .any(|group| group.scalar("kind") == Some("KIND_GPU"));
        if has_gpu {
            notes.push(Note::read(
                "ignored in config.pbtxt: KIND_GPU; Ocelli computes on the processor",
            ));
        }
        notes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::InputType;

    fn config(text: &str) -> Result<Config, String> {
        Config::parse(Path::new("res/config.pbtxt"), text).map_err(|error| error.to_string())
    }

    const FULL: &str = r#"
        name: "res"
        platform: "onnxruntime_onnx"
        max_batch_size: 16
        input [ { name: "x" data_type: TYPE_FP32 format: FORMAT_NHWC dims: [ 192, 256, 3 ] } ]
        output [ { name: "y" dims: [ 10 ] label_filename: "classes.txt" } ]
        instance_group [ { count: 2 kind: KIND_CPU }, { count: 1 kind: KIND_GPU } ]
        dynamic_batching {
          max_queue_delay_microseconds: 1500
          default_queue_policy { max_queue_size: 64 }
        }
        optimization { graph { level: 1 } }
    "#;

    #[test]
    fn batches_instances_and_labels_are_taken_over() {
        let config = config(FULL).unwrap();
        let expected = RunSpec {
            instances: Some(3),
            threads_per_instance: None,
            max_batch: Some(16),
            max_delay_ms: Some(2),
            queue_jobs: Some(64),
        };
        assert_eq!(config.run(), expected);
        assert_eq!(config.label_file(), Some("classes.txt"));
        assert_eq!(config.model_file(), "model.onnx");
        let notes: Vec<String> = config.notes().iter().map(ToString::to_string).collect();
        assert!(
            notes[1].contains("optimization") && notes[2].contains("KIND_GPU"),
            "{notes:?}"
        );
    }

    #[test]
    fn its_dims_fill_what_the_graph_leaves_open() {
        let open = Tensor {
            name: "x".into(),
            dtype: InputType::Float32,
            layout: Layout::Nchw,
            is_gray: false,
            sides: [None, None],
        };
        let mut tensor = open.clone();
        config(FULL).unwrap().refine(&mut tensor);
        assert_eq!((tensor.layout, tensor.size()), (Layout::Nhwc, Some([256, 192])));
        let mut tensor = open.clone();
        config("input { dims: [1, 3, 192, 256] }")
            .unwrap()
            .refine(&mut tensor);
        assert_eq!(tensor.size(), Some([256, 192]));
        let mut tensor = open;
        config("input { dims: [3, -1, -1] }").unwrap().refine(&mut tensor);
        assert_eq!(tensor.size(), None);
    }

    #[test]
    fn other_backends_are_refused() {
        for text in ["platform: \"tensorrt_plan\"", "backend: \"python\""] {
            let error = config(text).unwrap_err();
            assert!(error.contains("serves ONNX models"), "{error}");
        }
        assert!(config("backend: \"onnxruntime\"").is_ok());
        assert!(config("name: ").unwrap_err().contains("line 1"));
    }
}
