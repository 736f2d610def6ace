"""Goldens of other properties of models: element types, open sizes, graphs that end in probabilities."""

import numpy as np
import torch
import transformers as hf
from cases_transformers import SQUARE, vit
from goldens import FEW, LABELS, PHOTOS, Case, model_folder, write_labels
from networks import Answer, enliven, export, run
from PIL import Image
from torch import nn
from torchvision import models, transforms
from transformers.image_utils import load_image

CLASSES = 12
NAMES = LABELS[:CLASSES]
PACKAGE = """\
schema = 1
name = "{name}"
version = "1"
task = "classification"

[input]
name = "image"
dtype = "uint8"
width = 48
height = 48
layout = "nhwc"
channels = "rgb"
resize = {{ policy = "shortest-edge", size = 55 }}
interpolation = "bilinear"
exif = false

[[output]]
name = "logits"
activation = "softmax"
labels = "labels.txt"
"""


class Normalised(nn.Module):
    """A network that takes the pixels themselves, as a camera gives them."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, image):
        return self.network(image.permute(0, 3, 1, 2).float() / 127.5 - 1)


class Ended(nn.Module):
    """A network whose graph ends in probabilities."""

    def __init__(self, network, end):
        super().__init__()
        self.network, self.end = network, end

    def forward(self, pixel_values):
        return self.end(self.network(pixel_values))


def make(wanted):
    for name, make_one in (
        ("forms-uint8", make_uint8),
        ("forms-float16", make_float16),
        ("forms-softmax", lambda name: make_ended(name, nn.Softmax(-1), "single_label_classification")),
        ("forms-sigmoid", lambda name: make_ended(name, nn.Sigmoid(), "multi_label_classification")),
        ("forms-open-size", make_open_size),
    ):
        if wanted(name):
            make_one(name)


def small_network():
    return models.ShuffleNetV2([1, 1, 1], [8, 8, 12, 16, 24], num_classes=CLASSES)


def make_uint8(name):
    folder = model_folder(name)
    transform = transforms.Compose([transforms.Resize(55), transforms.CenterCrop(48)])

    def prepare(path):
        return np.asarray(transform(Image.open(path).convert("RGB")))[None].copy()

    batch = torch.from_numpy(np.concatenate([prepare(path) for path in PHOTOS.values()]))
    model = enliven(Normalised(small_network()), batch)
    export(model, batch[:2], folder / "model.onnx", input_name="image")
    (folder / "model.toml").write_text(PACKAGE.format(name=name))
    write_labels(folder, NAMES)
    Case(
        name=name,
        library="torchvision",
        pipeline="Image.open, Resize, CenterCrop, and the rest in the graph",
        prepare=prepare,
        compute=run(model),
        labels=NAMES,
    ).write()


def hub_folder(name, **settings):
    """A folder of transformers, its pipeline, its network, and the photos."""
    folder = model_folder(name)
    config = hf.ViTConfig(**vit(48), **settings)
    config.id2label = dict(enumerate(NAMES))
    config.save_pretrained(folder)
    processor = hf.ViTImageProcessor(size=SQUARE)
    processor.save_pretrained(folder)

    def prepare(path):
        return processor(images=load_image(str(path)), return_tensors="pt")["pixel_values"].numpy()

    batch = torch.cat([torch.from_numpy(prepare(path)) for path in PHOTOS.values()])
    return folder, prepare, enliven(Answer(hf.ViTForImageClassification(config), "logits"), batch), batch


def make_float16(name):
    folder, prepare, model, batch = hub_folder(name)
    model.half()
    export(model, batch[:2].half(), folder / "model.onnx")
    Case(
        name=name,
        library=f"transformers {hf.__version__}",
        pipeline="load_image, ViTImageProcessor, ViTForImageClassification.half()",
        prepare=lambda path: prepare(path).astype("f2"),
        compute=run(model),
        labels=NAMES,
        exif=True,
    ).write()


def make_ended(name, end, problem):
    folder, prepare, model, batch = hub_folder(name, problem_type=problem)
    model = Ended(model, end)
    export(model, batch[:2], folder / "model.onnx", output="probabilities")
    Case(
        name=name,
        library=f"transformers {hf.__version__}",
        pipeline=f"load_image, ViTImageProcessor, ViTForImageClassification, {type(end).__name__}",
        prepare=prepare,
        compute=run(model),
        labels=NAMES,
        activation="none",
        ending="softmax" if isinstance(end, nn.Softmax) else "sigmoid",
        output="probabilities",
        exif=True,
    ).write()


def make_open_size(name):
    folder = model_folder(name)
    transform = models.ResNet18_Weights.IMAGENET1K_V1.transforms()

    def prepare(path):
        return transform(Image.open(path).convert("RGB")).unsqueeze(0).numpy()

    batch = torch.cat([torch.from_numpy(prepare(path)) for path in PHOTOS.values()])
    model = enliven(small_network(), batch)
    export(model, batch[:2], folder / "model.onnx", input_name="input", axes=("batch", 3, "height", "width"))
    write_labels(folder.parent, NAMES)
    Case(
        name=name,
        library="torchvision",
        pipeline="Image.open, ResNet18_Weights.IMAGENET1K_V1.transforms(), ShuffleNetV2",
        prepare=prepare,
        compute=run(model),
        labels=NAMES,
        options={"preset": "torchvision", "labels": "labels.txt"},
        photos=FEW[1:],
    ).write()
