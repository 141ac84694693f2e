"""How much the depth prior deserves to be believed on this shot: as much as the tracks do not contradict.

A network's depth is wrong smoothly, thousands of points at once, so its own sigma says little about what it does to the
cameras; the reprojection error of the adjusted shot does say it. The prior is released step by step (warm starts) and the
weight kept at which the shot would best predict new observations: reprojection cost plus the number of parameters the
tracks alone had to decide, counted by their serial correlation (Akaike 1974; Mallows 1973 for the discrepancy rule).
"""

import logging
from dataclasses import dataclass, replace

import numpy as np

from sfm.bundle_adjustment import adjust, reprojection_evidence
from sfm.mapping import TrackingNoise
from sfm.scene import DepthPriors, Reconstruction

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class PriorWeightOptions:
    """The weights tried."""

    weight: float | None = None  # fixed by the user; None: estimated
    ladder: tuple[float, ...] = (100.0, 30.0, 10.0, 3.0, 1.0, 0.3, 0.1, 0.01)  # strongest first; 1: one measurement a point
    max_frames: int = 24  # frames, evenly spaced, on which weights are compared
    max_points: int = 1000  # points, evenly spread, on which weights are compared
    iterations: int = 8  # a step of the ladder
    min_informed_sigma: float = 0.5  # points known by parallax this much better than the prior tell the prior's sigma


@dataclass(frozen=True, slots=True)
class PriorWeight:
    """The weight found and why. evidence: (weight, reprojection cost, parameters decided by tracks) of each step."""

    weight: float
    depth_sigma: float  # relative, re-estimated over the shot
    correlation: float  # how many successive errors of a track count as one
    evidence: tuple[tuple[float, float, float], ...] = ()


def weigh_prior(
    scene: Reconstruction, priors: DepthPriors, noise: TrackingNoise, options: PriorWeightOptions = PriorWeightOptions()
) -> tuple[DepthPriors, PriorWeight]:
    """Priors with the sigma the shot shows, and the weight of the depth term for its last adjustment.

    Limit: the choice is global; a prior right on the walls and wrong on the floor gets one weight.
    """
    if options.weight == 0 or not np.isfinite(priors.depth).any():
        return priors, PriorWeight(0.0, float("nan"), 1.0)
    part = thinned(scene, options.max_frames, options.max_points)
    part, _ = adjust(part, priors, noise.adjustment(depth_weight=0.01, max_iterations=options.iterations, cost_tolerance=1e-5))
    sigma = _estimate_sigma(part, priors, options)
    priors = replace(priors, sigma=priors.sigma * (sigma / np.nanmedian(priors.sigma)))
    correlation = _serial_correlation(part)
    if options.weight is not None:
        return priors, PriorWeight(options.weight, sigma, correlation)
    evidence, scores = [], []
    for weight in options.ladder[::-1]:
        settings = noise.adjustment(depth_weight=weight, max_iterations=options.iterations, cost_tolerance=1e-5)
        part, report = adjust(part, priors, settings)
        decided = reprojection_evidence(part, priors, settings)
        evidence.append((weight, report.reprojection_cost, decided))
        scores.append(report.reprojection_cost + correlation * decided)
        logger.info("depth weight %g: reprojection cost %.1f, %.1f parameters left to the tracks", *evidence[-1])
        if scores[-1] > min(scores) + 3 * correlation:
            break  # it only gets worse
    best = evidence[int(np.nanargmin(scores))][0]
    logger.info("depth sigma %.3f, weight %g, errors correlated over %.1f sightings", sigma, best, correlation)
    return priors, PriorWeight(best, sigma, correlation, tuple(evidence))


def thinned(scene: Reconstruction, max_frames: int, max_points: int) -> Reconstruction:
    """The scene with only some of its frames and points, evenly spaced; points that two chosen frames see."""
    frames = _evenly(np.flatnonzero(scene.registered), max_frames)
    registered = np.zeros_like(scene.registered)
    registered[frames] = True
    use = scene.inliers & registered[scene.tracks.frame]
    seen = np.bincount(scene.tracks.track[use], minlength=scene.tracks.num_tracks)
    keep = np.zeros(scene.tracks.num_tracks, bool)
    keep[_evenly(np.flatnonzero(scene.has_point & (seen >= 2)), max_points)] = True
    points = np.where(keep[:, None], scene.points, np.nan)
    return replace(scene, registered=registered, points=points, inliers=use & keep[scene.tracks.track])


def _evenly(items: np.ndarray, count: int) -> np.ndarray:
    """At most `count` of the items, evenly spaced."""
    return items[np.unique(np.rint(np.linspace(0, len(items) - 1, min(count, len(items)))).astype(int))]


def _estimate_sigma(scene: Reconstruction, priors: DepthPriors, options: PriorWeightOptions) -> float:
    """Relative error of the prior by MAD, where parallax knows the depth much better than the prior claims to."""
    tracks, claimed = scene.tracks, float(np.nanmedian(priors.sigma))
    use = scene.inliers & np.isfinite(priors.depth) & scene.registered[tracks.frame]
    informed = use & (scene.point_sigma[tracks.track] < options.min_informed_sigma * claimed)
    if informed.sum() < 50 or len(np.unique(tracks.track[informed])) < 10:
        return claimed
    z = scene.points_in_cam()[informed, 2]
    error = np.log(z / (priors.depth[informed] * scene.depth_scale[tracks.frame[informed]]))
    track = tracks.track[informed]
    per_track = np.bincount(track, error)[np.unique(track)] / np.bincount(track)[np.unique(track)]
    mad = 1.4826 * float(np.median(np.abs(per_track - np.median(per_track))))
    return float(np.clip(mad, 0.02, 1.0))


def _serial_correlation(scene: Reconstruction) -> float:
    """Successive errors of a track that carry the information of one, from their lag-one correlation."""
    tracks = scene.tracks
    use = np.flatnonzero(scene.inliers & scene.registered[tracks.frame])
    xy = scene.camera.at(tracks.frame[use]).img_from_cam(scene.points_in_cam()[use])
    error = xy - tracks.xy[use]
    same = np.diff(tracks.track[use]) == 0
    now, then = error[1:][same], error[:-1][same]
    # ranks would be robust but slow; errors are inliers, and large ones are pulled in
    limit = 3 * np.median(np.abs(error))
    now, then = np.clip(now, -limit, limit), np.clip(then, -limit, limit)
    lag_one = float((now * then).sum() / max(np.sqrt((now**2).sum() * (then**2).sum()), 1e-12))
    lag_one = min(max(lag_one, 0.0), 0.95)
    return (1 + lag_one) / (1 - lag_one)
