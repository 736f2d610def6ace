"""A model as its own library runs it: what `from_*` make, and all that the rest needs to know of any of them."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL.Image import Image

from .manifest import Input

# What graphs call their ends, whatever the library called them.
INPUT = "image"
LOGITS = "logits"
FEATURES = "features"
# What turns the scores of each task into answers.
ACTIVATIONS = {"classification": "softmax", "multilabel": "sigmoid", "embedding": "none"}
# Readable by every runtime since 2023, and what PyTorch's exporter writes without converting.
OPSET = 18


def settle(task: str, classes: int) -> tuple[str, list[str]]:
    """The task of a model with so many outputs, and what to tell the user if it is another than `task`: a softmax over one
    class is always 1."""
    if task == "embedding" or classes > 1:
        return task, []
    return "multilabel", [
        "one output: taken for the probability of one class, with sigmoid (--task embedding: the number itself)"
    ]


@dataclass(frozen=True)
class Original:
    """`prepare` is the library's own pipeline, and `scores` its own arithmetic: Ocelli is compared with them.

    `prepare`: one upright RGB image -> its tensor, float32 of `input.shape`.
    `scores`: such tensors, [images, *input.shape] -> what the exported graph computes, [images, classes].
    `export(path, output)` writes the graph, from `INPUT` to `output`.
    `activation` is what turns scores into answers, which the graph leaves to the server.
    """

    title: str
    origin: str
    input: Input
    task: str
    activation: str
    prepare: Callable[[Image], np.ndarray]
    scores: Callable[[np.ndarray], np.ndarray]
    export: Callable[[Path, str], None]
    labels: list[str] | None = None
    license: str | None = None
    notes: list[str] = field(default_factory=list)

    @property
    def output(self) -> str:
        return FEATURES if self.task == "embedding" else LOGITS
