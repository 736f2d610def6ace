"""Makes the small models that the engine tests run. Needs the package `onnx`:

    python3 make_models.py

mixed.onnx   pixels uint8 [batch, 2, 3], bias float32 [batch, 4]
             -> scores float32 [batch, 4] = sum of the row's pixels + bias * [1, 2, 3, 4]
             -> flipped uint8 [batch, 2, 3] = 255 - pixels
fixed.onnx   the same with a batch axis of 1
half.onnx    an input of a type that is not supported (float16)
mixer.onnx   pixels float32 [batch, 2] -> sum float32 [1, 2], over the batch: not a model for batches
"""

from pathlib import Path

import numpy as np
from onnx import TensorProto, checker, helper, numpy_helper, save


def save_model(name, nodes, inputs, outputs, constants=()):
    graph = helper.make_graph(nodes, name, inputs, outputs, [numpy_helper.from_array(v, n) for n, v in constants])
    # Opset and IR version of 2022: every supported runtime reads them.
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    checker.check_model(model, full_check=True)
    save(model, Path(__file__).with_name(f"{name}.onnx"))


def value(name, kind, shape):
    return helper.make_tensor_value_info(name, kind, shape)


def mixed(name, batch):
    save_model(
        name,
        [
            helper.make_node("Cast", ["pixels"], ["pixels_f32"], to=TensorProto.FLOAT),
            helper.make_node("ReduceSum", ["pixels_f32", "axes"], ["sums_3d"], keepdims=1),
            helper.make_node("Squeeze", ["sums_3d", "last_axis"], ["sums"]),
            helper.make_node("Mul", ["bias", "weights"], ["weighted"]),
            helper.make_node("Add", ["sums", "weighted"], ["scores"]),
            helper.make_node("Sub", ["white", "pixels_f32"], ["flipped_f32"]),
            helper.make_node("Cast", ["flipped_f32"], ["flipped"], to=TensorProto.UINT8),
        ],
        [value("pixels", TensorProto.UINT8, [batch, 2, 3]), value("bias", TensorProto.FLOAT, [batch, 4])],
        [value("scores", TensorProto.FLOAT, [batch, 4]), value("flipped", TensorProto.UINT8, [batch, 2, 3])],
        [
            ("axes", np.array([1, 2], np.int64)),
            ("last_axis", np.array([2], np.int64)),
            ("weights", np.array([1, 2, 3, 4], np.float32)),
            ("white", np.array(255, np.float32)),
        ],
    )


def main():
    mixed("mixed", "batch")
    mixed("fixed", 1)
    save_model(
        "half",
        [helper.make_node("Cast", ["pixels"], ["scores"], to=TensorProto.FLOAT)],
        [value("pixels", TensorProto.FLOAT16, ["batch", 4])],
        [value("scores", TensorProto.FLOAT, ["batch", 4])],
    )
    save_model(
        "mixer",
        [helper.make_node("ReduceSum", ["pixels", "axes"], ["sum"], keepdims=1)],
        [value("pixels", TensorProto.FLOAT, ["batch", 2])],
        [value("sum", TensorProto.FLOAT, [1, 2])],
        [("axes", np.array([0], np.int64))],
    )


main()
