//! How much memory is kept for what has not been written yet.

use ocelli_vision::OutputSpec;

use crate::model::ServedModel;

/// The most bytes that a reply with these outputs of `model` has.
pub(crate) fn most_reply(model: &ServedModel, outputs: &[usize]) -> u64 {
    /// For what stands beside the numbers, and for the key that keeps it.
    const AROUND: u64 = 1 << 10;
    /// Features of a vector, of which workers alone know the number: as many as large models have.
    const FEATURES: u64 = 4096;
    let numbers = outputs.iter().map(|&output| {
        let specs = &model.card.manifest.outputs;
        if specs.get(output).is_some_and(OutputSpec::is_vector) {
            FEATURES
        } else {
            model.classes_of(output) as u64
        }
    });
    numbers.sum::<u64>() * 4 + AROUND
}
