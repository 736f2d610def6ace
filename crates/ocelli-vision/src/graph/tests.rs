use proptest::prelude::*;
use prost::Message as _;

use super::testing::{
    AttributeProto, FLOAT, FLOAT16, FunctionProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto,
    Small, StringStringEntryProto, UINT8, external, model, node, value,
};
use super::{messages::MOST_NODES, *};

fn small() -> Small<'static> {
    Small {
        elem_type: FLOAT,
        input: &[0, 3, 32, 24],
        classes: 10,
        final_op: None,
    }
}

fn read(model: &ModelProto) -> Result<Graph, GraphError> {
    Graph::read(&model.encode_to_vec())
}

/// The ending of the output `y` after these operators, each on what the last one made.
fn ending(operators: &[&str]) -> FinalOp {
    let names: Vec<String> = (0..operators.len()).map(|index| format!("t{index}")).collect();
    let mut nodes: Vec<_> = operators
        .iter()
        .enumerate()
        .map(|(index, operator)| {
            let input = index.checked_sub(1).map_or("x", |before| &names[before]);
            node(operator, input, &names[index])
        })
        .collect();
    nodes.last_mut().unwrap().output = vec!["y".into()];
    let graph = GraphProto {
        node: nodes,
        input: vec![value("x", FLOAT, &[0, 4])],
        output: vec![value("y", FLOAT, &[0, 4])],
        ..GraphProto::default()
    };
    read(&model(graph)).unwrap().outputs[0].final_op
}

#[test]
fn a_small_classifier() {
    let mut file = model(small().graph());
    file.producer_version = "1.2".into();
    let graph = read(&file).unwrap();
    assert_eq!((graph.ir_version, graph.opset), (8, 17));
    assert_eq!(graph.producer, "tests 1.2");
    let input = graph.input().unwrap();
    assert_eq!(input.name, "pixels");
    assert_eq!(input.to_string(), "float32 [batch, 3, 32, 24]");
    assert_eq!(input.shape, Some(vec![None, Some(3), Some(32), Some(24)]));
    let output = graph.output("logits").unwrap();
    assert_eq!(output.final_op, FinalOp::Scores);
    assert_eq!(graph.per_image(output), PerImage::Row(Some(10)));
    assert!(graph.external.is_empty() && graph.doubts().is_empty());
}

#[test]
fn element_types_and_open_axes() {
    for (code, element) in [
        (UINT8, Element::Uint8),
        (FLOAT16, Element::Float16),
        (11, Element::Float64),
        (7, Element::Other("int64")),
    ] {
        let graph = Small {
            elem_type: code,
            input: &[0, 0, 0, 3],
            ..small()
        };
        let graph = Graph::read(&graph.bytes()).unwrap();
        assert_eq!(graph.inputs[0].element, element);
        assert_eq!(graph.inputs[0].to_string(), format!("{element} [batch, ?, ?, 3]"));
    }
    let mut file = model(small().graph());
    let tensor = file.graph.as_mut().unwrap().input[0].r#type.as_mut().unwrap();
    tensor.tensor_type.as_mut().unwrap().shape = None;
    assert_eq!(read(&file).unwrap().inputs[0].shape, None);
    // -1 is how some exporters write an open axis.
    let mut file = model(small().graph());
    file.graph.as_mut().unwrap().input[0] = value("pixels", FLOAT, &[-1, 3, 32, 32]);
    assert_eq!(read(&file).unwrap().inputs[0].shape.as_ref().unwrap()[0], None);
}

#[test]
fn endings_are_seen_through_what_does_not_count() {
    assert_eq!(ending(&["Gemm", "Softmax"]), FinalOp::Softmax);
    assert_eq!(ending(&["Gemm", "Softmax", "Identity", "Cast"]), FinalOp::Softmax);
    assert_eq!(ending(&["Sigmoid", "Reshape", "Squeeze"]), FinalOp::Sigmoid);
    assert_eq!(
        ending(&["QLinearSoftmax", "DequantizeLinear", "Flatten"]),
        FinalOp::Softmax
    );
    assert_eq!(
        ending(&[
            "Softmax",
            "Clip",
            "Slice",
            "Concat",
            "Transpose",
            "Gather",
            "Split"
        ]),
        FinalOp::Softmax
    );
    assert_eq!(ending(&["LogSoftmax"]), FinalOp::LogSoftmax);
    // A softmax inside, as in attention, is not the end.
    assert_eq!(ending(&["Softmax", "MatMul", "Identity"]), FinalOp::Scores);
    assert_eq!(ending(&["Softmax", "Gemm"]), FinalOp::Scores);
}

/// A node of several inputs.
fn node_of(op_type: &str, inputs: &[&str], output: &str) -> NodeProto {
    NodeProto {
        input: inputs.iter().map(|&input| input.to_owned()).collect(),
        ..node(op_type, "", output)
    }
}

/// The ending of the output `y` of these nodes and functions.
fn ending_of(nodes: Vec<NodeProto>, functions: Vec<FunctionProto>) -> FinalOp {
    let graph = GraphProto {
        node: nodes,
        input: vec![value("x", FLOAT, &[0, 4])],
        output: vec![value("y", FLOAT, &[0, 4])],
        ..GraphProto::default()
    };
    let file = ModelProto {
        functions,
        ..model(graph)
    };
    read(&file).unwrap().outputs[0].final_op
}

#[test]
fn a_softmax_that_is_written_out_is_one() {
    let written_out = |power: &str, summed: &str, operator: &str| {
        let nodes = vec![
            node(power, "x", "powers"),
            node_of("ReduceSum", &[summed, "axes"], "sum"),
            node_of(operator, &["powers", "sum"], "quotient"),
            node("Identity", "quotient", "y"),
        ];
        ending_of(nodes, Vec::new())
    };
    assert_eq!(written_out("Exp", "powers", "Div"), FinalOp::Softmax);
    assert_eq!(written_out("Abs", "powers", "Div"), FinalOp::Scores);
    assert_eq!(written_out("Exp", "x", "Div"), FinalOp::Scores);
    assert_eq!(written_out("Exp", "powers", "Mul"), FinalOp::Scores);
    let two = vec![node("Softmax", "x", "a"), node_of("Concat", &["a", "a"], "y")];
    assert_eq!(ending_of(two, Vec::new()), FinalOp::Scores, "they sum to 2");
}

/// A function of the domain `house` that takes `a` and `b` and gives `other` and `made`.
fn function(name: &str, node: Vec<NodeProto>) -> FunctionProto {
    FunctionProto {
        name: name.into(),
        domain: "house".into(),
        input: vec!["a".into(), "b".into()],
        output: vec!["other".into(), "made".into()],
        node,
        ..FunctionProto::default()
    }
}

/// Calls a function with `x` and `input`, and makes `y` of the second that it gives.
fn call(name: &str, input: &str) -> NodeProto {
    NodeProto {
        domain: "house".into(),
        output: vec!["unused".into(), "y".into()],
        ..node_of(name, &["x", input], "")
    }
}

#[test]
fn endings_are_seen_through_functions_of_the_file() {
    let shown = |name: &str, input: &str| {
        let functions = vec![
            function(
                "Head",
                vec![node("Sigmoid", "a", "other"), node("Softmax", "b", "made")],
            ),
            function("Pass", vec![node("Identity", "b", "made")]),
            function(
                "Outer",
                vec![NodeProto {
                    output: vec!["c".into(), "made".into()],
                    ..call("Pass", "b")
                }],
            ),
            // A function may be called what an operator is called.
            function("Softmax", vec![node("Relu", "b", "made")]),
            function("Constant", vec![node("Identity", "nowhere", "made")]),
        ];
        ending_of(vec![node("Sigmoid", "x", "likely"), call(name, input)], functions)
    };
    assert_eq!(shown("Head", "likely"), FinalOp::Softmax);
    assert_eq!(shown("Pass", "likely"), FinalOp::Sigmoid);
    assert_eq!(shown("Outer", "likely"), FinalOp::Sigmoid);
    assert_eq!(shown("Pass", "x"), FinalOp::Scores);
    assert_eq!(shown("Softmax", "likely"), FinalOp::Scores);
    assert_eq!(shown("Constant", "likely"), FinalOp::Scores);
}

#[test]
fn functions_that_call_themselves_and_many_others_end() {
    let twice = |callee: &str| {
        let inner = NodeProto {
            output: vec!["unused".into(), "half".into()],
            ..call(callee, "b")
        };
        let outer = NodeProto {
            output: vec!["unused".into(), "made".into()],
            ..call(callee, "half")
        };
        vec![inner, outer]
    };
    let functions = vec![function("Round", twice("Round"))];
    assert_eq!(ending_of(vec![call("Round", "x")], functions), FinalOp::Scores);
}

#[test]
fn each_output_has_its_own_ending() {
    let graph = GraphProto {
        node: vec![node("Gemm", "x", "logits"), node("Softmax", "logits", "probs")],
        input: vec![value("x", FLOAT, &[0, 4])],
        output: vec![
            value("probs", FLOAT, &[0, 4]),
            value("logits", FLOAT, &[0, 4]),
            value("x", FLOAT, &[0, 4]),
        ],
        ..GraphProto::default()
    };
    let endings = read(&model(graph))
        .unwrap()
        .outputs
        .into_iter()
        .map(|output| output.final_op);
    assert_eq!(
        endings.collect::<Vec<_>>(),
        [FinalOp::Softmax, FinalOp::Scores, FinalOp::Scores]
    );
}

#[test]
fn weights_that_are_listed_as_inputs_are_none() {
    let mut graph = small().graph();
    graph.input.push(value("weights", FLOAT, &[3, 10]));
    assert_eq!(read(&model(graph)).unwrap().input().unwrap().name, "pixels");
}

#[test]
fn only_one_input_is_an_image() {
    let mut graph = small().graph();
    graph.input.push(value("mask", FLOAT, &[0, 1]));
    let error = read(&model(graph.clone()))
        .unwrap()
        .input()
        .unwrap_err()
        .to_string();
    assert!(error.contains("2 inputs (pixels, mask)"), "{error}");
    graph.input.clear();
    assert_eq!(read(&model(graph)).unwrap().input(), Err(GraphError::NoInput));
}

#[test]
fn external_files_are_found_wherever_they_are_named() {
    let mut graph = small().graph();
    graph.initializer.push(external("a", "weights.bin", 0, 400));
    graph.initializer.push(external("b", "weights.bin", 400, 100));
    // Data that is in the file after all.
    let mut inside = external("c", "nowhere.bin", 0, 4);
    inside.data_location = 0;
    graph.initializer.push(inside);
    let branch = GraphProto {
        initializer: vec![external("d", "../branch.bin", 0, 8)],
        ..GraphProto::default()
    };
    let mut choice = node("If", "pixels", "chosen");
    choice.attribute = vec![
        AttributeProto {
            g: Some(branch),
            ..AttributeProto::default()
        },
        AttributeProto {
            t: Some(external("", "constant.bin", 0, 16)),
            ..AttributeProto::default()
        },
    ];
    graph.node.push(choice);
    let found = read(&model(graph)).unwrap().external;
    let found: Vec<_> = found.iter().map(|file| (file.name.as_str(), file.len)).collect();
    assert_eq!(
        found,
        [("../branch.bin", 8), ("constant.bin", 16), ("weights.bin", 500)]
    );
}

#[test]
fn graphs_within_graphs_end() {
    let mut graph = GraphProto::default();
    for _ in 0..20 {
        let mut holder = node("Loop", "x", "y");
        holder.attribute = vec![AttributeProto {
            g: Some(graph),
            ..AttributeProto::default()
        }];
        graph = GraphProto {
            node: vec![holder],
            ..GraphProto::default()
        };
    }
    let error = read(&model(graph)).unwrap_err();
    assert!(matches!(error, GraphError::TooMany { .. }), "{error}");
}

#[test]
fn what_the_runtime_may_not_run_is_doubted() {
    let mut file = model(small().graph());
    file.opset_import[0].version = 26;
    file.ir_version = 13;
    assert_eq!(read(&file).unwrap().doubts(), [""; 0]);
    file.opset_import[0].version = 27;
    file.ir_version = 14;
    let graph = file.graph.as_mut().unwrap();
    graph.node[0].domain = "com.microsoft".into();
    graph.node[1].domain = "org.custom".into();
    graph.node[2].domain = "of.this.file".into();
    file.functions = vec![FunctionProto {
        name: "f".into(),
        domain: "of.this.file".into(),
        ..FunctionProto::default()
    }];
    let doubts = read(&file).unwrap().doubts();
    assert_eq!(doubts.len(), 3, "{doubts:?}");
    assert!(doubts[0].contains("opset 27") && doubts[1].contains("IR version 14"));
    assert!(doubts[2].contains("operators of org.custom,"), "{doubts:?}");
}

#[test]
fn the_opset_is_that_of_the_standard_operators() {
    let mut file = model(small().graph());
    let import = |domain: &str, version| OperatorSetIdProto {
        domain: domain.into(),
        version,
    };
    file.opset_import = vec![import("ai.onnx.ml", 3), import("ai.onnx", 15), import("x", 1)];
    assert_eq!(read(&file).unwrap().opset, 15);
    file.opset_import.remove(1);
    assert_eq!(read(&file), Err(GraphError::NoOpset));
}

#[test]
fn a_file_without_a_graph_or_cut_off_says_so() {
    let mut file = model(small().graph());
    let bytes = file.encode_to_vec();
    let graph_at = bytes.len() - file.graph.as_ref().unwrap().encoded_len();
    for len in [graph_at, bytes.len() / 2, bytes.len() - 20] {
        let error = Graph::read(&bytes[..len]).unwrap_err();
        assert!(matches!(error, GraphError::Truncated { .. }), "{len}: {error}");
    }
    file.graph = None;
    assert_eq!(read(&file), Err(GraphError::NoGraph));
    assert_eq!(Graph::read(b"hello, world"), Err(GraphError::Damaged));
}

/// An empty node is two bytes.
#[test]
fn counts_have_limits() {
    let graph = GraphProto {
        node: vec![node("", "", ""); MOST_NODES + 1],
        ..GraphProto::default()
    };
    let error = read(&model(graph)).unwrap_err();
    assert_eq!(
        error,
        GraphError::TooMany {
            what: "nodes",
            limit: MOST_NODES
        }
    );
}

fn file_with_everything() -> Vec<u8> {
    let mut graph = small().graph();
    graph.initializer.push(external("a", "weights.bin", 0, 400));
    graph.node[1].domain = "org.custom".into();
    let mut file = model(graph);
    file.metadata_props.push(StringStringEntryProto {
        key: "names".into(),
        value: "{0: 'a', 1: 'b'}".into(),
    });
    file.encode_to_vec()
}

proptest! {
    /// Whatever is changed, cut out or doubled: an answer, and no panic.
    #[test]
    fn damage_is_survived(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        cut in any::<prop::sample::Index>(),
        keeps_end in any::<bool>(),
    ) {
        let mut bytes = file_with_everything();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if !keeps_end {
            bytes.truncate(cut.index(bytes.len() + 1));
        }
        let _ = Graph::read(&bytes);
    }

    #[test]
    fn noise_is_survived(noise in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = Graph::read(&noise);
        let _ = Graph::read(&[&[0x08, 0x08, 0x3a][..], &noise].concat());
    }
}
