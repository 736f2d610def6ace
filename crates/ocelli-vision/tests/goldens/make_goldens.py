"""Makes the golden inputs and expected outputs. Run it only to change them; the results are committed.

    make goldens

or, with a virtual environment of one's own:

    pip install --no-deps -r requirements.txt && python make_goldens.py PATH/TO/dog.jpg

Inputs are derived from photos that may be carried (see README.md) and from synthetic patterns. Expected outputs come
from Pillow alone (reference.py), never from the crate. `cases.json` lists what is compared with what.
"""

import importlib.util
import io
import json
import shutil
import sys
from pathlib import Path

import damage
import numpy as np
import reference
import writers
from PIL import Image

HERE = Path(__file__).parent
INPUTS, EXPECTED = HERE / "inputs", HERE / "expected"
# Only its photos are used, so that nothing it depends on has to be installed.
PHOTOS = Path(importlib.util.find_spec("skimage").origin).parent / "data"
POLICIES = {
    "stretch": {"policy": "stretch"},
    "edge": {"policy": "shortest-edge", "size": 0},
    "ratio": {"policy": "crop-ratio", "ratio": 0.875},
    "letterbox": {"policy": "letterbox", "fill": [114, 20, 250]},
}
# Resized first, to more or less than the tensor: the second number is what one side is longer, before it is cut.
CENTRED = {
    "squash": {"policy": "stretch", "size": 5},
    "squash-down": {"policy": "stretch", "size": 7, "rounding": "down"},
    "squash-pad": {"policy": "stretch", "size": -9},
    "edge-down": {"policy": "shortest-edge", "size": 7, "rounding": "down"},
    "edge-pad": {"policy": "shortest-edge", "size": -15},
    "cover": {"policy": "cover", "size": 7},
    "cover-down": {"policy": "cover", "size": 3, "rounding": "down"},
    "border": {"policy": "letterbox", "fill": [114, 20, 250], "size": 11},
    "border-pad": {"policy": "letterbox", "fill": [114, 20, 250], "size": -11},
}
ORIENTATION = 0x0112
cases = []


def policy(name, width, height):
    chosen = dict(POLICIES.get(name) or CENTRED[name])
    if name in CENTRED:
        more = chosen["size"]
        chosen["size"] = max(width, height) + more if name.startswith("edge") else [width + more, height + more]
    elif name == "edge":
        # torchvision's usual pair is 256 and 224.
        chosen["size"] = max(width, height) * 8 // 7
    return chosen


def case(source, kind, size, policy_name="ratio", interpolation="bicubic", **extra):
    spec = {
        "width": size[0],
        "height": size[1],
        "resize": policy(policy_name, *size),
        "interpolation": interpolation,
        **extra,
    }
    flags = "-".join(key if value is False else value for key, value in extra.items())
    parts = [source.replace(".", "-"), policy_name, interpolation, f"{size[0]}x{size[1]}", flags]
    name = "-".join(part for part in parts if part)
    save(EXPECTED / f"{name}.png", reference.prepare(INPUTS / source, spec))
    cases.append({"name": name, "input": source, "kind": kind, "spec": spec})


def save(path, image):
    image.save(path, optimize=True)


def write(name, content):
    (INPUTS / name).write_bytes(content)
    return name


def encode(name, image, **options):
    image.save(INPUTS / name, **options)
    return name


def photo(name, size=None):
    image = Image.open(PHOTOS / name).convert("RGB")
    return image.resize(size, Image.Resampling.LANCZOS) if size else image


def with_orientation(value):
    exif = Image.Exif()
    exif[ORIENTATION] = value
    return exif


def filters_and_policies():
    """Every policy with every filter, on a landscape and a portrait photo, lossless."""
    for name, image in {
        "coffee.png": photo("coffee.png", (161, 107)),
        "astronaut.png": photo("astronaut.png").crop((60, 0, 360, 440)).resize((107, 157)),
    }.items():
        encode(name, image, optimize=True)
        for policy_name in POLICIES:
            for interpolation in reference.FILTERS:
                case(name, "lossless", (64, 64), policy_name, interpolation)
                if interpolation != "lanczos":
                    case(name, "lossless", (48, 40), policy_name, interpolation, antialias=False)
            case(name, "lossless", (96, 64), policy_name)
            case(name, "lossless", (200, 180) if policy_name == "edge" else (130, 170), policy_name)
    # For make_library_goldens.py, which enlarges it.
    encode("small.png", photo("coffee.png", (24, 18)))


def centred():
    """Every policy that cuts the centre out of a resized photo, or pads it."""
    for name in ("coffee.png", "astronaut.png"):
        for policy_name in CENTRED:
            case(name, "lossless", (64, 64), policy_name)
            case(name, "lossless", (96, 64), policy_name, "bilinear")
            case(name, "lossless", (48, 40), policy_name, "nearest")
            case(name, "lossless", (48, 40), policy_name, "bilinear", antialias=False)
    for policy_name in ("stretch", "ratio", "squash", "edge-pad"):
        for interpolation in ("bilinear", "lanczos"):
            case("coffee.png", "lossless", (28, 28), policy_name, interpolation, channels="gray")
    for value in range(1, 9):
        for policy_name in ("squash-down", "edge-pad", "border"):
            case(f"exif-{value}.png", "lossless", (40, 37), policy_name)
    for side in (40, 76):
        for policy_name in CENTRED:
            case("collage.jpg", "jpeg", (side, side - 8), policy_name)


def odd_sizes():
    noise = np.random.default_rng(7)
    for width, height in [(1, 1), (1, 7), (7, 1), (2, 2), (3, 1000), (1000, 3), (5, 4), (33, 31), (32, 32)]:
        pixels = noise.integers(0, 256, (height, width, 3), dtype="u1")
        name = encode(f"noise-{width}x{height}.png", Image.fromarray(pixels), optimize=True)
        for policy_name in POLICIES:
            for interpolation in reference.FILTERS:
                case(name, "lossless", (32, 32), policy_name, interpolation)
        for policy_name in CENTRED:
            case(name, "lossless", (32, 30), policy_name, "bilinear")


def orientations():
    small = photo("rocket.jpg").crop((120, 20, 500, 320)).resize((83, 61))
    for value in range(1, 9):
        name = encode(f"exif-{value}.jpg", small, quality=92, exif=with_orientation(value))
        for policy_name in POLICIES:
            case(name, "jpeg", (48, 40), policy_name)
        # A step of exactly 2 puts every centre between two pixels.
        name = encode(f"exif-{value}.png", small.crop((0, 0, 80, 60)), exif=with_orientation(value))
        case(name, "lossless", (40, 40), "stretch", "nearest")
        case(name, "lossless", (40, 40), "ratio", "lanczos")
        case(name, "lossless", (40, 40), "edge", "bilinear", antialias=False)
    case("exif-6.jpg", "jpeg", (48, 40), exif=False)
    for lossless in (False, True):
        name = f"exif-6-{'lossless' if lossless else 'lossy'}.webp"
        encode(name, small, lossless=lossless, quality=90, exif=with_orientation(6))
        case(name, "lossless" if lossless else "lossy", (48, 40))


def tall():
    """Both sides of the rule by which Pillow 13 goes vertically first, and the order of older versions."""
    whole = photo("astronaut.png").crop((60, 0, 360, 440))
    for width, height, side in [(87, 130, 56), (75, 100, 56), (94, 125, 56), (180, 320, 56), (135, 240, 28)]:
        image = whole.resize((width, height), Image.Resampling.LANCZOS)
        name = encode(f"tall-{width}x{height}.png", image, optimize=True)
        for interpolation in ("bicubic", "lanczos"):
            case(name, "exact", (side, side), "stretch", interpolation)
        case(name, "exact", (side, side), "edge", "lanczos")
        case(name, "exact", (side, side), "stretch", "lanczos", resampler="pillow-12")
    # Stored lying and viewed upright, and the other way round.
    lying = whole.resize((130, 87))
    for name, image in {
        "tall-turned.png": lying,
        "wide-turned.png": lying.transpose(Image.Transpose.ROTATE_90),
    }.items():
        encode(name, image, exif=with_orientation(6))
        case(name, "exact", (56, 56), "stretch", "lanczos")
        case(name, "exact", (56, 56), "stretch", "lanczos", exif=False)
        case(name, "exact", (56, 56), "stretch", "lanczos", resampler="pillow-12")


def jpeg_variants():
    small = photo("chelsea.png", (181, 121))
    variants = {
        "420.jpg": {"subsampling": 2},
        "422.jpg": {"subsampling": 1},
        "444.jpg": {"subsampling": 0},
        "rgb.jpg": {"keep_rgb": True},
        "progressive.jpg": {"progressive": True},
        "restart.jpg": {"restart_marker_rows": 1},
        "quality-5.jpg": {"quality": 5},
        "profile.jpg": {"icc_profile": bytes(range(256)) * 300, "comment": b"a comment"},
    }
    for name, options in variants.items():
        encode(name, small, **{"quality": 90, **options})
    encode("grey.jpg", small.convert("L"), quality=90)
    encode("grey-progressive.jpg", small.convert("L"), quality=90, progressive=True)
    cmyk = cmyk_of(small)
    encode("cmyk.jpg", cmyk, quality=90)
    encode("cmyk-progressive.jpg", cmyk, quality=90, progressive=True)
    write("ycck.jpg", ycck(cmyk))
    for name in [*variants, "grey.jpg", "grey-progressive.jpg", "cmyk.jpg", "cmyk-progressive.jpg", "ycck.jpg"]:
        case(name, "jpeg", (64, 64))
        case(name, "jpeg", (96, 64), "edge", "bilinear")
        # Small enough to be decoded at 1/2.
        case(name, "jpeg", (20, 20), "ratio", "lanczos")
        case(name, "jpeg", (20, 20), "stretch", "nearest")


def cmyk_of(image):
    """Some black in the K channel, so that it counts."""
    inks = 255 - np.asarray(image).astype(int)
    black = inks.min(axis=2, keepdims=True) // 2
    return Image.fromarray(np.concatenate([inks - black, black], axis=2).astype("u1"), "CMYK")


def ycck(cmyk):
    """YCCK: Pillow writes the four channels as they are; Adobe's transform byte says what they mean."""
    channels = np.asarray(cmyk)
    ycc = np.asarray(Image.fromarray(255 - channels[:, :, :3]).convert("YCbCr"))
    stored = np.concatenate([255 - ycc, channels[:, :, 3:]], axis=2)
    buffer = io.BytesIO()
    Image.fromarray(stored, "CMYK").save(buffer, "JPEG", quality=90)
    data = bytearray(buffer.getvalue())
    data[data.index(b"Adobe") + 11] = 2
    return bytes(data)


def large_jpegs(dog):
    """Photos large enough to be decoded at a fraction of their size."""
    write("dog.jpg", Path(dog).read_bytes())
    case("dog.jpg", "jpeg", (224, 224))
    case("dog.jpg", "jpeg", (224, 224), "edge", "bilinear")
    case("dog.jpg", "jpeg", (128, 128), "letterbox", "lanczos")
    case("dog.jpg", "jpeg", (128, 128), "stretch", "bilinear")
    collage = Image.new("RGB", (1212, 901))
    for name, place in {
        "coffee.png": (0, 0),
        "rocket.jpg": (600, 0),
        "astronaut.png": (0, 400),
        "chelsea.png": (512, 427),
        "retina.jpg": (940, 420),
    }.items():
        collage.paste(photo(name, (280, 280) if name == "retina.jpg" else None), place)
    encode("collage.jpg", collage, quality=80)
    encode("collage-progressive.jpg", collage.resize((801, 603)), quality=75, progressive=True)
    encode("collage-turned.jpg", collage.resize((803, 601)), quality=75, subsampling=0, exif=with_orientation(8))
    for side in (40, 76, 150):
        for policy_name in POLICIES:
            case("collage.jpg", "jpeg", (side, side), policy_name, "bicubic")
        case("collage.jpg", "jpeg", (side, side), "ratio", "bilinear")
        case("collage.jpg", "jpeg", (side, side), "edge", "lanczos")
        for name in ("collage-progressive.jpg", "collage-turned.jpg"):
            case(name, "jpeg", (side, side - 8), "ratio")
            case(name, "jpeg", (side, side - 8), "edge")


def png_variants():
    image = photo("coffee.png", (81, 61))
    rgb = np.asarray(image)
    height, width = rgb.shape[:2]
    alpha = np.linspace(0, 255, width * height).reshape(height, width, 1).astype("u1")
    grey = np.asarray(image.convert("L"))[:, :, None]
    wide = rgb.astype("u2") * 257 + 99
    wide_grey, wide_alpha = grey.astype("u2") * 200 + 4096, alpha.astype("u2") * 257
    palette = image.quantize(61)
    encode("rgba.png", Image.fromarray(np.concatenate([rgb, alpha], 2)))
    encode("palette.png", palette)
    encode("palette-transparent.png", palette, transparency=bytes(range(0, 244, 4)))
    encode("palette-4-bits.png", image.quantize(13), bits=4)
    encode("palette-2-bits.png", image.quantize(4), bits=2)
    encode("grey.png", image.convert("L"))
    encode("grey-alpha.png", Image.fromarray(np.concatenate([grey, alpha], 2)))
    encode("one-bit.png", image.convert("1"))
    write("grey-transparent.png", writers.png(grey, 8, 0, chunks=[(b"tRNS", b"\0\x64")]))
    write("rgb-transparent.png", writers.png(rgb, 8, 2, chunks=[(b"tRNS", b"\0\x10\0\x20\0\x30")]))
    write("grey-16.png", writers.png(wide_grey, 16, 0))
    write("rgb-16.png", writers.png(wide, 16, 2))
    write("rgba-16.png", writers.png(np.concatenate([wide, wide_alpha], 2), 16, 6))
    write("interlaced.png", writers.png(rgb, 8, 2, interlaced=True))
    write("interlaced-grey.png", writers.png(grey, 8, 0, interlaced=True))
    write("interlaced-rgba-16.png", writers.png(np.concatenate([wide, wide_alpha], 2), 16, 6, interlaced=True))
    names = ["rgba", "palette", "palette-transparent", "palette-4-bits", "palette-2-bits", "grey", "grey-alpha"]
    names += ["one-bit", "grey-transparent", "rgb-transparent", "grey-16", "rgb-16", "rgba-16", "interlaced"]
    for name in [*names, "interlaced-grey", "interlaced-rgba-16"]:
        case(f"{name}.png", "lossless", (48, 48))


def other_formats():
    image = photo("rocket.jpg").crop((100, 0, 500, 300)).resize((83, 62))
    alpha = Image.linear_gradient("L").resize(image.size)
    see_through = image.copy()
    see_through.putalpha(alpha)
    frames = [image.rotate(90), image.rotate(180)]
    encode("lossy.webp", image, quality=80)
    encode("lossless.webp", image, lossless=True)
    encode("lossy-alpha.webp", see_through, quality=80)
    encode("lossless-alpha.webp", see_through, lossless=True, exact=True)
    encode("animated.webp", image, save_all=True, append_images=frames, lossless=True)
    for name in ("lossy.webp", "lossy-alpha.webp"):
        case(name, "lossy", (48, 48))
        case(name, "lossy", (83, 62), "stretch")
    for name in ("lossless.webp", "lossless-alpha.webp", "animated.webp"):
        case(name, "lossless", (48, 48))
    gifs(image, frames)
    bmps(image)


def gifs(image, frames):
    palette = image.quantize(200)
    encode("plain.gif", palette, interlace=0)
    encode("interlaced.gif", palette, interlace=1)
    encode("transparent.gif", palette, transparency=3)
    encode("animated.gif", palette, save_all=True, append_images=[frame.quantize(64) for frame in frames])
    encode("grey.gif", image.convert("L"))
    write("small-frame.gif", writers.gif_on_larger_screen((INPUTS / "plain.gif").read_bytes(), 120, 90, 21, 13))
    write("frame-beyond.gif", writers.gif_on_larger_screen((INPUTS / "plain.gif").read_bytes(), 50, 90, 10, 0))
    names = ("plain", "interlaced", "transparent", "animated", "grey", "small-frame", "frame-beyond")
    for name in names:
        case(f"{name}.gif", "lossless", (48, 48), "stretch")


def bmps(image):
    rgb = np.asarray(image)
    height, width = rgb.shape[:2]
    encode("plain.bmp", image)
    encode("palette.bmp", image.quantize(50))
    encode("grey.bmp", image.convert("L"))
    encode("one-bit.bmp", image.convert("1"))
    encode("alpha.bmp", image.convert("RGBA"))
    bgr = rgb[:, :, ::-1].reshape(height, -1)
    write("top-down.bmp", writers.bmp(writers.bmp_rows(bgr, True), width, height, 24, top_down=True))
    wide = rgb.astype("u2")
    for name, (r, g, b), compression in [
        ("555", (0x7C00, 0x3E0, 0x1F), 0),
        ("555-masks", (0x7C00, 0x3E0, 0x1F), 3),
        ("565", (0xF800, 0x7E0, 0x1F), 3),
    ]:
        masks = np.array([r, g, b], "<u4").tobytes() if compression else b""
        green = 6 if g == 0x7E0 else 5
        words = (wide[:, :, 0] >> 3) << (5 + green) | (wide[:, :, 1] >> (8 - green)) << 5 | wide[:, :, 2] >> 3
        rows = writers.bmp_rows(words.astype("<u2").view("u1").reshape(height, -1))
        write(f"{name}.bmp", writers.bmp(rows, width, height, 16, compression, masks=masks))
    masks = np.array([0xFF000000, 0xFF0000, 0xFF00], "<u4").tobytes()
    xbgr = np.concatenate([np.zeros((height, width, 1), "u1"), rgb[:, :, ::-1]], 2).reshape(height, -1)
    write("masks-32.bmp", writers.bmp(writers.bmp_rows(xbgr), width, height, 32, 3, masks=masks))
    for bits, colours in ((4, 16), (8, 40)):
        quantized = image.quantize(colours, dither=Image.Dither.NONE)
        indices = np.asarray(quantized)
        entries = np.array(quantized.getpalette() + [0] * 768)[: 3 << bits].reshape(-1, 3)[:, ::-1].astype("u1")
        palette = np.pad(entries, ((0, 0), (0, 1))).tobytes()
        coded = writers.rle(indices, bits == 4)
        write(f"rle-{bits}.bmp", writers.bmp(coded, width, height, bits, 2 if bits == 4 else 1, palette))
        packed = writers.pack_indices(indices, bits) if bits == 4 else indices
        write(f"indexed-{bits}.bmp", writers.bmp(writers.bmp_rows(packed), width, height, bits, 0, palette))
        os2 = writers.bmp_os2(writers.bmp_rows(packed), width, height, bits, entries.tobytes())
        write(f"os2-{bits}.bmp", os2)
    for path in sorted(INPUTS.glob("*.bmp")):
        case(path.name, "lossless", (48, 48))


def tiffs():
    image = Image.open(INPUTS / "rgba.png")
    rgb = image.convert("RGB")
    encode("plain.tif", rgb)
    # Differences of neighbours, in strips of ten rows.
    encode("lzw.tif", rgb, compression="tiff_lzw", tiffinfo={317: 2, 278: 10})
    encode("alpha.tif", image, compression="tiff_adobe_deflate")
    encode("grey.tif", rgb.convert("L"), compression="packbits")
    encode("palette.tif", rgb.quantize(61), compression="tiff_lzw")
    encode("exif-6.tif", rgb, compression="tiff_adobe_deflate", exif=with_orientation(6))
    write("tiles.tif", writers.tiff_of_tiles(np.asarray(rgb), 32, 16))
    for name in ("plain", "lzw", "alpha", "grey", "palette", "exif-6", "tiles"):
        case(f"{name}.tif", "lossless", (48, 48))


def damaged():
    """Damaged JPEGs: what Pillow decodes is decoded to the same pixels, what it refuses is refused."""
    image = photo("chelsea.png", (97, 65))
    for name, content in damage.jpegs(image).items():
        write(f"damaged-{name}.jpg", content)
        try:
            case(f"damaged-{name}.jpg", "jpeg", (48, 48))
        except OSError as error:
            cases.append(
                {"name": f"damaged-{name}", "input": f"damaged-{name}.jpg", "kind": "refused", "pillow": str(error)}
            )


def main():
    for folder in (INPUTS, EXPECTED):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
    filters_and_policies()
    odd_sizes()
    orientations()
    tall()
    jpeg_variants()
    large_jpegs(sys.argv[1])
    centred()
    png_variants()
    other_formats()
    tiffs()
    damaged()
    lines = ",\n".join(json.dumps(case) for case in cases)
    (HERE / "cases.json").write_text(f"[\n{lines}\n]\n")
    print(f"{len(cases)} cases")


if __name__ == "__main__":
    main()
