"""Pictures that carry a number, to tell whether the right one was read."""

import numpy as np

from sfm.video import Video

BITS = 6


def picture(index: int, width: int = 192, height: int = 96) -> np.ndarray:
    """An RGB picture that carries its index as big black and white squares, over a gradient that tells R from B."""
    rgb = np.zeros((height, width, 3), np.uint8)
    rgb[..., 0], rgb[..., 2] = 200, 60
    for bit in range(BITS):
        rgb[: height // 3, bit * width // BITS : (bit + 1) * width // BITS] = 255 * (index >> bit & 1)
    return rgb


def index_of(rgb: np.ndarray) -> int:
    height, width = rgb.shape[:2]
    squares = rgb[height // 6, (np.arange(BITS) + 0.5).astype(int) * (width // BITS) + width // (2 * BITS)]
    return sum(int(square.mean() > 128) << bit for bit, square in enumerate(squares))


def contents(video: Video) -> list[int | None]:
    """What every frame shows; checks that the indices count up."""
    shown = []
    for expected, (index, rgb) in enumerate(video):
        assert index == expected
        shown.append(None if rgb is None else index_of(rgb))
    return shown
