"""Static int8 quantisation of the float32 model: uint8 activations, int8 weights with a scale per output channel.

The activation ranges are the least and greatest values seen over the calibration photos. They are committed in
`ranges.json`, so that the int8 model can be made again, byte for byte, without the photos, which may not be published.
"""

import json
import math
import tempfile
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper
from onnxruntime import quantization

from .graph import INPUT, OUTPUT, SIZE
from .photos import normalise, read_photo

Ranges = dict[str, tuple[float, float]]

# The input's quantisation undoes the normalisation (x - 127) / 128 exactly: the quantised input is the pixel itself.
INPUT_SCALE, INPUT_ZERO_POINT = 1 / 128, 127
# Enough digits to lose nothing (an int8 step is 0.4 % of a range), few enough to hide the rounding of one CPU from another's.
RANGE_DIGITS = 4


def _round_outwards(value: float, rounding) -> float:
    """`value` to `RANGE_DIGITS` significant digits, rounded by `rounding` (`math.floor` or `math.ceil`)."""
    if value == 0:
        return 0.0
    decimals = RANGE_DIGITS - 1 - math.floor(math.log10(abs(value)))
    return round(rounding(value * 10.0**decimals) / 10.0**decimals, decimals)


def measure_ranges(model: onnx.ModelProto, photos: list[Path]) -> Ranges:
    """The least and greatest value of every activation of the float32 `model` over `photos`."""
    names = [INPUT, *(name for node in model.graph.node for name in node.output)]
    observed = onnx.ModelProto()
    observed.CopyFrom(model)
    del observed.graph.output[:]
    observed.graph.output.extend(helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in names[1:])
    session = onnxruntime.InferenceSession(observed.SerializeToString(), providers=["CPUExecutionProvider"])
    low, high = np.full(len(names), np.inf), np.full(len(names), -np.inf)
    for photo in photos:
        batch = normalise(read_photo(photo)[None])
        activations = [batch, *session.run(names[1:], {INPUT: batch})]
        low = np.minimum(low, [activation.min() for activation in activations])
        high = np.maximum(high, [activation.max() for activation in activations])
    return {
        name: (_round_outwards(float(least), math.floor), _round_outwards(float(greatest), math.ceil))
        for name, least, greatest in zip(names, low, high)
    }


def write_ranges(path: Path, ranges: Ranges) -> None:
    lines = (f"  {json.dumps(name)}: {json.dumps(bounds)}" for name, bounds in ranges.items())
    path.write_text("{\n" + ",\n".join(lines) + "\n}\n")


def read_ranges(path: Path) -> Ranges:
    return {name: tuple(bounds) for name, bounds in json.loads(path.read_text()).items()}


def quantise(model: onnx.ModelProto, ranges: Ranges) -> onnx.ModelProto:
    """The int8 model: `image`, uint8 [batch, 224, 224, 3] as decoded -> `logits`, float32 [batch, 1000]."""
    method = quantization.CalibrationMethod.MinMax
    data = {name: (np.float32(low), np.float32(high)) for name, (low, high) in ranges.items()}
    input_override = {
        "scale": np.array(INPUT_SCALE, np.float32),
        "zero_point": np.array(INPUT_ZERO_POINT, np.uint8),
    }
    with tempfile.TemporaryDirectory() as folder:
        ranges_path, output_path = Path(folder, "ranges.json"), Path(folder, "int8.onnx")
        quantization.save_tensors_data(quantization.TensorsData(method, data), ranges_path)
        quantization.quantize_static(
            model,
            output_path,
            calibration_data_reader=None,
            calibration_cache_path=ranges_path,
            calibrate_method=method,
            quant_format=quantization.QuantFormat.QDQ,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
            per_channel=True,
            # 8 full bits: exact on CPUs with VNNI (and on Arm). Without it the products of u8 and s8 can saturate
            # in 16 bits, and a model for such machines would be made with `reduce_range=True`.
            reduce_range=False,
            extra_options={"TensorQuantOverrides": {INPUT: [input_override]}},
        )
        quantised = onnx.load(output_path)
    _take_pixels(quantised.graph)
    _give_float_logits(quantised.graph)
    quantised.producer_name, quantised.producer_version = "ocelli", ""
    onnx.checker.check_model(quantised, full_check=True)
    return quantised


def _producer(graph: onnx.GraphProto, name: str) -> onnx.NodeProto:
    return next(node for node in graph.node if name in node.output)


def _take_pixels(graph: onnx.GraphProto) -> None:
    """Replaces the float input and its quantisation by the 8-bit pixels, in the layout in which they are decoded.

    The engine cancels the transposition against those of its own channels-last convolutions.
    """
    quantise_input = next(node for node in graph.node if node.op_type == "QuantizeLinear" and node.input[0] == INPUT)
    channels_first = quantise_input.output[0]
    graph.node.remove(quantise_input)
    graph.node.insert(0, helper.make_node("Transpose", [INPUT], [channels_first], name=channels_first, perm=[0, 3, 1, 2]))
    graph.input[0].CopyFrom(helper.make_tensor_value_info(INPUT, TensorProto.UINT8, ["batch", SIZE, SIZE, 3]))


def _give_float_logits(graph: onnx.GraphProto) -> None:
    """Removes the quantisation of the logits: 8 bits would round every probability by up to 4 %, and save nothing."""
    dequantise = _producer(graph, OUTPUT)
    quantise_output = _producer(graph, dequantise.input[0])
    _producer(graph, quantise_output.input[0]).output[0] = OUTPUT
    graph.node.remove(dequantise)
    graph.node.remove(quantise_output)
    dead = set(quantise_output.input[1:]) - {name for node in graph.node for name in node.input}
    for initialiser in [item for item in graph.initializer if item.name in dead]:
        graph.initializer.remove(initialiser)
