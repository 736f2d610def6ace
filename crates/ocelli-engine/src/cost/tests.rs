use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use proptest::prelude::*;

use super::*;
use crate::{ElementType, Signature};

fn ms(value: u64) -> Duration {
    Duration::from_millis(value)
}

fn table(costs: &[(usize, u64)]) -> CostTable {
    CostTable::new(costs.iter().map(|&(size, cost)| (size, ms(cost)))).unwrap()
}

#[test]
fn the_batch_limit_is_the_largest_size_within_a_tenth_of_the_best() {
    let cases: [(&[(usize, u64)], usize); 6] = [
        // Every size costs the same for each item.
        (&[(1, 10), (2, 20), (4, 40), (8, 80)], 8),
        // A fixed cost makes large batches worthwhile, and a cache that overflows ends it.
        (&[(1, 30), (2, 40), (4, 60), (8, 100), (16, 400)], 8),
        // Exactly a tenth worse than the best counts.
        (&[(1, 100), (2, 200), (4, 440)], 4),
        (&[(1, 100), (2, 200), (4, 441)], 2),
        // The best may be the smallest.
        (&[(1, 10), (2, 30), (4, 80)], 1),
        (&[(3, 10)], 3),
    ];
    for (costs, limit) in cases {
        assert_eq!(table(costs).default_batch_limit(), limit, "{costs:?}");
    }
}

#[test]
fn estimates_interpolate_between_sizes_and_go_on_in_proportion_beyond_them() {
    let table = table(&[(2, 100), (4, 200), (8, 240)]);
    let cases = [
        (0, 0),
        (1, 50),
        (2, 100),
        (3, 150),
        (4, 200),
        (5, 210),
        (7, 230),
        (8, 240),
        (16, 480),
        (12, 360),
    ];
    for (size, cost) in cases {
        assert_eq!(table.estimate(size), ms(cost), "{size}");
    }
}

#[test]
fn a_smaller_batch_never_costs_more_than_a_larger_one() {
    let table = table(&[(4, 40), (1, 70), (2, 30)]);
    let entries: Vec<_> = table.entries().collect();
    assert_eq!(entries, [(1, ms(30)), (2, ms(30)), (4, ms(40))]);
}

#[test]
fn a_table_needs_a_size_above_zero() {
    assert_eq!(CostTable::new([]), None);
    assert_eq!(CostTable::new([(0, ms(1)), (1, ms(1))]), None);
}

#[test]
fn an_observation_moves_its_size_by_a_fifth_of_the_difference() {
    let mut table = table(&[(1, 10), (2, 20), (4, 40)]);
    table.observe(2, ms(30));
    let entries: Vec<_> = table.entries().collect();
    assert_eq!(entries, [(1, ms(10)), (2, ms(22)), (4, ms(40))]);
}

#[test]
fn an_observation_between_sizes_moves_both() {
    let mut table = table(&[(4, 40), (8, 80)]);
    // The estimate for 5 is 50, and the batch was twice as slow.
    table.observe(5, ms(100));
    let entries: Vec<_> = table.entries().collect();
    assert_eq!(entries, [(4, ms(48)), (8, ms(96))]);
}

#[test]
fn one_stall_counts_as_no_more_than_four_times_the_estimate() {
    let mut stalled = table(&[(1, 10)]);
    stalled.observe(1, Duration::from_secs(3600));
    let mut slow = table(&[(1, 10)]);
    slow.observe(1, ms(40));
    assert_eq!(stalled, slow);
    stalled.observe(0, ms(1));
    assert_eq!(stalled, slow);
}

proptest! {
    #[test]
    fn tables_stay_monotone_and_positive(
        costs in prop::collection::vec((1_usize..64, 0_u64..1_000_000), 1..8),
        observations in prop::collection::vec((0_usize..100, 0_u64..10_000_000), 0..50),
    ) {
        let mut table = CostTable::new(costs.iter().map(|&(size, cost)| (size, Duration::from_micros(cost)))).unwrap();
        for (size, cost) in observations {
            table.observe(size, Duration::from_micros(cost));
        }
        let sizes: Vec<usize> = table.entries().map(|(size, _)| size).collect();
        prop_assert!(sizes.is_sorted_by(|one, other| one < other));
        prop_assert!(sizes.contains(&table.default_batch_limit()));
        prop_assert!(table.estimate(1) > Duration::ZERO || table.estimate(64) < Duration::from_nanos(64));
        let estimates: Vec<Duration> = (0..128).map(|size| table.estimate(size)).collect();
        prop_assert!(estimates.is_sorted(), "{estimates:?}");
    }

    #[test]
    fn what_is_observed_again_and_again_becomes_the_estimate(
        size in 1_usize..40,
        truth in 1_000_u64..100_000_000,
    ) {
        let mut table = table(&[(1, 3), (2, 5), (4, 8), (8, 15), (32, 70)]);
        for _ in 0..120 {
            table.observe(size, Duration::from_nanos(truth));
        }
        let estimate = table.estimate(size).as_nanos() as f64;
        prop_assert!((estimate / truth as f64 - 1.0).abs() < 0.05, "{estimate} for {truth}");
    }
}

/// A clock that only an engine moves.
#[derive(Clone, Default)]
struct Clock(Arc<AtomicU64>);

impl Clock {
    fn reader(&self) -> impl FnMut() -> Instant + use<> {
        let (origin, nanos) = (Instant::now(), Arc::clone(&self.0));
        move || origin + Duration::from_nanos(nanos.load(Ordering::Relaxed))
    }
}

/// Takes a time that a function of the run's number and the batch says.
struct Timed<F> {
    clock: Clock,
    signature: Signature,
    runs: Vec<usize>,
    cost: F,
}

impl<F: Fn(usize, usize) -> Duration + Send> Engine for Timed<F> {
    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn infer(&mut self, inputs: &[Tensor]) -> Result<Vec<Tensor>, EngineError> {
        let batch = self.signature.check_inputs(inputs)?;
        let cost = (self.cost)(self.runs.len(), batch);
        self.runs.push(batch);
        self.clock
            .0
            .fetch_add(u64::try_from(cost.as_nanos()).unwrap(), Ordering::Relaxed);
        Ok(Vec::new())
    }
}

fn timed<F: Fn(usize, usize) -> Duration + Send>(shape: &[Option<usize>], cost: F) -> Timed<F> {
    let input = TensorSpec {
        name: "x".to_owned(),
        element_type: ElementType::U8,
        shape: shape.to_vec(),
    };
    let signature = Signature {
        inputs: vec![input],
        outputs: Vec::new(),
    };
    Timed {
        clock: Clock::default(),
        signature,
        runs: Vec::new(),
        cost,
    }
}

fn measured<F: Fn(usize, usize) -> Duration + Send>(
    engine: &mut Timed<F>,
    max_batch: usize,
    budget: Duration,
) -> Vec<(usize, Duration)> {
    let now = engine.clock.reader();
    let plan = MeasurePlan {
        max_batch,
        rounds: 3,
        budget,
    };
    measure(engine, &plan, now).unwrap().entries().collect()
}

const OPEN: [Option<usize>; 2] = [None, Some(4)];

#[test]
fn measuring_tries_powers_of_two_and_the_maximum() {
    for (max, sizes) in [
        (0, vec![1]),
        (1, vec![1]),
        (2, vec![1, 2]),
        (6, vec![1, 2, 4, 6]),
        (8, vec![1, 2, 4, 8]),
    ] {
        let mut engine = timed(&OPEN, |_, batch| ms(5 + batch as u64));
        let costs = measured(&mut engine, max, ms(100_000));
        assert_eq!(
            costs,
            sizes
                .iter()
                .map(|&size| (size, ms(5 + size as u64)))
                .collect::<Vec<_>>()
        );
        let rounds = [&[1], &sizes[..], &sizes[..], &sizes[..]].concat();
        assert_eq!(
            engine.runs, rounds,
            "one run that does not count, then three rounds"
        );
    }
}

#[test]
fn a_slow_first_run_and_disturbed_rounds_do_not_count() {
    let mut engine = timed(&OPEN, |run, batch| match run {
        0 => ms(500),
        4..=6 => ms(batch as u64),
        _ => ms(50 * batch as u64),
    });
    assert_eq!(
        measured(&mut engine, 4, ms(100_000)),
        [(1, ms(1)), (2, ms(2)), (4, ms(4))]
    );
}

#[test]
fn a_budget_that_runs_out_leaves_out_large_sizes() {
    // The first run takes 10, then 10 and 20; 40 would end at 80.
    let mut engine = timed(&OPEN, |_, batch| ms(10 * batch as u64));
    assert_eq!(measured(&mut engine, 8, ms(79)), [(1, ms(10)), (2, ms(20))]);
    assert_eq!(
        engine.runs,
        [1, 1, 2, 1, 2],
        "the rest of the budget goes into precision"
    );
    let mut engine = timed(&OPEN, |_, batch| ms(10 * batch as u64));
    assert_eq!(measured(&mut engine, 8, Duration::ZERO), [(1, ms(10))]);
    assert_eq!(engine.runs, [1, 1]);
}

#[test]
fn a_model_of_one_batch_size_is_measured_at_that_size() {
    let mut engine = timed(&[Some(1), Some(4)], |_, _| ms(7));
    assert_eq!(measured(&mut engine, 32, ms(1000)), [(1, ms(7))]);
}

#[test]
fn an_input_with_an_open_axis_cannot_be_measured() {
    for (shape, says) in [
        (vec![None, None], "open axis"),
        (vec![None, Some(usize::MAX)], "too large"),
    ] {
        let mut engine = timed(&shape, |_, _| ms(1));
        let now = engine.clock.reader();
        let plan = MeasurePlan {
            max_batch: 2,
            rounds: 1,
            budget: ms(10),
        };
        let error = measure(&mut engine, &plan, now).unwrap_err();
        assert!(
            matches!(&error, EngineError::BadInput(text) if text.contains(says)),
            "{error}"
        );
    }
}
