"""Puts weights on the int8 grid so that the rounding errors do not add up where the activations have a mean.

Plain rounding loses little per weight, but its errors act on activations that are mostly smooth and, after ReLU6, never
negative, so that they shift whole channels. Two corrections, neither of which costs anything at run time, more than
halve the weights' share of the error in the logits (0.114 to 0.049 root mean square):

- k x k kernels: the taps are rounded so that their sum keeps its value, as flat image areas see nothing but the sum.
- 1x1 projections: the mean of the error is taken off the bias ("bias correction": Nagel et al., Data-Free Quantization
  Through Weight Equalization and Bias Correction, 2019), with the means of the inputs over the calibration photos.
"""

import numpy as np

LEVELS = 127


def channel_scales(weight: np.ndarray) -> np.ndarray:
    """The int8 step of each output channel of `weight` ([out, ...]): [out]; 1 for dead channels."""
    greatest = np.abs(weight).reshape(len(weight), -1).max(axis=1)
    return np.where(greatest == 0, 1.0, greatest) / LEVELS


def _round_keeping_sum(taps: np.ndarray) -> np.ndarray:
    """Integers next to `taps` ([kernels, taps], in int8 steps) whose sum in each kernel is the rounded sum of its taps.

    The taps moved are those for which the other neighbour is nearest. The greatest, which defines the scale, is a whole
    number of steps and stays: for a sum that is k off there are at least k taps with errors of that sign.
    """
    rounded = np.round(taps)
    missing = np.round(taps.sum(axis=1) - rounded.sum(axis=1))[:, None]
    direction = np.sign(missing)
    nearest_first = np.argsort((rounded - taps) * direction, axis=1, kind="stable")
    moved = np.arange(taps.shape[1]) < np.abs(missing)
    np.put_along_axis(rounded, nearest_first, np.take_along_axis(rounded, nearest_first, 1) + moved * direction, 1)
    return rounded


def round_to_grid(weight: np.ndarray) -> np.ndarray:
    """`weight` ([out, in, ...]) with every value a whole number of its output channel's int8 steps."""
    scales = channel_scales(weight)
    steps = weight / scales.reshape(-1, *[1] * (weight.ndim - 1))
    if weight.ndim == 4 and weight.shape[2:] != (1, 1):
        kernels = steps.reshape(-1, weight.shape[2] * weight.shape[3])
        rounded = _round_keeping_sum(kernels).reshape(weight.shape)
    else:
        rounded = np.round(steps)
    return rounded * scales.reshape(-1, *[1] * (weight.ndim - 1))


def bias_correction(weight: np.ndarray, input_means: np.ndarray) -> np.ndarray:
    """What to add to the bias of a 1x1 convolution ([out]) whose input channels have the means `input_means` ([in])."""
    error = (round_to_grid(weight) - weight).reshape(len(weight), -1)
    return -error @ input_means
