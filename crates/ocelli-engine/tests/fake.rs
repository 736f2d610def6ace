//! The fake does what its documentation says: answers, time, the gate, scripted failures, counts.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use common::{f32s, infer, mixed_batch, mixed_signature, one_thread, source, spec, u8s};
use ocelli_engine::fake::{FakeFailure, SCORES, class_of};
use ocelli_engine::{Backend, ElementType, Engine, EngineError, Fake, FakeCost, Signature};

/// Far longer than any machine stalls: reached only when something is broken.
const LONG: Duration = Duration::from_secs(20);

fn pixels(output: &[Option<usize>]) -> Signature {
    let mut signature = Signature {
        inputs: vec![spec("pixels", ElementType::U8, &[3])],
        outputs: vec![spec("scores", ElementType::F32, &[])],
    };
    signature.outputs[0].shape = output.to_vec();
    signature
}

fn load(fake: &Fake, signature: &Signature) -> Box<dyn Engine> {
    fake.load(&source(b"any bytes", signature), &one_thread())
        .unwrap()
}

#[test]
fn a_row_gets_the_class_that_its_bytes_add_up_to() {
    let mut engine = load(&Fake::new(FakeCost::default()), &pixels(&[None, Some(12)]));
    let outputs = infer(engine.as_mut(), &[u8s(&[2, 3], [1, 2, 3, 255, 255, 20])]);
    let [first, second]: [&[f32]; 2] = [0, 1].map(|row| outputs[0].row(row).unwrap().f32s().unwrap());
    assert_eq!(class_of(&[1, 2, 3], 12), 6);
    assert_eq!(
        first,
        [8.0, 6.0, 4.0, 2.0, 0.0, 0.0, 20.0, 18.0, 16.0, 14.0, 12.0, 10.0]
    );
    assert_eq!(class_of(&[255, 255, 20], 12), 2);
    assert_eq!(second[2..], SCORES);
}

#[test]
fn floats_count_by_their_bytes_and_all_inputs_count() {
    let signature = mixed_signature();
    let mut engine = load(&Fake::new(FakeCost::default()), &signature);
    let inputs = [
        u8s(&[1, 2, 3], [1, 0, 0, 0, 0, 0]),
        f32s(&[1, 4], [1.5, 0.0, 0.0, -2.0]),
    ];
    let outputs = infer(engine.as_mut(), &inputs);
    let bytes = [&[1][..], &1.5_f32.to_le_bytes(), &(-2.0_f32).to_le_bytes()].concat();
    let class = class_of(&bytes, 4);
    assert_eq!(outputs[0].f32s().unwrap()[class], SCORES[0]);
    assert_eq!(outputs[1].u8s().unwrap()[class_of(&bytes, 6)], 20);
}

#[test]
fn open_output_axes_are_filled_in() {
    let cases: [(&[Option<usize>], &[usize]); 4] = [
        (&[None, None], &[7]),
        (&[None, Some(5)], &[5]),
        (&[None, None, None], &[7, 1]),
        (&[None], &[]),
    ];
    for (declared, row) in cases {
        let mut engine = load(&Fake::new(FakeCost::default()).with_classes(7), &pixels(declared));
        assert_eq!(
            infer(engine.as_mut(), &[u8s(&[2, 3], [0; 6])])[0].row_shape(),
            row,
            "{declared:?}"
        );
    }
    let engine = load(&Fake::new(FakeCost::default()), &pixels(&[None, None]));
    assert_eq!(engine.signature().outputs[0].shape, [None, Some(1000)]);
}

#[test]
fn a_batch_takes_at_least_its_cost() {
    let cost = FakeCost {
        fixed: Duration::from_millis(2),
        per_item: Duration::from_millis(1),
    };
    assert_eq!(cost.of(5), Duration::from_millis(7));
    let mut engine = load(&Fake::new(cost), &mixed_signature());
    let begun = Instant::now();
    infer(engine.as_mut(), &mixed_batch(5, 0));
    assert!(begun.elapsed() >= cost.of(5));
}

#[test]
fn a_held_batch_stays_until_it_is_released() {
    let fake = Fake::new(FakeCost::default());
    let control = fake.control();
    control.hold();
    let (done, finished) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        let start = |batch| {
            let (mut engine, done) = (load(&fake, &mixed_signature()), done.clone());
            scope.spawn(move || {
                let outputs = infer(engine.as_mut(), &mixed_batch(batch, 0));
                done.send(outputs[0].batch_len()).unwrap();
            });
        };
        start(3);
        start(4);
        assert!(control.wait_at_gate(2, LONG));
        assert!(!control.wait_at_gate(3, Duration::ZERO), "there is no third");
        control.pass(1);
        let first = finished.recv_timeout(LONG).unwrap();
        start(5);
        assert!(control.wait_at_gate(2, LONG), "one pass is for one batch");
        assert!(finished.try_recv().is_err());
        control.release();
        let rest: usize = [(); 2]
            .map(|()| finished.recv_timeout(LONG).unwrap())
            .iter()
            .sum();
        assert_eq!(first + rest, 12);
    });
    infer(load(&fake, &mixed_signature()).as_mut(), &mixed_batch(1, 0));
    assert_eq!(
        (control.at_gate(), control.items()),
        (0, 13),
        "the gate stays open"
    );
}

#[test]
fn failures_come_when_the_script_says() {
    let fake = Fake::new(FakeCost::default());
    let control = fake.control();
    let mut engine = load(&fake, &mixed_signature());
    control.fail_nth(1, FakeFailure::Fault);
    control.fail_nth(2, FakeFailure::Panic);
    let batch = mixed_batch(1, 0);
    infer(engine.as_mut(), &batch);
    assert!(engine.infer(&batch).unwrap_err().needs_rebuild());
    let panicked = catch_unwind(AssertUnwindSafe(|| engine.infer(&batch).map(drop)));
    assert!(panicked.is_err());
    infer(engine.as_mut(), &batch);

    control.fail_rows_with([9, 9], FakeFailure::BadInput);
    let marked = |row: u8| {
        [
            u8s(&[2, 2, 3], [0, 9, 9, 9, 9, 9, row, 9, 0, 0, 0, 0]),
            f32s(&[2, 4], [0.0; 8]),
        ]
    };
    assert!(common::is_bad_input(&engine.infer(&marked(9))));
    infer(engine.as_mut(), &marked(8));

    control.fail_loads(1);
    let signature = mixed_signature();
    let load_again = || fake.load(&source(b"any bytes", &signature), &one_thread());
    assert!(matches!(load_again(), Err(EngineError::LoadFailed { .. })));
    assert!(load_again().is_ok());
}

#[test]
fn batches_loads_and_instances_are_counted() {
    let fake = Fake::new(FakeCost::default());
    let control = fake.control();
    let (mut one, mut two) = (load(&fake, &mixed_signature()), load(&fake, &mixed_signature()));
    infer(one.as_mut(), &mixed_batch(3, 0));
    infer(two.as_mut(), &mixed_batch(1, 0));
    infer(one.as_mut(), &mixed_batch(2, 0));
    assert!(
        one.infer(&[]).is_err(),
        "what the signature refuses does not count"
    );
    assert_eq!(
        (control.batches(), control.items(), control.batch_sizes()),
        (3, 6, vec![3, 1, 2])
    );
    assert_eq!(
        (control.take_batch_sizes(), control.batches()),
        (vec![3, 1, 2], 0)
    );
    drop(one);
    assert_eq!((control.loads(), control.live_instances()), (2, 1));
    drop(two);
    assert_eq!(control.live_instances(), 0);
}
