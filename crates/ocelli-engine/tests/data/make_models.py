"""Makes the small models that the engine tests run. Needs the package `onnx`:

    python3 make_models.py

mixed.onnx   pixels uint8 [batch, 2, 3], bias float32 [batch, 4]
             -> scores float32 [batch, 4] = sum of the row's pixels + bias * [1, 2, 3, 4]
             -> flipped uint8 [batch, 2, 3] = 255 - pixels
fixed.onnx   the same with a batch axis of 1
half.onnx    pixels float16 [batch, 4] -> scores float32 [batch, 4], the same
widths.onnx  pixels float16 [batch, 4] -> half float16, double float64 and brain bfloat16, the same, and best int64 [batch],
             the index of the largest
open.onnx    image uint8 [batch, channels, height, width], all open -> means float32 [batch, channels, 1, 1]
weights.onnx pixels float32 [batch, 2] -> scores float32 [batch, 3] = pixels x weights, 2 x 3 floats in weights/w.bin
future.onnx  half.onnx in an opset that does not exist yet
mixer.onnx   pixels float32 [batch, 2] -> sum float32 [1, 2], over the batch: not a model for batches
"""

from pathlib import Path

import numpy as np
from onnx import TensorProto, checker, external_data_helper, helper, numpy_helper, save

HERE = Path(__file__).parent


def make_model(name, nodes, inputs, outputs, constants=()):
    graph = helper.make_graph(nodes, name, inputs, outputs, [numpy_helper.from_array(v, n) for n, v in constants])
    # Opset and IR version of 2022: every supported runtime reads them.
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def save_model(name, nodes, inputs, outputs, constants=()):
    model = make_model(name, nodes, inputs, outputs, constants)
    checker.check_model(model, full_check=True)
    save(model, HERE / f"{name}.onnx")


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


def widths():
    kinds = {"half": TensorProto.FLOAT16, "double": TensorProto.DOUBLE, "brain": TensorProto.BFLOAT16}
    save_model(
        "widths",
        [
            *(helper.make_node("Cast", ["pixels"], [name], to=kind) for name, kind in kinds.items()),
            helper.make_node("ArgMax", ["pixels"], ["best"], axis=1, keepdims=0),
        ],
        [value("pixels", TensorProto.FLOAT16, ["batch", 4])],
        [
            *(value(name, kind, ["batch", 4]) for name, kind in kinds.items()),
            value("best", TensorProto.INT64, ["batch"]),
        ],
    )


def weights():
    matrix = np.array([[1, 2, 3], [10, 20, 30]], np.float32)
    model = make_model(
        "weights",
        [helper.make_node("MatMul", ["pixels", "weights"], ["scores"])],
        [value("pixels", TensorProto.FLOAT, ["batch", 2])],
        [value("scores", TensorProto.FLOAT, ["batch", 3])],
        [("weights", matrix)],
    )
    tensor = model.graph.initializer[0]
    external_data_helper.set_external_data(tensor, "weights/w.bin", offset=4, length=matrix.nbytes)
    tensor.ClearField("raw_data")
    save(model, HERE / "weights.onnx")


def main():
    mixed("mixed", "batch")
    mixed("fixed", 1)
    half = (
        "half",
        [helper.make_node("Cast", ["pixels"], ["scores"], to=TensorProto.FLOAT)],
        [value("pixels", TensorProto.FLOAT16, ["batch", 4])],
        [value("scores", TensorProto.FLOAT, ["batch", 4])],
    )
    save_model(*half)
    future = make_model(*half)
    future.opset_import[0].version = 99
    save(future, HERE / "future.onnx")
    widths()
    save_model(
        "open",
        [
            helper.make_node("Cast", ["image"], ["floats"], to=TensorProto.FLOAT),
            helper.make_node("GlobalAveragePool", ["floats"], ["means"]),
        ],
        [value("image", TensorProto.UINT8, ["batch", "channels", "height", "width"])],
        [value("means", TensorProto.FLOAT, ["batch", "channels", 1, 1])],
    )
    weights()
    save_model(
        "mixer",
        [helper.make_node("ReduceSum", ["pixels", "axes"], ["sum"], keepdims=1)],
        [value("pixels", TensorProto.FLOAT, ["batch", 2])],
        [value("sum", TensorProto.FLOAT, [1, 2])],
        [("axes", np.array([0], np.int64))],
    )


main()
