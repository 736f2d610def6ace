"""What a case is: a graph of a package, its own pipeline, and the model that a user gives Ocelli."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from .judge import Answers

# A photo's file -> the tensor that the package feeds its model (a batch of one), and the probabilities.
Reference = Callable[[Path], tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class Case:
    package: str
    graph: str
    # Gets a folder for files of its own, and answers with a SPEC and options.
    model: Callable[[Path], list]
    reference: Callable[[Path], Reference]
    # Where the channels are, of the tensor's axes.
    channel_axis: int
    # Turns a photo into the picture that both get.
    photo: Callable[[Image.Image], Image.Image] = field(default=lambda photo: photo)
    # What else is true of it, for the table.
    note: str = ""


@dataclass(frozen=True)
class Refusal:
    package: str
    graph: str
    model: Callable[[Path], list]
    # What the refusal has to say.
    words: tuple[str, ...]


def referred(reference: Reference, photos: list[Path]) -> Answers:
    tensors, probabilities = zip(*(reference(photo) for photo in photos), strict=True)
    return Answers(np.concatenate(tensors), np.stack(probabilities).astype("f8"))


class Recorder:
    """An ONNX Runtime session that keeps what goes in and comes out, and changes nothing."""

    def __init__(self, session):
        self.session = session
        self.fed = self.given = None

    def __getattr__(self, name):
        return getattr(self.session, name)

    def run(self, names, feed, *rest):
        (self.fed,) = feed.values()
        self.given = self.session.run(names, feed, *rest)
        return self.given

    def __call__(self, fed):
        """RapidAI's sessions are called."""
        self.fed, self.given = fed, self.session(fed)
        return self.given


def softmax(values: np.ndarray) -> np.ndarray:
    scores = np.exp(values - values.max())
    return scores / scores.sum()
