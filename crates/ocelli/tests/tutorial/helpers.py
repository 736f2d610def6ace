"""An array as text, and back."""

import base64

import numpy as np


def base64_encode_image(a):
    return base64.b64encode(a).decode("utf-8")


def base64_decode_image(a, dtype, shape):
    a = np.frombuffer(base64.decodebytes(a.encode("utf-8")), dtype=dtype)
    return a.reshape(shape)
