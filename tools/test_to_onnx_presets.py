"""Tests of how `to_onnx` takes photos to have been read. Run with: .venv-model/bin/python -m unittest discover tools"""

import contextlib
import io
import re
import unittest
from pathlib import Path

from conversion.arguments import parser
from conversion.failure import Failure
from conversion.manifest import Input, Normalisation
from conversion.photos import centre
from conversion.presets import ALIASES, FLOW, IMAGE_DATASET, LOAD_IMG, LOADERS, PRESETS, Reading, describe, plan
from PIL import Image


class PresetTest(unittest.TestCase):
    def test_names_are_the_servers(self):
        table = (Path(__file__).parents[1] / "crates/ocelli-vision/src/auto/preset.rs").read_text()
        names = re.findall(r'^        name: "([^"]+)"', table, re.MULTILINE)
        self.assertEqual(set(PRESETS), set(names))
        aliases = re.findall(r'"([^"]+)"', "".join(re.findall(r"^        aliases: &\[(.*)\]", table, re.MULTILINE)))
        self.assertEqual(set(ALIASES), {*aliases, "none"})
        for text, preset in [("none", "raw"), ("caffe", "keras-caffe"), ("clip", "clip")]:
            self.assertEqual(parser().parse_args(["x", "--preset", text]).preset, preset)

    def test_geometry(self):
        for name, width, height, expected in [
            ("vit", 224, 224, {"policy": "stretch"}),
            ("torchvision", 224, 224, {"policy": "shortest-edge", "size": 256}),
            ("torchvision-v2", 224, 224, {"policy": "shortest-edge", "size": 232}),
            ("timm", 299, 299, {"policy": "shortest-edge", "size": 341}),
            ("clip", 336, 336, {"policy": "shortest-edge", "size": 336}),
            ("timm", 256, 128, {"policy": "cover", "size": [292, 146]}),
            ("yolo-cls", 224, 224, {"policy": "shortest-edge", "size": 224}),
            ("yolo-cls", 256, 128, {"policy": "stretch"}),
            ("image-dataset", 256, 128, {"policy": "stretch"}),
        ]:
            with self.subTest(name, width=width):
                self.assertEqual(PRESETS[name].resize(width, height), expected)

    def test_the_centre(self):
        image = Image.new("L", (300, 100))
        image.paste(255, (100, 0, 200, 100))
        for resize, width, expected in [
            ({"policy": "shortest-edge", "size": 50}, 40, (255, 255)),
            ({"policy": "shortest-edge", "size": 60}, 50, (255, 255)),
            ({"policy": "cover", "size": [90, 30]}, 60, (0, 0)),
        ]:
            with self.subTest(resize):
                spec = Input("i", width, 30, "nhwc", Normalisation(), resize, "bilinear")
                found = centre(image, spec)
                self.assertEqual(found.size, (width, 30))
                self.assertEqual((found.getpixel((0, 15)), found.getpixel((width - 1, 15))), expected)
                self.assertEqual(found.getpixel((width // 2, 15)), 255)


class ReadingTest(unittest.TestCase):
    """Which function photos were read with, and what the package makes of it."""

    TENSORFLOW = Reading("bilinear", "tensorflow", antialias=False)

    def test_a_loader_that_is_named(self):
        for name, loader, reading in [
            ("image_dataset_from_directory", IMAGE_DATASET, self.TENSORFLOW),
            ("tf-image-resize", IMAGE_DATASET, self.TENSORFLOW),
            ("load_img", LOAD_IMG, Reading("nearest")),
            ("flow-from-directory", FLOW, Reading("nearest")),
            ("cv2", "cv2.resize", Reading("bilinear", "opencv", antialias=False)),
            ("opencv-area", "cv2.resize", Reading("area", "opencv", antialias=False)),
            ("tfjs", "resizeBilinear", Reading("bilinear", "tensorflow", False, "align-corners")),
        ]:
            with self.subTest(name):
                preprocess = parser().parse_args(["x", "--preprocess", name]).preprocess
                self.assertIn(preprocess, LOADERS)
                # What is done to the values is said by the model or by --preset.
                found = plan("keras-caffe", is_given=True, preprocess=preprocess)
                self.assertEqual((found.loader, found.package, found.original), (loader, reading, reading))
                self.assertTrue(found.is_known)
                # The presets of that name say the same.
                self.assertEqual(plan(preprocess, is_given=True), found)

    def test_presets_that_read_no_photos(self):
        for name in ["unit", "keras-tf", "image-dataset-unit", "nothing"]:
            with contextlib.redirect_stderr(io.StringIO()) as said, self.assertRaises(SystemExit):
                parser().parse_args(["x", "--preprocess", name])
            self.assertIn("reads no photos: use one of image-dataset, load-img", said.getvalue())

    def test_a_missing_preset_is_an_assumption(self):
        for preset, is_given, guess, loader, reading in [
            ("keras-caffe", False, "", LOAD_IMG, Reading("bicubic")),
            ("keras-caffe", True, "", LOAD_IMG, Reading("bicubic")),
            ("raw", True, "image-dataset", LOAD_IMG, Reading("bicubic")),
            ("raw", False, "image-dataset", IMAGE_DATASET, self.TENSORFLOW),
        ]:
            with self.subTest(preset, is_given=is_given, guess=guess):
                found = plan(preset, is_given=is_given, guess=guess)
                self.assertEqual((found.loader, found.package, found.original), (loader, reading, reading))
                self.assertFalse(found.is_known)
        self.assertTrue(plan("torchvision", is_given=True).is_known)

    def test_the_package_is_compared_with_what_training_did(self):
        found = plan("load-img", is_given=True, preprocess="image-dataset")
        self.assertEqual((found.package, found.original), (Reading("nearest"), self.TENSORFLOW))

    def test_filters_of_training(self):
        found = plan("unit", is_given=True, antialias=False)
        self.assertEqual((found.loader, found.package), (IMAGE_DATASET, self.TENSORFLOW))
        found = plan("raw", is_given=False, preprocess="image-dataset", interpolation="mitchell", antialias=True)
        self.assertEqual(found.package, Reading("mitchell", "tensorflow"))
        for options in [
            {"preprocess": "load-img", "interpolation": "area"},
            {"preprocess": "image-dataset", "interpolation": "box"},
            {"preprocess": "tfjs-asymmetric", "interpolation": "bicubic"},
            {"preprocess": "opencv-linear", "antialias": True},
            {"preprocess": "load-img", "antialias": False},
        ]:
            with self.subTest(options), self.assertRaises(Failure):
                plan("raw", is_given=False, **options)
        for preset in ["timm", "clip"]:
            with self.assertRaisesRegex(Failure, "leave out --preprocess"):
                plan(preset, is_given=True, preprocess="load-img")

    def test_names_for_people(self):
        for preset, expected in [
            ("image-dataset", "image_dataset_from_directory, bilinear without antialiasing"),
            ("flow-from-directory", "flow_from_directory, nearest"),
            ("keras-caffe", "load_img, bicubic"),
            ("opencv-cubic", "cv2.resize, bicubic"),
            ("tfjs-asymmetric", "TensorFlow's bilinear resizing with asymmetric coordinates"),
        ]:
            found = plan(preset, is_given=True)
            self.assertEqual(describe(found.loader, found.original), expected)
        self.assertEqual(
            describe(IMAGE_DATASET, Reading("lanczos", "tensorflow")), "tf.image.resize, lanczos with antialiasing"
        )


if __name__ == "__main__":
    unittest.main()
