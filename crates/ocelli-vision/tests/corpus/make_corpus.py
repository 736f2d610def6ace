"""Makes the corpus of damaged files: images of every format from the goldens, ONNX files and a `model.toml`.

    python crates/ocelli-vision/tests/corpus/make_corpus.py          writes images/ and models/ beside this file
    python crates/ocelli-vision/tests/corpus/make_corpus.py --check  only says whether they are what this script writes

It needs nothing but Python, and writes the same bytes every time, as long as Python has the same zlib: places are drawn
from a hash of the file's name.
"""

import hashlib
import struct
import sys
import zlib
from pathlib import Path

HERE = Path(__file__).parent
GOLDENS = HERE.parent / "goldens" / "inputs"
ROOT = HERE.parents[3]
ONNX = [
    "crates/ocelli/tests/data/inputs/grey.onnx",
    "crates/ocelli/tests/data/heads/model.onnx",
    "crates/ocelli-engine/tests/data/mixed.onnx",
    "crates/ocelli-engine/tests/data/weights.onnx",
]
IMAGES = [
    *["exif-6.jpg", "quality-5.jpg", "progressive.jpg", "damaged-lost-restart.jpg"],
    *["small.png", "palette.png", "one-bit.png", "grey-16.png", "interlaced-grey.png"],
    *["lossy.webp", "lossless.webp", "lossy-alpha.webp", "lossless-alpha.webp", "exif-6-lossy.webp", "animated.webp"],
    *["plain.gif", "interlaced.gif", "small-frame.gif", "animated.gif"],
    *["one-bit.bmp", "indexed-4.bmp", "rle-4.bmp", "rle-8.bmp", "os2-4.bmp", "565.bmp"],
    *["grey.tif", "palette.tif", "lzw.tif", "tiles.tif"],
]
# Of larger files, only every third damage is kept.
LARGE = 6000


def draws(name):
    """Endless numbers below 2^32 that depend on the name alone."""
    count = 0
    while True:
        yield int.from_bytes(hashlib.sha256(f"{name} {count}".encode()).digest()[:4], "big")
        count += 1


def put(data, at, new):
    return data[:at] + new + data[at + len(new) :]


def flips(data, name, count, within):
    numbers, data = draws(name), bytearray(data)
    for _ in range(count):
        data[next(numbers) % min(within, len(data))] ^= 1 << next(numbers) % 8
    return bytes(data)


def anything(data, name):
    """What may happen to any file."""
    half, quarter = len(data) // 2, len(data) // 4
    yield "cut-early", data[: min(40, half)]
    yield "cut-in-half", data[:half]
    yield "flips-in-head", flips(data, f"{name} head", 6, 120)
    yield "ones", put(data, half, b"\xff" * min(quarter, 64))
    yield "cut-at-end", data[:-1]
    yield "flips", flips(data, f"{name} all", 12, len(data))
    yield "zeros", put(data, half, bytes(quarter))
    yield "doubled", data[:half] + data[quarter:]


def jpeg(data):
    """Sizes, lengths and tables of its segments."""
    frame = next(data.index(marker) for marker in (b"\xff\xc0", b"\xff\xc2") if marker in data)
    codes, quants, scan = data.index(b"\xff\xc4"), data.index(b"\xff\xdb"), data.index(b"\xff\xda")
    yield "vast", put(data, frame + 5, b"\xff\xff\xff\xff")
    yield "large", put(data, frame + 5, struct.pack(">HH", 6000, 8000))
    yield "no-width", put(data, frame + 7, b"\0\0")
    yield "no-height", put(data, frame + 5, b"\0\0")
    yield "200-components", put(data, frame + 9, b"\xc8")
    yield "sampling", put(data, frame + 11, b"\xff")
    yield "16-bits", put(data, frame + 4, b"\x10")
    yield "long-segment", put(data, quants + 2, b"\xff\xff")
    yield "empty-segment", put(data, quants + 2, b"\0\0")
    yield "codes", put(data, codes + 5, b"\xff" * 16)
    yield "unknown-table", put(data, scan + 6, b"\xff")
    yield "scans", data[:-2] + data[scan:-2] * (3000 // len(data[scan:])) + data[-2:]
    yield "two-frames", data[:scan] + data[frame:]


def png_chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(data):
    """Chunks with the right checksums, so that something looks at what they hold."""
    header, rest = data[16:29], data[33:]

    def declared(new):
        return data[:8] + png_chunk(b"IHDR", new) + rest

    yield "vast", declared(struct.pack(">II", 0x7FFFFFFF, 0x7FFFFFFF) + header[8:])
    yield "large", declared(struct.pack(">II", 8000, 6000) + header[8:])
    yield "wide", declared(struct.pack(">II", 50_000_000, 1) + header[8:])
    yield "no-width", declared(bytes(4) + header[4:])
    yield "unknown-colours", declared(put(header, 9, b"\x05"))
    yield "3-bits", declared(put(header, 8, b"\x03"))
    yield "palette-without-colours", data[:8] + png_chunk(b"IHDR", put(header, 8, b"\x08\x03")) + rest
    yield "interlacing", declared(put(header, 12, bytes([1 - header[12]])))
    yield "long-chunk", put(data, data.index(b"IDAT") - 4, b"\x7f\xff\xff\xff")
    bomb = zlib.compress(bytes(4 << 20), 9)
    for kind, start in (("iCCP", b"x\0\0"), ("zTXt", b"x\0\0"), ("eXIf", b"")):
        yield f"bomb-in-{kind}", data[:33] + png_chunk(kind.encode(), start + bomb) + rest


def webp(data):
    """Lengths of chunks, and the sizes that three headers declare."""
    yield "long-file", put(data, 4, b"\xff\xff\xff\xff")
    yield "long-chunk", put(data, 16, b"\xff\xff\xff\xff")
    yield "odd-chunk", put(data, 16, struct.pack("<I", struct.unpack("<I", data[16:20])[0] | 1))
    if data[12:16] == b"VP8 ":
        yield "large", put(data, 26, struct.pack("<HH", 8000, 6000))
        yield "partition", put(data, 20, b"\xff\xff\xff")
        yield "partitions", put(data, 30, b"\xff" * 8)
    if data[12:16] == b"VP8L":
        yield "large", put(data, 21, struct.pack("<I", 7999 | 5999 << 14))
        yield "codes", put(data, 25, b"\xff" * 12)
    if data[12:16] == b"VP8X":
        yield "vast", put(data, 24, b"\xff" * 6)
        yield "every-feature", put(data, 20, b"\xff")
        if b"ANMF" in data:
            yield "frame-beyond", put(data, data.index(b"ANMF") + 8, b"\xff" * 12)


def gif(data):
    """Sizes of the screen and the frame, and the width of codes."""
    frame = data.index(b",", 13 + (3 << (data[10] & 7) + 1 if data[10] & 0x80 else 0))
    colours = 3 << (data[frame + 9] & 7) + 1 if data[frame + 9] & 0x80 else 0
    yield "vast", put(data, 6, b"\xff\xff\xff\xff")
    yield "no-width", put(data, 6, b"\0\0")
    yield "frame-beyond", put(data, frame + 1, struct.pack("<HHHH", 60000, 60000, 8, 8))
    yield "vast-frame", put(data, frame + 5, b"\xff\xff\xff\xff")
    yield "no-frame", data[:frame] + b";"
    yield "local-colours", put(data, frame + 9, b"\x87")
    for width in (0, 1, 12, 255):
        yield f"codes-of-{width}", put(data, frame + 10 + colours, bytes([width]))
    yield "endless-comment", data[:frame] + b"\x21\xfe" + (b"\xff" + b"x" * 255) * 8


def bmp(data):
    """Fields of its header."""
    yield "header-of-4-gb", put(data, 14, b"\xff\xff\xff\xff")
    yield "header-of-13", put(data, 14, b"\x0d\0\0\0")
    yield "pixels-beyond", put(data, 10, b"\xff\xff\xff\x7f")
    yield "pixels-in-header", put(data, 10, b"\x02\0\0\0")
    if data[14] < 40:
        yield "vast", put(data, 18, b"\xff\xff\xff\xff")
        return
    yield "vast", put(data, 18, b"\xff\xff\xff\x7f" * 2)
    yield "large", put(data, 18, struct.pack("<ii", 8000, 6000))
    yield "lowest-height", put(data, 22, b"\0\0\0\x80")
    yield "negative-width", put(data, 18, b"\xff\xff\xff\xff")
    yield "31-bits", put(data, 28, b"\x1f\0")
    yield "unknown-compression", put(data, 30, b"\x63\0\0\0")
    yield "runs-of-16-bits", put(data, 28, b"\x10\0\x01\0\0\0")
    yield "colours", put(data, 46, b"\xff\xff\xff\xff")


def tiff(data):
    """Directories and the values of their entries."""
    order = "<" if data[:2] == b"II" else ">"

    def number(form, at):
        return struct.unpack_from(order + form, data, at)[0]

    def changed(at, form, value):
        return put(data, at, struct.pack(order + form, value))

    at = number("I", 4)
    entries = range(at + 2, at + 2 + 12 * number("H", at), 12)
    yield "no-directory", changed(4, "I", 0x7FFFFFFF)
    yield "directory-in-header", changed(4, "I", 4)
    yield "65535-entries", changed(at, "H", 65535)
    yield "next-is-itself", changed(entries.stop, "I", at)
    for place in entries:
        tag = number("H", place)
        if tag in (256, 257, 258, 259, 262, 273, 277, 278, 279, 317, 320, 322, 324, 325):
            yield f"value-of-{tag}", changed(place + 8, "I", 0x7FFFFFFF)
        if tag in (258, 273, 320, 324):
            yield f"count-of-{tag}", changed(place + 4, "I", 0xFFFFFFFF)


def onnx(data):
    """Lengths and tags of protobuf fields, of which each is one byte in files as small as these."""
    for place in sorted({next(numbers) % len(data) for numbers in [draws(f"onnx {len(data)}")] for _ in range(12)}):
        yield f"ones-at-{place}", put(data, place, b"\xff")
        yield f"huge-at-{place}", data[:place] + b"\xff\xff\xff\xff\xff\xff\xff\xff\x7f" + data[place + 1 :]
    yield "nested", data + b"".join(b"\x3a" + bytes([0x80 | n & 0x7F, n >> 7]) for n in range(3000, 0, -3))
    yield "endless-number", data + b"\x08" + b"\x80" * 64
    yield "groups", data + b"\x0b" * 5000


def manifest(text):
    """Numbers, words and forms that a `model.toml` may not have."""
    table = text.index("[input]")
    yield "empty", ""
    yield "no-input", text[:table]
    for name, number in {
        "zero": "0",
        "negative": "-1",
        "vast": "4294967295",
        "beyond": "99999999999999999999",
        "nan": "nan",
        "inf": "inf",
        "fraction": "224.5",
    }.items():
        yield f"width-{name}", text.replace("width = 224", f"width = {number}")
        yield f"scale-{name}", text.replace("[input]", f"[input]\nscale = {number}")
        yield (
            f"std-{name}",
            "\n".join(
                f"std = [{number}, {number}, {number}]" if line.startswith("std") else line for line in text.split("\n")
            ),
        )
    yield "name-of-path", text.replace('name = "efficientnet-lite0"', 'name = "../../etc/passwd"', 1)
    yield "labels-of-path", text.replace("labels.txt", "../../../../etc/passwd")
    yield "labels-of-nul", text.replace("labels.txt", "labels\\u0000.txt")
    yield "nested-arrays", text + "\nx = " + "[" * 3000
    yield "nested-tables", text + "\n[" + ".".join(["a"] * 3000) + "]\n"
    yield "twice", text + text
    yield "1000-outputs", text + '\n[[output]]\nname = "x"\nactivation = "none"\n' * 1000
    yield "long-name", text.replace("efficientnet-lite0", "e" * 20_000)
    yield "nul", text.replace("=", "=\0", 1)


STRUCTURE = {".jpg": jpeg, ".png": png, ".webp": webp, ".gif": gif, ".bmp": bmp, ".tif": tiff}


def images():
    for name in IMAGES:
        path = GOLDENS / name
        data = path.read_bytes()
        damages = [*anything(data, name), *STRUCTURE[path.suffix](data)]
        for kind, damaged in damages[:: 3 if len(data) > LARGE else 1]:
            yield f"images/{path.stem}-{kind}{path.suffix}", damaged


def models():
    for name in ONNX:
        path = ROOT / name
        data = path.read_bytes()
        for kind, damaged in [*anything(data, name), *onnx(data)]:
            yield f"models/{path.stem}-{kind}.onnx", damaged
    data = (ROOT / "models/efficientnet-lite0/model.toml").read_bytes()
    for kind, text in manifest(data.decode()):
        yield f"models/{kind}.toml", text.encode()
    for kind, damaged in anything(data, "model.toml"):
        yield f"models/{kind}.toml", damaged


def main():
    wanted = dict([*images(), *models()])
    there = {str(path.relative_to(HERE)): path for folder in ("images", "models") for path in HERE.glob(f"{folder}/*")}
    if "--check" in sys.argv[1:]:
        stale = [name for name in wanted if name not in there or there[name].read_bytes() != wanted[name]]
        stale += there.keys() - wanted.keys()
        sys.exit(f"not as make_corpus.py writes them: {' '.join(sorted(stale))}" if stale else 0)
    for path in there.values():
        path.unlink()
    for name, data in wanted.items():
        path = HERE / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)
    print(f"{len(wanted)} files, {sum(map(len, wanted.values()))} bytes")


if __name__ == "__main__":
    main()
