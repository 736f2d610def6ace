//! One image's part of a tensor back into packed RGB pixels.

use crate::input::{Channels, InputSpec, Layout};

impl InputSpec {
    /// The pixels that become `tensor`, [`elements`](Self::elements) long, under this spec: the inverse of
    /// [`InputSpec::fill`], exact for every tensor that it makes.
    ///
    /// Elsewhere each value becomes the nearest of 0..=255, and what is not a number becomes 0. A grey tensor becomes
    /// grey pixels.
    ///
    /// # Panics
    /// When `tensor` has another length.
    pub fn recover_rgb(&self, tensor: &[f32]) -> Vec<u8> {
        assert_eq!(tensor.len(), self.elements(), "tensor must be one image long");
        let byte = |channel: usize, value: f32| {
            // The cast saturates.
            ((value * self.std[channel] + self.mean[channel]) / self.scale).round() as u8
        };
        let at = |pixel: usize, channel: usize| match self.layout {
            Layout::Nhwc => tensor[pixel * self.channels.count() + channel],
            Layout::Nchw => tensor[channel * self.pixels() + pixel],
        };
        let rgb = match self.channels {
            Channels::Rgb | Channels::Gray3 => [0, 1, 2],
            Channels::Bgr => [2, 1, 0],
            Channels::Gray => [0; 3],
        };
        (0..self.pixels())
            .flat_map(|pixel| rgb.map(|channel| byte(channel, at(pixel, channel))))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use crate::{
        Channels, Coordinates, InputSpec, InputType, Interpolation, Layout, Resampling, ResizePolicy,
    };

    const IMAGENET: ([f32; 3], [f32; 3]) = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]);
    const CAFFE: ([f32; 3], [f32; 3]) = ([103.939, 116.779, 123.68], [1.0; 3]);

    fn spec(layout: Layout, channels: Channels, (mean, std): ([f32; 3], [f32; 3]), scale: f32) -> InputSpec {
        InputSpec {
            name: "image".into(),
            dtype: InputType::Float32,
            width: 16,
            height: 16,
            layout,
            channels,
            scale,
            mean,
            std,
            resize: ResizePolicy::Stretch,
            interpolation: Interpolation::Bicubic,
            resampler: Resampling::default(),
            coordinates: Coordinates::default(),
            antialias: true,
            exif: true,
        }
    }

    fn there_and_back(spec: &InputSpec, rgb: &[u8]) -> Vec<u8> {
        let mut tensor = vec![0.0; spec.elements()];
        spec.fill(rgb, &mut tensor);
        spec.recover_rgb(&tensor)
    }

    /// Each of the 256 values in each channel, in a combination of its own.
    fn every_value() -> Vec<u8> {
        (0..=255_u8)
            .flat_map(|value| [value, value.wrapping_add(85), value.wrapping_mul(7)])
            .collect()
    }

    #[test]
    fn every_value_of_every_channel_comes_back_from_every_tensor() {
        for layout in [Layout::Nhwc, Layout::Nchw] {
            for channels in [Channels::Rgb, Channels::Bgr] {
                for (constants, scale) in [
                    (IMAGENET, 1.0 / 255.0),
                    (CAFFE, 1.0),
                    (([1.0; 3], [1.0; 3]), 2.0 / 255.0),
                ] {
                    let spec = spec(layout, channels, constants, scale);
                    assert_eq!(there_and_back(&spec, &every_value()), every_value(), "{spec:?}");
                }
            }
        }
    }

    #[test]
    fn grey_comes_back_as_grey() {
        let spec = spec(Layout::Nchw, Channels::Gray, IMAGENET, 1.0 / 255.0);
        let grey: Vec<u8> = (0..=255).flat_map(|value| [value; 3]).collect();
        assert_eq!(there_and_back(&spec, &grey), grey);
    }

    #[test]
    fn what_is_no_pixel_becomes_the_nearest_one() {
        let spec = spec(Layout::Nhwc, Channels::Bgr, CAFFE, 1.0);
        let mut tensor = vec![0.0; spec.elements()];
        let odd = [
            -1e9,
            1e9,
            f32::INFINITY,
            f32::NEG_INFINITY,
            100.3 - 116.779,
            f32::NAN,
        ];
        tensor[..6].copy_from_slice(&odd);
        assert_eq!(spec.recover_rgb(&tensor)[..6], [255, 255, 0, 0, 100, 0]);
    }

    proptest! {
        #[test]
        fn pixels_survive_keras_caffe_mode(rgb in prop::collection::vec(any::<u8>(), 16 * 16 * 3)) {
            let spec = spec(Layout::Nhwc, Channels::Bgr, CAFFE, 1.0);
            prop_assert_eq!(there_and_back(&spec, &rgb), rgb);
        }
    }
}
