"""Static int8 quantisation of an exported graph, calibrated with the user's own photos.

What serves the built-in model serves here too (`builtin_model`: rounding that keeps the sums of kernels, corrected biases,
logits that stay in single precision), without what is made for its shape alone. How wide an activation's range should be
depends on the model, so several are tried, and the one whose scores are nearest to the original's is taken.
"""

import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from builtin_model.layout import give_float_logits
from builtin_model.rounding import bias_correction, round_to_grid
from onnx import numpy_helper
from onnxruntime import quantization
from onnxruntime.quantization.shape_inference import quant_pre_process

from .agreement import compare_scores
from .original import INPUT, Original

# One photo in this many is kept out of the calibration to evaluate it.
JUDGE_EVERY = 4
FEW = 8
# What the ends of the ranges are, from the extremes on the single photos: the furthest of all, or nearer to what a photo
# usually reaches, for a finer step for all other values may be worth more than a rare extreme.
RANGES = {"the extremes": 1.0, "half way to the usual": 0.5, "the usual": 0.0}
# With attention the sums of rounding errors in norms and softmaxes are what costs accuracy, and multiplications the time.
ATTENTION = {"LayerNormalization", "Softmax"}
MULTIPLICATIONS = ["Conv", "Gemm", "MatMul"]


@dataclass(frozen=True)
class Activations:
    """`low` and `high`: the extremes of each activation on each photo, [photos, names]. `means`: of the channels that go
    into the layers whose bias is corrected, by the name of their weight."""

    names: list[str]
    low: np.ndarray
    high: np.ndarray
    means: dict[str, np.ndarray]

    def ranges(self, share: float) -> dict[str, tuple[np.float32, np.float32]]:
        low = share * self.low.min(axis=0) + (1 - share) * self.low.mean(axis=0)
        high = share * self.high.max(axis=0) + (1 - share) * self.high.mean(axis=0)
        return {name: (np.float32(a), np.float32(b)) for name, a, b in zip(self.names, low, high, strict=True)}


def quantise(float32: Path, int8: Path, original: Original, photos: list[Path]) -> str:
    """Writes the graph at `float32` in int8 to `int8`; returns a description of the settings."""
    tensors = np.stack([original.prepare(photo) for photo in photos]).astype(np.float32)
    judges = np.arange(len(tensors)) % JUDGE_EVERY == 0 if len(tensors) >= FEW else np.full(len(tensors), True)
    calibrating = ~judges if len(tensors) >= FEW else judges
    with tempfile.TemporaryDirectory(prefix="to_onnx-") as folder:
        folded = Path(folder, "folded.onnx")
        # Folds batch normalisation into convolutions, and constants into one another.
        quant_pre_process(str(float32), str(folded), skip_symbolic_shape=True)
        model = onnx.load(folded)
        activations = measure(model, tensors[calibrating])
        rounded = with_rounded_weights(model, activations.means)
        wanted = _run(model, tensors[judges])
        best = None
        for name, share in RANGES.items():
            candidate = _quantise_static(rounded, activations.ranges(share), Path(folder), original.output)
            error = compare_scores(wanted, _run(candidate, tensors[judges]), original.activation).mean
            if best is None or error < best[0]:
                best = (error, name, candidate)
        error, name, chosen = best
    int8.write_bytes(chosen.SerializeToString(deterministic=True))
    judged = f"{int(judges.sum())} photos that did not calibrate" if len(tensors) >= FEW else "the same few photos"
    return f"ranges by {name}, which were the best on {judged} ({error:.2%} of the spread)"


def measure(model: onnx.ModelProto, tensors: np.ndarray) -> Activations:
    """Runs `model` over `tensors`, [photos, ...], one by one."""
    exposed = onnx.ModelProto()
    exposed.CopyFrom(model)
    outputs = [name for node in model.graph.node for name in node.output if name]
    del exposed.graph.output[:]
    # The runtime knows their types; declared by name alone they need not be inferred here.
    exposed.graph.output.extend(onnx.ValueInfoProto(name=name) for name in outputs)
    session = _session(exposed)
    names = [item.name for item in session.get_outputs() if item.type == "tensor(float)"]
    correctable = _correctable(model)
    low, high, sums = [], [], dict.fromkeys(correctable, 0.0)
    for tensor in tensors:
        values = dict(zip([INPUT, *names], [tensor[None], *session.run(names, {INPUT: tensor[None]})], strict=True))
        low.append([float(value.min()) for value in values.values()])
        high.append([float(value.max()) for value in values.values()])
        for weight, source in correctable.items():
            value = values[source]
            sums[weight] = sums[weight] + value.mean(axis=(0, *range(2, value.ndim)))
    means = {weight: total / len(tensors) for weight, total in sums.items()}
    return Activations([INPUT, *names], np.array(low), np.array(high), means)


def _correctable(model: onnx.ModelProto) -> dict[str, str]:
    """The weights of 1x1 convolutions with a bias, and what goes into them."""
    weights = {item.name: item.dims for item in model.graph.initializer}
    users = [name for node in model.graph.node for name in node.input]
    found = {}
    for node in model.graph.node:
        if node.op_type != "Conv" or len(node.input) < 3:
            continue
        dims = weights.get(node.input[1], [])
        groups = next((item.i for item in node.attribute if item.name == "group"), 1)
        alone = users.count(node.input[1]) == 1 and users.count(node.input[2]) == 1
        if alone and groups == 1 and list(dims[2:]) == [1, 1] and node.input[2] in weights:
            found[node.input[1]] = node.input[0]
    return found


def with_rounded_weights(model: onnx.ModelProto, means: dict[str, np.ndarray]) -> onnx.ModelProto:
    """`model` with the weights of its convolutions on the int8 grid, and biases that take off what that shifts on average."""
    rounded = onnx.ModelProto()
    rounded.CopyFrom(model)
    initialisers = {item.name: item for item in rounded.graph.initializer}

    def replace(name: str, value: np.ndarray) -> None:
        initialisers[name].CopyFrom(numpy_helper.from_array(value.astype(np.float32), name))

    for node in rounded.graph.node:
        if node.op_type != "Conv" or node.input[1] not in initialisers:
            continue
        weight = numpy_helper.to_array(initialisers[node.input[1]]).astype(np.float64)
        if node.input[1] in means:
            bias = numpy_helper.to_array(initialisers[node.input[2]]).astype(np.float64)
            replace(node.input[2], bias + bias_correction(weight, means[node.input[1]]))
        replace(node.input[1], round_to_grid(weight))
    return rounded


def _quantise_static(model: onnx.ModelProto, ranges: dict, folder: Path, output: str) -> onnx.ModelProto:
    """ONNX Runtime's quantiser, given the ranges."""
    method = quantization.CalibrationMethod.MinMax
    ranges_path, path = folder / "ranges.json", folder / "int8.onnx"
    quantization.save_tensors_data(quantization.TensorsData(method, ranges), ranges_path)
    has_attention = any(node.op_type in ATTENTION for node in model.graph.node)
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    quantization.quantize_static(
        copy,
        path,
        calibration_data_reader=None,
        calibration_cache_path=ranges_path,
        calibrate_method=method,
        quant_format=quantization.QuantFormat.QDQ,
        op_types_to_quantize=MULTIPLICATIONS if has_attention else None,
        activation_type=quantization.QuantType.QUInt8,
        weight_type=quantization.QuantType.QInt8,
        per_channel=True,
        # All 8 bits, as for the built-in model: exact on CPUs with VNNI, and on Arm.
        reduce_range=False,
    )
    quantised = onnx.load(path)
    producers = {name: node for node in quantised.graph.node for name in node.output}
    if producers[output].op_type == "DequantizeLinear":
        give_float_logits(quantised.graph, output)
    del quantised.graph.value_info[:]
    quantised.producer_name, quantised.producer_version = "ocelli", ""
    onnx.checker.check_model(quantised, full_check=True)
    return quantised


def _session(model: onnx.ModelProto) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def _run(model: onnx.ModelProto, tensors: np.ndarray) -> np.ndarray:
    session = _session(model)
    return np.concatenate([session.run(None, {INPUT: tensor[None]})[0] for tensor in tensors])
