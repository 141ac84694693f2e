"""From tracks, and depths at their observations, to cameras and points: all that lies right of the waist.

*Depth-guided sparse structure-from-motion for movies and TV shows*, CVPR 2022, arXiv 2204.02509.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from sfm.bridging import bridge
from sfm.bundle_adjustment import (
    KNOWN_LENS,
    AdjustmentReport,
    BundleAdjustmentOptions,
    CameraSigma,
    LensUnknowns,
    Posterior,
    WeakestDirection,
    adjust,
)
from sfm.calibration import LensEvidence, untold_readout, with_sigma
from sfm.errors import NoSolutionError, NotEnoughTracksError, UsageError
from sfm.geometry.camera import Camera
from sfm.geometry.transform import Rigid3, Sim3
from sfm.likely_slide import likely_slide_px, seen_slide_px
from sfm.mapped_shot import MappedShot, Progress, check_registered, explains_more, map_from, map_shot
from sfm.mapping import MappingOptions
from sfm.motion import MotionEvidence, held_as
from sfm.moving_bodies import is_of_the_set, moving_tracks
from sfm.options import Options
from sfm.outliers import TrackingNoise, filter_observations, with_support
from sfm.prior_alignment import Agreement
from sfm.prior_weight import PriorWeight
from sfm.rolling_shutter import from_motion, from_path
from sfm.scene import DepthPriors, Reconstruction, Tracks, row_times
from sfm.start import Start, start, start_from
from sfm.survey import Survey, in_survey
from sfm.verdict import Verdict, judge, of_the_survey

logger = logging.getLogger(__name__)

UNKNOWN_DEPTH_SIGMA = 0.3  # of a prior nobody looked at: what small networks show
ROLLING_TOLERANCE_PX = 0.02  # a rolling shutter's tracks that move less than this do not change the cameras
MAX_ROLLING_ROUNDS = 3


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
    weakest: WeakestDirection  # of the cameras
    zoom_sigma: np.ndarray  # (frames,) of log focal length beside the first frame's, NaN without a zoom
    slide_px: float  # an object put into the shot is likely to slide by less, or is seen to (`likely_slide`)
    moving_tracks: int = 0  # on a body that moves on its own: left out
    survey: Survey | None = None
    survey_sigmas: tuple[np.ndarray, np.ndarray] | None = None  # `Survey.disagreement`
    masked: Mapping[int, float] | None = None  # part of the picture not tracked, by frame with a mask; None: none asked


@dataclass(frozen=True, slots=True, eq=False)
class Given:
    """What is known of a shot beside its tracks and depth. lens: the one given, else a guess; frame_numbers (frames,):
    what people call its frames; cams_from_world (frames,): to start from, NaN where not known, or None."""

    lens: Camera
    focal_given: bool
    frame_numbers: np.ndarray
    cams_from_world: Rigid3 | None = None


def solve(
    tracks: Tracks, priors: DepthPriors | None, given: Given, options: Options, tell: Progress
) -> tuple[Reconstruction, SolveReport]:
    """Right of the waist: nobody sees a pixel here. Inside, depths are near 1 whatever a model counts in."""
    if priors is not None and len(priors.depth) != len(tracks):
        raise ValueError(f"priors: got {len(priors.depth)} depths, expected one for each of {len(tracks)} observations")
    if priors is None:
        return _surveyed(*_solve_set(tracks, None, given, options, tell), options.survey)
    known = priors.depth[np.isfinite(priors.depth)]
    unit = float(2.0 ** np.round(np.log2(np.median(known)))) if len(known) else 1.0
    near_one = replace(priors, depth=priors.depth / unit)
    solved, report = _solve_still(tracks, near_one, given, options, tell)
    in_unit = solved.transform(Sim3(np.array(unit), np.eye(3), np.zeros(3)))
    return _surveyed(replace(in_unit, depth_scale=solved.depth_scale), report, options.survey)


def _surveyed(solved: Reconstruction, report: SolveReport, survey: Survey | None) -> tuple[Reconstruction, SolveReport]:
    """The scene in the survey's world, and whether the two agree."""
    if survey is None:
        return solved, report
    sigmas = survey.disagreement(solved)
    reasons = of_the_survey(*sigmas)
    review = Verdict.REVIEW if report.verdict is Verdict.PASS else report.verdict
    if reasons:
        kept = [] if report.verdict is Verdict.PASS else report.reasons
        report = replace(report, verdict=review, reasons=[*kept, *reasons])
    return in_survey(solved, survey), replace(report, survey=survey, survey_sigmas=sigmas)


def _solve_still(
    tracks: Tracks, priors: DepthPriors, given: Given, options: Options, tell: Progress
) -> tuple[Reconstruction, SolveReport]:
    """A body that moves on its own is left out of the solve; which of two motions is the set's, depth says."""
    lens = given.lens
    moving = moving_tracks(tracks.undistorted(lens), priors, lens.without_distortion(), options.moving_bodies)
    moving &= ~tracks.by_hand
    still = ~moving[tracks.track]
    solved, report = _solve_set(tracks.select(still), priors.select(still), given, options, tell)
    inliers = np.zeros(len(tracks), bool)
    inliers[still] = solved.inliers
    solved = replace(solved, tracks=tracks, inliers=inliers)
    in_doubt = report.prior_weight.agreement is not Agreement.AGREES
    if moving.any() and in_doubt and is_of_the_set(solved, moving, options.moving_bodies):
        try:
            return _solve_set(tracks, priors, given, options, tell)
        except (NotEnoughTracksError, NoSolutionError) as error:
            logger.info("with these tracks: %s", error)
    return solved, replace(report, moving_tracks=int(moving.sum()))


def _solve_set(
    tracks: Tracks, priors: DepthPriors | None, given: Given, options: Options, tell: Progress
) -> tuple[Reconstruction, SolveReport]:
    """Tracks of one rigid set."""
    lens, prior_given = given.lens, priors is not None
    refine_focal = options.refine_focal or not given.focal_given
    if (refine_focal or options.refine_principal_point) and len(lens.distortion):
        raise UsageError("a lens cannot be refined while distortion is given: fix it all, or undistort the plate")
    unknowns = LensUnknowns(
        refine_focal, float(np.mean(lens.focal_length[..., 0])), options.start_fov_sigma,
        radial=int(not given.focal_given),
    )  # fmt: skip
    mapping = replace(options.mapping or MappingOptions(), lens=unknowns)
    options = replace(options, mapping=mapping)
    seen = ideal = tracks.undistorted(lens)
    times = row_times(tracks, lens.height, options.readout)
    if options.readout:
        ideal = from_motion(seen, times)
    priors = priors or DepthPriors.constant(tracks)

    tell("initializing", 0.0, f"{tracks.num_tracks:,} tracks")
    pinhole = lens.without_distortion()
    begin = replace(options.start, fovs_deg=()) if given.focal_given else options.start

    def started(prior: DepthPriors | None) -> Start:
        if given.cams_from_world is not None:
            return start_from(ideal, prior, pinhole, given.cams_from_world, mapping)
        return start(ideal, prior, pinhole, options.initialize, mapping, begin, partial(tell, "initializing"))

    begun = started(priors if prior_given else None)
    found, plain = map_shot(begun, priors, options, tell), begun.otherwise
    contradicted = found.weight.agreement is Agreement.CONTRADICTS
    if plain is not None and found.motion.zoom and found.from_prior and (contradicted or not plain.from_prior):
        # seen with a prior that may be inside out, or inside out itself, as a long lens may see an orbit: the zoom is
        # to prove itself
        other = map_from(lambda: plain, priors, options, tell)
        found = other if other is not None and explains_more(found, other, options) is False else found
    if prior_given and found.from_prior and found.weight.agreement in (Agreement.CONTRADICTS, Agreement.SAYS_NOTHING):
        # a prior that is no help must not have decided where the solve ended up
        other = map_from(partial(started, None), priors, options, tell)
        found = other if other is not None and explains_more(other, found, options) else found
    grown, noise, motion, priors, weight = found.grown, found.noise, found.motion, found.priors, found.weight
    if weight.agreement is Agreement.CONTRADICTS:  # then its edges are none either
        priors = replace(priors, relief=np.zeros(len(tracks)))
        grown, noise = filter_observations(grown, priors.relief, mapping.outliers)
        check_registered(grown)
    solved, adjustment, settings = _last_adjustment(grown, priors, noise, found, options)
    for _ in range(MAX_ROLLING_ROUNDS if options.readout else 0):
        upright = replace(solved, tracks=from_path(solved, seen, times))
        moved = np.linalg.norm(upright.tracks.xy - solved.tracks.xy, axis=1)[solved.inliers]
        if np.quantile(moved, 0.95) < ROLLING_TOLERANCE_PX:
            break
        upright, noise = filter_observations(upright, priors.relief, mapping.outliers)
        check_registered(upright)
        solved, adjustment, settings = _last_adjustment(upright, priors, noise, found, options)
    known = Posterior(solved, priors, settings)
    lens_evidence = with_sigma(found.lens_evidence, known)
    seen = np.nan_to_num(seen_slide_px(solved, options.slide))  # few tracks say nothing
    slide_px = float(np.maximum(likely_slide_px(known, options.slide), seen))
    adjusted = solved
    solved = _finish(solved, priors, tracks, lens, weight, options)
    cameras = known.cameras()
    solved = _with_sigma(solved, known, cameras, weight)
    solved = bridge(solved if prior_given else replace(solved, depth_sigma=float("nan")), options.max_bridge)
    tell(
        "adjusting", 1.0, f"{int(solved.registered.sum())} of {len(solved.registered)} frames, {solved.rms_px():.2f} px"
    )
    judged = partial(
        judge, solved, motion, prior_given=prior_given, prior=weight, converged=adjustment.settled, slide_px=slide_px,
        options=options.verdict, frame_numbers=given.frame_numbers,
    )  # fmt: skip
    verdict, reasons = judged(lens_evidence)
    if verdict is not Verdict.PASS and not options.readout:  # a look at what may be wrong; a good solve needs none
        readout = untold_readout(adjusted, priors, noise, motion, found.lens, options.calibration)
        lens_evidence = replace(lens_evidence, untold_readout=readout)
        verdict, reasons = judged(lens_evidence)
    return solved, SolveReport(
        verdict, reasons, motion, noise, weight, adjustment, lens_evidence, given.focal_given, prior_given,
        known.weakest(), cameras.zoom, slide_px,
    )  # fmt: skip


def _last_adjustment(
    grown: Reconstruction, priors: DepthPriors, noise: TrackingNoise, found: MappedShot, options: Options
) -> tuple[Reconstruction, AdjustmentReport, BundleAdjustmentOptions]:
    """The whole shot as the kind of shot it is: a camera that only turns gets no path; and how cameras were solved."""
    weight = found.weight
    settings = noise.adjustment(
        depth_weight=weight.camera_weight,
        max_iterations=options.max_iterations,
        cost_tolerance=1e-6,  # along the flat valley of a long lens a coarser one stops half a pixel too early
        lens=found.lens,
        survey=options.survey,
    )
    scene, settings = held_as(grown, found.motion.motion, settings)
    apart = weight.weight != weight.camera_weight
    solved, report = adjust(scene, priors, replace(settings, estimate_sigma=not apart))
    if not apart:
        return solved, report, settings
    points_alone = replace(
        settings, depth_weight=weight.weight, refine_cameras=False, lens=KNOWN_LENS, cost_tolerance=1e-5
    )
    return adjust(solved, priors, points_alone)[0], report, settings


def _with_sigma(solved: Reconstruction, known: Posterior, cameras: CameraSigma, weight: PriorWeight) -> Reconstruction:
    """The scene with what the adjustment leaves open of cameras and points."""
    (along, across) = known.points(weight.weight)
    there, camera = solved.has_point, solved.registered[:, None]
    return replace(
        solved,
        point_sigma=np.where(there, along, np.nan),
        point_sigma_across=np.where(there, across, np.nan),
        center_sigma=np.where(camera, cameras.centers, np.nan),
        rotation_sigma=np.where(camera, cameras.rotations, np.nan),
    )


def _finish(
    solved: Reconstruction, priors: DepthPriors, tracks: Tracks, lens: Camera, weight: PriorWeight, options: Options
) -> Reconstruction:
    """World on the first registered camera, the plate's own tracks and lens back in, the last word on outliers."""
    solved, _ = filter_observations(solved, priors.relief, (options.mapping or MappingOptions()).outliers)
    check_registered(solved)
    solved = with_support(solved, weight.depth_sigma if np.isfinite(weight.depth_sigma) else UNKNOWN_DEPTH_SIGMA)
    first = solved.cams_from_world[int(np.flatnonzero(solved.registered)[0])]
    solved = solved.transform(Sim3(np.array(1.0), first.rotation, first.translation))
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
        depth_sigma=weight.depth_sigma,
    )
