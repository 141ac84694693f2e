"""What the depth prior's maps mean on this shot, and whether the geometry bears them out.

Where parallax knows the depth of points much better than the prior claims to, the two are compared: the offset of
affine disparity is found there, an exponent if the prior stretches or squeezes depth (networks do), the prior's error,
and how many independent measurements its smooth error leaves. A prior that does not rise with depth contradicts it.
"""

import logging
from dataclasses import dataclass, field, replace
from enum import StrEnum

import numpy as np

from sfm.depth_law import depth_exponent, disparity_offset, outlier_limit, spread_within
from sfm.geometry.camera import Camera
from sfm.geometry.transform import Sim3
from sfm.scene import DepthPriors, Reconstruction, in_the_sky

logger = logging.getLogger(__name__)


CELLS = 6, 4  # parts of the picture, across and down, in which a prior may be wrong as a whole
_BELIEVED_AFTER = 5  # independent measurements


class Agreement(StrEnum):
    """What parallax says of the prior."""

    AGREES = "agrees"
    SAYS_NOTHING = "says nothing"  # equally deep everywhere, or as good as that
    CONTRADICTS = "contradicts"
    UNCHECKED = "unchecked"  # too little parallax, or too flat a scene


@dataclass(frozen=True, slots=True)
class AlignmentOptions:
    """When a point may judge the prior, and when the prior is believed."""

    min_informed_sigma: float = 0.5  # points known by parallax this much better than the prior claims tell its error
    assumed_measurements: int = 30  # independent measurements in a network's picture, where they cannot be counted
    min_spread: float = 0.05  # of log depth: flatter scenes cannot judge, flatter priors say nothing
    min_rank_correlation: float = 0.3  # of prior and depth; a prior surely below contradicts
    exponents: tuple[float, float] = (0.5, 2.5)  # how much a prior may be squeezed or stretched
    exponent_gain: float = 6.0  # log likelihood, over independent measurements, that an exponent must be worth


@dataclass(frozen=True, slots=True, eq=False)
class Alignment:
    """The comparison.

    sigma: relative error, by MAD; measurements: independent ones the prior is worth, over all points; exponent:
    power of the prior's depth that was taken, 1 where it did not earn its place; correlation: of ranks;
    known (tracks,): the points that were compared.
    """

    agreement: Agreement
    sigma: float
    measurements: float
    exponent: float = 1.0
    correlation: float = float("nan")
    known: np.ndarray = field(default_factory=lambda: np.zeros(0, bool))


def align(
    scene: Reconstruction, priors: DepthPriors, options: AlignmentOptions = AlignmentOptions()
) -> tuple[DepthPriors, Alignment]:
    """Priors with the offset, exponent and sigma that the shot shows, and how they compare with it.

    scene: adjusted with next to no weight on the prior, with `point_sigma`. Where parallax cannot check the prior its
    claim stands, and its picture counts as `assumed_measurements`.
    """
    claimed = float(np.nanmedian(priors.sigma))
    points = _compared(scene, priors, options.min_informed_sigma * claimed)
    if points is None or _spread(points.log_z) < options.min_spread:
        seen = _points_with_prior(scene, priors)
        return priors, Alignment(Agreement.UNCHECKED, claimed, float(min(seen, options.assumed_measurements)))
    offset = 0.0
    if priors.free_shift:
        offset = disparity_offset([(np.exp(-points.log_prior), points.log_z)], outlier_limit(claimed))
    if offset:
        # found in the scene's unit, applied in the prior's
        priors = _with_offset(priors, offset * points.unit)
        points = replace(points, log_prior=-np.log(np.maximum(np.exp(-points.log_prior) + offset, 1e-12)))
    exponent, sigma, measurements = _errors(points, options, outlier_limit(claimed), scene)
    correlation, doubt = _rank_correlation(points, scene)
    agreement = Agreement.AGREES
    if _spread(points.log_prior) < options.min_spread:
        agreement = Agreement.SAYS_NOTHING
    elif correlation + 2 * doubt < options.min_rank_correlation:
        agreement = Agreement.CONTRADICTS
    if agreement is Agreement.AGREES and exponent != 1:
        unit = np.nanmedian(priors.depth)
        priors = replace(priors, depth=unit * (priors.depth / unit) ** exponent)
    else:
        exponent = 1.0
    logger.info(
        "the prior %s: rank correlation %.2f, exponent %.2f, sigma %.3f, worth %.0f measurements",
        agreement, correlation, exponent, sigma, measurements,
    )  # fmt: skip
    priors = replace(priors, sigma=priors.sigma * (sigma / claimed))
    known = np.zeros(scene.tracks.num_tracks, bool)
    known[points.track] = True
    return priors, Alignment(agreement, sigma, measurements, exponent, correlation, known)


def in_unit_of(scene: Reconstruction, priors: DepthPriors) -> Reconstruction:
    """The scene scaled to the prior's unit, each frame's depth scale read anew; as it is where the prior is unknown."""
    tracks = scene.tracks
    rows, z = _seen_with_prior(scene, priors)
    if not len(rows):
        return scene
    ratio = z / priors.depth[rows]
    unit = float(np.median(ratio))
    scale = scene.depth_scale.copy()
    order = np.argsort(tracks.frame[rows], kind="stable")
    frames, starts = np.unique(tracks.frame[rows][order], return_index=True)
    scale[frames] = [np.median(part) for part in np.split(ratio[order], starts[1:])]
    whole = Sim3(np.array(1 / unit), np.eye(3), np.zeros(3))
    return replace(scene, depth_scale=scale).transform(whole)


def worse_frames(scene: Reconstruction, priors: DepthPriors, alignment: Alignment) -> np.ndarray:
    """How far off each frame's map is beside the ordinary one, (frames,): 1 for maps like the others.

    From the MAD of its errors at the points `align` compared, drawn towards 1 by as many independent measurements as it
    takes to believe a frame. scene: in the priors' unit; priors, alignment: as `align` gives them.
    """
    tracks = scene.tracks
    if not alignment.known.any():
        return np.ones(tracks.num_frames)
    rows, z = _seen_with_prior(scene, priors, alignment.known)
    error, frame = np.log(z) - np.log(priors.depth[rows]), tracks.frame[rows]
    seen = np.bincount(frame, minlength=tracks.num_frames)
    order = np.argsort(frame, kind="stable")
    spread = np.array([_spread(part) if len(part) else 0.0 for part in np.split(error[order], np.cumsum(seen)[:-1])])
    enough = seen >= _BELIEVED_AFTER
    ordinary = float(np.median(spread[enough])) if enough.any() else 1.0
    spread = np.where(enough, spread, ordinary)  # of one or two sightings it tells nothing
    independent = seen * alignment.measurements / alignment.known.sum()
    square = independent * (spread / max(ordinary, 1e-6)) ** 2 + _BELIEVED_AFTER
    return np.sqrt(square / (independent + _BELIEVED_AFTER))


@dataclass(frozen=True, slots=True, eq=False)
class _Points:
    """Points parallax knows: log depth by geometry and by the prior, each point's mean; where in the picture (n, 2)."""

    track: np.ndarray
    log_z: np.ndarray
    log_prior: np.ndarray
    xy: np.ndarray
    unit: float  # what the prior's depth was multiplied by, if by one number


def _seen_with_prior(
    scene: Reconstruction, priors: DepthPriors, points: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Inlier observations with a prior, of some points (tracks,) bool, in front of the camera; and their depth z."""
    tracks = scene.tracks
    use = scene.inliers & np.isfinite(priors.depth) & scene.registered[tracks.frame]
    rows = np.flatnonzero(use if points is None else use & points[tracks.track])
    z = scene.points_in_cam(rows)[:, 2]
    return rows[z > 0], z[z > 0]


def _points_with_prior(scene: Reconstruction, priors: DepthPriors) -> int:
    tracks = scene.tracks
    use = scene.inliers & np.isfinite(priors.depth) & scene.registered[tracks.frame]
    return len(np.unique(tracks.track[use]))


def _compared(scene: Reconstruction, priors: DepthPriors, max_sigma: float) -> _Points | None:
    """The points to compare at; None where parallax knows too few."""
    tracks = scene.tracks
    rows, z = _seen_with_prior(scene, priors, scene.point_sigma < max_sigma)
    seen, track = np.unique(tracks.track[rows], return_inverse=True)
    if len(seen) < max(10, 0.1 * _points_with_prior(scene, priors)):
        return None
    count = np.bincount(track)
    # by the scale each frame's map was found to have, but that scale means nothing before an offset is known
    scale = scene.depth_scale[tracks.frame[rows]]
    unit = float(np.median(scale))
    log_prior = np.log(priors.depth[rows] * (unit if priors.free_shift else scale))
    mean = [np.bincount(track, values) / count for values in (np.log(z), log_prior, *tracks.xy[rows].T)]
    return _Points(seen, mean[0], mean[1], np.stack(mean[2:], axis=1), unit)


def _errors(
    points: _Points, options: AlignmentOptions, limit: float, scene: Reconstruction
) -> tuple[float, float, float]:
    """The exponent that earns its place (1 if none does), the relative error with it, and the measurements left.

    limit: larger errors are outliers.
    """
    plain = points.log_z - points.log_prior
    sigma, measurements = _worth(plain, points.xy, scene.camera)
    if _spread(points.log_prior) < options.min_spread:
        return 1.0, sigma, measurements
    exponent = depth_exponent(points.log_prior, points.log_z, limit, options.exponents)
    # the error is the prior's: its own, not stretched with it
    better = spread_within(plain, limit) / spread_within(points.log_prior - points.log_z / exponent, limit)
    if measurements * np.log(better) < options.exponent_gain:
        return 1.0, sigma, measurements
    return exponent, *_worth(points.log_z - exponent * points.log_prior, points.xy, scene.camera)


def _rank_correlation(points: _Points, scene: Reconstruction) -> tuple[float, float]:
    """Of prior and depth; and its standard deviation were they unrelated: large only where both are smooth."""
    if _spread(points.log_prior) < 1e-3:
        return 0.0, 1.0
    together = min(_share(values, points.xy, scene.camera) for values in (points.log_prior, points.log_z))
    # Spearman's; scipy.stats takes longer to import than a small shot to map
    ranks = [np.argsort(np.argsort(values)) for values in (points.log_prior, points.log_z)]
    correlation = float(np.asarray(np.corrcoef(ranks[0], ranks[1]))[0, 1])
    return correlation, float(np.sqrt(together / len(points.log_z)))


def _worth(error: np.ndarray, xy: np.ndarray, camera: Camera) -> tuple[float, float]:
    """Relative error by MAD, and how many independent measurements so many points with such an error are."""
    error = error - np.median(error)
    sigma = float(np.clip(_spread(error), 0.02, 1.0))
    return sigma, max(len(error) / _share(np.clip(error, -3 * sigma, 3 * sigma), xy, camera), 1.0)


def _spread(values: np.ndarray) -> float:
    """Robust standard deviation."""
    return float(1.4826 * np.median(np.abs(values - np.median(values))))


def _with_offset(priors: DepthPriors, offset: float) -> DepthPriors:
    disparity = 1 / priors.depth + offset
    # the offset was found at points parallax knows, near ones as a rule: of the far ones it may leave nothing
    floor = 1e-3 * float(np.median(disparity[disparity > 0]))
    depth = 1 / np.maximum(disparity, floor)
    return replace(priors, depth=depth, sigma=np.hypot(priors.sigma, in_the_sky(depth)))


def _share(error: np.ndarray, xy: np.ndarray, camera: Camera) -> float:
    """Points that are wrong together: variance of the mean of a cell of the picture over that of independent errors.

    One-way analysis of variance on `CELLS`; independent errors give 1.
    """
    columns, rows = CELLS
    cell = camera.regions(xy, columns, rows)
    count = np.bincount(cell, minlength=rows * columns)
    used = count > 0
    mean = np.bincount(cell, error, rows * columns)[used] / count[used]
    between = float((count[used] * (mean - error.mean()) ** 2).sum()) / max(used.sum() - 1, 1)
    return max(between / max(float(error.var()), 1e-12), 1.0)
