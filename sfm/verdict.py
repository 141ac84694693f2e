"""PASS, REVIEW or FAIL, with the reasons in words. A small reprojection error alone is never enough.

Thresholds after the customs of matchmovers (Fusion's manual, ScreenSkills' standard for matchmove artists), in px of an
HD frame, 1920 wide. Errors are whitened: a track that slides along a straight edge does no harm.
"""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from sfm.calibration import LensEvidence
from sfm.motion import Motion, MotionEvidence
from sfm.prior_alignment import Agreement
from sfm.prior_weight import PriorWeight
from sfm.scene import Reconstruction


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
    min_registered_part: float = 0.5  # fewer frames FAIL
    max_focal_sigma: float = 0.02  # relative, of a focal length that was not given


def judge(
    reconstruction: Reconstruction,
    motion: MotionEvidence,
    lens: LensEvidence,
    prior_given: bool,
    prior: PriorWeight,
    converged: bool,
    options: VerdictOptions = VerdictOptions(),
) -> tuple[Verdict, list[str]]:
    """The verdict and why. PASS needs every check to hold; a FAIL reason outweighs all else.

    prior: its weight, and what parallax says of it; converged: the last adjustment did not stop at its limit.
    """
    to_hd = 1920 / reconstruction.camera.width
    fail, review = [], []
    few = reconstruction.registered.mean() < options.min_registered_part
    (fail if few else review).extend(_not_registered(reconstruction, to_hd))
    rms = reconstruction.rms_px(whitened=True) * to_hd
    if not rms <= options.review_rms_px:
        fail.append(f"RMS {rms:.2f} px (HD) is above {options.review_rms_px:g}")
    elif rms > options.pass_rms_px:
        review.append(f"RMS {rms:.2f} px (HD) is above {options.pass_rms_px:g}")
    worst = np.nanmax(reconstruction.frame_rms_px(whitened=True)) * to_hd
    if worst > options.max_frame_rms_px:
        review.append(f"the worst frame has RMS {worst:.2f} px (HD)")
    tracks, cells = _coverage(reconstruction)
    if tracks < options.min_tracks:
        review.append(f"a frame has only {tracks} good tracks; {options.min_tracks} are asked for")
    if cells < options.min_cells:
        review.append(f"a frame has tracks in only {cells} of its 9 cells")
    inlier_part = _inlier_part(reconstruction)
    if inlier_part < options.min_inlier_part:
        review.append(f"only {100 * inlier_part:.0f} % of the observations agree with one rigid scene")
    if not converged:
        review.append("the last adjustment stopped before it converged")
    review += _of_the_lens(lens, motion, reconstruction, options)
    review += _unknowns(motion, prior_given, prior)
    if fail:
        return Verdict.FAIL, fail + review
    return (Verdict.REVIEW, review) if review else (Verdict.PASS, [f"RMS {rms:.2f} px (HD), every frame has a camera"])


def _of_the_lens(
    lens: LensEvidence, motion: MotionEvidence, reconstruction: Reconstruction, options: VerdictOptions
) -> list[str]:
    fov = float(np.median(reconstruction.camera.horizontal_fov_deg))
    if not lens.focal_known:
        return [f"the tracks cannot tell the focal length: {fov:.0f} degrees across are a guess"]
    if lens.refined and not lens.focal_sigma <= options.max_focal_sigma:
        return [f"the tracks know the focal length to {100 * lens.focal_sigma:.1f} % only"]
    if np.isfinite(motion.preferred_focal_px):
        return [f"the tracks prefer a focal length of {motion.preferred_focal_px:.0f} px to the one given"]
    return []


def _not_registered(reconstruction: Reconstruction, to_hd: float) -> list[str]:
    """Frames without a camera, and those whose camera is interpolated."""
    missing, bridged = int((~reconstruction.has_camera).sum()), int(reconstruction.bridged.sum())
    reasons = [f"{missing} frames have no camera"] if missing else []
    if bridged:
        error = np.max(reconstruction.bridge_error_px[reconstruction.bridged]) * to_hd
        known = f", up to about {error:.1f} px (HD) off" if np.isfinite(error) else ""
        reasons.append(f"{bridged} frames have no tracks to hold them; their cameras are interpolated{known}")
    return reasons


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


def _coverage(reconstruction: Reconstruction) -> tuple[int, int]:
    """Fewest inliers and fewest occupied cells of nine over the registered frames."""
    tracks, camera = reconstruction.tracks, reconstruction.camera
    use = reconstruction.inliers & reconstruction.registered[tracks.frame]
    cell = np.clip(tracks.xy[use] * 3 // np.array([camera.width, camera.height]), 0, 2).astype(int)
    counts = np.zeros((len(reconstruction.registered), 9), int)
    np.add.at(counts, (tracks.frame[use], cell[:, 1] * 3 + cell[:, 0]), 1)
    counts = counts[reconstruction.registered]
    return (int(counts.sum(1).min()), int((counts > 0).sum(1).min())) if len(counts) else (0, 0)


def _inlier_part(reconstruction: Reconstruction) -> float:
    """Inliers among the observations of registered frames, tracks that never got a point included."""
    seen = reconstruction.registered[reconstruction.tracks.frame]
    return float(reconstruction.inliers[seen].mean()) if seen.any() else 0.0
