"""Packages of npm that carry TensorFlow.js models. Node and the packages are in the folder that `NODE_PACKAGES` names."""

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from . import ocelli
from .case import Case

PACKAGES = Path(os.environ.get("NODE_PACKAGES", ocelli.ROOT / ".venv-real-models-node"))
SCRIPT = Path(__file__).with_name("nsfwjs.cjs")
CLASSES = ["Drawing", "Hentai", "Neutral", "Porn", "Sexy"]


SIDE = 224


def cases() -> list[Case]:
    return [nsfwjs("mobilenet_v2", "layers", centre), nsfwjs("mobilenet_v2_mid", "graph", lambda photo: photo)]


def centre(photo: Image.Image) -> Image.Image:
    """As large as the input. The smaller model is so sensitive that what Ocelli rounds off when it resizes, half a step of
    255, changes its own answers by up to 0.02."""
    left, top = (photo.width - SIDE) // 2, (photo.height - SIDE) // 2
    return photo.convert("RGB").crop((left, top, left + SIDE, top + SIDE))


def nsfwjs(name: str, kind: str, cut: Callable[[Image.Image], Image.Image]) -> Case:
    def model(folder):
        _node("unpack", name, folder / name)
        return ocelli.converted(folder / name, ["--preset", "tfjs"], CLASSES, folder)

    def reference(folder):
        node = subprocess.Popen(
            _command("classify", folder / name, kind), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

        def run(photo):
            pixels = np.asarray(Image.open(photo).convert("RGB"))
            raw, tensor = folder / "pixels", folder / "tensor"
            raw.write_bytes(pixels.tobytes())
            print(json.dumps([str(raw), str(tensor), *pixels.shape]), file=node.stdin, flush=True)
            answer = json.loads(node.stdout.readline())
            return np.fromfile(tensor, "<f4").reshape(1, SIDE, SIDE, 3), np.array([answer[name] for name in CLASSES])

        return run

    return Case("nsfwjs", f"{name} ({kind})", model, reference, channel_axis=3, photo=cut)


def _node(*arguments):
    subprocess.run(_command(*arguments), check=True, timeout=ocelli.LIMIT_S)


def _command(*arguments) -> list[str]:
    return ["node", str(SCRIPT), str(PACKAGES), *map(str, arguments)]
