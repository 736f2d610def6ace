"""Makes the photos that the goldens are of, from those that scikit-image carries.

    make parity

`dog.jpg` is another one: it lies in `../data`, for other tests use it too.
"""

import importlib.util
from pathlib import Path

from PIL import Image

HERE = Path(__file__).parent
ORIENTATION = 0x0112
QUALITY = 90


def main():
    # Only its photos are used, so that nothing it depends on has to be installed.
    source = Path(importlib.util.find_spec("skimage").origin).parent / "data"
    folder = HERE / "photos"
    folder.mkdir(exist_ok=True)

    def photo(name):
        return Image.open(source / name).convert("RGB")

    photo("chelsea.png").save(folder / "chelsea.jpg", quality=QUALITY)
    # Portrait, and both sides odd.
    photo("rocket.jpg").crop((190, 0, 431, 427)).save(folder / "rocket.jpg", quality=QUALITY)
    # As a camera held upright stores it: lying, with a note that says so.
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    lying = photo("coffee.png").resize((330, 220)).transpose(Image.Transpose.ROTATE_90)
    lying.save(folder / "turned.jpg", quality=QUALITY, exif=exif)
    # Smaller than every model's input.
    photo("astronaut.png").crop((150, 0, 310, 208)).resize((20, 26)).save(folder / "small.jpg", quality=QUALITY)


if __name__ == "__main__":
    main()
