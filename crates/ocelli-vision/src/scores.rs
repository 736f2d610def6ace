//! Raw scores of a model to probabilities and ranks.

use std::cmp::Ordering;

use crate::package::Activation;

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

/// Scales a vector to length 1 (L2), summed in double precision. A vector of zeros has no direction and stays.
pub fn l2_normalize(vector: &mut [f32]) {
    let squares: f64 = vector.iter().map(|&number| f64::from(number).powi(2)).sum();
    if squares > 0.0 {
        let length = squares.sqrt();
        vector
            .iter_mut()
            .for_each(|number| *number = (f64::from(*number) / length) as f32);
    }
}

/// The `k` best classes as (index, probability), best first; equal scores by index.
///
/// Scores are compared before `activation` is applied: it saturates, so different scores may get the same probability.
pub fn rank(scores: &[f32], activation: Activation, k: usize) -> Vec<(usize, f32)> {
    let mut probabilities = scores.to_vec();
    match activation {
        Activation::Softmax => softmax(&mut probabilities),
        Activation::Sigmoid => sigmoid(&mut probabilities),
        Activation::None => {}
    }
    let mut ranked = top_k(scores, k);
    for (index, value) in &mut ranked {
        *value = probabilities[*index];
    }
    ranked
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn score() -> impl Strategy<Value = f32> {
        // Few values, so that ties are common.
        prop_oneof![4 => (-3..4_i8).prop_map(f32::from), 1 => any::<f32>(), 1 => Just(f32::NAN)]
    }

    proptest! {
        #[test]
        fn top_k_is_the_head_of_a_full_sort(scores in prop::collection::vec(score(), 0..60), k in 0..70_usize) {
            let mut sorted: Vec<(usize, f32)> = scores.iter().copied().enumerate().collect();
            // Stable, so that equal scores stay in the order of their indices.
            sorted.sort_by(|left, right| match (left.1.is_nan(), right.1.is_nan()) {
                (false, false) => right.1.partial_cmp(&left.1).unwrap(),
                (left, right) => left.cmp(&right),
            });
            sorted.truncate(k);
            let bits = |ranked: &[(usize, f32)]| -> Vec<_> { ranked.iter().map(|(at, score)| (*at, score.to_bits())).collect() };
            prop_assert_eq!(bits(&top_k(&scores, k)), bits(&sorted));
        }

        #[test]
        fn softmax_sums_to_one_and_keeps_the_order(mut scores in prop::collection::vec(-1e4..1e4_f32, 1..1000)) {
            let best = top_k(&scores, 1)[0].0;
            softmax(&mut scores);
            let sum: f64 = scores.iter().map(|&score| f64::from(score)).sum();
            prop_assert!((sum - 1.0).abs() < 1e-5, "{}", sum);
            prop_assert_eq!(scores[best], scores.iter().copied().fold(0.0, f32::max));
        }
    }

    /// Scores that saturate an activation, ties, and everything between.
    fn logit() -> impl Strategy<Value = f32> {
        prop_oneof![
            3 => (-3..4_i8).prop_map(f32::from),
            3 => -200.0..200.0_f32,
            1 => any::<f32>().prop_filter("finite", |score| score.is_finite()),
            1 => prop::sample::select(vec![f32::MAX, f32::MIN, f32::MIN_POSITIVE, 0.0, -0.0]),
        ]
    }

    proptest! {
        #[test]
        fn classes_are_in_the_order_of_their_scores(scores in prop::collection::vec(logit(), 0..60), k in 0..70_usize) {
            let order = |ranked: &[(usize, f32)]| -> Vec<usize> { ranked.iter().map(|&(index, _)| index).collect() };
            let expected = order(&top_k(&scores, k));
            for activation in [Activation::Softmax, Activation::Sigmoid, Activation::None] {
                let ranked = rank(&scores, activation, k);
                prop_assert_eq!(order(&ranked), &expected[..], "{:?}", activation);
                // The answer is also sorted by what it shows.
                prop_assert!(ranked.is_sorted_by(|left, right| left.1 >= right.1), "{:?} {:?}", activation, ranked);
            }
        }
    }

    #[test]
    fn the_order_survives_an_activation_that_saturates() {
        assert_eq!(
            rank(&[18.0, 40.0, 25.0], Activation::Sigmoid, 3),
            [(1, 1.0), (2, 1.0), (0, 1.0)]
        );
        assert_eq!(
            rank(&[200.0, -60.0, -20.0, -40.0], Activation::Softmax, 4),
            [(0, 1.0), (2, 0.0), (3, 0.0), (1, 0.0)]
        );
        assert_eq!(rank(&[1.0, 2.0, 2.0], Activation::None, 2), [(1, 2.0), (2, 2.0)]);
    }

    #[test]
    fn softmax_of_known_scores() {
        let mut scores = [1.0, 2.0, 3.0];
        softmax(&mut scores);
        for (score, expected) in scores.iter().zip([0.090_030_57, 0.244_728_47, 0.665_240_96]) {
            assert!((score - expected).abs() < 1e-7, "{score}");
        }
    }

    #[test]
    fn softmax_of_huge_scores_does_not_overflow() {
        let mut scores = [3e38, 3e38, -3e38];
        softmax(&mut scores);
        assert_eq!(scores, [0.5, 0.5, 0.0]);
    }

    #[test]
    fn softmax_spreads_a_nan_instead_of_hiding_it() {
        let mut scores = [1.0, f32::NAN];
        softmax(&mut scores);
        assert!(scores.iter().all(|score| score.is_nan()));
        softmax(&mut []);
    }

    #[test]
    fn sigmoid_reaches_both_ends() {
        let mut scores = [0.0, 1000.0, -1000.0, 1.0];
        sigmoid(&mut scores);
        assert_eq!(scores[..3], [0.5, 1.0, 0.0]);
        assert!((scores[3] - 0.731_058_6).abs() < 1e-7);
    }

    #[test]
    fn a_vector_becomes_one_long_whatever_its_length_was() {
        for scale in [1e-30, 1.0, 1e30_f32] {
            let mut vector = [3.0 * scale, -4.0 * scale];
            l2_normalize(&mut vector);
            assert_eq!(vector, [0.6, -0.8], "{scale}");
        }
        let mut nothing = [0.0; 3];
        l2_normalize(&mut nothing);
        assert_eq!(nothing, [0.0; 3]);
    }

    #[test]
    fn top_k_of_nothing_and_of_too_much() {
        assert!(top_k(&[], 5).is_empty());
        assert!(top_k(&[1.0], 0).is_empty());
        assert_eq!(top_k(&[1.0, 2.0], 5), [(1, 2.0), (0, 1.0)]);
    }
}
