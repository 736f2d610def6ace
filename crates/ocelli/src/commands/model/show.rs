//! `ocelli model show`.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::process::ExitCode;

use anyhow::Context as _;
use bytesize::ByteSize;
use ocelli_vision::auto::NoteKind;
use ocelli_vision::{
    Activation, Align, Coordinates, InputSpec, ModelPackage, OutputSpec, Pool, Resampling, ResizePolicy,
    RunSpec,
};
use serde_json::{Value, json};

use crate::cli::ShowArgs;
use crate::commands::settings;
use crate::models::served_model::element_type;
use crate::models::source::Opened;
use crate::process::printable::Lines;

const LABELS_SHOWN: usize = 3;

pub(super) fn run(args: &ShowArgs) -> anyhow::Result<ExitCode> {
    let opened = settings::open(args.spec.as_deref(), &args.hints)?;
    let mut out = Lines(io::stdout().lock());
    if args.json {
        // An error of serde_json would hide why the write failed.
        serde_json::to_writer_pretty(&mut out, &as_json(&opened)?).map_err(io::Error::from)?;
        writeln!(out)?;
    } else {
        write!(out, "{}", as_text(&opened))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Bytes of the ONNX file and of its external weights.
fn size(package: &ModelPackage) -> u64 {
    let external: usize = package.external.iter().map(|file| file.bytes.len()).sum();
    (package.onnx.len() + external) as u64
}

fn kind(opened: &Opened) -> String {
    opened
        .kind
        .map_or_else(|| "built-in model".to_owned(), |kind| kind.to_string())
}

fn file(opened: &Opened) -> Option<String> {
    opened.onnx.as_ref().map(|path| path.display().to_string())
}

pub(super) fn as_text(opened: &Opened) -> String {
    let card = &opened.package.card;
    let manifest = &card.manifest;
    let mut lines = vec![
        ("kind", kind(opened)),
        (
            "file",
            format!(
                "{}, {}",
                file(opened).unwrap_or_else(|| "built into this program".into()),
                ByteSize(size(&opened.package))
            ),
        ),
        ("digest", card.digest().to_owned()),
        ("task", format!("{:?}", manifest.task).to_ascii_lowercase()),
        ("input", tensor(&manifest.input)),
        ("photo", photo(&manifest.input)),
        ("values", values(&manifest.input)),
    ];
    let outputs = manifest.outputs.iter().zip(&card.labels);
    lines.extend(outputs.map(|(spec, labels)| ("output", output(spec, labels))));
    lines.extend(run_options(&manifest.run).map(|options| ("run", options)));
    // Writing into a string cannot fail.
    let mut text = String::new();
    let _ = writeln!(text, "{} version {}\n", manifest.name, manifest.version);
    for (name, value) in lines {
        let _ = writeln!(text, "  {name:<8} {value}");
    }
    if !opened.notes.is_empty() {
        text.push('\n');
    }
    for note in &opened.notes {
        let _ = writeln!(text, "  - {note}");
    }
    text
}

/// Describes an output and its postprocessing.
fn output(spec: &OutputSpec, labels: &[String]) -> String {
    let activation = match spec.activation {
        Activation::Softmax => "softmax",
        Activation::Sigmoid => "sigmoid",
        Activation::None => "no activation",
    };
    let pool = match spec.pool {
        Pool::None => "",
        Pool::First => ", first token",
        Pool::Mean => ", mean of the tokens",
    };
    let length = if spec.normalize {
        ", scaled to length 1"
    } else {
        ""
    };
    let threshold = spec.threshold;
    let threshold = threshold.map_or_else(String::new, |least| format!(", threshold {least}"));
    let classes = some(labels);
    format!("{}, {activation}{pool}{length}{threshold}; {classes}", spec.name)
}

/// The options that the package overrides, or `None`.
fn run_options(run: &RunSpec) -> Option<String> {
    let options = [
        ("instances", run.instances),
        ("threads_per_instance", run.threads_per_instance),
        ("max_batch", run.max_batch),
        ("max_delay_ms", run.max_delay_ms),
        ("queue_jobs", run.queue_jobs),
    ];
    let options = options.map(|(key, value)| value.map(|value| format!("{key} = {value}")));
    let options: Vec<String> = options.into_iter().flatten().collect();
    (!options.is_empty()).then(|| options.join(", "))
}

fn some(labels: &[String]) -> String {
    let shown: Vec<&str> = labels.iter().take(LABELS_SHOWN).map(String::as_str).collect();
    let rest = if labels.len() > LABELS_SHOWN { ", ..." } else { "" };
    match labels.len() {
        0 => "no labels".to_owned(),
        1 => format!("1 label: {}", shown.join(", ")),
        count => format!("{count} labels: {}{rest}", shown.join(", ")),
    }
}

fn tensor(input: &InputSpec) -> String {
    let [_, first, second, third] = input.shape(1);
    let (dtype, order) = (element_type(input.dtype), input.channels.name());
    format!(
        "{}, {dtype} [batch, {first}, {second}, {third}], {order}",
        input.name
    )
}

/// Describes the geometry of the preprocessing.
fn photo(input: &InputSpec) -> String {
    let (width, height) = (input.width, input.height);
    let way = match input.resize {
        ResizePolicy::Stretch => format!("stretched to {width} x {height}"),
        ResizePolicy::StretchCrop { size: [w, h], .. } => {
            format!("stretched to {w} x {h}, then the centre of {width} x {height}")
        }
        ResizePolicy::ShortestEdge { size, .. } => {
            format!("shorter edge to {size}, then the centre of {width} x {height}")
        }
        ResizePolicy::Cover { size: [w, h], .. } => {
            format!("scaled to cover {w} x {h}, then the centre of {width} x {height}")
        }
        ResizePolicy::CropRatio { ratio } => {
            format!("centre square of {ratio} of the shorter edge, scaled to {width} x {height}")
        }
        ResizePolicy::CropAspect => {
            format!("centre with the aspect ratio {width} : {height}, scaled to {width} x {height}")
        }
        ResizePolicy::FitHeight { fill } => {
            format!("scaled to height {height}, width at most {width}, at the left on {fill:?}")
        }
        ResizePolicy::Letterbox {
            fill, size, align, ..
        } => {
            let [w, h] = size.unwrap_or([width, height]);
            let place = match align {
                Align::Center => String::new(),
                _ => format!(" at the {}", align.name()),
            };
            format!("scaled to fit {w} x {h}{place} on {fill:?}, then the centre of {width} x {height}")
        }
    };
    let filter = filter(input);
    let exif = if input.exif {
        "rotated by EXIF"
    } else {
        "EXIF ignored"
    };
    format!("{exif}, {way}, {filter}")
}

/// Describes the filter.
fn filter(input: &InputSpec) -> String {
    let library = match input.resampler {
        Resampling::Pillow => "",
        Resampling::Pillow12 => " (as Pillow 12)",
        Resampling::Torch => " (as PyTorch)",
        Resampling::TensorFlow => " (as TensorFlow)",
        Resampling::OpenCv => " (as OpenCV)",
    };
    let antialias = if input.antialias { "on" } else { "off" };
    let coordinates = match input.coordinates {
        Coordinates::HalfPixel => String::new(),
        other => format!(", coordinates {}", other.name()),
    };
    let filter = input.interpolation.name();
    format!("{filter}{library}, antialias {antialias}{coordinates}")
}

/// Describes the normalisation.
fn values(input: &InputSpec) -> String {
    let InputSpec { scale, mean, std, .. } = input;
    let is_plain = *scale == 1.0 && *mean == [0.0; 3] && *std == [1.0; 3];
    if is_plain {
        return "0 to 255".to_owned();
    }
    format!("(x * {scale} - mean) / std for x from 0 to 255, mean {mean:?}, std {std:?}")
}

fn as_json(opened: &Opened) -> anyhow::Result<Value> {
    let card = &opened.package.card;
    // The text that identifies the package, so that both formats agree.
    let package: Value = toml::from_str(&card.toml).context("cannot convert model.toml to JSON")?;
    let notes: Vec<Value> = opened
        .notes
        .iter()
        .map(|note| {
            let kind = match note.kind {
                NoteKind::Read => "read",
                NoteKind::Guess => "guess",
                NoteKind::Warning => "warning",
            };
            json!({"kind": kind, "text": note.text})
        })
        .collect();
    let labels: Vec<usize> = card.labels.iter().map(Vec::len).collect();
    Ok(json!({
        "kind": kind(opened),
        "file": file(opened),
        "bytes": size(&opened.package),
        "digest": card.digest(),
        "package": package,
        "labels": labels,
        "notes": notes,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::served_model;

    #[test]
    fn the_built_in_model_is_described() {
        let opened = Opened {
            package: served_model::builtin().unwrap(),
            kind: None,
            onnx: None,
            notes: Vec::new(),
        };
        let text = as_text(&opened);
        for words in [
            "efficientnet-lite0 version 1\n",
            "  kind     built-in model\n",
            "  input    image, uint8 [batch, 224, 224, 3], rgb\n",
            "centre square of 0.875 of the shorter edge, scaled to 224 x 224, bicubic, antialias on\n",
            "  values   0 to 255\n",
            "  output   logits, softmax; 1000 labels: tench, goldfish, great_white_shark, ...\n",
        ] {
            assert!(text.contains(words), "{words}\n{text}");
        }
        assert!(!text.contains("  run  "), "{text}");
        let json = as_json(&opened).unwrap();
        assert_eq!(json["package"]["input"]["resize"]["ratio"], 0.875);
        assert_eq!(
            (&json["labels"][0], &json["kind"]),
            (&json!(1000), &json!("built-in model"))
        );
    }

    #[test]
    fn outputs_and_run_options_are_described() {
        let spec = OutputSpec {
            name: "tokens".to_owned(),
            activation: Activation::None,
            labels: None,
            labels_source: None,
            threshold: None,
            normalize: true,
            pool: Pool::Mean,
        };
        let words = "tokens, no activation, mean of the tokens, scaled to length 1; no labels";
        assert_eq!(output(&spec, &[]), words);
        let spec = OutputSpec {
            activation: Activation::Sigmoid,
            threshold: Some(0.3),
            normalize: false,
            pool: Pool::None,
            ..spec
        };
        let words = "tokens, sigmoid, threshold 0.3; 1 label: cat";
        assert_eq!(output(&spec, &["cat".to_owned()]), words);
        let run = RunSpec {
            max_batch: Some(4),
            max_delay_ms: Some(0),
            ..RunSpec::default()
        };
        assert_eq!(run_options(&run).unwrap(), "max_batch = 4, max_delay_ms = 0");
    }
}
