"""A model in its original library: the common interface of all `from_*` modules."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from .failure import Failure
from .manifest import Input

# The names of inputs and outputs in converted graphs.
INPUT = "image"
LOGITS = "logits"
FEATURES = "features"
# The activation of each task.
ACTIVATIONS = {"classification": "softmax", "multilabel": "sigmoid", "embedding": "none"}
# Readable by every runtime since 2023, and the native version of PyTorch's exporter.
OPSET = 18


def settle(task: str, classes: int) -> tuple[str, list[str]]:
    """The task of a model with so many outputs, and what to tell the user if it is another than `task`: a softmax over one
    class is always 1."""
    if task == "embedding" or classes > 1:
        return task, []
    return "multilabel", [
        "one output: taken for the probability of one class, with sigmoid (--task embedding: the number itself)"
    ]


def of_ending(operator: str | None, given: str | None, classes: int) -> tuple[str, str, list[str]]:
    """Task and activation of a model whose graph ends in `operator`, and what to tell the user. `given`: the task that the
    user says. What the graph does is not done again."""
    if operator == "Softmax" and classes == 1 and given != "embedding":
        raise Failure(
            "the model ends in a softmax over one class, which is always 1, whatever the photo: train it with two"
        )
    ends_in = {"Softmax": "classification", "Sigmoid": "multilabel"}.get(operator)
    task, notes = settle(given or ends_in or "classification", classes)
    if given is None and ends_in is None and classes > 1:
        notes.append(
            "the graph does not end in probabilities: taken for logits, to which softmax is applied (--task multilabel: sigmoid; "
            "--task embedding: they are features)"
        )
    return task, "none" if ends_in else ACTIVATIONS[task], notes


Prepare = Callable[[Path], np.ndarray]


@dataclass(frozen=True)
class Assumption:
    """That photos were read with the original's pipeline, which nothing says. `others`: the pipelines that it may have been
    as well, by name."""

    others: list[tuple[str, Prepare]]


@dataclass(frozen=True)
class Decoder:
    """A library's own decoder. `name` describes how it differs from Pillow's; `prepare` is `Original.prepare` with it."""

    name: str
    prepare: Prepare


@dataclass(frozen=True)
class Original:
    """`prepare` is the library's own pipeline, and `scores` its own arithmetic: Ocelli is compared with them.

    `pipeline`: what the user knows that pipeline as.
    `prepare`: one photo, turned upright -> its tensor, float32 of `input.shape`, of pixels as Pillow decodes them.
    `scores`: such tensors, [images, *input.shape] -> what the exported graph computes, [images, classes].
    `export(path, output)` writes the graph, from `INPUT` to `output`.
    `activation` is what turns scores into answers, which the graph leaves to the server.
    `assumption`: None if the source or the user says that `pipeline` is what the model was trained with.
    `decoder`: None if the library decodes photos as Pillow does.
    `lacks`: the package without which `pipeline` does not run; `prepare` then makes tensors of another kind, with which no
    preprocessing is compared.
    """

    title: str
    origin: str
    input: Input
    task: str
    activation: str
    pipeline: str
    prepare: Prepare
    scores: Callable[[np.ndarray], np.ndarray]
    export: Callable[[Path, str], None]
    labels: list[str] | None = None
    license: str | None = None
    notes: list[str] = field(default_factory=list)
    assumption: Assumption | None = None
    decoder: Decoder | None = None
    lacks: str | None = None

    @property
    def output(self) -> str:
        return FEATURES if self.task == "embedding" else LOGITS
