"""What the crate must equal: Pillow for the pixels, the training libraries' arithmetic for the geometry."""

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
    policy = spec["resize"]
    size = spec["width"], spec["height"]
    match policy["policy"]:
        case "stretch":
            return resize(image, size, spec)
        case "crop-ratio":
            return resize(central_square(image, policy["ratio"]), size, spec)
        case "shortest-edge":
            return shortest_edge(image, policy["size"], size, spec)
        case "letterbox":
            return letterbox(image, size, tuple(policy["fill"]), spec)
    raise ValueError(policy)


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


def shortest_edge(image, edge, size, spec):
    """torchvision: `Resize(edge)`, then `CenterCrop`."""
    width, height = image.size
    short, long = min(width, height), max(width, height)
    longer = int(edge * long / short)
    resized = resize(image, (edge, longer) if width <= height else (longer, edge), spec)
    left = round((resized.width - size[0]) / 2.0)
    top = round((resized.height - size[1]) / 2.0)
    return resized.crop((left, top, left + size[0], top + size[1]))


def letterbox(image, size, fill, spec):
    ratio = min(size[0] / image.width, size[1] / image.height)
    inner = tuple(min(limit, max(1, round(side * ratio))) for side, limit in zip(image.size, size, strict=True))
    canvas = Image.new("RGB", size, fill)
    canvas.paste(resize(image, inner, spec), ((size[0] - inner[0]) // 2, (size[1] - inner[1]) // 2))
    return canvas


def resize(image, size, spec):
    if spec.get("antialias", True) or spec["interpolation"] == "nearest":
        return image.resize(size, FILTERS[spec["interpolation"]])
    pixels = np.asarray(image).astype("f4")
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
