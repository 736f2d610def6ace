"""timm: names and folders, with the preprocessing of their `pretrained_cfg`."""

import argparse
from pathlib import Path

import timm
import torch
from timm.data import ImageNetInfo, create_transform, infer_imagenet_subset, resolve_data_config

from . import labels, torch_model
from .arguments import Source
from .failure import Failure
from .manifest import BYTE, Input, Normalisation
from .original import ACTIVATIONS, INPUT, Original, settle
from .photos import open_upright


def load(source: Source, arguments: argparse.Namespace) -> Original:
    model, origin, notes = _model(source, arguments)
    config = resolve_data_config({"interpolation": arguments.interpolation}, model=model)
    spec = describe(config)
    transform = create_transform(**config, is_training=False)
    model.eval()
    classes = torch_model.classes_of(model, spec.shape, source.value)
    task = arguments.task or ("classification" if getattr(model, "num_classes", 0) else "embedding")
    task, said = settle(task, classes)
    notes += said
    own = _labels(model, classes) if task != "embedding" else None
    names, said = labels.choose(task, arguments.labels, classes, own, source.value)
    notes += said
    return Original(
        title=f"timm {timm.__version__}",
        origin=f"{origin}, timm {timm.__version__}",
        input=spec,
        task=task,
        activation=ACTIVATIONS[task],
        pipeline="timm's create_transform",
        prepare=lambda photo: transform(open_upright(photo)).numpy(),
        scores=lambda batch: torch_model.evaluate(model, batch),
        export=lambda path, output: torch_model.export(model, spec.shape, classes, path, output),
        labels=names,
        license=model.pretrained_cfg.get("license"),
        notes=notes,
    )


def describe(config: dict) -> Input:
    """The `[input]` of a data configuration, as `timm.data.transforms_factory.transforms_imagenet_eval` reads it."""
    channels, height, width = config["input_size"]
    if channels != 3:
        raise Failure(f"the model takes {channels} channels, and timm prepares 3: choose another")
    share = config["crop_pct"]
    sides = [int(width / share), int(height / share)]
    mode, mean = config["crop_mode"], tuple(config["mean"])
    if mode == "squash":
        resize = {"policy": "stretch"} if sides == [width, height] else {"policy": "stretch", "size": sides}
    elif mode == "border":
        resize = {"policy": "letterbox", "fill": [round(255 * value) for value in mean], "size": sides}
    elif sides[0] == sides[1]:
        resize = {"policy": "shortest-edge", "size": sides[0]}
    else:
        resize = {"policy": "cover", "size": sides}
    return Input(
        name=INPUT,
        width=width,
        height=height,
        layout="nchw",
        normalisation=Normalisation("rgb", BYTE, mean, tuple(config["std"])),
        resize=resize,
        interpolation=_interpolation(config["interpolation"]),
    )


def _interpolation(name: str) -> str:
    # timm's own "random" is bilinear or bicubic in training and bilinear afterwards.
    return {"random": "bilinear", "lanczos": "lanczos"}.get(name, name)


def _model(source: Source, arguments: argparse.Namespace) -> tuple[torch.nn.Module, str, list[str]]:
    name = f"local-dir:{Path(source.value).resolve()}" if source.is_path else source.value
    shown = Path(source.value).resolve().name if source.is_path else source.value
    features = {"num_classes": 0} if arguments.task == "embedding" else {}
    given = arguments.weights
    try:
        if given == "none":
            return timm.create_model(name, pretrained=False, **features), f"{shown} with random weights", []
        if given is None:
            return timm.create_model(name, pretrained=True, **features), shown, []
    except Exception as error:
        raise _cannot_make(source, given, error) from None
    path = Path(given)
    if not path.is_file():
        raise Failure(
            f"--weights {given} does not exist: name a file, or none; timm's own are part of the name, as in NAME.TAG"
        )
    tensors, notes = torch_model.read_weights(path)
    try:
        weights = torch_model.fit(
            tensors, lambda classes: timm.create_model(name, pretrained=False, num_classes=classes), path
        )
        torch_model.check_classifier(weights, arguments.task, path)
        # The class count of this model is fixed.
        count = {"num_classes": weights.classes or 0} if weights.classifier else {}
        model = timm.create_model(name, pretrained=False, **count)
    except Failure:
        raise
    except Exception as error:
        raise _cannot_make(source, given, error) from None
    torch_model.load_weights(model, weights, shown, path)
    if features:
        model.reset_classifier(0)
    return model, f"{shown} with the weights {path.name}", notes + weights.notes


def _cannot_make(source: Source, given: str | None, error: Exception) -> Failure:
    """timm raises RuntimeError for an unknown name; all other errors are about the weights."""
    text = " ".join(str(error).split())[:300]
    if isinstance(error, RuntimeError) and "Unknown model" in text:
        near = timm.list_models(f"*{source.value.split('.')[0]}*")[:10]
        return Failure(
            f"timm has no model {source.value!r}"
            + (f": it has {', '.join(near)}" if near else ": see timm.list_models()")
        )
    if source.is_path or given is not None:
        return Failure(f"{source.value} cannot be loaded by timm ({text})")
    return Failure(
        f"the weights of {source.value} cannot be had ({type(error).__name__}: {text}): try again with a network, name a file "
        "of your own with --weights, or pass --weights none to try things out"
    )


def _labels(model: torch.nn.Module, classes: int) -> list[str] | None:
    own = model.pretrained_cfg.get("label_names")
    if own:
        return list(own)
    subset = infer_imagenet_subset(model)
    return [ImageNetInfo(subset).index_to_description(index) for index in range(classes)] if subset else None
