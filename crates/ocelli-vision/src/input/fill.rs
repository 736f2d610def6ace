//! Packed RGB pixels into one image's part of the tensor: arithmetic, channel order, layout.

use half::f16;

use crate::input::{Channels, InputSpec, Layout};

/// A type of tensor elements that [`InputSpec::fill`] writes.
pub trait TensorElement: Copy + Default {
    #[doc(hidden)]
    fn fill(spec: &InputSpec, rgb: &[u8], out: &mut [Self]);
}

impl TensorElement for f32 {
    fn fill(spec: &InputSpec, rgb: &[u8], out: &mut [Self]) {
        // A table of the 256 results gives exactly `(x * scale - mean) / std` in float32, without the rounding
        // differences of a folded multiply-add.
        let tables = [0, 1, 2].map(|channel| spec.table(channel));
        spec.convert(rgb, out, |channel, byte| tables[channel][usize::from(byte)]);
    }
}

impl TensorElement for f16 {
    fn fill(spec: &InputSpec, rgb: &[u8], out: &mut [Self]) {
        let tables = [0, 1, 2].map(|channel| spec.table(channel).map(f16::from_f32));
        spec.convert(rgb, out, |channel, byte| tables[channel][usize::from(byte)]);
    }
}

impl TensorElement for u8 {
    fn fill(spec: &InputSpec, rgb: &[u8], out: &mut [Self]) {
        if spec.layout == Layout::Nhwc && spec.channels == Channels::Rgb {
            out.copy_from_slice(rgb);
        } else {
            spec.convert(rgb, out, |_, byte| byte);
        }
    }
}

impl InputSpec {
    /// Writes one image in the tensor's layout and channel order: bytes as they are, floats normalised in single precision.
    ///
    /// `rgb` is height x width x 3 as [`Decoder::prepare`](crate::Decoder::prepare) returns it, `out` is
    /// [`elements`](Self::elements) long.
    ///
    /// # Panics
    /// When either slice has another length.
    pub fn fill<T: TensorElement>(&self, rgb: &[u8], out: &mut [T]) {
        T::fill(self, rgb, out);
    }

    fn table(&self, channel: usize) -> [f32; 256] {
        let (mean, std) = (self.mean[channel], self.std[channel]);
        std::array::from_fn(|byte| (byte as f32 * self.scale - mean) / std)
    }

    fn convert<T: Copy>(&self, rgb: &[u8], out: &mut [T], convert: impl Fn(usize, u8) -> T) {
        assert_eq!(
            rgb.len(),
            self.pixels() * 3,
            "rgb must be height x width x 3 bytes"
        );
        assert_eq!(out.len(), self.elements(), "out must be one image long");
        let (pixels, _) = rgb.as_chunks::<3>();
        match (self.channels, self.layout) {
            (Channels::Gray, _) => {
                for (out, &pixel) in out.iter_mut().zip(pixels) {
                    *out = convert(0, luma(pixel));
                }
            }
            (Channels::Gray3, layout) => {
                let grey: Vec<[u8; 3]> = pixels.iter().map(|&pixel| [luma(pixel); 3]).collect();
                match layout {
                    Layout::Nhwc => interleave(&grey, out, |pixel| pixel, convert),
                    Layout::Nchw => planes(&grey, out, [0, 1, 2], convert),
                }
            }
            (Channels::Rgb, Layout::Nhwc) => interleave(pixels, out, |[r, g, b]| [r, g, b], convert),
            (Channels::Bgr, Layout::Nhwc) => interleave(pixels, out, |[r, g, b]| [b, g, r], convert),
            (Channels::Rgb, Layout::Nchw) => planes(pixels, out, [0, 1, 2], convert),
            (Channels::Bgr, Layout::Nchw) => planes(pixels, out, [2, 1, 0], convert),
        }
    }
}

fn interleave<T: Copy>(
    pixels: &[[u8; 3]],
    out: &mut [T],
    order: impl Fn([u8; 3]) -> [u8; 3],
    convert: impl Fn(usize, u8) -> T,
) {
    let (out, _) = out.as_chunks_mut::<3>();
    for (out, &pixel) in out.iter_mut().zip(pixels) {
        let [first, second, third] = order(pixel);
        *out = [convert(0, first), convert(1, second), convert(2, third)];
    }
}

fn planes<T: Copy>(pixels: &[[u8; 3]], out: &mut [T], order: [usize; 3], convert: impl Fn(usize, u8) -> T) {
    let (first, rest) = out.split_at_mut(pixels.len());
    let (second, third) = rest.split_at_mut(pixels.len());
    for (((pixel, first), second), third) in pixels.iter().zip(first).zip(second).zip(third) {
        *first = convert(0, pixel[order[0]]);
        *second = convert(1, pixel[order[1]]);
        *third = convert(2, pixel[order[2]]);
    }
}

/// ITU-R 601 luma in Pillow's 16-bit fixed point (`L24` in `Convert.c`).
pub(crate) fn luma([r, g, b]: [u8; 3]) -> u8 {
    ((u32::from(r) * 19595 + u32::from(g) * 38470 + u32::from(b) * 7471 + 0x8000) >> 16) as u8
}

#[cfg(test)]
mod tests {
    use half::f16;

    use crate::{
        Channels, Coordinates, InputSpec, InputType, Interpolation, Layout, Resampling, ResizePolicy,
    };

    fn spec(layout: Layout, channels: Channels) -> InputSpec {
        InputSpec {
            name: "image".into(),
            dtype: InputType::Float32,
            width: 3,
            height: 2,
            layout,
            channels,
            scale: 1.0 / 255.0,
            mean: [0.485, 0.456, 0.406],
            std: [0.229, 0.224, 0.225],
            resize: ResizePolicy::Stretch,
            interpolation: Interpolation::Bilinear,
            resampler: Resampling::default(),
            coordinates: Coordinates::default(),
            antialias: true,
            exif: true,
        }
    }

    /// Pixel (y, x) is [10 y + x, that + 100, that + 200].
    fn rgb() -> Vec<u8> {
        [0, 1, 2, 10, 11, 12]
            .into_iter()
            .flat_map(|value| [value, value + 100, value + 200])
            .collect()
    }

    fn bytes(layout: Layout, channels: Channels) -> Vec<u8> {
        let spec = spec(layout, channels);
        let mut out = vec![0; spec.elements()];
        spec.fill(&rgb(), &mut out);
        out
    }

    #[test]
    fn layouts_and_channel_orders() {
        assert_eq!(bytes(Layout::Nhwc, Channels::Rgb), rgb());
        assert_eq!(
            bytes(Layout::Nhwc, Channels::Bgr)[..6],
            [200, 100, 0, 201, 101, 1]
        );
        let planes = [
            0, 1, 2, 10, 11, 12, 100, 101, 102, 110, 111, 112, 200, 201, 202, 210, 211, 212,
        ];
        assert_eq!(bytes(Layout::Nchw, Channels::Rgb), planes);
        let [red, green, blue] = [0, 6, 12].map(|start| &planes[start..start + 6]);
        assert_eq!(bytes(Layout::Nchw, Channels::Bgr), [blue, green, red].concat());
    }

    /// Pillow: `Image.new("RGB", (1, 1), (10, 110, 210)).convert("L")` is 92.
    #[test]
    fn grey_is_pillows_luma() {
        let grey = bytes(Layout::Nchw, Channels::Gray);
        assert_eq!(grey, bytes(Layout::Nhwc, Channels::Gray));
        assert_eq!((grey.len(), grey[3]), (6, 92));
    }

    /// Of each pixel its luma three times, with the mean and deviation of each channel.
    #[test]
    fn grey_in_three_channels() {
        let grey = bytes(Layout::Nhwc, Channels::Gray);
        let repeated: Vec<u8> = grey.iter().flat_map(|&value| [value; 3]).collect();
        assert_eq!(bytes(Layout::Nhwc, Channels::Gray3), repeated);
        assert_eq!(bytes(Layout::Nchw, Channels::Gray3), grey.repeat(3));
        let spec = spec(Layout::Nchw, Channels::Gray3);
        let mut out = vec![0.0_f32; spec.elements()];
        spec.fill(&rgb(), &mut out);
        for (channel, plane) in out.chunks_exact(6).enumerate() {
            for (value, grey) in plane.iter().zip(&grey) {
                let x = f32::from(*grey);
                assert_eq!(*value, (x * spec.scale - spec.mean[channel]) / spec.std[channel]);
            }
        }
    }

    /// `(x * scale - mean) / std` in float32, each constant with the channel of the tensor that it belongs to.
    #[test]
    fn normalisation_follows_the_tensors_channels() {
        for (channels, order) in [(Channels::Rgb, [0, 1, 2]), (Channels::Bgr, [2, 1, 0])] {
            let spec = spec(Layout::Nhwc, channels);
            let mut out = vec![0.0_f32; spec.elements()];
            spec.fill(&rgb(), &mut out);
            let mut planes = vec![0.0_f32; spec.elements()];
            InputSpec {
                layout: Layout::Nchw,
                ..spec.clone()
            }
            .fill(&rgb(), &mut planes);
            for (pixel, values) in rgb().as_chunks::<3>().0.iter().enumerate() {
                for channel in 0..3 {
                    let x = f32::from(values[order[channel]]);
                    let expected = (x * spec.scale - spec.mean[channel]) / spec.std[channel];
                    assert_eq!(out[pixel * 3 + channel], expected);
                    assert_eq!(planes[channel * 6 + pixel], expected);
                }
            }
        }
    }

    /// NumPy: `((x * scale - mean) / std).astype("float16")`.
    #[test]
    fn half_precision_is_rounded_once() {
        let spec = spec(Layout::Nchw, Channels::Bgr);
        let mut single = vec![0.0_f32; spec.elements()];
        spec.fill(&rgb(), &mut single);
        let mut half = vec![f16::ZERO; spec.elements()];
        spec.fill(&rgb(), &mut half);
        let expected: Vec<f16> = single.into_iter().map(f16::from_f32).collect();
        assert_eq!(half, expected);
    }

    #[test]
    #[should_panic(expected = "height x width x 3")]
    fn pixels_of_another_size_are_a_mistake_of_the_caller() {
        let spec = spec(Layout::Nchw, Channels::Rgb);
        spec.fill(&rgb()[3..], &mut vec![0.0_f32; spec.elements()]);
    }
}
