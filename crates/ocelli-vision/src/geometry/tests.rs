use proptest::prelude::*;

use super::*;
use crate::{Channels, Coordinates, ImageFormat, InputType, Layout, header::Storage};

mod loaders;

const LETTERBOX: ResizePolicy = ResizePolicy::Letterbox {
    fill: [0; 3],
    size: None,
    rounding: Rounding::Even,
    align: Align::Center,
};

fn edge(size: u32) -> ResizePolicy {
    ResizePolicy::ShortestEdge {
        size,
        rounding: Rounding::Even,
    }
}

fn spec(resize: ResizePolicy, interpolation: Interpolation) -> InputSpec {
    InputSpec {
        name: "image".into(),
        dtype: InputType::Uint8,
        width: 224,
        height: 224,
        layout: Layout::Nhwc,
        channels: Channels::Rgb,
        scale: 1.0,
        mean: [0.0; 3],
        std: [1.0; 3],
        resize,
        interpolation,
        resampler: Resampling::default(),
        coordinates: Coordinates::default(),
        antialias: true,
        exif: true,
    }
}

fn header(width: u32, height: u32, orientation: Orientation) -> ImageHeader {
    let storage = Storage {
        scalable: true,
        ..Storage::default()
    };
    ImageHeader {
        format: ImageFormat::Jpeg,
        width,
        height,
        orientation,
        storage,
    }
}

fn plan(width: u32, height: u32, resize: ResizePolicy) -> Plan {
    Plan::new(
        &header(width, height, Orientation::Upright),
        &spec(resize, Interpolation::Bicubic),
    )
}

/// 500 x 375: the square of int(375 * 0.875) = 328, at 172 / 2 and at 47 / 2 rounded up.
#[test]
fn crop_ratio_is_efficientnets() {
    let view = plan(500, 375, ResizePolicy::CropRatio { ratio: 0.875 })
        .sampling
        .view;
    assert_eq!(
        view,
        Region {
            left: 86,
            top: 24,
            width: 328,
            height: 328
        }
    );
    let one = plan(1, 1, ResizePolicy::CropRatio { ratio: 0.1 }).sampling.view;
    assert_eq!(
        one,
        Region {
            left: 0,
            top: 0,
            width: 1,
            height: 1
        }
    );
}

/// torchvision makes 500 x 375 into 341 x 256 and cuts at (58.5 rounded to even, 16).
#[test]
fn shortest_edge_is_torchvisions() {
    let sampling = plan(500, 375, edge(256)).sampling;
    let step = 500.0 / 341.0;
    assert!((sampling.source.left - 58.0 * step).abs() < 1e-9, "{sampling:?}");
    assert!(
        (sampling.source.top - 16.0 * 375.0 / 256.0).abs() < 1e-9,
        "{sampling:?}"
    );
    assert!(
        (sampling.source.width - 224.0 * step).abs() < 1e-9,
        "{sampling:?}"
    );
    assert_eq!(
        sampling.view,
        Region {
            left: 0,
            top: 0,
            width: 500,
            height: 375
        }
    );
}

#[test]
fn letterbox_keeps_the_aspect_and_at_least_a_pixel() {
    let sampling = plan(500, 375, LETTERBOX).sampling;
    assert_eq!(
        (sampling.width, sampling.height, sampling.left, sampling.top),
        (224, 168, 0, 28)
    );
    let thin = plan(60_000, 1, LETTERBOX).sampling;
    assert_eq!((thin.width, thin.height, thin.top), (224, 1, 111));
}

#[test]
fn only_photos_with_pixels_to_spare_are_decoded_smaller() {
    let ratio = ResizePolicy::CropRatio { ratio: 0.875 };
    assert_eq!(plan(500, 375, ratio).scale, 1);
    // int(1279 * 0.875) = 1119 is just below 2 * 2.5 * 224 = 1120.
    assert_eq!(plan(1600, 1279, ratio).scale, 1);
    assert_eq!(plan(1600, 1280, ratio).scale, 2);
    assert_eq!(plan(4032, 3024, ratio).scale, 4);
    assert_eq!(plan(8000, 6000, ratio).scale, 4);
    // One long side is not enough.
    assert_eq!(plan(9000, 600, ResizePolicy::Stretch).scale, 1);
}

#[test]
fn what_reads_single_pixels_is_decoded_whole() {
    let photo = header(4032, 3024, Orientation::Upright);
    assert_eq!(
        Plan::new(&photo, &spec(ResizePolicy::Stretch, Interpolation::Nearest)).scale,
        1
    );
    let plain = InputSpec {
        antialias: false,
        ..spec(ResizePolicy::Stretch, Interpolation::Bilinear)
    };
    assert_eq!(Plan::new(&photo, &plain).scale, 1);
}

/// The first viewed column of a photo turned by 90 degrees is its last stored row.
#[test]
fn a_turned_photo_is_cut_where_it_is_viewed() {
    let turned = header(500, 376, Orientation::Rotate90);
    let crop = spec(ResizePolicy::CropRatio { ratio: 0.875 }, Interpolation::Bicubic);
    // Viewed 376 x 500: side 329, left (47 + 1) / 2 = 24, top (171 + 1) / 2 = 86.
    let view = Plan::new(&turned, &crop).sampling.view;
    assert_eq!(
        view,
        Region {
            left: 86,
            top: 376 - 24 - 329,
            width: 329,
            height: 329
        }
    );
    let untouched = Plan::new(&turned, &InputSpec { exif: false, ..crop });
    assert_eq!(untouched.orientation, Orientation::Upright);
}

/// torchvision crops at 4 of a rest of 7, transformers at 3; padding is the same for both.
#[test]
fn a_centre_between_two_pixels_is_rounded_as_the_library_does() {
    let left = |size, rounding| {
        let sampling = plan(224, 224, ResizePolicy::StretchCrop { size, rounding }).sampling;
        (sampling.source.left, sampling.left, sampling.width)
    };
    let step = 224.0 / 231.0;
    assert_eq!(left([231, 224], Rounding::Even), (4.0 * step, 0, 224));
    assert_eq!(left([231, 224], Rounding::Down), (3.0 * step, 0, 224));
    for rounding in [Rounding::Even, Rounding::Down] {
        assert_eq!(left([217, 224], rounding), (0.0, 3, 217));
    }
}

/// 256 * 376 / 263 is 365.99: torchvision takes 365 and PaddleClas 366. Of a rest of 35 (243 x 240 at 256) it crops at 17.
#[test]
fn the_longer_edge_is_rounded_as_the_library_does() {
    let left = |width, height, rounding| {
        let policy = ResizePolicy::ShortestEdge { size: 256, rounding };
        let sampling = plan(width, height, policy).sampling;
        // In pixels of the resized photo: where the centre begins, and how long the longer edge is.
        let factor = f64::from(sampling.width) / sampling.source.width;
        (
            (sampling.source.left * factor).round(),
            (f64::from(width) * factor).round(),
        )
    };
    assert_eq!(left(376, 263, Rounding::Even), (70.0, 365.0));
    assert_eq!(left(376, 263, Rounding::Down), (70.0, 365.0));
    assert_eq!(left(376, 263, Rounding::Nearest), (71.0, 366.0));
    assert_eq!(left(243, 240, Rounding::Even), (18.0, 259.0));
    assert_eq!(left(243, 240, Rounding::Nearest), (17.0, 259.0));
}

/// Seen with Pillow 13.0.0 and sizes to 224 x 224. The sizes of the whole photo decide, not those at which it is
/// decoded, and a photo that is turned is as tall as it is viewed.
#[test]
fn the_order_of_passes_is_pillow_13s() {
    let tall = [
        (348, 520),
        (350, 500),
        (333, 500),
        (300, 450),
        (300, 400),
        (480, 800),
        (720, 1280),
    ];
    let others = [
        (375, 500),
        (480, 640),
        (1000, 1500),
        (1080, 1920),
        (3024, 4032),
        (520, 348),
        (224, 100),
        (224, 224),
    ];
    // Twice as much is not more than twice as much; a narrow photo is enlarged sideways.
    let edges = [
        ((324, 424), false),
        ((324, 425), true),
        ((100, 225), true),
        ((100, 224), false),
    ];
    let named = tall
        .map(|size| (size, true))
        .into_iter()
        .chain(others.map(|size| (size, false)));
    for ((width, height), vertical_first) in named.chain(edges) {
        let order = |header: &ImageHeader, resampler| {
            let spec = InputSpec {
                resampler,
                ..spec(ResizePolicy::Stretch, Interpolation::Bicubic)
            };
            Plan::new(header, &spec).sampling.vertical_first
        };
        let upright = header(width, height, Orientation::Upright);
        let turned = header(height, width, Orientation::Rotate90);
        assert_eq!(
            order(&upright, Resampling::Pillow),
            vertical_first,
            "{width} x {height}"
        );
        assert_eq!(
            order(&turned, Resampling::Pillow),
            !vertical_first,
            "{width} x {height} turned"
        );
        assert!(!order(&upright, Resampling::Pillow12) && order(&turned, Resampling::Pillow12));
    }
    let large = Plan::new(
        &header(1600, 6400, Orientation::Upright),
        &spec(ResizePolicy::Stretch, Interpolation::Lanczos),
    );
    assert_eq!(large.scale, 2);
    let scaled = large.sampling.scaled(2, 800, 3200);
    assert!(large.sampling.vertical_first && scaled.vertical_first);
}

/// What is resized decides, and to which size: a crop before the resize, all of the photo before a crop of the result.
#[test]
fn the_order_of_passes_is_that_of_what_is_resized() {
    let first = |resize| plan(300, 450, resize).sampling.vertical_first;
    assert!(first(ResizePolicy::Stretch));
    assert!(
        !first(ResizePolicy::CropRatio { ratio: 1.0 }),
        "a square is resized"
    );
    // To 256 x 384: 66 rows, 44 columns.
    assert!(!first(edge(256)), "384 rows remain before the crop");
    // To 290 x 435: 15 rows, 10 columns; stretched to 298 x 430: 20 rows, 2 columns.
    let rounding = Rounding::Even;
    assert!(first(ResizePolicy::StretchCrop {
        size: [298, 430],
        rounding
    }));
}

/// timm: 500 x 375 covers 100 x 200 as 267 x 200, and fits into it as 100 x 75.
#[test]
fn covering_and_fitting_are_timms() {
    let (cover, fit) = (
        keep_ratio(500, 375, [100, 200], f64::min),
        keep_ratio(500, 375, [100, 200], f64::max),
    );
    assert_eq!((cover, fit), ([267, 200], [100, 75]));
    // 0.5 and 1.5 go to the even number, and never to nothing.
    assert_eq!(keep_ratio(1, 8, [4, 4], f64::max), [1, 4]);
    assert_eq!(keep_ratio(3, 8, [4, 4], f64::max), [2, 4]);
}

/// Numbers make the policy: a strategy for each would take minutes to compile.
fn any_policy() -> BoxedStrategy<ResizePolicy> {
    (0..10_u8, [1..600_u32, 1..600_u32], any::<bool>(), 1e-3..=1.0)
        .prop_map(|(kind, size, down, ratio)| {
            let rounding = if down { Rounding::Down } else { Rounding::Even };
            let fill = [9; 3];
            match kind {
                0 => ResizePolicy::Stretch,
                1 => ResizePolicy::StretchCrop { size, rounding },
                2 => ResizePolicy::ShortestEdge {
                    size: size[0],
                    rounding,
                },
                3 => ResizePolicy::Cover { size, rounding },
                4 => ResizePolicy::CropRatio { ratio },
                7 => ResizePolicy::CropAspect,
                8 => ResizePolicy::FitHeight { fill },
                9 => ResizePolicy::Letterbox {
                    fill,
                    size: down.then_some(size),
                    rounding: Rounding::Down,
                    align: Align::Left,
                },
                5 => ResizePolicy::Letterbox {
                    fill,
                    size: None,
                    rounding: Rounding::Even,
                    align: Align::Center,
                },
                _ => ResizePolicy::Letterbox {
                    fill,
                    size: Some(size),
                    rounding: Rounding::Even,
                    align: Align::Center,
                },
            }
        })
        .boxed()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn every_sampling_stays_inside_the_image_and_the_tensor(
        (width, height) in (1..5000_u32, 1..5000_u32),
        (target_width, target_height) in (1..500_u32, 1..500_u32),
        policy in any_policy(),
        turned in any::<bool>(),
    ) {
        let spec = InputSpec {
            width: target_width,
            height: target_height,
            ..spec(policy, Interpolation::Bicubic)
        };
        let orientation = if turned { Orientation::Rotate90 } else { Orientation::Upright };
        let plan = Plan::new(&header(width, height, orientation), &spec);
        let full = plan.sampling;
        // Viewed sizes, for places on the tensor.
        let (shown_width, shown_height) = if turned { (full.height, full.width) } else { (full.width, full.height) };
        prop_assert!(full.width > 0 && full.height > 0);
        prop_assert!(full.left + shown_width <= target_width && full.top + shown_height <= target_height);
        let is_centred = |place: u32, shown: u32, target: u32| place == (target - shown) / 2;
        let (is_left, is_exact) = match policy {
            ResizePolicy::FitHeight { .. } => (true, true),
            // TensorFlow places by sides that are not rounded yet.
            ResizePolicy::Letterbox { align: Align::Left, rounding, .. } => (true, rounding == Rounding::Even),
            _ => (false, true),
        };
        let place = if is_left { full.left == 0 } else { is_centred(full.left, shown_width, target_width) };
        prop_assert!(place, "{full:?}");
        prop_assert!(!is_exact || is_centred(full.top, shown_height, target_height));
        for scale in [1, plan.scale] {
            let (frame_width, frame_height) = (width.div_ceil(scale), height.div_ceil(scale));
            let Sampling { view, source, .. } = full.scaled(scale, frame_width, frame_height);
            prop_assert!(view.width > 0 && view.height > 0);
            prop_assert!(view.left + view.width <= frame_width && view.top + view.height <= frame_height);
            let inside = |start: f64, length: f64, first: u32, count: u32| {
                let (first, end) = (f64::from(first), f64::from(first + count));
                length > 0.0 && start >= first - 1e-6 && start + length <= end + 1e-6
            };
            prop_assert!(inside(source.left, source.width, view.left, view.width), "{source:?} {view:?}");
            prop_assert!(inside(source.top, source.height, view.top, view.height), "{source:?} {view:?}");
        }
    }
}
