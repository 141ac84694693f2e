"""How much the depth prior deserves to be believed on this shot: as much as the tracks do not contradict.

A network's depth is wrong smoothly, thousands of points at once, so it is never believed more than the independent
measurements its errors show it to hold: a few dozen a shot, however many points it is read at. Below that the strongest
weight is kept at which the shot would predict new observations about as well as at the best: reprojection cost plus the
parameters the tracks alone had to decide, counted by their serial correlation (Mallows 1973, Akaike 1974).
"""

import logging
from dataclasses import dataclass, field, replace

import numpy as np

from sfm.bundle_adjustment import adjust, reprojection_evidence
from sfm.outliers import TrackingNoise
from sfm.prior_alignment import Agreement, AlignmentOptions, align, in_unit_of, worse_frames
from sfm.scene import DepthPriors, Reconstruction

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class PriorWeightOptions:
    """The weights tried. Weight 1: every point's depth is one independent measurement with the sigma the shot shows."""

    weight: float | None = None  # fixed by the user; None: estimated
    ladder: tuple[float, ...] = (0.01, 0.1, 0.3, 1.0)  # parts of the information the prior really has, weakest first
    significance: float = 2.0  # how many parameters' worth of prediction the strongest may lose against the best
    max_frames: int = 24  # frames, evenly spaced, on which weights are compared
    max_points: int = 600  # points, evenly spread, on which weights are compared
    iterations: int = 8  # a step of the ladder
    alignment: AlignmentOptions = field(default_factory=AlignmentOptions)


@dataclass(frozen=True, slots=True)
class PriorWeight:
    """The weight found and why. evidence: (share, reprojection cost, parameters decided by tracks) of each step."""

    weight: float
    depth_sigma: float  # relative, re-estimated over the shot
    measurements: float  # independent depth measurements the prior is worth, over all points
    correlation: float  # how many successive errors of a track count as one
    agreement: Agreement = Agreement.UNCHECKED  # what parallax says of the prior; unchecked: depth_sigma is its claim
    exponent: float = 1.0  # power of the prior's depth that fits the shot
    evidence: tuple[tuple[float, float, float], ...] = ()
    frame_sigma: tuple[float, ...] = ()  # relative, of each frame's map; empty where the prior is not weighed


NO_WEIGHT = PriorWeight(0.0, float("nan"), 0.0, 1.0)  # switched off, or nothing to weigh


def unchecked_prior(scene: Reconstruction, priors: DepthPriors, options: PriorWeightOptions) -> PriorWeight:
    """The prior at its word: for a camera that turns or stands still, whose tracks say nothing of depth."""
    if options.weight == 0 or not np.isfinite(priors.depth).any():
        return NO_WEIGHT
    measurements = min(float(scene.has_point.sum()), float(options.alignment.assumed_measurements))
    weight = 1.0 if options.weight is None else options.weight
    return PriorWeight(weight, float(np.nanmedian(priors.sigma)), measurements, 1.0)


def weigh_prior(
    scene: Reconstruction, priors: DepthPriors, noise: TrackingNoise, options: PriorWeightOptions = PriorWeightOptions()
) -> tuple[DepthPriors, PriorWeight]:
    """Priors with the sigma the shot shows, and the weight of the depth term for its last adjustment.

    Limit: the choice is global; a prior right on the walls and wrong on the floor gets one weight.
    """
    if options.weight == 0 or not np.isfinite(priors.depth).any():
        return priors, NO_WEIGHT
    part = thinned(scene, options.max_frames, options.max_points)
    weak = noise.adjustment(depth_weight=0.01, max_iterations=options.iterations, cost_tolerance=1e-5)
    part, _ = adjust(part, priors, weak)
    priors, alignment = align(part, priors, options.alignment)
    part = in_unit_of(part, priors)
    sigma, measurements, correlation = alignment.sigma, alignment.measurements, _serial_correlation(part)
    worse = worse_frames(in_unit_of(scene, priors), priors, alignment)
    priors = replace(priors, sigma=priors.sigma * worse[scene.tracks.frame])
    found = PriorWeight(
        0.0, sigma, measurements, correlation, alignment.agreement, alignment.exponent,
        frame_sigma=tuple((sigma * worse).tolist()),
    )  # fmt: skip
    if options.weight is not None:
        return priors, replace(found, weight=options.weight)
    if alignment.agreement is Agreement.CONTRADICTS:
        return priors, found
    evidence = []
    for share in options.ladder:
        weight = float(share * measurements) / max(int(part.has_point.sum()), 1)
        settings = noise.adjustment(
            depth_weight=weight, max_iterations=options.iterations, cost_tolerance=1e-5, estimate_sigma=False
        )
        part, report = adjust(part, priors, settings)
        evidence.append((share, report.reprojection_cost, reprojection_evidence(part, priors, settings)))
        logger.info("depth prior x %g: reprojection cost %.1f, %.1f parameters left to the tracks", *evidence[-1])
    # a step whose system could not be factored says nothing
    score = np.nan_to_num([cost + correlation * decided for _, cost, decided in evidence], nan=np.inf)
    score[0] = min(score[0], 1e300)
    share = max(
        e[0] for e, s in zip(evidence, score, strict=True) if s <= score.min() + options.significance * correlation
    )
    weight = float(share * measurements) / max(int(scene.has_point.sum()), 1)
    logger.info(
        "depth sigma %.3f, worth %.0f measurements; believed x %g; %.1f sightings count as one",
        sigma, measurements, share, correlation,
    )  # fmt: skip
    return priors, replace(found, weight=weight, evidence=tuple(evidence))


def thinned(scene: Reconstruction, max_frames: int, max_points: int) -> Reconstruction:
    """The scene with only some of its frames and points, evenly spaced; every point is seen by two of the frames.

    A shot whose tracks are too short for such spacing keeps all of its frames.
    """
    frames = np.flatnonzero(scene.registered)
    seen = _sightings(scene, _evenly(frames, max_frames))
    if (seen >= 2).sum() < 0.5 * scene.has_point.sum():
        seen = _sightings(scene, frames)
    else:
        frames = _evenly(frames, max_frames)
    registered = np.zeros_like(scene.registered)
    registered[frames] = True
    keep = np.zeros(scene.tracks.num_tracks, bool)
    keep[_evenly(np.flatnonzero(scene.has_point & (seen >= 2)), max_points)] = True
    points = np.where(keep[:, None], scene.points, np.nan)
    inliers = scene.inliers & registered[scene.tracks.frame] & keep[scene.tracks.track]
    seeing = np.bincount(scene.tracks.frame[inliers], minlength=len(registered))
    return replace(scene, registered=registered & (seeing > 0), points=points, inliers=inliers)


def _sightings(scene: Reconstruction, frames: np.ndarray) -> np.ndarray:
    """Inliers of each track in some frames, (tracks,)."""
    use = scene.inliers & np.isin(scene.tracks.frame, frames)
    return np.bincount(scene.tracks.track[use], minlength=scene.tracks.num_tracks)


def _evenly(items: np.ndarray, count: int) -> np.ndarray:
    """At most `count` of the items, evenly spaced."""
    return items[np.unique(np.rint(np.linspace(0, len(items) - 1, min(count, len(items)))).astype(int))]


def _serial_correlation(scene: Reconstruction) -> float:
    """Successive errors of a track that carry the information of one, from their lag-one correlation."""
    tracks = scene.tracks
    use = np.flatnonzero(scene.inliers & scene.registered[tracks.frame])
    error = scene.reprojections(use) - tracks.xy[use]
    use, error = use[np.isfinite(error).all(1)], error[np.isfinite(error).all(1)]
    if not len(use):
        return 1.0
    same = np.diff(tracks.track[use]) == 0
    now, then = error[1:][same], error[:-1][same]
    # ranks would be robust but slow; errors are inliers, and large ones are pulled in
    limit = 3 * np.median(np.abs(error))
    now, then = np.clip(now, -limit, limit), np.clip(then, -limit, limit)
    lag_one = float((now * then).sum() / max(np.sqrt((now**2).sum() * (then**2).sum()), 1e-12))
    lag_one = min(max(lag_one, 0.0), 0.95)
    return (1 + lag_one) / (1 - lag_one)
