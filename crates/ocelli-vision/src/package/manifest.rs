//! `model.toml`, schema 1.

use serde::Deserialize;

use crate::{InputSpec, package::PackageError};

const SCHEMA: u32 = 1;
const MAX_NAME_LEN: usize = 64;
const MAX_OUTPUTS: usize = 16;

/// What a model is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Task {
    /// One class per image.
    Classification,
    /// Any number of classes per image.
    Multilabel,
    /// A feature vector per image.
    Embedding,
}

/// What turns an output's raw scores into what is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Activation {
    /// Probabilities that sum to 1.
    Softmax,
    /// Independent probabilities.
    Sigmoid,
    /// The scores as they are.
    None,
}

/// One `[[output]]` table.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OutputSpec {
    /// Name of the graph's output.
    pub name: String,
    /// What to apply to it.
    pub activation: Activation,
    /// File of class names beside `model.toml`, one a line.
    pub labels: Option<String>,
}

/// `model.toml`, checked.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Version of this form; 1.
    pub schema: u32,
    /// What the model is called in addresses and metrics: `[a-z0-9._-]`.
    pub name: String,
    /// Its version, of the same characters.
    pub version: String,
    /// What it is for.
    pub task: Task,
    /// SPDX expression of the weights' licence.
    pub license: Option<String>,
    /// Where the weights come from.
    pub source: Option<String>,
    /// What goes in.
    pub input: InputSpec,
    /// What comes out; the first is the one that is answered by default.
    #[serde(rename = "output")]
    pub outputs: Vec<OutputSpec>,
}

impl Manifest {
    /// Parses and checks the text of a `model.toml`.
    ///
    /// # Errors
    /// The first thing that is wrong, with the nearest word that exists where a key or value is unknown.
    pub fn parse(text: &str) -> Result<Self, PackageError> {
        let manifest: Self = toml::from_str(text).map_err(|error| syntax_error(&error))?;
        manifest
            .validate()
            .map_err(|(key, problem)| PackageError::Invalid { key, problem })?;
        Ok(manifest)
    }

    fn validate(&self) -> Result<(), (String, String)> {
        if self.schema != SCHEMA {
            let hint = format!("is {}: this version reads schema {SCHEMA}", self.schema);
            return Err(("schema".into(), hint));
        }
        for (key, value) in [("name", &self.name), ("version", &self.version)] {
            check_name(value).map_err(|problem| (key.to_owned(), problem))?;
        }
        self.input
            .validate()
            .map_err(|(key, problem)| (key.to_owned(), problem))?;
        if !(1..=MAX_OUTPUTS).contains(&self.outputs.len()) {
            let hint = format!("has {} tables: write 1 to {MAX_OUTPUTS}", self.outputs.len());
            return Err(("output".into(), hint));
        }
        for (index, output) in self.outputs.iter().enumerate() {
            output
                .validate(&self.outputs[..index])
                .map_err(|(key, problem)| (format!("output.{key}"), problem))?;
        }
        Ok(())
    }
}

impl OutputSpec {
    fn validate(&self, before: &[Self]) -> Result<(), (&'static str, String)> {
        if self.name.is_empty() {
            return Err(("name", "is empty: write the name of the graph's output".into()));
        }
        if before.iter().any(|other| other.name == self.name) {
            return Err((
                "name",
                format!("\"{}\" occurs twice: declare each output once", self.name),
            ));
        }
        // A package is data from elsewhere: its labels may not reach outside its own folder.
        if let Some(file) = &self.labels
            && (file.is_empty() || file.starts_with('.') || file.contains(['/', '\\', '\0']))
        {
            return Err((
                "labels",
                format!("is {file:?}: write the name of a file beside model.toml"),
            ));
        }
        Ok(())
    }
}

/// Names stand in addresses, metrics and Redis keys.
fn check_name(name: &str) -> Result<(), String> {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '_' | '-');
    let edge = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    if name.len() > MAX_NAME_LEN || !name.chars().all(allowed) || !name.starts_with(edge) {
        return Err(format!(
            "is {name:?}: use 1 to {MAX_NAME_LEN} of a-z, 0-9, '.', '_' and '-', starting with a letter or digit"
        ));
    }
    Ok(())
}

fn syntax_error(error: &toml::de::Error) -> PackageError {
    PackageError::Syntax {
        message: error.to_string().trim_end().to_owned(),
        suggestion: nearest(error.message()),
    }
}

/// The word nearest to the unknown one in serde's message: "unknown field `heigth`, expected one of `name`, ...".
fn nearest(message: &str) -> Option<String> {
    let mut quoted = message.split('`').skip(1).step_by(2);
    let unknown = message.starts_with("unknown ").then(|| quoted.next())??;
    quoted
        .map(|word| (strsim::damerau_levenshtein(unknown, word), word))
        // Beyond half its letters another word is a guess, not a spelling.
        .filter(|(distance, word)| *distance <= word.len().max(unknown.len()) / 2)
        .min()
        .map(|(_, word)| word.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Channels, InputType, Interpolation, Layout, ResizePolicy};

    const FULL: &str = r#"
schema = 1
name = "efficientnet-lite0"
version = "1"
task = "classification"
license = "Apache-2.0"
source = "somewhere"
[input]
name = "image"
dtype = "float32"
width = 224
height = 192
layout = "nchw"
channels = "bgr"
scale = 0.5
mean = [1.0, 2.0, 3.0]
std = [4.0, 5.0, 6.0]
resize = { policy = "crop-ratio", ratio = 0.875 }
interpolation = "bicubic"
antialias = false
exif = false
[[output]]
name = "logits"
activation = "softmax"
labels = "labels.txt"
"#;

    fn error(from: &str, to: &str) -> String {
        assert!(FULL.contains(from), "{from}");
        Manifest::parse(&FULL.replace(from, to)).unwrap_err().to_string()
    }

    fn resize(table: &str) -> Result<ResizePolicy, PackageError> {
        let text = FULL.replace(r#"{ policy = "crop-ratio", ratio = 0.875 }"#, table);
        Manifest::parse(&text).map(|manifest| manifest.input.resize)
    }

    #[test]
    fn a_full_manifest() {
        let manifest = Manifest::parse(FULL).unwrap();
        let expected = InputSpec {
            name: "image".into(),
            dtype: InputType::Float32,
            width: 224,
            height: 192,
            layout: Layout::Nchw,
            channels: Channels::Bgr,
            scale: 0.5,
            mean: [1.0, 2.0, 3.0],
            std: [4.0, 5.0, 6.0],
            resize: ResizePolicy::CropRatio { ratio: 0.875 },
            interpolation: Interpolation::Bicubic,
            antialias: false,
            exif: false,
        };
        assert_eq!(manifest.input, expected);
        assert_eq!(
            (manifest.task, manifest.outputs[0].activation),
            (Task::Classification, Activation::Softmax)
        );
    }

    #[test]
    fn what_may_be_left_out_has_a_default() {
        let kept = |line: &&str| {
            ![
                "scale",
                "mean",
                "std",
                "antialias",
                "exif",
                "license",
                "source",
                "labels",
            ]
            .iter()
            .any(|key| line.starts_with(key))
        };
        let text: Vec<&str> = FULL.lines().filter(kept).collect();
        let Manifest { input, outputs, .. } = Manifest::parse(&text.join("\n")).unwrap();
        assert_eq!((input.scale, input.mean, input.std), (1.0, [0.0; 3], [1.0; 3]));
        assert!(input.antialias && input.exif && outputs[0].labels.is_none());
    }

    #[test]
    fn every_resize_policy() {
        assert_eq!(
            resize(r#"{ policy = "stretch" }"#).unwrap(),
            ResizePolicy::Stretch
        );
        let edge = resize(r#"{ policy = "shortest-edge", size = 256 }"#).unwrap();
        assert_eq!(edge, ResizePolicy::ShortestEdge { size: 256 });
        let letterbox = resize(r#"{ policy = "letterbox", fill = [114, 114, 114] }"#).unwrap();
        assert_eq!(letterbox, ResizePolicy::Letterbox { fill: [114; 3] });
        assert_eq!(
            resize(r#"{ policy = "letterbox" }"#).unwrap(),
            ResizePolicy::Letterbox { fill: [0; 3] }
        );
        for wrong in [
            r#"{ policy = "shortest-edge", size = 223 }"#,
            r#"{ policy = "shortest-edge", size = 100000 }"#,
            r#"{ policy = "shortest-edge" }"#,
            r#"{ policy = "crop-ratio", ratio = 0.0 }"#,
            r#"{ policy = "crop-ratio", ratio = 1.01 }"#,
            r#"{ policy = "crop-ratio", ratio = nan }"#,
            r#"{ policy = "stretch", size = 3 }"#,
            r#"{ policy = "letterbox", fill = [0, 0, 256] }"#,
        ] {
            assert!(resize(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn unknown_words_get_the_nearest_known_one() {
        for (from, to, nearest) in [
            ("width", "widht", "width"),
            ("interpolation", "interpolate", "interpolation"),
            ("\"bicubic\"", "\"bicubc\"", "bicubic"),
            ("\"softmax\"", "\"soft-max\"", "softmax"),
            ("license", "licence", "license"),
            ("\"crop-ratio\"", "\"crop_ratio\"", "crop-ratio"),
            ("activation", "activaton", "activation"),
        ] {
            let text = error(from, to);
            assert!(text.contains(&format!("did you mean `{nearest}`")), "{text}");
        }
        assert!(!error("exif", "colour_management").contains("did you mean"));
    }

    #[test]
    fn values_that_cannot_work_name_their_key() {
        for (from, to, key) in [
            ("schema = 1", "schema = 2", "schema"),
            ("efficientnet-lite0", "Efficient Net", "name"),
            ("efficientnet-lite0", "", "name"),
            ("efficientnet-lite0", "../up", "name"),
            ("version = \"1\"", "version = \"a/b\"", "version"),
            ("name = \"image\"", "name = \"\"", "input.name"),
            ("width = 224", "width = 0", "input.width"),
            ("height = 192", "height = 4097", "input.height"),
            ("scale = 0.5", "scale = 0.0", "input.scale"),
            ("mean = [1.0", "mean = [inf", "input.mean"),
            ("std = [4.0", "std = [0.0", "input.std"),
            ("\"float32\"", "\"uint8\"", "input.dtype"),
            ("\"bicubic\"", "\"lanczos\"", "input.antialias"),
            ("name = \"logits\"", "name = \"\"", "output.name"),
            ("\"labels.txt\"", "\"../labels.txt\"", "output.labels"),
            ("\"labels.txt\"", "\"/etc/passwd\"", "output.labels"),
        ] {
            let text = error(from, to);
            assert!(text.contains(&format!("`{key}` ")), "{to}: {text}");
        }
    }

    #[test]
    fn each_output_is_declared_once_and_there_is_one() {
        let output = "[[output]]\nname = \"logits\"\nactivation = \"none\"\n";
        assert!(Manifest::parse(&format!("{FULL}{output}")).is_err());
        assert!(Manifest::parse(&format!("{FULL}{}", output.replace("logits", "features"))).is_ok());
        let without = FULL.split("[[output]]").next().unwrap();
        assert!(Manifest::parse(without).is_err());
        assert!(Manifest::parse(&without.replace("[input]", "output = []\n[input]")).is_err());
    }
}
