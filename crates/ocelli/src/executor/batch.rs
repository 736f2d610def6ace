//! From pixels to the tensor of a batch, and from a batch's outputs to one reply for each job.

use ocelli_engine::{EngineError, Tensor, TensorData, TensorError};
use ocelli_vision::{InputSpec, TensorElement};

use crate::models::served_model::element_type;
use crate::output::postprocess::OutputRequest;
use crate::queue::Leased;

/// Fills batch tensors, using one buffer again and again.
#[derive(Debug, Default)]
pub(super) struct BatchBuffer {
    spare: Option<TensorData>,
}

impl BatchBuffer {
    /// The input of a batch. The pixels of a batch of one that need no change become the tensor itself, without a copy.
    pub(super) fn fill(&mut self, spec: &InputSpec, jobs: &mut [Leased]) -> Result<Tensor, TensorError> {
        if let [only] = jobs
            && spec.is_identity()
        {
            let pixels = std::mem::take(&mut only.job.pixels);
            return Tensor::new(spec.shape(1), TensorData::U8(pixels));
        }
        let images: Vec<&[u8]> = jobs.iter().map(|leased| &*leased.job.pixels).collect();
        input(spec, &images, self.spare.take())
    }

    /// Takes a tensor back whose batch has run.
    pub(super) fn recycle(&mut self, tensor: Tensor) {
        self.spare = Some(tensor.into_parts().1);
    }
}

/// The tensor of `images`, each height x width x 3 bytes, in the buffer `spare` if its type fits.
///
/// # Errors
/// When the numbers are not as many as the shape says.
pub fn input(spec: &InputSpec, images: &[&[u8]], spare: Option<TensorData>) -> Result<Tensor, TensorError> {
    let element_type = element_type(spec.dtype);
    let mut data = spare
        .filter(|spare| spare.element_type() == element_type)
        .unwrap_or_else(|| TensorData::zeros(element_type, 0));
    match &mut data {
        TensorData::U8(buffer) => fill(buffer, spec, images),
        TensorData::F32(buffer) => fill(buffer, spec, images),
        TensorData::F16(buffer) => fill(buffer, spec, images),
    }
    Tensor::new(spec.shape(images.len()), data)
}

fn fill<T: TensorElement>(buffer: &mut Vec<T>, spec: &InputSpec, images: &[&[u8]]) {
    buffer.resize(images.len() * spec.elements(), T::default());
    for (image, out) in images.iter().zip(buffer.chunks_exact_mut(spec.elements())) {
        spec.fill(image, out);
    }
}

/// For each job the outputs that it wants, in the order of its `wants`, each tensor with a batch axis of 1.
///
/// # Errors
/// [`EngineError::Fault`] when the engine returned another number of rows than it was given.
pub(super) fn split<'a>(
    outputs: &[Tensor],
    wanted: impl ExactSizeIterator<Item = &'a [OutputRequest]>,
) -> Result<Vec<Vec<Tensor>>, EngineError> {
    let jobs = wanted.len();
    if let Some(output) = outputs.iter().find(|output| output.batch_len() != jobs) {
        let rows = output.batch_len();
        return Err(EngineError::Fault(format!(
            "it returned {rows} rows for a batch of {jobs}"
        )));
    }
    wanted
        .enumerate()
        .map(|(row, wanted)| {
            wanted
                .iter()
                .map(|want| one_row(outputs.get(want.output), row))
                .collect()
        })
        .collect()
}

fn one_row(output: Option<&Tensor>, row: usize) -> Result<Tensor, EngineError> {
    let fault = |what: &str| EngineError::Fault(what.to_owned());
    let output = output.ok_or_else(|| fault("it returned fewer outputs than its model has"))?;
    let shape: Vec<usize> = [1]
        .into_iter()
        .chain(output.row_shape().iter().copied())
        .collect();
    let row = output
        .rows()
        .nth(row)
        .ok_or_else(|| fault("it returned too few rows"))?;
    Tensor::new(shape, row.to_data()).map_err(|error| fault(&error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::postprocess::OutputKind;

    fn vector(output: usize) -> OutputRequest {
        OutputRequest {
            output,
            form: OutputKind::Vector { normalize: false },
        }
    }

    #[test]
    fn each_job_gets_its_own_row_of_the_outputs_that_it_wants() {
        let scores = Tensor::new([2, 2], TensorData::F32(vec![1.0, 2.0, 3.0, 4.0])).expect("shape");
        let flags = Tensor::new([2], TensorData::U8(vec![7, 8])).expect("shape");
        let wants = [1, 0].map(vector);
        let wanted = [&wants[..], &wants[1..]];
        let replies = split(&[scores, flags], wanted.into_iter()).expect("rows match");
        assert_eq!(replies[1][0].f32s(), Some(&[3.0, 4.0][..]));
        assert_eq!(replies[1][0].shape(), [1, 2]);
        assert_eq!(replies[0][0].u8s(), Some(&[7][..]));
        assert_eq!((replies[0].len(), replies[1].len()), (2, 1));
    }

    #[test]
    fn a_row_too_few_is_the_engines_fault() {
        let scores = Tensor::new([1, 2], TensorData::F32(vec![1.0, 2.0])).expect("shape");
        let wants = [vector(0)];
        let wanted = [&wants[..], &wants[..]];
        assert!(split(&[scores], wanted.into_iter()).is_err_and(|error| error.needs_rebuild()));
    }
}
