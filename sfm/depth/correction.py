"""A smooth correction of a depth map by points whose depth is known: Gaussian process regression (Rasmussen and
Williams 2006, chapter 2).

What a map is wrong by is taken for smooth over the picture and over depth, so that what is in front and what is behind
an edge are corrected apart. How smooth, is measured on the shot. Far from every point the correction fades to none and
its sigma grows to what maps are wrong by there.
"""

from dataclasses import dataclass, replace
from itertools import product

import numpy as np
from scipy.linalg import cho_factor, cho_solve, cholesky, solve_triangular
from scipy.ndimage import map_coordinates

from sfm.threads import one_blas_thread

REACHES = 0.06, 0.12, 0.25, 0.5  # plate widths, tried
DEPTH_REACHES = 0.15, 0.4, 1.0  # of log depth, tried
NOISES = 0.1, 0.25, 0.6  # of the spread, tried
MAX_TRIED = 200  # points of a frame that the smoothness is measured on
NODES = 28, 16, 10  # of the grid that the correction is worked out on: across, down, through
OUTLIER = 2.5  # standard deviations from what its neighbours say, from where a point counts less and less


@dataclass(frozen=True, slots=True)
class Smoothness:
    """How errors of a map go on: standard deviation of the smooth part and of the rest, both of log depth; how far the
    smooth part reaches, in plate widths and in log depth.
    """

    spread: float
    noise: float
    reach: float = 0.25
    depth_reach: float = 0.6


@dataclass(frozen=True, slots=True, eq=False)
class MapErrors:
    """What a map is wrong by at points.

    place (n, 3): x and y in plate widths, log depth by the map; error (n,): log depth less that; sigma (n,): standard
    deviation of it, of the point and of where an edge of the map is near.
    """

    place: np.ndarray
    error: np.ndarray
    sigma: np.ndarray

    def __len__(self) -> int:
        return len(self.error)


def smoothness_of(frames: list[MapErrors]) -> Smoothness:
    """The smoothness under which the errors of some frames are likeliest, each beside its frame's median."""
    error = np.concatenate([errors.error - np.median(errors.error) for errors in frames])
    spread = float(np.clip(1.4826 * np.median(np.abs(error)), 0.005, 1.0))
    frames = [_thinned(errors) for errors in frames]
    tried = [Smoothness(spread, noise * spread, *reach) for *reach, noise in product(REACHES, DEPTH_REACHES, NOISES)]
    with one_blas_thread():  # so small that more threads only wait for each other
        return max(tried, key=lambda smoothness: sum(_log_likelihood(errors, smoothness) for errors in frames))


def corrected(errors: MapErrors, smoothness: Smoothness, log_map: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The correction to add to a map of log depth (h, w), NaN where unknown, and its standard deviation, both (h, w).

    errors: at the points of this frame, one or more; points that their neighbours contradict count little. The limit:
    worked out on a grid of `NODES` between which it is linear.
    """
    known = np.isfinite(log_map)
    height, width = log_map.shape
    low, high = np.nanmin(log_map), np.nanmax(log_map)
    high = max(high, low + 1e-6)
    axes = [np.linspace(0, 1, NODES[0]), np.linspace(0, height / width, NODES[1]), np.linspace(low, high, NODES[2])]
    nodes = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    with one_blas_thread():
        mean, sigma = (values.reshape(NODES) for values in _at(_weighed(errors, smoothness), smoothness, nodes))
    row, column = np.nonzero(known)
    at = np.stack(
        [
            (column + 0.5) / width * (NODES[0] - 1),
            (row + 0.5) / height * (NODES[1] - 1),
            (log_map[known] - low) / (high - low) * (NODES[2] - 1),
        ]
    )
    out = np.full((2, height, width), np.nan)
    for values, field in zip(out, (mean, sigma), strict=True):
        values[known] = map_coordinates(field, at, order=1, mode="nearest")
    return out[0], out[1]


def _thinned(errors: MapErrors) -> MapErrors:
    some = slice(None, None, -(-len(errors) // MAX_TRIED))
    return MapErrors(errors.place[some], errors.error[some], errors.sigma[some])


def _weighed(errors: MapErrors, smoothness: Smoothness) -> MapErrors:
    """The same, with the sigma of those grown that are far from what the others say: left out one by one."""
    for _ in range(2):
        inverse = cho_solve(_factor(errors, smoothness), np.eye(len(errors)))
        variance = 1 / np.diagonal(inverse)
        off = np.abs(inverse @ (errors.error - np.median(errors.error))) * variance
        grown = np.maximum(off / (OUTLIER * np.sqrt(variance)), 1)
        noise = np.hypot(errors.sigma, smoothness.noise) * grown
        errors = replace(errors, sigma=np.sqrt(np.maximum(noise**2 - smoothness.noise**2, errors.sigma**2)))
    return errors


def _at(errors: MapErrors, smoothness: Smoothness, places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of the error at places (m, 3)."""
    level = float(np.average(errors.error, weights=1 / (errors.sigma**2 + smoothness.noise**2)))
    cross = _covariance(places, errors.place, smoothness)
    lower = np.linalg.cholesky(_noisy(errors, smoothness))
    mean = level + cross @ cho_solve((lower, True), errors.error - level)
    told = (solve_triangular(lower, cross.T, lower=True) ** 2).sum(axis=0)
    return mean, np.sqrt(np.maximum(smoothness.spread**2 - told, 0) + smoothness.noise**2)


def _log_likelihood(errors: MapErrors, smoothness: Smoothness) -> float:
    """Of the errors, those beyond three standard deviations drawn in."""
    error = errors.error - np.median(errors.error)
    error = np.clip(error, -3 * smoothness.spread, 3 * smoothness.spread)
    lower = cholesky(_noisy(errors, smoothness), lower=True)
    return float(-0.5 * error @ cho_solve((lower, True), error) - np.log(np.diagonal(lower)).sum())


def _factor(errors: MapErrors, smoothness: Smoothness):
    return cho_factor(_noisy(errors, smoothness), lower=True)


def _noisy(errors: MapErrors, smoothness: Smoothness) -> np.ndarray:
    own = np.diag(errors.sigma**2 + smoothness.noise**2)
    return _covariance(errors.place, errors.place, smoothness) + own


def _covariance(one: np.ndarray, two: np.ndarray, smoothness: Smoothness) -> np.ndarray:
    scale = np.array([smoothness.reach, smoothness.reach, smoothness.depth_reach])
    one, two = one / scale, two / scale
    square = (one**2).sum(axis=1)[:, None] + (two**2).sum(axis=1) - 2 * one @ two.T
    # rational quadratic: smooth parts of many reaches, so that a lone point still tells something far away
    return smoothness.spread**2 / (1 + 0.5 * np.maximum(square, 0))
