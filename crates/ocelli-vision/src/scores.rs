//! Raw scores of a model to probabilities and ranks.

use std::cmp::Ordering;

/// Replaces scores by their softmax, computed from the maximum down so that no score overflows.
///
/// Scores that hold a NaN become NaN throughout; an empty slice stays empty.
pub fn softmax(scores: &mut [f32]) {
    let max = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    // All scores at minus infinity, or one at plus infinity: the difference below would be NaN.
    let max = if max.is_finite() { max } else { 0.0 };
    for score in scores.iter_mut() {
        *score = (*score - max).exp();
    }
    let sum: f64 = scores.iter().map(|&score| f64::from(score)).sum();
    let factor = (1.0 / sum) as f32;
    for score in scores.iter_mut() {
        *score *= factor;
    }
}

/// Replaces each score by `1 / (1 + exp(-score))`.
pub fn sigmoid(scores: &mut [f32]) {
    for score in scores.iter_mut() {
        *score = 1.0 / (1.0 + (-*score).exp());
    }
}

/// The `k` best scores as (index, score), best first; equal scores by index, NaN after everything else.
///
/// Selects before it sorts: O(n + k log k).
pub fn top_k(scores: &[f32], k: usize) -> Vec<(usize, f32)> {
    let k = k.min(scores.len());
    if k == 0 {
        return Vec::new();
    }
    let mut ranked: Vec<(usize, f32)> = scores.iter().copied().enumerate().collect();
    if k < ranked.len() {
        ranked.select_nth_unstable_by(k - 1, better_first);
        ranked.truncate(k);
    }
    ranked.sort_unstable_by(better_first);
    ranked
}

fn better_first(left: &(usize, f32), right: &(usize, f32)) -> Ordering {
    let by_score = match (left.1.is_nan(), right.1.is_nan()) {
        (true, true) => Ordering::Equal,
        (true, false) => Ordering::Greater,
        (false, true) => Ordering::Less,
        (false, false) => right.1.partial_cmp(&left.1).unwrap_or(Ordering::Equal),
    };
    by_score.then(left.0.cmp(&right.0))
}
