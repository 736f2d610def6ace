"""TorchScript files (.pt, .torchscript): a graph with its weights, which says nothing of photos. The preset says how they become
numbers, and --size how large they are.
"""

import argparse
import importlib.util
import tempfile
from pathlib import Path

import numpy as np
import torch
from PIL.Image import Resampling
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional

from . import graph, torch_model
from .arguments import Source
from .exported import Exported
from .failure import Failure
from .identity import sha256_of
from .manifest import Input, Normalisation
from .original import INPUT, LOGITS, Original, of_ending
from .photos import centre, open_upright
from .presets import OPENCV, PRESETS

# Colour first: a network of one channel refuses three.
CHANNELS = (3, 1)


def load(source: Source, arguments: argparse.Namespace) -> Original:
    path = Path(source.value)
    model = torch_model.script(path, str(path))
    spec = _input(model, path.name, arguments)
    pipeline = Pipeline(spec, PRESETS[arguments.preset].loader)
    classes = torch_model.classes_of(model, spec.shape, path.name)
    with tempfile.TemporaryDirectory(prefix="to_onnx-") as folder:
        proto = torch_model.trace(model, spec.shape, Path(folder, "traced.onnx"), LOGITS)
    exported = Exported(proto, classes, lambda batch: torch_model.evaluate(model, batch))
    return exported.original(
        pipeline,
        of_ending(graph.ending(proto), arguments.task, classes),
        arguments,
        name=path.name,
        title=f"TorchScript in PyTorch {torch.__version__}",
        origin=f"{path.name} (sha256 {sha256_of(path)}), PyTorch {torch.__version__}",
    )


def _input(model: torch.nn.Module, name: str, arguments: argparse.Namespace) -> Input:
    preset, reading = PRESETS[arguments.preset], PRESETS[arguments.preset].reading
    if preset.loader not in {None, OPENCV}:
        raise Failure(
            f"--preset {arguments.preset} reads photos with {preset.loader} of TensorFlow, and {name} is a network of PyTorch: "
            "choose one of torchvision, timm, vit, clip, unit, raw or opencv-linear"
        )
    width, height = arguments.size
    channels = _channels(model, name, width, height)
    normalisation = preset.normalisation
    if channels == 1:
        normalisation = Normalisation("gray", normalisation.scale, normalisation.mean, normalisation.std)
        if len(set(normalisation.mean)) > 1 or len(set(normalisation.std)) > 1:
            raise Failure(
                f"--preset {arguments.preset} is for colours, and {name} takes grey images: choose unit or raw"
            )
    return Input(
        name=INPUT,
        width=width,
        height=height,
        layout="nchw",
        normalisation=normalisation,
        resize=preset.resize(width, height),
        interpolation=arguments.interpolation or reading.interpolation,
        antialias=reading.antialias,
        resampler=reading.resampler,
        coordinates=reading.coordinates,
    )


def _channels(model: torch.nn.Module, name: str, width: int, height: int) -> int:
    """The number of input channels, found by trying."""
    failures = []
    for channels in CHANNELS:
        try:
            with torch.inference_mode():
                model(torch.zeros(2, channels, height, width))
        except RuntimeError as error:
            # The last line is the error, the others its location.
            failures.append(str(error).strip().splitlines()[-1][:200])
        else:
            return channels
    raise Failure(
        f"{name} does not run on images of {width}x{height} ({failures[0]}): pass the size that it was trained with (--size)"
    )


class Pipeline:
    """Converts a photo to the tensor of `spec`, with Pillow and torchvision, or with OpenCV for such a `loader`."""

    def __init__(self, spec: Input, loader: str | None):
        self.spec, self.loader = spec, loader

    @property
    def name(self) -> str:
        reading = self.spec
        if self.loader == OPENCV:
            return f"{OPENCV}, {reading.interpolation}"
        library = "torchvision's resize of tensors" if reading.resampler == "torch" else "Pillow's resize"
        crop = "" if reading.resize["policy"] == "stretch" else " and centre crop"
        return f"{library}{crop}, {reading.interpolation}"

    @property
    def missing(self) -> str | None:
        """The package that the loader needs and that is not installed."""
        needs = self.loader == OPENCV and importlib.util.find_spec("cv2") is None
        return "opencv-python-headless" if needs else None

    def prepare(self, photo: Path) -> np.ndarray:
        pixels = np.asarray(self._pixels(photo), np.float32)
        rule = self.spec.normalisation
        if rule.channels == "gray":
            return ((pixels * rule.scale - rule.mean[0]) / rule.std[0])[None]
        if rule.channels == "bgr":
            pixels = pixels[:, :, ::-1]
        values = (pixels * rule.scale - np.array(rule.mean)) / np.array(rule.std)
        return values.transpose(2, 0, 1).astype(np.float32)

    def _pixels(self, photo: Path) -> np.ndarray:
        """[height, width, channels] of 0 to 255 with red first, or [height, width] of greys."""
        image = open_upright(photo)
        if self.spec.normalisation.channels == "gray":
            image = image.convert("L")
        if self.spec.resize["policy"] != "stretch":
            return np.asarray(centre(image, self.spec))
        size = self.spec.width, self.spec.height
        if self.loader == OPENCV and self.missing is None:
            import cv2

            flags = {
                "nearest": cv2.INTER_NEAREST,
                "bilinear": cv2.INTER_LINEAR,
                "bicubic": cv2.INTER_CUBIC,
                "area": cv2.INTER_AREA,
                "lanczos": cv2.INTER_LANCZOS4,
            }
            return cv2.resize(np.asarray(image), size, interpolation=flags[self.spec.interpolation])
        if self.spec.resampler == "torch":
            tensor = functional.pil_to_tensor(image)
            resized = functional.resize(
                tensor, list(size[::-1]), InterpolationMode(self.spec.interpolation), antialias=True
            )
            return resized.numpy().transpose(1, 2, 0).squeeze()
        # Without OpenCV, Pillow may not have the filter; then these pixels are not compared.
        filter_name = "bilinear" if self.missing else self.spec.interpolation
        return np.asarray(image.resize(size, Resampling[filter_name.upper()]))
