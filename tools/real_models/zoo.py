"""The classifiers of the ONNX zoo whose graphs the package `onnx` carries, without their weights: those are drawn here.

The weights are the same each time. The last layer is balanced, because an untrained network returns almost the same
for every photo.
"""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import helper, numpy_helper
from PIL import Image

from .case import Case, softmax
from .onnx_packages import beside
from .photos import chosen

NAMES = ("squeezenet", "densenet121", "resnet50", "shufflenet", "inception_v1", "inception_v2")
# The spread of a class' scores over photos.
SPREAD = 1.5
MEAN = np.array([0.485, 0.456, 0.406], "f4").reshape(1, 3, 1, 1)
STD = np.array([0.229, 0.224, 0.225], "f4").reshape(1, 3, 1, 1)
# The inputs of a BatchNormalization: how each is drawn.
NORMS = {1: "near 1", 2: "near 0", 3: "near 0", 4: "near 1"}


def cases() -> list[Case]:
    return [case(name) for name in NAMES]


def case(name: str) -> Case:
    def model(folder):
        graph = drawn(beside("onnx", "backend", "test", "data", "light", f"light_{name}.onnx"))
        onnx.save(graph, folder / "model.onnx")
        return [folder / "model.onnx", "--preset", "torchvision"]

    def reference(folder):
        session = onnxruntime.InferenceSession(str(folder / "model.onnx"))

        def run(photo):
            tensor = prepared(photo)
            values = session.run(None, {session.get_inputs()[0].name: tensor})[0].reshape(-1)
            ends_in_softmax = abs(values.sum() - 1) < 1e-3 and values.min() >= 0
            return tensor, values if ends_in_softmax else softmax(values)

        return run

    return Case("onnx (zoo)", f"light_{name}.onnx", model, reference, channel_axis=1)


def prepared(photo: Path) -> np.ndarray:
    """The preprocessing in the zoo's README for ImageNet."""
    picture = Image.open(photo).convert("RGB")
    short = min(picture.size)
    picture = picture.resize([256 * side // short for side in picture.size], Image.Resampling.BILINEAR)
    left, top = (round((side - 224) / 2) for side in picture.size)
    pixels = np.asarray(picture.crop((left, top, left + 224, top + 224)), "f4")
    return (pixels.transpose(2, 0, 1)[None] / 255 - MEAN) / STD


def drawn(path: Path) -> onnx.ModelProto:
    """The graph with weights for the declared shapes."""
    model = onnx.load(path)
    graph = model.graph
    shapes = {value.name: numpy_helper.to_array(value) for value in graph.initializer}
    origins = shaped_from(graph)
    roles = {}
    for node in graph.node:
        for index, name in enumerate(node.input):
            name = origins.get(name, name)
            if node.op_type == "BatchNormalization":
                roles[name] = NORMS.get(index)
            elif node.op_type == "Mul":
                roles[name] = "near 1"
    random = np.random.default_rng(0)
    empty = [node for node in graph.node if node.op_type == "ConstantOfShape"]
    for node in empty:
        weights = weights_of(roles.get(node.output[0]), shapes[node.input[0]], random)
        graph.initializer.append(numpy_helper.from_array(weights, node.output[0]))
        graph.node.remove(node)
    without(graph.initializer, {node.input[0] for node in empty})
    without(graph.input, {node.input[0] for node in empty})
    balance(model)
    return model


def without(values, names: set[str]):
    kept = [value for value in values if value.name not in names]
    del values[:]
    values.extend(kept)


def shaped_from(graph: onnx.GraphProto) -> dict[str, str]:
    """Whose other shape a value is."""
    return {node.output[0]: node.input[0] for node in graph.node if node.op_type in ("Reshape", "Unsqueeze")}


def weights_of(role: str | None, shape, random) -> np.ndarray:
    if role == "near 1":
        return random.uniform(0.8, 1.2, shape).astype("f4")
    if len(shape) < 2:
        return random.normal(0, 0.1, shape).astype("f4")
    return random.normal(0, (2 / np.prod(shape[1:])) ** 0.5, shape).astype("f4")


def balance(model: onnx.ModelProto):
    """Removes the common part of the last layer's scores over all photos, and scales the rest."""
    graph = model.graph
    last = [node for node in graph.node if node.op_type in ("Gemm", "Conv")][-1]
    inside = onnx.ModelProto()
    inside.CopyFrom(model)
    inside.graph.output.append(helper.make_empty_tensor_value_info(last.output[0]))
    session = onnxruntime.InferenceSession(inside.SerializeToString())
    name = session.get_inputs()[0].name
    scores = [session.run([last.output[0]], {name: prepared(photo)})[0] for photo in chosen()]
    scores = np.stack([score.reshape(score.shape[1], -1).mean(axis=1) for score in scores])
    factor = SPREAD / scores.std(axis=0).mean()
    weights_name = shaped_from(graph).get(last.input[1], last.input[1])
    for value in graph.initializer:
        weights = numpy_helper.to_array(value)
        if value.name == weights_name:
            value.CopyFrom(numpy_helper.from_array((weights * factor).astype("f4"), value.name))
        elif value.name == last.input[2]:
            shifted = (weights - scores.mean(axis=0)) * factor
            value.CopyFrom(numpy_helper.from_array(shifted.astype("f4"), value.name))
