"""Where to start: from the depth prior, or as if everything were equally deep, whichever explains the keyframes better.

At small parallax a scene and its mirror image (near and far exchanged, the camera moving the other way) look almost
alike, and an adjustment that starts in the wrong one stays there. A good prior starts in the right one; a prior that is
itself turned inside out must not decide.
"""

import logging
from dataclasses import dataclass, replace

import numpy as np
from threadpoolctl import threadpool_limits

from sfm.bundle_adjustment import LensUnknowns, adjust
from sfm.errors import NoSolutionError, NotEnoughTracksError, SfmError
from sfm.geometry.camera import Camera
from sfm.initialize import InitializeOptions, initialize
from sfm.mapping import MappingOptions, map_keyframes
from sfm.outliers import TrackingNoise
from sfm.prior_alignment import Agreement, align
from sfm.scene import DepthPriors, Reconstruction, Tracks
from sfm.threads import in_threads
from sfm.zoom import seen_zooming

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class StartOptions:
    """When another start than the prior's is the better one."""

    min_gain: float = 0.05  # part of the cost of the prior's start by which the other must be lower
    iterations: int = 10  # of the adjustments that are compared


@dataclass(frozen=True, slots=True, eq=False)
class Start:
    """Keyframes solved, their tracking noise, and what they rest on.

    from_prior: the prior's depth, not depth that is equal everywhere; lens: what of the lens is unknown, a zoom if one
    explains the keyframes better; otherwise: of a zoom, the best start without.
    """

    scene: Reconstruction
    noise: TrackingNoise
    from_prior: bool
    lens: LensUnknowns
    otherwise: "Start | None" = None


def start(
    tracks: Tracks,
    priors: DepthPriors,
    camera: Camera,
    initialize_options: InitializeOptions,
    mapping: MappingOptions,
    options: StartOptions = StartOptions(),
) -> Start:
    """Keyframes solved from the best start.

    It is the prior's, unless it costs more and the geometry found without it contradicts the prior; and one with a zoom
    where the flow shows one and the keyframes agree. tracks, camera: free of distortion, or with the distortion that
    `mapping.lens` is to find. Raises `NotEnoughTracksError` when no start finds two views.
    """

    def attempt(prior: DepthPriors, camera: Camera, lens: LensUnknowns) -> _Attempt | SfmError:
        try:
            seed = initialize(tracks, prior, camera, initialize_options)
            scene, noise = map_keyframes(seed, prior, replace(mapping, lens=lens))
            return _Attempt(scene, settled(scene, noise, options, lens.zoom), noise)
        except (NotEnoughTracksError, NoSolutionError) as error:
            return error

    flat_prior, lens = DepthPriors.constant(tracks), mapping.lens
    tried = [(priors, camera, lens), (flat_prior, camera, lens)]
    zooming = seen_zooming(tracks, priors, camera)
    if zooming is not None:
        tried.append((priors, zooming, replace(lens, zoom=True)))
    with threadpool_limits(1, "blas"):  # held outside, for solves that overlap would each restore what another set
        given, flat, *zoomed = in_threads(lambda what: attempt(*what), tried)
    best, from_prior = _better(given, flat, priors, options)
    plain = None if isinstance(best, SfmError) else Start(best.scene, best.noise, from_prior, lens)
    for zoom in zoomed:
        if not isinstance(zoom, SfmError) and (
            isinstance(best, SfmError) or costs_less(zoom.settled, best.settled, best.noise, options)
        ):
            logger.info("the focal length seems to change: mapped with a zoom")
            return Start(zoom.scene, zoom.noise, True, replace(lens, zoom=True), plain)
    if isinstance(best, SfmError):
        raise best
    assert plain is not None
    return plain


def _better(
    given: "_Attempt | SfmError", flat: "_Attempt | SfmError", priors: DepthPriors, options: StartOptions
) -> "tuple[_Attempt | SfmError, bool]":
    """The prior's start or the flat one, and whether it is the prior's."""
    if isinstance(given, SfmError):
        return (given, True) if isinstance(flat, SfmError) or not np.isfinite(priors.depth).any() else (flat, False)
    if isinstance(flat, SfmError) or not costs_less(flat.settled, given.settled, flat.noise, options):
        return given, True
    # cheaper alone says little (a camera that only turns fits noise better from anywhere): the geometry must also know
    # its depths, and know them otherwise than the prior
    by_tracks = replace(
        flat.settled, depth_scale=np.ones(len(flat.settled.depth_scale))
    )  # its own are the flat prior's
    contradicted = align(by_tracks, priors)[1].agreement is Agreement.CONTRADICTS
    return (flat, False) if contradicted else (given, True)


def settled(
    scene: Reconstruction, noise: TrackingNoise, options: StartOptions = StartOptions(), zoom: bool = False
) -> Reconstruction:
    """The scene as its tracks alone would have it."""
    settings = noise.adjustment(
        depth_weight=0.0, max_iterations=options.iterations, cost_tolerance=1e-3, lens=LensUnknowns(zoom=zoom)
    )
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
    errors = np.minimum(np.nan_to_num(scene.whitened_errors(rows), nan=worst), worst)
    return float(0.5 * (noise.knee_px / noise.sigma_px) ** 2 * np.log1p((errors / noise.knee_px) ** 2).sum())
