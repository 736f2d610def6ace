"""The golden of the built-in model: its reference preprocessing in Pillow, its file in Python's ONNX Runtime."""

import sys
from pathlib import Path

import numpy as np
import onnxruntime
from goldens import HERE, LABELS, Case
from PIL import Image, ImageOps

ROOT = HERE.parents[3]
sys.path.append(str(ROOT / "tools"))
from builtin_model.photos import crop_and_resize  # noqa: E402

MODEL = ROOT / "models" / "efficientnet-lite0" / "model.onnx"


def make(wanted):
    if not wanted("builtin"):
        return
    session = onnxruntime.InferenceSession(MODEL, providers=["CPUExecutionProvider"])

    def prepare(path: Path):
        with Image.open(path) as image:
            return crop_and_resize(ImageOps.exif_transpose(image))[None].copy()

    case = Case(
        name="builtin",
        library=f"Pillow, onnxruntime {onnxruntime.__version__}",
        pipeline="tools/builtin_model/photos.py, InferenceSession",
        prepare=prepare,
        compute=lambda tensor: session.run(["logits"], {"image": np.asarray(tensor)})[0],
        labels=LABELS,
        exif=True,
        quantised=True,
        photos=("dog", "turned"),
    )
    case.folder.mkdir(exist_ok=True)
    case.write()
