"""Goldens of torchvision: the transforms of its published weights, which no file beside an exported model records."""

import torch
import torchvision
from goldens import FEW, LABELS, PHOTOS, Case, model_folder, write_labels
from networks import enliven, export, run
from PIL import Image
from torchvision import models

LIBRARY = f"torchvision {torchvision.__version__.split('+')[0]}"
CLASSES = 1000
V1 = {"preset": "torchvision"}
# For 232 instead of 256 there is no preset: a package says it.
PACKAGE = """\
schema = 1
name = "resnet50-v2"
version = "2"
task = "classification"

[input]
name = "input"
dtype = "float32"
width = 224
height = 224
layout = "nchw"
channels = "rgb"
scale = 0.00392156862745098
mean = [0.485, 0.456, 0.406]
std = [0.229, 0.224, 0.225]
resize = { policy = "shortest-edge", size = 232 }
interpolation = "bilinear"

[[output]]
name = "output"
activation = "softmax"
labels = "labels.txt"
"""
WEIGHTS = {
    "resnet50-v1": (models.ResNet50_Weights.IMAGENET1K_V1, V1, FEW),
    "resnet50-v2": (models.ResNet50_Weights.IMAGENET1K_V2, None, FEW[1:]),
    "efficientnet-b0": (
        models.EfficientNet_B0_Weights.IMAGENET1K_V1,
        {"preset": "torchvision", "interpolation": "bicubic"},
        FEW[1:],
    ),
}


def make(wanted):
    for name, (weights, options, photos) in WEIGHTS.items():
        if wanted(f"torchvision-{name}"):
            make_one(f"torchvision-{name}", weights, options, photos)


def make_one(name, weights, options, photos):
    folder = model_folder(name)
    transform = weights.transforms()

    def prepare(path):
        return transform(Image.open(path).convert("RGB")).unsqueeze(0).numpy()

    batch = torch.cat([torch.from_numpy(prepare(path)) for path in PHOTOS.values()])
    model = enliven(models.ShuffleNetV2([1, 1, 1], [8, 8, 12, 16, 24], num_classes=CLASSES), batch)
    export(model, batch[:2], folder / "model.onnx", input_name="input", output="output")
    if options is None:
        (folder / "model.toml").write_text(PACKAGE)
        write_labels(folder, LABELS)
    else:
        write_labels(folder.parent, LABELS)
    Case(
        name=name,
        library=LIBRARY,
        pipeline=f"Image.open, {weights}.transforms(), ShuffleNetV2",
        prepare=prepare,
        compute=run(model),
        labels=LABELS,
        output="output",
        options=(options and options | {"labels": "labels.txt"}) or {},
        photos=photos,
    ).write()
