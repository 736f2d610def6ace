//! What only a real runtime can show: models that are broken, unsupported or not what their package declares.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use common::{FIXED, MIXED, MIXER, f32s, infer, mixed_batch, mixed_signature, one_thread, source, spec, u8s};
use ocelli_engine::{Backend, ElementType, EngineError, EngineOptions, OnnxRuntime, Signature};

fn load_error(runtime: &OnnxRuntime, onnx: &[u8], signature: &Signature) -> EngineError {
    runtime
        .load(&source(onnx, signature), &one_thread())
        .err()
        .unwrap()
}

#[test]
fn the_graph_is_computed() {
    let Some(runtime) = common::onnxruntime() else {
        return;
    };
    let mut engine = runtime
        .load(&source(MIXED, &mixed_signature()), &one_thread())
        .unwrap();
    let inputs = [
        u8s(&[2, 2, 3], 0..12),
        f32s(&[2, 4], [1.0, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.5]),
    ];
    let outputs = infer(engine.as_mut(), &inputs);
    assert_eq!(
        outputs[0],
        f32s(&[2, 4], [16.0, 17.0, 18.0, 19.0, 51.0, 51.0, 51.0, 53.0])
    );
    assert_eq!(outputs[1], u8s(&[2, 2, 3], (244..=255).rev()));
}

#[test]
fn a_package_chooses_outputs_and_their_order() {
    let Some(runtime) = common::onnxruntime() else {
        return;
    };
    let Signature {
        mut inputs,
        mut outputs,
    } = mixed_signature();
    outputs.reverse();
    inputs.reverse();
    let batch: Vec<_> = mixed_batch(2, 5).into_iter().rev().collect();
    let swapped = Signature { inputs, outputs };
    let answer = infer(
        runtime
            .load(&source(MIXED, &swapped), &one_thread())
            .unwrap()
            .as_mut(),
        &batch,
    );
    assert_eq!(
        (answer[0].element_type(), answer[1].element_type()),
        (ElementType::U8, ElementType::F32)
    );
    let one = Signature {
        outputs: swapped.outputs[1..].to_vec(),
        ..swapped
    };
    let scores = infer(
        runtime
            .load(&source(MIXED, &one), &one_thread())
            .unwrap()
            .as_mut(),
        &batch,
    );
    assert_eq!(scores, answer[1..]);
}

#[test]
fn open_axes_of_the_package_are_filled_from_the_graph() {
    let Some(runtime) = common::onnxruntime() else {
        return;
    };
    let mut open = mixed_signature();
    for tensor in open.inputs.iter_mut().chain(&mut open.outputs) {
        tensor.shape.fill(None);
    }
    let engine = runtime.load(&source(MIXED, &open), &one_thread()).unwrap();
    assert_eq!(engine.signature(), &mixed_signature());
}

#[test]
fn broken_models_do_not_load() {
    let Some(runtime) = common::onnxruntime() else {
        return;
    };
    let signature = mixed_signature();
    for (what, onnx) in [
        ("garbage", &b"this is not a model, it is a line of text"[..]),
        ("cut in half", &MIXED[..MIXED.len() / 2]),
        ("cut at the end", &MIXED[..MIXED.len() - 1]),
    ] {
        let error = load_error(&runtime, onnx, &signature);
        let EngineError::LoadFailed { model, reason } = &error else {
            panic!("{what}: {error}")
        };
        assert!(
            model == "small" && !reason.is_empty() && !reason.contains('\n'),
            "{what}: {error}"
        );
    }
    assert!(
        runtime.load(&source(MIXED, &signature), &one_thread()).is_ok(),
        "and they do no harm"
    );
}

#[test]
fn the_error_names_how_a_package_does_not_match() {
    let Some(runtime) = common::onnxruntime() else {
        return;
    };
    let mut wrong = mixed_signature();
    wrong.inputs[0].name = "image".to_owned();
    let error = load_error(&runtime, MIXED, &wrong);
    assert!(matches!(error, EngineError::SignatureMismatch { .. }), "{error}");
    assert_eq!(
        error.to_string(),
        "model small is not what its package declares: the graph's inputs are pixels, bias, and the package \
         declares image, bias"
    );
}

#[test]
fn a_model_of_batch_one_takes_one_row_at_a_time() {
    let Some(runtime) = common::onnxruntime() else {
        return;
    };
    let mut engine = runtime
        .load(&source(FIXED, &mixed_signature()), &one_thread())
        .unwrap();
    assert_eq!(engine.signature().fixed_batch(), Some(1));
    assert!(common::is_bad_input(&engine.infer(&mixed_batch(2, 1))));
    assert_eq!(infer(engine.as_mut(), &mixed_batch(1, 1)).len(), 2);
}

#[test]
fn an_output_without_a_batch_axis_is_a_fault() {
    let Some(runtime) = common::onnxruntime() else {
        return;
    };
    let signature = Signature {
        inputs: vec![spec("pixels", ElementType::F32, &[2])],
        outputs: vec![spec("sum", ElementType::F32, &[2])],
    };
    let mut engine = runtime.load(&source(MIXER, &signature), &one_thread()).unwrap();
    let error = engine.infer(&[f32s(&[3, 2], [1.0; 6])]).unwrap_err();
    assert!(
        error.needs_rebuild() && error.to_string().contains("first axis must be the batch"),
        "{error}"
    );
}

#[test]
fn threads_of_an_instance_do_not_change_its_answers() {
    let Some(runtime) = common::onnxruntime() else {
        return;
    };
    let signature = mixed_signature();
    let answers = [1, 2, 4].map(|threads| {
        let mut engine = runtime
            .load(&source(MIXED, &signature), &EngineOptions { threads })
            .unwrap();
        infer(engine.as_mut(), &mixed_batch(16, 7))
    });
    assert!(answers.iter().all(|answer| *answer == answers[0]));
}

#[test]
fn instances_agree_on_the_smallest_numbers_whichever_thread_loads_them() {
    let Some(runtime) = common::onnxruntime() else {
        return;
    };
    let signature = mixed_signature();
    let inputs = [u8s(&[1, 2, 3], [0; 6]), f32s(&[1, 4], [1e-40; 4])];
    for threads in [1, 2] {
        let first = std::thread::scope(|scope| {
            let answer = || {
                let options = EngineOptions { threads };
                infer(
                    runtime
                        .load(&source(MIXED, &signature), &options)
                        .unwrap()
                        .as_mut(),
                    &inputs,
                )
            };
            scope.spawn(answer).join().unwrap()[0].f32s().unwrap()[0]
        });
        assert_eq!(first, 1e-40, "denormals are not flushed");
    }
}
