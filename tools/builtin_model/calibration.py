"""What quantisation needs to know of the activations, measured once on photos and committed as `calibration.json`.

It is committed so that the int8 model can be made again, byte for byte and on any machine, without the photos, which
may not be published.
"""

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from .graph import INPUT
from .photos import normalise, read_photo
from .rounding import bias_correction

# Enough to lose nothing: an int8 step is 0.4 % of a range.
DIGITS = 4


@dataclass(frozen=True)
class Calibration:
    """`ranges`: the least and greatest value of each activation. `bias_corrections`: see `rounding`, for each projection."""

    ranges: dict[str, tuple[float, float]]
    bias_corrections: dict[str, list[float]]


def _significant(value: float, rounding=round) -> float:
    """`value` to `DIGITS` significant digits, rounded by `rounding`: to the nearest, or `math.floor` or `math.ceil`."""
    if value == 0:
        return 0.0
    decimals = DIGITS - 1 - math.floor(math.log10(abs(value)))
    return round(rounding(value * 10.0**decimals) / 10.0**decimals, decimals)


def _expose_activations(model: onnx.ModelProto) -> tuple[onnxruntime.InferenceSession, list[str]]:
    """A session of `model` that returns every activation, and their names."""
    names = [name for node in model.graph.node for name in node.output]
    exposed = onnx.ModelProto()
    exposed.CopyFrom(model)
    del exposed.graph.output[:]
    exposed.graph.output.extend(helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in names)
    return onnxruntime.InferenceSession(exposed.SerializeToString(), providers=["CPUExecutionProvider"]), names


def measure(model: onnx.ModelProto, photos: list[Path]) -> Calibration:
    """Runs the float32 `model` over `photos`."""
    session, names = _expose_activations(model)
    projections = [node for node in model.graph.node if node.name.endswith("._project_conv")]
    low, high = np.full(len(names) + 1, np.inf), np.full(len(names) + 1, -np.inf)
    means = {node.name: np.zeros(()) for node in projections}
    for photo in photos:
        batch = normalise(read_photo(photo)[None])
        activations = dict(zip([INPUT, *names], [batch, *session.run(names, {INPUT: batch})], strict=True))
        low = np.minimum(low, [activation.min() for activation in activations.values()])
        high = np.maximum(high, [activation.max() for activation in activations.values()])
        for node in projections:
            means[node.name] = means[node.name] + activations[node.input[0]].mean(axis=(0, 2, 3)) / len(photos)
    weights = {item.name: numpy_helper.to_array(item).astype(np.float64) for item in model.graph.initializer}
    return Calibration(
        ranges={
            name: (_significant(float(least), math.floor), _significant(float(greatest), math.ceil))
            for name, least, greatest in zip([INPUT, *names], low, high, strict=True)
        },
        bias_corrections={
            node.name: [_significant(float(x)) for x in bias_correction(weights[node.input[1]], means[node.name])]
            for node in projections
        },
    )


def write_calibration(path: Path, calibration: Calibration) -> None:
    """One line per tensor, so that differences are readable."""
    sections = (
        f'  "{section}": {{\n'
        + ",\n".join(f'    "{name}": {json.dumps(value)}' for name, value in entries.items())
        + "\n  }"
        for section, entries in asdict(calibration).items()
    )
    path.write_text("{\n" + ",\n".join(sections) + "\n}\n")


def read_calibration(path: Path) -> Calibration:
    return Calibration(**json.loads(path.read_text()))
