//! A model that is served: its package, how it is run, and whether it is ready.

use std::borrow::Cow;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use ocelli_engine::{CostTable, ElementType, EngineError, ExternalFile, ModelSource, Signature, TensorSpec};
use ocelli_vision::{InputSpec, InputType, ModelCard, ModelPackage, OutputSpec, PackageError, Task};
use parking_lot::Mutex;

use super::admission::{Admission, AdmissionLimits};
use super::model_id::ModelId;
use super::prediction::Pace;
use crate::error::Error;

/// A model as requests see it: its card, how it is run, and whether it has instances. It has no weights.
#[derive(Debug)]
pub struct ServedModel {
    pub id: Arc<ModelId>,
    pub card: ModelCard,
    place: Execution,
    live_instances: AtomicUsize,
    retiring: AtomicBool,
    superseded: AtomicBool,
    admission: Arc<Admission>,
    /// The part of decoding in the time per image, in nanoseconds; a moving average.
    decode_nanos: AtomicU64,
    runtime: Mutex<Option<Runtime>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Execution {
    Here,
    Elsewhere,
}

/// The weights of a model and the signature that they must have.
#[derive(Debug)]
pub struct ModelFile {
    name: String,
    origin: Option<PathBuf>,
    stated_in: Option<PathBuf>,
    onnx: Cow<'static, [u8]>,
    external: Vec<ExternalFile>,
    signature: Signature,
}

/// How a model is run, known once it has been loaded and measured.
#[derive(Clone, Debug)]
pub struct Runtime {
    pub engine: String,
    pub engine_version: String,
    pub instances: usize,
    pub threads_per_instance: usize,
    pub max_batch: usize,
    pub cost: CostTable,
    /// How many numbers a feature vector of each output has, in the order of the package; 0 for an output of classes.
    pub vector_lengths: Vec<usize>,
}

impl ServedModel {
    /// A model that this process computes and that is not loaded yet, and its file.
    pub fn split(package: ModelPackage) -> (Self, ModelFile) {
        let file = ModelFile {
            name: package.card.manifest.name.clone(),
            origin: package.origin,
            stated_in: package.stated_in,
            onnx: package.onnx,
            external: package
                .external
                .into_iter()
                .map(|file| ExternalFile {
                    name: file.name,
                    bytes: file.bytes,
                })
                .collect(),
            signature: signature(&package.card),
        };
        (Self::new(package.card, Execution::Here), file)
    }

    /// A model that other processes compute.
    pub fn elsewhere(card: ModelCard) -> Self {
        Self::new(card, Execution::Elsewhere)
    }

    fn new(card: ModelCard, place: Execution) -> Self {
        let id = ModelId {
            name: card.manifest.name.clone(),
            version: card.manifest.version.clone(),
            digest: card.digest().to_owned(),
        };
        Self {
            id: Arc::new(id),
            card,
            place,
            live_instances: AtomicUsize::new(0),
            retiring: AtomicBool::new(false),
            superseded: AtomicBool::new(false),
            admission: Admission::new(AdmissionLimits::NONE),
            decode_nanos: AtomicU64::new(0),
            runtime: Mutex::new(None),
        }
    }

    /// Limits the images that are in flight at a time.
    pub fn limited_to(mut self, jobs: usize) -> Self {
        self.admission = Admission::new(AdmissionLimits {
            jobs,
            ..AdmissionLimits::NONE
        });
        self
    }

    /// The model's own limit. Requests need the model as long as they hold its permit.
    pub fn admission(&self) -> &Arc<Admission> {
        &self.admission
    }

    pub fn input(&self) -> &InputSpec {
        &self.card.manifest.input
    }

    /// An output, by its place in the package.
    ///
    /// # Errors
    /// [`Error::Internal`] where the package has no such output, as when a job was made for another package.
    pub fn output(&self, index: usize) -> Result<&OutputSpec, Error> {
        let output = self.card.manifest.outputs.get(index);
        output.ok_or_else(|| Error::internal(format!("the model has no output {index}")))
    }

    /// The names of the classes of an output; empty where the package does not say.
    pub fn labels_of(&self, output: usize) -> &[String] {
        self.card.labels.get(output).map_or(&[], Vec::as_slice)
    }

    /// The most predictions that an answer may have: one for each class of the output, as far as the classes are known.
    pub fn classes_of(&self, output: usize) -> usize {
        /// As many classes as ImageNet has; an answer with fewer has all that there are.
        const UNKNOWN: usize = 1000;
        match self.labels_of(output).len() {
            0 => UNKNOWN,
            classes => classes,
        }
    }

    /// How many numbers a feature vector of an output has: as many as large models have while that is not known.
    pub fn vector_length(&self, output: usize) -> usize {
        const UNKNOWN: usize = 4096;
        self.known_vector_length(output).unwrap_or(UNKNOWN)
    }

    /// The same where it is known.
    pub(crate) fn known_vector_length(&self, output: usize) -> Option<usize> {
        let runtime = self.runtime.lock();
        let length = runtime.as_ref()?.vector_lengths.get(output);
        length.copied().filter(|&length| length > 0)
    }

    /// The least probability of a class that is answered, unless the request says otherwise; `None` where the best are
    /// answered whatever theirs.
    pub fn threshold_of(&self, output: usize) -> Option<f32> {
        let manifest = &self.card.manifest;
        let classes = manifest
            .outputs
            .get(output)
            .filter(|found| output == 0 || !found.is_vector())?;
        let multilabel = manifest.task == Task::Multilabel;
        classes
            .threshold
            .or_else(|| multilabel.then_some(OutputSpec::DEFAULT_THRESHOLD))
    }

    /// Whether an instance is there to compute with.
    pub fn is_ready(&self) -> bool {
        self.instances() > 0
    }

    /// Checks whether an instance is ready.
    ///
    /// # Errors
    /// [`Error::NotReady`] if this process computes, [`Error::NoWorker`] if others do.
    pub fn ready(&self) -> Result<(), Error> {
        match self.place {
            _ if self.is_ready() => Ok(()),
            Execution::Here => Err(Error::NotReady("its engine is starting or being rebuilt")),
            Execution::Elsewhere => Err(Error::NoWorker(self.id.name.clone())),
        }
    }

    /// Its state, as JSON and metrics name it.
    pub fn state(&self) -> &'static str {
        match self.place {
            _ if self.is_ready() => "ready",
            Execution::Here => "loading",
            Execution::Elsewhere => "no_worker",
        }
    }

    pub fn instances(&self) -> usize {
        self.live_instances.load(Ordering::Acquire)
    }

    pub fn set_instances(&self, instances: usize) {
        self.live_instances.store(instances, Ordering::Release);
    }

    /// Whether all its workers are about to leave: they finish their jobs, but get no new ones while other workers serve the
    /// same name.
    pub fn is_retiring(&self) -> bool {
        self.retiring.load(Ordering::Acquire)
    }

    pub fn set_retiring(&self, retiring: bool) {
        self.retiring.store(retiring, Ordering::Release);
    }

    /// Whether all its workers also serve a higher version, so that the name alone does not mean this one.
    pub fn is_superseded(&self) -> bool {
        self.superseded.load(Ordering::Acquire)
    }

    pub fn set_superseded(&self, superseded: bool) {
        self.superseded.store(superseded, Ordering::Release);
    }

    pub fn instance_up(&self) {
        self.live_instances.fetch_add(1, Ordering::AcqRel);
    }

    pub fn instance_down(&self) {
        self.live_instances.fetch_sub(1, Ordering::AcqRel);
    }

    /// How the model is run; `None` while it is being loaded.
    pub fn runtime(&self) -> Option<Runtime> {
        self.runtime.lock().clone()
    }

    pub fn set_runtime(&self, runtime: Runtime) {
        *self.runtime.lock() = Some(runtime);
    }

    /// Notes what a batch cost, so that expectations follow what the machine does.
    pub fn observe(&self, batch: usize, cost: Duration) {
        if let Some(runtime) = self.runtime.lock().as_mut() {
            runtime.cost.observe(batch, cost);
        }
    }

    /// Notes how long one of `cores` cores decoded an image for this model.
    pub fn observe_decode(&self, took: Duration, cores: usize) {
        /// Of one observation in the moving average.
        const WEIGHT: u64 = 16;
        let took = took.as_nanos() as u64 / cores.max(1) as u64;
        let before = self.decode_nanos.load(Ordering::Relaxed);
        let after = if before == 0 {
            took
        } else {
            before - before / WEIGHT + took / WEIGHT
        };
        // Of two threads at once one observation is lost, which matters to nothing.
        self.decode_nanos.store(after, Ordering::Relaxed);
    }

    /// How fast the model computes while images wait for it; `None` until it has been measured.
    pub fn pace(&self) -> Option<Pace> {
        let decode = Duration::from_nanos(self.decode_nanos.load(Ordering::Relaxed));
        let runtime = self.runtime.lock();
        let runtime = runtime.as_ref()?;
        let batch = runtime.cost.estimate(runtime.max_batch);
        let at_once = runtime.max_batch.max(1) * runtime.instances.max(1);
        Some(Pace {
            per_image: batch / u32::try_from(at_once).unwrap_or(u32::MAX) + decode,
            batch: batch + decode,
            alone: runtime.cost.estimate(1) + decode,
        })
    }

    /// What batches of up to `size` images cost one instance: the first for one image. Empty until it has been measured.
    pub fn batch_costs(&self, size: usize) -> Vec<Duration> {
        let runtime = self.runtime.lock();
        let cost = runtime.as_ref().map(|runtime| &runtime.cost);
        cost.map_or_else(Vec::new, |cost| {
            (1..=size).map(|size| cost.estimate(size)).collect()
        })
    }

    /// How long `images` images take, if they are all that this model has to compute.
    pub fn estimate(&self, images: usize) -> Option<Duration> {
        let runtime = self.runtime.lock();
        let runtime = runtime.as_ref()?;
        let batches = images
            .div_ceil(runtime.max_batch.max(1))
            .div_ceil(runtime.instances.max(1));
        Some(runtime.cost.estimate(runtime.max_batch) * u32::try_from(batches).unwrap_or(u32::MAX))
    }
}

impl ModelFile {
    pub fn source(&self) -> ModelSource<'_> {
        ModelSource {
            name: &self.name,
            onnx: &self.onnx,
            external: &self.external,
            signature: &self.signature,
        }
    }

    /// What an engine says of this model before it has ever served, with the file that it is about and what to do.
    pub fn blamed(&self, error: EngineError) -> EngineError {
        let shown = |path: &PathBuf| path.strip_prefix(".").unwrap_or(path).display().to_string();
        let model = match &self.origin {
            Some(path) => format!("{} ({})", self.name, shown(path)),
            None => self.name.clone(),
        };
        let remedy = match &self.stated_in {
            Some(path) => format!("correct {} if it is wrong", shown(path)),
            None => "say what is known of it with --model-output, --task and --labels".to_owned(),
        };
        match error {
            EngineError::LoadFailed { reason, .. } => EngineError::LoadFailed { model, reason },
            EngineError::SignatureMismatch { reason, .. } => match &self.stated_in {
                Some(_) => EngineError::SignatureMismatch {
                    model,
                    reason: format!("{reason}; {remedy}, or export the model again"),
                },
                // The user has no package that declares anything.
                None => {
                    let reason = reason.replace("the package declares", "Ocelli expected");
                    EngineError::LoadFailed {
                        model,
                        reason: format!("{reason}; {remedy}, or export the model again"),
                    }
                }
            },
            EngineError::Fault(reason) | EngineError::BadInput(reason) => EngineError::LoadFailed {
                model,
                reason: format!("its first run failed: {reason}; {remedy}, or export the model again"),
            },
            other => other,
        }
    }
}

pub(crate) fn element_type(input: InputType) -> ElementType {
    match input {
        InputType::Uint8 => ElementType::U8,
        InputType::Float32 => ElementType::F32,
        InputType::Float16 => ElementType::F16,
    }
}

/// The tensors that a package declares. The batch axis is open, and an output without labels may have any shape.
fn signature(card: &ModelCard) -> Signature {
    let input = card.manifest.input.clone();
    let mut shape = input.shape(1).map(Some);
    shape[0] = None;
    let outputs = card
        .manifest
        .outputs
        .iter()
        .zip(&card.labels)
        .map(|(output, labels)| TensorSpec {
            name: output.name.clone(),
            element_type: ElementType::F32,
            shape: match labels.len() {
                0 => Vec::new(),
                classes => vec![None, Some(classes)],
            },
        });
    Signature {
        inputs: vec![TensorSpec {
            name: input.name,
            element_type: element_type(input.dtype),
            shape: shape.into(),
        }],
        outputs: outputs.collect(),
    }
}

/// The names of the 1,000 classes of ImageNet-1k, one a line, as Keras spells them: the built-in model's labels.
pub const IMAGENET: &str = include_str!("../../../../models/efficientnet-lite0/labels.txt");

/// The package that is part of the binary: EfficientNet-Lite0 for the 1,000 classes of ImageNet.
pub fn builtin() -> Result<ModelPackage, PackageError> {
    ModelPackage::from_parts(
        include_str!("../../../../models/efficientnet-lite0/model.toml"),
        Cow::Borrowed(include_bytes!("../../../../models/efficientnet-lite0/model.onnx")),
        IMAGENET,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The errors about a model at `nets/lite0.onnx` that is not what it should be.
    fn blamed(stated_in: Option<&str>) -> Vec<String> {
        let mut package = builtin().expect("built in");
        package.origin = Some("./nets/lite0.onnx".into());
        package.stated_in = stated_in.map(Into::into);
        // Models of a folder of models are called as their folders.
        let package = package.renamed("lite0", None).expect("a name");
        let (_, file) = ServedModel::split(package);
        let unlike = EngineError::SignatureMismatch {
            model: String::new(),
            reason: "the package declares it out of shape".into(),
        };
        [EngineError::Fault("out of shape".into()), unlike]
            .map(|error| file.blamed(error).to_string())
            .into()
    }

    #[test]
    fn an_engines_errors_name_the_file_and_a_remedy() {
        let mut package = builtin().expect("built in");
        package.origin = Some("./nets/lite0.onnx".into());
        let (_, file) = ServedModel::split(package);
        let refused = EngineError::LoadFailed {
            model: "efficientnet-lite0".into(),
            reason: "no such operator".into(),
        };
        assert_eq!(
            file.blamed(refused).to_string(),
            "model efficientnet-lite0 (nets/lite0.onnx) cannot be loaded: no such operator"
        );
        for said in blamed(Some("./nets/model.toml")) {
            for part in [
                "lite0 (nets/lite0.onnx)",
                "out of shape",
                "correct nets/model.toml",
                "export the model again",
            ] {
                assert!(said.contains(part), "no {part} in {said}");
            }
        }
    }

    #[test]
    fn a_model_without_a_model_toml_is_corrected_by_options() {
        for said in blamed(None) {
            for part in [
                "lite0 (nets/lite0.onnx)",
                "out of shape",
                "--model-output",
                "--task",
                "--labels",
                "export the model again",
            ] {
                assert!(said.contains(part), "no {part} in {said}");
            }
            assert!(
                !said.contains("model.toml") && !said.contains("package"),
                "{said}"
            );
        }
    }
}
