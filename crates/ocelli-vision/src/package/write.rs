//! A manifest as the text of a `model.toml` that a person would like to edit.

use std::fmt::{self, Display, Write as _};

use serde::Serialize;

use crate::{
    Align, Coordinates, InputSpec, InputType, Manifest, OutputSpec, Pool, Resampling, ResizePolicy, Rounding,
};

impl Manifest {
    /// The text of a `model.toml` that [`Manifest::parse`] makes the same manifest of.
    pub fn to_toml(&self) -> String {
        let mut text = String::new();
        // Writing into a string cannot fail.
        let _ = self.write(&mut text);
        text
    }

    fn write(&self, out: &mut String) -> fmt::Result {
        writeln!(out, "schema = {}", self.schema)?;
        writeln!(out, "name = {}", Quoted(&self.name))?;
        writeln!(out, "version = {}", Quoted(&self.version))?;
        writeln!(out, "# classification, multilabel or embedding")?;
        writeln!(out, "task = {}", word(&self.task))?;
        optional(out, "license", self.license.as_deref().map(Quoted))?;
        optional(out, "source", self.source.as_deref().map(Quoted))?;
        write_input(out, &self.input)?;
        self.outputs
            .iter()
            .try_for_each(|output| write_output(out, output))?;
        self.write_run(out)
    }

    fn write_run(&self, out: &mut String) -> fmt::Result {
        let run = &self.run;
        let keys = [
            ("instances", run.instances),
            ("threads_per_instance", run.threads_per_instance),
            ("max_batch", run.max_batch),
            ("max_delay_ms", run.max_delay_ms),
            ("queue_jobs", run.queue_jobs),
        ];
        if keys.iter().all(|(_, value)| value.is_none()) {
            return Ok(());
        }
        writeln!(
            out,
            "\n# What is absent here is as the server's options say.\n[run]"
        )?;
        keys.into_iter()
            .try_for_each(|(key, value)| optional(out, key, value))
    }
}

fn write_input(out: &mut String, input: &InputSpec) -> fmt::Result {
    let channels = input.channels.name();
    writeln!(out, "\n[input]\nname = {}", Quoted(&input.name))?;
    writeln!(out, "# uint8, float32 or float16\ndtype = {}", word(&input.dtype))?;
    writeln!(out, "width = {}\nheight = {}", input.width, input.height)?;
    writeln!(out, "layout = {}\nchannels = \"{channels}\"", word(&input.layout))?;
    if input.dtype != InputType::Uint8 {
        writeln!(
            out,
            "# (x * scale - mean) / std for each channel, x from 0 to 255"
        )?;
        writeln!(out, "scale = {:?}", input.scale)?;
        writeln!(out, "mean = {:?}\nstd = {:?}", input.mean, input.std)?;
    }
    writeln!(out, "resize = {}", Resize(input.resize))?;
    writeln!(out, "# nearest, bilinear, bicubic or lanczos")?;
    writeln!(out, "interpolation = \"{}\"", input.interpolation.name())?;
    let resampler = input.resampler != Resampling::default();
    optional(
        out,
        "resampler",
        resampler.then(|| Quoted(input.resampler.name())),
    )?;
    writeln!(out, "antialias = {}", input.antialias)?;
    let coordinates = input.coordinates != Coordinates::default();
    optional(
        out,
        "coordinates",
        coordinates.then(|| Quoted(input.coordinates.name())),
    )?;
    writeln!(out, "exif = {}", input.exif)
}

fn write_output(out: &mut String, output: &OutputSpec) -> fmt::Result {
    let pool = (output.pool != Pool::None).then(|| word(&output.pool));
    writeln!(out, "\n[[output]]\nname = {}", Quoted(&output.name))?;
    writeln!(
        out,
        "# softmax, sigmoid or none\nactivation = {}",
        word(&output.activation)
    )?;
    optional(out, "labels", output.labels.as_deref().map(Quoted))?;
    optional(out, "labels_source", output.labels_source.as_deref().map(Quoted))?;
    optional(out, "threshold", output.threshold.map(Float))?;
    optional(out, "normalize", output.normalize.then_some(true))?;
    optional(out, "pool", pool)
}

/// The name of a variant in quotes, as it is read.
fn word(variant: &impl Serialize) -> String {
    serde_json::to_string(variant).expect("variants without fields are strings")
}

fn optional(out: &mut String, key: &str, value: Option<impl Display>) -> fmt::Result {
    value.map_or(Ok(()), |value| writeln!(out, "{key} = {value}"))
}

/// A number with a point or an exponent, in the fewest digits that give it back.
struct Float(f32);

impl Display for Float {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

struct Resize(ResizePolicy);

impl Display for Resize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            ResizePolicy::Stretch => f.write_str("{ policy = \"stretch\""),
            ResizePolicy::StretchCrop { size, rounding } => {
                write!(f, "{{ policy = \"stretch\", size = {size:?}{}", Cut(rounding))
            }
            ResizePolicy::ShortestEdge { size, rounding } => {
                write!(f, "{{ policy = \"shortest-edge\", size = {size}{}", Cut(rounding))
            }
            ResizePolicy::Cover { size, rounding } => {
                write!(f, "{{ policy = \"cover\", size = {size:?}{}", Cut(rounding))
            }
            ResizePolicy::CropRatio { ratio } => write!(f, "{{ policy = \"crop-ratio\", ratio = {ratio:?}"),
            ResizePolicy::CropAspect => f.write_str("{ policy = \"crop-aspect\""),
            ResizePolicy::FitHeight { fill } => write!(f, "{{ policy = \"fit-height\", fill = {fill:?}"),
            ResizePolicy::Letterbox {
                fill,
                size,
                rounding,
                align,
            } => {
                write!(f, "{{ policy = \"letterbox\", fill = {fill:?}")?;
                size.map_or(Ok(()), |size| write!(f, ", size = {size:?}"))?;
                write!(f, "{}", Cut(rounding))?;
                match align {
                    Align::Center => Ok(()),
                    _ => write!(f, ", align = \"{}\"", align.name()),
                }
            }
        }?;
        f.write_str(" }")
    }
}

struct Cut(Rounding);

impl Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Rounding::Even => Ok(()),
            Rounding::Down => f.write_str(", rounding = \"down\""),
            Rounding::Nearest => f.write_str(", rounding = \"nearest\""),
        }
    }
}

/// A basic string of TOML: quotes, backslashes and control characters escaped.
struct Quoted<'a>(&'a str);

impl Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_char('"')?;
        for c in self.0.chars() {
            match c {
                '"' | '\\' => write!(f, "\\{c}")?,
                '\n' => f.write_str("\\n")?,
                '\t' => f.write_str("\\t")?,
                c if c.is_control() => write!(f, "\\u{:04X}", u32::from(c))?,
                c => f.write_char(c)?,
            }
        }
        f.write_char('"')
    }
}

#[cfg(test)]
mod tests;
