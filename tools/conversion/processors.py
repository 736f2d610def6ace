"""What the image processors of transformers do, said in the words of model.toml.

Read from a processor as it was loaded, in which old spellings of its settings are resolved. A processor that is not known
here is followed if its settings say all that it does, and refused otherwise.
"""

import json
from pathlib import Path

from .failure import Failure
from .manifest import Input, Normalisation
from .original import INPUT
from .presets import PRESETS

# The server's table: which processors there are, which of them have an arithmetic of their own, which of those that are not
# there only look plain, and which settings are those of resizing, cropping, rescaling and normalising.
TABLE = json.loads(
    (Path(__file__).resolve().parents[2] / "crates/ocelli-vision/src/auto/processors.json").read_text(encoding="utf-8")
)
SUFFIX = "ImageProcessor"


def _quirk(row: dict) -> str:
    """What the processor does in its own way, without its numbers, which a processor that was loaded has itself."""
    return row["quirk"] if isinstance(row["quirk"], str) else next(iter(row["quirk"]))


QUIRKS = {row["name"] + SUFFIX: _quirk(row) for row in TABLE["processors"]}
TIMM = "TimmWrapperImageProcessor"
RESAMPLE = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic"}
# Means that differ by less are equal except for rounding.
SAME_MEAN = 0.002
# Below this size, ConvNeXT's processor crops; from this size on, it stretches.
CONVNEXT_STRETCHES = 384


def describe(processor, interpolation: str | None) -> Input:
    """The `[input]` of `processor`; `interpolation` overrides its own unless it is None."""
    kind = _kind(processor)
    if kind == TIMM:
        if interpolation is not None:
            raise Failure(
                "--interpolation: timm prepares for this model, so convert it as one of timm's, with timm:NAME"
            )
        from .from_timm import describe as describe_timm

        return describe_timm(processor.data_config)
    settings = processor.to_dict()
    if kind not in QUIRKS:
        check_plain(kind, settings, interpolation)
    if settings.get("do_pad"):
        raise Failure(f"the processor {kind} pads photos to a common size: {advice(settings)}")
    width, height, resize = geometry(kind, settings)
    resample = interpolation or RESAMPLE.get(int(settings.get("resample") or 0))
    if resample is None:
        raise Failure(f"the processor resizes with filter {settings['resample']}: choose one with --interpolation")
    return Input(
        INPUT, width, height, "nchw", _normalisation(kind, settings), resize, resample, resampler=_resampler(processor)
    )


def notes(processor) -> list[str]:
    """Messages for the user about the processor."""
    kind = _kind(processor)
    if kind in QUIRKS or kind == TIMM:
        return []
    return [
        f"the processor {kind} is not known here, but its settings only resize, crop, rescale and normalise, and are followed "
        "as they stand: see below whether the input tensor agrees"
    ]


def check_plain(kind: str, settings: dict, interpolation: str | None) -> None:
    """Raises Failure unless the settings of an unknown processor only resize, crop, rescale and normalise, and say everything
    about that: the rule of the server, in crates/ocelli-vision/src/auto/unknown.rs."""
    difference = TABLE["different"].get(kind.removesuffix(SUFFIX))
    if difference is not None:
        raise Failure(f"the processor {kind} cannot be followed: {difference}; {advice(settings)}")
    plain = {*TABLE["steps"], *TABLE["inert"]}
    more = [key for key, value in settings.items() if key not in plain and not key.startswith("_")]
    more = [key for key in more if settings[key] is not None and settings[key] is not False]
    wanted = ["size", "do_normalize"]
    if interpolation is None:
        wanted.append("resample")
    if settings.get("do_center_crop"):
        wanted.append("crop_size")
    elif settings.get("do_center_crop") is None and settings.get("crop_size"):
        wanted.append("do_center_crop")
    if settings.get("do_normalize"):
        wanted += ["image_mean", "image_std"]
    missing = [key for key in wanted if settings.get(key) is None]
    why = None
    if more:
        why = f"{more[0]} is more than resizing, cropping, rescaling and normalising"
    elif missing:
        why = f"it has no {missing[0]}"
    elif settings.get("do_resize") is not True:
        why = "it does not say do_resize"
    if why is not None:
        known = ", ".join(row["name"] for row in TABLE["processors"])
        raise Failure(
            f"the processor {kind} is not known here, and {why} (known are the image processors of {known}): {advice(settings)}"
        )


def advice(settings: dict) -> str:
    """Advice for an unsupported processor: the nearest preset, and how to adjust it."""
    preset = "unit"
    if settings.get("do_normalize", True):
        mean = settings.get("image_mean")
        keeps_ratio = "shortest_edge" in (settings.get("size") or {})
        nearest = ["vit", "clip"] if keeps_ratio else ["vit", "clip", "keras-torch"]
        preset = next((name for name in nearest if _is_near(mean, PRESETS[name].normalisation.mean)), "torchvision")
    return (
        "export the model with torch.onnx.export, then correct the model.toml that "
        f"`ocelli model init model.onnx --preset {preset} --out DIR` writes"
    )


def _is_near(mean, other: tuple[float, float, float]) -> bool:
    return isinstance(mean, (list, tuple)) and all(
        abs(one - two) < SAME_MEAN for one, two in zip(mean, other, strict=False)
    )


def _kind(processor) -> str:
    """The class name without the suffixes of its versions."""
    return type(processor).__name__.removesuffix("Fast").removesuffix("Pil")


def _resampler(processor) -> str:
    """Whose arithmetic it resizes with: classes of transformers 5 resize PyTorch's tensors, but for those of its Pillow
    backend and those that are older."""
    return "torch" if getattr(processor, "backend", None) == "torchvision" else "pillow"


def geometry(kind: str, settings: dict) -> tuple[int, int, dict]:
    """Width and height of the tensor, and the matching `resize` table."""
    quirk = QUIRKS.get(kind, "none")
    size = {key: value for key, value in (settings.get("size") or {}).items() if value is not None}
    crop = settings.get("crop_size") if settings.get("do_center_crop") else None
    if not settings.get("do_resize", True):
        raise Failure(
            "the processor does not resize, so photos would have to come in the model's size: turn do_resize on, or "
            + advice(settings)
        )
    if quirk == "convnext":
        edge = size["shortest_edge"]
        if edge >= CONVNEXT_STRETCHES:
            return edge, edge, {"policy": "stretch"}
        return edge, edge, _shortest_edge(int(edge / settings["crop_pct"]))
    edge, share = size.get("shortest_edge"), settings.get("crop_pct")
    if quirk == "levit" and edge:
        edge = int(256 / 224 * edge)
    if quirk == "poolformer" and share is not None:
        sides = {edge} if edge else {size.get("height"), size.get("width")}
        if len(sides) != 1:
            raise Failure(f"the processor's size {size} is not square, which is not known here: {advice(settings)}")
        edge, size = int(sides.pop() / share), {}
    if edge and "longest_edge" not in size:
        if not crop:
            raise Failure(
                "the processor makes tensors of any shape, for it does not crop: set do_center_crop and crop_size"
            )
        return crop["width"], crop["height"], _shortest_edge(edge)
    if set(size) != {"height", "width"}:
        raise Failure(f"the processor's size {size} is not known here: {advice(settings)}")
    sides = [size["width"], size["height"]]
    if not crop or [crop["width"], crop["height"]] == sides:
        return *sides, {"policy": "stretch"}
    return crop["width"], crop["height"], {"policy": "stretch", "size": sides, "rounding": "down"}


def _shortest_edge(edge: int) -> dict:
    # transformers rounds the corner of the crop down, torchvision to the nearest.
    return {"policy": "shortest-edge", "size": edge, "rounding": "down"}


def _normalisation(kind: str, settings: dict) -> Normalisation:
    scale = settings["rescale_factor"] if settings.get("do_rescale") else 1.0
    mean, std = [0.0] * 3, [1.0] * 3
    if settings.get("do_normalize"):
        mean, std = _three(settings["image_mean"]), _three(settings["image_std"])
    channels, quirk = "rgb", QUIRKS.get(kind, "none")
    if quirk == "efficientnet":
        if settings.get("rescale_offset"):
            mean = [value + 1 for value in mean]
        if settings.get("include_top"):
            # This processor divides by the standard deviation twice.
            std = [a * b for a, b in zip(std, _three(settings["image_std"]), strict=True)]
    if quirk == "mobilevit":
        mean, std = [0.0] * 3, [1.0] * 3
        channels = "bgr" if settings.get("do_flip_channel_order") else "rgb"
    return Normalisation(channels, scale, tuple(mean), tuple(std))


def _three(value) -> list[float]:
    values = [float(item) for item in value] if isinstance(value, (list, tuple)) else [float(value)] * 3
    if len(values) != 3:
        raise Failure(f"the processor has {len(values)} channels, and Ocelli's photos 3: choose another model")
    return values
