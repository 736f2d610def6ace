"""Goldens of Keras: its presets on a small network, and the tutorial's own case, ResNet50 whole."""

import gzip
import os
import sys

os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"

import keras
import numpy as np
import onnx
from goldens import HERE, LABELS, PHOTOS, Case, model_folder, write_labels
from keras.applications import imagenet_utils
from PIL import Image

LIBRARY = f"keras {keras.__version__}"
CLASSES = 1000
SMALL = (48, 64)  # Height and width.
PRESETS = {
    "caffe-nearest": ("caffe", "nearest"),
    "caffe-bilinear": ("caffe", "bilinear"),
    "tf-bicubic": ("tf", "bicubic"),
    "torch-bilinear": ("torch", "bilinear"),
    "torch-lanczos": ("torch", "lanczos"),
}
RESNET = (224, 224)
# The weights repeat after so many numbers, so that 100 MB pack into a few hundred KB. A prime, so that no two rows of
# a matrix with fewer columns are equal.
PERIOD = 1021


def make(wanted):
    for name, (mode, interpolation) in PRESETS.items():
        if wanted(f"keras-{name}"):
            make_small(f"keras-{name}", mode, interpolation)
    if wanted("keras-resnet50"):
        make_resnet50("keras-resnet50")


def make_small(name, mode, interpolation):
    folder = model_folder(name)

    def prepare(path):
        image = keras.utils.load_img(path, target_size=SMALL, interpolation=interpolation)
        return imagenet_utils.preprocess_input(keras.utils.img_to_array(image)[None], mode=mode)

    keras.utils.set_random_seed(1)
    layers = keras.layers
    model = keras.Sequential(
        [
            layers.Input((*SMALL, 3), name="image"),
            layers.Conv2D(8, 5, strides=3, activation="relu"),
            layers.Conv2D(12, 3, strides=2, activation="relu"),
            layers.Flatten(),
            layers.Dense(12, activation="softmax"),
        ]
    )
    first = model.layers[0]
    kernel, bias = first.get_weights()
    # Filters of pixels that were trained are smooth.
    first.set_weights([np.broadcast_to(kernel.mean((0, 1)) * kernel.shape[0], kernel.shape), bias])
    enliven_head(model, [prepare(path) for path in PHOTOS.values()])
    output = export(model, folder / "model.onnx")
    write_labels(folder.parent, LABELS[:12])
    Case(
        name=name,
        library=LIBRARY,
        pipeline=f"load_img(interpolation={interpolation!r}), preprocess_input(mode={mode!r}), Sequential",
        prepare=prepare,
        compute=lambda tensor: model.predict(tensor, verbose=0),
        labels=LABELS[:12],
        # The graph ends in one.
        activation="none",
        ending="softmax",
        output=output,
        options={"preset": f"keras-{mode}", "interpolation": interpolation, "labels": "labels.txt"},
    ).write()


def make_resnet50(name):
    """`prepare_image` as the tutorial has it, with today's Pillow."""
    folder = model_folder(name)

    def prepare(path):
        image = Image.open(path).convert("RGB").resize((RESNET[1], RESNET[0]))
        return imagenet_utils.preprocess_input(np.expand_dims(keras.utils.img_to_array(image), axis=0))

    model = keras.applications.ResNet50(weights=None)
    batch = np.concatenate([prepare(path) for path in PHOTOS.values()])
    tile_weights(model, batch)
    file = folder / "model.onnx"
    output = export(model, file)
    # Twice, for once makes at best a thousandth of it.
    packed = gzip.compress(gzip.compress(file.read_bytes(), 9, mtime=0), 9, mtime=0)
    (folder / "model.onnx.gz.gz").write_bytes(packed)
    file.unlink()
    # Where Keras would keep what it downloads.
    sys.modules[imagenet_utils.decode_predictions.__module__].CLASS_INDEX = index = class_index()

    def compute(tensor):
        values = model.predict(tensor, verbose=0)
        named = [label for _, label, _ in imagenet_utils.decode_predictions(values)[0]]
        assert named == [names[index] for index in np.argsort(-values[0])[:5]]
        return values

    names = [label for _, label in index.values()]
    assert names == LABELS
    Case(
        name=name,
        library=LIBRARY,
        pipeline="the tutorial's prepare_image, ResNet50, decode_predictions",
        prepare=prepare,
        compute=compute,
        labels=names,
        activation="none",
        ending="softmax",
        output=output,
        options={"preset": "keras-caffe", "labels": "../../../../../../models/efficientnet-lite0/labels.txt"},
        photos=("dog", "rocket"),
    ).write()


def class_index():
    """What Keras would download as imagenet_class_index.json."""
    rows = (HERE.parents[4] / "shared" / "data" / "imagenet-1k-classes.tsv").read_text().splitlines()
    entries = [row.split("\t") for row in rows]
    return {index: (wordnet, name) for index, wordnet, name in entries if index.isdecimal()}


def enliven_head(model, tensors):
    """Centres the classes on the photos and spreads them, as `networks.balance` does; weights of half the digits."""
    dense = model.layers[-1]
    features = keras.Model(model.inputs, dense.input)
    dense_in = np.concatenate([features.predict(tensor, verbose=0) for tensor in tensors])
    kernel, bias = dense.get_weights()
    values = dense_in @ kernel
    scale = 2.5 / (values - values.mean(0)).std()
    dense.set_weights([kernel * scale, bias - 0.9 * scale * values.mean(0)])
    model.set_weights([half(weight) for weight in model.get_weights()])


def half(array):
    """Rounded to bfloat16."""
    return (np.ascontiguousarray(array, "f4").view("u4") + 0x8000 & 0xFFFF0000).view("f4")


def tile_weights(model, batch):
    """Gives ResNet50 weights that repeat, scaled layer by layer so that the photos neither vanish nor explode in it."""
    block = half(np.random.default_rng(0).standard_normal(PERIOD))
    for layer in model.layers:
        if isinstance(layer, keras.layers.Conv2D):
            height, width, inputs, outputs = layer.kernel.shape
            # In the order in which ONNX stores them.
            tiled = np.resize(block, (outputs, inputs, height, width)).transpose(2, 3, 1, 0)
            if inputs == 3:
                # Filters of pixels that were trained are smooth.
                tiled = np.broadcast_to(tiled[:1, :1] * height, tiled.shape)
            scale = 2.0 ** round(np.log2(np.sqrt(2 / (height * width * inputs))))
            layer.set_weights([tiled * scale, np.zeros(outputs)])
        elif isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0
    # With a momentum of 0 the statistics become those of this one batch.
    model(batch, training=True)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            # One number for all channels: the exporter folds it into the kernel, which then still repeats.
            ones = np.ones(layer.gamma.shape, "f4")
            mean, variance = np.asarray(layer.moving_mean), np.asarray(layer.moving_variance)
            variance = variance.mean() + mean.var()
            # What a block adds is less than what goes past it, or 50 layers in a row are chaotic.
            gamma = ones * (0.25 if layer.name.endswith("_3_bn") else 1)
            layer.set_weights([gamma, ones * 0, ones * half(mean.mean()), ones * half(variance)])
    dense = model.layers[-1]
    values = keras.Model(model.inputs, dense.input).predict(batch, verbose=0)
    kernel = np.resize(block, dense.kernel.shape)
    values = values @ kernel
    scale = 2.0 ** round(np.log2(6 / (values - values.mean(0)).std()))
    dense.set_weights([kernel * scale, half(-scale * values.mean(0))])


def export(model, path):
    # It wants to have been called once.
    model(np.zeros((1, *model.input_shape[1:]), "f4"))
    model.export(str(path), format="onnx", verbose=False)
    return onnx.load(path).graph.output[0].name
