"""What a picture file holds: a plate at its full depth, alpha, named channels, and what its header says of it.

A half picture is no picture: a file that is cut short or cannot be decoded gives None. What no decoder notices (bytes
changed inside a JPEG) passes; the tracker's checks are there for that. OpenCV reads what cameras and the web write,
OpenImageIO what film does. The plate is always the display window.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import OpenImageIO as oiio

from sfm.errors import InputError

FILM_SUFFIXES = (".exr", ".dpx", ".cin", ".tif", ".tiff")  # read by OpenImageIO
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", *FILM_SUFFIXES, ".bmp", ".webp", ".jp2")
# outside is rubbish, as in the headers of old scanners
MIN_PIXEL_ASPECT, MAX_PIXEL_ASPECT, MIN_FPS, MAX_FPS = 0.1, 10.0, 0.1, 1000.0


@dataclass(frozen=True, slots=True)
class Header:
    """What a file says of itself, checked; None or empty where it is silent.

    pixel_aspect: width over height of what a stored pixel shows; timecode: HH:MM:SS:FF of the picture, of a movie the
    first one; transfer: how a DPX says its numbers stand for light; window: x0, y0, x1, y1 px of the plate, where the
    data window does not cover it; floating: numbers are no integers; alpha: there is one.
    """

    pixel_aspect: float | None = None
    fps: float | None = None
    timecode: str = ""
    transfer: str = ""
    window: tuple[int, int, int, int] | None = None
    floating: bool = False
    alpha: bool = False

    def __post_init__(self):
        aspect, fps = self.pixel_aspect, self.fps
        if aspect is not None and not MIN_PIXEL_ASPECT < aspect < MAX_PIXEL_ASPECT:
            object.__setattr__(self, "pixel_aspect", None)
        if fps is not None and not MIN_FPS < fps < MAX_FPS:
            object.__setattr__(self, "fps", None)


def read_plate(path: Path) -> np.ndarray | None:
    """A picture as it is stored, (height, width, 3) RGB uint8, uint16, float16 or float32; None when it cannot be
    decoded.

    Integers of other depths fill 16 bits. Cut or padded with black to the display window. Raises `InputError` for an
    EXR without colour channels.
    """
    if path.suffix.lower() not in FILM_SUFFIXES:
        picture = read_raw(path, cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH)
        return None if picture is None else cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)
    with _opened(path) as file:
        channels = {} if file is None else _places(file)
        read = _read(file, _colours(path, channels), channels, 0.0) if channels else None
        return None if read is None else _upright(file, np.stack(read, axis=-1))


def read_alpha(path: Path) -> np.ndarray | None:
    """Alpha (height, width) of the display window, zero outside the data window; None where there is none."""
    if path.suffix.lower() not in FILM_SUFFIXES:
        picture = read_raw(path)
        return picture[..., 3] if picture is not None and picture.ndim == 3 and picture.shape[2] == 4 else None
    with _opened(path) as file:
        channels = {} if file is None else _places(file)
        name = next((name for name in ("A", "alpha") if name in channels), None)
        read = _read(file, [name], channels, 0.0) if name else None
        return None if read is None else _upright(file, read[0])


def read_raw(path: Path, flags: int = cv2.IMREAD_UNCHANGED) -> np.ndarray | None:
    """The values OpenCV decodes from a picture file, in its own channel order; None when it cannot."""
    try:
        return cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), flags)
    except (OSError, cv2.error):
        return None


def read_exr(path: Path, outside: float = 0.0) -> dict[str, np.ndarray] | None:
    """Channels by name, each (height, width) of the display window; None when the file cannot be read.

    Pixels of the display window that the data window does not hold are `outside`. Of several parts that name a channel
    alike the first counts.
    """
    with _opened(path) as file:
        channels = {} if file is None else _places(file)
        read = _read(file, list(channels), channels, outside) if channels else None
        return None if read is None else dict(zip(channels, read, strict=True))


def write_exr(path: Path, channels: dict[str, np.ndarray], about: str = "") -> None:
    """Write channels (height, width), all half or all float, losslessly compressed; about: text under that name.

    Raises `InputError` when it cannot be written.
    """
    pixels = np.ascontiguousarray(np.stack(list(channels.values()), axis=-1))
    height, width, count = pixels.shape
    spec = oiio.ImageSpec(width, height, count, "half" if pixels.dtype == np.float16 else "float")
    spec.channelnames = tuple(channels)
    spec.attribute("compression", "zip")
    if about:
        spec.attribute("about", about)
    file: Any = oiio.ImageOutput.create("openexr")  # by name: what a temporary file is called says nothing
    if not (file.open(str(path), spec) and file.write_image(pixels) and file.close()):
        raise InputError(f"{path}: cannot be written ({file.geterror()}); choose another output place")


def exr_text(path: Path, name: str) -> str:
    """Text that an EXR holds under a name; empty where it holds none or cannot be read."""
    with _opened(path) as file:
        return "" if file is None else file.spec().get_string_attribute(name)


def read_header(path: Path) -> Header:
    """What a file of film says; of other files, and those that cannot be read, nothing."""
    if path.suffix.lower() not in FILM_SUFFIXES:
        return Header()
    with _opened(path) as file:
        if file is None:
            return Header()
        spec, tiff = file.spec(), path.suffix.lower() in (".tif", ".tiff")
        rate = spec.getattribute("FramesPerSecond") or spec.getattribute("dpx:FrameRate")
        return Header(
            None if tiff else spec.getattribute("PixelAspectRatio"),  # of a TIFF the resolution of some printer
            rate[0] / max(rate[1], 1) if isinstance(rate, tuple) else rate,
            spec.get_string_attribute("smpte:TimeCode") or spec.get_string_attribute("dpx:TimeCode"),
            spec.get_string_attribute("dpx:Transfer"),
            _window(spec),
            spec.format.basetype in (oiio.HALF, oiio.FLOAT, oiio.DOUBLE),
            not {"A", "alpha"}.isdisjoint(spec.channelnames),
        )


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """The file by OpenImageIO, None where that cannot open it. Alpha is not multiplied in."""
    asked = oiio.ImageSpec()
    asked.attribute("oiio:UnassociatedAlpha", 1)
    file = oiio.ImageInput.open(str(path), asked)
    try:
        yield file
    finally:
        oiio.geterror()  # else it is told when the program ends
        if file is not None:
            file.close()


def _places(file: Any) -> dict[str, tuple[int, int]]:
    """Channels by name: which part they are in, and where there."""
    found: dict[str, tuple[int, int]] = {}
    part = 0
    while file.seek_subimage(part, 0):
        if not file.spec().deep:
            for index, name in enumerate(file.spec().channelnames):
                found.setdefault(name, (part, index))
        part += 1 if file.format_name() == "openexr" else 10**6  # pages of a TIFF are other pictures
    file.geterror()
    return found


def _read(
    file: Any, names: Sequence[str], places: dict[str, tuple[int, int]], outside: float
) -> list[np.ndarray] | None:
    """These channels, (height, width) of the display window each; None where one cannot be decoded."""
    wanted = [places[name] for name in names]
    read: dict[tuple[int, int], np.ndarray] = {}
    for part in sorted({part for part, _ in wanted}):
        indices = [index for p, index in wanted if p == part]
        file.seek_subimage(part, 0)
        spec, low = file.spec(), min(indices)
        pixels = file.read_image(part, 0, low, max(indices) + 1, spec.format)
        if pixels is None or file.geterror():
            return None
        pixels = pixels.reshape(spec.height, spec.width, -1)
        if pixels.dtype.kind == "u" and pixels.dtype.itemsize > 2:
            pixels = pixels.astype(np.float32)
        read |= {(part, index): _on_display(pixels[..., index - low], spec, outside) for index in indices}
    return [read[place] for place in wanted]


def _window(spec: Any) -> tuple[int, int, int, int] | None:
    """The data window on the display window, None where it covers that."""
    x, y = spec.x - spec.full_x, spec.y - spec.full_y
    window = (max(x, 0), max(y, 0), min(x + spec.width, spec.full_width), min(y + spec.height, spec.full_height))
    return None if window == (0, 0, spec.full_width, spec.full_height) else window


def _on_display(pixels: np.ndarray, spec: Any, outside: float) -> np.ndarray:
    """Pixels of the data window laid on the display window."""
    if pixels.shape == (spec.full_height, spec.full_width) and _window(spec) is None:
        return pixels
    x0, y0, x1, y1 = _window(spec) or (0, 0, spec.full_width, spec.full_height)
    fits = pixels.dtype.kind == "f" or not np.isnan(outside)
    canvas = np.full((spec.full_height, spec.full_width), outside, pixels.dtype if fits else np.float32)
    if x1 > x0 and y1 > y0:
        u, v = spec.full_x - spec.x, spec.full_y - spec.y
        canvas[y0:y1, x0:x1] = pixels[y0 + v : y1 + v, x0 + u : x1 + u]
    return canvas


def _upright(file: Any, picture: np.ndarray) -> np.ndarray:
    """Turned and mirrored as the header says (TIFF's and DPX's orientation, 1 to 8)."""
    turn = file.spec().getattribute("Orientation") or 1
    picture = picture.swapaxes(0, 1) if turn in (5, 6, 7, 8) else picture
    picture = picture[::-1] if turn in (3, 4, 7, 8) else picture
    return np.ascontiguousarray(picture[:, ::-1] if turn in (2, 3, 6, 7) else picture)


def _colours(path: Path, names: Sequence[str] | dict) -> list[str]:
    """Names of the R, G and B planes: unlayered first, else of the first layer that has them, else Y three times."""
    layers = [""] + [name[:-1] for name in names if name.endswith(".R")]
    for layer in layers:
        if all(layer + c in names for c in "RGB"):
            return [layer + c for c in "RGB"]
    if "Y" in names:
        return ["Y"] * 3
    if path.suffix.lower() != ".exr":
        return (list(names) * 3)[:3] if len(names) < 3 else list(names)[:3]
    raise InputError(f"{path}: no colour in this EXR (channels {', '.join(names)}); expected R, G, B or Y")
