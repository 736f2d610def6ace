"""Small PyTorch networks with random weights whose output differs for each photo, and their export.

The weights are random, the statistics of batch norms are those of the photos, and the head is scaled so that its
answers spread as a trained one's do.
"""

import math
import warnings

import numpy as np
import onnx
import torch
from torch import nn

OPSET = 17
SPREAD, APART = 10.0, 0.1
BATCH_NORM = nn.modules.batchnorm._BatchNorm
NORMS = (BATCH_NORM, nn.LayerNorm, nn.GroupNorm)


class Answer(nn.Module):
    """Of a transformers model, the one output that is exported."""

    def __init__(self, model, output):
        super().__init__()
        self.model, self.output = model, output

    def forward(self, pixel_values):
        return getattr(self.model(pixel_values=pixel_values), self.output)


@torch.no_grad()
def enliven(model, batch, seed=0, head=None):
    """Gives `model` its weights; `batch` are the photos."""
    torch.manual_seed(seed)
    model.float()
    done = set()
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            fan_in = module.weight[0].numel()
            module.weight.normal_(0, math.sqrt(1.6 / fan_in))
            if module.weight.shape[1] in (1, 3) and len(module.weight.shape) == 4 and module.groups == 1:
                # Filters of pixels that were trained are smooth.
                module.weight.mul_(0.3).add_(module.weight.mean((2, 3), keepdim=True).mul_(fan_in**0.5))
            if module.bias is not None:
                module.bias.normal_(0, 0.1)
        elif isinstance(module, NORMS) and module.weight is not None:
            module.weight.uniform_(0.8, 1.2)
            module.bias.normal_(0, 0.1)
            if isinstance(module, BATCH_NORM):
                # Offsets that keep most activations on one side of their bend: deep networks without them are chaotic,
                # and answer otherwise when one pixel differs by one.
                module.weight.mul_(0.6)
                module.bias.mul_(7)
        else:
            continue
        done.update(id(parameter) for parameter in module.parameters(recurse=False))
    for name, parameter in model.named_parameters():
        if id(parameter) not in done:
            # Factors of residual branches begin near 0, as if the branches were not there.
            factor = any(word in name for word in ("layer_scale", "lambda", "gamma"))
            parameter.uniform_(0.4, 0.8) if factor else parameter.normal_(0, 0.3)
    calibrate(model, batch)
    balance(model, batch, head)
    for tensor in [*model.parameters(), *model.buffers()]:
        # Numbers with an empty lower half take half the space in the repository.
        if tensor.is_floating_point():
            tensor.copy_(tensor.bfloat16().float())
    return model.eval()


def calibrate(model, batch):
    norms = [module for module in model.modules() if isinstance(module, BATCH_NORM)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
    if norms:
        model.train()
        model(batch)
    for norm in norms:
        # A channel that hardly varies would be blown up.
        norm.running_var.clamp_(min=0.5 * norm.running_var.mean())
    model.eval()


def balance(model, batch, head):
    """Makes the answers span what a trained classifier's do, and takes so much of what all photos have in common away
    that they differ."""
    head = head or [module for module in model.modules() if isinstance(module, nn.Linear)][-1]
    values = model(batch)
    if values.shape[-1] != len(head.weight) or head.bias is None:
        return
    for share in (0, 0.5, 0.8, 0.9, 0.95, 0.98, 1):
        centred = values - share * values.mean(0)
        spread = (centred.max(1).values - centred.min(1).values).mean()
        apart = min((a - b).abs().max() for i, a in enumerate(centred) for b in centred[:i])
        if apart > APART * spread:
            break
    scale = SPREAD / spread
    head.weight.mul_(scale)
    head.bias.sub_(share * values.mean(0)).mul_(scale)


def run(model):
    """`compute` of a case."""

    @torch.no_grad()
    def compute(tensor):
        return model(torch.from_numpy(np.asarray(tensor))).numpy()

    return compute


def export(model, example, path, input_name="pixel_values", output="logits", axes=None, dynamo=False):
    """Writes `model` as a user would: with PyTorch's exporter, and a batch that is open.

    `axes` renames the input's axes afterwards: Optimum leaves the sides open even where the graph fixes them.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        common = {"input_names": [input_name], "output_names": [output]}
        if dynamo:
            batch = ({0: torch.export.Dim("batch")},)
            torch.onnx.export(
                model, (example,), path, dynamic_shapes=batch, external_data=False, verbose=False, **common
            )
        else:
            batch = {input_name: {0: "batch_size"}, output: {0: "batch_size"}}
            torch.onnx.export(model, (example,), path, dynamic_axes=batch, dynamo=False, opset_version=OPSET, **common)
    graph = onnx.load(path)
    strip(graph)
    for dimension, name in zip(graph.graph.input[0].type.tensor_type.shape.dim, axes or [], strict=False):
        if isinstance(name, str):
            dimension.dim_param = name
    onnx.save(graph, path)


def strip(graph):
    """Without the exporter's notes on which line of which file each node comes from, and with short names inside."""
    graph, nodes = graph.graph, graph.graph.node
    for part in [graph, *nodes, *graph.input, *graph.output, *graph.initializer]:
        del part.metadata_props[:]
        part.doc_string = ""
    del graph.value_info[:]
    if any(attribute.HasField("g") for node in nodes for attribute in node.attribute):
        return
    outside = {value.name for value in [*graph.input, *graph.output, *graph.initializer]}
    made = (name for node in nodes for name in node.output if name and name not in outside)
    names = {name: f"v{index}" for index, name in enumerate(made)}
    for node in nodes:
        node.name = ""
        for values in (node.input, node.output):
            values[:] = [names.get(name, name) for name in values]
