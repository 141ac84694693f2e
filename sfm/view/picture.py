"""Drawing on pictures (height, width, 3) uint8 RGB: smooth marks, text, colour bars, PNG files.

Coordinates are ours, the top-left corner is (0, 0): OpenCV's half pixel is taken off here.
"""

from pathlib import Path

import cv2
import numpy as np

from sfm.files import replacing

SHIFT = 4  # OpenCV draws at 1/16 px
INK = (232, 234, 237)
RIM = (16, 18, 20)
FAINT = (150, 156, 164)


def write_png(path: str | Path, rgb: np.ndarray) -> None:
    """Write a picture. Raises `InputError` when the place cannot be written."""
    encoded = cv2.imencode(".png", np.ascontiguousarray(rgb[:, :, ::-1]))[1]
    with replacing(path) as temporary:
        temporary.write_bytes(encoded.tobytes())


def draw_lines(rgb: np.ndarray, segments: np.ndarray, colors: np.ndarray, width_px: float, rim_px: float = 0) -> None:
    """Segments (n, 2, 2), drawn in order, in colors (n, 3) or one color (3,), with a dark rim if asked."""
    colors = np.broadcast_to(colors, (len(segments), 3)).tolist()
    width, outer = max(1, round(width_px)), max(1, round(width_px + 2 * rim_px))
    for (start, end), color in zip(_fixed_point(segments), colors, strict=True):
        if rim_px:
            cv2.line(rgb, start, end, RIM, outer, cv2.LINE_AA, SHIFT)
        cv2.line(rgb, start, end, color, width, cv2.LINE_AA, SHIFT)


def draw_dots(rgb: np.ndarray, xy: np.ndarray, colors: np.ndarray, radius_px: float, rim_px: float = 0) -> None:
    """Filled circles at xy (n, 2), drawn in order, in colors (n, 3) or one color (3,), with a dark rim if asked."""
    colors = np.broadcast_to(colors, (len(xy), 3)).tolist()
    radius, outer = round(radius_px * 2**SHIFT), round((radius_px + rim_px) * 2**SHIFT)
    for center, color in zip(_fixed_point(xy), colors, strict=True):
        if rim_px:
            cv2.circle(rgb, center, outer, RIM, cv2.FILLED, cv2.LINE_AA, SHIFT)
        cv2.circle(rgb, center, radius, color, cv2.FILLED, cv2.LINE_AA, SHIFT)


def draw_rings(rgb: np.ndarray, xy: np.ndarray, color: tuple[int, int, int], radius_px: float) -> None:
    """Open circles at xy (n, 2)."""
    width = max(1, round(radius_px / 3))
    for center in _fixed_point(xy):
        cv2.circle(rgb, center, round(radius_px * 2**SHIFT), color, width, cv2.LINE_AA, SHIFT)


def draw_text(
    rgb: np.ndarray, xy: tuple[float, float], text: str, size_px: float, color=INK, align: float = 0.0
) -> int:
    """Text on a baseline, xy at its left end (align 0), middle (0.5) or right end (1). Returns its width, px."""
    font, size = cv2.FontFace("sans"), round(size_px)
    width = cv2.getTextSize((0, 0), text, (0, 0), font, size, 450)[2]
    origin = (round(xy[0] - align * width), round(xy[1]))
    cv2.putText(rgb, text, origin, tuple(map(int, color)), font, size, 450)
    return width


def draw_color_bar(rgb: np.ndarray, box: tuple[float, float, float, float], colors: np.ndarray) -> None:
    """Colors (n, 3) from left to right, filling box (left, top, right, bottom) px."""
    left, top, right, bottom = (round(side) for side in box)
    bar = cv2.resize(colors[None].astype(np.uint8), (right - left, bottom - top), interpolation=cv2.INTER_LINEAR)
    rgb[top:bottom, left:right] = bar


def _fixed_point(xy: np.ndarray) -> list:
    """OpenCV's sub-pixel integers; what is far off the picture is clamped, for it overflows them."""
    return np.round((np.clip(xy, -1e5, 1e5) - 0.5) * 2**SHIFT).astype(int).tolist()
