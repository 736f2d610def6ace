//! Packed RGB pixels into one image's part of the tensor: arithmetic, channel order, layout.

use crate::input::{Channels, InputSpec, Layout};

impl InputSpec {
    /// Writes one image, normalised, in the tensor's layout and channel order.
    ///
    /// `rgb` is height x width x 3 as [`Decoder::prepare`](crate::Decoder::prepare) returns it, `out` is
    /// [`elements`](Self::elements) long.
    ///
    /// # Panics
    /// When either slice has another length.
    pub fn fill_f32(&self, rgb: &[u8], out: &mut [f32]) {
        // Every byte has one of 256 results, so that a table gives exactly `(x * scale - mean) / std`
        // in float32, without the rounding differences of a folded multiply-add.
        let tables = [0, 1, 2].map(|channel| self.table(channel));
        self.fill(rgb, out, |channel, byte| tables[channel][usize::from(byte)]);
    }

    /// Writes one image as bytes, in the tensor's layout and channel order.
    ///
    /// Slices as for [`fill_f32`](Self::fill_f32).
    ///
    /// # Panics
    /// When either slice has another length.
    pub fn fill_u8(&self, rgb: &[u8], out: &mut [u8]) {
        if self.layout == Layout::Nhwc && self.channels == Channels::Rgb {
            out.copy_from_slice(rgb);
        } else {
            self.fill(rgb, out, |_, byte| byte);
        }
    }

    fn table(&self, channel: usize) -> [f32; 256] {
        let (mean, std) = (self.mean[channel], self.std[channel]);
        std::array::from_fn(|byte| (byte as f32 * self.scale - mean) / std)
    }

    fn fill<T: Copy>(&self, rgb: &[u8], out: &mut [T], convert: impl Fn(usize, u8) -> T) {
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
fn luma([r, g, b]: [u8; 3]) -> u8 {
    ((u32::from(r) * 19595 + u32::from(g) * 38470 + u32::from(b) * 7471 + 0x8000) >> 16) as u8
}
