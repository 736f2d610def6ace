"""Static int8 quantisation of the float32 model: uint8 activations, int8 weights with a scale per output channel."""

import tempfile
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper
from onnxruntime import quantization

from .calibration import Calibration
from .graph import INPUT
from .layout import give_float_logits, pack_stem, take_pixels
from .rounding import round_to_grid

# The input's quantisation undoes the normalisation (x - 127) / 128 exactly: the quantised input is the pixel itself.
INPUT_SCALE, INPUT_ZERO_POINT = 1 / 128, 127
# The extremes of activations that no ReLU6 bounds (projections and sums) are rare: a finer step for all other values
# is worth more than they are. Of 1.0, 0.9, ... 0.5, this share of the range gave the least error on the calibration photos.
UNBOUNDED_RANGE_SHARE = 0.8


def quantise(model: onnx.ModelProto, calibration: Calibration) -> onnx.ModelProto:
    """The int8 model: `image`, uint8 [batch, 224, 224, 3] RGB as decoded -> `logits`, float32 [batch, 1000]."""
    quantised = _quantise_static(_with_rounded_weights(model, calibration), calibration)
    pack_stem(quantised.graph)
    take_pixels(quantised.graph)
    give_float_logits(quantised.graph)
    # The intermediate shapes are no longer valid, and the engine infers them itself.
    del quantised.graph.value_info[:]
    quantised.producer_name, quantised.producer_version = "ocelli", ""
    onnx.checker.check_model(quantised, full_check=True)
    return quantised


def _with_rounded_weights(model: onnx.ModelProto, calibration: Calibration) -> onnx.ModelProto:
    """`model` with weights that int8 represents exactly, and with corrected biases."""
    rounded = onnx.ModelProto()
    rounded.CopyFrom(model)
    initialisers = {item.name: item for item in rounded.graph.initializer}

    def replace(name: str, change) -> None:
        value = change(numpy_helper.to_array(initialisers[name]).astype(np.float64))
        initialisers[name].CopyFrom(numpy_helper.from_array(value.astype(np.float32), name))

    for node in rounded.graph.node:
        if node.op_type in {"Conv", "Gemm"}:
            replace(node.input[1], round_to_grid)
    for name, correction in calibration.bias_corrections.items():
        replace(f"{name}.bias", np.array(correction).__add__)
    return rounded


def _quantised_range(name: str, bounds: tuple[float, float]) -> tuple[np.float32, np.float32]:
    share = UNBOUNDED_RANGE_SHARE if name.endswith(("._project_conv", "._add")) else 1.0
    return np.float32(bounds[0] * share), np.float32(bounds[1] * share)


def _quantise_static(model: onnx.ModelProto, calibration: Calibration) -> onnx.ModelProto:
    """Runs ONNX Runtime's quantiser with the measured ranges."""
    method = quantization.CalibrationMethod.MinMax
    ranges = {name: _quantised_range(name, bounds) for name, bounds in calibration.ranges.items()}
    input_override = {
        "scale": np.array(INPUT_SCALE, np.float32),
        "zero_point": np.array(INPUT_ZERO_POINT, np.uint8),
    }
    with tempfile.TemporaryDirectory() as folder:
        ranges_path, output_path = Path(folder, "ranges.json"), Path(folder, "int8.onnx")
        quantization.save_tensors_data(quantization.TensorsData(method, ranges), ranges_path)
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
            # All 8 bits: exact on CPUs with VNNI, and on Arm. On older x86 CPUs sums of two products can saturate
            # at 16 bits; a model for those would be made with `reduce_range=True`.
            reduce_range=False,
            extra_options={"TensorQuantOverrides": {INPUT: [input_override]}},
        )
        return onnx.load(output_path)
