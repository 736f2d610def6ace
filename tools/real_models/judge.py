"""Decides whether two pipelines agree. Knows no package and starts nothing."""

from dataclasses import dataclass

import numpy as np

# Mean difference of 255 over the input tensor of the worst photo.
INPUT = 1.0
PROBABILITY = 0.01
# Minimum change of a probability between photos, because constant results prove nothing.
TELLING = 2 * PROBABILITY
PHOTOS = 20


class Unproven(Exception):
    """The comparison could not show a difference."""


@dataclass(frozen=True)
class Answers:
    """The results of a pipeline: the input tensors, and the probabilities, one row per photo."""

    tensors: np.ndarray
    probabilities: np.ndarray


@dataclass(frozen=True)
class Comparison:
    # The mean difference of the worst photo's tensor, of 255.
    input: float
    # The largest difference of all photos and classes.
    probability: float
    same_first: int
    photos: int

    @property
    def agrees(self) -> bool:
        # NaN is not within a limit either.
        within = self.input <= INPUT and self.probability <= PROBABILITY
        return within and self.same_first == self.photos == PHOTOS


def steps_of(black: np.ndarray, white: np.ndarray, channel_axis: int) -> np.ndarray:
    """The change of the tensor per step of 255, for each channel, from a black and a white photo."""
    axes = tuple(axis for axis in range(black.ndim) if axis != channel_axis)
    # Padding is the same for black and white photos.
    steps = np.abs(white - black).max(axis=axes, keepdims=True) / 255
    if not (np.isfinite(steps).all() and (steps > 0).all()):
        raise Unproven("a white photo gives the same tensor as a black one")
    return steps


def compare(package: Answers, ocelli: Answers, steps: np.ndarray) -> Comparison:
    for name in ("tensors", "probabilities"):
        theirs, ours = getattr(package, name), getattr(ocelli, name)
        if theirs.shape != ours.shape:
            raise Unproven(f"{name} are {list(theirs.shape)} in the package and {list(ours.shape)} in Ocelli")
    if np.ptp(package.probabilities, axis=0).max(initial=0) < TELLING:
        raise Unproven("the package answers every photo alike")
    apart = np.abs(package.tensors.astype("f8") - ocelli.tensors) / steps
    firsts = package.probabilities.argmax(axis=1) == ocelli.probabilities.argmax(axis=1)
    return Comparison(
        input=float(apart.reshape(len(apart), -1).mean(axis=1).max()),
        probability=float(np.abs(package.probabilities.astype("f8") - ocelli.probabilities).max()),
        same_first=int(firsts.sum()),
        photos=len(apart),
    )
