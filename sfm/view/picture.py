"""Drawing on pictures (height, width, 3) uint8 RGB: smooth marks, text, colour bars, PNG files."""

from pathlib import Path

import cv2
import numpy as np

from sfm.export.atomic import replacing

SHIFT = 4  # OpenCV draws at 1/16 px


def write_png(path: str | Path, rgb: np.ndarray) -> None:
    """Write a picture. Raises `InputError` when the place cannot be written."""
    encoded = cv2.imencode(".png", np.ascontiguousarray(rgb[:, :, ::-1]))[1]
    with replacing(path) as temporary:
        temporary.write_bytes(encoded.tobytes())


def draw_text(rgb: np.ndarray, xy: tuple[float, float], text: str, size_px: float, color=(235, 235, 235)) -> None:
    """Text with its left end and baseline at xy, its capitals about 0.7 size_px high."""
    font = cv2.FontFace("sans")
    cv2.putText(rgb, text, (round(xy[0]), round(xy[1])), tuple(map(int, color)), font, round(size_px), 450)


def text_width(text: str, size_px: float) -> int:
    """Width of `draw_text`, px."""
    return cv2.getTextSize((0, 0), text, (0, 0), cv2.FontFace("sans"), round(size_px), 450)[2]
