//! What a batch costs: measured once at warm-up, then kept current by what the running server sees.
//!
//! Everything here is a calculation. The clock and the engine come in as arguments, and no policy (admission,
//! deadlines, batching) lives here: others decide with [`CostTable::estimate`] and
//! [`CostTable::default_batch_limit`].

use std::time::{Duration, Instant};

use crate::{Engine, EngineError, Tensor, TensorData, TensorSpec};

#[cfg(test)]
mod tests;

/// How much worse than the best time per item a batch size may be and still be worth its latency.
const WORTHWHILE: f64 = 1.10;

/// Weight of one observation in the moving average: about the last five batches count.
const OBSERVATION_WEIGHT: f64 = 0.2;

/// No single observation counts as more than this factor away from the estimate: a laptop that was suspended, or a
/// machine that stalled, says nothing about the model.
const OBSERVATION_CLAMP: f64 = 4.0;

/// The largest input that is measured: far above any batch of images, far below all memory.
const MAX_ELEMENTS: usize = 1 << 30;

/// How long to measure, and how far.
#[derive(Clone, Copy, Debug)]
pub struct MeasurePlan {
    /// The largest batch to try. Sizes are the powers of two below it, and itself.
    pub max_batch: usize,
    /// How often to try each size. The least disturbed run counts.
    pub rounds: u32,
    /// When to stop: no run is started that is predicted to end after this much time. Batches of 1 are always
    /// measured; larger sizes that did not fit are left out.
    pub budget: Duration,
}

/// The time that a batch takes, by its size. Never empty.
#[derive(Clone, Debug, PartialEq)]
pub struct CostTable {
    /// Ascending and distinct sizes, each with its cost in nanoseconds.
    entries: Vec<(usize, f64)>,
}

impl CostTable {
    /// A table from known costs; `None` when there are none, or a size of 0 is among them.
    ///
    /// A larger batch never costs less than a smaller one. Where the numbers say so, the smaller one was disturbed:
    /// noise only ever adds time.
    pub fn new(costs: impl IntoIterator<Item = (usize, Duration)>) -> Option<Self> {
        let mut entries: Vec<(usize, f64)> = costs
            .into_iter()
            .map(|(size, cost)| (size, nanos(cost).max(1.0)))
            .collect();
        entries.sort_by_key(|&(size, _)| size);
        entries.dedup_by_key(|&mut (size, _)| size);
        if entries.first().is_none_or(|&(size, _)| size == 0) {
            return None;
        }
        let mut table = Self { entries };
        table.lower_to_larger();
        Some(table)
    }

    /// The measured sizes and what a batch of each costs, ascending.
    pub fn entries(&self) -> impl Iterator<Item = (usize, Duration)> + '_ {
        self.entries.iter().map(|&(size, cost)| (size, duration(cost)))
    }

    /// The largest measured size whose time per item is within 10 % of the best.
    pub fn default_batch_limit(&self) -> usize {
        let per_item = |&(size, cost): &(usize, f64)| cost / size as f64;
        let best = self.entries.iter().map(per_item).fold(f64::INFINITY, f64::min);
        self.entries
            .iter()
            .rfind(|entry| per_item(entry) <= best * WORTHWHILE)
            .map_or(1, |&(size, _)| size)
    }

    /// What a batch of `size` should take: interpolated between the measured sizes, and in proportion to the
    /// nearest of them outside. A batch of none takes no time.
    pub fn estimate(&self, size: usize) -> Duration {
        duration(self.estimate_nanos(size))
    }

    /// Takes note that a batch of `size` took `cost`.
    ///
    /// The measured sizes on both sides of `size` move, so that its estimate goes a fifth of the way. Sizes further
    /// away stay as they are, unless the table would then say that a larger batch costs less.
    pub fn observe(&mut self, size: usize, cost: Duration) {
        if size == 0 {
            return;
        }
        let ratio = (nanos(cost).max(1.0) / self.estimate_nanos(size))
            .clamp(1.0 / OBSERVATION_CLAMP, OBSERVATION_CLAMP);
        // Both neighbours move by one factor, so the estimate moves by exactly the weight, and stays positive.
        let (low, high, _) = self.bracket(size);
        for (_, cost) in &mut self.entries[low..=high] {
            *cost *= 1.0 + OBSERVATION_WEIGHT * (ratio - 1.0);
        }
        // What holds for this size bounds the others: smaller batches are no slower, larger ones no faster.
        if ratio < 1.0 {
            self.lower_to_larger();
        } else {
            self.raise_to_smaller();
        }
    }

    fn estimate_nanos(&self, size: usize) -> f64 {
        if size == 0 {
            return 0.0;
        }
        let (low, high, high_share) = self.bracket(size);
        let ((low_size, low_cost), (_, high_cost)) = (self.entries[low], self.entries[high]);
        if low == high {
            return low_cost * size as f64 / low_size as f64;
        }
        low_cost + (high_cost - low_cost) * high_share
    }

    /// The entries on both sides of `size`, and the share of the upper one in 0..=1. Outside the measured sizes both
    /// are the nearest entry.
    fn bracket(&self, size: usize) -> (usize, usize, f64) {
        let high = self.entries.partition_point(|&(entry, _)| entry < size);
        if high == self.entries.len() {
            return (high - 1, high - 1, 0.0);
        }
        if high == 0 || self.entries[high].0 == size {
            return (high, high, 0.0);
        }
        let (low_size, high_size) = (self.entries[high - 1].0, self.entries[high].0);
        (
            high - 1,
            high,
            (size - low_size) as f64 / (high_size - low_size) as f64,
        )
    }

    fn lower_to_larger(&mut self) {
        let mut ceiling = f64::INFINITY;
        for (_, cost) in self.entries.iter_mut().rev() {
            *cost = cost.min(ceiling);
            ceiling = *cost;
        }
    }

    fn raise_to_smaller(&mut self) {
        let mut floor = 0.0_f64;
        for (_, cost) in &mut self.entries {
            *cost = cost.max(floor);
            floor = *cost;
        }
    }
}

/// Runs batches of zeros through `engine` and returns what each size costs.
///
/// One run comes first that does not count, for what is allocated and compiled on first use. Then sizes are tried in
/// rounds, small to large, so that a budget that runs out costs precision before it costs sizes.
///
/// # Errors
/// What the engine says, and [`EngineError::BadInput`] for a model whose inputs have open axes besides the batch:
/// there is no size to measure.
pub fn measure(
    engine: &mut dyn Engine,
    plan: &MeasurePlan,
    mut now: impl FnMut() -> Instant,
) -> Result<CostTable, EngineError> {
    let start = now();
    let sizes = engine
        .signature()
        .fixed_batch()
        .map_or_else(|| sizes_up_to(plan.max_batch), |fixed| vec![fixed]);
    let mut best: Vec<Option<Duration>> = vec![None; sizes.len()];
    let first = zeros(engine, sizes[0])?;
    engine.infer(&first)?;
    for _ in 0..plan.rounds.max(1) {
        for index in 0..sizes.len() {
            let elapsed = now().duration_since(start);
            if elapsed + predict(&sizes, &best, index) > plan.budget && best[0].is_some() {
                // Larger sizes take longer still.
                break;
            }
            let inputs = zeros(engine, sizes[index])?;
            let begun = now();
            engine.infer(&inputs)?;
            let took = now().duration_since(begun);
            best[index] = Some(best[index].map_or(took, |best| best.min(took)));
        }
    }
    let measured = sizes
        .iter()
        .zip(&best)
        .filter_map(|(&size, &cost)| Some((size, cost?)));
    CostTable::new(measured).ok_or_else(|| EngineError::Fault("no batch size could be measured".to_owned()))
}

/// What the next run of `sizes[index]` should take, from its own best or the next smaller one's; zero for the first.
fn predict(sizes: &[usize], best: &[Option<Duration>], index: usize) -> Duration {
    if let Some(cost) = best[index] {
        return cost;
    }
    (0..index)
        .rev()
        .find_map(|smaller| Some((smaller, best[smaller]?)))
        .map_or(Duration::ZERO, |(smaller, cost)| {
            duration(nanos(cost) * sizes[index] as f64 / sizes[smaller] as f64)
        })
}

/// 1, 2, 4, ... below `max`, and `max`.
fn sizes_up_to(max: usize) -> Vec<usize> {
    let max = max.max(1);
    let mut sizes: Vec<usize> = std::iter::successors(Some(1_usize), |size| size.checked_mul(2))
        .take_while(|&size| size < max)
        .collect();
    sizes.push(max);
    sizes
}

fn zeros(engine: &dyn Engine, batch: usize) -> Result<Vec<Tensor>, EngineError> {
    engine
        .signature()
        .inputs
        .iter()
        .map(|spec| zero(spec, batch))
        .collect()
}

fn zero(spec: &TensorSpec, batch: usize) -> Result<Tensor, EngineError> {
    let bad = |reason: &str| EngineError::BadInput(format!("{} {reason}", spec.name));
    let rest = spec.shape.iter().skip(1).copied();
    let shape: Option<Vec<usize>> = std::iter::once(Some(batch)).chain(rest).collect();
    let shape = shape
        .ok_or_else(|| bad("has an open axis besides the batch; declare its length in the model package"))?;
    let len = shape
        .iter()
        .try_fold(1_usize, |product, &dim| product.checked_mul(dim));
    let len = len
        .filter(|&len| len <= MAX_ELEMENTS)
        .ok_or_else(|| bad("is too large to measure"))?;
    Tensor::new(shape, TensorData::zeros(spec.element_type, len)).map_err(|error| bad(&error.to_string()))
}

fn nanos(time: Duration) -> f64 {
    time.as_nanos() as f64
}

fn duration(nanos: f64) -> Duration {
    // The cast saturates, so an absurd estimate becomes 584 years rather than a panic.
    Duration::from_nanos(nanos.round() as u64)
}
