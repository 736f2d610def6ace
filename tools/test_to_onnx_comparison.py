"""Tests of what `to_onnx` says of a package beside its original. Run with: .venv-model/bin/python -m unittest discover tools"""

import contextlib
import io
import unittest
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import numpy as np
from conversion import agreement, comparison
from conversion.comparison import Comparison
from conversion.manifest import Input, Normalisation
from conversion.ocelli import Ocelli
from conversion.original import Assumption, Decoder, Original

PHOTOS = [Path(f"{index}.jpg") for index in range(3)]
SPEC = Input("image", 4, 4, "nhwc", Normalisation(), {"policy": "stretch"}, "bilinear")
FAST = "TensorFlow decodes JPEG with INTEGER_FAST"


def photo_of(value: float):
    """A pipeline whose pixels are `value` more than those of the first one."""
    return lambda photo: np.full(SPEC.shape, 100.0 + 20 * int(photo.stem) + value, np.float32)


def scores(batch: np.ndarray) -> np.ndarray:
    return np.stack([batch.mean(axis=(1, 2, 3)), np.full(len(batch), 50.0)], axis=1)


class ComparisonTest(unittest.TestCase):
    def report(self, made: float = 0.0, **changes) -> tuple[agreement.Verdict, str]:
        """The verdict on a package whose pixels are `made` more than the original's, and what is printed."""
        fields = {"title": "Keras", "origin": "here", "input": SPEC, "task": "classification", "activation": "none"}
        fields |= {"pipeline": "load_img, bicubic", "prepare": photo_of(0), "scores": scores, "export": None}
        binary = SimpleNamespace(
            binary=Path("ocelli"),
            tensors=lambda manifest, photos: np.stack([photo_of(made)(photo) for photo in photos]),
            scores=lambda manifest, model, photos, count: scores(np.stack([photo_of(made)(p) for p in photos])),
        )
        printed = io.StringIO()
        with (
            mock.patch.object(Ocelli, "find", lambda: binary),
            mock.patch.object(comparison, "run", lambda model, tensors: scores(tensors)),
            contextlib.redirect_stdout(printed),
        ):
            compared = Comparison(Original(**(fields | changes)), SimpleNamespace(), PHOTOS)
            print(compared.basis)
            verdict = compared.report(Path("model.onnx"), "float32")
        return verdict, printed.getvalue()

    def test_it_names_what_it_was_compared_with(self):
        verdict, printed = self.report()
        self.assertRegex(verdict.text, r"^agrees: input tensor 0\.000 of 255 .*; compared with load_img, bicubic$")
        self.assertIn("compared with load_img, bicubic\n", printed)
        verdict, _ = self.report(made=0.6)
        self.assertRegex(verdict.text, r"^does not agree: input tensor 0\.600 .*; compared with load_img, bicubic$")

    def test_an_assumption_is_marked_as_one(self):
        others = [("load_img, nearest", photo_of(0.4)), ("image_dataset_from_directory", photo_of(5))]
        verdict, printed = self.report(assumption=Assumption(others))
        self.assertRegex(verdict.text, r"^agrees, if photos were read as assumed: .*; compared with load_img, bicubic$")
        self.assertIn("compared with load_img, bicubic (assumed)", printed)
        self.assertRegex(printed, r"otherwise +agrees with load_img, nearest: mean difference 0\.400 of 255")
        self.assertRegex(
            printed, r"otherwise +does not agree with image_dataset_from_directory: mean difference 5\.000"
        )
        verdict, _ = self.report(made=5, assumption=Assumption(others))
        self.assertRegex(verdict.text, "^does not agree: ")

    def test_a_decoder_of_its_own_has_a_limit_of_its_own(self):
        for decoded, agrees in [(1.1, True), (2.6, False)]:
            with self.subTest(decoded):
                verdict, printed = self.report(decoder=Decoder(FAST, photo_of(decoded)))
                self.assertEqual(verdict.agrees, agrees)
                self.assertIn(f"{decoded:.3f} of 255 where {FAST} (limit 2.5)", verdict.text)
                self.assertRegex(printed, rf"its decoder +mean difference {decoded:.3f} of 255, .*: {FAST}")
        # The decoder excuses nothing else.
        verdict, _ = self.report(made=1.0, decoder=Decoder(FAST, photo_of(1.1)))
        self.assertRegex(verdict.text, r"^does not agree: input tensor 1\.000 of 255 \(limit 0\.5\)")
        # Photos that both decode alike.
        self.assertNotIn("decoder", self.report(decoder=Decoder(FAST, photo_of(0)))[1])

    def test_a_loader_that_is_not_installed(self):
        verdict, printed = self.report(made=9, pipeline="cv2.resize, area", lacks="opencv-python-headless")
        self.assertIn("not compared with cv2.resize, area: that needs opencv-python-headless, which is not in", printed)
        self.assertRegex(verdict.text, "the preprocessing was not compared; not compared with cv2.resize, area: opencv")
        self.assertNotIn("input tensor", printed + verdict.text)


if __name__ == "__main__":
    unittest.main()
