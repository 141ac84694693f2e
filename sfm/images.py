"""One picture file to one array: 8-bit RGB to track on, or the named channels of an EXR.

A half picture is no picture: a file that is cut short or cannot be decoded gives None. What no decoder notices (bytes
changed inside a JPEG) passes; the tracker's checks are there for that.
"""

from pathlib import Path

import cv2
import numpy as np
import OpenEXR

from sfm.errors import InputError

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".tif", ".tiff", ".exr", ".bmp", ".webp", ".jp2")
DISPLAY_GAMMA = 2.2


def read_rgb(path: Path) -> np.ndarray | None:
    """A picture as (height, width, 3) uint8 RGB; None when it cannot be decoded.

    16-bit files keep their upper 8 bits; EXR and float TIFF are taken as scene-linear and shown with a gamma of 2.2,
    clipped at white. An EXR is cut or padded with black to its display window: that is the plate.
    Raises `InputError` for an EXR without colour channels.
    """
    if path.suffix.lower() == ".exr":
        channels = read_exr(path)
        return None if channels is None else _display(np.stack(_colours(path, channels), axis=-1))
    picture = read_raw(path, cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH)
    if picture is None:
        return None
    if picture.dtype.kind == "f":
        return _display(picture[..., ::-1])
    return cv2.cvtColor((picture >> 8).astype(np.uint8) if picture.dtype == np.uint16 else picture, cv2.COLOR_BGR2RGB)


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
    channels: dict[str, np.ndarray] = {}
    try:
        with OpenEXR.File(str(path), separate_channels=True) as file:
            for part in file.parts:
                for name, channel in part.channels.items():
                    if channel.xSampling == channel.ySampling == 1:
                        channels.setdefault(name, _on_display(channel.pixels, part.header, outside))
    except (RuntimeError, ValueError, TypeError, KeyError, OSError):
        return None
    return channels or None


def _on_display(pixels: np.ndarray, header: dict, outside: float) -> np.ndarray:
    """Pixels of the data window laid on the display window."""
    data, display = (np.array(header[window]) for window in ("dataWindow", "displayWindow"))
    if np.array_equal(data, display):
        return pixels
    width, height = display[1] - display[0] + 1
    low, high = np.maximum(data[0], display[0]), np.minimum(data[1], display[1]) + 1
    canvas = np.full((height, width), outside, pixels.dtype if pixels.dtype.kind == "f" else np.float32)
    if np.all(high > low):
        (x0, y0), (x1, y1) = low - display[0], high - display[0]
        (u0, v0), (u1, v1) = low - data[0], high - data[0]
        canvas[y0:y1, x0:x1] = pixels[v0:v1, u0:u1]
    return canvas


def _colours(path: Path, channels: dict[str, np.ndarray]) -> list[np.ndarray]:
    """The R, G and B planes: unlayered first, else of the first layer that has them, else Y three times."""
    layers = [""] + [name[:-1] for name in channels if name.endswith(".R")]
    for layer in layers:
        if all(layer + c in channels for c in "RGB"):
            return [channels[layer + c] for c in "RGB"]
    if "Y" in channels:
        return [channels["Y"]] * 3
    raise InputError(f"{path}: no colour in this EXR (channels {', '.join(channels)}); expected R, G, B or Y")


def _display(linear: np.ndarray) -> np.ndarray:
    """Scene-linear light as 8-bit picture."""
    clipped = np.clip(np.nan_to_num(linear.astype(np.float32), posinf=1.0, neginf=0.0), 0, 1)
    return np.rint(255 * cv2.pow(clipped, 1 / DISPLAY_GAMMA)).astype(np.uint8)
