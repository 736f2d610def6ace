"""TensorFlow.js models for test_keras.py: the one that make.cjs has saved, and a graph model as tensorflowjs_converter writes them,
with merged operations and a weight of 8 bits. Imported by make_keras.py."""

import base64
import json
import shutil
from pathlib import Path

import numpy as np
import tensorflow

SAVED = Path(__file__).with_name("tfjs")
SIZE = (48, 64)


def copy_layers(folder: Path) -> dict[str, float]:
    """What TensorFlow.js answers on the first picture."""
    shutil.copytree(SAVED, folder, ignore=shutil.ignore_patterns("make.cjs", "answer.json"))
    return _named(json.loads((SAVED / "answer.json").read_text()))


def make_graph(folder: Path, picture: Path) -> dict[str, float]:
    """Writes a graph model with random weights, and returns what TensorFlow answers on a picture."""
    random = np.random.default_rng(3)
    stored = random.integers(0, 256, (3, 3, 3, 8), dtype=np.uint8)
    scale, least = 2 / 255, -1.0
    kernel = (stored * np.float32(scale) + np.float32(least)).astype("f4")
    shapes = {"bias": (8,), "depthwise": (3, 3, 8, 1), "depthwise_bias": (8,), "dense": (8, 3), "dense_bias": (3,)}
    weights = {name: random.normal(0, 1, shape).astype("f4") for name, shape in shapes.items()}
    axes = np.array([1, 2], "i4")

    image = tensorflow.io.decode_png(picture.read_bytes(), channels=3)[None]
    x = tensorflow.compat.v1.image.resize_bilinear(image, SIZE, align_corners=True) / 255
    x = tensorflow.nn.relu6(tensorflow.nn.conv2d(x, kernel, 2, "SAME") + weights["bias"])
    x = tensorflow.nn.depthwise_conv2d(x, weights["depthwise"], [1, 1, 1, 1], "VALID") + weights["depthwise_bias"]
    x = tensorflow.reduce_mean(x, [1, 2]) @ weights["dense"] + weights["dense_bias"]

    described = [{"name": "kernel", "shape": [3, 3, 3, 8], "dtype": "float32"}]
    described[0]["quantization"] = {"dtype": "uint8", "scale": scale, "min": least}
    for name, value in [*weights.items(), ("axes", axes)]:
        described.append({"name": name, "shape": list(value.shape), "dtype": str(value.dtype)})
    content = stored.tobytes() + b"".join(value.tobytes() for value in [*weights.values(), axes])
    folder.mkdir()
    shards = {"group1-shard1of2": content[:500], "group1-shard2of2": content[500:]}
    for name, part in shards.items():
        (folder / name).write_bytes(part)
    manifest = [{"paths": list(shards), "weights": described}]
    model = {"format": "graph-model", "modelTopology": {"node": _nodes([*weights])}, "weightsManifest": manifest}
    (folder / "model.json").write_text(json.dumps(model))
    return _named(tensorflow.nn.softmax(x)[0].numpy().tolist())


def _nodes(names: list[str]) -> list[dict]:
    kind = {"T": {"type": "DT_FLOAT"}}
    constants = [_node(name, "Const", [], dtype={"type": "DT_FLOAT"}) for name in ["kernel", *names]]
    sides = [{"size": str(side)} for side in (-1, *SIZE, 3)]
    convolution = {"fused_ops": _texts("BiasAdd", "Relu6"), "padding": _text("SAME"), "strides": _numbers(1, 2, 2, 1)}
    depthwise = {"fused_ops": _texts("BiasAdd"), "padding": _text("VALID"), "strides": _numbers(1, 1, 1, 1)}
    depthwise["data_format"] = _text("NHWC")
    mean = {"keep_dims": {"b": False}, "Tidx": {"type": "DT_INT32"}}
    return [
        *constants,
        _node("axes", "Const", [], dtype={"type": "DT_INT32"}),
        _node("image", "Placeholder", [], dtype={"type": "DT_FLOAT"}, shape={"shape": {"dim": sides}}),
        _node("conv", "_FusedConv2D", ["image", "kernel", "bias"], **kind, **convolution),
        _node(
            "deep", "FusedDepthwiseConv2dNative", ["conv", "depthwise", "depthwise_bias", "^conv"], **kind, **depthwise
        ),
        _node("mean", "Mean", ["deep", "axes"], **kind, **mean),
        _node(
            "scores", "_FusedMatMul", ["mean", "dense", "dense_bias"], **kind, fused_ops=_texts("BiasAdd"), **_turned()
        ),
        _node("Identity", "Softmax", ["scores"], **kind),
    ]


def _node(name: str, operation: str, inputs: list[str], **attributes) -> dict:
    return {"name": name, "op": operation, "input": inputs, "attr": attributes}


def _turned() -> dict:
    return {"transpose_a": {"b": False}, "transpose_b": {"b": False}}


def _text(value: str) -> dict:
    return {"s": base64.b64encode(value.encode()).decode()}


def _texts(*values: str) -> dict:
    # As old versions write texts.
    return {"list": {"s": [list(value.encode()) for value in values]}}


def _numbers(*values: int) -> dict:
    return {"list": {"i": [str(value) for value in values]}}


def _named(probabilities: list[float]) -> dict[str, float]:
    return {f"class {index}": probability for index, probability in enumerate(probabilities)}
