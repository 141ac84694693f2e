"""PASS, REVIEW or FAIL, with the reasons in words. A small reprojection error alone is never enough.

Thresholds after the customs of matchmovers (Fusion's manual, ScreenSkills' standard for matchmove artists), in px of an
HD frame, 1920 wide. Errors are whitened: a track that slides along a straight edge does no harm.
"""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from sfm.calibration import LensEvidence
from sfm.footage import frame_ranges
from sfm.motion import Motion, MotionEvidence
from sfm.prior_alignment import Agreement
from sfm.prior_weight import PriorWeight
from sfm.scene import Reconstruction

_WHAT_HELPS = ": --masks over what moves, the true lens, or --readout-ms of a rolling shutter may mend it"
_AROUND = 5  # frames to either side that are a camera's neighbours


class Verdict(StrEnum):
    """Use it, look at it first, or do not use it."""

    PASS = "PASS"
    REVIEW = "REVIEW"
    FAIL = "FAIL"


@dataclass(frozen=True, slots=True)
class VerdictOptions:
    """Where PASS ends and where FAIL begins. px are HD-equivalent: error * 1920 / width."""

    pass_rms_px: float = 0.5
    review_rms_px: float = 1.0
    max_frame_rms_px: float = 1.0
    min_tracks: int = 15  # inliers in every frame
    min_cells: int = 4  # of the frame's nine, with inliers
    min_inlier_part: float = 0.6
    max_lost_tracks: float = 0.25  # part of the tracks that the scene explains less than half of
    min_registered_part: float = 0.5  # fewer frames FAIL
    max_slide_px: float = 1.0  # likely, of an object put into the shot
    max_focal_sigma: float = 0.02  # relative, of a focal length that was not given
    max_principal_sigma: float = 0.01  # of the plate's width, of a principal point that was asked for
    # by how much the Bayesian information criterion must prefer the lens that was used: a zoom taken for a move, or a
    # lens that is not the one given, bends the scene so that no residual shows it, but the other lens then fits almost
    # as well. 2 is a bare mention (Kass and Raftery 1995); good solves keep the zoom off by 80 and more
    min_focal_margin: float = 2.0
    min_focal_change: float = 0.02  # relative; another focal length nearer than this bends nothing that matters,
    beyond_chance: float = 10.0  # but is a sign of something else if the criterion prefers it by so much,
    beyond_chance_sigmas: float = 2.0  # and by so many standard errors over the tracks
    min_zoom_margin: float = 30.0
    min_zoom: float = 0.02  # change of log focal length; one that changes less bends nothing that matters
    max_survey_sigmas: float = 4.0  # that a surveyed point or distance may be off
    prior_exponents: tuple[float, float] = (0.6, 1.6)  # networks compress depth; more than this, the scene is bent
    max_jump: float = 6.0  # a frame's acceleration over the median of its neighbours'; of smooth paths it is below 3
    min_jump_px: float = 1.0  # of the middle depth's parallax; a smaller jump is of no account


def of_the_survey(points: np.ndarray, distances: np.ndarray, options: VerdictOptions = VerdictOptions()) -> list[str]:
    """Reasons for a look, where a survey and the pictures disagree. points (p,), distances (d,): by how many sigmas,
    NaN where the scene has no such point."""
    reasons = []
    for what, off in (("point", points), ("distance", distances)):
        if (wrong := off > options.max_survey_sigmas).any():
            worst = np.nanmax(off)
            reasons.append(f"{wrong.sum()} of {len(off)} surveyed {what}s off by up to {worst:.1f} of their sigmas")
        if (open_ := np.isnan(off)).any():
            reasons.append(f"{open_.sum()} of {len(off)} surveyed {what}s are on tracks without a point")
    return reasons


def judge(
    reconstruction: Reconstruction,
    motion: MotionEvidence,
    lens: LensEvidence,
    prior_given: bool,
    prior: PriorWeight,
    converged: bool,
    slide_px: float = float("nan"),
    options: VerdictOptions = VerdictOptions(),
    frame_numbers: np.ndarray | None = None,
) -> tuple[Verdict, list[str]]:
    """The verdict and why. PASS needs every check to hold; a FAIL reason outweighs all else.

    prior: its weight, and what parallax says of it; converged: the last adjustment did not stop at its limit;
    slide_px: what an inserted object is likely to slide by at most, NaN where nobody asked; frame_numbers (frames,):
    what people call the frames, None where they count from 0.
    """
    frame_numbers = np.arange(len(reconstruction.registered)) if frame_numbers is None else frame_numbers
    to_hd = 1920 / reconstruction.camera.width
    fail, review = [], []
    few = reconstruction.registered.mean() < options.min_registered_part
    (fail if few else review).extend(_not_registered(reconstruction, to_hd, frame_numbers))
    rms = reconstruction.rms_px(whitened=True) * to_hd
    if not rms <= options.review_rms_px:
        fail.append(f"RMS {rms:.2f} px (HD) is above {options.review_rms_px:g}{_WHAT_HELPS}")
    elif rms > options.pass_rms_px:
        review.append(f"RMS {rms:.2f} px (HD) is above {options.pass_rms_px:g}{_WHAT_HELPS}")
    frame_rms = reconstruction.frame_rms_px(whitened=True) * to_hd
    worst = int(np.nan_to_num(frame_rms, nan=-1.0).argmax())
    if frame_rms[worst] > options.max_frame_rms_px:
        review.append(f"the worst frame, {frame_numbers[worst]}, has RMS {frame_rms[worst]:.2f} px (HD)")
    tracks, cells = coverage(reconstruction)
    if tracks.min() < options.min_tracks:
        where = f"frame {frame_numbers[tracks.argmin()]}"
        wanted = f"{options.min_tracks} are asked for; --hand-tracks adds some made by hand"
        review.append(f"{where} has only {tracks.min():.0f} good tracks; {wanted}")
    if cells.min() < options.min_cells:
        review.append(f"frame {frame_numbers[cells.argmin()]} has tracks in only {cells.min():.0f} of its 9 cells")
    inlier_part = _inlier_part(reconstruction)
    if inlier_part < options.min_inlier_part:
        wrong = f"only {100 * inlier_part:.0f} % of the observations agree with one rigid scene"
        review.append(f"{wrong}: --masks leave out what moves")
    lost = _lost_tracks(reconstruction)
    if lost > options.max_lost_tracks:
        review.append(
            f"{100 * lost:.0f} % of the tracks move otherwise than the scene: is it the set that was solved, or what"
            " moves in front of it? --masks leave out what moves"
        )
    if not converged:
        review.append("the last adjustment stopped before it converged")
    slide = slide_px * to_hd
    if slide > options.max_slide_px:
        review.append(f"an object put into the shot is likely to slide by up to {slide:.1f} px (HD)")
    review += _jumps(reconstruction, to_hd, frame_numbers, options)
    review += _of_the_lens(lens, motion, reconstruction, options) + _of_the_shutter(lens)
    review += _of_the_prior(prior, options)
    review += _unknowns(motion, prior_given, prior)
    if fail:
        return Verdict.FAIL, fail + review
    if review:
        return Verdict.REVIEW, review
    sure = f"known to {100 * lens.focal_sigma:.1f} %" if lens.refined else "given"
    return Verdict.PASS, [
        f"RMS {rms:.2f} px (HD), every frame has a camera"
        + (f"; an object put in is likely to slide by up to {max(slide, 0.01):.2f} px (HD)" if slide == slide else ""),
        f"every frame has at least {tracks.min():.0f} good tracks, in at least {cells.min():.0f} of its 9 cells; "
        "no camera jumps",
        f"{motion.motion.value.replace('_', ' ')}; focal length {sure}",
        f"depth prior: {prior.agreement}" if prior_given else "no depth prior was needed",
    ]


def coverage(reconstruction: Reconstruction) -> tuple[np.ndarray, np.ndarray]:
    """Inliers and occupied cells of nine of each frame, (frames,) each; infinite where it is not registered."""
    tracks = reconstruction.tracks
    use = reconstruction.inliers & reconstruction.registered[tracks.frame]
    counts = np.zeros((len(reconstruction.registered), 9), int)
    np.add.at(counts, (tracks.frame[use], reconstruction.camera.regions(tracks.xy[use], 3, 3)), 1)
    tracks, cells = (np.where(reconstruction.registered, n, np.inf) for n in (counts.sum(1), (counts > 0).sum(1)))
    return tracks, cells


def jumps_px(reconstruction: Reconstruction) -> np.ndarray:
    """How far cameras are off the middle of those before and after, (frames,): px of parallax at the middle depth.

    NaN where one of the three is missing.
    """
    centers, middle = reconstruction.centers_in_world, np.full(len(reconstruction.registered), np.nan)
    depth = np.nanmedian(reconstruction.points_in_cam(np.flatnonzero(reconstruction.inliers))[:, 2])
    focal = float(np.median(reconstruction.camera.focal_length[..., 0]))
    middle[1:-1] = np.linalg.norm(centers[2:] - 2 * centers[1:-1] + centers[:-2], axis=1) / 2 * focal / depth
    return middle


def _of_the_lens(
    lens: LensEvidence, motion: MotionEvidence, reconstruction: Reconstruction, options: VerdictOptions
) -> list[str]:
    fov = float(np.median(reconstruction.camera.horizontal_fov_deg))
    if not lens.focal_known:
        return [f"the tracks cannot tell the focal length: {fov:.0f} degrees across are a guess; give the lens"]
    if lens.refined and not lens.focal_sigma <= options.max_focal_sigma:
        return [
            f"the tracks know the focal length to {100 * lens.focal_sigma:.1f} % only; give the lens if it is known"
        ]
    if np.isfinite(motion.preferred_focal_px):
        tried = f"{motion.preferred_focal_px:.0f} px, say"
        return [f"the tracks prefer another focal length ({tried}) to the one given: --refine-focal looks for it"]
    reasons = []
    if lens.principal_sigma_px and not lens.principal_known:
        reasons.append("the tracks cannot tell the principal point: it stays where it was")
    elif max(lens.principal_sigma_px, default=0.0) > options.max_principal_sigma * reconstruction.camera.width:
        reasons.append(f"the tracks know the principal point to {max(lens.principal_sigma_px):.0f} px only")
    given = float(np.median(reconstruction.camera.focal_length[..., 0]))
    other = motion.other_focal_px
    near = abs(np.log(other / given)) < options.min_focal_change
    by_chance = max(options.beyond_chance, options.beyond_chance_sigmas * motion.other_focal_sigma)
    if motion.other_focal_margin < (-by_chance if near else options.min_focal_margin):
        reasons.append(
            f"another focal length ({other:.0f} px, say) suits the tracks as well as the one given, or the lens is"
            " distorted: --refine-focal looks for it"
        )
    if not (motion.zoom or motion.zoom_change < options.min_zoom) and _zoom_margin(motion) < options.min_zoom_margin:
        reasons.append("a zoom suits the tracks nearly as well as the lens that does not")
    return reasons


def _of_the_shutter(lens: LensEvidence) -> list[str]:
    if not lens.untold_readout:
        return []
    better = f"a rolling shutter, read out in about {lens.untold_readout:g} of a frame, suits the tracks better"
    return [f"{better} than a global one, and bends focal length and path: tell it with --readout-ms"]


def _kind(motion: MotionEvidence) -> str:
    return {Motion.STATIC: "static", Motion.NODAL: "nodal"}.get(motion.motion, "free")


def _zoom_margin(motion: MotionEvidence) -> float:
    """How much worse the criterion is with a zoom, whatever else the camera does; infinite if nobody asked."""
    zooms = [value for name, value in motion.criterion.items() if name.endswith("_zoom")]
    other = min(zooms, default=np.inf)
    return other - motion.criterion[_kind(motion)] if np.isfinite(other) else np.inf


def _of_the_prior(prior: PriorWeight, options: VerdictOptions) -> list[str]:
    low, high = options.prior_exponents
    if prior.agreement is not Agreement.AGREES or low <= prior.exponent <= high:
        return []
    does = "squeezes near and far together" if prior.exponent > 1 else "pulls near and far apart"
    told = f"the depth prior {does}: only its power {prior.exponent:.1f} agrees with the tracks"
    return [f"{told}; points that it holds may stand wrong, another depth network or a given lens may mend it"]


def _jumps(
    reconstruction: Reconstruction, to_hd: float, frame_numbers: np.ndarray, options: VerdictOptions
) -> list[str]:
    """Frames whose camera leaves the path of those around it: the parallax of the jump, at the middle depth."""
    if len(reconstruction.registered) < 2 * _AROUND + 1:
        return []
    jump = jumps_px(reconstruction)[1:-1] * to_hd
    windows = sliding_window_view(np.pad(jump, _AROUND, constant_values=np.nan), 2 * _AROUND + 1)
    known = np.isfinite(jump)
    usual = np.nanmedian(np.where(known[:, None], windows, 0.0), axis=1)
    far = known & (jump > options.min_jump_px) & (jump > options.max_jump * usual)
    if not far.any():
        return []
    worst = int(np.nanargmax(np.where(far, jump, np.nan)))
    where = f"the one of frame {frame_numbers[worst + 1]} by {jump[worst]:.1f} px (HD) of parallax"
    return [f"{far.sum()} cameras leave the path of their neighbours, {where}"]


def _not_registered(reconstruction: Reconstruction, to_hd: float, frame_numbers: np.ndarray) -> list[str]:
    """Frames without a camera, and those whose camera is interpolated."""
    missing, bridged = frame_numbers[~reconstruction.has_camera], frame_numbers[reconstruction.bridged]
    reasons = [f"{_have(missing)} no camera: {frame_ranges(missing, frame_numbers)}"] if len(missing) else []
    if len(bridged):
        error = np.max(reconstruction.bridge_error_px[reconstruction.bridged]) * to_hd
        known = f", up to about {error:.1f} px (HD) off" if np.isfinite(error) else ""
        reasons.append(
            f"{_have(bridged)} no tracks to hold them ({frame_ranges(bridged, frame_numbers)}); "
            f"their cameras are interpolated{known}"
        )
    return reasons


def _have(frames: np.ndarray) -> str:
    return "1 frame has" if len(frames) == 1 else f"{len(frames)} frames have"


def _unknowns(motion: MotionEvidence, prior_given: bool, prior: PriorWeight) -> list[str]:
    """What no residual shows."""
    reasons = []
    helps = prior_given and prior.agreement not in (Agreement.CONTRADICTS, Agreement.SAYS_NOTHING)
    if motion.motion is Motion.SMALL_PARALLAX and not helps:
        prior_text = "a depth prior that is no help" if prior_given else "no depth prior"
        reasons.append(f"little parallax and {prior_text}: the depth of the scene is weakly known")
    if motion.motion in (Motion.NODAL, Motion.STATIC):
        what = "only turns" if motion.motion is Motion.NODAL else "does not move"
        if np.isfinite(motion.unseen_path):
            hidden = f"a path shorter than {100 * motion.unseen_path:.1g} % of the scene's depth would not be seen"
            reasons.append(f"the camera {what}: {hidden}")
        if not prior_given:
            reasons.append(f"the camera {what} and there is no depth prior: the depth of the points is unknown")
        elif prior.agreement is Agreement.UNCHECKED:
            reasons.append(f"the camera {what}: the depth of the points is the prior's, and no parallax checks it")
    if prior.agreement is Agreement.CONTRADICTS:
        what = "used because its weight was given" if prior.weight else "left out"
        reasons.append(
            f"the depth prior contradicts the geometry and was {what}: is it of this shot, and depth or disparity?"
        )
    if motion.zoom:
        reasons.append("the focal length changes during the shot (zoom)")
    return reasons


def _lost_tracks(reconstruction: Reconstruction) -> float:
    """Part of the tracks, of those with three sightings or more, that mostly disagree: wrong sightings are strewn over
    the tracks, and whole tracks are wrong on what moves."""
    tracks = reconstruction.tracks
    seen = reconstruction.registered[tracks.frame]
    count, agree = (
        np.bincount(tracks.track[use], minlength=tracks.num_tracks) for use in (seen, seen & reconstruction.inliers)
    )
    long = count >= 3
    return float(np.mean(agree[long] < 0.5 * count[long])) if long.any() else 0.0


def _inlier_part(reconstruction: Reconstruction) -> float:
    """Inliers among the observations of registered frames, tracks that never got a point included."""
    seen = reconstruction.registered[reconstruction.tracks.frame]
    return float(reconstruction.inliers[seen].mean()) if seen.any() else 0.0
