"""A network asked twice, the second time with mirrored pictures: where its two answers differ, it does not know."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from sfm.depth.callable import CallableModel
from sfm.depth.model import DepthKind

TOLERANCE = 0.1  # of the range of a map (5th to 95th percentile; of log depth, of affine disparity itself)
REPEATABLE = 0.05  # of log depth (of affine disparity: of its median): by so little any network differs from itself


def flip_checked(model: CallableModel, tolerance: float = TOLERANCE) -> CallableModel:
    """The model with the mean of both answers for its map, and NaN where they are further apart than `tolerance`.

    Answers may differ in unit as a whole (and, of affine disparity, in offset). It takes twice as long.
    """
    function = _FlipChecked(model.function, model.kind, tolerance)
    return replace(model, function=function, settings={**model.settings, "flip_check": tolerance})


@dataclass(frozen=True, slots=True)
class _FlipChecked:
    function: Callable[[np.ndarray], np.ndarray]
    kind: DepthKind
    tolerance: float

    def __call__(self, frames: np.ndarray) -> np.ndarray:
        plain = np.asarray(self.function(frames))
        mirrored = np.asarray(self.function(np.ascontiguousarray(frames[:, :, ::-1])))
        if plain.ndim != 3 or plain.shape != mirrored.shape:
            return plain  # its shape is complained of where shapes are looked at
        return np.stack([self._agreed(*maps) for maps in zip(plain, mirrored[:, :, ::-1], strict=True)])

    def _agreed(self, one: np.ndarray, two: np.ndarray) -> np.ndarray:
        """The mean of two maps (h, w), NaN where they differ."""
        affine = self.kind == "affine_disparity"
        with np.errstate(invalid="ignore", divide="ignore"):
            values = [np.where(np.isfinite(m), m, np.nan) if affine else np.log(np.where(m > 0, m, np.nan))
                      for m in (one.astype(np.float64), two.astype(np.float64))]  # fmt: skip
        known = np.isfinite(values[0]) & np.isfinite(values[1])
        if not known.any():
            return np.full(one.shape, np.nan, np.float32)
        low, high = np.quantile([v[known] for v in values], [0.05, 0.95], axis=1)
        spread = high - low
        second = values[1] * (spread[0] / max(spread[1], 1e-12) if affine else 1.0)
        second += np.median((values[0] - second)[known])
        least = REPEATABLE * (abs(float(np.median(values[0][known]))) if affine else 1.0)
        agreed = known & (np.abs(second - values[0]) <= max(self.tolerance * spread[0], least))
        mean = np.where(agreed, 0.5 * (values[0] + second), np.nan)
        return (mean if affine else np.exp(mean)).astype(np.float32)
