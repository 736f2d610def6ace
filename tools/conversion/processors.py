"""What the image processors of transformers do, said in the words of model.toml.

Read from a processor as it was loaded, in which old spellings of its settings are resolved. A processor that is not known
here is refused: its settings may mean something else.
"""

from .failure import Failure
from .manifest import Input, Normalisation
from .original import INPUT

# Those that do what their settings say, in the order resize, centre crop, rescale, normalise.
PLAIN = {
    "BeitImageProcessor",
    "BitImageProcessor",
    "ChineseCLIPImageProcessor",
    "CLIPImageProcessor",
    "DeiTImageProcessor",
    "DINOv3ViTImageProcessor",
    "MobileNetV1ImageProcessor",
    "MobileNetV2ImageProcessor",
    "PvtImageProcessor",
    "SegformerImageProcessor",
    "SiglipImageProcessor",
    "ViTImageProcessor",
}
# Those with an arithmetic of their own, which `describe` knows.
SPECIAL = {
    "ConvNextImageProcessor",
    "EfficientNetImageProcessor",
    "LevitImageProcessor",
    "MobileViTImageProcessor",
    "PoolFormerImageProcessor",
}
RESAMPLE = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic"}
# Up to here ConvNeXT's processor crops; from here on it stretches.
CONVNEXT_STRETCHES = 384


def describe(processor, interpolation: str | None) -> Input:
    """The `[input]` of `processor`; `interpolation` if not None replaces its own."""
    kind = type(processor).__name__.removesuffix("Fast").removesuffix("Pil")
    if kind == "TimmWrapperImageProcessor":
        if interpolation is not None:
            raise Failure(
                "--interpolation: timm prepares for this model, so convert it as one of timm's, with timm:NAME"
            )
        from .from_timm import describe as describe_timm

        return describe_timm(processor.data_config)
    if kind not in PLAIN | SPECIAL:
        raise Failure(
            f"the processor {kind} is not known here: export the model with torch.onnx.export and write the model.toml for "
            f"it by hand (known are {', '.join(sorted(PLAIN | SPECIAL))})"
        )
    settings = processor.to_dict()
    if settings.get("do_pad"):
        raise Failure(f"the processor {kind} pads, which is not known here: write the model.toml by hand")
    width, height, resize = geometry(kind, settings)
    resample = interpolation or RESAMPLE.get(int(settings.get("resample") or 0))
    if resample is None:
        raise Failure(f"the processor resizes with filter {settings['resample']}: choose one with --interpolation")
    return Input(INPUT, width, height, "nchw", _normalisation(kind, settings), resize, resample)


def geometry(kind: str, settings: dict) -> tuple[int, int, dict]:
    """Width and height of the tensor, and the `resize` table that leads to them."""
    size = {key: value for key, value in (settings.get("size") or {}).items() if value is not None}
    crop = settings.get("crop_size") if settings.get("do_center_crop") else None
    if not settings.get("do_resize", True):
        raise Failure(
            "the processor does not resize, so photos would have to come in the model's size: turn do_resize on"
        )
    if kind == "ConvNextImageProcessor":
        edge = size["shortest_edge"]
        if edge >= CONVNEXT_STRETCHES:
            return edge, edge, {"policy": "stretch"}
        return edge, edge, _shortest_edge(int(edge / settings["crop_pct"]))
    edge, share = size.get("shortest_edge"), settings.get("crop_pct")
    if kind == "LevitImageProcessor" and edge:
        edge = int(256 / 224 * edge)
    if kind == "PoolFormerImageProcessor" and share is not None:
        sides = {edge} if edge else {size.get("height"), size.get("width")}
        if len(sides) != 1:
            raise Failure(
                f"the processor's size {size} is not square, which is not known here: write the model.toml by hand"
            )
        edge, size = int(sides.pop() / share), {}
    if edge and "longest_edge" not in size:
        if not crop:
            raise Failure(
                "the processor makes tensors of any shape, for it does not crop: set do_center_crop and crop_size"
            )
        return crop["width"], crop["height"], _shortest_edge(edge)
    if set(size) != {"height", "width"}:
        raise Failure(f"the processor's size {size} is not known here: write the model.toml by hand")
    sides = [size["width"], size["height"]]
    if not crop or [crop["width"], crop["height"]] == sides:
        return *sides, {"policy": "stretch"}
    return crop["width"], crop["height"], {"policy": "stretch", "size": sides, "rounding": "down"}


def _shortest_edge(edge: int) -> dict:
    # transformers rounds the corner of the crop down, where torchvision rounds it to the nearest.
    return {"policy": "shortest-edge", "size": edge, "rounding": "down"}


def _normalisation(kind: str, settings: dict) -> Normalisation:
    scale = settings["rescale_factor"] if settings.get("do_rescale") else 1.0
    mean, std = [0.0] * 3, [1.0] * 3
    if settings.get("do_normalize"):
        mean, std = _three(settings["image_mean"]), _three(settings["image_std"])
    channels = "rgb"
    if kind == "EfficientNetImageProcessor":
        if settings.get("rescale_offset"):
            mean = [value + 1 for value in mean]
        if settings.get("include_top"):
            # It divides by the deviation a second time.
            std = [a * b for a, b in zip(std, _three(settings["image_std"]), strict=True)]
    if kind == "MobileViTImageProcessor":
        mean, std = [0.0] * 3, [1.0] * 3
        channels = "bgr" if settings.get("do_flip_channel_order") else "rgb"
    return Normalisation(channels, scale, tuple(mean), tuple(std))


def _three(value) -> list[float]:
    values = [float(item) for item in value] if isinstance(value, (list, tuple)) else [float(value)] * 3
    if len(values) != 3:
        raise Failure(f"the processor has {len(values)} channels, and Ocelli's photos 3: choose another model")
    return values
