"""Where to start: from the depth prior, or as if everything were equally deep, whichever explains the keyframes better.

At small parallax a scene and its mirror image (near and far exchanged, the camera moving the other way) look almost
alike, and an adjustment that starts in the wrong one stays there. A good prior starts in the right one; a prior that is
itself turned inside out must not decide.
"""

import logging
from dataclasses import dataclass, replace

import numpy as np
from threadpoolctl import threadpool_limits

from sfm.bundle_adjustment import adjust
from sfm.errors import NoSolutionError, NotEnoughTracksError, SfmError
from sfm.geometry.camera import Camera
from sfm.initialize import InitializeOptions, initialize
from sfm.mapping import MappingOptions, map_keyframes
from sfm.outliers import TrackingNoise
from sfm.prior_alignment import Agreement, align
from sfm.scene import DepthPriors, Reconstruction, Tracks
from sfm.threads import in_threads

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class StartOptions:
    """When the start without the prior is the better one."""

    min_gain: float = 0.05  # part of the cost of the prior's start by which the other must be lower
    iterations: int = 10  # of the adjustments that are compared


def start(
    tracks: Tracks,
    priors: DepthPriors,
    camera: Camera,
    initialize_options: InitializeOptions,
    mapping: MappingOptions,
    options: StartOptions = StartOptions(),
) -> tuple[Reconstruction, TrackingNoise, bool]:
    """Keyframes solved from the better start, their tracking noise, and whether the start is the prior's.

    It is, unless it costs more and the geometry found without it contradicts the prior. tracks, camera: free of
    distortion. Raises `NotEnoughTracksError` when neither start finds two views.
    """

    def attempt(prior: DepthPriors) -> _Attempt | SfmError:
        try:
            scene, noise = map_keyframes(initialize(tracks, prior, camera, initialize_options), prior, mapping)
            return _Attempt(scene, settled(scene, noise, options), noise)
        except (NotEnoughTracksError, NoSolutionError) as error:
            return error

    with threadpool_limits(1, "blas"):  # held outside, for solves that overlap would each restore what another set
        given, flat = in_threads(attempt, [priors, DepthPriors.constant(tracks)])
    if isinstance(given, SfmError):
        if isinstance(flat, SfmError) or not np.isfinite(priors.depth).any():
            raise given
        return flat.scene, flat.noise, False
    if isinstance(flat, SfmError) or not costs_less(flat.settled, given.settled, flat.noise, options):
        return given.scene, given.noise, True
    # cheaper alone says little (a camera that only turns fits noise better from anywhere): the geometry must also know
    # its depths, and know them otherwise than the prior
    by_tracks = replace(
        flat.settled, depth_scale=np.ones(len(flat.settled.depth_scale))
    )  # its own are the flat prior's
    contradicted = align(by_tracks, priors)[1].agreement is Agreement.CONTRADICTS
    better = flat if contradicted else given
    return better.scene, better.noise, not contradicted


def settled(scene: Reconstruction, noise: TrackingNoise, options: StartOptions = StartOptions()) -> Reconstruction:
    """The scene as its tracks alone would have it."""
    settings = noise.adjustment(depth_weight=0.0, max_iterations=options.iterations, cost_tolerance=1e-3)
    return adjust(scene, None, settings)[0]


def costs_less(
    one: Reconstruction, other: Reconstruction, noise: TrackingNoise, options: StartOptions = StartOptions()
) -> bool:
    """Whether one scene explains the tracks clearly better than another, over the frames that both have."""
    frames = one.registered & other.registered
    costs = [_unexplained(scene, frames, noise) for scene in (one, other)]
    logger.info("another start: cost %.1f against %.1f", *costs)
    return costs[0] < (1 - options.min_gain) * costs[1]


@dataclass(frozen=True, slots=True, eq=False)
class _Attempt:
    """Keyframes as mapped, as the tracks alone would have them, and how far tracks were found to be off."""

    scene: Reconstruction
    settled: Reconstruction
    noise: TrackingNoise


def _unexplained(scene: Reconstruction, frames: np.ndarray, noise: TrackingNoise) -> float:
    """Robust cost of all observations in some frames, those without a point as bad as the worst."""
    rows = np.flatnonzero(frames[scene.tracks.frame])
    worst = 10 * noise.knee_px
    errors = np.minimum(np.nan_to_num(scene.reprojection_errors(rows), nan=worst), worst)
    return float(0.5 * (noise.knee_px / noise.sigma_px) ** 2 * np.log1p((errors / noise.knee_px) ** 2).sum())
