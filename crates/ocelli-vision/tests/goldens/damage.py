"""Damaged JPEG files: some that Pillow decodes, some that it refuses."""

import io


def jpegs(image):
    whole = encoded(image, quality=85)
    progressive = encoded(image, quality=85, progressive=True)
    restarts = encoded(image, quality=85, restart_marker_blocks=4)
    scan = whole.index(b"\xff\xda")
    middle = (scan + len(whole)) // 2
    app0 = whole.index(b"JFIF\0")
    return {
        "stray-bytes-before-table": insert(whole, whole.index(b"\xff\xdb"), b"\x11\x22\x33"),
        "stray-bytes-before-scan": insert(whole, scan, b"\x00\x01\x02\x03"),
        "stray-bytes-before-end": insert(whole, len(whole) - 2, b"\x55" * 7),
        "bytes-after-end": whole + b"trailing bytes \xff\xd8\xff",
        "future-jfif": replace(whole, app0 + 5, b"\x07"),
        "unknown-adobe-transform": with_adobe(whole, 9),
        "fill-bytes": insert(whole, scan, b"\xff\xff\xff"),
        "flipped-bits": replace(
            whole, middle, bytes(255 - byte if byte not in (0, 255) else byte for byte in whole[middle : middle + 3])
        ),
        "zeroed": replace(whole, middle, bytes(60)),
        "end-inside-scan": whole[:middle] + b"\xff\xd9",
        "lost-restart": drop_restart(restarts),
        "progressive-missing-scan": drop_last_scan(progressive),
        "progressive-flipped-bits": replace(progressive, len(progressive) * 3 // 4, b"\x12\x34\x56"),
        "cut-in-half": whole[: len(whole) // 2],
        "cut-before-end": whole[:-2],
        "cut-inside-end": whole[:-1],
        "cut-in-header": whole[: scan - 5],
        "cut-after-scan-header": whole[: scan + 14],
        "cut-progressive": progressive[: len(progressive) * 2 // 3],
        "cut-restarts": restarts[: len(restarts) * 2 // 3],
        "no-scan": whole[:scan] + b"\xff\xd9",
        "bad-table": replace(whole, whole.index(b"\xff\xc4") + 5, b"\xff" * 16),
    }


def encoded(image, **options):
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", **options)
    return buffer.getvalue()


def insert(data, at, extra):
    return data[:at] + extra + data[at:]


def replace(data, at, new):
    return data[:at] + new + data[at + len(new) :]


def with_adobe(data, transform):
    """Without JFIF, whose presence settles the colours, and with Adobe's marker."""
    length = int.from_bytes(data[4:6], "big")
    adobe = b"\xff\xee\0\x0eAdobe\0\x64\0\0\0\0" + bytes([transform])
    return data[:2] + adobe + data[4 + length :]


def drop_restart(data):
    """Takes out the third restart marker and the data up to the fourth."""
    start, end = data.index(b"\xff\xd2"), data.index(b"\xff\xd3")
    return data[:start] + data[end:]


def drop_last_scan(data):
    return data[: data.rindex(b"\xff\xda")] + b"\xff\xd9"
