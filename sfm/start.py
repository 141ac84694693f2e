"""Where to start: from the depth prior or as if everything were equally deep, at this focal length or at another.

At small parallax a scene and its mirror image (near and far exchanged, the camera moving the other way) look almost
alike, and an adjustment that starts in the wrong one stays there. A good prior starts in the right one; a prior that is
itself turned inside out must not decide. An adjustment mends a focal length that is a third off, not one that is half
or twice the true one: an unknown one is tried from the long end to the wide one.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from sfm.bundle_adjustment import LensUnknowns, adjust
from sfm.errors import NoSolutionError, NotEnoughTracksError, SfmError
from sfm.geometry.camera import Camera
from sfm.geometry.transform import Rigid3
from sfm.initialize import InitializeOptions, initialize
from sfm.mapping import MappingOptions, map_cameras, map_keyframes
from sfm.outliers import TrackingNoise
from sfm.prior_alignment import Agreement, align
from sfm.scene import DepthPriors, Reconstruction, Tracks
from sfm.threads import each_in_threads, in_threads, one_blas_thread
from sfm.zoom import seen_zooming

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class StartOptions:
    """When another start than the prior's at the focal length guessed is the better one."""

    min_gain: float = 0.05  # part of the cost of that start by which the other must be lower
    iterations: int = 10  # of the adjustments that are compared
    fovs_deg: tuple[float, ...] = (15.0, 22.0, 33.0, 50.0, 70.0, 100.0)  # horizontal, tried when the focal is unknown
    min_focal_change: float = 0.15  # of log focal length; what is nearer an adjustment finds by itself
    max_focal_sigmas: float = 5.0  # of the guess, beyond which none is tried
    min_common_part: float = 0.25  # of the sightings, on which two focal lengths are compared
    search_tracks: int = 2500  # with which lenses are tried, at least: of a shot that has more, an even part
    search_tracks_in_frame: int = 300  # and in the middle frame by their number


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
    priors: DepthPriors | None,
    camera: Camera,
    initialize_options: InitializeOptions,
    mapping: MappingOptions,
    options: StartOptions = StartOptions(),
    progress: Callable[[float, str], None] = lambda part, text: None,
) -> Start:
    """Keyframes solved from the best start.

    It is the prior's (None: equally deep), unless it costs more and the geometry found without it contradicts the
    prior; and one with a zoom where the flow shows one and the keyframes agree. Where `mapping.lens` has the focal
    length unknown, other fields of view are tried as well. tracks, camera: free of distortion, or with the distortion
    that `mapping.lens` is to find. progress: called with the part done and what was. Raises `NotEnoughTracksError` when
    no start finds two views.
    """

    def attempt(tracks: Tracks, prior: DepthPriors, camera: Camera, lens: LensUnknowns) -> _Attempt | SfmError:
        try:
            seed = initialize(tracks, prior, camera, initialize_options)
            scene, noise = map_keyframes(seed, prior, replace(mapping, lens=lens))
            return _Attempt(scene, settled(scene, noise, options, lens.zoom), noise)
        except (NotEnoughTracksError, NoSolutionError) as error:
            return error

    flat_prior, lens = DepthPriors.constant(tracks), mapping.lens
    known = flat_prior if priors is None else priors

    def zoomed(camera: Camera) -> Camera | None:
        return None if priors is None else seen_zooming(tracks, priors, camera)

    with one_blas_thread():  # held outside, for solves that overlap would each restore what another set
        if lens.focal and not camera.batch:
            some = _some_tracks(tracks, options)[tracks.track]
            few, few_known = tracks.select(some), known.select(some)
            camera = _best_focal(camera, lens, zoomed, lambda *what: attempt(few, few_known, *what), options, progress)
        tried = [(known, camera, lens)] + ([(flat_prior, camera, lens)] if priors is not None else [])
        if (zooming := zoomed(camera)) is not None:
            tried.append((known, zooming, replace(lens, zoom=True)))
        given, *others = in_threads(lambda what: attempt(tracks, *what), tried)
    best, from_prior = given, False
    if priors is not None:
        best, from_prior = _better(given, others[0], priors, options)
    plain = best if isinstance(best, SfmError) else Start(best.scene, best.noise, from_prior, lens)
    for zoom in others[1:]:
        if not isinstance(zoom, SfmError) and (
            isinstance(best, SfmError) or costs_less(zoom.settled, best.settled, best.noise, options)
        ):
            logger.info("the focal length seems to change: mapped with a zoom")
            otherwise = plain if isinstance(plain, Start) else None
            return Start(zoom.scene, zoom.noise, True, replace(lens, zoom=True), otherwise)
    if isinstance(plain, SfmError):
        raise plain
    return plain


def start_from(
    tracks: Tracks, priors: DepthPriors | None, camera: Camera, cams_from_world: Rigid3, mapping: MappingOptions
) -> Start:
    """The shot from cameras that are known, NaN where not, as if they were keyframes; priors None: equally deep.

    Raises `NotEnoughTracksError` where no two frames have a camera.
    """
    registered = np.asarray(np.isfinite(cams_from_world.translation).all(axis=-1))
    if registered.sum() < 2:
        raise NotEnoughTracksError("the camera to start from has a pose in fewer than 2 frames of this clip")
    prior = DepthPriors.constant(tracks) if priors is None else priors
    bare = Reconstruction(
        camera, cams_from_world, registered, np.full((tracks.num_tracks, 3), np.nan), np.zeros(len(tracks), bool),
        tracks, np.full(tracks.num_frames, np.nan), np.zeros(tracks.num_tracks), np.full(tracks.num_tracks, np.nan),
    )  # fmt: skip
    with one_blas_thread():
        scene, noise = map_cameras(bare, prior, mapping)
    if not scene.registered.any():
        raise NoSolutionError(
            "the tracks agree with no camera of the track to start from: of another shot, or frame offset?"
        )
    return Start(scene, noise, priors is not None, mapping.lens)


def _best_focal(
    camera: Camera,
    lens: LensUnknowns,
    zoomed: Callable[[Camera], Camera | None],
    attempt: "Callable[[Camera, LensUnknowns], _Attempt | SfmError]",
    options: StartOptions,
    progress: Callable[[float, str], None],
) -> Camera:
    """The camera with the focal length from which the keyframes are explained best: its own, or one clearly better.

    Distortion can make up for a wrong focal length over the few keyframes there are: none is looked for unless the best
    without it is explained clearly better with it.
    """
    cameras = [camera, *_other_lenses(camera, lens, options)]
    if len(cameras) == 1:
        return camera
    # each as it is, and with the zoom that the flow shows through it
    tried = [(one, one, False) for one in cameras]
    tried += [(one, zoom, True) for one, zoom in zip(cameras, in_threads(zoomed, cameras), strict=True) if zoom]
    first = 0.5 if lens.radial else 1.0  # of this search, before distortion may have to be looked for too
    best = _cheapest(tried, replace(lens, radial=0), attempt, options, lambda part, text: progress(first * part, text))
    if best is not None and lens.radial:
        (_, start, zooms), straight = best
        bent = attempt(start, replace(lens, zoom=zooms))
        if isinstance(bent, _Attempt) and _relative_cost(bent, straight, options) < 1 - options.min_gain:
            more = lambda part, text: progress(first + (1 - first) * part, f"{text}, with distortion")  # noqa: E731
            best = _cheapest(tried, lens, attempt, options, more) or best
    found = camera if best is None else best[0][0]
    progress(1.0, f"started at a focal length of {found.focal_length[0]:.0f} px")
    logger.info("started at a focal length of %.0f px", found.focal_length[0])
    return found


def _cheapest(
    tried: list[tuple[Camera, Camera, bool]],
    lens: LensUnknowns,
    attempt: "Callable[[Camera, LensUnknowns], _Attempt | SfmError]",
    options: StartOptions,
    progress: Callable[[float, str], None],
) -> "tuple[tuple[Camera, Camera, bool], _Attempt] | None":
    """Which of the tried, and what came of it, explains most; one through the first's lens unless clearly better."""
    found = []
    for made in each_in_threads(lambda one: attempt(one[1], replace(lens, zoom=one[2])), tried):
        found.append(made)
        progress(len(found) / len(tried), f"{len(found)} of {len(tried)} lenses tried")
    done = [(one, made) for one, made in zip(tried, found, strict=True) if isinstance(made, _Attempt)]
    if not done:
        return None
    # beside the one that knows most: a wrong lens may explain two frames well, and no others
    most = max((made for _, made in done), key=lambda made: np.isfinite(made.settled.whitened_errors()).sum())
    costs = np.array([_relative_cost(made, most, options) for _, made in done])
    own = [place for place, (one, _) in enumerate(done) if one[0] is tried[0][0]]
    least = int(np.argmin(costs))
    if own:
        mine = own[int(np.argmin(costs[own]))]
        if _relative_cost(done[least][1], done[mine][1], options) > 1 - options.min_gain:
            least = mine
    return done[least]


def _some_tracks(tracks: Tracks, options: StartOptions) -> np.ndarray:
    """The tracks with which lenses are tried, (tracks,) bool: every so many, as they were found."""
    seen, alive = tracks.lengths > 0, np.median(np.bincount(tracks.frame, minlength=tracks.num_frames))
    every = min(seen.sum() // options.search_tracks, int(alive) // options.search_tracks_in_frame)
    return seen & (np.cumsum(seen) % max(every, 1) == 0)


def _other_lenses(camera: Camera, lens: LensUnknowns, options: StartOptions) -> list[Camera]:
    """The camera with other focal lengths that an unknown one may have."""
    made = []
    for fov in options.fovs_deg:
        factor = Camera.from_fov_deg(fov, camera.width, camera.height).focal_length[0] / camera.focal_length[0]
        if options.min_focal_change < abs(np.log(factor)) <= options.max_focal_sigmas * lens.focal_sigma:
            made.append(camera.with_focal_length(camera.focal_length * factor))
    return made


def _relative_cost(one: "_Attempt", other: "_Attempt", options: StartOptions) -> float:
    """Robust cost of one attempt over another's, over the sightings that both explain; infinite where those are few.

    Which tracks have a point among the keyframes is left out: it differs by chance.
    """
    noise = min(one.noise, other.noise, key=lambda noise: noise.sigma_px)
    errors = [np.minimum(scene.settled.whitened_errors(), 10 * noise.knee_px) for scene in (one, other)]
    common = np.isfinite(errors[0]) & np.isfinite(errors[1])
    mine, others = (np.isfinite(error).sum() for error in errors)
    # nor may a lens be better for explaining few
    if common.sum() < options.min_common_part * others or mine < 2 * options.min_common_part * others:
        return float("inf")
    costs = [_cost(error[common], noise) for error in errors]
    return costs[0] / costs[1]


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
    return _cost(np.minimum(np.nan_to_num(scene.whitened_errors(rows), nan=worst), worst), noise)


def _cost(errors: np.ndarray, noise: TrackingNoise) -> float:
    return float(0.5 * (noise.knee_px / noise.sigma_px) ** 2 * np.log1p((errors / noise.knee_px) ** 2).sum())
