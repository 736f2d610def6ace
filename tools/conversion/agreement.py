"""Compares a package with its original: differences, limits and their text. Pure arithmetic."""

from dataclasses import dataclass

import numpy as np

from .manifest import Input

# The limits of docs/models.md, which every test run keeps: half a step of a pixel's 255, for a decoder and a filter may each
# round by that much; and 1 % of the spread of the scores, which is what such differences of the pixels may add up to.
TENSOR_TOLERANCE = 0.5
SCORE_TOLERANCE = 0.01
# TensorFlow decodes JPEG with a faster transform (INTEGER_FAST), whose pixels are 0.4 to 2 of 255 away from those of Pillow,
# OpenCV and Ocelli. The package cannot follow it there, so a photo's own decoder may add this much.
DECODER_TOLERANCE = 2.0
# Photos on which the best class may change: none, except where the original itself has two that are equally good. Exact
# conversions differ by 0.003 % to 0.02 % of the spread, so a lead of less than this is decided by rounding.
CHANGED_TOLERANCE = 0
TIE = 0.001
# What makes 8 bits useless: rounding errors cost a few percent of the spread at most, and change the best class where two
# are as good. Beyond these the graph has lost what it was trained for.
INT8_SCORE_TOLERANCE = 0.1
INT8_SAME_FIRST = 0.5
# Scores that differ by less say nothing, as those of random weights may: what single precision rounds off would count.
NO_SPREAD = 1e-3


@dataclass(frozen=True)
class TensorDifference:
    """Differences between input tensors, in steps of 255: the mean over all photos, and the worst photo."""

    photos: int
    mean: float
    worst: float


@dataclass(frozen=True)
class ScoreDifference:
    """`mean` and `worst`: of the scores, as a share of their spread (greatest less least) on the same photo.
    `first`: photos with the same best class; `five`: with the same five best, in whichever order; `changed`: photos with
    another best class, over which the original's own has a lead of more than `TIE`."""

    photos: int
    mean: float
    worst: float
    first: int
    five: int
    changed: int = 0


@dataclass(frozen=True)
class DecoderDifference:
    """Differences between the input tensors if the original's library decodes the files itself, as described by `name`."""

    name: str
    tensor: TensorDifference


@dataclass(frozen=True)
class Verdict:
    """`found`: what was measured, and the limits. `basis`: what it was compared with. `is_assumed`: whether nothing says that
    the model was trained with that."""

    agrees: bool
    found: str
    remedy: str
    basis: str = ""
    is_assumed: bool = False

    @property
    def text(self) -> str:
        """One line with the verdict."""
        word = "agrees" if self.agrees else "does not agree"
        condition = ", if photos were read as assumed" if self.is_assumed and self.agrees else ""
        return f"{word}{condition}: {self.found}" + (f"; {self.basis}" if self.basis else "")


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
        # A softmax ignores a constant, and logits computed from probabilities have lost it.
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
    best, other = order[0][:, 0], order[1][:, 0]
    rows = np.arange(len(each))
    lead = (original[rows, best] - original[rows, other]) / spread
    return ScoreDifference(
        photos=len(each),
        mean=float(each.mean()),
        worst=float(each.max()),
        first=int((best == other).sum()),
        five=sum(same),
        changed=int((lead > TIE).sum()),
    )


def is_near(tensor: TensorDifference) -> bool:
    return tensor.mean <= TENSOR_TOLERANCE


def judge(
    tensor: TensorDifference | None, scores: ScoreDifference, task: str, decoder: DecoderDifference | None = None
) -> Verdict:
    """Of a package in single precision; `tensor`: None where the preprocessing was not compared; `decoder`: where the
    original's library decodes photos otherwise."""
    # The largest feature has no meaning.
    has_classes = task != "embedding"
    checks = [
        (scores.mean <= SCORE_TOLERANCE, f"scores {scores.mean:.3%} of their spread (limit {SCORE_TOLERANCE:.0%})"),
    ]
    if has_classes:
        found = f"another first class on {scores.changed} of {scores.photos} photos (limit {CHANGED_TOLERANCE})"
        checks.append((scores.changed <= CHANGED_TOLERANCE, found))
    if tensor is None:
        checks.append((True, "the preprocessing was not compared"))
    else:
        found = f"input tensor {tensor.mean:.3f} of 255 (limit {TENSOR_TOLERANCE})"
        checks.insert(0, (is_near(tensor), found))
    if decoder is not None:
        limit = TENSOR_TOLERANCE + DECODER_TOLERANCE
        found = f"{decoder.tensor.mean:.3f} of 255 where {decoder.name} (limit {limit})"
        checks.append((decoder.tensor.mean <= limit, found))
    return _verdict(checks, "correct [input] in the package's model.toml before you serve it")


def judge_int8(scores: ScoreDifference, task: str) -> Verdict:
    """The verdict on an 8-bit graph, with wider limits."""
    share = scores.first / scores.photos
    checks = [
        (
            scores.mean <= INT8_SCORE_TOLERANCE,
            f"8 bits: scores {scores.mean:.3%} of their spread (limit {INT8_SCORE_TOLERANCE:.0%})",
        ),
    ]
    if task != "embedding":
        found = f"same first class on {share:.0%} of the photos (at least {INT8_SAME_FIRST:.0%})"
        checks.append((share >= INT8_SAME_FIRST, found))
    return _verdict(checks, "calibrate with more photos such as the model will see, or leave out --int8")


def _verdict(checks: list[tuple[bool, str]], remedy: str) -> Verdict:
    agrees = all(holds for holds, _ in checks)
    # A stable sort: values beyond their limits come first.
    found = ", ".join(text for _, text in sorted(checks, key=lambda check: check[0]))
    return Verdict(agrees, found, remedy)


def describe_tensors(difference: TensorDifference) -> str:
    return (
        f"mean difference {difference.mean:.3f} of 255, worst photo {difference.worst:.3f} ({difference.photos} photos)"
    )


def describe_scores(difference: ScoreDifference) -> str:
    return (
        f"mean difference {difference.mean:.3%} of their spread, worst photo {difference.worst:.3%}; "
        f"same first class on {difference.first} of {difference.photos} photos, same five on {difference.five}"
    )
