//! Small ONNX files for tests, written by a protobuf implementation that is not the one that reads them.

use prost::Message;

pub(crate) const UINT8: i32 = 2;
pub(crate) const FLOAT16: i32 = 10;
pub(crate) const FLOAT: i32 = 1;

macro_rules! messages {
    ($($name:ident { $($(#[$attr:meta])* $field:ident: $kind:ty,)* })*) => {$(
        #[derive(Clone, PartialEq, Message)]
        pub(crate) struct $name { $($(#[$attr])* pub(crate) $field: $kind,)* }
    )*};
}

messages! {
    ModelProto {
        #[prost(int64, tag = "1")] ir_version: i64,
        #[prost(string, tag = "2")] producer_name: String,
        #[prost(string, tag = "3")] producer_version: String,
        #[prost(message, optional, tag = "7")] graph: Option<GraphProto>,
        #[prost(message, repeated, tag = "8")] opset_import: Vec<OperatorSetIdProto>,
        #[prost(message, repeated, tag = "14")] metadata_props: Vec<StringStringEntryProto>,
        #[prost(message, repeated, tag = "25")] functions: Vec<FunctionProto>,
    }
    OperatorSetIdProto {
        #[prost(string, tag = "1")] domain: String,
        #[prost(int64, tag = "2")] version: i64,
    }
    FunctionProto {
        #[prost(string, tag = "1")] name: String,
        #[prost(string, repeated, tag = "4")] input: Vec<String>,
        #[prost(string, repeated, tag = "5")] output: Vec<String>,
        #[prost(message, repeated, tag = "7")] node: Vec<NodeProto>,
        #[prost(message, repeated, tag = "9")] opset_import: Vec<OperatorSetIdProto>,
        #[prost(string, tag = "10")] domain: String,
    }
    GraphProto {
        #[prost(message, repeated, tag = "1")] node: Vec<NodeProto>,
        #[prost(string, tag = "2")] name: String,
        #[prost(message, repeated, tag = "5")] initializer: Vec<TensorProto>,
        #[prost(message, repeated, tag = "11")] input: Vec<ValueInfoProto>,
        #[prost(message, repeated, tag = "12")] output: Vec<ValueInfoProto>,
    }
    NodeProto {
        #[prost(string, repeated, tag = "1")] input: Vec<String>,
        #[prost(string, repeated, tag = "2")] output: Vec<String>,
        #[prost(string, tag = "3")] name: String,
        #[prost(string, tag = "4")] op_type: String,
        #[prost(message, repeated, tag = "5")] attribute: Vec<AttributeProto>,
        #[prost(string, tag = "7")] domain: String,
    }
    AttributeProto {
        #[prost(string, tag = "1")] name: String,
        #[prost(int64, tag = "3")] i: i64,
        #[prost(message, optional, tag = "5")] t: Option<TensorProto>,
        #[prost(message, optional, tag = "6")] g: Option<GraphProto>,
        #[prost(int64, repeated, tag = "8")] ints: Vec<i64>,
        #[prost(int32, tag = "20")] r#type: i32,
    }
    TensorProto {
        #[prost(int64, repeated, tag = "1")] dims: Vec<i64>,
        #[prost(int32, tag = "2")] data_type: i32,
        #[prost(string, tag = "8")] name: String,
        #[prost(bytes = "vec", tag = "9")] raw_data: Vec<u8>,
        #[prost(message, repeated, tag = "13")] external_data: Vec<StringStringEntryProto>,
        #[prost(int32, tag = "14")] data_location: i32,
    }
    StringStringEntryProto {
        #[prost(string, tag = "1")] key: String,
        #[prost(string, tag = "2")] value: String,
    }
    ValueInfoProto {
        #[prost(string, tag = "1")] name: String,
        #[prost(message, optional, tag = "2")] r#type: Option<TypeProto>,
    }
    TypeProto {
        #[prost(message, optional, tag = "1")] tensor_type: Option<TensorType>,
    }
    TensorType {
        #[prost(int32, tag = "1")] elem_type: i32,
        #[prost(message, optional, tag = "2")] shape: Option<TensorShapeProto>,
    }
    TensorShapeProto {
        #[prost(message, repeated, tag = "1")] dim: Vec<Dimension>,
    }
    Dimension {
        #[prost(int64, optional, tag = "1")] dim_value: Option<i64>,
        #[prost(string, optional, tag = "2")] dim_param: Option<String>,
    }
}

/// An input or output; an axis of 0 is open, under a name.
pub(crate) fn value(name: &str, elem_type: i32, shape: &[i64]) -> ValueInfoProto {
    let dim = shape.iter().map(|&len| Dimension {
        dim_value: (len != 0).then_some(len),
        dim_param: (len == 0).then(|| "open".to_owned()),
    });
    let tensor_type = TensorType {
        elem_type,
        shape: Some(TensorShapeProto { dim: dim.collect() }),
    };
    ValueInfoProto {
        name: name.to_owned(),
        r#type: Some(TypeProto {
            tensor_type: Some(tensor_type),
        }),
    }
}

/// A node of one input and one output.
pub(crate) fn node(op_type: &str, input: &str, output: &str) -> NodeProto {
    NodeProto {
        op_type: op_type.to_owned(),
        input: vec![input.to_owned()],
        output: vec![output.to_owned()],
        ..NodeProto::default()
    }
}

/// A weight whose content is in another file.
pub(crate) fn external(name: &str, file: &str, offset: u64, length: u64) -> TensorProto {
    let entries = [
        ("location", file.to_owned()),
        ("offset", offset.to_string()),
        ("length", length.to_string()),
    ];
    TensorProto {
        dims: vec![i64::try_from(length / 4).expect("small")],
        data_type: FLOAT,
        name: name.to_owned(),
        external_data: entries
            .map(|(key, value)| StringStringEntryProto {
                key: key.to_owned(),
                value,
            })
            .into(),
        data_location: 1,
        ..TensorProto::default()
    }
}

/// A file of opset 17 with this graph.
pub(crate) fn model(graph: GraphProto) -> ModelProto {
    ModelProto {
        ir_version: 8,
        producer_name: "tests".to_owned(),
        graph: Some(graph),
        opset_import: vec![OperatorSetIdProto {
            domain: String::new(),
            version: 17,
        }],
        ..ModelProto::default()
    }
}

/// What a small model takes, gives and ends with.
pub(crate) struct Small<'a> {
    /// Element type of its input `pixels`.
    pub(crate) elem_type: i32,
    /// Shape of its input; 1 or 3 channels stand on the second or the last axis.
    pub(crate) input: &'a [i64],
    /// Length of its output `logits`.
    pub(crate) classes: usize,
    /// An operator after that, such as `Softmax`.
    pub(crate) final_op: Option<&'a str>,
}

impl Small<'_> {
    /// A graph that engines can run: class `c` scores `c` times the mean of the first channel, plus nothing for `c = 0`.
    pub(crate) fn graph(&self) -> GraphProto {
        let is_last = self.input.last().is_some_and(|&len| len == 1 || len == 3);
        let channels = self.input[if is_last { self.input.len() - 1 } else { 1 }];
        let mut cast = node("Cast", "pixels", "floats");
        cast.attribute = vec![AttributeProto {
            name: "to".into(),
            i: i64::from(FLOAT),
            r#type: 2,
            ..AttributeProto::default()
        }];
        let mut turned = node(if is_last { "Transpose" } else { "Identity" }, "floats", "planes");
        if is_last {
            turned.attribute = vec![AttributeProto {
                name: "perm".into(),
                ints: vec![0, 3, 1, 2],
                r#type: 7,
                ..AttributeProto::default()
            }];
        }
        let mut product = node("MatMul", "means", "scores");
        product.input.push("weights".into());
        let weights = (0..usize::try_from(channels).expect("small")).flat_map(|channel| {
            (0..self.classes).flat_map(move |class| {
                let weight = if channel == 0 { class as f32 } else { 0.0 };
                weight.to_le_bytes()
            })
        });
        let weights = TensorProto {
            dims: vec![channels, i64::try_from(self.classes).expect("small")],
            data_type: FLOAT,
            name: "weights".into(),
            raw_data: weights.collect(),
            ..TensorProto::default()
        };
        GraphProto {
            name: "small".into(),
            node: vec![
                cast,
                turned,
                node("GlobalAveragePool", "planes", "pooled"),
                node("Flatten", "pooled", "means"),
                product,
                node(self.final_op.unwrap_or("Identity"), "scores", "logits"),
            ],
            initializer: vec![weights],
            input: vec![value("pixels", self.elem_type, self.input)],
            output: vec![value(
                "logits",
                FLOAT,
                &[0, i64::try_from(self.classes).expect("small")],
            )],
        }
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        model(self.graph()).encode_to_vec()
    }
}
