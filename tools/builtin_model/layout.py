"""Changes the quantised graph to take decoded pixels and to run faster, with the same results."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from .graph import INPUT, OUTPUT, SIZE

STEM = "_conv_stem"
# Pixels of a row that the packed stem combines, and the outputs that it computes from them.
PACKED = 4
OUTPUTS = PACKED // 2


def _producer(graph: onnx.GraphProto, tensor: str) -> onnx.NodeProto:
    return next(node for node in graph.node if tensor in node.output)


def _consumer(graph: onnx.GraphProto, tensor: str) -> onnx.NodeProto:
    return next(node for node in graph.node if tensor in node.input)


def _insert_after(graph: onnx.GraphProto, node: onnx.NodeProto, added: list[onnx.NodeProto]) -> None:
    position = list(graph.node).index(node) + 1
    for offset, new in enumerate(added):
        graph.node.insert(position + offset, new)


def _node(op: str, inputs: list[str], output: str, **attributes) -> onnx.NodeProto:
    return helper.make_node(op, inputs, [output], name=output, **attributes)


def _replace_initialiser(graph: onnx.GraphProto, name: str, value: np.ndarray) -> None:
    initialiser = next(item for item in graph.initializer if item.name == name)
    initialiser.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(value), name))


def take_pixels(graph: onnx.GraphProto) -> None:
    """Replaces the float input and its quantisation by 8-bit pixels [batch, 224, 224, 3], packed for the stem.

    The engine cancels the transposition against those of its own channels-last convolutions.
    """
    quantise_input = _consumer(graph, INPUT)
    channels_first = quantise_input.output[0]
    graph.node.remove(quantise_input)
    shape = np.array([0, SIZE, SIZE // PACKED, PACKED * 3], np.int64)
    graph.initializer.append(numpy_helper.from_array(shape, "image_packed_shape"))
    graph.node.insert(0, _node("Reshape", [INPUT, "image_packed_shape"], "image_packed"))
    graph.node.insert(1, _node("Transpose", ["image_packed"], channels_first, perm=[0, 3, 1, 2]))
    graph.input[0].CopyFrom(helper.make_tensor_value_info(INPUT, TensorProto.UINT8, ["batch", SIZE, SIZE, 3]))


def pack_stem(graph: onnx.GraphProto) -> None:
    """Makes the stem, 3x3 with stride 2 on 3 channels, one of 3x2 on 12: four pixels in, two outputs of 32 channels out.

    Int8 kernels want a multiple of 4 input channels; with 3 they gather bytes one by one, which takes three times as
    long as the packed stem, though half of its weights are zeros. In the channels-last order in which the engine
    computes, packing and unpacking are mere changes of shape. Of the outputs of block j, at columns 2j and 2j + 1, the
    first sees pixels 0, 1, 2 of the block, the second sees 2, 3 and pixel 0 of the next.
    """
    conv = next(node for node in graph.node if node.name == STEM)
    dequantise_weight, dequantise_bias = (_producer(graph, name) for name in conv.input[1:])
    initialisers = {item.name: numpy_helper.to_array(item) for item in graph.initializer}
    weight = initialisers[dequantise_weight.input[0]]
    channels = len(weight)

    # Axes: output of the block, output channel, pixel of the block, colour, kernel row, block.
    packed = np.zeros((OUTPUTS, channels, PACKED, 3, 3, 2), weight.dtype)
    for output in range(OUTPUTS):
        for tap in range(3):
            block, pixel = divmod(2 * output + tap, PACKED)
            packed[output, :, pixel, :, :, block] = weight[:, :, :, tap]
    _replace_initialiser(graph, dequantise_weight.input[0], packed.reshape(OUTPUTS * channels, PACKED * 3, 3, 2))
    for name in [*dequantise_weight.input[1:], *dequantise_bias.input]:
        _replace_initialiser(graph, name, np.tile(initialisers[name], OUTPUTS))

    del conv.attribute[:]
    conv.attribute.extend(
        helper.make_node("Conv", [], [], kernel_shape=[3, 2], strides=[2, 1], pads=[0, 0, 1, 1]).attribute
    )
    _unpack_stem(graph, _consumer(graph, conv.output[0]), channels)


def _unpack_stem(graph: onnx.GraphProto, quantise: onnx.NodeProto, channels: int) -> None:
    """Gives each of the outputs that lie in the channels of a block its own column again."""
    unpacked = quantise.output[0]
    quantise.output[0] = "stem_packed"
    shape = np.array([0, SIZE // 2, SIZE // 2, channels], np.int64)
    graph.initializer.append(numpy_helper.from_array(shape, "stem_shape"))
    added = [
        _node("Transpose", ["stem_packed"], "stem_packed_channels_last", perm=[0, 2, 3, 1]),
        _node("Reshape", ["stem_packed_channels_last", "stem_shape"], "stem_channels_last"),
        _node("Transpose", ["stem_channels_last"], unpacked, perm=[0, 3, 1, 2]),
    ]
    _insert_after(graph, quantise, added)


def give_float_logits(graph: onnx.GraphProto, output: str = OUTPUT) -> None:
    """Removes the quantisation of `output`: 8 bits would round every probability by up to 4 %, and save nothing."""
    dequantise = _producer(graph, output)
    quantise = _producer(graph, dequantise.input[0])
    _producer(graph, quantise.input[0]).output[0] = output
    graph.node.remove(dequantise)
    graph.node.remove(quantise)
    used = {name for node in graph.node for name in node.input}
    for initialiser in [item for item in graph.initializer if item.name not in used]:
        graph.initializer.remove(initialiser)
