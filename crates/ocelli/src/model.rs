//! A model that is served: its package, how it is run, and whether it is ready.

use std::borrow::Cow;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ocelli_engine::{CostTable, ElementType, ModelSource, Signature, TensorSpec};
use ocelli_vision::{InputSpec, InputType, Layout, ModelPackage, PackageError};
use parking_lot::Mutex;

use crate::job::ModelId;

/// A model package and its state in this process.
#[derive(Debug)]
pub struct ServedModel {
    /// What jobs and answers call it.
    pub id: Arc<ModelId>,
    /// What goes in, what comes out.
    pub package: ModelPackage,
    signature: Signature,
    live_instances: AtomicUsize,
    runtime: Mutex<Option<Runtime>>,
}

/// How a model is run, known once it has been loaded and measured.
#[derive(Clone, Debug)]
pub struct Runtime {
    /// The engine's name.
    pub engine: &'static str,
    /// The engine's version.
    pub engine_version: String,
    /// How many instances run batches at once.
    pub instances: usize,
    /// Threads that each of them computes with.
    pub threads_per_instance: usize,
    /// Threads that compute one image when nothing else is to be done; `None` where that is not done.
    pub threads_when_idle: Option<usize>,
    /// The most images in a batch.
    pub max_batch: usize,
    /// What a batch costs one instance.
    pub cost: CostTable,
}

impl ServedModel {
    /// A model that is not loaded yet.
    #[must_use]
    pub fn new(package: ModelPackage) -> Self {
        let id = ModelId {
            name: package.manifest.name.clone(),
            version: package.manifest.version.clone(),
            digest: package.digest().to_owned(),
        };
        let signature = signature(&package);
        Self {
            id: Arc::new(id),
            package,
            signature,
            live_instances: AtomicUsize::new(0),
            runtime: Mutex::new(None),
        }
    }

    /// What an engine has to load.
    #[must_use]
    pub fn source(&self) -> ModelSource<'_> {
        ModelSource {
            name: &self.id.name,
            onnx: &self.package.onnx,
            signature: &self.signature,
        }
    }

    /// What images have to be made into.
    #[must_use]
    pub fn input(&self) -> &InputSpec {
        &self.package.manifest.input
    }

    /// The names of the classes of the first output.
    #[must_use]
    pub fn labels(&self) -> &[String] {
        self.package.labels.first().map_or(&[], Vec::as_slice)
    }

    /// Whether an instance is there to compute with.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.live_instances.load(Ordering::Acquire) > 0
    }

    /// Notes that an instance came up.
    pub fn instance_up(&self) {
        self.live_instances.fetch_add(1, Ordering::AcqRel);
    }

    /// Notes that an instance went down.
    pub fn instance_down(&self) {
        self.live_instances.fetch_sub(1, Ordering::AcqRel);
    }

    /// How the model is run; `None` while it is being loaded.
    #[must_use]
    pub fn runtime(&self) -> Option<Runtime> {
        self.runtime.lock().clone()
    }

    /// Notes how the model is run.
    pub fn set_runtime(&self, runtime: Runtime) {
        *self.runtime.lock() = Some(runtime);
    }

    /// Notes what a batch cost, so that expectations follow what the machine does.
    pub fn observe(&self, batch: usize, cost: Duration) {
        if let Some(runtime) = self.runtime.lock().as_mut() {
            runtime.cost.observe(batch, cost);
        }
    }

    /// How long `images` images take, if they are all that this model has to compute.
    #[must_use]
    pub fn estimate(&self, images: usize) -> Option<Duration> {
        let runtime = self.runtime.lock();
        let runtime = runtime.as_ref()?;
        let batches = images.div_ceil(runtime.max_batch).div_ceil(runtime.instances);
        Some(runtime.cost.estimate(runtime.max_batch) * u32::try_from(batches).unwrap_or(u32::MAX))
    }
}

/// The tensors that a package declares. The batch axis is open, and so is an output's length without labels.
fn signature(package: &ModelPackage) -> Signature {
    let input = package.manifest.input.clone();
    let (height, width) = (Some(input.height as usize), Some(input.width as usize));
    let channels = Some(input.elements() / (input.height as usize * input.width as usize));
    let shape = match input.layout {
        Layout::Nhwc => vec![None, height, width, channels],
        Layout::Nchw => vec![None, channels, height, width],
    };
    let element_type = match input.dtype {
        InputType::Uint8 => ElementType::U8,
        InputType::Float32 => ElementType::F32,
    };
    let outputs = package
        .manifest
        .outputs
        .iter()
        .zip(&package.labels)
        .map(|(output, labels)| TensorSpec {
            name: output.name.clone(),
            element_type: ElementType::F32,
            shape: vec![None, (!labels.is_empty()).then_some(labels.len())],
        });
    Signature {
        inputs: vec![TensorSpec {
            name: input.name,
            element_type,
            shape,
        }],
        outputs: outputs.collect(),
    }
}

/// The package that is part of the binary: EfficientNet-Lite0 for the 1,000 classes of ImageNet.
///
/// # Errors
/// When it was built from a broken package, which a test of the package forbids.
pub fn builtin() -> Result<ModelPackage, PackageError> {
    ModelPackage::from_parts(
        include_str!("../../../models/efficientnet-lite0/model.toml"),
        Cow::Borrowed(include_bytes!("../../../models/efficientnet-lite0/model.onnx")),
        include_str!("../../../models/efficientnet-lite0/labels.txt"),
    )
}

/// The package in a folder, or the built-in one where none is named.
///
/// # Errors
/// When the folder does not hold a valid package.
pub fn open(folder: Option<&Path>) -> Result<ModelPackage, PackageError> {
    folder.map_or_else(builtin, ModelPackage::load)
}
