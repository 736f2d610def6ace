"""Makes models of the inputs that people's models have. Needs the package `onnx`:

    python3 make_models.py

Each takes an image `pixels` and gives `means`, the mean of each channel of the tensor.

float16.onnx   float16 [batch, 3, 6, 10] -> float16 [batch, 3]
grey.onnx      uint8 [batch, 1, 6, 10] -> float32 [batch, 1, 1, 1]
open.onnx      float32 [batch, height, width, channels], all open -> float64 [batch, ?]
ten.onnx       uint8 [batch, 8, 8, 3] -> float32 [batch, 10], ten mixtures of the three means
one.onnx       float32 [1, 3, 6, 10] -> float32 [1, 3], times the three weights in weights/factors.bin (2, 4 and 8)
"""

from pathlib import Path

import numpy as np
from onnx import TensorProto, checker, external_data_helper, helper, numpy_helper, save

HERE = Path(__file__).parent


def make(name, kind, shape, output, nodes=(), constants=()):
    steps = [helper.make_node("Cast", ["pixels"], ["floats"], to=TensorProto.FLOAT)]
    if shape[-1] in ("channels", 3):
        steps.append(helper.make_node("Transpose", ["floats"], ["planes"], perm=[0, 3, 1, 2]))
    else:
        steps.append(helper.make_node("Identity", ["floats"], ["planes"]))
    steps += [helper.make_node("GlobalAveragePool", ["planes"], ["pooled"]), *nodes]
    graph = helper.make_graph(
        steps,
        name,
        [helper.make_tensor_value_info("pixels", kind, shape)],
        [helper.make_tensor_value_info("means", *output)],
        [numpy_helper.from_array(array, key) for key, array in constants],
    )
    # Opset and IR version of 2022: every supported runtime reads them.
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def keep(name, model):
    checker.check_model(model, full_check=True)
    save(model, HERE / f"{name}.onnx")


def main():
    flat = helper.make_node("Flatten", ["pooled"], ["flat"])
    half = helper.make_node("Cast", ["flat"], ["means"], to=TensorProto.FLOAT16)
    sixteen = make(
        "float16", TensorProto.FLOAT16, ["batch", 3, 6, 10], (TensorProto.FLOAT16, ["batch", 3]), [flat, half]
    )
    keep("float16", sixteen)
    as_is = helper.make_node("Identity", ["pooled"], ["means"])
    grey = make("grey", TensorProto.UINT8, ["batch", 1, 6, 10], (TensorProto.FLOAT, ["batch", 1, 1, 1]), [as_is])
    keep("grey", grey)
    double = helper.make_node("Cast", ["flat"], ["means"], to=TensorProto.DOUBLE)
    axes = ["batch", "height", "width", "channels"]
    keep("open", make("open", TensorProto.FLOAT, axes, (TensorProto.DOUBLE, ["batch", "means"]), [flat, double]))
    mixtures = np.arange(30, dtype=np.float32).reshape(3, 10) / 256
    mixed = helper.make_node("MatMul", ["flat", "mixtures"], ["means"])
    output, channels_last = (TensorProto.FLOAT, ["batch", 10]), ["batch", 8, 8, 3]
    ten = make("ten", TensorProto.UINT8, channels_last, output, [flat, mixed], [("mixtures", mixtures)])
    keep("ten", ten)
    factors = np.array([2, 4, 8], np.float32)
    product = helper.make_node("Mul", ["flat", "factors"], ["means"])
    output = (TensorProto.FLOAT, [1, 3])
    one = make("one", TensorProto.FLOAT, [1, 3, 6, 10], output, [flat, product], [("factors", factors)])
    tensor = one.graph.initializer[0]
    external_data_helper.set_external_data(tensor, "weights/factors.bin", length=factors.nbytes)
    tensor.ClearField("raw_data")
    save(one, HERE / "one.onnx")
    (HERE / "weights").mkdir(exist_ok=True)
    (HERE / "weights/factors.bin").write_bytes(factors.tobytes())


main()
