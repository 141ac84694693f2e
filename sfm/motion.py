"""What kind of shot is it: static, nodal (the camera only turns), small or large parallax, with or without a zoom?

Models of rising freedom are adjusted to the same observations and compared by the Bayesian information criterion on
whitened residuals (Schwarz 1978; Torr 2002 for model selection in structure from motion). COLMAP turns a zoom into a
dolly and noise into a path; a camera that only turned gets no path here.
"""

import logging
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np
from threadpoolctl import threadpool_limits

from sfm.bundle_adjustment import BundleAdjustmentOptions, adjust
from sfm.geometry.transform import Rigid3
from sfm.outliers import TrackingNoise
from sfm.prior_weight import thinned
from sfm.scene import DepthPriors, Reconstruction
from sfm.threads import in_threads

logger = logging.getLogger(__name__)


FREE_DEPTH_WEIGHT = 0.1  # of the prior, in the model that lets the camera move


class Motion(StrEnum):
    """What the camera did."""

    STATIC = "static"
    NODAL = "nodal"
    SMALL_PARALLAX = "small_parallax"
    LARGE_PARALLAX = "large_parallax"


@dataclass(frozen=True, slots=True)
class MotionOptions:
    """How models are compared."""

    max_frames: int = 16  # frames, evenly spaced, on which models are compared
    max_points: int = 500  # points, evenly spread, on which models are compared
    iterations: int = 12
    min_focal_change: float = 0.02  # relative; tracks that prefer a focal length nearer than this do not mind
    large_parallax_deg: float = 5.0  # median angle over the tracks
    large_path: float = 0.15  # extent of the camera's path over the median depth


@dataclass(frozen=True, slots=True)
class MotionEvidence:
    """The verdict and the numbers behind it.

    criterion: BIC of each model, lower is better, that of `free` with an Occam factor for its depths; parallax_deg:
    median over the tracks of the free solve; zoom: the focal length changes during the shot; preferred_focal_px: what
    the tracks would rather have than the focal length given, NaN when they do not mind it.
    """

    motion: Motion
    zoom: bool
    criterion: dict[str, float]
    parallax_deg: float
    preferred_focal_px: float = float("nan")


def classify_motion(
    scene: Reconstruction, priors: DepthPriors, noise: TrackingNoise, options: MotionOptions = MotionOptions()
) -> MotionEvidence:
    """Compare static, nodal, nodal with zoom, and free motion on a mapped scene.

    Limit: a zoom during a moving shot is not told apart from the move; a path much smaller than the scene is called
    nodal when the tracks cannot tell it from noise.
    """
    part = thinned(scene, options.max_frames, options.max_points)
    frames, points = int(part.registered.sum()), int(part.has_point.sum())
    observations = int(part.inliers.sum())
    settings = {"max_iterations": options.iterations, "cost_tolerance": 1e-5, "estimate_sigma": False}
    freedom: dict[str, float] = {
        "static": 2 * points,
        "nodal": 2 * points + 3 * (frames - 1),
        "nodal_zoom": 2 * points + 4 * (frames - 1),
        "free": 2 * points + 6 * (frames - 1) - 1,  # and the depths, priced by themselves
    }
    turning, still = without_translation(part), held_still(part)
    rotation_only = noise.adjustment(refine_translation=False, **settings)
    free = noise.adjustment(depth_weight=FREE_DEPTH_WEIGHT, **(settings | {"estimate_sigma": True}))
    zooming = replace(rotation_only, zoom=not part.camera.batch)
    models = {
        "static": (still, replace(rotation_only, refine_cameras=False)),
        "nodal": (turning, rotation_only),
        "nodal_zoom": (turning, zooming),
        "free": (part, free),
    }
    with threadpool_limits(1, "blas"):  # held outside, for solves that overlap would each restore what another set
        solves = in_threads(lambda model: _solved(model[0], part, priors, model[1]), models.values())
    cost = {name: cost for name, (_, cost) in zip(models, solves, strict=True)}
    criterion = {k: 2 * cost[k] + freedom[k] * float(np.log(2 * observations)) for k in cost}
    criterion["free"] += _price_of_depths(solves[-1][0], priors)
    best = min(criterion, key=criterion.__getitem__)
    logger.info("motion: %s; BIC %s", best, ", ".join(f"{k} {v:.0f}" for k, v in criterion.items()))
    parallax = float(np.nanmedian(scene.parallax_deg()))
    if best == "free":
        large = parallax >= options.large_parallax_deg or _path_over_depth(scene) >= options.large_path
        motion = Motion.LARGE_PARALLAX if large else Motion.SMALL_PARALLAX
    else:
        motion = Motion.STATIC if best == "static" else Motion.NODAL
    zoom = best == "nodal_zoom" or bool(part.camera.batch and np.ptp(np.log(part.camera.focal_length[:, 0])) > 1e-3)
    preferred = float("nan")
    if best in ("free", "nodal"):
        model, setting = (part, free) if best == "free" else (turning, rotation_only)
        preferred = _preferred_focal_px(model, priors, setting, cost[best], observations, options)
    return MotionEvidence(motion, zoom, criterion, parallax, preferred)


def _preferred_focal_px(
    model: Reconstruction, priors: DepthPriors, settings: BundleAdjustmentOptions, cost: float, observations: int,
    options: MotionOptions,
) -> float:  # fmt: skip
    """The focal length that explains the tracks better than the model's own, by BIC and by a length that matters."""
    refined, report = adjust(model, priors, replace(settings, refine_focal=True, max_iterations=2 * options.iterations))
    change = float(np.mean(np.log(refined.camera.focal_length / model.camera.focal_length)))
    better = 2 * report.reprojection_cost + np.log(2 * observations) < 2 * cost - 10
    if not better or abs(change) < options.min_focal_change:
        return float("nan")
    return float(np.median(refined.camera.focal_length[..., 0]))


def _path_over_depth(scene: Reconstruction) -> float:
    centers = scene.centers_in_world[scene.registered]
    extent = np.linalg.norm(centers - centers.mean(0), axis=1).max() * 2
    return float(extent / np.nanmedian(scene.points_in_cam()[:, 2]))


def _solved(
    model: Reconstruction, part: Reconstruction, priors: DepthPriors, settings: BundleAdjustmentOptions
) -> tuple[Reconstruction, float]:
    """A model adjusted, and its reprojection cost; infinite when it puts points behind cameras: then it is none."""
    if model.has_point.sum() < 0.98 * part.has_point.sum():
        return model, float("inf")
    solved, report = adjust(model, priors, settings)
    return solved, report.reprojection_cost


def _price_of_depths(scene: Reconstruction, priors: DepthPriors) -> float:
    """What the freedom of a depth for every point costs: twice the log of how much narrower the tracks make what the
    weak prior leaves open (the Occam factor, MacKay 1992). A depth that nobody measures costs nothing."""
    by_tracks = 1 / np.square(scene.point_sigma[scene.has_point & np.isfinite(scene.point_sigma)])
    by_prior = FREE_DEPTH_WEIGHT / float(np.nanmedian(priors.sigma)) ** 2
    return float(np.sum(np.log1p(by_tracks / by_prior)))


def without_translation(scene: Reconstruction) -> Reconstruction:
    """The scene with every camera at the median centre, moved to the world's origin, and no point left behind one."""
    center = np.nanmedian(scene.centers_in_world, axis=0)
    cams = Rigid3(scene.cams_from_world.rotation, np.zeros_like(scene.cams_from_world.translation))
    return _in_front(replace(scene, cams_from_world=cams, points=scene.points - center))


def held_still(scene: Reconstruction) -> Reconstruction:
    """The scene of a locked-off camera: one pose, the middle one, for every registered frame, at the world's origin."""
    turning = without_translation(scene)
    frames = np.flatnonzero(scene.registered)
    middle = scene.cams_from_world.rotation[frames[len(frames) // 2]]
    rotation = np.where(scene.registered[:, None, None], middle, np.nan)
    return _in_front(replace(turning, cams_from_world=Rigid3(rotation, turning.cams_from_world.translation)))


def _in_front(scene: Reconstruction) -> Reconstruction:
    """Without points behind a camera that counts them as inliers."""
    behind = scene.tracks.track[scene.inliers & (scene.points_in_cam()[:, 2] <= 0)]
    points = scene.points.copy()
    points[behind] = np.nan
    return replace(scene, points=points)
