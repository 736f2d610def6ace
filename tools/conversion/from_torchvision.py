"""torchvision's classifiers, by name, with the preprocessing and class names of their weights."""

import argparse
from pathlib import Path

import torch
import torchvision
from torchvision.transforms import InterpolationMode

from . import labels, torch_model
from .arguments import Source
from .failure import Failure
from .manifest import BYTE, Input, Normalisation
from .original import ACTIVATIONS, INPUT, Original, settle
from .photos import open_upright

# The last layer of torchvision's architectures.
HEADS = ("fc", "classifier", "heads", "head")


def load(source: Source, arguments: argparse.Namespace) -> Original:
    name = source.value
    known = torchvision.models.list_models(module=torchvision.models)
    if name not in known:
        raise Failure(f"torchvision has no classifier {name!r}: it has {', '.join(known)}")
    available = torchvision.models.get_model_weights(name)
    model, weights, origin, notes = _model(name, available, arguments)
    if arguments.task == "embedding":
        _remove_head(model, name)
    rule = _transforms(weights, arguments)
    spec = describe(rule)
    model.eval()
    classes = torch_model.classes_of(model, spec.shape, name)
    task, said = settle(arguments.task or "classification", classes)
    notes += said
    names, said = labels.choose(task, arguments.labels, classes, list(weights.meta["categories"]), origin)
    notes += said + _notes(arguments.weights, available, spec)
    return Original(
        title=f"torchvision {torchvision.__version__}",
        origin=f"{origin}, torchvision {torchvision.__version__}",
        input=spec,
        task=task,
        activation=ACTIVATIONS[task],
        pipeline=f"torchvision's transforms of {weights.name}",
        prepare=lambda photo: rule(open_upright(photo)).numpy(),
        scores=lambda batch: torch_model.evaluate(model, batch),
        export=lambda path, output: torch_model.export(model, spec.shape, classes, path, output),
        labels=names,
        notes=notes,
    )


def describe(rule) -> Input:
    """The `[input]` of `rule`, which is torchvision's `ImageClassification`: shorter edge, centre, ToTensor, Normalize."""
    (side,), (edge,) = rule.crop_size, rule.resize_size
    normalisation = Normalisation("rgb", BYTE, tuple(rule.mean), tuple(rule.std))
    # Of a photo in Pillow's hands it is Pillow that resizes, and Pillow always widens its filters.
    return Input(
        name=INPUT,
        width=side,
        height=side,
        layout="nchw",
        normalisation=normalisation,
        resize={"policy": "shortest-edge", "size": edge},
        interpolation=rule.interpolation.value,
    )


def _model(name: str, available, arguments: argparse.Namespace) -> tuple[torch.nn.Module, object, str, list[str]]:
    """The model, the published weights whose preprocessing it uses, the origin of its weights, and notes."""
    given = arguments.weights
    if given == "none":
        return torchvision.models.get_model(name, weights=None), available.DEFAULT, f"{name} with random weights", []
    if given in available.__members__ or given is None:
        weights = available[given or "DEFAULT"]
        try:
            return torchvision.models.get_model(name, weights=weights), weights, f"{name}, {weights.name}", []
        except OSError as error:
            place = Path(torch.hub.get_dir(), "checkpoints", Path(weights.url).name)
            raise Failure(
                f"the weights {weights.name} of {name} cannot be fetched ({error}): try again with a network, put them at "
                f"{place}, name a file of your own with --weights, or pass --weights none to try things out"
            ) from None
    path = Path(given)
    if not path.is_file():
        raise Failure(f"--weights {given}: {name} has {', '.join(available.__members__)}, and there is no such file")
    tensors, notes = torch_model.read_weights(path)

    def make(classes: int) -> torch.nn.Module:
        return torchvision.models.get_model(name, weights=None, num_classes=classes)

    weights = torch_model.fit(tensors, make, path)
    torch_model.check_classifier(weights, arguments.task, path)
    model = make(weights.classes or 1)
    torch_model.load_weights(model, weights, name, path)
    return model, available.DEFAULT, f"{name} with the weights {path.name}", notes + weights.notes


def _notes(given: str | None, available, spec: Input) -> list[str]:
    """A file of weights does not specify the preprocessing."""
    if given in {None, "none", *available.__members__}:
        return []
    return [
        f"photos are prepared as for {available.DEFAULT.name}: shorter edge to {spec.resize['size']}, then the centre of "
        f"{spec.width}, {spec.interpolation}; {Path(given).name} does not say how it was trained, so correct [input] in "
        "model.toml if that was otherwise"
    ]


def _remove_head(model: torch.nn.Module, name: str) -> None:
    head = next((head for head in HEADS if isinstance(getattr(model, head, None), torch.nn.Module)), None)
    if head is None:
        raise Failure(f"{name} has no head to remove for features: take the model of timm, timm:NAME --task embedding")
    setattr(model, head, torch.nn.Identity())


def _transforms(weights, arguments: argparse.Namespace):
    if arguments.interpolation is None:
        return weights.transforms()
    return weights.transforms(interpolation=InterpolationMode(arguments.interpolation))
