"""Keras: files (.keras, .h5) and names of keras.applications.

A Keras file does not say how its photos were read, nor how their pixels were prepared. The architectures of
keras.applications say the latter, by their names; for the rest the user has to, or an assumption is made and named.
"""

import argparse
import os
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

# Before TensorFlow is loaded: its log, and its choice of kernels whose sums differ from run to run.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
os.environ["KERAS_BACKEND"] = "tensorflow"

import keras
import numpy as np
import tensorflow

from . import graph
from .arguments import Source
from .exported import Exported
from .failure import Failure
from .identity import sha256_of
from .keras_loaders import Pipeline
from .labels import IMAGENET_CLASSES
from .manifest import Input, Normalisation
from .original import ACTIVATIONS, INPUT, OPSET, Assumption, Decoder, Original, settle
from .presets import IMAGE_DATASET, LOAD_IMG, LOADERS, OPENCV, PRESETS, Plan, plan

# Parts of the names that keras.applications gives its models, lower-case; the first that fits decides.
ARCHITECTURES = (
    ("efficientnet", "raw"),
    ("mobilenetv3", "raw"),
    ("convnext", "raw"),
    ("inception_resnet_v2", "keras-tf"),
    ("inception_v3", "keras-tf"),
    ("xception", "keras-tf"),
    ("mobilenet", "keras-tf"),
    ("nasnet", "keras-tf"),
    ("densenet", "keras-torch"),
    ("vgg16", "keras-caffe"),
    ("vgg19", "keras-caffe"),
)
PREPROCESSING_LAYERS = ("Rescaling", "Normalization")
# The layers that `preprocess_input` leaves in a model when it is called while the model is built.
ARITHMETIC = ("Add", "Divide", "Multiply", "Subtract", "TrueDivide")
# What TensorFlow takes for the name of a scope, which every layer opens.
SCOPE = re.compile(r"[A-Za-z0-9.][A-Za-z0-9_.\\/>-]*")
DEFAULT_SIZE = 224
# How photos are mostly read for Keras: by the functions' defaults, and as the tutorials of keras.applications do.
USUAL = (
    (IMAGE_DATASET, PRESETS["image-dataset"].reading),
    (LOAD_IMG, PRESETS["load-img"].reading),
    (LOAD_IMG, PRESETS["raw"].reading),
)


def load(source: Source, arguments: argparse.Namespace) -> Original:
    if source.is_path:
        model = _read_file(Path(source.value), arguments.trust)
    else:
        model = _by_name(source.value, arguments.weights)
    return of_model(model, arguments, name=source.value, origin=_origin(source))


def of_model(model: keras.Model, arguments: argparse.Namespace, *, name: str, origin: str) -> Original:
    if len(model.inputs) != 1 or len(model.outputs) != 1:
        raise Failure(f"{name} has {len(model.inputs)} inputs and {len(model.outputs)} outputs: it must have one each")
    if arguments.task == "embedding" and _last_activation(model) is not None:
        model = _without_head(model, name)
    preset, notes = _preset(model, name, arguments.preset)
    reading = _plan(model, preset, arguments)
    spec = input_of(model.inputs[0].shape, preset, reading, arguments)
    pipeline = Pipeline(spec, preset, reading.loader, reading.original)
    notes += reading_notes(reading, pipeline)
    elements = _classes(model, name)
    ends_in = _last_activation(model)
    task, said = _task(model, ends_in, elements, arguments)
    exported, dropped = _export(model, spec, ends_in if task != "embedding" else None, elements)
    # The server must not repeat what the graph does.
    activation = ACTIVATIONS[task] if ends_in is None else dropped or "none"
    return exported.original(
        pipeline,
        (task, activation, notes + said),
        arguments,
        name=name,
        title=f"Keras {keras.__version__}",
        origin=origin,
        **said_of(reading, pipeline),
    )


def _export(model: keras.Model, spec: Input, ends_in: str | None, elements: int) -> tuple[Exported, str | None]:
    """The graph, and the activation that the model ends in and the graph does not: where the model ends in probabilities the
    graph has the logits."""
    import tf2onnx

    _rename(model)
    signature = [tensorflow.TensorSpec([None, *spec.shape], tensorflow.float32, name=INPUT)]
    function = tensorflow.function(lambda image: model(image, training=False), input_signature=signature)
    proto, _ = tf2onnx.convert.from_function(function, input_signature=signature, opset=OPSET)
    # Numbers that the model adds to its pixels or multiplies them with, which tf2onnx takes for inputs.
    captured = function.get_concrete_function().graph.captures
    graph.fill(
        proto,
        {inner.name: outer.numpy() for outer, inner in captured if outer.dtype != tensorflow.resource},
    )
    operator = {"softmax": "Softmax", "sigmoid": "Sigmoid"}.get(ends_in)
    dropped = ends_in if operator and graph.drop_last(proto, operator) else None
    if dropped is not None:
        _end_in_logits(model)
    return Exported(proto, elements, lambda batch: np.asarray(model(batch, training=False), np.float64)), dropped


def _rename(model: keras.Model) -> None:
    """Gives names that TensorFlow takes to the model and the layers that have others, as people write them."""
    for layer in model._flatten_layers():
        if not SCOPE.fullmatch(layer.name):
            # TensorFlow numbers equal names.
            layer.name = "layer_" + re.sub(r"[^A-Za-z0-9_.-]", "_", layer.name)


def _end_in_logits(model: keras.Model) -> None:
    """Takes the activation off the end. What it makes cannot be turned back into logits: in single precision a confident
    model's probabilities are exactly 0 and 1."""
    last = _last_layer(model)
    if isinstance(last, keras.layers.Softmax):
        last.call = lambda inputs, mask=None: inputs
    else:
        last.activation = keras.activations.linear


def _read_file(path: Path, trust: bool) -> keras.Model:
    if trust and _brings_no_code(path):
        raise Failure(f"--trust: {path} brings no code that would need it: leave it out")
    try:
        return keras.saving.load_model(path, compile=False, safe_mode=not trust)
    except OSError as error:
        raise Failure(f"{path} cannot be read as a Keras file ({error}): save the model again") from None
    except Exception as error:
        # Keras raises various errors for the same problem; the text names it.
        text = str(error)
        if "ambda" in text and not trust:
            raise Failure(
                f"{path} has a Lambda layer, which is code: if you trust the file, convert it with --trust"
            ) from None
        if "Could not locate" in text or "Unknown layer" in text or "custom_object" in text:
            raise Failure(
                f"{path} has layers of your own ({_first_line(text)}): load it where they are defined and write the graph "
                "there, model.export('model.onnx', format='onnx'), then serve that with --preset"
            ) from None
        raise Failure(f"{path} cannot be loaded by Keras {keras.__version__}: {_first_line(text)}") from error


def _brings_no_code(path: Path) -> bool:
    try:
        keras.saving.load_model(path, compile=False, safe_mode=True)
    except Exception:
        # The later load, with the user's options, reports the error.
        return False
    return True


def _first_line(text: str) -> str:
    return " ".join(text.split())[:300]


def _by_name(name: str, weights: str | None) -> keras.Model:
    make = getattr(keras.applications, name, None)
    if not callable(make):
        known = ", ".join(entry for entry in dir(keras.applications) if entry[0].isupper())
        raise Failure(f"keras.applications has no {name}: it has {known}")
    if weights is None:
        weights = "imagenet"
    try:
        return make(weights=None if weights == "none" else weights)
    except Exception as error:
        if weights == "none":
            raise
        raise Failure(
            f"the weights of {name} cannot be had ({_first_line(str(error))}): try again with a network, convert a file "
            "that you have saved, or pass --weights none to try things out"
        ) from None


def _names(model: keras.Model) -> list[str]:
    """The model's name and those of models inside it, as transfer learning makes them."""
    inner = [layer.name for layer in model.layers if isinstance(layer, keras.Model)]
    return [model.name.lower(), *(name.lower() for name in inner)]


def _operations(model: keras.Model) -> Iterator[keras.Operation]:
    """The operations of the model in order, with nested models expanded."""
    # A Sequential has only layers.
    for operation in model.layers if isinstance(model, keras.Sequential) else model.operations:
        if isinstance(operation, keras.Model):
            yield from _operations(operation)
        else:
            yield operation


def _preparing(model: keras.Model) -> keras.Operation | None:
    """The preprocessing layers in the model, before any trained layer."""
    for operation in _operations(model):
        is_layer = isinstance(operation, keras.Layer)
        if type(operation).__name__ in (PREPROCESSING_LAYERS if is_layer else ARITHMETIC):
            return operation
        if is_layer and operation.weights:
            return None
    return None


def _preset(model: keras.Model, name: str, given: str | None) -> tuple[str, list[str]]:
    prepares = _preparing(model)
    if given is not None:
        if prepares is None or PRESETS[given].normalisation == Normalisation():
            return given, []
        return given, [
            f"warning: the layer {prepares.name} prepares the pixels, and --preset {given} does so before it: unless it was "
            "trained on what that makes, pass --preset raw"
        ]
    for architecture in _names(model):
        preset = next((preset for part, preset in ARCHITECTURES if part in architecture), None)
        if architecture.startswith("resnet"):
            preset = "keras-tf" if "v2" in architecture else "keras-caffe"
        if preset is None:
            continue
        if (preset == "raw") == (prepares is not None):
            return preset, [f"preset {preset}, for the architecture is {architecture}"]
        inside, advice = "has no layer that prepares pixels itself", "keras-caffe, keras-tf, keras-torch or raw"
        if prepares is not None:
            inside = f"has the layer {prepares.name}, which prepares pixels itself"
            advice = "raw if that is all that is done to them, or else keras-caffe, keras-tf or keras-torch"
        raise Failure(
            f"{name} is a {architecture}, which is trained with {preset}, but it {inside}: say which with --preset {advice}"
        )
    if prepares is not None:
        return "raw", [f"preset raw, for the layer {prepares.name} prepares the pixels"]
    raise Failure(
        f"{name} ({model.name!r}) does not say how its pixels are prepared: pass --preset keras-caffe (BGR less means, as "
        "ResNet50 and VGG), keras-tf (-1 to 1), keras-torch (ImageNet's mean and deviation), unit (0 to 1) or raw (0 to 255)"
    )


def _plan(model: keras.Model, preset: str, arguments: argparse.Namespace) -> Plan:
    # A custom model with Rescaling usually follows one of Keras' guides, which load photos this way.
    is_own = all(part not in name for name in _names(model) for part, _ in (*ARCHITECTURES, ("resnet", "")))
    return plan(
        preset,
        is_given=arguments.preset is not None,
        preprocess=arguments.preprocess,
        interpolation=arguments.interpolation,
        antialias=None if arguments.antialias is None else arguments.antialias == "on",
        guess="image-dataset" if is_own and preset == "raw" else "",
    )


def reading_notes(reading: Plan, pipeline: Pipeline) -> list[str]:
    notes = []
    if not reading.is_known:
        notes.append(
            "warning: the model does not say how photos were read in training. Assumed: "
            f"{pipeline.name}. The agreement below holds only if that is right. Otherwise name the function with --preprocess "
            f"({', '.join(LOADERS)}), and its filter with --interpolation"
        )
    if reading.loader == OPENCV:
        order = "BGR, as cv2.imread reads them" if pipeline.is_bgr else "RGB, as after cv2.cvtColor"
        notes.append(f"photos are taken for {order}: correct channels in [input] if training had the other order")
    return notes


def said_of(reading: Plan, pipeline: Pipeline) -> dict:
    """The fields of `Original` about how photos are loaded."""
    return {
        "assumption": None if reading.is_known else _assumption_of(pipeline),
        "decoder": _decoder_of(pipeline),
    }


def _assumption_of(pipeline: Pipeline) -> Assumption:
    """Other ways in which the photos may have been loaded."""
    if pipeline.spec.resize["policy"] != "stretch":
        return Assumption([])
    assumed = (pipeline.loader, pipeline.reading)
    others = [replace(pipeline, loader=loader, reading=usual) for loader, usual in USUAL if (loader, usual) != assumed]
    return Assumption([(other.name, other.prepare) for other in others])


def _decoder_of(pipeline: Pipeline) -> Decoder | None:
    if not pipeline.has_own_decoder:
        return None
    name = "TensorFlow decodes JPEG with INTEGER_FAST"
    if pipeline.spec.normalisation.channels == "gray":
        name += ", and rounds down where it makes grey of colours"
    return Decoder(name, pipeline.decode_and_prepare)


def input_of(shape: tuple, preset: str, reading: Plan, arguments: argparse.Namespace) -> Input:
    """The `[input]` of a model that takes tensors of `shape`, including the batch axis."""
    nhwc = len(shape) == 4 and shape[3] in {1, 3}
    nchw = len(shape) == 4 and not nhwc and shape[1] in {1, 3}
    if not (nhwc or nchw):
        raise Failure(f"the model's input has the shape {tuple(shape)}: Ocelli makes tensors of 1 or 3 channels")
    height, width = shape[1:3] if nhwc else shape[2:4]
    given = arguments.size or (width or DEFAULT_SIZE, height or DEFAULT_SIZE)
    if (width, height) != (None, None) and given != (width, height):
        raise Failure(f"--size {given[0]}x{given[1]}: the model takes {width}x{height} and nothing else")
    if (width or height) is None and arguments.size is None:
        raise Failure("the model takes images of any size: say which with --size, as in --size 224")
    normalisation = PRESETS[preset].normalisation
    if 1 in (shape[1], shape[3]):
        if preset == "keras-caffe":
            raise Failure("--preset keras-caffe is for three channels, and the model has one: choose another")
        normalisation = Normalisation("gray", normalisation.scale, normalisation.mean, normalisation.std)
    elif reading.loader == OPENCV and preset == "raw" and arguments.preset is None:
        # The preprocessing layer receives pixels in the order of `cv2.imread`.
        normalisation = replace(normalisation, channels="bgr")
    return Input(
        name=INPUT,
        width=given[0],
        height=given[1],
        layout="nhwc" if nhwc else "nchw",
        normalisation=normalisation,
        resize=PRESETS[preset].resize(*given),
        interpolation=reading.package.interpolation,
        antialias=reading.package.antialias,
        resampler=reading.package.resampler,
        coordinates=reading.package.coordinates,
    )


def _classes(model: keras.Model, name: str) -> int:
    shape = model.outputs[0].shape
    if len(shape) != 2 or shape[1] is None:
        raise Failure(
            f"{name} answers with the shape {tuple(shape)}, and Ocelli serves one vector per image: end the model in a "
            "pooling layer (include_top=False, pooling='avg') or in its classes"
        )
    return shape[1]


def _last_layer(model: keras.Model) -> keras.Layer:
    last = model.layers[-1]
    while isinstance(last, keras.Model):
        last = last.layers[-1]
    return last


def _last_activation(model: keras.Model) -> str | None:
    """The final activation of the model, if it yields probabilities."""
    last = _last_layer(model)
    if isinstance(last, keras.layers.Softmax):
        return "softmax"
    name = getattr(getattr(last, "activation", None), "__name__", None)
    return name if name in {"softmax", "sigmoid"} else None


def _without_head(model: keras.Model, name: str) -> keras.Model:
    """The features before the classifier."""
    last = model.layers[-1]
    if isinstance(last, keras.Model):
        raise Failure(
            f"{name} ends in a model inside of the model: save the one that ends in the features, and convert that"
        )
    return keras.Model(model.inputs, last.input, name=model.name)


def _task(
    model: keras.Model, ends_in: str | None, classes: int, arguments: argparse.Namespace
) -> tuple[str, list[str]]:
    """The task according to the end of the model, and messages for the user."""
    if classes == 1 and ends_in == "softmax" and arguments.task != "embedding":
        raise Failure(
            "the model ends in a softmax over one class, which is always 1, whatever the photo: train it with two classes, or "
            "with sigmoid"
        )
    if arguments.task is not None:
        return settle(arguments.task, classes)
    if ends_in is not None:
        return settle({"softmax": "classification", "sigmoid": "multilabel"}[ends_in], classes)
    if classes == IMAGENET_CLASSES:
        return "classification", []
    # A classifier trained with from_logits=True has no activation.
    if arguments.labels is not None or _ends_in_dense(model):
        if classes == 1:
            return settle("classification", classes)
        reason = "--labels names its outputs" if arguments.labels is not None else "the last layer is Dense"
        return "classification", [
            f"no activation at the end, and {reason}: taken for logits, to which softmax is applied (--task multilabel: "
            "sigmoid; --task embedding: they are features)"
        ]
    return "embedding", []


def _ends_in_dense(model: keras.Model) -> bool:
    last = _last_layer(model)
    return isinstance(last, keras.layers.Dense) and last.activation is keras.activations.linear


def _origin(source: Source) -> str:
    if source.is_path:
        path = Path(source.value)
        return f"{path.name} (sha256 {sha256_of(path)}), Keras {keras.__version__}"
    return f"keras.applications.{source.value}, Keras {keras.__version__}"
