"""The float32 graph of EfficientNet-Lite0, with batch normalisation and TensorFlow's "SAME" padding folded in.

Architecture: `efficientnet_lite_builder.py` of the TPU repository (width 1.0, depth 1.0, resolution 224, ReLU6,
no squeeze-and-excitation), with the parameter names of the `efficientnet-lite-pytorch` package.
Input: `image`, float32 [batch, 3, 224, 224], RGB, normalised to (x - 127) / 128. Output: `logits`, float32 [batch, 1000].
"""

from dataclasses import dataclass

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

SIZE = 224
CLASSES = 1000
INPUT, OUTPUT = "image", "logits"
OPSET = 17
# The format version of opset 17 (ONNX 1.12): readable by every runtime since 2022.
IR_VERSION = 8
BATCH_NORM_EPSILON = 1e-3


@dataclass(frozen=True)
class Stage:
    """A run of inverted bottlenecks; only the first of them has the stride and changes the channels."""

    repeats: int
    kernel: int
    stride: int
    expansion: int
    inputs: int
    outputs: int


STAGES = (
    Stage(1, 3, 1, 1, 32, 16),
    Stage(2, 3, 2, 6, 16, 24),
    Stage(2, 5, 2, 6, 24, 40),
    Stage(3, 3, 2, 6, 40, 80),
    Stage(3, 5, 1, 6, 80, 112),
    Stage(4, 5, 2, 6, 112, 192),
    Stage(1, 3, 1, 6, 192, 320),
)


def same_padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """TensorFlow's "SAME" padding of one dimension: (before, after); the odd pixel goes after."""
    total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


class GraphBuilder:
    """Collects nodes and initialisers, and follows the spatial size, on which the padding depends."""

    def __init__(self, weights: dict[str, np.ndarray]):
        self.weights = weights
        self.size = SIZE
        self.nodes: list[onnx.NodeProto] = []
        self.initialisers: list[onnx.TensorProto] = []

    def node(self, op: str, inputs: list[str], output: str, **attributes) -> str:
        self.nodes.append(helper.make_node(op, inputs, [output], name=output, **attributes))
        return output

    def constant(self, name: str, value: np.ndarray) -> str:
        self.initialisers.append(numpy_helper.from_array(np.ascontiguousarray(value, np.float32), name))
        return name

    def conv(self, source: str, name: str, norm: str, *, stride: int = 1, depthwise: bool = False) -> str:
        """Convolution `name` with the batch normalisation `norm` folded into its weight and bias."""
        weight = self.weights[f"{name}.weight"].astype(np.float64)
        mean, variance, gain, shift = (
            self.weights[f"{norm}.{part}"].astype(np.float64)
            for part in ("running_mean", "running_var", "weight", "bias")
        )
        factor = gain / np.sqrt(variance + BATCH_NORM_EPSILON)
        inputs = [
            source,
            self.constant(f"{name}.weight", weight * factor[:, None, None, None]),
            self.constant(f"{name}.bias", shift - mean * factor),
        ]
        channels, _, kernel, _ = weight.shape
        before, after = same_padding(self.size, kernel, stride)
        self.size = -(-self.size // stride)
        return self.node(
            "Conv",
            inputs,
            name,
            kernel_shape=[kernel, kernel],
            strides=[stride, stride],
            pads=[before, before, after, after],
            group=channels if depthwise else 1,
        )

    def relu6(self, source: str) -> str:
        return self.node("Clip", [source, "relu6.min", "relu6.max"], f"{source}.relu6")

    def block(self, source: str, prefix: str, stage: Stage, first: bool) -> str:
        """One inverted bottleneck: expand 1x1, depthwise kxk, project 1x1, and the input added where shapes agree."""
        x = source
        if stage.expansion != 1:
            x = self.relu6(self.conv(x, f"{prefix}._expand_conv", f"{prefix}._bn0"))
        stride = stage.stride if first else 1
        x = self.relu6(self.conv(x, f"{prefix}._depthwise_conv", f"{prefix}._bn1", stride=stride, depthwise=True))
        x = self.conv(x, f"{prefix}._project_conv", f"{prefix}._bn2")
        return x if first else self.node("Add", [x, source], f"{prefix}._add")


def build_float32(weights: dict[str, np.ndarray]) -> onnx.ModelProto:
    """The float32 model for the state dict `weights` of `efficientnet-lite-pytorch`."""
    graph = GraphBuilder(weights)
    graph.constant("relu6.min", np.float32(0))
    graph.constant("relu6.max", np.float32(6))
    x = graph.relu6(graph.conv(INPUT, "_conv_stem", "_bn0", stride=2))
    index = 0
    for stage in STAGES:
        for repeat in range(stage.repeats):
            x = graph.block(x, f"_blocks.{index}", stage, first=repeat == 0)
            index += 1
    x = graph.relu6(graph.conv(x, "_conv_head", "_bn1"))
    x = graph.node("GlobalAveragePool", [x], "_avg_pooling")
    x = graph.node("Flatten", [x], "_flatten", axis=1)
    parameters = [graph.constant(f"_fc.{part}", weights[f"_fc.{part}"]) for part in ("weight", "bias")]
    graph.node("Gemm", [x, *parameters], OUTPUT, transB=1)

    model = helper.make_model(
        helper.make_graph(
            graph.nodes,
            "efficientnet-lite0",
            [helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, ["batch", 3, SIZE, SIZE])],
            [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, ["batch", CLASSES])],
            graph.initialisers,
        ),
        producer_name="ocelli",
        ir_version=IR_VERSION,
        opset_imports=[helper.make_opsetid("", OPSET)],
    )
    onnx.checker.check_model(model, full_check=True)
    return model
