"""TorchServe archives (.mar) whose handler is `image_classifier`: TorchScript, or weights with the Python file that defines
their model, which runs only with --trust.
"""

import argparse
import importlib.util
import inspect
import sys
import tempfile
from pathlib import Path

import torch
import torchvision
from torchvision.transforms import CenterCrop, Compose, InterpolationMode, Normalize, Resize, ToTensor

from . import labels, mar, torch_model
from .arguments import Source
from .failure import Failure
from .identity import sha256_of
from .manifest import BYTE, IMAGENET_MEAN, IMAGENET_STD, Input, Normalisation
from .original import ACTIVATIONS, INPUT, Original, settle
from .photos import open_upright

# `ts/torch_handler/image_classifier.py`.
EDGE, SIDE = 256, 224


def load(source: Source, arguments: argparse.Namespace) -> Original:
    path = Path(source.value)
    archive = mar.read(path)
    mar.check(archive, trust=arguments.trust, preset=arguments.preset)
    with tempfile.TemporaryDirectory(prefix="to_onnx-") as folder:
        archive.unpack(Path(folder))
        if archive.is_torchscript:
            model, notes = torch_model.script(Path(folder, archive.serialized), f"{path}: {archive.serialized}"), []
        else:
            model, notes = _eager(Path(folder), archive)
    model.eval()
    interpolation = arguments.interpolation or "bilinear"
    pipeline = Compose(
        [
            Resize(EDGE, InterpolationMode(interpolation)),
            CenterCrop(SIDE),
            ToTensor(),
            Normalize(IMAGENET_MEAN, IMAGENET_STD),
        ]
    )
    spec = Input(
        name=INPUT,
        width=SIDE,
        height=SIDE,
        layout="nchw",
        normalisation=Normalisation("rgb", BYTE, IMAGENET_MEAN, IMAGENET_STD),
        resize={"policy": "shortest-edge", "size": EDGE},
        interpolation=interpolation,
    )
    classes = torch_model.classes_of(model, spec.shape, path.name)
    task, said = settle(arguments.task or "classification", classes)
    notes += said
    if task != "embedding" and archive.labels is not None and arguments.labels is None:
        labels.check_count(archive.labels, classes, f"{path}: {mar.LABELS}")
    names, said = labels.choose(task, arguments.labels, classes, archive.labels, path.name)
    notes += said
    return Original(
        title=f"TorchServe's image_classifier in torchvision {torchvision.__version__}",
        origin=f"{path.name} (sha256 {sha256_of(path)}), PyTorch {torch.__version__}",
        input=spec,
        task=task,
        # The handler applies a softmax.
        activation=ACTIVATIONS[task],
        pipeline="the steps of TorchServe's image_classifier",
        prepare=lambda photo: pipeline(open_upright(photo)).numpy(),
        scores=lambda batch: torch_model.evaluate(model, batch),
        export=lambda onnx, output: torch_model.export(model, spec.shape, classes, onnx, output),
        labels=names,
        notes=notes,
    )


def _eager(folder: Path, archive: mar.Archive) -> tuple[torch.nn.Module, list[str]]:
    """Runs the model file, which the user has said to trust: as TorchServe does, it must define one class, the model. Also
    what to tell the user of its weights."""
    sys.path.insert(0, str(folder))
    try:
        spec = importlib.util.spec_from_file_location("torchserve_model", folder / archive.model_file)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        classes = [
            value
            for _, value in inspect.getmembers(module, inspect.isclass)
            if value.__module__ == module.__name__ and issubclass(value, torch.nn.Module)
        ]
        if len(classes) != 1:
            names = ", ".join(value.__name__ for value in classes) or "none"
            raise Failure(
                f"{archive.path}: {archive.model_file} defines {len(classes)} models ({names}), and must define one"
            )
        model = classes[0]()
    except Failure:
        raise
    except Exception as error:
        raise Failure(
            f"{archive.path}: {archive.model_file} fails here ({type(error).__name__}: {torch_model.short(error)}): install what it needs "
            "into a Python of your own and run this there with --here"
        ) from None
    finally:
        sys.path.remove(str(folder))
    path = folder / archive.serialized
    tensors, notes = torch_model.read_weights(path)
    weights = torch_model.fit(tensors, lambda _: model, path)
    torch_model.load_weights(model, weights, classes[0].__name__, Path(archive.serialized))
    return model, notes + weights.notes
