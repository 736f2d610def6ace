"""Goldens of transformers: each image processor with a small model of its own family."""

import json
from dataclasses import dataclass

import torch
import transformers as hf
from goldens import FEW, LABELS, PHOTOS, Case, model_folder
from networks import Answer, enliven, export, run
from transformers.image_utils import load_image

LIBRARY = f"transformers {hf.__version__}"
IMAGENET = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}
CLASSES = 12


@dataclass
class Model:
    """A case. `processor` is one with its settings, or the text of a preprocessor_config.json as a hub has it."""

    name: str
    family: str
    config: dict
    processor: object
    kind: str = "ForImageClassification"
    output: str = "logits"
    activation: str = "softmax"
    photos: tuple = tuple(PHOTOS)
    # The library's second implementation, on Pillow instead of torchvision.
    backend: str = "torchvision"
    # Where Optimum puts the file.
    file: str = "model.onnx"
    axes: tuple = ("batch_size", "num_channels", "height", "width")
    dynamo: bool = False
    classes: int = CLASSES
    seed: int = 0


def vit(size, patch=8, **settings):
    small = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 24}
    return {"image_size": size, "patch_size": patch} | small | settings


def old(kind, **settings):
    """What the hub's oldest and most used folders hold: a "feature extractor" of 2021 and 2022."""
    return {"do_normalize": True, "do_resize": True, "feature_extractor_type": kind, **settings}


RESNET = {"embedding_size": 12, "hidden_sizes": [12, 16], "depths": [1, 1], "layer_type": "basic"}
CONVNEXT = {"hidden_sizes": [8, 12, 12, 16], "depths": [1, 1, 1, 1]}
SWIN = {"embed_dim": 8, "depths": [1, 1], "num_heads": [2, 2], "window_size": 4, "patch_size": 4}
EFFICIENTNET = {
    "width_coefficient": 0.1,
    "depth_coefficient": 0.1,
    "hidden_dim": 128,
    "in_channels": [32, 16, 24],
    "out_channels": [16, 24, 40],
    "strides": [1, 2, 2],
    "kernel_sizes": [3, 3, 5],
    "expand_ratios": [1, 6, 6],
    "num_block_repeats": [1, 1, 1],
    "depthwise_padding": [],
}
BIT = {"embedding_size": 12, "hidden_sizes": [16, 24], "depths": [1, 1], "num_groups": 4}
LEVIT = {
    "hidden_sizes": [8, 12, 16],
    "num_attention_heads": [2, 2, 2],
    "depths": [1, 1, 1],
    "key_dim": [4, 4, 4],
    "drop_path_rate": 0,
    "mlp_ratio": [1, 1, 1],
    "attention_ratio": [1, 1, 1],
}
POOLFORMER = {"hidden_sizes": [8, 12, 16, 24], "depths": [1, 1, 1, 1], "mlp_ratio": 2.0}
MOBILEVIT = {
    "hidden_sizes": [8, 8, 12],
    "neck_hidden_sizes": [4, 4, 8, 8, 8, 8, 16],
    "num_attention_heads": 2,
    "mlp_ratio": 1.0,
    "expand_ratio": 1.0,
}
SQUARE = {"height": 48, "width": 48}


MODELS = [
    # The classes that today's save_pretrained names, in both of the library's implementations.
    Model("vit", "ViT", vit(48), hf.ViTImageProcessor(size=SQUARE)),
    Model("vit-pil", "ViT", vit(48), hf.ViTImageProcessorPil(size=SQUARE), backend="pil"),
    Model("vit-wide", "ViT", vit((40, 64)), hf.ViTImageProcessor(size={"height": 40, "width": 64}), dynamo=True),
    Model("resnet", "ResNet", RESNET, hf.ConvNextImageProcessor(size={"shortest_edge": 56}, **IMAGENET)),
    Model(
        "resnet-pil",
        "ResNet",
        RESNET,
        hf.ConvNextImageProcessorPil(size={"shortest_edge": 56}, **IMAGENET),
        backend="pil",
    ),
    Model(
        "convnext-crop",
        "ConvNext",
        CONVNEXT,
        hf.ConvNextImageProcessor(size={"shortest_edge": 64}, crop_pct=0.95),
        # With another one, two of the best five classes are too close to tell apart.
        seed=4,
    ),
    Model(
        "convnext-warp",
        "ConvNext",
        CONVNEXT,
        hf.ConvNextImageProcessor(size={"shortest_edge": 384}, **IMAGENET),
        photos=FEW[1:],
        axes=(),
    ),
    Model(
        "efficientnet",
        "EfficientNet",
        EFFICIENTNET | {"image_size": 48},
        hf.EfficientNetImageProcessor(size=SQUARE, resample=0, **IMAGENET),
    ),
    Model(
        "efficientnet-crop",
        "EfficientNet",
        EFFICIENTNET | {"image_size": 48},
        hf.EfficientNetImageProcessor(
            size={"height": 58, "width": 58},
            crop_size=SQUARE,
            do_center_crop=True,
            include_top=False,
            rescale_factor=1 / 127.5,
            rescale_offset=True,
            do_normalize=False,
        ),
    ),
    Model(
        "mobilenet-v1",
        "MobileNetV1",
        {"depth_multiplier": 0.06, "min_depth": 4, "image_size": 64},
        hf.MobileNetV1ImageProcessor(size={"shortest_edge": 73}, crop_size={"height": 64, "width": 64}),
    ),
    Model(
        "mobilenet-v2",
        "MobileNetV2",
        {
            "depth_multiplier": 0.05,
            "min_depth": 4,
            "depth_divisible_by": 4,
            "image_size": 64,
            "expand_ratio": 2,
            "finegrained_output": False,
        },
        hf.MobileNetV2ImageProcessor(size={"shortest_edge": 73}, crop_size={"height": 64, "width": 64}),
    ),
    Model(
        "mobilevit",
        "MobileViT",
        MOBILEVIT | {"image_size": 64},
        hf.MobileViTImageProcessor(size={"shortest_edge": 72}, crop_size={"height": 64, "width": 64}),
    ),
    Model(
        "beit",
        "Beit",
        vit(48, use_absolute_position_embeddings=True),
        hf.BeitImageProcessor(size={"height": 54, "width": 54}, crop_size=SQUARE, do_center_crop=True),
    ),
    Model(
        "deit",
        "DeiT",
        vit(48),
        hf.DeiTImageProcessor(size={"height": 55, "width": 55}, crop_size=SQUARE, **IMAGENET),
    ),
    Model(
        "swin", "Swin", SWIN | {"image_size": 64}, hf.ViTImageProcessor(size={"height": 64, "width": 64}, resample=3)
    ),
    Model(
        "bit",
        "Bit",
        BIT,
        hf.BitImageProcessor(size={"shortest_edge": 64}, crop_size={"height": 56, "width": 56}),
    ),
    Model(
        "levit",
        "Levit",
        LEVIT | {"image_size": 64},
        hf.LevitImageProcessor(size={"shortest_edge": 64}, crop_size={"height": 64, "width": 64}),
    ),
    Model(
        "poolformer",
        "PoolFormer",
        POOLFORMER,
        hf.PoolFormerImageProcessor(size={"shortest_edge": 64}, crop_size={"height": 64, "width": 64}),
    ),
    Model(
        "pvt-v2",
        "PvtV2",
        {
            "image_size": 64,
            "hidden_sizes": [4, 8, 8, 16],
            "depths": [1, 1, 1, 1],
            "num_attention_heads": [1, 1, 2, 2],
            "mlp_ratios": [2, 2, 2, 2],
        },
        hf.PvtImageProcessor(size={"height": 64, "width": 64}),
    ),
    Model(
        "siglip",
        "Siglip",
        {"vision_config": vit(48), "text_config": vit(48, vocab_size=16)},
        hf.SiglipImageProcessor(size=SQUARE),
    ),
    # Folders as the hub has them, at the real size.
    Model(
        "hub-vit",
        "ViT",
        vit(224, 16, hidden_size=12),
        {
            "do_normalize": True,
            "do_resize": True,
            "image_mean": [0.5] * 3,
            "image_std": [0.5] * 3,
            "size": 224,
        },
        photos=FEW,
        file="onnx/model.onnx",
    ),
    Model(
        "hub-resnet",
        "ResNet",
        RESNET | {"downsample_in_first_stage": True},
        old(
            "ConvNextFeatureExtractor",
            crop_pct=0.875,
            resample=3,
            size=224,
            **IMAGENET,
        ),
        photos=FEW,
        file="onnx/model.onnx",
    ),
    Model(
        "hub-deit",
        "DeiT",
        vit(224, 16, hidden_size=12),
        old(
            "DeiTFeatureExtractor",
            crop_size=224,
            do_center_crop=True,
            resample=3,
            size=256,
            **IMAGENET,
        ),
        photos=FEW[1:],
    ),
    Model(
        "hub-swin",
        "Swin",
        SWIN | {"image_size": 224, "window_size": 7, "patch_size": 8, "embed_dim": 12},
        old(
            "ViTFeatureExtractor",
            resample=3,
            size=224,
            **IMAGENET,
        ),
        photos=FEW[1:],
    ),
    # What is not one class of many.
    Model(
        "multilabel",
        "ViT",
        vit(48, problem_type="multi_label_classification"),
        hf.ViTImageProcessor(size=SQUARE),
        activation="sigmoid",
    ),
    Model(
        "dinov2-pooled",
        "Dinov2",
        vit(56, 14),
        hf.BitImageProcessor(
            size={"shortest_edge": 64},
            crop_size={"height": 56, "width": 56},
            **IMAGENET,
        ),
        kind="Model",
        output="pooler_output",
        activation="none",
    ),
    Model(
        "dinov3-floats",
        "DINOv3ViT",
        vit(48, 8),
        hf.DINOv3ViTImageProcessor(size=SQUARE),
        kind="Model",
        output="pooler_output",
        activation="none",
    ),
    Model(
        "clip-embedding",
        "CLIP",
        vit(48, projection_dim=16),
        hf.CLIPImageProcessor(
            size={"shortest_edge": 48},
            crop_size=SQUARE,
        ),
        kind="VisionModelWithProjection",
        output="image_embeds",
        activation="none",
    ),
]


def make(wanted):
    for model in MODELS:
        if wanted(f"transformers-{model.name}"):
            make_one(model)


def make_one(case):
    name = f"transformers-{case.name}"
    folder = model_folder(name)
    labels = LABELS[: case.classes] if case.kind == "ForImageClassification" else None
    model = build(case, labels)
    model.config.save_pretrained(folder)
    save_processor(case.processor, folder)
    processor = hf.AutoImageProcessor.from_pretrained(folder, backend=case.backend)

    def prepare(path):
        return processor(images=load_image(str(path)), return_tensors="pt")["pixel_values"].numpy()

    answer = Answer(model, case.output)
    batch = torch.cat([torch.from_numpy(prepare(path)) for path in PHOTOS.values()])
    enliven(answer, batch, case.seed)
    export(answer, batch[:2], folder / case.file, output=case.output, axes=case.axes, dynamo=case.dynamo)
    Case(
        name=name,
        library=LIBRARY,
        pipeline=f"load_image, {type(processor).__name__}, {type(model).__name__}",
        prepare=prepare,
        compute=run(answer),
        labels=labels,
        activation=case.activation,
        output=case.output,
        exif=True,
        photos=case.photos,
    ).write()


def save_processor(processor, folder):
    if isinstance(processor, dict):
        (folder / "preprocessor_config.json").write_text(json.dumps(processor, indent=2))
    else:
        processor.save_pretrained(folder)


def build(case, labels):
    config = getattr(hf, f"{case.family}{'Vision' if case.family == 'CLIP' else ''}Config")(**case.config)
    if labels:
        config.id2label = dict(enumerate(labels))
        config.label2id = {label: index for index, label in enumerate(labels)}
    model = getattr(hf, case.family + case.kind)(config)
    model.config.architectures = [type(model).__name__]
    return model
