"""A case: a graph of a package, the package's pipeline, and the model for Ocelli."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from .judge import Answers

# A photo's file -> the package's input tensor (a batch of one), and the probabilities.
Reference = Callable[[Path], tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class Case:
    package: str
    graph: str
    # Takes a temporary folder; returns a SPEC and options.
    model: Callable[[Path], list]
    reference: Callable[[Path], Reference]
    # The axis of the channels.
    channel_axis: int
    # Converts a photo to the image for both.
    photo: Callable[[Image.Image], Image.Image] = field(default=lambda photo: photo)
    # A note for the table.
    note: str = ""


@dataclass(frozen=True)
class Refusal:
    package: str
    graph: str
    model: Callable[[Path], list]
    # The required words of the refusal.
    words: tuple[str, ...]


def referred(reference: Reference, photos: list[Path]) -> Answers:
    tensors, probabilities = zip(*(reference(photo) for photo in photos), strict=True)
    return Answers(np.concatenate(tensors), np.stack(probabilities).astype("f8"))


class Recorder:
    """An ONNX Runtime session that records its inputs and outputs."""

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
