//! Models as people have them: other number formats, open axes, weights in other files, and what cannot be run.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::sync::Arc;

use common::{FUTURE, HALF, MIXED, OPEN, WEIGHTS, WIDTHS, f32s, infer, one_thread, source, spec, u8s};
use half::f16;
use ocelli_engine::{
    Backend, ElementType, EngineError, ExternalFile, ModelSource, Signature, Tensor, TensorData, TensorSpec,
};

fn refusal(onnx: &[u8], signature: &Signature) -> Option<EngineError> {
    let runtime = common::onnxruntime()?;
    runtime.load(&source(onnx, signature), &one_thread()).err()
}

fn halves(rows: usize, values: &[f32]) -> Tensor {
    let values = values.iter().copied().map(f16::from_f32).collect();
    Tensor::new([rows, 4], TensorData::F16(values)).unwrap()
}

fn any_shape(name: &str, element_type: ElementType) -> TensorSpec {
    TensorSpec {
        name: name.to_owned(),
        element_type,
        shape: Vec::new(),
    }
}

/// `widths.onnx` with these outputs.
fn widths(outputs: &[&str]) -> Signature {
    Signature {
        inputs: vec![spec("pixels", ElementType::F16, &[4])],
        outputs: outputs
            .iter()
            .map(|name| any_shape(name, ElementType::F32))
            .collect(),
    }
}

#[test]
fn half_precision_goes_in_and_every_width_comes_out_as_single() {
    let Some(runtime) = common::onnxruntime() else {
        return;
    };
    let signature = widths(&["double", "half", "brain"]);
    let mut engine = runtime.load(&source(WIDTHS, &signature), &one_thread()).unwrap();
    // The last needs more digits than a bfloat16 has.
    let values = [1.0, -0.5, 65504.0, 3.140_625, 0.0, 6e-8, -2.0, 0.25];
    let outputs = infer(engine.as_mut(), &[halves(2, &values)]);
    let single: Vec<f32> = values
        .iter()
        .map(|&value| f16::from_f32(value).to_f32())
        .collect();
    assert_eq!(outputs[0], f32s(&[2, 4], single.iter().copied()));
    assert_eq!(outputs[1], outputs[0]);
    let brain = single.iter().map(|&value| half::bf16::from_f32(value).to_f32());
    assert_eq!(outputs[2], f32s(&[2, 4], brain));
}

#[test]
fn a_package_must_declare_the_width_that_goes_in() {
    let mut signature = widths(&["half"]);
    signature.inputs[0].element_type = ElementType::F32;
    let Some(error) = refusal(WIDTHS, &signature) else {
        return;
    };
    assert!(
        error
            .to_string()
            .contains("as float32, and in the graph it is float16"),
        "{error}"
    );
}

#[test]
fn an_output_of_indices_is_refused_where_the_package_wants_scores() {
    let Some(error) = refusal(WIDTHS, &widths(&["half", "best"])) else {
        return;
    };
    let text = error.to_string();
    assert!(
        text.contains("its output best is int64, which is no score") && text.contains("ArgMax"),
        "{text}"
    );
}

#[test]
fn open_axes_are_as_the_package_says() {
    let Some(runtime) = common::onnxruntime() else {
        return;
    };
    let signature = Signature {
        inputs: vec![spec("image", ElementType::U8, &[1, 2, 3])],
        outputs: vec![any_shape("means", ElementType::F32)],
    };
    let mut engine = runtime.load(&source(OPEN, &signature), &one_thread()).unwrap();
    assert_eq!(engine.signature().inputs, signature.inputs);
    let batch = u8s(&[2, 1, 2, 3], 0..12);
    assert_eq!(
        infer(engine.as_mut(), &[batch]),
        [f32s(&[2, 1, 1, 1], [2.5, 8.5])]
    );
    assert!(common::is_bad_input(&engine.infer(&[u8s(&[1, 3, 2, 3], 0..18)])));
}

#[test]
fn scores_may_have_axes_of_one_around_them() {
    let Some(runtime) = common::onnxruntime() else {
        return;
    };
    let signature = |classes| Signature {
        inputs: vec![spec("image", ElementType::U8, &[3, 2, 2])],
        outputs: vec![spec("means", ElementType::F32, &[classes])],
    };
    assert!(runtime.load(&source(OPEN, &signature(3)), &one_thread()).is_ok());
    // Two classes for what has one axis that is open: the first batch shows that they are three.
    let mut engine = runtime.load(&source(OPEN, &signature(2)), &one_thread()).unwrap();
    let error = engine.infer(&[u8s(&[1, 3, 2, 2], 0..12)]).unwrap_err();
    assert!(error.to_string().contains("means"), "{error}");
}

/// The weights of `weights.onnx`, behind the 4 bytes that it skips.
fn weights(values: &[f32]) -> ExternalFile {
    let bytes: Vec<u8> = std::iter::once(f32::NAN)
        .chain(values.iter().copied())
        .flat_map(f32::to_le_bytes)
        .collect();
    ExternalFile {
        name: "weights/w.bin".to_owned(),
        bytes: Arc::from(bytes),
    }
}

fn weights_signature() -> Signature {
    Signature {
        inputs: vec![spec("pixels", ElementType::F32, &[2])],
        outputs: vec![spec("scores", ElementType::F32, &[3])],
    }
}

#[test]
fn weights_are_given_from_memory_and_may_go_after_the_load() {
    let Some(runtime) = common::onnxruntime() else {
        return;
    };
    let signature = weights_signature();
    let mut engine = {
        let external = [weights(&[1.0, 2.0, 3.0, 10.0, 20.0, 30.0])];
        let model = ModelSource {
            external: &external,
            ..source(WEIGHTS, &signature)
        };
        runtime.load(&model, &one_thread()).unwrap()
    };
    let outputs = infer(engine.as_mut(), &[f32s(&[2, 2], [1.0, 0.0, 1.0, 1.0])]);
    assert_eq!(outputs, [f32s(&[2, 3], [1.0, 2.0, 3.0, 11.0, 22.0, 33.0])]);
}

#[test]
fn weights_that_are_missing_or_too_short_do_not_load() {
    let Some(runtime) = common::onnxruntime() else {
        return;
    };
    let signature = weights_signature();
    for external in [vec![], vec![weights(&[1.0])]] {
        let model = ModelSource {
            external: &external,
            ..source(WEIGHTS, &signature)
        };
        let error = runtime.load(&model, &one_thread()).err().unwrap();
        assert!(matches!(error, EngineError::LoadFailed { .. }), "{error}");
        assert!(
            error.to_string().ends_with("that belong to its ONNX file"),
            "{error}"
        );
    }
}

#[test]
fn what_cannot_be_loaded_says_what_to_do() {
    let signature = Signature {
        inputs: vec![spec("pixels", ElementType::F16, &[4])],
        outputs: vec![spec("scores", ElementType::F32, &[4])],
    };
    for (onnx, remedy) in [
        (FUTURE, "lower opset_version"),
        (&HALF[..HALF.len() - 5], "copy, download or export it again"),
        (&b"not a model"[..], "copy, download or export it again"),
    ] {
        let Some(error) = refusal(onnx, &signature) else {
            return;
        };
        assert!(matches!(error, EngineError::LoadFailed { .. }), "{error}");
        assert!(error.to_string().contains(remedy), "{error}");
    }
}

#[test]
fn a_model_of_two_inputs_is_refused_with_both_names() {
    let signature = Signature {
        inputs: vec![spec("pixels", ElementType::U8, &[2, 3])],
        outputs: vec![spec("scores", ElementType::F32, &[4])],
    };
    let Some(error) = refusal(MIXED, &signature) else {
        return;
    };
    assert!(matches!(error, EngineError::SignatureMismatch { .. }), "{error}");
    let text = error.to_string();
    assert!(text.contains("pixels, bias") && text.contains("export"), "{text}");
}
