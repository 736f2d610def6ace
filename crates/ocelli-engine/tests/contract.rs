//! What every engine promises, run against each of them. A new engine adds one line at the end.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::sync::Barrier;

use common::{
    MIXED, f32s, infer, is_bad_input, mixed_batch, mixed_signature, one_thread, single, source, u8s,
};
use ocelli_engine::{Backend, Engine, EngineError, Fake, FakeCost, Signature, Tensor};

fn load(backend: &dyn Backend) -> Box<dyn Engine> {
    backend
        .load(&source(MIXED, &mixed_signature()), &one_thread())
        .unwrap()
}

fn the_signature_is_the_declared_one(backend: &dyn Backend) {
    assert_eq!(load(backend).signature(), &mixed_signature());
}

fn outputs_follow_the_signature_at_every_batch_size(backend: &dyn Backend) {
    let mut engine = load(backend);
    for batch in [1, 5, 2, 33, 1] {
        let outputs = infer(engine.as_mut(), &mixed_batch(batch, 3));
        let Signature { outputs: specs, .. } = mixed_signature();
        assert_eq!(outputs.len(), specs.len());
        for (output, spec) in outputs.iter().zip(&specs) {
            assert_eq!(output.element_type(), spec.element_type);
            let row: Vec<usize> = spec.shape[1..].iter().flatten().copied().collect();
            assert_eq!((output.batch_len(), output.row_shape()), (batch, &row[..]));
        }
    }
}

fn a_batch_answers_what_its_rows_answer_alone(backend: &dyn Backend) {
    let mut engine = load(backend);
    for batch in [3, 8] {
        let inputs = mixed_batch(batch, 11);
        let together = infer(engine.as_mut(), &inputs);
        let alone: Vec<Vec<Tensor>> = (0..batch)
            .map(|index| infer(engine.as_mut(), &single(&inputs, index)))
            .collect();
        for (index, alone) in alone.iter().enumerate() {
            for (together, alone) in together.iter().zip(alone) {
                assert_eq!(together.row(index), alone.row(0), "row {index} of {batch}");
            }
        }
        let scores: Vec<_> = together[0].rows().collect();
        assert!(
            (1..batch).any(|index| scores[index] != scores[0]),
            "rows must differ, or the test shows nothing"
        );
    }
}

fn wrong_inputs_are_refused_and_do_no_harm(backend: &dyn Backend) {
    let mut engine = load(backend);
    let good = mixed_batch(2, 1);
    let answer = infer(engine.as_mut(), &good);
    let (pixels, bias) = (good[0].clone(), good[1].clone());
    let wrong: [(&str, Vec<Tensor>); 9] = [
        ("no tensor", vec![]),
        ("one of two", vec![pixels.clone()]),
        ("three of two", vec![pixels.clone(), bias.clone(), bias.clone()]),
        ("the order", vec![bias.clone(), pixels.clone()]),
        ("the type", vec![f32s(&[2, 2, 3], [0.0; 12]), bias.clone()]),
        ("the rank", vec![u8s(&[2, 6], [0; 12]), bias.clone()]),
        ("an axis", vec![u8s(&[2, 3, 2], [0; 12]), bias.clone()]),
        ("the rows", vec![pixels, f32s(&[3, 4], [0.0; 12])]),
        ("an empty batch", vec![u8s(&[0, 2, 3], []), f32s(&[0, 4], [])]),
    ];
    for (what, inputs) in wrong {
        let result = engine.infer(&inputs);
        assert!(is_bad_input(&result), "{what}: {result:?}");
        assert_eq!(infer(engine.as_mut(), &good), answer, "after {what}");
    }
}

fn two_instances_run_at_once(backend: &dyn Backend) {
    let barrier = Barrier::new(2);
    std::thread::scope(|scope| {
        for seed in [1, 100] {
            let (mut engine, barrier) = (load(backend), &barrier);
            scope.spawn(move || {
                let inputs = mixed_batch(4, seed);
                let first = infer(engine.as_mut(), &inputs);
                barrier.wait();
                for _ in 0..200 {
                    assert_eq!(infer(engine.as_mut(), &inputs), first);
                }
            });
        }
    });
}

fn instances_come_and_go(backend: &dyn Backend) {
    let inputs = mixed_batch(2, 9);
    let mut kept = load(backend);
    let answer = infer(kept.as_mut(), &inputs);
    for _ in 0..20 {
        assert_eq!(infer(load(backend).as_mut(), &inputs), answer);
    }
    assert_eq!(
        infer(kept.as_mut(), &inputs),
        answer,
        "an instance outlives its siblings"
    );
}

fn an_empty_model_does_not_load(backend: &dyn Backend) {
    let error = backend
        .load(&source(&[], &mixed_signature()), &one_thread())
        .err()
        .unwrap();
    assert!(
        matches!(&error, EngineError::LoadFailed { model, .. } if model == "small"),
        "{error}"
    );
    load(backend);
}

fn the_backend_has_a_name_and_a_version(backend: &dyn Backend) {
    assert!(!backend.name().is_empty());
    assert!(
        backend
            .version()
            .starts_with(|first: char| first.is_ascii_digit()),
        "{}",
        backend.version()
    );
}

/// One module of tests for an engine; `$backend` gives `None` where its library is missing.
macro_rules! contract {
    ($engine:ident, $backend:expr, [$($test:ident),+ $(,)?]) => {
        mod $engine {
            use super::*;

            $(#[test]
            fn $test() {
                if let Some(backend) = $backend {
                    super::$test(&backend);
                }
            })+
        }
    };
    ($engine:ident, $backend:expr) => {
        contract!($engine, $backend, [
            the_signature_is_the_declared_one,
            outputs_follow_the_signature_at_every_batch_size,
            a_batch_answers_what_its_rows_answer_alone,
            wrong_inputs_are_refused_and_do_no_harm,
            two_instances_run_at_once,
            instances_come_and_go,
            an_empty_model_does_not_load,
            the_backend_has_a_name_and_a_version,
        ]);
    };
}

contract!(fake, Some(Fake::new(FakeCost::default())));
#[cfg(feature = "onnxruntime")]
contract!(onnxruntime, common::onnxruntime());
