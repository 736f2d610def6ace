"""`keras.applications`: a model in the place of ResNet50, with the same way in and out."""

import os
import time

import numpy as np
import onnxruntime

from . import imagenet_utils

__all__ = ["ResNet50", "imagenet_utils"]

MODEL = imagenet_utils.PACKAGE / "model.onnx"
# On top of what the model takes: ResNet50 on a CPU is slower.
SECONDS_A_PHOTO = float(os.environ.get("TUTORIAL_SECONDS_A_PHOTO", "0"))


class ResNet50:
    """Takes the tensors that Keras' ResNet50 takes, and runs Ocelli's built-in model on what they were made of."""

    def __init__(self, weights):
        if weights != "imagenet":
            raise ValueError(f"there are no weights {weights!r} here, only 'imagenet'")
        self.session = onnxruntime.InferenceSession(MODEL, providers=["CPUExecutionProvider"])

    def predict(self, batch):
        """The probabilities of the 1,000 classes: [batch, 1000]."""
        (logits,) = self.session.run(None, {"image": pixels_of(batch)})
        time.sleep(SECONDS_A_PHOTO * len(batch))
        powers = np.exp(logits - logits.max(axis=1, keepdims=True))
        return powers / powers.sum(axis=1, keepdims=True)


def pixels_of(batch):
    """The 8-bit RGB that `preprocess_input` made `batch` from.

    ResNet50 would take any numbers. Here means that are missing, wrong or at the wrong channel are found out: what
    they leave are no whole numbers.
    """
    pixels = (batch + np.array(imagenet_utils.CAFFE_MEAN, "float32"))[..., ::-1]
    whole = np.rint(pixels)
    if not (np.abs(pixels - whole) < 1e-3).all() or whole.min() < 0 or whole.max() > 255:
        raise ValueError("the tensor is not in Keras' caffe mode: its values plus the means are not 0, 1, .. 255")
    return np.ascontiguousarray(whole.astype("uint8"))
