"""What torchvision, timm, transformers and TorchServe have in common: PyTorch modules, their weights and their export."""

import argparse
import pathlib
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import torch

from . import checkpoint, graph
from .failure import Failure
from .original import INPUT, OPSET

# What training scripts save beside the weights that runs no code when it is read: their command line and paths in it.
HARMLESS = [argparse.Namespace, pathlib.PosixPath]


def evaluate(model: Callable, batch: np.ndarray) -> np.ndarray:
    """The model's scores of tensors [images, ...] as float32."""
    with torch.inference_mode():
        return model(torch.from_numpy(np.ascontiguousarray(batch))).float().numpy()


def classes_of(model: Callable, shape: tuple[int, ...], name: str) -> int:
    """How many scores the model has for an image of `shape`. Raises Failure for what is no single vector."""
    with torch.inference_mode():
        scores = model(torch.zeros(2, *shape))
    if not isinstance(scores, torch.Tensor) or scores.ndim != 2:
        answer = tuple(scores.shape) if isinstance(scores, torch.Tensor) else type(scores).__name__
        raise Failure(
            f"{name} answers with {answer} to two images, and Ocelli serves one vector per image: choose another"
        )
    return scores.shape[1]


def export(model: torch.nn.Module, shape: tuple[int, ...], classes: int, path: Path, output: str) -> None:
    """Writes the graph of `model`, for any number of images of `shape`."""
    with tempfile.TemporaryDirectory(prefix="to_onnx-") as folder:
        proto = trace(model, shape, Path(folder, "traced.onnx"), output)
    graph.tidy(proto, output, classes)
    graph.write(proto, path)


def trace(model: torch.nn.Module, shape: tuple[int, ...], path: Path, output: str) -> onnx.ModelProto:
    """The graph as PyTorch writes it to `path`."""
    images = torch.zeros(2, *shape)
    scripted = isinstance(model, torch.jit.ScriptModule)
    # The present exporter takes Python modules only; TorchScript has the one of its time.
    axes = {"dynamic_axes": {INPUT: {0: "batch"}, output: {0: "batch"}}, "dynamo": False}
    if not scripted:
        axes = {"dynamic_shapes": ({0: torch.export.Dim("batch", min=1)},), "dynamo": True}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            model,
            (images,),
            str(path),
            input_names=[INPUT],
            output_names=[output],
            opset_version=OPSET,
            verbose=False,
            **axes,
        )
    return graph.read(path)


def script(path: Path, name: str) -> torch.nn.Module:
    """The TorchScript at `path`. No Python of it is run."""
    try:
        return torch.jit.load(path, map_location="cpu").eval()
    except RuntimeError as error:
        raise Failure(f"{name} cannot be loaded ({short(error)}): save it again") from None


def short(error: Exception) -> str:
    return " ".join(str(error).split())[:300]


def read_weights(path: Path) -> tuple[dict[str, torch.Tensor], list[str]]:
    """The tensors in a checkpoint, and what to tell the user. Never runs what a pickle may hold besides."""
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path), []
        with torch.serialization.safe_globals(HARMLESS):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise Failure(f"--weights {path} cannot be read ({error}): check the path") from None
    except Exception as error:
        raise Failure(
            f"--weights {path} holds more than weights, or none ({' '.join(str(error).split())[:200]}): save the weights "
            "alone, torch.save(model.state_dict(), 'weights.pth')"
        ) from None
    try:
        return checkpoint.unwrap(content)
    except Failure as failure:
        raise Failure(f"--weights {path} {failure}") from None


def fit(tensors: dict[str, torch.Tensor], make: Callable[[int], torch.nn.Module], path: Path) -> checkpoint.Weights:
    """`tensors` as the architecture that `make(classes)` makes names them, and how many classes they have."""
    try:
        # No memory and no random numbers for a model of which only the shapes are wanted.
        with torch.device("meta"):
            probe = make(checkpoint.PROBE)
    except RuntimeError:
        # Some architectures compute with numbers while they are made.
        probe = make(checkpoint.PROBE)
    shapes = {key: tuple(value.shape) for key, value in probe.state_dict().items()}
    try:
        return checkpoint.fit(tensors, shapes)
    except Failure as failure:
        raise Failure(f"--weights {path} {failure}") from None


def load_weights(model: torch.nn.Module, weights: checkpoint.Weights, name: str, path: Path) -> None:
    """Raises Failure unless `weights` are all that `model` needs, its classifier excepted if they have none."""
    try:
        found = model.load_state_dict(weights.tensors, strict=False)
    except RuntimeError as error:
        lines = str(error).splitlines()
        raise Failure(f"--weights {path} are not those of a {name}: {' '.join(lines[1:3]).strip()[:300]}") from None
    missing = [key for key in found.missing_keys if weights.classes is not None or key not in weights.classifier]
    for what, keys in [("lack", missing), ("have", found.unexpected_keys)]:
        if keys:
            more = f" and {len(keys) - 3} more" if len(keys) > 3 else ""
            raise Failure(f"--weights {path} are not those of a {name}: they {what} {', '.join(keys[:3])}{more}")


def check_classifier(weights: checkpoint.Weights, task: str | None, path: Path) -> None:
    """Raises Failure where classes are wanted of weights without a classifier."""
    if weights.classes is None and task != "embedding" and weights.classifier:
        raise Failure(
            f"--weights {path} have no classifier ({', '.join(sorted(weights.classifier))}): take the features with "
            "--task embedding, or save the whole model"
        )
