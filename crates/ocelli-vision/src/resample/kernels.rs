//! Which source pixels become a target pixel along one axis, and with which weights.
//!
//! Read from the sources of PyTorch 2.13 (`UpSample.h`), TensorFlow 2.21 (`resize_bilinear_op.cc`,
//! `resize_bicubic_op.cc`, `resize_area_op.cc`, `scale_and_translate_op.cc`, `sampling_kernels.h`) and OpenCV 5.0
//! (`resize.cpp`); goldens made by the two latter are in `tests/goldens/libraries`.

use std::f64::consts::{FRAC_1_SQRT_2, PI};

use crate::Coordinates;

/// OpenCV's weights have 11 bits after the point (`INTER_RESIZE_COEF_BITS`).
pub(super) const FIXED_ONE: f64 = 2048.0;

/// Neighbouring source pixels and their weights.
pub(super) struct Taps {
    pub(super) first: usize,
    pub(super) weights: Vec<f32>,
}

/// One axis of a resize, as it is viewed.
pub(super) struct Axis {
    pub(super) pixels: usize,
    /// Where the first target pixel begins, and how long each is, in source pixels.
    pub(super) start: f64,
    pub(super) step: f64,
    /// Target pixels that are wanted: which, and of how many.
    pub(super) first: usize,
    pub(super) count: usize,
    pub(super) total: usize,
    /// Whether weights have as many bits as OpenCV's.
    pub(super) fixed_point: bool,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Kernel {
    /// TensorFlow's.
    Nearest(Coordinates),
    /// OpenCV's: the pixel at the left or upper edge.
    NearestEdge,
    /// The two pixels around a place; beyond an edge, its pixel repeats.
    Linear(Coordinates),
    /// Keys' cubic of four pixels; beyond an edge, its pixel repeats, or what is there is all that counts.
    Cubic { a: f64, repeats_edge: bool },
    /// OpenCV's eight pixels.
    Lanczos4,
    /// The mean of what a target pixel covers.
    Area,
    /// What OpenCV's `INTER_AREA` does where an axis grows.
    AreaGrowing,
    /// A function of the distance, wider where the axis shrinks if `widens`. Weights are made to add up to 1.
    Window { shape: Shape, widens: bool },
}

/// A function of the distance in pixels.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Shape {
    Triangle,
    Keys,
    Lanczos(f64),
    Gaussian,
    Mitchell,
}

impl Axis {
    pub(super) fn taps(&self, kernel: Kernel) -> Vec<Taps> {
        (0..self.count).map(|index| self.tap(kernel, index)).collect()
    }

    fn tap(&self, kernel: Kernel, index: usize) -> Taps {
        let centre = self.start + (index as f64 + 0.5) * self.step;
        let (below, t) = split(self.held(centre - 0.5));
        match kernel {
            Kernel::Nearest(coordinates) => self.single(self.nearest(coordinates, self.first + index)),
            Kernel::NearestEdge => self.single(((self.first + index) as f64 * self.ratio()) as usize),
            Kernel::Linear(coordinates) => {
                let (below, t) = split(self.held(self.place(coordinates, index)));
                self.repeating(below, &[1.0 - t, t])
            }
            Kernel::Cubic { a, repeats_edge } => {
                let weights = [-1.0, 0.0, 1.0, 2.0].map(|offset| keys(offset - t, a));
                if repeats_edge {
                    self.repeating(below - 1, &weights)
                } else {
                    self.normalised(below - 1, &weights)
                }
            }
            Kernel::Lanczos4 => self.repeating(below - 3, &lanczos4(t)),
            Kernel::Area => {
                let (start, end) = (centre - 0.5 * self.step, centre + 0.5 * self.step);
                let (first, last) = (start.floor(), end.ceil());
                let covered = |pixel: f64| ((pixel + 1.0).min(end) - pixel.max(start)).max(0.0);
                let count = (last - first) as usize;
                let weights: Vec<f64> = (0..count).map(|offset| covered(first + offset as f64)).collect();
                self.normalised(first as i64, &weights)
            }
            Kernel::AreaGrowing => {
                let (index, ratio) = ((self.first + index) as f64, self.ratio());
                let below = (index * ratio).floor();
                let t = (index + 1.0 - (below + 1.0) / ratio).max(0.0).fract();
                self.repeating(below as i64, &[1.0 - t, t])
            }
            Kernel::Window { shape, widens } => {
                let scale = if widens { self.step.max(1.0) } else { 1.0 };
                let reach = shape.reach() * scale;
                let first = (centre - reach - 0.5).ceil().max(0.0);
                let count = ((centre + reach - 0.5).floor() - first).max(-1.0) + 1.0;
                let weight = |offset: usize| shape.at((first + offset as f64 + 0.5 - centre) / scale);
                let weights: Vec<f64> = (0..count as usize).map(weight).collect();
                self.normalised(first as i64, &weights)
            }
        }
    }

    /// Source pixels for each target pixel.
    fn ratio(&self) -> f64 {
        self.pixels as f64 / self.total as f64
    }

    /// Where a target pixel's centre lies, counted from the first source pixel's centre.
    fn place(&self, coordinates: Coordinates, index: usize) -> f64 {
        let whole = (self.first + index) as f64;
        match coordinates {
            Coordinates::HalfPixel => self.start + (index as f64 + 0.5) * self.step - 0.5,
            Coordinates::AlignCorners => {
                whole * self.pixels.saturating_sub(1) as f64 / self.total.saturating_sub(1).max(1) as f64
            }
            Coordinates::Asymmetric => whole * self.ratio(),
        }
    }

    /// In single precision, as TensorFlow computes it, for it decides where a place meets an edge.
    fn nearest(&self, coordinates: Coordinates, whole: usize) -> usize {
        let (pixels, total, whole) = (self.pixels as f32, self.total as f32, whole as f32);
        let place = match coordinates {
            Coordinates::HalfPixel => (whole + 0.5) * (pixels / total),
            Coordinates::AlignCorners => (whole * ((pixels - 1.0) / (total - 1.0).max(1.0))).round(),
            Coordinates::Asymmetric => whole * (pixels / total),
        };
        place as usize
    }

    /// A place as OpenCV holds it: in single precision.
    fn held(&self, place: f64) -> f64 {
        if self.fixed_point {
            f64::from(place as f32)
        } else {
            place
        }
    }

    fn weight(&self, weight: f64) -> f64 {
        if self.fixed_point {
            (weight * FIXED_ONE).round_ties_even() / FIXED_ONE
        } else {
            weight
        }
    }

    fn single(&self, pixel: usize) -> Taps {
        Taps {
            first: pixel.min(self.pixels - 1),
            weights: vec![1.0],
        }
    }

    /// Weights from pixel `first` on; those beyond an edge go to its pixel.
    fn repeating(&self, first: i64, weights: &[f64]) -> Taps {
        let inside = |pixel: i64| pixel.clamp(0, self.pixels as i64 - 1) as usize;
        let start = inside(first);
        let end = inside(first + weights.len() as i64 - 1);
        let mut kept = vec![0.0; end - start + 1];
        for (pixel, weight) in (first..).zip(weights) {
            kept[inside(pixel) - start] += self.weight(*weight) as f32;
        }
        Taps {
            first: start,
            weights: kept,
        }
    }

    /// Weights from pixel `first` on, of which those beyond an edge are dropped and the others add up to 1.
    fn normalised(&self, first: i64, weights: &[f64]) -> Taps {
        let is_inside = |pixel: i64| (0..self.pixels as i64).contains(&pixel);
        let kept = || (first..).zip(weights).filter(|(pixel, _)| is_inside(*pixel));
        let sum: f64 = kept().map(|(_, weight)| weight).sum();
        let Some((start, _)) = kept().next().filter(|_| sum.abs() > f64::from(f32::MIN_POSITIVE)) else {
            return Taps {
                first: 0,
                weights: Vec::new(),
            };
        };
        Taps {
            first: start as usize,
            weights: kept().map(|(_, weight)| (weight / sum) as f32).collect(),
        }
    }
}

impl Shape {
    fn reach(self) -> f64 {
        match self {
            Self::Triangle => 1.0,
            Self::Keys | Self::Mitchell => 2.0,
            Self::Lanczos(lobes) => lobes,
            Self::Gaussian => 1.5,
        }
    }

    fn at(self, x: f64) -> f64 {
        let x = x.abs();
        match self {
            Self::Triangle => (1.0 - x).max(0.0),
            Self::Keys => keys(x, -0.5),
            Self::Lanczos(lobes) if x > lobes => 0.0,
            Self::Lanczos(_) if x <= 1e-3 => 1.0,
            Self::Lanczos(lobes) => lobes * (PI * x).sin() * (PI * x / lobes).sin() / (PI * PI * x * x),
            // A standard deviation of a third of the reach.
            Self::Gaussian if x < 1.5 => (-2.0 * x * x).exp(),
            Self::Mitchell if x < 1.0 => (7.0 / 6.0 * x - 2.0) * x * x + 8.0 / 9.0,
            Self::Mitchell if x < 2.0 => ((2.0 - 7.0 / 18.0 * x) * x - 10.0 / 3.0) * x + 16.0 / 9.0,
            Self::Gaussian | Self::Mitchell => 0.0,
        }
    }
}

/// The whole number below, and how far beyond it.
fn split(place: f64) -> (i64, f64) {
    let below = place.floor();
    (below as i64, place - below)
}

fn keys(x: f64, a: f64) -> f64 {
    let x = x.abs();
    if x < 1.0 {
        ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0
    } else if x < 2.0 {
        a * (((x - 5.0) * x + 8.0) * x - 4.0)
    } else {
        0.0
    }
}

/// `interpolateLanczos4`: weights of the pixels from 3 below the place to 4 above, which is `t` beyond a pixel.
fn lanczos4(t: f64) -> [f64; 8] {
    // Nearer than this, it is the pixel itself.
    if t < f64::from(f32::EPSILON) {
        return [0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0];
    }
    const R: f64 = FRAC_1_SQRT_2;
    let turns = [
        (1.0, 0.0),
        (-R, -R),
        (0.0, 1.0),
        (R, -R),
        (-1.0, 0.0),
        (R, R),
        (0.0, -1.0),
        (-R, R),
    ];
    let (sin, cos) = (-(t + 3.0) * PI / 4.0).sin_cos();
    let mut offset = 3.0;
    let weights = turns.map(|(of_sin, of_cos): (f64, f64)| {
        let y = (t + offset) * PI / 4.0;
        offset -= 1.0;
        (of_sin * sin + of_cos * cos) / (y * y)
    });
    let sum: f64 = weights.iter().sum();
    weights.map(|weight| weight / sum)
}
