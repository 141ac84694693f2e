"""The whole method on one page: a clip becomes cameras and points.

*Depth-guided sparse structure-from-motion for movies and TV shows*, CVPR 2022, arXiv 2204.02509.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from sfm.bridging import bridge
from sfm.bundle_adjustment import KNOWN_LENS, AdjustmentReport, LensUnknowns, adjust
from sfm.calibration import CalibrationOptions, LensEvidence, calibrate, focal_sigma
from sfm.depth import DepthKind, DepthModel, DepthOptions, load, sample_depth
from sfm.depth.model import field_of_view_deg
from sfm.errors import NoSolutionError, NotEnoughTracksError, UsageError
from sfm.geometry.camera import Camera
from sfm.geometry.transform import Rigid3, Sim3
from sfm.initialize import InitializeOptions
from sfm.mapping import MappingOptions, extend
from sfm.masks import MaskOptions, load_masks
from sfm.motion import FREE_DEPTH_WEIGHT, Motion, MotionEvidence, MotionOptions, classify_motion, held_as
from sfm.moving_bodies import MovingBodiesOptions, is_of_the_set, moving_tracks
from sfm.outliers import OutlierOptions, TrackingNoise, filter_observations, with_support
from sfm.prior_alignment import Agreement, in_unit_of
from sfm.prior_weight import PriorWeight, PriorWeightOptions, unchecked_prior, weigh_prior
from sfm.rolling_shutter import from_motion, from_path
from sfm.scene import DepthPriors, Reconstruction, Tracks, row_times
from sfm.start import Start, StartOptions, costs_less, settled, start
from sfm.tracking import TrackingOptions, track_points
from sfm.verdict import Verdict, VerdictOptions, judge
from sfm.video import Shot, Video, VideoOptions, open_video

logger = logging.getLogger(__name__)

UNKNOWN_DEPTH_SIGMA = 0.3  # of a prior nobody looked at: what small networks show
ROLLING_TOLERANCE_PX = 0.02  # a rolling shutter's tracks that move less than this do not change the cameras
MAX_ROLLING_ROUNDS = 3
MAX_CALIBRATIONS = 3
REFITTED_FROM = 0.02  # change of log focal length, from which outliers are told anew
NETWORK_FOCAL_SIGMA = 0.1  # of log focal length, of a network that estimates it (Bochkovskii et al. 2024)

Progress = Callable[[str, float, str], None]  # stage, part done 0..1, what it found so far


@dataclass(frozen=True, slots=True)
class Options:
    """Options of every stage."""

    tracking: TrackingOptions = field(default_factory=TrackingOptions)
    masks: MaskOptions = field(default_factory=MaskOptions)
    depth: DepthOptions = field(default_factory=DepthOptions)
    initialize: InitializeOptions = field(default_factory=InitializeOptions)
    moving_bodies: MovingBodiesOptions = field(default_factory=MovingBodiesOptions)
    start: StartOptions = field(default_factory=StartOptions)
    mapping: MappingOptions | None = None  # None: by where the tracks come from
    motion: MotionOptions = field(default_factory=MotionOptions)
    calibration: CalibrationOptions = field(default_factory=CalibrationOptions)
    prior_weight: PriorWeightOptions = field(default_factory=PriorWeightOptions)
    verdict: VerdictOptions = field(default_factory=VerdictOptions)
    refine_focal: bool = False  # refine a focal length that was given; one that was not always is
    start_fov_deg: float = 50.0  # horizontal, where no lens is given: between a phone (65) and 35 mm on Super 35 (39)
    start_fov_sigma: float = 0.3  # how far off that may be, of log focal length
    pixel_aspect: float = 1.0  # where no lens is given: width over height of a stored pixel, 2 for 2x anamorphic
    max_iterations: int = 60  # of the last adjustment
    max_bridge: int = 12  # frames in a row without a camera that are given one between those around them; 0 none
    readout: float = 0.0  # frames a rolling shutter takes from the top row to the bottom one, 0 .. 1

    def __post_init__(self):
        if not 0 <= self.readout <= 1:
            raise UsageError(f"readout {self.readout:g}: expected 0 to 1 frame from the top row to the bottom one")


WHOLE_CLIP = VideoOptions()
# tracks that a person made or checked: few, nearly all right, and none to be counted less for being less precise
BY_HAND = MappingOptions(outliers=OutlierOptions(wrong_part=0.05, weigh_tracks=False))


@dataclass(frozen=True, slots=True, eq=False)
class SolveReport:
    """What happened, stage by stage, and whether to trust it."""

    verdict: Verdict
    reasons: list[str]
    motion: MotionEvidence
    noise: TrackingNoise
    prior_weight: PriorWeight
    adjustment: AdjustmentReport
    lens: LensEvidence
    focal_given: bool
    prior_given: bool
    moving_tracks: int = 0  # on a body that moves on its own: left out


def reconstruct(
    clip: str | Path | Video,
    depth: Any = "none",
    camera: Camera | None = None,
    options: Options = Options(),
    *,
    depth_kind: DepthKind | None = None,
    video: VideoOptions = WHOLE_CLIP,
    masks: str | Path | None = None,
    tracks: Tracks | None = None,
    progress: Progress | None = None,
) -> tuple[Reconstruction, SolveReport, Shot]:
    """Solve a shot: a movie file, a folder of frames or a pattern like `shot.%04d.exr`.

    depth: what `sfm.depth.load` takes (a folder of maps, a network's name, folder or file, a callable
    `(frames (n, h, w, 3) uint8) -> (n, h', w')`, "auto", "none"), or with your own tracks `DepthPriors` at their
    observations. Nothing is cached: `sfm.depth.cache.cached(model, video)` does that.
    camera: the intrinsics if known (then fixed unless `options.refine_focal`); else the field of view the depth network
    saw, or `options.start_fov_deg`, is refined.
    masks: a folder of images, black where nothing may be tracked unless `options.masks` says otherwise. tracks: your
    own, on the clip's frames, instead of the tracker's. Raises an `SfmError` that says what to do.
    """
    tell = progress or (lambda stage, part, text: None)
    footage = clip if isinstance(clip, Video) else open_video(clip, video)
    shot = footage.shot
    if camera is not None and (camera.width, camera.height) != (shot.width, shot.height):
        raise ValueError(f"camera: got {camera.width}x{camera.height}, expected the plate's {shot.width}x{shot.height}")
    model = load(depth, depth_kind, shot) if not isinstance(depth, DepthPriors) else None
    if model is not None:
        model.maps(footage)  # a folder without maps of this shot is found out now, not after minutes of tracking
    if tracks is None:
        mask = load_masks(masks, footage, options.masks) if masks is not None else None
        tracks = track_points(footage, options.tracking, mask, _tracking_progress(tell, len(footage)))
    else:
        options = replace(options, mapping=options.mapping or BY_HAND)
    patch = options.tracking.patch_radius * max(1.0, shot.width / options.tracking.working_width)
    sampling = replace(options.depth, edge_radius_px=patch)
    priors = depth if isinstance(depth, DepthPriors) else None
    if model is not None:
        priors = sample_depth(model, footage, tracks, sampling, _depth_progress(tell, len(footage)))
        options = _with_lens_of(model, options) if camera is None else options
    size = (shot.width, shot.height)
    reconstruction, report = _solve(tracks, priors, camera, size, options, tell)
    return reconstruction, report, shot


def reconstruct_tracks(
    tracks: Tracks,
    priors: DepthPriors | None,
    camera: Camera,
    options: Options = Options(),
    progress: Progress | None = None,
) -> tuple[Reconstruction, SolveReport]:
    """Solve from the waist: your own tracks and depth at their observations, for people with their own tracker.

    The camera's distortion is taken out of the tracks first. Without priors every point starts equally deep.
    """
    tell = progress or (lambda stage, part, text: None)
    options = replace(options, mapping=options.mapping or BY_HAND)
    return _solve(tracks, priors, camera, (camera.width, camera.height), options, tell)


def _solve(
    tracks: Tracks,
    priors: DepthPriors | None,
    camera: Camera | None,
    size: tuple[int, int],
    options: Options,
    tell: Progress,
) -> tuple[Reconstruction, SolveReport]:
    """Right of the waist: nobody sees a pixel here. A body that moves on its own is left out of the solve."""
    if priors is not None and len(priors.depth) != len(tracks):
        raise ValueError(f"priors: got {len(priors.depth)} depths, expected one for each of {len(tracks)} observations")
    lens = camera or Camera.from_fov_deg(options.start_fov_deg, *size, options.pixel_aspect)
    if priors is None:  # which of two motions is the set's, depth must say
        return _solve_set(tracks, None, camera, lens, options, tell)
    near_one = replace(priors, depth=priors.depth / _unit(priors))
    moving = moving_tracks(tracks.undistorted(lens), near_one, lens.without_distortion(), options.moving_bodies)
    still = ~moving[tracks.track]
    solved, report = _solve_set(tracks.select(still), priors.select(still), camera, lens, options, tell)
    inliers = np.zeros(len(tracks), bool)
    inliers[still] = solved.inliers
    solved = replace(solved, tracks=tracks, inliers=inliers)
    in_doubt = report.prior_weight.agreement is not Agreement.AGREES
    if moving.any() and in_doubt and is_of_the_set(solved, moving, options.moving_bodies):
        try:
            return _solve_set(tracks, priors, camera, lens, options, tell)
        except (NotEnoughTracksError, NoSolutionError) as error:
            logger.info("with these tracks: %s", error)
    return solved, replace(report, moving_tracks=int(moving.sum()))


def _solve_set(
    tracks: Tracks, priors: DepthPriors | None, camera: Camera | None, lens: Camera, options: Options, tell: Progress
) -> tuple[Reconstruction, SolveReport]:
    """Tracks of one rigid set. camera: the lens if it was given."""
    focal_given, prior_given = camera is not None, priors is not None
    refine_focal = options.refine_focal or not focal_given
    if refine_focal and len(lens.distortion):
        raise UsageError("a focal length cannot be refined while distortion is given: fix both, or undistort the plate")
    unknowns = LensUnknowns(
        refine_focal, float(np.mean(lens.focal_length[..., 0])), options.start_fov_sigma,
        radial=int(not focal_given),
    )  # fmt: skip
    mapping = replace(options.mapping or MappingOptions(), lens=unknowns)
    options = replace(options, mapping=mapping)
    seen = ideal = tracks.undistorted(lens)
    times = row_times(tracks, lens.height, options.readout)
    if options.readout:
        ideal = from_motion(seen, times)
    priors = priors or DepthPriors.constant(tracks)
    unit = _unit(priors)
    priors = replace(priors, depth=priors.depth / unit)

    tell("initializing", 0.0, f"{tracks.num_tracks:,} tracks")
    pinhole = lens.without_distortion()
    begin = replace(options.start, fovs_deg=()) if focal_given else options.start
    begun = start(ideal, priors if prior_given else None, pinhole, options.initialize, mapping, begin)
    found, plain = _mapped(begun, priors, options, tell), begun.otherwise
    if plain is not None and found.motion.zoom and found.from_prior and not plain.from_prior:
        # seen with a prior that may be inside out: the zoom is to prove itself
        found = _or_from(lambda: plain, found, priors, options, tell, unless_worse=True)
    if prior_given and found.from_prior and found.weight.agreement in (Agreement.CONTRADICTS, Agreement.SAYS_NOTHING):
        # a prior that is no help must not have decided where the solve ended up
        found = _or_from(
            lambda: start(ideal, None, pinhole, options.initialize, mapping, begin), found, priors, options, tell
        )
    grown, noise, motion, priors, weight = found.grown, found.noise, found.motion, found.priors, found.weight
    if weight.agreement is Agreement.CONTRADICTS:  # then its edges are none either
        priors = replace(priors, relief=np.zeros(len(tracks)))
        grown, noise = filter_observations(grown, priors.relief, mapping.outliers)
        _check_registered(grown)
    solved, adjustment, lens_evidence = _last_adjustment(grown, priors, noise, found, options)
    for _ in range(MAX_ROLLING_ROUNDS if options.readout else 0):
        upright = replace(solved, tracks=from_path(solved, seen, times))
        moved = np.linalg.norm(upright.tracks.xy - solved.tracks.xy, axis=1)[solved.inliers]
        if np.quantile(moved, 0.95) < ROLLING_TOLERANCE_PX:
            break
        upright, noise = filter_observations(upright, priors.relief, mapping.outliers)
        _check_registered(upright)
        solved, adjustment, lens_evidence = _last_adjustment(upright, priors, noise, found, options)
    solved = _finish(solved, priors, unit, tracks, lens, weight, options)
    solved = bridge(solved if prior_given else replace(solved, depth_sigma=float("nan")), options.max_bridge)
    tell(
        "adjusting", 1.0, f"{int(solved.registered.sum())} of {len(solved.registered)} frames, {solved.rms_px():.2f} px"
    )
    verdict, reasons = judge(
        solved, motion, lens_evidence, prior_given, weight, adjustment.settled, options.verdict,
    )  # fmt: skip
    return solved, SolveReport(
        verdict, reasons, motion, noise, weight, adjustment, lens_evidence, focal_given, prior_given
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Mapped:
    """A shot mapped from one start: what kind it is, its lens, and the prior weighed against it."""

    grown: Reconstruction
    noise: TrackingNoise
    motion: MotionEvidence
    priors: DepthPriors
    weight: PriorWeight
    lens: LensUnknowns
    lens_evidence: LensEvidence
    from_prior: bool


def _mapped(begun: Start, priors: DepthPriors, options: Options, tell: Progress) -> _Mapped:
    """The whole shot from a start; where that has a zoom which is none, from the one without."""
    mapping = replace(options.mapping or MappingOptions(), lens=begun.lens)
    options = replace(options, mapping=mapping)
    mapped_with = priors if begun.from_prior else DepthPriors.constant(begun.scene.tracks)
    grown, noise = extend(begun.scene, mapped_with, mapping, _mapping_progress(tell), begun.noise)
    _check_registered(grown)
    tell("adjusting", 0.0, "what kind of shot is it")
    motion = classify_motion(grown, mapped_with, noise, mapping.lens, options.motion)
    if begun.otherwise is not None and not motion.zoom:  # nothing of it must stay
        return _mapped(begun.otherwise, priors, options, tell)
    tell("adjusting", 0.3, f"{motion.motion.value.replace('_', ' ')}{' with zoom' if motion.zoom else ''}")
    grown, noise, lens, evidence = _calibrated(grown, mapped_with, noise, motion, options)
    grown = in_unit_of(grown, priors)
    if motion.motion in (Motion.NODAL, Motion.STATIC):
        # without parallax the tracks say nothing of depth: they can neither bend the prior nor contradict it
        weight = unchecked_prior(grown, priors, options.prior_weight)
    else:
        priors, weight = weigh_prior(grown, priors, noise, options.prior_weight)
        grown = in_unit_of(grown, priors)
    return _Mapped(grown, noise, motion, priors, weight, lens, evidence, begun.from_prior)


def _calibrated(
    grown: Reconstruction, priors: DepthPriors, noise: TrackingNoise, motion: MotionEvidence, options: Options
) -> tuple[Reconstruction, TrackingNoise, LensUnknowns, LensEvidence]:
    """The scene with its lens; outliers told at a focal length far from it hide it, so that it is asked again."""
    mapping = options.mapping or MappingOptions()
    lens, evidence = mapping.lens, LensEvidence(False)
    for _ in range(MAX_CALIBRATIONS):
        before = grown.camera.focal_length
        asked = replace(mapping.lens, zoom=lens.zoom)
        grown, lens, evidence = calibrate(grown, priors, noise, motion, asked, options.calibration)
        moved = bool(np.abs(np.log(grown.camera.focal_length.flat[0] / before.flat[0])) > REFITTED_FROM)
        if motion.zoom or moved:  # mapped without its zoom, with too few frames to tell it, or with another lens
            grown, noise = _refitted(grown, priors, noise, motion, lens, mapping)
        if not moved:
            break
    return grown, noise, lens, evidence


def _refitted(
    grown: Reconstruction, priors: DepthPriors, noise: TrackingNoise, motion: MotionEvidence, lens: LensUnknowns,
    mapping: MappingOptions,
) -> tuple[Reconstruction, TrackingNoise]:  # fmt: skip
    """The scene adjusted as the kind of shot it is, outliers told anew."""
    for _ in range(2):
        settings = noise.adjustment(
            depth_weight=FREE_DEPTH_WEIGHT, max_iterations=mapping.final_iterations, cost_tolerance=1e-4,
            estimate_sigma=False, lens=lens,
        )  # fmt: skip
        scene, settings = held_as(grown, motion.motion, settings)
        grown, noise = filter_observations(adjust(scene, priors, settings)[0], priors.relief, mapping.outliers)
        _check_registered(grown)
    return grown, noise


def _or_from(
    other_start: Callable[[], Start], found: _Mapped, priors: DepthPriors, options: Options, tell: Progress,
    *, unless_worse: bool = False,
) -> _Mapped:  # fmt: skip
    """What is mapped from another start, if that explains the tracks clearly better, or (unless_worse) not clearly
    worse; as it is if nothing comes of the other."""
    try:
        other = _mapped(other_start(), priors, options, tell)
        mine, others = (settled(one.grown, one.noise, options.start, one.lens.zoom) for one in (found, other))
    except (NotEnoughTracksError, NoSolutionError):
        return found
    if unless_worse:
        return found if costs_less(mine, others, found.noise, options.start) else other
    return other if costs_less(others, mine, other.noise, options.start) else found


def _unit(priors: DepthPriors) -> float:
    """The power of two nearest to the prior's median depth: inside, depths are near 1 whatever a model counts in."""
    known = priors.depth[np.isfinite(priors.depth)]
    return float(2.0 ** np.round(np.log2(np.median(known)))) if len(known) else 1.0


def _check_registered(scene: Reconstruction) -> None:
    if not scene.registered.any():
        raise NoSolutionError(
            "no frame keeps a camera: too few tracks agree on one rigid scene; see --verbose for what was tried"
        )


def _with_lens_of(model: DepthModel, options: Options) -> Options:
    """Starting from the field of view the depth network saw, if it sees one, and held nearer to it than to a guess."""
    fov = field_of_view_deg(model)
    if not np.isfinite(fov):
        return options
    logger.info("%s sees %.1f degrees across: the focal length starts there", model.name, fov)
    return replace(options, start_fov_deg=fov, start_fov_sigma=NETWORK_FOCAL_SIGMA)


def _depth_progress(tell: Progress, frames: int) -> Callable[[int], None]:
    return lambda done: tell("depth", done / frames, f"{done} of {frames} frames")


def _tracking_progress(tell: Progress, frames: int) -> Callable[[int, int], None]:
    return lambda done, alive: tell("tracking", done / frames, f"{done} of {frames} frames, {alive:,} points")


def _mapping_progress(tell: Progress) -> Callable[[Reconstruction, float], None]:
    def report(scene: Reconstruction, rms_px: float) -> None:
        done, frames = int(scene.registered.sum()), len(scene.registered)
        tell(
            "mapping",
            done / frames,
            f"{done} of {frames} frames, {int(scene.has_point.sum()):,} points, {rms_px:.2f} px",
        )

    return report


def _last_adjustment(
    grown: Reconstruction, priors: DepthPriors, noise: TrackingNoise, found: _Mapped, options: Options
) -> tuple[Reconstruction, AdjustmentReport, LensEvidence]:
    """The whole shot as the kind of shot it is: a camera that only turns gets no path."""
    weight, lens = found.weight, found.lens_evidence
    settings = noise.adjustment(
        depth_weight=weight.camera_weight,
        max_iterations=options.max_iterations,
        cost_tolerance=1e-6,  # along the flat valley of a long lens a coarser one stops half a pixel too early
        lens=found.lens,
    )
    scene, settings = held_as(grown, found.motion.motion, settings)
    apart = weight.weight != weight.camera_weight
    solved, report = adjust(scene, priors, replace(settings, estimate_sigma=not apart))
    if found.lens.focal:
        lens = replace(lens, focal_sigma=focal_sigma(solved, priors, settings, options.calibration))
    if not apart:
        return solved, report, lens
    points_alone = replace(
        settings, depth_weight=weight.weight, refine_cameras=False, lens=KNOWN_LENS, cost_tolerance=1e-5
    )
    return adjust(solved, priors, points_alone)[0], report, lens


def _finish(
    solved: Reconstruction, priors: DepthPriors, unit: float, tracks: Tracks, lens: Camera, weight: PriorWeight,
    options: Options,
) -> Reconstruction:  # fmt: skip
    """World on the first registered camera in the given unit, the plate's own tracks and lens back in, the last word on
    outliers."""
    solved, _ = filter_observations(solved, priors.relief, (options.mapping or MappingOptions()).outliers)
    _check_registered(solved)
    solved = with_support(solved, weight.depth_sigma if np.isfinite(weight.depth_sigma) else UNKNOWN_DEPTH_SIGMA)
    first = solved.cams_from_world[int(np.flatnonzero(solved.registered)[0])]
    solved = solved.transform(Sim3(np.array(unit), first.rotation, unit * first.translation))
    # exact, so that a reader who looks for the identity finds it
    rotation, translation = solved.cams_from_world.rotation.copy(), solved.cams_from_world.translation.copy()
    frame = int(np.flatnonzero(solved.registered)[0])
    rotation[frame], translation[frame] = np.eye(3), 0.0
    camera = replace(solved.camera, distortion=lens.distortion) if len(lens.distortion) else solved.camera
    return replace(
        solved,
        cams_from_world=Rigid3(rotation, translation),
        camera=camera,
        tracks=tracks,
        readout=options.readout,
        depth_scale=solved.depth_scale / unit,  # of the prior as it was given
        depth_sigma=weight.depth_sigma,
    )
