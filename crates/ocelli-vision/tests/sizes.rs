//! Every combination of image size, tensor size, policy and filter gives a tensor, and never a panic.

use ocelli_vision::{
    Align, Channels, Coordinates, Decoder, InputSpec, InputType, Interpolation, Layout, Resampling,
    ResizePolicy, Rounding,
};
use proptest::{prelude::*, sample::select};

fn policies([width, height]: [u32; 2], rounding: Rounding, ratio: f64) -> Vec<ResizePolicy> {
    let (size, fill) = ([width, height], [90, 91, 92]);
    vec![
        ResizePolicy::Stretch,
        ResizePolicy::StretchCrop { size, rounding },
        ResizePolicy::ShortestEdge {
            size: width,
            rounding,
        },
        ResizePolicy::Cover { size, rounding },
        ResizePolicy::CropRatio { ratio },
        ResizePolicy::CropAspect,
        ResizePolicy::FitHeight { fill },
        ResizePolicy::Letterbox {
            fill,
            size: None,
            rounding: Rounding::Down,
            align: Align::TopLeft,
        },
        ResizePolicy::Letterbox {
            fill,
            size: None,
            rounding: Rounding::Even,
            align: Align::Center,
        },
        ResizePolicy::Letterbox {
            fill,
            size: Some(size),
            rounding: Rounding::Even,
            align: Align::Center,
        },
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn a_white_image_becomes_white_and_its_surroundings(
        (width, height) in (1..400_u32, 1..400_u32),
        target in [1..90_u32, 1..90_u32],
        size in [1..120_u32, 1..120_u32],
        rounding in select(vec![Rounding::Even, Rounding::Down]),
        (resampler, interpolation, antialias) in select(vec![
            (Resampling::Pillow, Interpolation::Nearest, true),
            (Resampling::Pillow, Interpolation::Bilinear, true),
            (Resampling::Pillow, Interpolation::Bilinear, false),
            (Resampling::Pillow12, Interpolation::Bicubic, true),
            (Resampling::Pillow, Interpolation::Bicubic, false),
            (Resampling::Pillow, Interpolation::Lanczos, true),
            (Resampling::Pillow, Interpolation::Box, true),
            (Resampling::TensorFlow, Interpolation::Nearest, false),
            (Resampling::TensorFlow, Interpolation::Bilinear, true),
            (Resampling::TensorFlow, Interpolation::Bicubic, false),
            (Resampling::TensorFlow, Interpolation::Lanczos5, true),
            (Resampling::TensorFlow, Interpolation::Lanczos, false),
            (Resampling::TensorFlow, Interpolation::Mitchell, true),
            (Resampling::TensorFlow, Interpolation::Area, false),
            (Resampling::OpenCv, Interpolation::Nearest, false),
            (Resampling::OpenCv, Interpolation::Bilinear, false),
            (Resampling::OpenCv, Interpolation::Bicubic, false),
            (Resampling::OpenCv, Interpolation::Lanczos, false),
            (Resampling::OpenCv, Interpolation::Area, false),
        ]),
        ratio in 0.01..=1.0,
    ) {
        // OpenCV's own Lanczos makes 254 of white here and there: its rounded weights do not always add up to one.
        let darkest = match (resampler, interpolation) {
            (Resampling::OpenCv, Interpolation::Lanczos) => 254,
            _ => 255,
        };
        let mut decoder = Decoder::new().unwrap();
        let white = vec![255; (width * height * 3) as usize];
        for resize in policies(size, rounding, ratio) {
            let spec = InputSpec {
                name: "image".into(),
                dtype: InputType::Uint8,
                width: target[0],
                height: target[1],
                layout: Layout::Nhwc,
                channels: Channels::Rgb,
                scale: 1.0,
                mean: [0.0; 3],
                std: [1.0; 3],
                resize,
                interpolation,
                resampler,
                coordinates: Coordinates::default(),
                antialias,
                exif: true,
            };
            let pixels = decoder.prepare_pixels(&white, (width, height), &spec).unwrap();
            let fill = match resize {
                ResizePolicy::Letterbox { fill, .. } | ResizePolicy::FitHeight { fill } => fill,
                _ => [0; 3],
            };
            let is_white = |pixel: &[u8; 3]| pixel.iter().all(|&value| value >= darkest);
            let is_known = |pixel: &[u8; 3]| is_white(pixel) || *pixel == fill;
            prop_assert!(pixels.as_chunks().0.iter().all(is_known), "{resize:?}");
            // The middle is always of the photo, or the corner where it is aligned so.
            let middle = match resize {
                ResizePolicy::FitHeight { .. } | ResizePolicy::Letterbox { align: Align::TopLeft, .. } => 0,
                _ => ((target[1] - 1) / 2 * target[0] + (target[0] - 1) / 2) as usize,
            };
            prop_assert!(is_white(&pixels.as_chunks().0[middle]), "{resize:?}");
        }
    }
}
