"""Writers of the PNG, BMP, GIF and TIFF variants that Pillow reads but does not write."""

import struct
import zlib

import numpy as np

# First column, first row, step of columns and of rows of each Adam7 pass.
ADAM7 = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]


def png(array, depth, colour_type, interlaced=False, chunks=()):
    """PNG of a (height, width, channels) array of samples of 8 or 16 bits."""
    height, width, _ = array.shape
    header = struct.pack(">IIBBBBB", width, height, depth, colour_type, 0, 0, int(interlaced))
    if interlaced:
        passes = [array[row::down, column::right] for column, row, right, down in ADAM7]
        raw = b"".join(png_rows(part, depth) for part in passes if part.size)
    else:
        raw = png_rows(array, depth)
    body = [(b"IHDR", header), *chunks, (b"IDAT", zlib.compress(raw, 9)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(kind, data) for kind, data in body)


def png_chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_rows(array, depth):
    samples = array.astype(">u2" if depth == 16 else "u1")
    return b"".join(b"\0" + row.tobytes() for row in samples)


def bmp(rows, width, height, bits, compression=0, palette=b"", masks=b"", top_down=False):
    """BMP with a 40-byte header; `rows` in the order of the file, packed."""
    offset = 14 + 40 + len(masks) + len(palette)
    header = struct.pack(
        "<IiiHHIIiiII", 40, width, -height if top_down else height, 1, bits, compression, len(rows), 0, 0, 0, 0
    )
    return b"BM" + struct.pack("<IHHI", offset + len(rows), 0, 0, offset) + header + masks + palette + rows


def bmp_os2(rows, width, height, bits, palette):
    """BMP with the 12-byte header of OS/2 and 3-byte palette entries."""
    offset = 14 + 12 + len(palette)
    header = struct.pack("<IHHHH", 12, width, height, 1, bits)
    return b"BM" + struct.pack("<IHHI", offset + len(rows), 0, 0, offset) + header + palette + rows


def bmp_rows(array, top_down=False):
    """Rows of a (height, bytes) array, padded to 4 bytes, from the bottom up."""
    ordered = array if top_down else array[::-1]
    padding = -ordered.shape[1] % 4
    return np.pad(ordered, ((0, 0), (0, padding))).astype("u1").tobytes()


def pack_indices(indices, bits):
    """Indices of 1 or 4 bits, the first in the highest bits of a byte."""
    per_byte = 8 // bits
    padded = np.pad(indices, ((0, 0), (0, -indices.shape[1] % per_byte)))
    packed = np.zeros((padded.shape[0], padded.shape[1] // per_byte), "u1")
    for place in range(per_byte):
        packed |= (padded[:, place::per_byte] << (8 - bits * (place + 1))).astype("u1")
    return packed


def rle(indices, nibbles):
    """Run-length coding of BMP: runs where there are some, literals elsewhere."""
    out = bytearray()
    for row in indices[::-1]:
        values = row.tolist()
        at = 0
        while at < len(values):
            run = 1
            while at + run < len(values) and run < 255 and values[at + run] == values[at]:
                run += 1
            if run >= 3 or len(values) - at < 3:
                out += bytes([run, values[at] * 17 if nibbles else values[at]])
                at += run
                continue
            literal = values[at : at + 8]
            if len(literal) < 3:
                literal = values[at : at + 1]
                out += bytes([1, literal[0] * 17 if nibbles else literal[0]])
                at += 1
                continue
            data = bytes(literal)
            if nibbles:
                data = pack_indices(np.array([literal], "u1"), 4).tobytes()
            out += bytes([0, len(literal)]) + data + b"\0" * (len(data) % 2)
            at += len(literal)
        out += b"\0\0"
    return bytes(out + b"\0\1")


def gif_on_larger_screen(gif, width, height, left, top):
    """Moves the only frame of a GIF onto a larger logical screen."""
    data = bytearray(gif)
    data[6:10] = struct.pack("<HH", width, height)
    palette = 3 << ((data[10] & 7) + 1) if data[10] & 0x80 else 0
    at = 13 + palette
    while data[at] == 0x21:
        at += 2
        while data[at]:
            at += data[at] + 1
        at += 1
    assert data[at] == 0x2C
    data[at + 1 : at + 5] = struct.pack("<HH", left, top)
    return bytes(data)


def tiff_of_tiles(rgb, tile_width, tile_height):
    """TIFF of compressed tiles, with the highest byte of a number first."""
    height, width, _ = rgb.shape
    tiles = []
    for top in range(0, height, tile_height):
        for left in range(0, width, tile_width):
            part = rgb[top : top + tile_height, left : left + tile_width]
            margins = ((0, tile_height - part.shape[0]), (0, tile_width - part.shape[1]), (0, 0))
            tiles.append(zlib.compress(np.pad(part, margins).tobytes(), 9))
    header = 8 + 2 + 11 * 12 + 4
    lists = header + 6
    data = lists + 8 * len(tiles)
    lengths = [len(tile) for tile in tiles]
    offsets = [data + sum(lengths[:index]) for index in range(len(tiles))]
    tags = [
        (256, 3, 1, width << 16),
        (257, 3, 1, height << 16),
        (258, 3, 3, header),
        (259, 3, 1, 8 << 16),
        (262, 3, 1, 2 << 16),
        (277, 3, 1, 3 << 16),
        (284, 3, 1, 1 << 16),
        (322, 3, 1, tile_width << 16),
        (323, 3, 1, tile_height << 16),
        (324, 4, len(tiles), lists),
        (325, 4, len(tiles), lists + 4 * len(tiles)),
    ]
    entries = b"".join(struct.pack(">HHII", *tag) for tag in tags)
    directory = struct.pack(">H", len(tags)) + entries + bytes(4)
    numbers = struct.pack(f">3H{2 * len(tiles)}I", 8, 8, 8, *offsets, *lengths)
    return b"MM\0*" + struct.pack(">I", 8) + directory + numbers + b"".join(tiles)
