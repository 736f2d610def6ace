//! What loaders of other libraries do with a photo's sides.

use super::*;

/// PaddleOCR: of 48 x 192, a line of 300 x 60 is 240 wide and squeezed to 192, one of 100 x 60 is 80 wide.
#[test]
fn a_line_of_text_has_the_height_and_at_most_the_width() {
    let place = |width, height| {
        let line = InputSpec {
            width: 192,
            height: 48,
            ..spec(
                ResizePolicy::FitHeight { fill: [128; 3] },
                Interpolation::Bilinear,
            )
        };
        let plan = Plan::new(&header(width, height, Orientation::Upright), &line);
        let Sampling {
            width,
            height,
            left,
            top,
            source,
            ..
        } = plan.sampling;
        (width, height, left, top, source.width, source.height)
    };
    assert_eq!(place(300, 60), (192, 48, 0, 0, 300.0, 60.0));
    assert_eq!(place(100, 60), (80, 48, 0, 0, 100.0, 60.0));
    // Rounded up, and never nothing.
    assert_eq!(place(101, 60).0, 81);
    assert_eq!(place(1, 6000).0, 1);
}

#[test]
fn a_letterboxed_photo_is_placed_as_align_says() {
    let place = |width, height, rounding, align| {
        let resize = ResizePolicy::Letterbox {
            fill: [0; 3],
            size: None,
            rounding,
            align,
        };
        let sampling = plan(width, height, resize).sampling;
        (sampling.left, sampling.top, sampling.width, sampling.height)
    };
    let even = Rounding::Even;
    for (align, lying, standing) in [
        (Align::Center, (0, 28), (28, 0)),
        (Align::Left, (0, 28), (0, 0)),
        (Align::Top, (0, 0), (28, 0)),
        (Align::TopLeft, (0, 0), (0, 0)),
    ] {
        assert_eq!(
            place(400, 300, even, align),
            (lying.0, lying.1, 224, 168),
            "{align:?}"
        );
        assert_eq!(
            place(300, 400, even, align),
            (standing.0, standing.1, 168, 224),
            "{align:?}"
        );
    }
    // TensorFlow's `resize_with_pad` rounds 148.9 down, and places it by (224 - 148.9) / 2 = 37.5.
    assert_eq!(place(161, 107, Rounding::Down, Align::Center), (0, 37, 224, 148));
    assert_eq!(place(161, 107, even, Align::Center), (0, 37, 224, 149));
}

/// Keras' `smart_resize`: of 500 x 375 to a square the middle 375 x 375, at 62.5 rounded down.
#[test]
fn the_centre_of_the_targets_ratio_is_keras() {
    let crop = |width, height| central_aspect(width, height, [224, 224]);
    let region = |left, top, width, height| Region {
        left,
        top,
        width,
        height,
    };
    assert_eq!(crop(500, 375), region(62, 0, 375, 375));
    assert_eq!(crop(375, 500), region(0, 62, 375, 375));
    assert_eq!(central_aspect(500, 375, [40, 36]), region(42, 0, 416, 375));
    assert_eq!(central_aspect(1, 5000, [4096, 1]), region(0, 2499, 1, 1));
}

/// A filter that does not widen samples few pixels, so that a photo decoded at half its size would be another one.
#[test]
fn photos_are_decoded_smaller_for_filters_that_average_only() {
    let photo = header(4032, 3024, Orientation::Upright);
    let scale = |resampler, interpolation, antialias| {
        let spec = InputSpec {
            resampler,
            antialias,
            ..spec(ResizePolicy::Stretch, interpolation)
        };
        Plan::new(&photo, &spec).scale
    };
    use Interpolation::{Area, Bicubic, Bilinear, Box, Lanczos, Lanczos5, Nearest};
    for (resampler, filters) in [
        (Resampling::Pillow, &[Nearest, Bilinear, Bicubic][..]),
        (Resampling::Torch, &[Nearest, Bilinear, Bicubic]),
        (
            Resampling::TensorFlow,
            &[Nearest, Bilinear, Bicubic, Lanczos, Lanczos5, Area],
        ),
        (Resampling::OpenCv, &[Nearest, Bilinear, Bicubic, Lanczos, Area]),
    ] {
        for filter in filters {
            assert_eq!(scale(resampler, *filter, false), 1, "{resampler:?} {filter:?}");
        }
        assert_eq!(scale(resampler, Nearest, true), 1);
    }
    for (resampler, filter) in [
        (Resampling::Pillow, Box),
        (Resampling::Torch, Bilinear),
        (Resampling::TensorFlow, Bilinear),
        (Resampling::TensorFlow, Area),
    ] {
        assert_eq!(scale(resampler, filter, true), 4, "{resampler:?} {filter:?}");
    }
}
