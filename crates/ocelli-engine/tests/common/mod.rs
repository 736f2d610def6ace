//! The model, the tensors and the runtime that the tests of this crate share.

#![allow(
    dead_code,
    clippy::allow_attributes,
    reason = "each test binary uses a part of this module"
)]

use ocelli_engine::{
    ElementType, Engine, EngineError, EngineOptions, ModelSource, Signature, Tensor, TensorData, TensorSpec,
};

pub(crate) const MIXED: &[u8] = include_bytes!("../data/mixed.onnx");
pub(crate) const FIXED: &[u8] = include_bytes!("../data/fixed.onnx");
pub(crate) const HALF: &[u8] = include_bytes!("../data/half.onnx");
pub(crate) const WIDTHS: &[u8] = include_bytes!("../data/widths.onnx");
pub(crate) const OPEN: &[u8] = include_bytes!("../data/open.onnx");
pub(crate) const WEIGHTS: &[u8] = include_bytes!("../data/weights.onnx");
pub(crate) const FUTURE: &[u8] = include_bytes!("../data/future.onnx");
pub(crate) const MIXER: &[u8] = include_bytes!("../data/mixer.onnx");

pub(crate) fn spec(name: &str, element_type: ElementType, row: &[usize]) -> TensorSpec {
    let shape = std::iter::once(None)
        .chain(row.iter().copied().map(Some))
        .collect();
    TensorSpec {
        name: name.to_owned(),
        element_type,
        shape,
    }
}

/// What `mixed.onnx` and `fixed.onnx` take and give.
pub(crate) fn mixed_signature() -> Signature {
    Signature {
        inputs: vec![
            spec("pixels", ElementType::U8, &[2, 3]),
            spec("bias", ElementType::F32, &[4]),
        ],
        outputs: vec![
            spec("scores", ElementType::F32, &[4]),
            spec("flipped", ElementType::U8, &[2, 3]),
        ],
    }
}

pub(crate) fn source<'a>(onnx: &'a [u8], signature: &'a Signature) -> ModelSource<'a> {
    ModelSource {
        name: "small",
        onnx,
        external: &[],
        signature,
    }
}

pub(crate) fn one_thread() -> EngineOptions {
    EngineOptions { threads: 1 }
}

pub(crate) fn u8s(shape: &[usize], values: impl IntoIterator<Item = u8>) -> Tensor {
    Tensor::new(shape, TensorData::U8(values.into_iter().collect())).unwrap()
}

pub(crate) fn f32s(shape: &[usize], values: impl IntoIterator<Item = f32>) -> Tensor {
    Tensor::new(shape, TensorData::F32(values.into_iter().collect())).unwrap()
}

/// A batch for `mixed.onnx` whose rows all differ; `seed` makes batches differ.
pub(crate) fn mixed_batch(batch: usize, seed: u8) -> Vec<Tensor> {
    let pixels = (0..batch * 6).map(|index| (index * 31 + index / 6 * 7) as u8 ^ seed);
    let bias = (0..batch * 4).map(|index| index as f32 * 0.5 - f32::from(seed));
    vec![u8s(&[batch, 2, 3], pixels), f32s(&[batch, 4], bias)]
}

/// Row `index` of each tensor, as a batch of one.
pub(crate) fn single(batch: &[Tensor], index: usize) -> Vec<Tensor> {
    batch
        .iter()
        .map(|tensor| {
            let shape: Vec<usize> = std::iter::once(1)
                .chain(tensor.row_shape().iter().copied())
                .collect();
            Tensor::new(shape, tensor.row(index).unwrap().to_data()).unwrap()
        })
        .collect()
}

pub(crate) fn is_bad_input(result: &Result<Vec<Tensor>, EngineError>) -> bool {
    matches!(result, Err(error @ EngineError::BadInput(_)) if !error.needs_rebuild())
}

pub(crate) fn infer(engine: &mut dyn Engine, inputs: &[Tensor]) -> Vec<Tensor> {
    engine.infer(inputs).unwrap()
}

/// The runtime, from `OCELLI_ONNXRUNTIME`, the built tree, the system or Python; `None` after saying so when there
/// is none, unless `OCELLI_REQUIRE_ENGINES=1` makes that a failure.
#[cfg(feature = "onnxruntime")]
#[expect(clippy::print_stderr, reason = "a test that did not run must say so")]
pub(crate) fn onnxruntime() -> Option<ocelli_engine::OnnxRuntime> {
    let search = search();
    match ocelli_engine::OnnxRuntime::locate(&search) {
        Ok(runtime) => Some(runtime),
        Err(error) if std::env::var("OCELLI_REQUIRE_ENGINES").is_ok_and(|value| value == "1") => {
            panic!("OCELLI_REQUIRE_ENGINES=1, and {error}");
        }
        Err(error) => {
            eprintln!("SKIPPED: {error}");
            None
        }
    }
}

#[cfg(feature = "onnxruntime")]
fn search() -> ocelli_engine::onnxruntime::Search {
    use std::path::{Path, PathBuf};

    let explicit = std::env::var_os("OCELLI_ONNXRUNTIME").map(PathBuf::from);
    let mut search = ocelli_engine::onnxruntime::Search::new(explicit, None, |name| std::env::var_os(name));
    // A test runs from target/<profile>/deps; `make build` puts the library into target/release.
    let executable = std::env::current_exe().unwrap();
    let target = executable.ancestors().nth(3).unwrap_or(Path::new("/"));
    search.installed = ["release", "debug"].map(|profile| target.join(profile)).to_vec();
    search
}
