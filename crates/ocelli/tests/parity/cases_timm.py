"""Goldens of timm: every crop mode and interpolation of a `pretrained_cfg`, and some that it really has."""

import json

import timm
import torch
import transformers as hf
from goldens import FEW, LABELS, PHOTOS, Case, model_folder
from networks import Answer, enliven, export, run
from PIL import Image
from timm.models._hub import save_config_for_hf

LIBRARY = f"timm {timm.__version__}"
CLASSES = 12
SMALL = {"channels": (4, 4, 8, 12), "stem_width": 4}
# Where two of the best five classes were too close to tell apart.
SEEDS = {"timm-grey": 1}
BASE = {
    "architecture": "test_resnet",
    "input_size": (3, 48, 48),
    "crop_pct": 0.875,
    "crop_mode": "center",
    "interpolation": "bicubic",
    "mean": (0.485, 0.456, 0.406),
    "std": (0.229, 0.224, 0.225),
}
CONFIGS = {
    "center-875-bilinear": {"interpolation": "bilinear"},
    "center-950": {"crop_pct": 0.95},
    "center-1000": {"crop_pct": 1.0, "mean": (0.5,) * 3, "std": (0.5,) * 3},
    "center-nearest": {"interpolation": "nearest"},
    "center-lanczos": {"crop_pct": 0.9, "interpolation": "lanczos"},
    "center-wide": {"input_size": (3, 40, 64), "crop_pct": 0.9},
    "squash-900": {"crop_mode": "squash", "crop_pct": 0.9},
    "squash-1000": {"crop_mode": "squash", "crop_pct": 1.0, "interpolation": "bilinear"},
    "squash-wide": {"crop_mode": "squash", "input_size": (3, 64, 40), "crop_pct": 0.875},
    "border-900": {"crop_mode": "border", "crop_pct": 0.9},
    "border-1000": {"crop_mode": "border", "crop_pct": 1.0},
    "grey": {"input_size": (1, 32, 32), "mean": (0.1307,), "std": (0.3081,), "interpolation": "bilinear"},
    "border-wide": {"crop_mode": "border", "input_size": (3, 40, 64), "crop_pct": 0.95, "interpolation": "bilinear"},
}
# Configurations of timm's own models, on a small network.
REAL = {
    "resnet50": ("resnet50.a1_in1k", FEW),
    "vit": ("vit_base_patch16_224.augreg_in21k_ft_in1k", FEW[1:]),
    "efficientnet": ("efficientnet_b0.ra_in1k", FEW[1:]),
}


def make(wanted):
    for name, settings in CONFIGS.items():
        if wanted(f"timm-{name}"):
            make_one(f"timm-{name}", BASE | settings, tuple(PHOTOS))
    for name, (known_as, photos) in REAL.items():
        if wanted(f"timm-{name}"):
            make_one(f"timm-{name}", timm.get_pretrained_cfg(known_as).to_dict(), photos)
    if wanted("timm-wrapper"):
        make_wrapped("timm-wrapper", BASE | {"crop_pct": 0.95})


def network(config):
    channels = config["input_size"][0]
    return configured(timm.create_model("test_resnet", num_classes=CLASSES, in_chans=channels, **SMALL), config)


def configured(model, config):
    model.pretrained_cfg = model.default_cfg = config
    return model


def make_one(name, config, photos, model=None):
    """With a `model` of its own instead of the small ResNet."""
    folder = model_folder(name)
    model, grey = configured(model, config) if model else network(config), config["input_size"][0] == 1
    transform = timm.data.create_transform(**timm.data.resolve_model_data_config(model))

    def prepare(path):
        return transform(Image.open(path).convert("L" if grey else "RGB")).unsqueeze(0).numpy()

    batch = torch.cat([torch.from_numpy(prepare(path)) for path in PHOTOS.values()])
    enliven(model, batch, SEEDS.get(name, 0))
    save_config_for_hf(model, folder / "config.json", {"label_names": LABELS[:CLASSES]})
    export(model, batch[:2], folder / "model.onnx", input_name="input", output="output")
    Case(
        name=name,
        library=LIBRARY,
        pipeline=f"Image.open, create_transform(resolve_model_data_config), {type(model).__name__}",
        prepare=prepare,
        compute=run(model),
        labels=LABELS[:CLASSES],
        output="output",
        photos=photos,
    ).write()


def make_wrapped(name, config):
    """The same model behind transformers, whose `save_pretrained` writes another config.json and no second file."""
    folder = model_folder(name)
    save_config_for_hf(network(config), folder / "config.json")
    settings = hf.TimmWrapperConfig.from_pretrained(folder)
    settings.architecture, settings.model_args = "test_resnet", SMALL
    settings.id2label = dict(enumerate(LABELS[:CLASSES]))
    settings.save_pretrained(folder)
    processor = hf.AutoImageProcessor.from_pretrained(folder)
    assert "pretrained_cfg" in json.loads((folder / "config.json").read_text())

    def prepare(path):
        return processor(images=hf.image_utils.load_image(str(path)))["pixel_values"].numpy()

    answer = Answer(hf.TimmWrapperForImageClassification(settings), "logits")
    batch = torch.cat([torch.from_numpy(prepare(path)) for path in PHOTOS.values()])
    enliven(answer, batch)
    export(answer, batch[:2], folder / "model.onnx")
    Case(
        name=name,
        library=f"transformers {hf.__version__}, timm {timm.__version__}",
        pipeline=f"load_image, {type(processor).__name__}, {type(answer.model).__name__}",
        prepare=prepare,
        compute=run(answer),
        labels=LABELS[:CLASSES],
        exif=True,
    ).write()
