//! How a photo is resampled: the filter, and whose arithmetic applies it.

use serde::Deserialize;

/// The resampling filter. What a name means is the [`Resampling`]'s.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Interpolation {
    /// One pixel: Pillow's `NEAREST`, TensorFlow's `nearest`, OpenCV's `INTER_NEAREST`.
    Nearest,
    /// Pillow's `BILINEAR` (triangle filter), TensorFlow's `bilinear`, OpenCV's `INTER_LINEAR`.
    Bilinear,
    /// Pillow's `BICUBIC` and TensorFlow's `bicubic` (a = -0.5), OpenCV's `INTER_CUBIC` (a = -0.75).
    Bicubic,
    /// Pillow's `LANCZOS` and TensorFlow's `lanczos3` (a = 3), OpenCV's `INTER_LANCZOS4` (a = 4).
    Lanczos,
    /// Pillow's `BOX`.
    Box,
    /// Pillow's `HAMMING`.
    Hamming,
    /// The mean of what a target pixel covers: TensorFlow's `area`, OpenCV's `INTER_AREA`.
    Area,
    /// TensorFlow's `lanczos5`.
    Lanczos5,
    /// TensorFlow's `gaussian`.
    Gaussian,
    /// TensorFlow's `mitchellcubic`.
    Mitchell,
}

/// Whose arithmetic resizes a photo.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Resampling {
    /// Pillow 13: vertically first where the height shrinks by more than twice the pixels that the width does, else
    /// horizontally first. Without `antialias`, PyTorch's `interpolate`.
    #[default]
    Pillow,
    /// Pillow 12 and older: always horizontally first.
    #[serde(rename = "pillow-12")]
    Pillow12,
    /// PyTorch's `interpolate` of 8-bit tensors, of which torchvision's and transformers' are made: always horizontally
    /// first.
    Torch,
    /// TensorFlow 2's `tf.image.resize`, and with other [`Coordinates`] TensorFlow 1's and TensorFlow.js'.
    TensorFlow,
    /// OpenCV's `resize` of 8-bit images.
    OpenCv,
}

/// Where a pixel of the result lies in the photo.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Coordinates {
    /// The centre of the pixel there is the centre of the pixel here.
    #[default]
    HalfPixel,
    /// The centres of the corner pixels lie on each other (`align_corners=True`).
    AlignCorners,
    /// The centres of the first pixels lie on each other (TensorFlow 1, and the default of TensorFlow.js).
    Asymmetric,
}

impl Interpolation {
    /// What it is called in a `model.toml`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Nearest => "nearest",
            Self::Bilinear => "bilinear",
            Self::Bicubic => "bicubic",
            Self::Lanczos => "lanczos",
            Self::Box => "box",
            Self::Hamming => "hamming",
            Self::Area => "area",
            Self::Lanczos5 => "lanczos5",
            Self::Gaussian => "gaussian",
            Self::Mitchell => "mitchell",
        }
    }
}

impl Resampling {
    /// What it is called in a `model.toml`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pillow => "pillow",
            Self::Pillow12 => "pillow-12",
            Self::Torch => "torch",
            Self::TensorFlow => "tensorflow",
            Self::OpenCv => "opencv",
        }
    }

    /// Whether it computes with tables of weights.
    pub(crate) fn has_tables(self, antialias: bool) -> bool {
        match self {
            Self::Pillow | Self::Pillow12 | Self::Torch => !antialias,
            Self::TensorFlow | Self::OpenCv => true,
        }
    }

    fn filters(self) -> &'static [Interpolation] {
        use Interpolation::{
            Area, Bicubic, Bilinear, Box, Gaussian, Hamming, Lanczos, Lanczos5, Mitchell, Nearest,
        };
        match self {
            Self::Pillow | Self::Pillow12 | Self::Torch => {
                &[Nearest, Bilinear, Bicubic, Lanczos, Box, Hamming]
            }
            Self::TensorFlow => &[
                Nearest, Bilinear, Bicubic, Area, Lanczos, Lanczos5, Gaussian, Mitchell,
            ],
            Self::OpenCv => &[Nearest, Bilinear, Bicubic, Area, Lanczos],
        }
    }

    /// Checks that this library has the filter, with this antialiasing and these coordinates.
    pub(super) fn check(
        self,
        interpolation: Interpolation,
        antialias: bool,
        coordinates: Coordinates,
    ) -> Result<(), (&'static str, String)> {
        use Interpolation::{Bicubic, Bilinear, Nearest};

        let filter = interpolation.name();
        if !self.filters().contains(&interpolation) {
            let names: Vec<&str> = self.filters().iter().map(|filter| filter.name()).collect();
            return Err((
                "input.interpolation",
                format!(
                    "is {filter:?}, which the resampler {:?} does not have: it has {}",
                    self.name(),
                    names.join(", ")
                ),
            ));
        }
        let has_plain = match self {
            Self::Pillow | Self::Pillow12 | Self::Torch => {
                matches!(interpolation, Nearest | Bilinear | Bicubic)
            }
            Self::TensorFlow | Self::OpenCv => true,
        };
        if !antialias && !has_plain {
            return Err((
                "input.antialias",
                format!("is false, which {filter} has no definition for: use antialias = true or bicubic"),
            ));
        }
        if antialias && self == Self::OpenCv {
            let hint = "is true, which OpenCV has not: write antialias = false";
            return Err(("input.antialias", hint.into()));
        }
        let plain = self == Self::TensorFlow && !antialias && matches!(interpolation, Nearest | Bilinear);
        if coordinates != Coordinates::HalfPixel && !plain {
            return Err((
                "input.coordinates",
                format!(
                    "is {:?}, which is for resampler = \"tensorflow\", antialias = false and the interpolation nearest or \
                     bilinear",
                    coordinates.name()
                ),
            ));
        }
        Ok(())
    }
}

impl Coordinates {
    /// What it is called in a `model.toml`.
    pub fn name(self) -> &'static str {
        match self {
            Self::HalfPixel => "half-pixel",
            Self::AlignCorners => "align-corners",
            Self::Asymmetric => "asymmetric",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What each library has, by a call of its own.
    #[test]
    fn every_resampler_has_its_filters() {
        use Interpolation::{
            Area, Bicubic, Bilinear, Box, Gaussian, Hamming, Lanczos, Lanczos5, Mitchell, Nearest,
        };
        let filters = [
            Nearest, Bilinear, Bicubic, Lanczos, Box, Hamming, Area, Lanczos5, Gaussian, Mitchell,
        ];
        let allowed = |resampler: Resampling, antialias: bool| {
            let fits = |filter: &Interpolation| {
                resampler
                    .check(*filter, antialias, Coordinates::HalfPixel)
                    .is_ok()
            };
            filters.into_iter().filter(fits).collect::<Vec<_>>()
        };
        let tensorflow = [
            Nearest, Bilinear, Bicubic, Lanczos, Area, Lanczos5, Gaussian, Mitchell,
        ];
        for resampler in [Resampling::Pillow, Resampling::Pillow12, Resampling::Torch] {
            assert_eq!(allowed(resampler, true), filters[..6]);
            assert_eq!(allowed(resampler, false), filters[..3]);
        }
        assert_eq!(allowed(Resampling::TensorFlow, true), tensorflow);
        assert_eq!(allowed(Resampling::TensorFlow, false), tensorflow);
        assert_eq!(allowed(Resampling::OpenCv, true), []);
        assert_eq!(
            allowed(Resampling::OpenCv, false),
            [Nearest, Bilinear, Bicubic, Lanczos, Area]
        );
    }

    #[test]
    fn other_coordinates_are_tensorflows_plain_filters() {
        let keys = |resampler: Resampling, filter, antialias| {
            [Coordinates::AlignCorners, Coordinates::Asymmetric]
                .map(|coordinates| resampler.check(filter, antialias, coordinates).err())
                .map(|error| error.map(|(key, _)| key))
        };
        let wrong = [Some("input.coordinates"); 2];
        for filter in [Interpolation::Nearest, Interpolation::Bilinear] {
            assert_eq!(keys(Resampling::TensorFlow, filter, false), [None; 2]);
            assert_eq!(keys(Resampling::TensorFlow, filter, true), wrong);
            assert_eq!(keys(Resampling::Pillow, filter, false), wrong);
            assert_eq!(keys(Resampling::OpenCv, filter, false), wrong);
        }
        assert_eq!(keys(Resampling::TensorFlow, Interpolation::Bicubic, false), wrong);
    }
}
