"""Changes to exported graphs of all libraries."""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from .failure import Failure
from .original import INPUT

# The maximum size of a protobuf message, and so of a package's model.onnx.
MAX_BYTES = 2 << 30


def read(path: Path) -> onnx.ModelProto:
    """The graph at `path`, with its external weights."""
    if sum(file.stat().st_size for file in path.parent.glob(f"{path.name}*")) >= MAX_BYTES:
        raise Failure("the model is larger than 2 GiB, which no ONNX file can be: serve a smaller one")
    return onnx.load(path)


def write(model: onnx.ModelProto, path: Path) -> None:
    path.write_bytes(model.SerializeToString(deterministic=True))


def drop_last(model: onnx.ModelProto, operator: str) -> bool:
    """Takes a final `operator` (Softmax, Sigmoid) out of the graph, whose output is then what went into it.

    Probabilities tell less than logits: they cannot be compared, and 8 bits are too few for them.
    Returns False, and changes nothing, where the graph does not end in it.
    """
    graph = model.graph
    if len(graph.output) != 1:
        return False
    last, after = _last(graph)
    if last is None or last.op_type != operator or sum(last.output[0] in node.input for node in graph.node) > 1:
        return False
    element = graph.output[0].type.tensor_type.elem_type
    source = last.input[0]
    for node in [*after, last]:
        graph.node.remove(node)
    del graph.output[:]
    graph.output.append(helper.make_tensor_value_info(source, element, None))
    return True


def ending(model: onnx.ModelProto) -> str | None:
    """The operator of the first output."""
    last, _ = _last(model.graph)
    return None if last is None else last.op_type


def _last(graph: onnx.GraphProto) -> tuple[onnx.NodeProto | None, list[onnx.NodeProto]]:
    """The node of the first output, and the Identity nodes that exporters leave after it."""
    producers = {name: node for node in graph.node for name in node.output}
    last = producers.get(graph.output[0].name)
    after = []
    while last is not None and last.op_type == "Identity":
        after.append(last)
        last = producers.get(last.input[0])
    return last, after


def fill(model: onnx.ModelProto, constants: dict[str, np.ndarray]) -> None:
    """Replaces inputs with fixed values by constants."""
    for item in [item for item in model.graph.input if item.name in constants]:
        model.graph.input.remove(item)
        model.graph.initializer.append(numpy_helper.from_array(constants[item.name], item.name))


def tidy(model: onnx.ModelProto, output: str, elements: int) -> None:
    """Renames inputs and outputs, opens the batch axis, and removes notes of exporters about their machine."""
    graph = model.graph
    weights = {item.name for item in graph.initializer}
    inputs = [item for item in graph.input if item.name not in weights]
    if len(inputs) != 1 or len(graph.output) != 1:
        raise Failure(
            f"the exported graph has {len(inputs)} inputs and {len(graph.output)} outputs: it must have one each"
        )
    shape = [dim.dim_value for dim in inputs[0].type.tensor_type.shape.dim]
    element = inputs[0].type.tensor_type.elem_type
    # Renames other values first, so that the new names are free.
    _rename(graph, {name: f"{name}.inner" for name in (INPUT, output)})
    inputs = [item for item in graph.input if item.name not in {item.name for item in graph.initializer}]
    _rename(graph, {inputs[0].name: INPUT, graph.output[0].name: output})
    for item in inputs:
        graph.input.remove(item)
    graph.input.append(helper.make_tensor_value_info(INPUT, element, ["batch", *shape[1:]]))
    del graph.output[:]
    graph.output.append(helper.make_tensor_value_info(output, TensorProto.FLOAT, ["batch", elements]))
    # Intermediate shapes may have a fixed batch size, and are inferred again anyway.
    del graph.value_info[:]
    for part in [model, graph, *graph.node, *graph.initializer]:
        part.doc_string = ""
        if hasattr(part, "metadata_props"):
            del part.metadata_props[:]
    del model.functions[:]
    graph.name = output
    onnx.checker.check_model(model, full_check=True)


def _rename(graph: onnx.GraphProto, names: dict[str, str]) -> None:
    """Renames values in this graph and in the bodies of its loops and branches."""
    for node in graph.node:
        for index, name in enumerate(node.input):
            node.input[index] = names.get(name, name)
        for index, name in enumerate(node.output):
            node.output[index] = names.get(name, name)
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                _rename(attribute.g, names)
    for item in [*graph.input, *graph.output, *graph.initializer, *graph.value_info]:
        item.name = names.get(item.name, item.name)
