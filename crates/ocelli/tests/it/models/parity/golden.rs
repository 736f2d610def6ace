//! Reads `tests/parity`: photos, models, and the results of the libraries.

use std::fs;
use std::io::{BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::str::FromStr as _;

use flate2::read::GzDecoder;
use ocelli_vision::auto::{self, Hints, Preset};
use ocelli_vision::{Activation, ModelPackage};
use serde::Deserialize;
use tempfile::TempDir;

/// One `expected.json`.
#[derive(Debug, Deserialize)]
pub(super) struct Golden {
    #[serde(skip)]
    pub(super) name: String,
    pub(super) options: Options,
    /// Whether the library's pipeline applies the EXIF orientation.
    pub(super) exif: bool,
    pub(super) input: Form,
    pub(super) output: Output,
    pub(super) photos: Vec<Photo>,
}

/// The options of the command line.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Options {
    pub(super) preset: Option<String>,
    pub(super) interpolation: Option<String>,
    labels: Option<PathBuf>,
}

/// The library's mapping from pixels to the tensor.
#[derive(Debug, Deserialize)]
pub(super) struct Form {
    pub(super) layout: String,
    pub(super) channels: String,
    pub(super) dtype: String,
    /// The values of black and white, for each channel of the tensor.
    pub(super) black: Vec<f64>,
    pub(super) white: Vec<f64>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Output {
    pub(super) name: String,
    pub(super) activation: Activation,
    /// The final operator of the graph.
    pub(super) ending: Option<Ending>,
    /// Whether the model computes in 8 bits.
    pub(super) quantised: bool,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Ending {
    Softmax,
    Sigmoid,
}

#[derive(Debug, Deserialize)]
pub(super) struct Photo {
    photo: PathBuf,
    pixels: PathBuf,
    bits: u8,
    /// The output of the library's model.
    pub(super) values: Vec<f64>,
    /// Index, label and score of the best classes.
    #[serde(default)]
    pub(super) top: Vec<(usize, String, f64)>,
}

fn tests() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests")
}

fn cases() -> PathBuf {
    tests().join("parity/cases")
}

impl Golden {
    /// All goldens, by name.
    pub(super) fn all() -> Vec<Self> {
        let mut names: Vec<String> = fs::read_dir(cases())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names.iter().map(|name| Self::named(name)).collect()
    }

    pub(super) fn named(name: &str) -> Self {
        let text = fs::read(cases().join(name).join("expected.json")).unwrap();
        let golden: Self = serde_json::from_slice(&text).unwrap();
        Self {
            name: name.to_owned(),
            ..golden
        }
    }

    fn folder(&self) -> PathBuf {
        cases().join(&self.name)
    }

    /// The file for `--labels`.
    pub(super) fn labels(&self) -> Option<PathBuf> {
        self.options.labels.as_ref().map(|path| self.folder().join(path))
    }

    /// The model, unpacked into `place` if it is packed; `None` for the built-in one.
    pub(super) fn model(&self, place: &TempDir) -> Option<PathBuf> {
        let folder = self.folder().join("model");
        let packed = folder.join("model.onnx.gz.gz");
        if packed.exists() {
            let file = BufReader::new(fs::File::open(packed).unwrap());
            let mut onnx = Vec::new();
            let unpacked = BufReader::new(GzDecoder::new(file));
            GzDecoder::new(unpacked).read_to_end(&mut onnx).unwrap();
            let path = place.path().join("model.onnx");
            fs::write(&path, onnx).unwrap();
            return Some(path);
        }
        let only_file = folder.join("model.onnx");
        let files = folder.read_dir().ok()?.count();
        Some(if files == 1 && only_file.exists() {
            only_file
        } else {
            folder
        })
    }

    /// Ocelli's interpretation of the model.
    pub(super) fn resolve(&self) -> Result<ModelPackage, String> {
        let place = tempfile::tempdir().unwrap();
        let Some(path) = self.model(&place) else {
            return Ok(ocelli::models::served_model::builtin().unwrap());
        };
        let hints = Hints {
            preset: self
                .options
                .preset
                .as_deref()
                .map(|name| Preset::from_str(name).unwrap()),
            interpolation: self
                .options
                .interpolation
                .as_ref()
                .map(|name| serde_json::from_value(name.as_str().into()).unwrap()),
            labels: self.labels(),
            ..Hints::default()
        };
        let resolved = auto::resolve(&path, &hints).map_err(|error| error.to_string())?;
        Ok(resolved.package)
    }

    /// The bytes of a photo.
    pub(super) fn photo(&self, photo: &Photo) -> Vec<u8> {
        fs::read(tests().join(&photo.photo)).unwrap()
    }

    /// The library's tensor for a photo, as pixels from 0 to 255: channel by channel, red first.
    pub(super) fn pixels(&self, photo: &Photo) -> Vec<Vec<f64>> {
        let file = BufReader::new(fs::File::open(self.folder().join(&photo.pixels)).unwrap());
        let mut reader = png::Decoder::new(file).read_info().unwrap();
        let mut bytes = vec![0; reader.output_buffer_size().unwrap()];
        let info = reader.next_frame(&mut bytes).unwrap();
        let channels = self.input.black.len();
        if photo.bits == 16 {
            // The channels are stacked vertically, in 256ths of a pixel.
            let values: Vec<f64> = bytes
                .as_chunks::<2>()
                .0
                .iter()
                .map(|&pair| f64::from(u16::from_be_bytes(pair)) / 256.0)
                .collect();
            return values
                .chunks(values.len() / channels)
                .map(<[f64]>::to_vec)
                .collect();
        }
        assert_eq!(info.color_type.samples(), channels);
        (0..channels)
            .map(|channel| {
                bytes[channel..]
                    .iter()
                    .step_by(channels)
                    .map(|&byte| byte.into())
                    .collect()
            })
            .collect()
    }
}

impl Photo {
    pub(super) fn name(&self) -> &str {
        self.photo.file_stem().unwrap().to_str().unwrap()
    }
}
