//! What a model takes and gives, and the two checks that every engine shares: a graph against its package, and a
//! batch against the graph.

use std::fmt::Write as _;

use crate::{ElementType, EngineError, Tensor};

#[cfg(test)]
mod tests;

/// One input or output of a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorSpec {
    /// The name in the graph.
    pub name: String,
    /// The type of the elements.
    pub element_type: ElementType,
    /// The length of each axis, `None` where it may vary. The first axis is the batch. No axis at all: any shape.
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

    /// The signature of a graph that is used as a package declares: the package's tensors in the package's order,
    /// with every axis fixed that either of them fixes. Outputs that the package does not name are left out.
    ///
    /// # Errors
    /// The first difference between the two, in words.
    pub fn reconcile(declared: &Self, graph: &Self) -> Result<Self, String> {
        let is_extra = |input: &TensorSpec| declared.inputs.iter().all(|own| own.name != input.name);
        if graph.inputs.iter().any(is_extra) {
            let remedy = if graph.inputs.len() > declared.inputs.len() {
                "; export it with the others as constants"
            } else {
                ""
            };
            let (taken, own) = (names(&graph.inputs), names(&declared.inputs));
            return Err(format!(
                "the graph's inputs are {taken}, and the package declares {own}{remedy}"
            ));
        }
        let merge = |kind: &str, declared: &[TensorSpec], graph: &[TensorSpec]| {
            declared
                .iter()
                .map(|spec| spec.reconcile(kind, graph))
                .collect::<Result<Vec<_>, _>>()
        };
        let merged = Self {
            inputs: merge("input", &declared.inputs, &graph.inputs)?,
            outputs: merge("output", &declared.outputs, &graph.outputs)?,
        };
        if let Some(fixed) = merged.fixed_batch().filter(|&batch| batch != 1) {
            return Err(format!(
                "the graph takes batches of exactly {fixed}; export it with a dynamic first axis, or a first axis of 1"
            ));
        }
        Ok(merged)
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
    fn reconcile(&self, kind: &str, graph: &[Self]) -> Result<Self, String> {
        let name = &self.name;
        let Some(other) = graph.iter().find(|other| other.name == *name) else {
            return Err(format!(
                "the package declares an {kind} {name}, and the graph has {}",
                names(graph)
            ));
        };
        if other.element_type != self.element_type {
            return Err(format!(
                "the package declares the {kind} {name} as {}, and in the graph it is {}",
                self.element_type, other.element_type
            ));
        }
        // Either side may leave even the number of axes open: it then has none at all.
        if self.shape.is_empty() || other.shape.is_empty() {
            let shape = [&self.shape[..], &other.shape[..]].concat();
            return Ok(Self {
                shape,
                ..self.clone()
            });
        }
        let merged = merge_shapes(&self.shape, &other.shape)
            .or_else(|| (kind == "output").then(|| merge_around_ones(&self.shape, &other.shape))?);
        match merged {
            Some(shape) => Ok(Self {
                shape,
                ..self.clone()
            }),
            None => Err(format!(
                "the package declares the {kind} {name} as {}, and in the graph it is {}",
                show_shape(&self.shape),
                show_shape(&other.shape)
            )),
        }
    }

    /// Whether a tensor may have this shape.
    pub(crate) fn fits(&self, shape: &[usize]) -> bool {
        self.shape.is_empty()
            || shape.len() == self.shape.len()
                && self
                    .shape
                    .iter()
                    .zip(shape)
                    .all(|(want, &got)| want.is_none_or(|want| want == got))
    }

    fn check(&self, tensor: &Tensor) -> Result<(), EngineError> {
        if tensor.element_type() != self.element_type {
            return Err(EngineError::BadInput(format!(
                "{} takes {}, got {}",
                self.name,
                self.element_type,
                tensor.element_type()
            )));
        }
        if self.fits(tensor.shape()) {
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

/// What two descriptions of an axis agree on: `None` when they do not, `Some(None)` when both leave it open.
fn merge_dims(one: Option<usize>, other: Option<usize>) -> Option<Option<usize>> {
    match (one, other) {
        (Some(one), Some(other)) => (one == other).then_some(Some(one)),
        (known, None) | (None, known) => Some(known),
    }
}

/// The shape that two descriptions agree on.
fn merge_shapes(one: &[Option<usize>], other: &[Option<usize>]) -> Option<Vec<Option<usize>>> {
    if one.len() != other.len() {
        return None;
    }
    let axes = one.iter().zip(other);
    axes.map(|(&one, &other)| merge_dims(one, other)).collect()
}

/// The shape of a graph's output that has the declared axes, and between them axes of 1 that hold nothing:
/// convolutional networks end in `[batch, classes, 1, 1]`. Open axes are taken to be 1 where the fixed ones are all that is
/// declared; where they are not, they stay open, and only a run can tell.
fn merge_around_ones(declared: &[Option<usize>], graph: &[Option<usize>]) -> Option<Vec<Option<usize>>> {
    let (own_batch, own_axes) = declared.split_first()?;
    let (batch, axes) = graph.split_first()?;
    let batch = merge_dims(*own_batch, *batch)?;
    let counted = |axes: &[Option<usize>], with_open: bool| -> Vec<Option<usize>> {
        let counts = |axis: &Option<usize>| axis.map_or(with_open, |length| length != 1);
        axes.iter().copied().filter(counts).collect()
    };
    let own = counted(own_axes, true);
    let whole = |axes: Vec<Option<usize>>| std::iter::once(batch).chain(axes).collect();
    for with_open in [true, false] {
        if let Some(merged) = merge_shapes(&own, &counted(axes, with_open)) {
            let mut merged = merged.into_iter();
            let axis = |axis: &Option<usize>| match axis {
                Some(1) => Some(Some(1)),
                None if !with_open => Some(Some(1)),
                _ => merged.next(),
            };
            return axes.iter().map(axis).collect::<Option<Vec<_>>>().map(whole);
        }
    }
    let can_hold_all = counted(axes, false).is_empty() && counted(axes, true).len() > own.len();
    can_hold_all.then(|| whole(axes.to_vec()))
}

fn names(specs: &[TensorSpec]) -> String {
    if specs.is_empty() {
        return "none".to_owned();
    }
    specs
        .iter()
        .map(|spec| spec.name.as_str())
        .collect::<Vec<_>>()
        .join(", ")
}

/// `[batch, 224, 224, 3]`, with `?` for other axes that may vary.
pub(crate) fn show_shape(shape: &[Option<usize>]) -> String {
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
