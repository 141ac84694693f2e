"""How much the depth prior deserves to be believed on this shot: as much as its measured errors allow.

A network's depth is wrong smoothly, thousands of points at once. Whatever several parts of the picture have in common
may be common to all of it, and the weakest directions of a small-parallax solve are just such: depth that rises from
one side to the other trades against a turn of the camera. So cameras are solved with the prior worth little more than
one measurement, unless its errors are independent from point to point; a point of its own, the cameras found, is worth
what the parts of the picture are.
"""

import logging
from dataclasses import dataclass, field, replace

import numpy as np

from sfm.bundle_adjustment import adjust
from sfm.errors import NoSolutionError
from sfm.outliers import TrackingNoise
from sfm.prior_alignment import CELLS, Agreement, AlignmentOptions, align, in_unit_of, worse_frames
from sfm.scene import DepthPriors, Reconstruction

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class PriorWeightOptions:
    """Weight 1: every point's depth is one independent measurement with the sigma the shot shows."""

    weight: float | None = None  # fixed by the user, for cameras and points alike; None: estimated
    max_frames: int = 24  # frames, evenly spaced, on which the prior is compared with the geometry
    max_points: int = 600  # points, evenly spread, on which it is
    iterations: int = 8  # of the adjustment before that
    alignment: AlignmentOptions = field(default_factory=AlignmentOptions)


@dataclass(frozen=True, slots=True)
class PriorWeight:
    """The weights found, and what they rest on."""

    weight: float  # for points
    camera_weight: float  # while cameras are solved
    depth_sigma: float  # relative, re-estimated over the shot
    measurements: float  # independent depth measurements the prior is worth, over all points
    agreement: Agreement = Agreement.UNCHECKED  # what parallax says of the prior; unchecked: depth_sigma is its claim
    exponent: float = 1.0  # power of the prior's depth that fits the shot
    frame_sigma: tuple[float, ...] = ()  # relative, of each frame's map; empty where the prior is not weighed


NO_WEIGHT = PriorWeight(0.0, 0.0, float("nan"), 0.0)  # switched off, or nothing to weigh


def unchecked_prior(scene: Reconstruction, priors: DepthPriors, options: PriorWeightOptions) -> PriorWeight:
    """The prior at its word: for a camera that turns or stands still, whose tracks say nothing of depth."""
    if options.weight == 0 or not np.isfinite(priors.depth).any():
        return NO_WEIGHT
    measurements = min(float(scene.has_point.sum()), float(options.alignment.assumed_measurements))
    weight = 1.0 if options.weight is None else options.weight
    return PriorWeight(weight, weight, float(np.nanmedian(priors.sigma)), measurements)


def weigh_prior(
    scene: Reconstruction, priors: DepthPriors, noise: TrackingNoise, options: PriorWeightOptions = PriorWeightOptions()
) -> tuple[DepthPriors, PriorWeight]:
    """Priors with the sigma the shot shows, and what they are worth to its cameras and points.

    Limit: the choice is global; a prior right on the walls and wrong on the floor gets one weight.
    """
    if options.weight == 0 or not np.isfinite(priors.depth).any():
        return priors, NO_WEIGHT
    part = thinned(scene, options.max_frames, options.max_points)
    weak = noise.adjustment(depth_weight=0.01, max_iterations=options.iterations, cost_tolerance=1e-5)
    part, _ = adjust(part, priors, weak)
    priors, alignment = align(part, priors, options.alignment)
    worse = worse_frames(in_unit_of(scene, priors), priors, alignment)
    priors = replace(priors, sigma=priors.sigma * worse[scene.tracks.frame])
    weight = camera_weight = 0.0
    if options.weight is not None:
        weight = camera_weight = options.weight
    elif alignment.agreement is not Agreement.CONTRADICTS:
        weight = min(alignment.measurements / max(int(scene.has_point.sum()), 1), 1.0)
        camera_weight = _shared_by_cells(weight)
    found = PriorWeight(
        weight, camera_weight, alignment.sigma, alignment.measurements, alignment.agreement, alignment.exponent,
        tuple((alignment.sigma * worse).tolist()),
    )  # fmt: skip
    logger.info(
        "depth sigma %.3f, worth %.0f measurements: weight %.4g, %.4g for cameras",
        found.depth_sigma, found.measurements, weight, camera_weight,
    )  # fmt: skip
    return priors, found


def _shared_by_cells(weight: float) -> float:
    """The weight if what the points of a cell of the picture share, all cells share: in full where they share nothing.

    An error has a part of its own at every point and a part per cell; 1 / weight points are as wrong together as one.
    """
    return 1 / (1 + CELLS[0] * CELLS[1] * (1 / weight - 1)) if weight > 0 else 0.0


def thinned(scene: Reconstruction, max_frames: int, max_points: int) -> Reconstruction:
    """The scene with only some of its frames and points, evenly spaced; every point is seen by two of the frames.

    A shot whose tracks are too short for such spacing keeps twice as many of its frames, until two of them see half of
    the points. Raises `NoSolutionError` where no point is seen by two frames.
    """
    every = np.flatnonzero(scene.registered)
    while True:
        frames = _evenly(every, max_frames)
        seen = _sightings(scene, frames)
        if len(frames) == len(every) or (seen >= 2).sum() >= 0.5 * scene.has_point.sum():
            break
        max_frames = 2 * max(max_frames, 1)
    registered = np.zeros_like(scene.registered)
    registered[frames] = True
    keep = np.zeros(scene.tracks.num_tracks, bool)
    keep[_evenly(np.flatnonzero(scene.has_point & (seen >= 2)), max_points)] = True
    points = np.where(keep[:, None], scene.points, np.nan)
    inliers = scene.inliers & registered[scene.tracks.frame] & keep[scene.tracks.track]
    if not inliers.any():
        raise NoSolutionError(
            "no point is seen by two frames that have a camera: too few tracks agree on one rigid scene; see --verbose"
            " for what was tried"
        )
    seeing = np.bincount(scene.tracks.frame[inliers], minlength=len(registered))
    return replace(scene, registered=registered & (seeing > 0), points=points, inliers=inliers)


def _sightings(scene: Reconstruction, frames: np.ndarray) -> np.ndarray:
    """Inliers of each track in some frames, (tracks,)."""
    use = scene.inliers & np.isin(scene.tracks.frame, frames)
    return np.bincount(scene.tracks.track[use], minlength=scene.tracks.num_tracks)


def _evenly(items: np.ndarray, count: int) -> np.ndarray:
    """At most `count` of the items, evenly spaced."""
    return items[np.unique(np.rint(np.linspace(0, len(items) - 1, min(count, len(items)))).astype(int))]
