"""TensorFlow.js models. A layers model is made into the Keras model that it describes, a graph model into the graph of TensorFlow
that it was made from."""

import argparse
import base64
from pathlib import Path

import numpy as np
from google.protobuf.json_format import ParseDict, ParseError

from . import from_keras, from_saved_model, tfjs
from .arguments import Source
from .failure import Failure

# By way of a module that sets up TensorFlow's environment first.
from .from_keras import keras, tensorflow
from .identity import sha256_of
from .original import Original

# What Keras 3 calls weights that Keras 2 and TensorFlow.js call otherwise.
RENAMED = {("DepthwiseConv2D", "kernel"): "depthwise_kernel"}
# Weights in 8 or 16 bits: what they are as numbers is `stored * scale + min`.
STORED = ("uint8", "uint16", "float16")
ELEMENTS = ("float32", "int32", "bool")
# Operations that TensorFlow.js' converter has merged, and what they were.
FUSED = {
    "_FusedConv2D": "Conv2D",
    "_FusedMatMul": "MatMul",
    "FusedDepthwiseConv2dNative": "DepthwiseConv2dNative",
}
# What may follow in them, by how many tensors it takes besides.
FOLLOWING = {"BiasAdd": 1, "Relu": 0, "Relu6": 0, "Elu": 0, "LeakyRelu": 0, "Sigmoid": 0, "Tanh": 0}
# Attributes of merged operations that those they are made of do not have.
MERGED = ("fused_ops", "num_args", "num_host_args", "epsilon", "leakyrelu_alpha", "TArgs")


def load(source: Source, arguments: argparse.Namespace) -> Original:
    model = tfjs.read(Path(source.value))
    weights = _weights(model)
    name, origin = model.path.name, f"{model.path.name} (sha256 {sha256_of(model.path)}), TensorFlow.js"
    if model.library == tfjs.LAYERS:
        return from_keras.of_model(_layers(model, weights), arguments, name=name, origin=origin)
    function, ends = _function(model, weights)
    return from_saved_model.of_function(function, ends, arguments, name=name, origin=origin)


def _weights(model: tfjs.Model) -> dict[str, np.ndarray]:
    """The weights by their names. A group's lie one behind the other, from file to file."""
    found = {}
    for descriptions, content in model.content():
        at = 0
        for weight in descriptions:
            try:
                name, (value, size) = weight["name"], _weight(weight, content, at)
            except (KeyError, TypeError, ValueError) as error:
                raise Failure(
                    f"{model.path}: a weight cannot be read ({error}): copy or save the model again"
                ) from None
            at += size
            if name in found:
                raise Failure(f"{model.path} has two weights called {name}: save the model again")
            found[name] = value
        if at != len(content):
            raise Failure(
                f"{model.path} describes {at} bytes of weights, and its files have {len(content)}: copy them again"
            )
    return found


def _weight(description: dict, content: bytes, at: int) -> tuple[np.ndarray, int]:
    """The weight that begins at `at`, and how many bytes it has."""
    quantization = description.get("quantization") or {}
    stored, wanted = quantization.get("dtype", description["dtype"]), description["dtype"]
    if wanted not in ELEMENTS or (quantization and stored not in STORED):
        raise ValueError(f"{description['name']} is {wanted} in {stored}")
    count = int(np.prod(description["shape"], dtype=object))
    value = np.frombuffer(content, np.dtype(stored).newbyteorder("<"), count, at)
    size = value.nbytes
    if "scale" in quantization:
        value = value.astype(np.float32) * np.float32(quantization["scale"]) + np.float32(quantization["min"])
    return value.astype(wanted).reshape(description["shape"]), size


def _layers(model: tfjs.Model, weights: dict[str, np.ndarray]) -> keras.Model:
    # The description is Keras 2's, which Keras 3 reads out of HDF5 files alone.
    from keras.src.legacy.saving import saving_options, saving_utils
    from keras.src.saving.serialization_lib import SafeModeScope

    try:
        with saving_options.keras_option_scope(use_legacy_config=True), SafeModeScope(True):
            made = saving_utils.model_from_config(_with_input(model.topology.get("model_config", model.topology)))
            _fill(made, weights)
    except Failure as failure:
        raise Failure(f"{model.path} {failure}") from None
    except Exception as error:
        # Keras raises TypeError, ValueError and more for one and the same thing; its text says which.
        text = " ".join(str(error).split())[:300]
        raise Failure(f"{model.path} cannot be built by Keras {keras.__version__}: {text}") from error
    return made


def _with_input(layer: dict) -> dict:
    """The description of a layer or model, in which each Sequential begins with an InputLayer: Keras 3 misreads those whose
    first layer says the shape."""
    inside = layer["config"]
    if isinstance(inside, list):
        # As Keras 2.1 wrote a Sequential.
        inside = {"name": "sequential", "layers": inside}
    if "layers" not in inside:
        return layer
    layers = [_with_input(inner) for inner in inside["layers"]]
    first = layers[0]["config"]
    if layer["class_name"] == "Sequential" and layers[0]["class_name"] != "InputLayer" and "batch_input_shape" in first:
        shape = first.pop("batch_input_shape")
        start = {"name": f"{first['name']}_input", "batch_input_shape": shape, "dtype": "float32"}
        layers.insert(0, {"class_name": "InputLayer", "config": start})
    return layer | {"config": inside | {"layers": layers}}


def _fill(model: keras.Model, weights: dict[str, np.ndarray]) -> None:
    """Sets the weights, which are called LAYER/WEIGHT, after the models around them."""
    short = {"/".join(name.split("/")[-2:]): value for name, value in weights.items()}
    if len(short) != len(weights):
        raise Failure(
            "has layers of the same name in models inside of it: convert the Keras model that it was made from"
        )
    for layer in model._flatten_layers():
        # Those of layers inside of it are theirs.
        for variable in layer._trainable_variables + layer._non_trainable_variables:
            own = RENAMED.get((type(layer).__name__, variable.name), variable.name)
            value = short.pop(f"{layer.name}/{own}", None)
            if value is None or value.shape != tuple(variable.shape):
                found = "no weights" if value is None else f"weights of the shape {value.shape}"
                raise Failure(f"has {found} for {layer.name}/{own} {tuple(variable.shape)}: save the model again")
            variable.assign(value)
    if short:
        raise Failure(f"has weights that none of its layers has ({', '.join(sorted(short)[:5])}): save the model again")


def _function(model: tfjs.Model, weights: dict[str, np.ndarray]):
    """The graph as a function of TensorFlow, and descriptions of what it takes and answers with."""
    definition = tensorflow.compat.v1.GraphDef()
    try:
        if model.topology.get("library"):
            raise Failure("has loops or branches, which are not supported: convert the model that it was made from")
        for node in model.topology["node"]:
            for part in _parts(node, weights):
                definition.node.append(part)
        taken, given = _ends(model, definition)
        graph = tensorflow.Graph()
        with graph.as_default():
            tensorflow.graph_util.import_graph_def(definition, name="")
        ends = graph.get_tensor_by_name(taken), graph.get_tensor_by_name(given)
    except Failure as failure:
        raise Failure(f"{model.path} {failure}") from None
    except (AttributeError, KeyError, ParseError, TypeError, ValueError) as error:
        text = " ".join(str(error).split())[:300]
        raise Failure(f"{model.path} cannot be loaded by TensorFlow {tensorflow.__version__}: {text}") from error
    from_saved_model.check_operations({node.op for node in definition.node}, model.path, trust=False)

    def function(image):
        return tensorflow.graph_util.import_graph_def(definition, {taken: image}, [given], name="")[0]

    return function, ends


def _ends(model: tfjs.Model, definition) -> tuple[str, str]:
    """The names of the tensors that go in and come out."""
    inputs, outputs = model.ends
    if not (inputs and outputs):
        used = {name.split(":")[0] for node in definition.node for name in node.input}
        inputs = [node.name for node in definition.node if node.op == "Placeholder"]
        outputs = [node.name for node in definition.node if node.name not in used]
    if len(inputs) != 1 or len(outputs) != 1:
        raise Failure(f"has {len(inputs)} inputs and {len(outputs)} outputs: it must have one each")
    return tuple(name if ":" in name else f"{name}:0" for name in (inputs[0], outputs[0]))


def _parts(described: dict, weights: dict[str, np.ndarray]):
    """The node of TensorFlow that a node of TensorFlow.js is, with its weights; several where it is merged of several."""
    node = ParseDict(_texts(described), tensorflow.compat.v1.NodeDef(), ignore_unknown_fields=True)
    node.device = ""
    if node.op == "Const":
        element = tensorflow.as_dtype(node.attr["dtype"].type)
        node.attr["value"].tensor.CopyFrom(tensorflow.make_tensor_proto(weights[node.name], element))
    if node.op not in FUSED:
        yield node
        return
    following = [operation.decode() for operation in node.attr["fused_ops"].list.s]
    unknown = set(following) - set(FOLLOWING)
    if unknown:
        raise Failure(f"has {node.op} with {', '.join(sorted(unknown))}, which is not supported: convert its original")
    element, slope = node.attr["T"], node.attr["leakyrelu_alpha"].f
    name, others = node.name, list(node.input[2:])
    del node.input[2:]
    node.op = FUSED[node.op]
    for attribute in MERGED:
        node.attr.pop(attribute, None)
    for operation in following:
        node.name = f"{name}/{node.op}"
        yield node
        extra = [others.pop(0) for _ in range(FOLLOWING[operation])]
        layout = node.attr.get("data_format")
        node = tensorflow.compat.v1.NodeDef(op=operation, input=[node.name, *extra])
        node.attr["T"].CopyFrom(element)
        if operation == "BiasAdd" and layout is not None:
            node.attr["data_format"].CopyFrom(layout)
        if operation == "LeakyRelu":
            node.attr["alpha"].f = slope
    node.name = name
    yield node


def _texts(node: dict) -> dict:
    """The node with texts in base64, which old versions of TensorFlow.js have as lists of numbers."""

    def text(value):
        return base64.b64encode(bytes(value)).decode() if isinstance(value, list) else value

    def attribute(value: dict) -> dict:
        if "s" in value:
            return value | {"s": text(value["s"])}
        inner = value.get("list") or {}
        return value | {"list": inner | {"s": [text(entry) for entry in inner["s"]]}} if "s" in inner else value

    attributes = {name: attribute(value) for name, value in node.get("attr", {}).items()}
    inputs = [name for name in node.get("input", []) if not name.startswith("^")]
    return node | {"attr": attributes, "input": inputs}
