//! What a model takes and gives, and the two checks that every engine shares: a graph against its package, and a
//! batch against the graph.

use std::fmt::Write as _;

use crate::{ElementType, EngineError, Tensor};

/// One input or output of a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorSpec {
    /// The name in the graph.
    pub name: String,
    /// The type of the elements.
    pub element_type: ElementType,
    /// The length of each axis, `None` where it may vary. The first axis is the batch.
    pub shape: Vec<Option<usize>>,
}

/// What a model takes and gives, in the graph's order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature {
    /// The inputs.
    pub inputs: Vec<TensorSpec>,
    /// The outputs.
    pub outputs: Vec<TensorSpec>,
}

impl Signature {
    /// The only batch size that the model accepts; `None` when it may vary.
    pub fn fixed_batch(&self) -> Option<usize> {
        self.inputs
            .iter()
            .find_map(|input| input.shape.first().copied().flatten())
    }

    /// Checks a batch against the inputs and returns its length.
    ///
    /// # Errors
    /// [`EngineError::BadInput`] that names the tensor and says what was expected.
    pub fn check_inputs(&self, inputs: &[Tensor]) -> Result<usize, EngineError> {
        if inputs.len() != self.inputs.len() {
            return Err(EngineError::BadInput(format!(
                "it takes {} tensors, got {}",
                self.inputs.len(),
                inputs.len()
            )));
        }
        let batch = inputs.first().map_or(0, Tensor::batch_len);
        if batch == 0 {
            return Err(EngineError::BadInput(
                "the batch is empty; send at least one row".to_owned(),
            ));
        }
        for (spec, tensor) in self.inputs.iter().zip(inputs) {
            spec.check(tensor)?;
            if tensor.batch_len() != batch {
                return Err(EngineError::BadInput(format!(
                    "{} has {} rows where the first input has {batch}",
                    spec.name,
                    tensor.batch_len()
                )));
            }
        }
        Ok(batch)
    }
}

impl TensorSpec {
    fn check(&self, tensor: &Tensor) -> Result<(), EngineError> {
        if tensor.element_type() != self.element_type {
            return Err(EngineError::BadInput(format!(
                "{} takes {}, got {}",
                self.name,
                self.element_type,
                tensor.element_type()
            )));
        }
        let fits = tensor.shape().len() == self.shape.len()
            && self
                .shape
                .iter()
                .zip(tensor.shape())
                .all(|(want, &got)| want.is_none_or(|want| want == got));
        if fits {
            return Ok(());
        }
        Err(EngineError::BadInput(format!(
            "{} takes the shape {}, got {:?}",
            self.name,
            show_shape(&self.shape),
            tensor.shape()
        )))
    }
}

/// `[batch, 224, 224, 3]`, with `?` for other axes that may vary.
fn show_shape(shape: &[Option<usize>]) -> String {
    let mut text = String::from("[");
    for (axis, dim) in shape.iter().enumerate() {
        if axis > 0 {
            text.push_str(", ");
        }
        match dim {
            Some(dim) => {
                let _ = write!(text, "{dim}");
            }
            None => text.push_str(if axis == 0 { "batch" } else { "?" }),
        }
    }
    text.push(']');
    text
}
