"""Makes the model of this package, whose outputs can be computed from a photo by hand. Needs the package `onnx`:

    python3 make_model.py

image uint8 [batch, 8, 8, 3] -> kinds  float32 [batch, 2] = (mean red, mean green) / 64
                             -> tags   float32 [batch, 3] = the means of red, green and blue, less 128
                             -> tokens float32 [batch, 64, 3] = the pixels
"""

from pathlib import Path

import numpy as np
from onnx import TensorProto, checker, helper, numpy_helper, save


def value(name, kind, shape):
    return helper.make_tensor_value_info(name, kind, shape)


def constant(name, array):
    return numpy_helper.from_array(array, name)


graph = helper.make_graph(
    [
        helper.make_node("Cast", ["image"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("Reshape", ["pixels", "shape"], ["tokens"]),
        helper.make_node("ReduceMean", ["tokens"], ["means"], axes=[1], keepdims=0),
        helper.make_node("Sub", ["means", "middle"], ["tags"]),
        helper.make_node("Slice", ["means", "start", "end", "axis"], ["two"]),
        helper.make_node("Div", ["two", "softness"], ["kinds"]),
    ],
    "heads",
    [value("image", TensorProto.UINT8, ["batch", 8, 8, 3])],
    [
        value("kinds", TensorProto.FLOAT, ["batch", 2]),
        value("tags", TensorProto.FLOAT, ["batch", 3]),
        value("tokens", TensorProto.FLOAT, ["batch", 64, 3]),
    ],
    [
        constant("shape", np.array([-1, 64, 3], np.int64)),
        constant("middle", np.array(128, np.float32)),
        constant("start", np.array([0], np.int64)),
        constant("end", np.array([2], np.int64)),
        constant("axis", np.array([1], np.int64)),
        constant("softness", np.array(64, np.float32)),
    ],
)
# Opset and IR version of 2022: every supported runtime reads them.
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
checker.check_model(model, full_check=True)
save(model, Path(__file__).with_name("model.onnx"))
