"""Accuracy of an ONNX model in Python on photos whose file names start with their WordNet id."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime

from .graph import INPUT
from .photos import normalise, read_photo

BATCH = 10


@dataclass(frozen=True)
class Accuracy:
    """Number of `photos` with the correct class first, and among the first five."""

    photos: int
    top1: int
    top5: int


def read_classes(path: Path) -> tuple[dict[str, int], list[str]]:
    """The class index of each WordNet id, and the class names, from a table of index, id and name."""
    rows = [line.split("\t") for line in path.read_text(encoding="utf-8").splitlines()[1:]]
    return {wnid: index for index, (_, wnid, _) in enumerate(rows)}, [name for _, _, name in rows]


def true_classes(photos: list[Path], index_of: dict[str, int]) -> np.ndarray:
    """The class index in each photo's name: [photos]."""
    return np.array([index_of[photo.name.split("_")[0]] for photo in photos])


def rank_classes(model: bytes, photos: list[Path]) -> np.ndarray:
    """The five likeliest classes of each photo, best first: [photos, 5]. Takes the float32 or the uint8 model."""
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    prepare = normalise if session.get_inputs()[0].type == "tensor(float)" else (lambda pixels: pixels)
    ranks = []
    for start in range(0, len(photos), BATCH):
        pixels = np.stack([read_photo(photo) for photo in photos[start : start + BATCH]])
        (logits,) = session.run(None, {INPUT: prepare(pixels)})
        ranks.append(np.argsort(-logits, axis=1, kind="stable")[:, :5])
    return np.concatenate(ranks)


def score(ranks: np.ndarray, truth: np.ndarray) -> Accuracy:
    """The accuracy of `ranks` ([photos, 5], best first) against `truth` ([photos])."""
    hits = ranks == truth[:, None]
    return Accuracy(len(truth), int(hits[:, 0].sum()), int(hits.any(axis=1).sum()))
