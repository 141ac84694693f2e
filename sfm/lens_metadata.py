"""The focal length that a picture or a movie says it was shot with, as an equivalent on 35 mm film: a hint, no more.

EXIF says it for stills (`FocalLengthIn35mmFilm`), QuickTime for phones' movies. It is the lens's own, rounded to a
millimetre; cropping, as phones do to steady a video, narrows the view further and is not in it.
"""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np

STILLS, MOVIES = (".jpg", ".jpeg", ".tif", ".tiff", ".png", ".webp"), (".mov", ".mp4", ".m4v")
FILM_WIDTH_MM = 36.0
EXIF_BLOCK, EXIF_FOCAL_LENGTH_35MM = 0x8769, 0xA405
QUICKTIME_KEY = b"com.apple.quicktime.camera.focal_length.35mm_equivalent"
QUICKTIME_TEXT, QUICKTIME_FLOAT, QUICKTIME_DOUBLE = 1, 23, 24  # well-known types; the rest here are whole numbers


def focal_length_35mm(path: Path) -> float | None:
    """The equivalent focal length in mm that a file says; None where it says none or cannot be read.

    Stills need Pillow, without which none says any.
    """
    read = {**dict.fromkeys(STILLS, _of_still), **dict.fromkeys(MOVIES, _of_movie)}.get(path.suffix.lower())
    try:
        found = read(path) if read is not None else None
    except Exception:  # of whatever kind: a damaged file is told of where its pictures are needed
        return None
    return found if found is not None and 0 < found < np.inf else None


def fov_deg_of(focal_length_35mm: float, width: int, height: int, pixel_aspect: float = 1.0) -> float:
    """Horizontal field of view in degrees of a plate of width x height px with this equivalent focal length in mm.

    What "equivalent" means is not agreed on for pictures that are not 3:2; here the plate's longer side counts as the
    36 mm of a film frame.

    >>> round(fov_deg_of(26.0, 1920, 1080), 1)
    69.4
    """
    across = width * pixel_aspect  # as wide as the plate is once desqueezed
    focal_px = focal_length_35mm / FILM_WIDTH_MM * max(across, height)
    return float(np.degrees(2 * np.arctan(0.5 * across / focal_px)))


def _of_still(path: Path) -> float | None:
    from PIL import Image

    with Image.open(path) as image:
        return image.getexif().get_ifd(EXIF_BLOCK).get(EXIF_FOCAL_LENGTH_35MM)


def _of_movie(path: Path) -> float | None:
    """Of the header `moov`, or of a track in it, the `meta`: a list of keys, and items by their place in it.

    By hand, after Apple's QuickTime File Format: OpenCV does not tell, and a library that does weighs 100 MB.
    """
    with path.open("rb") as file:
        header = _header(file)
    tracks = [content for kind, content in _boxes(header) if kind == b"trak"]
    for holder in (*tracks, header):
        meta = dict(_boxes(holder)).get(b"meta", b"")
        boxes = dict(_boxes(meta if meta[4:8] == b"hdlr" else meta[4:]))  # MPEG-4 puts a version before them
        keys = [key for _, key in _boxes(boxes.get(b"keys", b"")[8:])]
        if QUICKTIME_KEY in keys:
            item = dict(_boxes(boxes[b"ilst"]))[struct.pack(">I", 1 + keys.index(QUICKTIME_KEY))]
            return _number(dict(_boxes(item))[b"data"])
    return None


def _header(file: BinaryIO) -> bytes:
    """Content of `moov`, which may stand behind gigabytes of pictures; empty where there is none."""
    while len(head := file.read(8)) == 8:
        size, kind = struct.unpack(">I4s", head)
        left = struct.unpack(">Q", file.read(8))[0] - 16 if size == 1 else size - 8
        if kind == b"moov":
            return file.read(left)
        if left < 0:  # 0: to the end of the file
            break
        file.seek(left, 1)
    return b""


def _boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Kind and content of boxes in a row."""
    start = 0
    while start + 8 <= len(data):
        size, kind = struct.unpack_from(">I4s", data, start)
        if size < 8:
            return
        yield kind, data[start + 8 : start + size]
        start += size


def _number(data: bytes) -> float:
    kind, value = struct.unpack(">I", data[:4])[0], data[8:]
    if kind == QUICKTIME_TEXT:
        return float(value)
    if kind in (QUICKTIME_FLOAT, QUICKTIME_DOUBLE):
        return struct.unpack(">f" if kind == QUICKTIME_FLOAT else ">d", value)[0]
    return int.from_bytes(value, "big")
