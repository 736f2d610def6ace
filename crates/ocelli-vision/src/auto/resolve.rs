//! Makes a package from the files that were found.

use std::{borrow::Cow, path::Path};

use super::{
    AutoError, Hints, Kind, Note, Preset, Resolved,
    agreement::{self, Mismatch},
    files::{self, Folder},
    head::Head,
    hugging_face,
    json::Document,
    labels::{self, Labels},
    metadata, naming,
    outputs::{self, OutputHints, Outputs, in_words},
    recipe::Recipe,
    settings::Config,
    source::{self, Parts, Source},
    tensor::{Tensor, Usual},
    timm, triton,
};
use crate::{
    Activation, FinalOp, Graph, InputType, Layout, Manifest, ModelPackage, OutputSpec, PackageError, PerImage,
};

const MANIFEST: &str = "model.toml";
const ONNX_FILE: &str = "model.onnx";
/// Where Ultralytics keeps the size.
const IMGSZ: &str = "the ONNX metadata `imgsz`";
const CONFIG: &str = "config.json";
const PREPROCESSOR: &str = "preprocessor_config.json";
/// Holds the same under `image_processor`.
const PROCESSOR: &str = "processor_config.json";

pub(super) fn resolve(path: &Path, hints: &Hints) -> Result<Resolved, AutoError> {
    let mut notes = Vec::new();
    match source::find(path, hints, &mut notes)? {
        Source::Package(folder) => of_package(&folder, notes),
        Source::Parts(parts) => of_parts(&parts, hints, notes),
    }
}

/// A package as it is, but for what its graph has done already.
fn of_package(folder: &Folder, mut notes: Vec<Note>) -> Result<Resolved, AutoError> {
    let mut package = ModelPackage::load_within(folder.dir(), folder.root())?;
    let onnx = folder.path(ONNX_FILE);
    let graph = Graph::read(&package.onnx).map_err(|source| files::in_graph(&onnx, source))?;
    notes.extend(graph.doubts().into_iter().map(Note::warning));
    let input = graph.input().map_err(|source| files::in_graph(&onnx, source))?;
    let mut manifest = package.card.manifest.clone();
    let mismatch = |(key, problem): Mismatch| AutoError::Value {
        path: folder.path(MANIFEST),
        key: key.into(),
        problem: format!(
            "{problem}; `ocelli model show` on the ONNX file alone says what it takes and gives"
        ),
    };
    agreement::check_input(&manifest.input, input).map_err(mismatch)?;
    for output in &manifest.outputs {
        agreement::check_output(output, &graph).map_err(mismatch)?;
    }
    for (output, labels) in manifest.outputs.iter_mut().zip(&package.card.labels) {
        notes.extend(of_output(folder, &graph, output, labels)?);
    }
    if manifest != package.card.manifest {
        package = ModelPackage::build(manifest, package.onnx, package.external, &package.card.labels)?;
    }
    package.origin = Some(onnx.clone());
    package.stated_in = Some(folder.path(MANIFEST));
    Ok(Resolved {
        package,
        kind: Kind::Package,
        onnx,
        notes,
    })
}

/// Holds an `[[output]]` table against the graph: its classes, and what the graph has applied already, which is then not
/// applied again.
fn of_output(
    folder: &Folder,
    graph: &Graph,
    output: &mut OutputSpec,
    labels: &[String],
) -> Result<Option<Note>, AutoError> {
    let Some(found) = graph.output(&output.name) else {
        return Ok(None);
    };
    let wrong = |key: &str, problem| AutoError::Value {
        path: folder.path(MANIFEST),
        key: key.into(),
        problem,
    };
    outputs::check_stated(graph, found, output).map_err(|(key, problem)| wrong(key, problem))?;
    let gives = graph.per_image(found);
    if let PerImage::Row(Some(classes)) = gives
        && !labels.is_empty()
    {
        let file = folder.path(output.labels.as_deref().unwrap_or_default());
        labels::check_count(labels, classes, &output.name)
            .map_err(|problem| AutoError::unsuitable(file, problem))?;
    }
    let is_one_score = gives == PerImage::Row(Some(1)) && found.final_op == FinalOp::Scores;
    if is_one_score && output.activation == Activation::Softmax {
        let problem = format!(
            "is \"softmax\", and `{}` gives one number, of which it always makes 1: write task = \"multilabel\" and \
             activation = \"sigmoid\"",
            output.name
        );
        return Err(wrong("output.activation", problem));
    }
    let twice = matches!(
        (output.activation, found.final_op),
        (Activation::Softmax, FinalOp::Softmax) | (Activation::Sigmoid, FinalOp::Sigmoid)
    );
    if !twice {
        return Ok(None);
    }
    output.activation = Activation::None;
    Ok(Some(Note::warning(format!(
        "model.toml applies a {0} to `{1}`, and the graph ends in one: it is not applied twice; write activation = \
         \"none\"",
        in_words(found.final_op),
        output.name
    ))))
}

fn of_parts(parts: &Parts, hints: &Hints, mut notes: Vec<Note>) -> Result<Resolved, AutoError> {
    let onnx = parts.folder.path(&parts.onnx);
    let unsuitable = |problem: String| AutoError::unsuitable(&onnx, problem);
    let bytes = parts.folder.onnx(&parts.onnx)?;
    let graph = Graph::read(&bytes).map_err(|source| files::in_graph(&onnx, source))?;
    notes.extend(graph.doubts().into_iter().map(Note::warning));
    let input = graph.input().map_err(|source| files::in_graph(&onnx, source))?;
    let usual = match &parts.config {
        // transformers and timm are PyTorch's.
        Some(_) => Usual::Known(Layout::Nchw),
        None => Usual::of_producer(&graph.producer),
    };
    let mut tensor = Tensor::of(input, usual, &mut notes).map_err(unsuitable)?;
    if let Some(config) = &parts.triton {
        config.refine(&mut tensor);
        notes.extend(config.notes());
    }
    let stated = Stated::read(parts, hints, &tensor, &mut notes)?;
    if let Some(channels) = hints
        .channels
        .filter(|channels| (channels.count() == 1) != tensor.is_gray)
    {
        let takes = if tensor.is_gray { 1 } else { 3 };
        return Err(unsuitable(format!(
            "takes {takes} channels, and --channels says {}: choose {}",
            channels.name(),
            if tensor.is_gray {
                "gray"
            } else {
                "rgb, bgr or gray3"
            }
        )));
    }
    let recipe = recipe(hints, &stated, &graph, &tensor, &mut notes);
    let input = recipe.input_spec(tensor, &mut notes).map_err(unsuitable)?;
    let output_hints = OutputHints {
        task: stated.head.task,
        labels: stated.head.labels,
        output: hints.output.as_deref(),
        is_stated: hints.task.is_some(),
        imagenet: hints.imagenet,
    };
    let outputs = Outputs::choose(&graph, output_hints, &mut notes).map_err(unsuitable)?;
    let manifest = Manifest {
        schema: 1,
        name: naming::name(&parts.name),
        version: naming::name(&parts.version),
        task: outputs.task,
        license: stated.license,
        source: None,
        input,
        outputs: vec![outputs.spec],
        run: parts.triton.as_ref().map(triton::Config::run).unwrap_or_default(),
    };
    let external = parts.folder.external(&parts.onnx, &graph)?;
    let mut package = ModelPackage::build(manifest, Cow::Owned(bytes), external, &[outputs.labels])
        .map_err(|error| in_made(&onnx, error))?;
    package.origin = Some(onnx.clone());
    Ok(Resolved {
        package,
        kind: stated.kind,
        onnx,
        notes,
    })
}

/// How photos are prepared: as the user says, else as files say, else as the graph's metadata says, else as a guess.
fn recipe(hints: &Hints, stated: &Stated, graph: &Graph, tensor: &Tensor, notes: &mut Vec<Note>) -> Recipe {
    let mut recipe = match (hints.preset, stated.recipe) {
        (Some(preset), _) => {
            notes.push(Note::read(format!(
                "photos are prepared as --preset {preset} says"
            )));
            preset.recipe()
        }
        (None, Some(recipe)) => recipe,
        (None, None) => from_metadata(graph, tensor, notes).recipe(),
    };
    if let Some(interpolation) = hints.interpolation {
        recipe.interpolation = interpolation;
    }
    if let Some(antialias) = hints.antialias {
        recipe.arithmetic.antialias = antialias;
    }
    if let Some(channels) = hints.channels {
        recipe.channels = channels;
    }
    // Neither a preset nor a file without a size knows it, and the graph may leave it open.
    if recipe.size.is_none() && tensor.size().is_none() {
        (recipe.size, recipe.size_from) = (stated.size, CONFIG);
        if recipe.size.is_none() {
            (recipe.size, recipe.size_from) = (metadata::size(graph, notes), IMGSZ);
            notes.extend(
                recipe
                    .size
                    .map(|[width, height]| Note::read(format!("{width} x {height} pixels, from {IMGSZ}"))),
            );
        }
    }
    recipe
}

/// The error about a package that was made from other files, so that there is no `model.toml` to name.
fn in_made(onnx: &Path, error: PackageError) -> AutoError {
    match error {
        PackageError::Invalid { key, problem } => {
            AutoError::unsuitable(onnx, format!("makes a package whose `{key}` {problem}"))
        }
        error => error.into(),
    }
}

struct Stated {
    kind: Kind,
    head: Head,
    recipe: Option<Recipe>,
    /// Width and height that the model was made for.
    size: Option<[u32; 2]>,
    license: Option<String>,
}

impl Stated {
    fn read(parts: &Parts, hints: &Hints, tensor: &Tensor, notes: &mut Vec<Note>) -> Result<Self, AutoError> {
        let folder = &parts.folder;
        let paths = [CONFIG, PREPROCESSOR, PROCESSOR].map(|name| folder.path(name));
        let document = |text: &Option<String>, path| {
            text.as_deref()
                .map(|text| Document::parse(path, text))
                .transpose()
        };
        let config = document(&parts.config, &paths[0])?;
        let preprocessor = document(&parts.preprocessor, &paths[1])?;
        let processor = match &preprocessor {
            None => document(&parts.processor, &paths[2])?,
            Some(_) => None,
        };
        let config = config.as_ref().map(Document::root);
        let preprocessor = preprocessor
            .as_ref()
            .map(|file| (PREPROCESSOR, file.root()))
            .or_else(|| Some((PROCESSOR, processor.as_ref()?.root().get("image_processor")?)));
        let timm_config = config.as_ref().filter(|config| timm::is_timm(config));
        let hf_config = match (timm_config, &config) {
            (None, Some(file)) => file.read()?,
            _ => Config::default(),
        };
        let head = match (timm_config, &config) {
            (Some(file), _) => timm::head(file)?,
            (None, Some(file)) => hugging_face::head(file, &hf_config)?,
            (None, None) => Head::default(),
        };
        let given = match &hints.labels {
            Some(path) => Some(labels_at(path, &files::named_text(path)?)?),
            None => None,
        };
        // Unused files are not read, because errors in them do no harm.
        let beside = match &parts.labels {
            Some(name) if given.is_none() && head.labels.is_none() => Some(labels_beside(folder, name)?),
            _ => None,
        };
        let onnx = folder.path(&parts.onnx);
        let head = head
            .said_to_be(hints.task)
            .with_labels(given, beside, notes)
            .map_err(|problem| AutoError::unsuitable(onnx, problem))?;
        // A preset takes the place of what files say, so that it also helps where they cannot be used.
        let recipe = match (hints.preset, timm_config) {
            (Some(_), _) => None,
            (None, Some(config)) => Some(timm::recipe(config, tensor, hints.interpolation, notes)?),
            (None, None) => hugging_face::recipe(
                &hf_config,
                preprocessor.as_ref(),
                tensor.size(),
                hints.interpolation,
                notes,
            )?,
        };
        let size = match (timm_config, &config) {
            (Some(config), _) => timm::size(config)?,
            (None, Some(file)) => hugging_face::size(file, &hf_config)?,
            (None, None) => None,
        };
        Ok(Self {
            kind: parts.kind(timm_config.is_some()),
            head,
            recipe,
            size,
            license: timm_config.and_then(timm::license),
        })
    }
}

fn labels_beside(folder: &Folder, name: &str) -> Result<Labels, AutoError> {
    let path = folder.path(name);
    let text = folder
        .text(name)?
        .ok_or_else(|| AutoError::unsuitable(&path, "is named in config.pbtxt and missing: put it there"))?;
    labels_at(&path, &text)
}

fn labels_at(path: &Path, text: &str) -> Result<Labels, AutoError> {
    Ok(Labels {
        names: labels::parse(path, text)?,
        from: path.display().to_string(),
    })
}

/// What the metadata of a graph says, or else what models of its form are mostly prepared with.
fn from_metadata(graph: &Graph, tensor: &Tensor, notes: &mut Vec<Note>) -> Preset {
    let Some(preset) = metadata::preset(graph) else {
        return guessed(tensor, notes);
    };
    notes.push(Note::read(format!(
        "photos are prepared as preset {preset} says, for the ONNX metadata names Ultralytics and the task classify"
    )));
    preset
}

/// What models of this form are mostly prepared with.
fn guessed(tensor: &Tensor, notes: &mut Vec<Note>) -> Preset {
    let (preset, why) = match (tensor.dtype, tensor.is_gray, tensor.layout) {
        (InputType::Uint8, ..) => (Preset::Raw, "it takes uint8"),
        (_, true, _) => (Preset::Unit, "it takes grey images"),
        (_, false, Layout::Nchw) => (Preset::Torchvision, "its channels are first, as PyTorch's"),
        (_, false, Layout::Nhwc) => (Preset::KerasTf, "its channels are last, as TensorFlow's"),
    };
    let others: Vec<&str> = Preset::all()
        .filter(|other| *other != preset)
        .map(Preset::name)
        .collect();
    notes.push(Note::guessed(format!(
        "photos are prepared as preset {preset} does, for {why} and no file says how; if the answers are wrong, this is \
         why: --preset takes {}",
        others.join(", ")
    )));
    preset
}
