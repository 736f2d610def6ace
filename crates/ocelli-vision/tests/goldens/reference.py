"""What the crate must equal: Pillow for the pixels, the training libraries' arithmetic for the geometry."""

import math

import numpy as np
from PIL import Image, ImageOps

FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}


def prepare(path, spec):
    """An image file as `spec` (the [input] table of a model.toml) asks for, as a Pillow RGB image."""
    image = load(path, spec.get("exif", True))
    if spec.get("channels") == "gray":
        # Training code converts images to grey before it resizes them.
        image = image.convert("L")
    policy = spec["resize"]
    size = spec["width"], spec["height"]
    rounding = policy.get("rounding", "even")
    match policy["policy"]:
        case "stretch" if "size" in policy:
            prepared = centre(resize(image, tuple(policy["size"]), spec), size, rounding)
        case "stretch":
            prepared = resize(image, size, spec)
        case "crop-ratio":
            prepared = resize(central_square(image, policy["ratio"]), size, spec)
        case "shortest-edge":
            prepared = centre(shortest_edge(image, policy["size"], spec), size, rounding)
        case "cover":
            prepared = centre(keep_ratio(image, policy["size"], min, spec), size, rounding)
        case "letterbox":
            inner = keep_ratio(image, policy.get("size", size), max, spec)
            prepared = centre(inner, size, "even", tuple(policy["fill"]))
        case other:
            raise ValueError(other)
    return prepared.convert("RGB")


def load(path, exif):
    with Image.open(path) as image:
        image.load()
        if exif:
            image = ImageOps.exif_transpose(image)
        # Pillow saturates 16-bit grey; the crate keeps its upper 8 bits, as Pillow does of 16-bit colour.
        if image.mode.startswith("I"):
            image = Image.fromarray((np.asarray(image).astype("u4") >> 8).astype("u1"))
        return image.convert("RGB")


def central_square(image, ratio):
    """`distorted_bounding_box_crop`'s sibling in the EfficientNet reference: `_decode_and_center_crop`."""
    width, height = image.size
    side = max(1, int(min(width, height) * ratio))
    left, top = ((width - side) + 1) // 2, ((height - side) + 1) // 2
    return image.crop((left, top, left + side, top + side))


def shortest_edge(image, edge, spec):
    """torchvision: `Resize(edge)`."""
    width, height = image.size
    short, long = min(width, height), max(width, height)
    longer = int(edge * long / short)
    return resize(image, (edge, longer) if width <= height else (longer, edge), spec)


def keep_ratio(image, size, choose, spec):
    """timm: `ResizeKeepRatio(size, longest=0)` where `choose` is min, `longest=1` where it is max."""
    ratio = choose(image.width / size[0], image.height / size[1])
    return resize(image, tuple(max(1, round(side / ratio)) for side in image.size), spec)


def centre(image, size, rounding, fill=(0, 0, 0)):
    """torchvision's and timm's `CenterCrop`: pad what is too small, then crop; transformers crops at `rest // 2`."""
    lack = [max(0, want - have) for want, have in zip(size, image.size, strict=True)]
    padded = Image.new(image.mode, (image.width + lack[0], image.height + lack[1]), fill if image.mode == "RGB" else 0)
    padded.paste(image, (lack[0] // 2, lack[1] // 2))
    start = round if rounding == "even" else math.floor
    left = start((padded.width - size[0]) / 2.0)
    top = start((padded.height - size[1]) / 2.0)
    return padded.crop((left, top, left + size[0], top + size[1]))


def resize(image, size, spec):
    if spec.get("antialias", True) or spec["interpolation"] == "nearest":
        if spec.get("resampler") == "pillow-12":
            # One pass each, in the order that Pillow had before version 13.
            image = image.resize((size[0], image.height), FILTERS[spec["interpolation"]])
        return image.resize(size, FILTERS[spec["interpolation"]])
    pixels = np.asarray(image.convert("RGB")).astype("f4")
    for axis, count in ((0, size[1]), (1, size[0])):
        pixels = interpolate(pixels, axis, count, spec["interpolation"])
    return Image.fromarray(np.clip(np.round(pixels), 0, 255).astype("u1"))


def interpolate(pixels, axis, count, interpolation):
    """torch's `interpolate(..., align_corners=False, antialias=False)` along one axis, in float32."""
    length = pixels.shape[axis]
    centre = (np.arange(count) + 0.5) * (length / count) - 0.5
    below = np.floor(centre).astype(int)
    t = (centre - below).astype("f4")
    if interpolation == "bilinear":
        taps = {0: 1 - t, 1: t}
    else:
        taps = {-1: cubic(t + 1), 0: cubic(t), 1: cubic(1 - t), 2: cubic(2 - t)}
    shape = [1, 1, 1]
    shape[axis] = count
    total = 0
    for offset, weight in taps.items():
        positions = np.clip(below + offset, 0, length - 1)
        total = total + np.take(pixels, positions, axis) * weight.reshape(shape)
    return total.astype("f4")


def cubic(x):
    """Keys' kernel for distances from 0 to 2."""
    a = np.float32(-0.75)
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = ((x - 5) * x + 8) * x * a - 4 * a
    return np.where(x <= 1, near, far)
