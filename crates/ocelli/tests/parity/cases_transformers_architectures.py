"""Goldens of transformers: more architectures, each small, with the preprocessor_config.json of a folder of the hub."""

from cases_transformers import IMAGENET, Model, make_one, old, vit
from goldens import FEW

CONVNEXT = {"hidden_sizes": [8, 12, 12, 16], "depths": [1, 1, 1, 1]}
ONE = FEW[1:]


def new(kind, **settings):
    """What save_pretrained of 2023 and later writes."""
    common = {"do_normalize": True, "do_rescale": True, "do_resize": True, "rescale_factor": 1 / 255}
    return common | {"image_processor_type": f"{kind}ImageProcessor"} | settings


def cropped(kind, edge, side, **settings):
    """The shorter edge, then the centre."""
    crop = {"do_center_crop": True, "crop_size": {"height": side, "width": side}}
    return new(kind, size={"shortest_edge": edge}, **crop, **settings)


ARCHITECTURES = [
    # facebook/convnextv2-tiny-1k-224
    Model(
        "convnext-v2",
        "ConvNextV2",
        CONVNEXT,
        new("ConvNext", crop_pct=0.875, resample=3, size={"shortest_edge": 224}, **IMAGENET),
        photos=ONE,
    ),
    # microsoft/swinv2-tiny-patch4-window8-256
    Model(
        "swin-v2",
        "Swinv2",
        {"image_size": 256, "patch_size": 8, "embed_dim": 12, "depths": [1, 1], "num_heads": [2, 2], "window_size": 8},
        new("ViT", resample=3, size={"height": 256, "width": 256}, **IMAGENET),
        photos=ONE,
    ),
    # facebook/regnet-y-040
    Model(
        "regnet",
        "RegNet",
        {"embedding_size": 8, "hidden_sizes": [8, 12, 16, 24], "depths": [1, 1, 1, 1], "groups_width": 4},
        old("ConvNextFeatureExtractor", crop_pct=0.875, resample=3, size=224, **IMAGENET),
        photos=ONE,
    ),
    # apple/mobilevitv2-1.0-imagenet1k-256
    Model(
        "mobilevit-v2",
        "MobileViTV2",
        {"image_size": 256, "width_multiplier": 0.125, "n_attn_blocks": [1, 1, 1], "mlp_ratio": 1.0},
        {
            "crop_size": {"height": 256, "width": 256},
            "do_center_crop": True,
            "do_flip_channel_order": True,
            "do_rescale": True,
            "do_resize": True,
            "image_processor_type": "MobileViTImageProcessor",
            "resample": 2,
            "rescale_factor": 1 / 255,
            "size": {"shortest_edge": 288},
        },
        photos=ONE,
        dynamo=True,
    ),
    # facebook/data2vec-vision-base-ft1k
    Model(
        "data2vec",
        "Data2VecVision",
        vit(224, 16, use_absolute_position_embeddings=False, use_relative_position_bias=True, use_mean_pooling=True),
        old(
            "BeitFeatureExtractor",
            crop_size=224,
            do_center_crop=False,
            image_mean=[0.5] * 3,
            image_std=[0.5] * 3,
            reduce_labels=False,
            resample=2,
            size=224,
        ),
        photos=ONE,
    ),
    # microsoft/focalnet-tiny
    Model(
        "focalnet",
        "FocalNet",
        {"image_size": 224, "embed_dim": 8, "hidden_sizes": [8, 12, 16, 24], "depths": [1, 1, 1, 1], "mlp_ratio": 2.0},
        cropped("Bit", 256, 224, do_convert_rgb=True, resample=2, **IMAGENET),
        photos=ONE,
    ),
    # facebook/vit-msn-small
    Model(
        "vit-msn",
        "ViTMSN",
        vit(224, 16),
        old("ViTFeatureExtractor", resample=3, size=224, **IMAGENET),
        photos=ONE,
    ),
    # facebook/hiera-tiny-224-in1k-hf
    Model(
        "hiera",
        "Hiera",
        {
            "embed_dim": 8,
            "image_size": [224, 224],
            "depths": [1, 1, 1, 1],
            "num_heads": [1, 1, 2, 2],
            "mlp_ratio": 2.0,
        },
        cropped("Bit", 256, 224, do_convert_rgb=True, resample=3, **IMAGENET),
        photos=ONE,
    ),
    # MBZUAI/swiftformer-xs
    Model(
        "swiftformer",
        "SwiftFormer",
        {"image_size": 224, "embed_dims": [8, 8, 12, 16], "depths": [1, 1, 1, 1], "mlp_ratio": 2},
        new("ViT", resample=3, size={"height": 224, "width": 224}, **IMAGENET),
        photos=ONE,
    ),
    # facebook/dinov2-with-registers-small-imagenet1k-1-layer
    Model(
        "dinov2-registers",
        "Dinov2WithRegisters",
        vit(224, 14, num_register_tokens=4, mlp_ratio=2),
        cropped("Bit", 256, 224, do_convert_rgb=True, resample=3, **IMAGENET),
        photos=ONE,
        dynamo=True,
    ),
]


def make(wanted):
    for model in ARCHITECTURES:
        if wanted(f"transformers-{model.name}"):
            make_one(model)
