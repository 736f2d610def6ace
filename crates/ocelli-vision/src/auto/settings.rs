//! The fields of transformers' JSON files that decide how photos are prepared.

use std::fmt;
use std::num::NonZeroU32;

use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{Error, IntoDeserializer, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Config {
    pub(super) architectures: Option<Vec<String>>,
    pub(super) problem_type: Option<String>,
    pub(super) model_type: Option<String>,
    pub(super) image_size: Option<Sides>,
}

/// `preprocessor_config.json`, or `image_processor` of `processor_config.json`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Settings {
    image_processor_type: Option<String>,
    feature_extractor_type: Option<String>,
    pub(super) do_pad: Option<bool>,
    pub(super) do_resize: Option<bool>,
    pub(super) size: Option<Sides>,
    pub(super) resample: Option<Value>,
    pub(super) do_center_crop: Option<bool>,
    pub(super) crop_size: Option<Sides>,
    pub(super) crop_pct: Option<f64>,
    pub(super) do_rescale: Option<bool>,
    pub(super) rescale_factor: Option<f64>,
    pub(super) rescale_offset: Option<bool>,
    pub(super) do_normalize: Option<bool>,
    pub(super) image_mean: Option<Three>,
    pub(super) image_std: Option<Three>,
    pub(super) include_top: Option<bool>,
    pub(super) do_flip_channel_order: Option<bool>,
}

impl Settings {
    pub(super) fn class(&self) -> Option<&str> {
        let class = self.image_processor_type.as_ref();
        class.or(self.feature_extractor_type.as_ref()).map(String::as_str)
    }
}

/// A number for each of three channels, or one for all.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(untagged, expecting = "it must be a number or a list of 3 numbers")]
pub(super) enum Three {
    All(f64),
    Single([f64; 1]),
    Each([f64; 3]),
}

impl From<Three> for [f64; 3] {
    fn from(three: Three) -> Self {
        match three {
            Three::All(number) | Three::Single([number]) => [number; 3],
            Three::Each(numbers) => numbers,
        }
    }
}

/// A size in any of the forms that transformers has written.
#[derive(Debug, Clone, Copy)]
pub(super) enum Sides {
    Side(NonZeroU32),
    HeightAndWidth([NonZeroU32; 2]),
    Named(NamedSides),
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(default)]
pub(super) struct NamedSides {
    pub(super) height: Option<NonZeroU32>,
    pub(super) width: Option<NonZeroU32>,
    pub(super) shortest_edge: Option<NonZeroU32>,
    pub(super) longest_edge: Option<NonZeroU32>,
}

impl Sides {
    /// Width and height; `None` if edges are named instead.
    pub(super) fn width_and_height(self) -> Option<[u32; 2]> {
        let [width, height] = match self {
            Self::Side(side) => [side; 2],
            Self::HeightAndWidth([height, width])
            | Self::Named(NamedSides {
                height: Some(height),
                width: Some(width),
                shortest_edge: None,
                ..
            }) => [width, height],
            Self::Named(_) => return None,
        };
        Some([width.get(), height.get()])
    }
}

/// Not `untagged`, which would hide the place of an error within an object.
impl<'de> Deserialize<'de> for Sides {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SidesVisitor)
    }
}

struct SidesVisitor;

impl<'de> Visitor<'de> for SidesVisitor {
    type Value = Sides;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a whole number of pixels, a list of height and width, or an object with them")
    }

    fn visit_u64<E: Error>(self, side: u64) -> Result<Sides, E> {
        NonZeroU32::deserialize(side.into_deserializer()).map(Sides::Side)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, sides: A) -> Result<Sides, A::Error> {
        <[NonZeroU32; 2]>::deserialize(SeqAccessDeserializer::new(sides)).map(Sides::HeightAndWidth)
    }

    fn visit_map<A: MapAccess<'de>>(self, sides: A) -> Result<Sides, A::Error> {
        NamedSides::deserialize(MapAccessDeserializer::new(sides)).map(Sides::Named)
    }
}
