"""The model's preprocessing with Pillow, and the photos of a folder, as a reference for the Rust side."""

from pathlib import Path

import numpy as np
from PIL import Image

from .graph import SIZE

CROP_RATIO = SIZE / (SIZE + 32)


def crop_and_resize(image: Image.Image) -> np.ndarray:
    """The centre square of `image`, resized with an antialiased bicubic filter: uint8 RGB [224, 224, 3].

    The crop is that of `_decode_and_center_crop` in the TPU repository's EfficientNet preprocessing, rounding included:
    side = floor(min(w, h) * ratio), offset = (extent - side + 1) // 2.
    """
    image = image.convert("RGB")
    side = int(min(image.size) * CROP_RATIO)
    left, top = ((extent - side + 1) // 2 for extent in image.size)
    crop = image.crop((left, top, left + side, top + side))
    return np.asarray(crop.resize((SIZE, SIZE), Image.Resampling.BICUBIC))


def read_photo(path: Path) -> np.ndarray:
    """The photo at `path`, prepared: uint8 RGB [224, 224, 3]."""
    with Image.open(path) as image:
        return crop_and_resize(image)


def normalise(pixels: np.ndarray) -> np.ndarray:
    """uint8 [batch, 224, 224, 3] -> float32 [batch, 3, 224, 224] in (x - 127) / 128, the float32 model's input."""
    return np.ascontiguousarray(((pixels.astype(np.float32) - 127) / 128).transpose(0, 3, 1, 2))


def list_photos(folder: Path) -> list[Path]:
    """The photos in `folder`, in the order of their names."""
    photos = sorted(path for path in folder.iterdir() if path.suffix.lower() in {".jpg", ".jpeg", ".png"})
    if not photos:
        raise SystemExit(f"{folder} holds no photos (.jpg, .jpeg, .png): name another folder")
    return photos
