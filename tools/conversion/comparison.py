"""Runs the original's pipeline and Ocelli's on the same photos, and compares them."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime

from . import agreement
from .agreement import DecoderDifference, Verdict
from .failure import Failure
from .manifest import Manifest
from .ocelli import Ocelli
from .original import INPUT, Original, Prepare

# Comparing tensors value by value takes a second per photo, and a few photos are enough.
TENSOR_PHOTOS = 4
BATCH = 8
# Decoders that differ by less count as equal.
SAME_PIXELS = 0.01


class Comparison:
    """The original's tensors and scores on some photos, and the package's differences from them."""

    def __init__(self, original: Original, manifest: Manifest, photos: list[Path]):
        self.original, self.manifest, self.photos = original, manifest, photos
        self.binary = Ocelli.find()
        # Tensors of another pipeline only test the graph.
        self.ocelli = None if original.lacks else self.binary
        self.tensors = self._prepare(original.prepare, photos)
        if self.tensors.shape[1:] != original.input.shape:
            raise Failure(
                f"the original's pipeline makes tensors of {self.tensors.shape[1:]}, and the package would make "
                f"{original.input.shape}: please report this"
            )
        self.scores = self._scores(self.tensors)

    @property
    def basis(self) -> str:
        """Describes the pipeline that the package's preprocessing is compared with."""
        if self.original.lacks:
            return (
                f"not compared with {self.original.pipeline}: that needs {self.original.lacks}, which is not installed in "
                f"{sys.executable}"
            )
        return f"compared with {self.original.pipeline}" + (" (assumed)" if self.original.assumption else "")

    @property
    def side(self) -> str:
        if self.ocelli:
            return f"{self.ocelli.binary}, on the files"
        reason = "no ocelli is built" if self.binary is None else "they are not the package's"
        return f"ONNX Runtime in Python, on tensors made in Python: the preprocessing is not compared, for {reason}"

    def report(self, model: Path, name: str) -> Verdict:
        """Prints the differences, and compares them with the limits of `name`: float32 or int8."""
        tensor = decoder = None
        compares_tensors = self.ocelli and name == "float32"
        if compares_tensors:
            some = self.photos[:TENSOR_PHOTOS]
            tensors = self.ocelli.tensors(self.manifest, some)
            tensor = agreement.compare_tensors(self.original.input, self.tensors[: len(some)], tensors)
            print(f"  input tensor  {agreement.describe_tensors(tensor)}")
        if self.ocelli:
            made = self.ocelli.scores(self.manifest, model, self.photos, self.scores.shape[1])
        else:
            made = run(model, self.tensors)
        scores = agreement.compare_scores(self.scores, made, self.original.activation)
        print(f"  {name:<12}  {agreement.describe_scores(scores)}", flush=True)
        if compares_tensors:
            decoder = self._report_decoder(tensors, made)
            self._report_others(tensors)
        if name == "int8":
            verdict = agreement.judge_int8(scores, self.original.task)
        else:
            verdict = agreement.judge(tensor, scores, self.original.task, decoder)
        return self._founded(verdict)

    def _founded(self, verdict: Verdict) -> Verdict:
        """`verdict` with its basis."""
        if self.original.lacks:
            return replace(
                verdict, basis=f"not compared with {self.original.pipeline}: {self.original.lacks} is not installed"
            )
        if self.ocelli is None:
            return verdict
        return replace(
            verdict, basis=f"compared with {self.original.pipeline}", is_assumed=self.original.assumption is not None
        )

    def _report_decoder(self, tensors: np.ndarray, scores: np.ndarray) -> DecoderDifference | None:
        """The package's differences from the original if that decodes the files itself."""
        if self.original.decoder is None:
            return None
        name, prepare = self.original.decoder.name, self.original.decoder.prepare
        decoded = self._prepare(prepare, self.photos)
        if np.abs(decoded - self.tensors).max() < SAME_PIXELS:
            return None
        tensor = agreement.compare_tensors(self.original.input, decoded[: len(tensors)], tensors)
        score = agreement.compare_scores(self._scores(decoded), scores, self.original.activation)
        print(f"  its decoder   {agreement.describe_tensors(tensor)}: {name}")
        print(f"                scores: {agreement.describe_scores(score)}", flush=True)
        return DecoderDifference(name, tensor)

    def _report_others(self, tensors: np.ndarray) -> None:
        """The differences if another assumption is correct."""
        if self.original.assumption is None:
            return
        for name, prepare in self.original.assumption.others:
            other = self._prepare(prepare, self.photos[: len(tensors)])
            difference = agreement.compare_tensors(self.original.input, other, tensors)
            word = "agrees" if agreement.is_near(difference) else "does not agree"
            print(f"  otherwise     {word} with {name}: mean difference {difference.mean:.3f} of 255", flush=True)

    def _prepare(self, prepare: Prepare, photos: list[Path]) -> np.ndarray:
        return np.stack([prepare(photo) for photo in photos]).astype(np.float32)

    def _scores(self, tensors: np.ndarray) -> np.ndarray:
        return np.concatenate([self.original.scores(batch) for batch in _batches(tensors)])


def run(model: Path, tensors: np.ndarray) -> np.ndarray:
    """The outputs of the graph at `model`, in Python."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return np.concatenate([session.run(None, {INPUT: batch})[0] for batch in _batches(tensors)])


def _batches(tensors: np.ndarray) -> list[np.ndarray]:
    return [tensors[start : start + BATCH] for start in range(0, len(tensors), BATCH)]
