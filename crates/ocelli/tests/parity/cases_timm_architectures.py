"""Goldens of timm: more architectures, each narrow, with the configuration of its own weights."""

from functools import partial

import timm
from cases_timm import CLASSES, make_one
from goldens import FEW
from timm import models
from timm.layers import set_fused_attn

ONE = FEW[1:]
DEPTHS = (1, 1, 1, 1)
# Name of the weights whose configuration it is, and what makes a small network of the architecture.
ARCHITECTURES = {
    "convnextv2": (
        "convnextv2_atto.fcmae_ft_in1k",
        partial(models.create_model, "convnextv2_atto", dims=(8, 8, 12, 16), depths=DEPTHS),
    ),
    "deit3": (
        "deit3_small_patch16_224.fb_in1k",
        partial(models.create_model, "deit3_small_patch16_224", embed_dim=16, depth=1, num_heads=2),
    ),
    "mixer": ("mixer_b16_224.goog_in21k_ft_in1k", partial(models.MlpMixer, embed_dim=16, num_blocks=1)),
    "densenet": (
        "densenet121.ra_in1k",
        partial(models.create_model, "densenet121", growth_rate=8, block_config=DEPTHS),
    ),
    "edgenext": (
        "edgenext_xx_small.in1k",
        partial(models.create_model, "edgenext_xx_small", dims=(8, 8, 16, 16), depths=DEPTHS, heads=(2, 2, 2, 2)),
    ),
    "pvt-v2": (
        "pvt_v2_b0.in1k",
        partial(models.create_model, "pvt_v2_b0", embed_dims=(8, 8, 16, 16), depths=DEPTHS, num_heads=(1, 1, 2, 2)),
    ),
    "cait": (
        "cait_xxs24_224.fb_dist_in1k",
        partial(models.create_model, "cait_xxs24_224", embed_dim=16, depth=1, num_heads=2),
    ),
    "eva02": (
        "eva02_tiny_patch14_336.mim_in22k_ft_in1k",
        partial(models.create_model, "eva02_tiny_patch14_336", embed_dim=16, depth=1, num_heads=2),
    ),
    "convmixer": ("convmixer_768_32.in1k", partial(models.ConvMixer, dim=16, depth=2)),
    "xcit": (
        "xcit_nano_12_p16_224.fb_in1k",
        partial(models.create_model, "xcit_nano_12_p16_224", embed_dim=16, depth=1, num_heads=2),
    ),
}


def make(wanted):
    # PyTorch's exporter cannot trace the fused one.
    set_fused_attn(enable=False)
    for name, (known_as, small) in ARCHITECTURES.items():
        if wanted(f"timm-{name}"):
            config = timm.get_pretrained_cfg(known_as).to_dict()
            make_one(f"timm-{name}", config, ONE, small(num_classes=CLASSES))
