//! What an ONNX file says of itself: what goes in, what comes out, and which other files it needs.
//!
//! Owns a partial reading of ONNX's `ModelProto` (onnx/onnx.proto of ONNX 1.19) that looks at names, shapes and the
//! last operators, and passes over the weights without copying them. It deliberately does not judge whether the graph
//! can be run: the engine has the last word. Files come from elsewhere: no length in one is believed, and what is kept
//! of it is smaller than the file, or a small constant.

mod ending;
mod error;
mod sniff;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod wire;

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    fmt,
};

pub use error::GraphError;
use wire::{Fields, Malformed, Value, text};

/// The newest versions that ONNX Runtime 1.31 runs, found by asking it (it refuses newer ones with an error).
const NEWEST_OPSET: i64 = 26;
const NEWEST_IR: i64 = 13;

/// A model is a message of at most 2 GiB: a length beyond is no length.
const MOST_BYTES: u64 = 1 << 31;
/// Graphs of the largest image models have some ten thousand nodes; files of old exporters list each weight as an input.
const MOST_NODES: usize = 1 << 20;
const MOST_INPUTS: usize = 1 << 16;
const MOST_OUTPUTS: usize = 256;
/// Old exporters of PyTorch wrote a file for each weight.
const MOST_FILES: usize = 1 << 16;
const MOST_DOMAINS: usize = 64;
const MOST_AXES: usize = 32;
/// `TensorProto.DataLocation`: not in this file.
const EXTERNAL: u64 = 1;
/// Graphs inside attributes of nodes (`If`, `Loop`).
const DEEPEST: usize = 8;

/// Domains whose operators ONNX Runtime brings itself.
const KNOWN_DOMAINS: [&str; 8] = [
    "",
    "ai.onnx",
    "ai.onnx.ml",
    "ai.onnx.training",
    "ai.onnx.preview.training",
    "com.microsoft",
    "com.microsoft.nchwc",
    "com.ms.internal.nhwc",
];

/// What an ONNX file says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Graph {
    /// Version of the file format.
    pub ir_version: i64,
    /// What wrote it, such as `pytorch 2.9`; may be empty.
    pub producer: String,
    /// Version of the standard operators.
    pub opset: i64,
    /// Inputs that have to be given: initializers are not among them, though old files list them.
    pub inputs: Vec<TensorInfo>,
    /// Outputs, in the file's order.
    pub outputs: Vec<GraphOutput>,
    /// Files beside it that hold weights, by name.
    pub external: Vec<ExternalFile>,
    /// Domains of operators that ONNX Runtime does not bring.
    foreign_domains: Vec<String>,
}

/// An input or an output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorInfo {
    /// Its name.
    pub name: String,
    /// The type of its elements.
    pub element: Element,
    /// The length of each axis, `None` where it may vary; `None` where not even their number is known.
    pub shape: Option<Vec<Option<u64>>>,
}

/// An output, and what made it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GraphOutput {
    /// Name, type and shape.
    pub tensor: TensorInfo,
    /// The last operation that matters for reading the numbers.
    pub ending: Ending,
}

/// What an output went through last; reshapes, casts and quantisation are seen through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Ending {
    /// Nothing that makes probabilities.
    Scores,
    /// Probabilities that sum to 1.
    Softmax,
    /// Logarithms of such; softmax gives them back, for it takes off what all have in common.
    LogSoftmax,
    /// Independent probabilities.
    Sigmoid,
}

/// A file with weights, named by the graph.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExternalFile {
    /// Its name as written, relative to the folder of the ONNX file. Not checked: it may lead anywhere.
    pub name: String,
    /// The bytes that it must have at least.
    pub len: u64,
}

/// The type of a tensor's elements, as far as it matters for images.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Element {
    /// Unsigned bytes.
    Uint8,
    /// Half precision.
    Float16,
    /// Single precision.
    Float32,
    /// Double precision.
    Float64,
    /// Another, by its name in ONNX.
    Other(&'static str),
}

impl fmt::Display for Element {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Uint8 => "uint8",
            Self::Float16 => "float16",
            Self::Float32 => "float32",
            Self::Float64 => "float64",
            Self::Other(name) => name,
        })
    }
}

impl fmt::Display for TensorInfo {
    /// `float32 [batch, 3, 224, 224]`, with `?` for other axes that may vary.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(shape) = &self.shape else {
            return write!(f, "{} of any shape", self.element);
        };
        let axes: Vec<String> = shape
            .iter()
            .enumerate()
            .map(|(axis, len)| match len {
                Some(len) => len.to_string(),
                None if axis == 0 => "batch".to_owned(),
                None => "?".to_owned(),
            })
            .collect();
        write!(f, "{} [{}]", self.element, axes.join(", "))
    }
}

impl GraphOutput {
    /// How many classes or features each image gets: the length of the last of at least two axes, where it is fixed.
    pub fn width(&self) -> Option<u64> {
        let shape = self.tensor.shape.as_ref().filter(|shape| shape.len() >= 2)?;
        *shape.last()?
    }
}

impl Graph {
    /// Reads what the file `bytes` says.
    ///
    /// # Errors
    /// When it is no ONNX file, cut off, damaged, or larger in some count than a model is.
    pub fn read(bytes: &[u8]) -> Result<Self, GraphError> {
        if let Some(error) = sniff::lookalike(bytes) {
            return Err(error);
        }
        let model = Model::read(bytes)?;
        let graph = model.graph.ok_or(GraphError::NoGraph)?;
        let opset = model.opset.ok_or(GraphError::NoOpset)?;
        let Parts {
            nodes,
            inputs,
            outputs,
            used,
        } = Parts::read(graph)?;
        let names: Vec<&str> = outputs.iter().map(|output| output.name.as_str()).collect();
        let endings = ending::endings(&nodes, &names)?;
        let foreign_domains = used
            .domains
            .into_iter()
            .filter(|domain| !KNOWN_DOMAINS.contains(domain) && !model.functions.contains(domain))
            .map(str::to_owned);
        Ok(Self {
            ir_version: model.ir_version,
            producer: model.producer,
            opset,
            inputs,
            outputs: outputs
                .into_iter()
                .zip(endings)
                .map(|(tensor, ending)| GraphOutput { tensor, ending })
                .collect(),
            foreign_domains: foreign_domains.collect(),
            external: used
                .files
                .into_iter()
                .map(|(name, len)| ExternalFile {
                    name: name.to_owned(),
                    len,
                })
                .collect(),
        })
    }

    /// The one input, which is the image.
    ///
    /// # Errors
    /// When there is none, or more than one.
    pub fn input(&self) -> Result<&TensorInfo, GraphError> {
        match self.inputs.as_slice() {
            [] => Err(GraphError::NoInput),
            [input] => Ok(input),
            inputs => Err(GraphError::ManyInputs {
                names: inputs.iter().map(|input| input.name.clone()).collect(),
            }),
        }
    }

    /// The output of that name.
    pub fn output(&self, name: &str) -> Option<&GraphOutput> {
        self.outputs.iter().find(|output| output.tensor.name == name)
    }

    /// What may keep ONNX Runtime 1.31 from running it, each in a sentence that says what to do.
    pub fn doubts(&self) -> Vec<String> {
        let mut doubts = Vec::new();
        if self.opset > NEWEST_OPSET {
            doubts.push(format!(
                "it is written for opset {}, and ONNX Runtime 1.31 runs opsets up to {NEWEST_OPSET}: export it with \
                 opset_version={NEWEST_OPSET} or lower",
                self.opset
            ));
        }
        if self.ir_version > NEWEST_IR {
            doubts.push(format!(
                "its file format is IR version {}, and ONNX Runtime 1.31 reads versions up to {NEWEST_IR}: export it \
                 with an older `onnx` package",
                self.ir_version
            ));
        }
        if !self.foreign_domains.is_empty() {
            doubts.push(format!(
                "it uses operators of {}, which ONNX Runtime does not bring: export it without custom operators",
                self.foreign_domains.join(", ")
            ));
        }
        doubts
    }
}

/// The parts of a `ModelProto` that matter.
#[derive(Default)]
struct Model<'a> {
    ir_version: i64,
    producer: String,
    opset: Option<i64>,
    graph: Option<&'a [u8]>,
    /// Domains of functions that the file brings itself.
    functions: BTreeSet<&'a str>,
}

impl<'a> Model<'a> {
    fn read(bytes: &'a [u8]) -> Result<Self, GraphError> {
        let mut model = Self::default();
        let mut version = "";
        for field in Fields::of(bytes) {
            let field = field.map_err(|error| match error {
                // The first field of every file is its version, so this began as one.
                Malformed::CutOff(missing) if model.ir_version > 0 && missing < MOST_BYTES => {
                    GraphError::Truncated { missing }
                }
                _ => GraphError::Damaged,
            })?;
            match field {
                (1, Value::Number(version)) => model.ir_version = version.cast_signed(),
                (2, Value::Bytes(name)) => text(name)?.clone_into(&mut model.producer),
                (3, Value::Bytes(name)) => version = text(name)?,
                (7, Value::Bytes(graph)) if model.graph.replace(graph).is_some() => {
                    return Err(GraphError::Damaged);
                }
                (8, Value::Bytes(import)) => model.opset = standard_opset(import)?.or(model.opset),
                (25, Value::Bytes(function)) => {
                    model.functions.insert(function_domain(function)?);
                    at_most(model.functions.len(), MOST_DOMAINS, "domains of functions")?;
                }
                _ => {}
            }
        }
        if model.ir_version <= 0 {
            return Err(GraphError::Damaged);
        }
        if !version.is_empty() {
            model.producer = format!("{} {version}", model.producer);
        }
        Ok(model)
    }
}

/// The version of an `OperatorSetIdProto`, if it is of the standard operators.
fn standard_opset(import: &[u8]) -> Result<Option<i64>, GraphError> {
    let (mut domain, mut version) = ("", None);
    for field in Fields::of(import) {
        match field? {
            (1, Value::Bytes(name)) => domain = text(name)?,
            (2, Value::Number(number)) => version = Some(number.cast_signed()),
            _ => {}
        }
    }
    Ok(version.filter(|_| matches!(domain, "" | "ai.onnx")))
}

/// The domain of a `FunctionProto`.
fn function_domain(function: &[u8]) -> Result<&str, GraphError> {
    let mut domain = "";
    for field in Fields::of(function) {
        if let (10, Value::Bytes(name)) = field? {
            domain = text(name)?;
        }
    }
    Ok(domain)
}

/// The parts of a `GraphProto` that matter.
struct Parts<'a> {
    nodes: Vec<&'a [u8]>,
    inputs: Vec<TensorInfo>,
    outputs: Vec<TensorInfo>,
    used: Used<'a>,
}

impl<'a> Parts<'a> {
    fn read(graph: &'a [u8]) -> Result<Self, GraphError> {
        let mut nodes = Vec::new();
        let (mut inputs, mut outputs) = (Vec::new(), Vec::new());
        for field in Fields::of(graph) {
            match field? {
                (1, Value::Bytes(node)) => nodes.push(node),
                (11, Value::Bytes(input)) => inputs.push(tensor_info(input)?),
                (12, Value::Bytes(output)) => outputs.push(tensor_info(output)?),
                _ => {}
            }
            at_most(nodes.len(), MOST_NODES, "nodes")?;
            at_most(inputs.len(), MOST_INPUTS, "inputs")?;
            at_most(outputs.len(), MOST_OUTPUTS, "outputs")?;
        }
        let mut asked: HashSet<&str> = inputs.iter().map(|input| input.name.as_str()).collect();
        let mut used = Used::default();
        used.scan_graph(graph, 0, &mut |initializer| {
            asked.remove(initializer);
        })?;
        let asked: HashSet<String> = asked.into_iter().map(str::to_owned).collect();
        inputs.retain(|input| asked.contains(&input.name));
        Ok(Self {
            nodes,
            inputs,
            outputs,
            used,
        })
    }
}

/// What a graph uses beyond itself, wherever in it that stands.
#[derive(Default)]
struct Used<'a> {
    domains: BTreeSet<&'a str>,
    /// Files by name, with the length that they must have.
    files: BTreeMap<&'a str, u64>,
}

impl<'a> Used<'a> {
    fn scan_graph(
        &mut self,
        graph: &'a [u8],
        depth: usize,
        initializer: &mut dyn FnMut(&'a str),
    ) -> Result<(), GraphError> {
        at_most(depth, DEEPEST, "graphs within graphs")?;
        for field in Fields::of(graph) {
            match field? {
                (1, Value::Bytes(node)) => self.scan_node(node, depth)?,
                (5, Value::Bytes(tensor)) => initializer(self.scan_tensor(tensor)?),
                // The values and the indices of a sparse tensor are tensors.
                (15, Value::Bytes(sparse)) => {
                    for field in Fields::of(sparse) {
                        if let (1 | 2, Value::Bytes(tensor)) = field? {
                            initializer(self.scan_tensor(tensor)?);
                        }
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn scan_node(&mut self, node: &'a [u8], depth: usize) -> Result<(), GraphError> {
        for field in Fields::of(node) {
            match field? {
                (5, Value::Bytes(attribute)) => self.scan_attribute(attribute, depth)?,
                (7, Value::Bytes(domain)) => {
                    self.domains.insert(text(domain)?);
                    at_most(self.domains.len(), MOST_DOMAINS, "domains of operators")?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn scan_attribute(&mut self, attribute: &'a [u8], depth: usize) -> Result<(), GraphError> {
        for field in Fields::of(attribute) {
            match field? {
                // Constants and lists of them.
                (5 | 10, Value::Bytes(tensor)) => {
                    self.scan_tensor(tensor)?;
                }
                // The branches of `If` and the bodies of `Loop` have constants of their own.
                (6 | 11, Value::Bytes(graph)) => self.scan_graph(graph, depth + 1, &mut |_| {})?,
                _ => {}
            }
        }
        Ok(())
    }

    /// Notes where a `TensorProto` keeps its content, and gives its name.
    fn scan_tensor(&mut self, tensor: &'a [u8]) -> Result<&'a str, GraphError> {
        let (mut name, mut is_external, mut location, mut range) = ("", false, None, [0_u64; 2]);
        for field in Fields::of(tensor) {
            match field? {
                (8, Value::Bytes(found)) => name = text(found)?,
                (14, Value::Number(place)) => is_external = place == EXTERNAL,
                (13, Value::Bytes(entry)) => match string_entry(entry)? {
                    ("location", file) => location = Some(file),
                    ("offset", offset) => range[0] = offset.parse().map_err(|_| GraphError::Damaged)?,
                    ("length", length) => range[1] = length.parse().map_err(|_| GraphError::Damaged)?,
                    _ => {}
                },
                _ => {}
            }
        }
        if let Some(file) = location.filter(|_| is_external) {
            let end = self.files.entry(file).or_default();
            *end = range[0].saturating_add(range[1]).max(*end);
            at_most(self.files.len(), MOST_FILES, "files of weights")?;
        }
        Ok(name)
    }
}

/// A `StringStringEntryProto`.
fn string_entry(entry: &[u8]) -> Result<(&str, &str), GraphError> {
    let (mut key, mut value) = ("", "");
    for field in Fields::of(entry) {
        match field? {
            (1, Value::Bytes(found)) => key = text(found)?,
            (2, Value::Bytes(found)) => value = text(found)?,
            _ => {}
        }
    }
    Ok((key, value))
}

/// A `ValueInfoProto`.
fn tensor_info(value: &[u8]) -> Result<TensorInfo, GraphError> {
    let mut info = TensorInfo {
        name: String::new(),
        element: Element::Other("of no type"),
        shape: None,
    };
    for field in Fields::of(value) {
        match field? {
            (1, Value::Bytes(name)) => text(name)?.clone_into(&mut info.name),
            (2, Value::Bytes(kind)) => (info.element, info.shape) = kind_of(kind)?,
            _ => {}
        }
    }
    Ok(info)
}

type Shape = Option<Vec<Option<u64>>>;

/// A `TypeProto`.
fn kind_of(kind: &[u8]) -> Result<(Element, Shape), GraphError> {
    for field in Fields::of(kind) {
        let other = match field? {
            (1, Value::Bytes(tensor)) => return tensor_type(tensor),
            (4, _) => "a sequence",
            (5, _) => "a map",
            (8, _) => "a sparse tensor",
            (9, _) => "an optional value",
            _ => continue,
        };
        return Ok((Element::Other(other), None));
    }
    Ok((Element::Other("of no type"), None))
}

/// A `TypeProto.Tensor`.
fn tensor_type(tensor: &[u8]) -> Result<(Element, Shape), GraphError> {
    let (mut element, mut shape) = (Element::Other("of no type"), None);
    for field in Fields::of(tensor) {
        match field? {
            (1, Value::Number(code)) => element = element_of(code),
            (2, Value::Bytes(axes)) => {
                let mut lengths = Vec::new();
                for axis in Fields::of(axes) {
                    if let (1, Value::Bytes(axis)) = axis? {
                        lengths.push(length(axis)?);
                        at_most(lengths.len(), MOST_AXES, "axes in one tensor")?;
                    }
                }
                shape = Some(lengths);
            }
            _ => {}
        }
    }
    Ok((element, shape))
}

/// A `TensorShapeProto.Dimension`: exporters write an open axis as a name, as nothing, as 0 or as -1.
fn length(axis: &[u8]) -> Result<Option<u64>, GraphError> {
    let mut length = None;
    for field in Fields::of(axis) {
        if let (1, Value::Number(number)) = field? {
            length = u64::try_from(number.cast_signed())
                .ok()
                .filter(|&number| number > 0);
        }
    }
    Ok(length)
}

/// `TensorProto.DataType`.
fn element_of(code: u64) -> Element {
    match code {
        1 => Element::Float32,
        2 => Element::Uint8,
        3 => Element::Other("int8"),
        4 => Element::Other("uint16"),
        5 => Element::Other("int16"),
        6 => Element::Other("int32"),
        7 => Element::Other("int64"),
        8 => Element::Other("string"),
        9 => Element::Other("bool"),
        10 => Element::Float16,
        11 => Element::Float64,
        12 => Element::Other("uint32"),
        13 => Element::Other("uint64"),
        14 | 15 => Element::Other("complex"),
        16 => Element::Other("bfloat16"),
        _ => Element::Other("of an unknown type"),
    }
}

fn at_most(count: usize, limit: usize, what: &'static str) -> Result<(), GraphError> {
    if count > limit {
        return Err(GraphError::TooMany { what, limit });
    }
    Ok(())
}
