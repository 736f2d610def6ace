"""TensorFlow SavedModel folders: a graph with its weights, without any preprocessing except the size."""

import argparse
import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np

from . import from_keras, graph
from .arguments import SAVED_MODEL, Source
from .exported import Exported
from .failure import Failure

# Imported through a module that first sets up TensorFlow's environment.
from .from_keras import tensorflow
from .keras_loaders import Pipeline
from .original import INPUT, OPSET, Original, of_ending
from .presets import plan

# Exporters' names of signatures; the first one present is used.
SIGNATURES = ("serving_default", "serve")
# Operations that access files or Python.
REACHING = {
    "EagerPyFunc",
    "MatchingFiles",
    "PyFunc",
    "PyFuncStateless",
    "ReadFile",
    "WriteFile",
}


def load(source: Source, arguments: argparse.Namespace) -> Original:
    folder = Path(source.value)
    description = (folder / SAVED_MODEL).read_bytes()
    check_operations(_operations(description, folder), folder, trust=arguments.trust)
    signature = _signature(folder)
    [(argument, taken)] = signature.structured_input_signature[1].items()
    [(answer, given)] = signature.structured_outputs.items()
    return of_function(
        lambda image: signature(**{argument: image})[answer],
        (taken, given),
        arguments,
        name=folder.name,
        origin=f"SavedModel {folder.name} (sha256 of {SAVED_MODEL} {hashlib.sha256(description).hexdigest()})",
    )


def of_function(function: Callable, ends: tuple, arguments: argparse.Namespace, *, name: str, origin: str) -> Original:
    """`ends`: the tensors, or their descriptions, that `function` takes and answers with."""
    taken, given = ends
    if taken.dtype != tensorflow.float32 or taken.shape.rank != 4 or taken.shape[0] is not None:
        raise Failure(
            f"{name} takes {taken.dtype.name} {taken.shape}: export a signature that takes float32 images with an open first "
            "axis, [None, height, width, 3]"
        )
    if given.shape.rank != 2 or given.shape[1] is None:
        raise Failure(
            f"{name} answers with the shape {given.shape}, and Ocelli serves one vector per image: export its classes"
        )
    classes = given.shape[1]
    reading = plan(
        arguments.preset,
        is_given=True,
        preprocess=arguments.preprocess,
        interpolation=arguments.interpolation,
        antialias=None if arguments.antialias is None else arguments.antialias == "on",
    )
    spec = from_keras.input_of(tuple(taken.shape), arguments.preset, reading, arguments)
    pipeline = Pipeline(spec, arguments.preset, reading.loader, reading.original)
    exported = _export(function, spec.shape, classes)
    task, activation, notes = of_ending(graph.ending(exported.proto), arguments.task, classes)
    return exported.original(
        pipeline,
        (task, activation, notes + from_keras.reading_notes(reading, pipeline)),
        arguments,
        name=name,
        title=f"TensorFlow {tensorflow.__version__}",
        origin=origin,
        **from_keras.said_of(reading, pipeline),
    )


def _export(function: Callable, shape: tuple[int, ...], classes: int) -> Exported:
    import tf2onnx

    signature = [tensorflow.TensorSpec([None, *shape], tensorflow.float32, name=INPUT)]
    function = tensorflow.function(function, input_signature=signature)
    proto, _ = tf2onnx.convert.from_function(function, input_signature=signature, opset=OPSET)
    return Exported(proto, classes, lambda batch: function(tensorflow.constant(batch)).numpy().astype(np.float64))


def _operations(description: bytes, folder: Path) -> set[str]:
    from tensorflow.core.protobuf import saved_model_pb2

    content = saved_model_pb2.SavedModel()
    try:
        content.ParseFromString(description)
    except Exception as error:
        raise Failure(f"{folder / SAVED_MODEL} cannot be read ({error}): copy or save the model again") from None
    found = set()
    for meta in content.meta_graphs:
        functions = meta.graph_def.library.function
        nodes = [*meta.graph_def.node, *(node for function in functions for node in function.node_def)]
        found |= {node.op for node in nodes}
    return found


def check_operations(operations: set[str], path: Path, *, trust: bool) -> None:
    """Raises Failure for a graph that reaches files or Python, which loading it may already run."""
    found = operations & REACHING
    if found and not trust:
        raise Failure(
            f"{path} reads or writes files, or runs Python ({', '.join(sorted(found))}): if you trust who made it, convert it "
            "with --trust"
        )
    if trust and not found:
        raise Failure(f"--trust: {path} brings no code that would need it: leave it out")


def _signature(folder: Path):
    try:
        loaded = tensorflow.saved_model.load(str(folder))
    except Exception as error:
        # TensorFlow raises various errors for damaged files; the text names the missing part.
        raise Failure(
            f"{folder} cannot be loaded ({' '.join(str(error).split())[:300]}): save the model again"
        ) from None
    name = next((name for name in SIGNATURES if name in loaded.signatures), None)
    if name is None:
        known = ", ".join(loaded.signatures) or "none"
        raise Failure(
            f"{folder} has no signature serving_default (it has {known}): save it with one, model.export('FOLDER') in Keras"
        )
    signature = loaded.signatures[name]
    counts = len(signature.structured_input_signature[1]), len(signature.structured_outputs)
    if counts != (1, 1):
        raise Failure(
            f"the signature {name} of {folder} has {counts[0]} inputs and {counts[1]} outputs: it must have one each"
        )
    # The signature holds only weak references to the variables.
    signature.ocelli_owner = loaded
    return signature
