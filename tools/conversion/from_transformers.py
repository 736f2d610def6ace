"""transformers: image classifiers and feature extractors, by name or from a folder, with their image processors."""

import argparse
from pathlib import Path

import numpy as np
import torch
import transformers
from transformers import AutoConfig, AutoImageProcessor, AutoModel, AutoModelForImageClassification

from . import labels, processors, torch_model
from .arguments import Source
from .failure import Failure
from .original import ACTIVATIONS, Original, settle
from .photos import open_upright

CLASSIFIER = "ForImageClassification"
# The name that transformers gives to a class without one.
UNNAMED = "LABEL_"


def load(source: Source, arguments: argparse.Namespace) -> Original:
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    if arguments.weights not in {None, "none"}:
        raise Failure("--weights of transformers are part of its folders: name a folder, or pass --weights none")
    name = source.value
    # For a folder, show only its name: its path may be private.
    shown = Path(name).resolve().name if source.is_path else name
    config = _fetch(AutoConfig, name, arguments)
    processor = _fetch(AutoImageProcessor, name, arguments)
    task = arguments.task or _task(config)
    kind = AutoModel if task == "embedding" else AutoModelForImageClassification
    model = _Scores(*_model(kind, name, config, arguments, task), task).eval()
    spec = processors.describe(processor, arguments.interpolation)
    options = {}
    if arguments.interpolation is not None:
        options["resample"] = {"nearest": 0, "lanczos": 1, "bilinear": 2, "bicubic": 3}[arguments.interpolation]
    classes = torch_model.classes_of(model, spec.shape, shown)
    task, notes = settle(task, classes)
    notes += processors.notes(processor)
    own = _labels(config, classes) if task != "embedding" else None
    names, said = labels.choose(task, arguments.labels, classes, own, shown)
    notes += said
    return Original(
        title=f"transformers {transformers.__version__}",
        origin=f"{shown}{' with random weights' if arguments.weights else ''}, transformers {transformers.__version__}",
        input=spec,
        task=task,
        activation=ACTIVATIONS[task],
        pipeline=f"transformers' {type(processor).__name__}",
        prepare=lambda photo: _prepare(processor, photo, options),
        scores=lambda batch: torch_model.evaluate(model, batch),
        export=lambda path, output: torch_model.export(model, spec.shape, classes, path, output),
        labels=names,
        notes=notes,
    )


def _prepare(processor, photo: Path, options: dict) -> np.ndarray:
    return processor(open_upright(photo), return_tensors="pt", **options)["pixel_values"][0].numpy()


class _Scores(torch.nn.Module):
    """A transformers model as a function from pixels to one vector for each image."""

    def __init__(self, model: torch.nn.Module, has_pooler: bool, task: str):
        super().__init__()
        self.model = model
        self.has_pooler = has_pooler
        self.task = task
        # Models of images and text have a separate method for images.
        self.two_towers = hasattr(model, "get_image_features")

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        if self.task != "embedding":
            return self.model(pixel_values=pixels).logits
        answer = (
            self.model.get_image_features(pixel_values=pixels) if self.two_towers else self.model(pixel_values=pixels)
        )
        if isinstance(answer, torch.Tensor):
            return answer
        pooled = getattr(answer, "pooler_output", None)
        if pooled is not None and self.has_pooler:
            return pooled.flatten(1)
        hidden = answer.last_hidden_state
        # [images, channels, height, width] of convolutions; [images, tokens, features] of transformers, classification first.
        return hidden.mean(dim=(2, 3)) if hidden.ndim == 4 else hidden[:, 0]


def _task(config) -> str:
    architectures = config.architectures or []
    if not any(name.endswith(CLASSIFIER) for name in architectures):
        return "embedding"
    return "multilabel" if config.problem_type == "multi_label_classification" else "classification"


def _fetch(kind, name: str, arguments: argparse.Namespace):
    """Downloads a configuration or a processor: small files, needed even with --weights none."""
    try:
        return kind.from_pretrained(name, trust_remote_code=arguments.trust)
    except Exception as error:
        raise _cannot_have(name, error, "the configuration") from None


def _model(kind, name: str, config, arguments: argparse.Namespace, task: str) -> tuple[torch.nn.Module, bool]:
    """The model, and whether its pooler is trained."""
    try:
        if arguments.weights == "none":
            return kind.from_config(config, trust_remote_code=arguments.trust), True
        model, loaded = kind.from_pretrained(
            name, config=config, trust_remote_code=arguments.trust, dtype=torch.float32, output_loading_info=True
        )
    except Exception as error:
        raise _cannot_have(name, error, "the weights") from None
    # transformers fills missing weights with random numbers and continues.
    missing = sorted(loaded["missing_keys"])
    lacks_pooler = any("pooler" in key for key in missing)
    if task == "embedding":
        missing = [key for key in missing if "pooler" not in key]
    if missing:
        raise Failure(
            f"{name} has no weights for {', '.join(missing[:5])}: take a model that was trained for this, or its features "
            "with --task embedding"
        )
    return model, not lacks_pooler


def _cannot_have(name: str, error: Exception, what: str) -> Failure:
    text = " ".join(str(error).split())[:300]
    if "trust_remote_code" in text:
        return Failure(f"{name} brings code of its own: if you trust who made it, convert it with --trust")
    if Path(name).is_dir():
        return Failure(f"{name} cannot be loaded by transformers {transformers.__version__} ({text})")
    return Failure(
        f"{what} of {name} cannot be had ({type(error).__name__}: {text}): check the name, try again with a network, or name a "
        "folder that save_pretrained has written"
    )


def _labels(config, classes: int) -> list[str] | None:
    own = [config.id2label.get(index) for index in range(classes)]
    return None if None in own or all(label.startswith(UNNAMED) for label in own) else own
