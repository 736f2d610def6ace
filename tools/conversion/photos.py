"""The photos to compare and calibrate with: a user's folder, or drawn pictures where there is none.

The first part needs no packages, for folders are checked before anything is installed.
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import TYPE_CHECKING

from .failure import Failure

if TYPE_CHECKING:
    from PIL.Image import Image

    from .manifest import Input

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif"}
DRAWN = 6


def list_photos(folder: Path, limit: int) -> list[Path]:
    """The photos below `folder`, in the order of their names; an even selection if there are more than `limit`."""
    if not folder.is_dir():
        raise Failure(f"{folder} is no folder: name one with photos")
    photos = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
    if not photos:
        raise Failure(f"{folder} holds no photos ({', '.join(sorted(SUFFIXES))}): name another folder")
    if len(photos) <= limit:
        return photos
    return [photos[index * len(photos) // limit] for index in range(limit)]


def open_upright(path: Path) -> Image:
    """The photo as it is meant to be seen, in RGB: turned as its EXIF data says, as Ocelli does and the training libraries
    do not, which would compare a photo with the same one lying on its side."""
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with Image.open(path) as image:
            return ImageOps.exif_transpose(image).convert("RGB")
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise Failure(f"{path} cannot be decoded ({error}): take it out of the folder") from None


def centre(image: Image, spec: Input) -> Image:
    """The centre of `image`, as torchvision's Resize and CenterCrop, or timm's ResizeKeepRatio, cut it: as large as the input
    of `spec`."""
    from PIL.Image import Resampling

    grown = spec.resize["size"]
    sides = (grown, grown) if isinstance(grown, int) else grown
    width, height = image.size
    scale = max(sides[0] / width, sides[1] / height)
    if isinstance(grown, int):
        size = (grown, grown * height // width) if width <= height else (grown * width // height, grown)
    else:
        size = (round(width * scale), round(height * scale))
    left, top = round((size[0] - spec.width) / 2), round((size[1] - spec.height) / 2)
    resized = image.resize(size, Resampling[spec.interpolation.upper()])
    return resized.crop((left, top, left + spec.width, top + spec.height))


def draw_pictures(folder: Path) -> list[Path]:
    """Writes pictures of several shapes with edges, gradients and texture into `folder`: not photos, but enough to
    tell whether two pipelines are the same one. The same ones every time."""
    from PIL import Image, ImageDraw

    sizes = [(500, 375), (375, 500), (640, 480), (333, 500), (800, 450), (256, 256)]
    paths = []
    for index, (width, height) in enumerate(sizes[:DRAWN]):
        generator = random.Random(index)
        # Enlarged noise has soft edges, like photos.
        noise = Image.frombytes("RGB", (40, 30), generator.randbytes(40 * 30 * 3))
        image = noise.resize((width, height), Image.Resampling.BICUBIC)
        draw = ImageDraw.Draw(image)
        for _ in range(12):
            left, top = generator.randrange(width), generator.randrange(height)
            box = (left, top, left + generator.randrange(20, 160), top + generator.randrange(20, 160))
            colour = tuple(generator.randrange(256) for _ in range(3))
            (draw.ellipse if generator.random() < 0.5 else draw.rectangle)(box, fill=colour)
        path = folder / f"drawn-{index}.png"
        image.save(path)
        paths.append(path)
    return paths
