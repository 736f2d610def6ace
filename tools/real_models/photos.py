"""The photos that every case is tried with."""

from pathlib import Path

from PIL import Image

from . import judge, ocelli

PHOTOS = ocelli.ROOT.parent / "shared" / "data" / "evaluation"
ORIENTATION = 0x0112


def chosen() -> list[Path]:
    """Spread over the classes; those that lie on their side are left out, for packages turn them or do not."""
    upright = [path for path in sorted(PHOTOS.glob("*.JPEG")) if Image.open(path).getexif().get(ORIENTATION, 1) == 1]
    if len(upright) < judge.PHOTOS:
        raise judge.Unproven(f"{len(upright)} photos instead of {judge.PHOTOS}")
    return [upright[index * len(upright) // judge.PHOTOS] for index in range(judge.PHOTOS)]
