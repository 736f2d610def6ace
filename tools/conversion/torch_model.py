"""What torchvision, timm, transformers and TorchServe have in common: PyTorch modules, their weights and their export."""

import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from . import graph
from .failure import Failure
from .original import INPUT, OPSET

# Keys under which training scripts keep the weights inside of a checkpoint.
NESTED = ("state_dict", "model_state_dict", "model", "state_dict_ema")
# The prefix of a model that was trained on several devices.
PARALLEL = "module."


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
    proto = graph.read(path)
    graph.tidy(proto, output, classes)
    graph.write(proto, path)


def read_weights(path: Path) -> dict[str, torch.Tensor]:
    """The tensors in a checkpoint. Never runs what a pickle may hold besides."""
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise Failure(f"--weights {path} cannot be read ({error}): check the path") from None
    except Exception as error:
        raise Failure(
            f"--weights {path} holds more than weights, or none ({' '.join(str(error).split())[:200]}): save the weights "
            "alone, torch.save(model.state_dict(), 'weights.pth')"
        ) from None
    for key in NESTED:
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
            break
    if not isinstance(content, dict) or not all(isinstance(value, torch.Tensor) for value in content.values()):
        raise Failure(f"--weights {path} is no state dict: save one, torch.save(model.state_dict(), 'weights.pth')")
    return {key.removeprefix(PARALLEL): value for key, value in content.items()}


def last_size(weights: dict[str, torch.Tensor]) -> int | None:
    """How many classes a classifier with these weights has: the size of its last layer, which libraries define last."""
    sizes = [value.shape[0] for value in weights.values() if value.ndim in {1, 2}]
    return sizes[-1] if sizes else None


def load_weights(model: torch.nn.Module, weights: dict[str, torch.Tensor], name: str, path: Path) -> None:
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        lines = str(error).splitlines()
        raise Failure(f"--weights {path} are not those of a {name}: {' '.join(lines[1:3]).strip()[:300]}") from None
