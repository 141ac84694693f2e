"""Colours that mean something: the plate's own, depth near red to far blue, residual and sigma green to red, support.

Turbo after Mikhailov 2019; residuals in the bluish green, yellow and vermilion of Okabe and Ito 2008, brightened, which
colour-blind people tell apart. The residual scale is fixed, so that pictures of different shots compare.
"""

from typing import Literal

import cv2
import numpy as np

from sfm.scene import Reconstruction, Support

ColorMode = Literal["plate", "depth", "residual", "support", "sigma"]
COLOR_MODES: tuple[ColorMode, ...] = ("plate", "depth", "residual", "support", "sigma")

COLOR_WORDS: dict[ColorMode, str] = {
    "plate": "as on the plate",
    "depth": "depth, near red to far blue",
    "residual": "error, green 0, yellow 1, red 2 px",
    "support": "blue triangulated, orange by the prior",
    "sigma": "sigma of depth, green 0.1, yellow 3, red 100 %",
}

TURBO = cv2.applyColorMap(np.arange(256, dtype=np.uint8), cv2.COLORMAP_TURBO).reshape(256, 3)[:, ::-1]
MAX_RESIDUAL_PX = 2.0  # red from here on, yellow at half of it
LEAST_SIGMA, MOST_SIGMA = 1e-3, 1.0  # of depth, relative: green up to the first, red from the second on
BACKGROUND = np.array([28, 31, 36], dtype=np.uint8)
DARKEST = 110  # brightest channel of the darkest point drawn in the plate's colours
UNKNOWN = np.array([120, 120, 120], dtype=np.uint8)
FRUSTUM = np.array([255, 196, 77], dtype=np.uint8)
PATH = np.array([255, 110, 64], dtype=np.uint8)
TRIANGULATED = np.array([77, 182, 255], dtype=np.uint8)
HELD_BY_PRIOR = np.array([255, 166, 64], dtype=np.uint8)


def point_colors(reconstruction: Reconstruction, mode: ColorMode) -> np.ndarray:
    """RGB of every track (tracks, 3) uint8, grey where nothing is known of it."""
    if mode == "plate":
        return _legible(reconstruction.tracks.colors)
    if mode == "depth":
        first = int(np.argmax(reconstruction.registered))
        depth = reconstruction.cams_from_world[first].apply(reconstruction.points)[:, 2]
        return depth_colors(depth, depth_limits(depth))
    if mode == "residual":
        return residual_colors(reconstruction.track_rms_px())
    if mode == "sigma":
        return sigma_colors(np.where(reconstruction.has_point, reconstruction.point_sigma, np.nan))
    colors = np.tile(UNKNOWN, (reconstruction.tracks.num_tracks, 1))
    colors[reconstruction.support == Support.TRIANGULATED] = TRIANGULATED
    colors[reconstruction.support == Support.PRIOR] = HELD_BY_PRIOR
    return colors


def depth_limits(depth: np.ndarray) -> tuple[float, float]:
    """Nearest and farthest depth worth a colour of their own: the 2nd and 98th per cent of the positive ones."""
    positive = depth[np.isfinite(depth) & (depth > 0)]
    if not len(positive):
        return 1.0, 2.0
    near, far = np.quantile(positive, [0.02, 0.98])
    return float(near), float(max(far, 1.01 * near))


def depth_colors(depth: np.ndarray, limits: tuple[float, float]) -> np.ndarray:
    """RGB (n, 3) uint8 of depth (n,): near red, far blue, even steps in log depth; grey where not positive."""
    known = np.isfinite(depth) & (depth > 0)
    near, far = limits
    nearness = np.log(far / np.where(known, depth, far)) / np.log(far / near)
    level = np.round(255 * np.clip(nearness, 0.1, 0.92)).astype(np.uint8)  # turbo's ends are too dark to see
    return np.where(known[:, None], TURBO[level], UNKNOWN)


def residual_colors(error_px: np.ndarray) -> np.ndarray:
    """RGB (n, 3) uint8 of errors (n,) px: bluish green at 0, yellow at 1, vermilion red from 2 on; grey where NaN."""
    return _good_to_bad(error_px / MAX_RESIDUAL_PX)


def sigma_colors(sigma: np.ndarray) -> np.ndarray:
    """RGB (n, 3) uint8 of relative standard deviations of depth (n,): bluish green up to 0.1 %, yellow at 3 %,
    vermilion red from 100 % on, even steps of their logarithm; grey where NaN."""
    with np.errstate(divide="ignore"):
        return _good_to_bad(np.log(sigma / LEAST_SIGMA) / np.log(MOST_SIGMA / LEAST_SIGMA))


def _good_to_bad(badness: np.ndarray) -> np.ndarray:
    """RGB (n, 3) uint8: bluish green at 0, yellow at a half, vermilion red from 1 on; grey where NaN."""
    known = ~np.isnan(badness)
    stop = np.clip(np.where(known, badness, 0), 0, 1)
    channels = [np.interp(stop, [0, 0.5, 1], values) for values in ([0, 245, 240], [190, 228, 90], [150, 66, 10])]
    return np.where(known[:, None], np.stack(channels, axis=-1).round().astype(np.uint8), UNKNOWN)


def _legible(colors: np.ndarray) -> np.ndarray:
    """The same hues with the shadows lifted off the dark background."""
    lift = np.maximum(DARKEST - colors.max(axis=1, keepdims=True).astype(int), 0)
    return (colors + lift).astype(np.uint8)
