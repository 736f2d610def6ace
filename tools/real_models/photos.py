"""The photos of every case."""

from pathlib import Path

from PIL import Image

from . import judge, ocelli

PHOTOS = ocelli.ROOT.parent / "shared" / "data" / "evaluation"
ORIENTATION = 0x0112


def chosen() -> list[Path]:
    """Photos of various classes, without rotated ones, because packages treat EXIF differently."""
    upright = [path for path in sorted(PHOTOS.glob("*.JPEG")) if Image.open(path).getexif().get(ORIENTATION, 1) == 1]
    if len(upright) < judge.PHOTOS:
        raise judge.Unproven(f"{len(upright)} photos instead of {judge.PHOTOS}")
    return [upright[index * len(upright) // judge.PHOTOS] for index in range(judge.PHOTOS)]
