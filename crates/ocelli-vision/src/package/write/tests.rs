use proptest::{option, prelude::*, sample::select, strategy::Union};

use super::*;
use crate::{Activation, Channels, Interpolation, Layout, RunSpec, Task};

/// Boxed, like every part below: nested strategies are types that take minutes to compile.
fn text() -> BoxedStrategy<String> {
    let odd = "a \"quoted\" \\ back\nslash\t\u{7f}\u{85}\u{1f} 'x'".to_owned();
    prop_oneof![".{1,20}", Just(odd)].boxed()
}

fn number() -> BoxedStrategy<f32> {
    any::<f32>()
        .prop_filter("finite and not 0", |number| number.is_finite() && *number != 0.0)
        .boxed()
}

fn numbers() -> BoxedStrategy<[f32; 3]> {
    [number(), number(), number()].boxed()
}

fn sides() -> BoxedStrategy<[u32; 2]> {
    [1..=4096_u32, 1..=4096_u32].boxed()
}

fn resize() -> BoxedStrategy<ResizePolicy> {
    let rounding = || select(vec![Rounding::Even, Rounding::Down]);
    let aligns = select(vec![Align::Center, Align::Left, Align::Top, Align::TopLeft]);
    let policies = vec![
        Just(ResizePolicy::Stretch).boxed(),
        (sides(), rounding())
            .prop_map(|(size, rounding)| ResizePolicy::StretchCrop { size, rounding })
            .boxed(),
        (
            1..=8192_u32,
            select(vec![Rounding::Even, Rounding::Down, Rounding::Nearest]),
        )
            .prop_map(|(size, rounding)| ResizePolicy::ShortestEdge { size, rounding })
            .boxed(),
        (sides(), rounding())
            .prop_map(|(size, rounding)| ResizePolicy::Cover { size, rounding })
            .boxed(),
        (1e-9..=1.0)
            .prop_map(|ratio| ResizePolicy::CropRatio { ratio })
            .boxed(),
        (any::<[u8; 3]>(), option::of(sides()), rounding(), aligns)
            .prop_map(|(fill, size, rounding, align)| ResizePolicy::Letterbox {
                fill,
                size,
                rounding,
                align,
            })
            .boxed(),
        Just(ResizePolicy::CropAspect).boxed(),
        any::<[u8; 3]>()
            .prop_map(|fill| ResizePolicy::FitHeight { fill })
            .boxed(),
    ];
    Union::new(policies).boxed()
}

fn pixels() -> BoxedStrategy<InputSpec> {
    let dtypes = select(vec![InputType::Uint8, InputType::Float32, InputType::Float16]);
    let layouts = select(vec![Layout::Nchw, Layout::Nhwc]);
    let channels = select(vec![
        Channels::Rgb,
        Channels::Bgr,
        Channels::Gray,
        Channels::Gray3,
    ]);
    let half = Coordinates::HalfPixel;
    let filters = select(vec![
        (Resampling::Pillow, Interpolation::Nearest, false, half),
        (Resampling::Pillow, Interpolation::Bicubic, false, half),
        (Resampling::Pillow12, Interpolation::Lanczos, true, half),
        (Resampling::Pillow12, Interpolation::Box, true, half),
        (Resampling::Pillow, Interpolation::Hamming, true, half),
        (Resampling::TensorFlow, Interpolation::Area, true, half),
        (Resampling::TensorFlow, Interpolation::Mitchell, false, half),
        (Resampling::TensorFlow, Interpolation::Gaussian, true, half),
        (Resampling::TensorFlow, Interpolation::Lanczos5, true, half),
        (
            Resampling::TensorFlow,
            Interpolation::Bilinear,
            false,
            Coordinates::AlignCorners,
        ),
        (
            Resampling::TensorFlow,
            Interpolation::Nearest,
            false,
            Coordinates::Asymmetric,
        ),
        (Resampling::OpenCv, Interpolation::Lanczos, false, half),
    ]);
    let words = (dtypes, layouts, channels, filters, any::<bool>()).boxed();
    (text(), sides(), resize(), words)
        .prop_map(|(name, [width, height], resize, words)| {
            let (dtype, layout, channels, (resampler, interpolation, antialias, coordinates), exif) = words;
            InputSpec {
                name,
                dtype,
                width,
                height,
                layout,
                channels,
                scale: 1.0,
                mean: [0.0; 3],
                std: [1.0; 3],
                resize,
                interpolation,
                resampler,
                antialias,
                coordinates,
                exif,
            }
        })
        .boxed()
}

fn input() -> BoxedStrategy<InputSpec> {
    (pixels(), number(), numbers(), numbers())
        .prop_map(|(pixels, scale, mean, std)| match pixels.dtype {
            InputType::Uint8 => pixels,
            InputType::Float32 | InputType::Float16 => InputSpec {
                scale,
                mean,
                std,
                ..pixels
            },
        })
        .boxed()
}

/// Outputs of the kinds that validation allows for a multilabel model.
fn output() -> BoxedStrategy<OutputSpec> {
    let kind = select(vec![
        (Activation::Softmax, true, false, false, Pool::None),
        (Activation::Sigmoid, true, true, false, Pool::None),
        (Activation::None, false, true, true, Pool::Mean),
        (Activation::None, false, false, true, Pool::First),
    ]);
    (text(), kind, 0.0..=1.0_f32)
        .prop_map(|(name, kind, score)| {
            let (activation, labels, threshold, normalize, pool) = kind;
            OutputSpec {
                name,
                activation,
                labels: labels.then(|| "class \"names\".txt".to_owned()),
                labels_source: labels.then(|| "config.json (id2label), \"by hand\"".to_owned()),
                threshold: threshold.then_some(score),
                normalize,
                pool,
            }
        })
        .boxed()
}

fn run() -> BoxedStrategy<RunSpec> {
    let count = || option::of(1..=1024_u32).boxed();
    (count(), count(), count(), option::of(0..=60_000_u32), count())
        .prop_map(
            |(instances, threads_per_instance, max_batch, max_delay_ms, queue_jobs)| RunSpec {
                instances,
                threads_per_instance,
                max_batch,
                max_delay_ms,
                queue_jobs,
            },
        )
        .boxed()
}

fn manifest() -> BoxedStrategy<Manifest> {
    let names = ("[a-z0-9][a-z0-9._-]{0,63}", "[a-z0-9][a-z0-9._-]{0,20}").boxed();
    let origin = (option::of(text()), option::of(text())).boxed();
    let outputs = prop::collection::vec(output(), 1..4).boxed();
    (names, origin, input(), outputs, run())
        .prop_map(|((name, version), (license, source), input, mut outputs, run)| {
            for (index, output) in outputs.iter_mut().enumerate() {
                output.name.push_str(&index.to_string());
            }
            let is_softmax = outputs
                .iter()
                .all(|output| output.activation == Activation::Softmax);
            let task = if is_softmax {
                Task::Classification
            } else {
                Task::Multilabel
            };
            Manifest {
                schema: 1,
                name,
                version,
                task,
                license,
                source,
                input,
                outputs,
                run,
            }
        })
        .boxed()
}

proptest! {
    #[test]
    fn what_is_written_is_read_as_the_same(manifest in manifest()) {
        let text = manifest.to_toml();
        match Manifest::parse(&text) {
            Ok(read) => prop_assert_eq!(read, manifest, "{}", text),
            Err(error) => prop_assert!(false, "{error}\n{text}"),
        }
    }
}
