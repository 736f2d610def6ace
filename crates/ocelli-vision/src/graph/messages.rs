//! The messages of ONNX that matter: models, graphs, nodes, tensors, types.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use super::{
    Element, GraphError, Metadata, TensorInfo,
    wire::{Fields, Malformed, Value, text},
};

/// A model is a message of at most 2 GiB: a length beyond is no length.
const MOST_BYTES: u64 = 1 << 31;
/// Graphs of the largest image models have some ten thousand nodes; files of old exporters list each weight as an input.
pub(super) const MOST_NODES: usize = 1 << 20;
const MOST_INPUTS: usize = 1 << 16;
const MOST_OUTPUTS: usize = 256;
/// Old exporters of PyTorch wrote a file for each weight.
const MOST_FILES: usize = 1 << 16;
const MOST_DOMAINS: usize = 64;
/// PyTorch's exporter once wrote one for each of its operators, and one for each layer.
const MOST_FUNCTIONS: usize = 1 << 16;
const MOST_AXES: usize = 32;
/// `TensorProto.DataLocation`: not in this file.
const EXTERNAL: u64 = 1;
/// Graphs inside attributes of nodes (`If`, `Loop`).
const DEEPEST: usize = 8;

#[derive(Default)]
pub(super) struct Model<'a> {
    pub(super) ir_version: i64,
    pub(super) producer: String,
    pub(super) opset: Option<i64>,
    pub(super) graph: Option<&'a [u8]>,
    pub(super) functions: Functions<'a>,
    pub(super) metadata: Metadata,
}

impl<'a> Model<'a> {
    pub(super) fn read(bytes: &'a [u8]) -> Result<Self, GraphError> {
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
                (14, Value::Bytes(entry)) => model.metadata.add(entry)?,
                (25, Value::Bytes(function)) => model.functions.add(function)?,
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

/// Functions by domain and name, unread.
#[derive(Default)]
pub(super) struct Functions<'a>(HashMap<(&'a str, &'a str), &'a [u8]>);

impl<'a> Functions<'a> {
    fn add(&mut self, function: &'a [u8]) -> Result<(), GraphError> {
        let (mut domain, mut name) = ("", "");
        for field in Fields::of(function) {
            match field? {
                (1, Value::Bytes(found)) => name = text(found)?,
                (10, Value::Bytes(found)) => domain = text(found)?,
                _ => {}
            }
        }
        self.0.insert((domain, name), function);
        at_most(self.0.len(), MOST_FUNCTIONS, "functions")
    }

    /// The `FunctionProto` that nodes of this operator call.
    pub(super) fn get(&self, domain: &str, operator: &str) -> Option<&'a [u8]> {
        self.0.get(&(domain, operator)).copied()
    }

    pub(super) fn has_domain(&self, domain: &str) -> bool {
        self.0.keys().any(|(known, _)| *known == domain)
    }
}

#[derive(Default)]
pub(super) struct Function<'a> {
    pub(super) inputs: Vec<&'a str>,
    pub(super) outputs: Vec<&'a str>,
    pub(super) nodes: Vec<&'a [u8]>,
}

impl<'a> Function<'a> {
    pub(super) fn read(bytes: &'a [u8]) -> Result<Self, GraphError> {
        let mut function = Self::default();
        for field in Fields::of(bytes) {
            match field? {
                (4, Value::Bytes(name)) => function.inputs.push(text(name)?),
                (5, Value::Bytes(name)) => function.outputs.push(text(name)?),
                (7, Value::Bytes(node)) => function.nodes.push(node),
                _ => {}
            }
            at_most(function.nodes.len(), MOST_NODES, "nodes")?;
            at_most(function.inputs.len(), MOST_INPUTS, "inputs")?;
            at_most(function.outputs.len(), MOST_OUTPUTS, "outputs")?;
        }
        Ok(function)
    }
}

pub(super) struct Parts<'a> {
    pub(super) nodes: Vec<&'a [u8]>,
    pub(super) inputs: Vec<TensorInfo>,
    pub(super) outputs: Vec<TensorInfo>,
    pub(super) used: Used<'a>,
}

impl<'a> Parts<'a> {
    pub(super) fn read(graph: &'a [u8]) -> Result<Self, GraphError> {
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
pub(super) struct Used<'a> {
    pub(super) domains: BTreeSet<&'a str>,
    /// Files by name, with the length that they must have.
    pub(super) files: BTreeMap<&'a str, u64>,
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
