"""`keras.preprocessing.image`, of which the tutorial uses one function."""

import numpy as np


def img_to_array(img):
    """A Pillow image as float32 [height, width, channels]."""
    x = np.asarray(img, dtype="float32")
    return x if x.ndim == 3 else x[..., np.newaxis]
