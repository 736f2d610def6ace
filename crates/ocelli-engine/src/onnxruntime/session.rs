//! One session: how it is set up, what its graph takes and gives, and one run.

use std::borrow::Cow;
use std::sync::Arc;

use half::{bf16, f16};
use ort::environment::Environment;
use ort::session::builder::{GraphOptimizationLevel, SessionBuilder};
use ort::session::{HasSelectedOutputs, OutputSelector, RunOptions, Session, SessionInputValue};
use ort::value::{DynValue, Outlet, PrimitiveTensorElementType, Shape, TensorElementType, TensorRef};

use super::thread_spawner::ThreadSpawner;
use crate::{
    ElementType, Engine, EngineError, EngineOptions, ExternalFile, ModelSource, Signature, Tensor,
    TensorData, TensorSpec, signature::show_shape,
};

pub(super) struct OnnxSession {
    session: Session,
    signature: Signature,
    /// Names the outputs to compute, in the signature's order.
    run_options: RunOptions<HasSelectedOutputs>,
    /// The runtime reads them while it loads; it does not promise to be done with them then.
    _external: Vec<ExternalFile>,
}

impl OnnxSession {
    pub(super) fn load(
        (environment, thread_spawner): (&Environment, &ThreadSpawner),
        model: &ModelSource<'_>,
        options: &EngineOptions,
    ) -> Result<Self, EngineError> {
        let failed = |reason: String| EngineError::LoadFailed {
            model: model.name.to_owned(),
            reason,
        };
        let builder = Session::builder(environment).map_err(|error| failed(error.message().to_owned()))?;
        let session = configure(builder, options, thread_spawner)
            .and_then(|builder| give(builder, model.external))
            .and_then(|mut builder| builder.commit_from_memory(model.onnx))
            .map_err(|error| failed(explain(&one_line(error.message()))))?;
        let graph = Signature {
            inputs: inputs(&session, model.signature).map_err(failed)?,
            outputs: outputs(&session, model.signature).map_err(failed)?,
        };
        let signature = Signature::reconcile(model.signature, &graph).map_err(|reason| {
            EngineError::SignatureMismatch {
                model: model.name.to_owned(),
                reason,
            }
        })?;
        let selector = signature
            .outputs
            .iter()
            .fold(OutputSelector::no_default(), |selector, output| {
                selector.with(output.name.clone())
            });
        let run_options = RunOptions::new()
            .map_err(|error| failed(error.message().to_owned()))?
            .with_outputs(selector);
        Ok(Self {
            session,
            signature,
            run_options,
            _external: model.external.to_vec(),
        })
    }
}

impl Engine for OnnxSession {
    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn infer(&mut self, inputs: &[Tensor]) -> Result<Vec<Tensor>, EngineError> {
        let batch = self.signature.check_inputs(inputs)?;
        let values = self
            .signature
            .inputs
            .iter()
            .zip(inputs)
            .map(|(spec, tensor)| Ok((Cow::Borrowed(spec.name.as_str()), borrow(tensor)?)))
            .collect::<ort::Result<Vec<_>>>()
            .map_err(|error| fault(&error))?;
        let outputs =
            self.session
                .run_with_options(values, &self.run_options)
                .map_err(|error| match error.code() {
                    ort::ErrorCode::InvalidArgument => EngineError::BadInput(one_line(error.message())),
                    _ => fault(&error),
                })?;
        self.signature
            .outputs
            .iter()
            .zip(outputs.values())
            .map(|(spec, value)| copy(spec, &value, batch))
            .collect()
    }
}

/// The settings, by measurement on the int8 EfficientNet-Lite0 with two threads of one processor core:
///
/// - No spinning. Alone on the machine it makes no difference (250 against 245 images/s); beside decoders and other
///   processes, threads that spin take the cores that the others need (28 against 75 images/s, and the same for spins
///   as short as 0.1 ms). An instance of one thread waits for no other.
/// - Arena and memory pattern stay on. Two instances hold 106 MiB after batches of 8, the library included; without
///   the pattern it is 98 MiB and 2 to 5 % slower at batch 1, without the arena the peak is higher.
/// - No shared prepacked weights: they save nothing for quantised weights.
/// - Denormals stay as they are. The option that flushes them acts on the pool's threads and on the thread that loads
///   the process's first session: instances would differ in their answers, and so would Rust's own arithmetic.
/// - Pads stay as they are. ONNX Runtime 1.31 merges a pad of zeros into the maximum pooling behind it, which pads with
///   minus infinity: the BiT models of transformers then answer up to 8 % of their range beside PyTorch.
fn configure(
    builder: SessionBuilder,
    options: &EngineOptions,
    thread_spawner: &ThreadSpawner,
) -> ort::Result<SessionBuilder> {
    Ok(builder
        .with_thread_manager(thread_spawner.clone())?
        .with_optimization_level(GraphOptimizationLevel::All)?
        .with_disabled_optimizers("Pad_Fusion")?
        .with_parallel_execution(false)?
        .with_inter_threads(1)?
        .with_intra_threads(options.threads.max(1))?
        .with_intra_op_spinning(false)?)
}

/// Hands the files of weights over in memory: the runtime would look for them in the working directory.
fn give(builder: SessionBuilder, files: &[ExternalFile]) -> ort::Result<SessionBuilder> {
    files.iter().try_fold(builder, |builder, file| {
        Ok(builder.with_external_initializer_file_in_memory(&file.name, Arc::clone(&file.bytes))?)
    })
}

/// Views the elements as they lie, without a copy.
fn borrow(tensor: &Tensor) -> ort::Result<SessionInputValue<'_>> {
    let shape = tensor.shape();
    match tensor.data() {
        TensorData::U8(values) => TensorRef::from_array_view((shape, values.as_slice())).map(Into::into),
        TensorData::F32(values) => TensorRef::from_array_view((shape, values.as_slice())).map(Into::into),
        TensorData::F16(values) => TensorRef::from_array_view((shape, values.as_slice())).map(Into::into),
    }
}

/// Copies an output out of the runtime's memory, which it wants back, and checks that its first axis is the batch.
fn copy(spec: &TensorSpec, value: &DynValue, batch: usize) -> Result<Tensor, EngineError> {
    let (shape, data) = match value.dtype().tensor_type() {
        Some(TensorElementType::Uint8) => read(value, |values: &[u8]| TensorData::U8(values.to_vec())),
        Some(TensorElementType::Float16) => widen(value, f16::to_f32),
        Some(TensorElementType::Bfloat16) => widen(value, bf16::to_f32),
        Some(TensorElementType::Float64) => widen(value, |value: f64| value as f32),
        _ => read(value, |values: &[f32]| TensorData::F32(values.to_vec())),
    }
    .map_err(|error| fault(&error))?;
    let shape: Vec<usize> = shape
        .iter()
        .map(|&dim| usize::try_from(dim).unwrap_or(0))
        .collect();
    if shape.first() != Some(&batch) {
        return Err(EngineError::Fault(format!(
            "output {} has the shape {shape:?} for a batch of {batch}, and its first axis must be the batch: export the model with \
             a batch axis in its output",
            spec.name
        )));
    }
    if !spec.fits(&shape) {
        return Err(EngineError::Fault(format!(
            "output {} has the shape {shape:?}, and the package declares {}",
            spec.name,
            show_shape(&spec.shape)
        )));
    }
    Tensor::new(shape, data).map_err(|error| EngineError::Fault(error.to_string()))
}

fn widen<T: PrimitiveTensorElementType + Copy + 'static>(
    value: &DynValue,
    convert: impl Fn(T) -> f32,
) -> ort::Result<(&Shape, TensorData)> {
    read(value, |values: &[T]| {
        TensorData::F32(values.iter().map(|&value| convert(value)).collect())
    })
}

fn read<T: PrimitiveTensorElementType + 'static>(
    value: &DynValue,
    convert: impl FnOnce(&[T]) -> TensorData,
) -> ort::Result<(&Shape, TensorData)> {
    let (shape, values) = value.try_extract_tensor::<T>()?;
    Ok((shape, convert(values)))
}

/// What the graph takes. An input that the package does not declare is refused for that, whatever its type.
fn inputs(session: &Session, declared: &Signature) -> Result<Vec<TensorSpec>, String> {
    let is_declared = |name: &str| declared.inputs.iter().any(|own| own.name == name);
    session
        .inputs()
        .iter()
        .map(|outlet| {
            let element_type = match element_type(outlet) {
                Some(TensorElementType::Uint8) => ElementType::U8,
                Some(TensorElementType::Float32) => ElementType::F32,
                Some(TensorElementType::Float16) => ElementType::F16,
                _ if !is_declared(outlet.name()) => ElementType::F32,
                other => {
                    return Err(format!(
                        "its input {} is {}; only uint8, float32 and float16 tensors can be filled with images",
                        outlet.name(),
                        type_name(other)
                    ));
                }
            };
            Ok(spec(outlet, element_type))
        })
        .collect()
}

/// What the graph gives. Outputs that the package does not use may have any type.
fn outputs(session: &Session, declared: &Signature) -> Result<Vec<TensorSpec>, String> {
    session
        .outputs()
        .iter()
        .filter(|outlet| declared.outputs.iter().any(|own| own.name == outlet.name()))
        .map(|outlet| {
            let element_type = match element_type(outlet) {
                Some(TensorElementType::Uint8) => ElementType::U8,
                Some(
                    TensorElementType::Float32
                    | TensorElementType::Float16
                    | TensorElementType::Bfloat16
                    | TensorElementType::Float64,
                ) => ElementType::F32,
                other => {
                    return Err(format!(
                        "its output {} is {}, which is no score: declare an output of floating-point numbers, or remove \
                         the operator behind them (such as ArgMax)",
                        outlet.name(),
                        type_name(other)
                    ));
                }
            };
            Ok(spec(outlet, element_type))
        })
        .collect()
}

fn element_type(outlet: &Outlet) -> Option<TensorElementType> {
    outlet.dtype().tensor_type()
}

/// As NumPy and ONNX call it, where the runtime's own short name is not clear.
fn type_name(element_type: Option<TensorElementType>) -> String {
    match element_type {
        None => "no tensor".to_owned(),
        Some(TensorElementType::Int64) => "int64".to_owned(),
        Some(TensorElementType::Int32) => "int32".to_owned(),
        Some(TensorElementType::Float64) => "float64".to_owned(),
        Some(TensorElementType::Bfloat16) => "bfloat16".to_owned(),
        Some(other) => other.to_string(),
    }
}

fn spec(outlet: &Outlet, element_type: ElementType) -> TensorSpec {
    let shape = outlet.dtype().tensor_shape();
    let shape = shape
        .map(|shape| shape.iter().map(|&dim| usize::try_from(dim).ok()).collect())
        .unwrap_or_default();
    TensorSpec {
        name: outlet.name().to_owned(),
        element_type,
        shape,
    }
}

/// What the runtime said of a model that it does not load, and what to do where that is known.
fn explain(message: &str) -> String {
    let has = |words: &[&str]| words.iter().any(|word| message.contains(word));
    let remedy = if has(&["opset"]) {
        "export the model with a lower opset_version, or use a newer ONNX Runtime"
    } else if has(&["IR version", "IR_VERSION"]) {
        // The version of the file's format, which is the `onnx` package's and not the exporter's to choose.
        "write the model with an older `onnx` package, or use a newer ONNX Runtime"
    } else if has(&["protobuf parsing failed"]) {
        "the file is cut off or no ONNX file: copy, download or export it again"
    } else if has(&["External data path", "External initializer"]) {
        "give the package the files of weights that belong to its ONNX file"
    } else if has(&["NOT_IMPLEMENTED", "not a registered function/op"]) {
        "export the model without operators that ONNX Runtime does not have"
    } else {
        return message.to_owned();
    };
    // An error about an opset has four sentences; the last one is the reason.
    let said = message.find("Current official support").unwrap_or(0);
    format!("{}; {remedy}", message[said..].trim_end_matches('.'))
}

fn fault(error: &ort::Error) -> EngineError {
    EngineError::Fault(one_line(error.message()))
}

/// The runtime's messages run over several lines, with the place in its source in front; logs want one.
fn one_line(message: &str) -> String {
    message.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_new_has_a_remedy_that_helps() {
        let format = explain("Unsupported model IR version: 99, max supported IR version: 13");
        assert!(
            format.contains("older `onnx` package") && !format.contains("opset_version"),
            "{format}"
        );
        let operators = explain(
            "Opset 99 is under development. Current official support for domain ai.onnx is till opset 26.",
        );
        assert!(operators.contains("lower opset_version"), "{operators}");
    }
}
