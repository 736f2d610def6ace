"""How far a package is from its original, in numbers: pure arithmetic and the text that reports it."""

from dataclasses import dataclass

import numpy as np

from .manifest import Input

# What Ocelli promises of every package: of 255 per pixel, and of the spread of the logits.
TENSOR_TOLERANCE = 0.5
SCORE_TOLERANCE = 0.01
# What makes 8 bits useless: rounding errors cost a few percent of the spread at most, and change the best class where two
# are as good. Beyond these the graph has lost what it was trained for.
INT8_SCORE_TOLERANCE = 0.1
INT8_SAME_FIRST = 0.5
# Scores that differ by less say nothing, as those of random weights may: what single precision rounds off would count.
NO_SPREAD = 1e-3


@dataclass(frozen=True)
class TensorDifference:
    """Between two input tensors, in steps of a pixel's 255: the mean over the photos, and the worst photo's."""

    photos: int
    mean: float
    worst: float


@dataclass(frozen=True)
class ScoreDifference:
    """`mean` and `worst`: of the scores, as a share of their spread (greatest less least) on the same photo.
    `first`: photos with the same best class; `five`: with the same five best, in whichever order."""

    photos: int
    mean: float
    worst: float
    first: int
    five: int


def compare_tensors(spec: Input, original: np.ndarray, package: np.ndarray) -> TensorDifference:
    """Of tensors [photos, *shape]."""
    rule = spec.normalisation
    deviation = np.array(rule.std[: spec.shape[0] if spec.layout == "nchw" else spec.shape[-1]]) / rule.scale
    if spec.layout == "nchw":
        deviation = deviation.reshape(-1, 1, 1)
    each = np.abs((package - original) * deviation).reshape(len(original), -1).mean(axis=1)
    return TensorDifference(len(each), float(each.mean()), float(each.max()))


def compare_scores(original: np.ndarray, package: np.ndarray, activation: str) -> ScoreDifference:
    """Of scores [photos, classes], before `activation`."""
    original, package = np.asarray(original, np.float64), np.asarray(package, np.float64)
    if activation == "softmax":
        # A softmax does not see a constant, and logits that were probabilities have lost it.
        original, package = (scores - scores.mean(axis=1, keepdims=True) for scores in (original, package))
    spread = original.max(axis=1) - original.min(axis=1)
    if original.shape[1] == 1:
        # One class alone has no spread. Its size is what a difference is measured by, on all photos together: where the
        # model cannot decide it is nearly 0.
        spread = np.full(len(original), np.abs(original).mean())
    spread = np.maximum(spread, NO_SPREAD)
    each = np.abs(package - original).mean(axis=1) / spread
    order = [np.argsort(-scores, axis=1, kind="stable")[:, :5] for scores in (original, package)]
    same = [set(a) == set(b) for a, b in zip(*order, strict=True)]
    return ScoreDifference(
        photos=len(each),
        mean=float(each.mean()),
        worst=float(each.max()),
        first=int((order[0][:, 0] == order[1][:, 0]).sum()),
        five=sum(same),
    )


def is_useful(difference: ScoreDifference, task: str) -> bool:
    """Whether a graph in 8 bits still does what its original does, if less exactly."""
    # The greatest of some features means nothing.
    same = task == "embedding" or difference.first >= INT8_SAME_FIRST * difference.photos
    return same and difference.mean <= INT8_SCORE_TOLERANCE


def describe_tensors(difference: TensorDifference) -> str:
    return (
        f"mean difference {difference.mean:.3f} of 255, worst photo {difference.worst:.3f} ({difference.photos} photos)"
    )


def describe_scores(difference: ScoreDifference) -> str:
    return (
        f"mean difference {difference.mean:.3%} of their spread, worst photo {difference.worst:.3%}; "
        f"same first class on {difference.first} of {difference.photos} photos, same five on {difference.five}"
    )
