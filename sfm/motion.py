"""What kind of shot is it: static, nodal (the camera only turns), small or large parallax, with or without a zoom?

Models of rising freedom are adjusted to the same observations and compared by the Bayesian information criterion on
whitened residuals (Schwarz 1978; Torr 2002 for model selection in structure from motion). COLMAP turns a zoom into a
dolly and noise into a path; a camera that only turned gets no path here, and is told how small a path could hide.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Literal

import numpy as np

from sfm.bundle_adjustment import (
    KNOWN_LENS,
    BundleAdjustmentOptions,
    LensUnknowns,
    Posterior,
    adjust,
    reprojection_costs,
    serial_correlation,
)
from sfm.geometry.camera import Camera
from sfm.geometry.transform import Rigid3
from sfm.outliers import TrackingNoise
from sfm.prior_weight import thinned
from sfm.scene import DepthPriors, Reconstruction
from sfm.threads import in_threads, one_blas_thread

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

    asked: Literal["auto", "static", "nodal", "free"] = "auto"  # models that are in question
    max_frames: int = 16  # frames, evenly spaced, on which models are compared
    max_points: int = 500  # points, evenly spread, on which models are compared
    iterations: int = 20
    first_iterations: int = 6  # of a camera that is not free, before it may be given up
    hopeless: float = 5.0  # cost over that of the cheapest free one, from where on it is
    min_zoom: float = 0.03  # change of log focal length; less is what a lens does that is focused
    min_zoom_gain: float = 30.0  # of the criterion, over what a fixed lens reaches
    min_focal_change: float = 0.02  # relative; tracks that prefer a focal length nearer than this do not mind
    large_parallax_deg: float = 5.0  # median angle over the tracks
    large_path: float = 0.15  # extent of the camera's path over the median depth


@dataclass(frozen=True, slots=True)
class MotionEvidence:
    """The verdict and the numbers behind it.

    criterion: BIC of each model, lower is better, errors of a track that follow each other counted as one, those of a
    moving camera with an Occam factor for its depths;
    parallax_deg: median over the tracks of the mapped scene; zoom: the focal length changes during the shot;
    preferred_focal_px: what the tracks would rather have than the focal length given, NaN when they do not mind it;
    zoom_change: of log focal length, of the model with a zoom, whether it was taken or not;
    other_focal_px: the one that suits the tracks best beside the one given, NaN when nobody asked; other_focal_margin:
    how much worse its criterion is, errors of a track that follow each other counted as one; other_focal_sigma: the
    standard error of that over the tracks (Vuong 1989): few of them may prefer it by much;
    unseen_path: of a camera that turns or stands still, the shortest path, over the depth of the scene, that would
    show; NaN where there is one.
    """

    motion: Motion
    zoom: bool
    criterion: dict[str, float]
    parallax_deg: float
    preferred_focal_px: float = float("nan")
    unseen_path: float = float("nan")
    zoom_change: float = float("nan")
    other_focal_px: float = float("nan")
    other_focal_margin: float = float("inf")
    other_focal_sigma: float = 0.0


def classify_motion(
    scene: Reconstruction,
    priors: DepthPriors,
    noise: TrackingNoise,
    lens: LensUnknowns = KNOWN_LENS,
    options: MotionOptions = MotionOptions(),
) -> MotionEvidence:
    """Compare a camera that stands, turns or moves, with and without zoom, on a mapped scene.

    lens: what each model may change of the lens. Limit: a path much smaller than the scene is called nodal when the
    tracks cannot tell it from noise.
    """
    part = thinned(scene, options.max_frames, options.max_points)
    names = [name for name in _FREEDOM if options.asked in ("auto", name.split("_")[0])]
    if part.camera.batch and not lens.zoom:  # a zoom that was given
        names = [name for name in names if not name.endswith("_zoom")]
    if lens.focal:  # then all refine it
        names = [name for name in names if not name.endswith("_focal")]
    models = {name: _model(name, part, noise, lens, options) for name in names}
    solves = _raced(models, part, priors, options)
    compared = _Comparison({name: solves[name] for name in names}, part, priors, options)
    best = compared.best()
    told = ", ".join(f"{name} {value:.0f}" for name, value in compared.criterion.items())
    logger.info("motion: %s; BIC %s", best, told)

    kind, found, settings = best.split("_")[0], compared.scenes[best], models[best][1]
    motion, parallax = _KIND[kind], float(np.nanmedian(scene.parallax_deg()))
    if motion is Motion.SMALL_PARALLAX and (
        parallax >= options.large_parallax_deg or _path_over_depth(found) >= options.large_path
    ):
        motion = Motion.LARGE_PARALLAX
    preferred = unseen = change = float("nan")
    if best.endswith("_focal") and abs(_log_focal(found) - _log_focal(scene)) >= options.min_focal_change:
        preferred = float(np.exp(_log_focal(found)))
    if motion in (Motion.STATIC, Motion.NODAL):
        unseen = _unseen_path(found, priors, replace(settings, refine_cameras=True, refine_translation=True))
    if zooms := [k for k in names if k.endswith("_zoom")]:
        change = _change_of_focal(compared.scenes[min(zooms, key=compared.criterion.__getitem__)])
    other, margin, margin_sigma = float("nan"), float("inf"), 0.0
    if np.isfinite(compared.cost.get(f"{kind}_focal", np.inf)):
        other = float(np.exp(_log_focal(compared.scenes[f"{kind}_focal"])))
        margin = -compared.gain(f"{kind}_focal", kind)
        given, freed = (reprojection_costs(compared.scenes[k], models[k][1]) for k in (kind, f"{kind}_focal"))
        _, margin_sigma = gain_over_tracks(given, freed, compared.correlated[kind])
    return MotionEvidence(
        motion, _change_of_focal(found) >= options.min_zoom, compared.criterion, parallax, preferred, unseen, change,
        other, margin, margin_sigma,
    )  # fmt: skip


class _Comparison:
    """Models adjusted to the same tracks, by name: their scenes, cost and BIC, and which is the best.

    correlated: errors of a track that count as one, as those of each model tell.
    """

    def __init__(
        self, solves: dict[str, tuple[Reconstruction, float]], part: Reconstruction, priors: DepthPriors,
        options: MotionOptions,
    ):  # fmt: skip
        self.scenes = {name: scene for name, (scene, _) in solves.items()}
        self.cost = {name: cost for name, (_, cost) in solves.items()}
        self._observations, self._options = int(part.inliers.sum()), options
        frames, points = int(part.registered.sum()), int(part.has_point.sum())
        # by the model whose errors follow each other least: in a wrong one they do because it is wrong, or, where it
        # is far from right, as its camera shakes
        self.correlated = {name: serial_correlation(scene) for name, scene in self.scenes.items()}
        hopeful = [k for k, cost in self.cost.items() if cost <= options.hopeless * min(self.cost.values())]
        together = min(self.correlated[k] for k in hopeful)
        self._freedom = {k: 2 * points + _FREEDOM[k] * (frames - 1) + k.endswith("_focal") for k in self.scenes}
        self._depths = {k: _price_of_depths(scene, priors, k, together) for k, scene in self.scenes.items()}
        price = float(np.log(2 * self._observations / together))
        self.criterion = {
            k: 2 * self.cost[k] / together + self._freedom[k] * price + self._depths[k] for k in self.scenes
        }

    def gain(self, of: str, over: str) -> float:
        """How much better the criterion is, errors that follow each other in the one it is over counted as one: a few
        tracks that wander together look like a zoom, or another lens."""
        together = self.correlated[over]
        cheaper = 2 * (self.cost[over] - self.cost[of]) / together - (self._depths[of] - self._depths[over])
        return float(cheaper - (self._freedom[of] - self._freedom[over]) * np.log(2 * self._observations / together))

    def best(self) -> str:
        """The name of the model with the least BIC; one with a zoom only where it is clearly better, and zooms."""
        best = min(self.criterion, key=self.criterion.__getitem__)
        plain = min((k for k in self.criterion if not k.endswith("_zoom")), key=self.criterion.__getitem__)
        if best.endswith("_zoom") and (
            self.gain(best, plain) < self._options.min_zoom_gain
            or _change_of_focal(self.scenes[best]) < self._options.min_zoom
        ):
            return plain
        return best


def gain_over_tracks(cost: np.ndarray, other: np.ndarray, together: float) -> tuple[float, float]:
    """Twice how much cheaper the other model is than the first, and the standard error of that (Vuong 1989).

    cost, other (tracks,): reprojection costs by track, NaN where not used; together: errors of a track that count as
    one (`serial_correlation`).
    """
    cheaper = 2 * (cost - other)[np.isfinite(cost - other)] / together
    return float(cheaper.sum()), float(np.sqrt(len(cheaper)) * cheaper.std()) if len(cheaper) else float("inf")


# parameters a frame; "focal": with another focal length than the one given, the same for the whole shot
_FREEDOM = {"static": 0, "nodal": 3, "nodal_focal": 3, "nodal_zoom": 4, "free": 6, "free_focal": 6, "free_zoom": 7}
_KIND = {"static": Motion.STATIC, "nodal": Motion.NODAL, "free": Motion.SMALL_PARALLAX}


def held_as(
    scene: Reconstruction, motion: Motion, settings: BundleAdjustmentOptions
) -> tuple[Reconstruction, BundleAdjustmentOptions]:
    """The scene as a camera of this kind would have made it, and settings of an adjustment that keeps it so."""
    if motion is Motion.STATIC:
        return held_still(scene), replace(settings, refine_cameras=False, lens=KNOWN_LENS)
    if motion is Motion.NODAL:
        return without_translation(scene), replace(settings, refine_translation=False)
    return scene, settings


def without_zoom(camera: Camera, lens: LensUnknowns) -> Camera:
    """The camera with one focal length: the one given, or where it is to be found, the middle one of the zoom."""
    focal = np.median(camera.focal_length.reshape(-1, 2), axis=0)
    return camera.with_focal_length(
        focal if lens.focal or not lens.focal_prior_px else focal / focal[0] * lens.focal_prior_px
    )


def _model(
    name: str, part: Reconstruction, noise: TrackingNoise, lens: LensUnknowns, options: MotionOptions
) -> tuple[Reconstruction, BundleAdjustmentOptions]:
    kind, zoom = _KIND[name.split("_")[0]], name.endswith("_zoom")
    if lens.zoom and not zoom:  # mapped with a zoom, to be compared with none
        part = replace(part, camera=without_zoom(part.camera, lens))
    settings = noise.adjustment(
        lens=replace(lens, zoom=zoom, focal=lens.focal or name.endswith("_focal")),
        max_iterations=options.iterations,
        cost_tolerance=1e-5,
    )
    moving = kind is Motion.SMALL_PARALLAX
    # the prior's word where nothing else tells depth; held by it lightly where it may be told
    weight = {"depth_weight": FREE_DEPTH_WEIGHT} if moving else {}
    return held_as(part, kind, replace(settings, estimate_sigma=moving, **weight))


def _log_focal(scene: Reconstruction) -> float:
    return float(np.log(np.median(scene.camera.focal_length[..., 0])))


def _change_of_focal(scene: Reconstruction) -> float:
    """Of log focal length, over the shot."""
    return float(np.ptp(np.log(scene.camera.focal_length[..., 0])))


def _path_over_depth(scene: Reconstruction) -> float:
    centers = scene.centers_in_world[scene.registered]
    extent = np.linalg.norm(centers - centers.mean(0), axis=1).max() * 2
    return float(extent / np.nanmedian(scene.points_in_cam()[:, 2]))


def _raced(
    models: dict[str, tuple[Reconstruction, BundleAdjustmentOptions]], part: Reconstruction, priors: DepthPriors,
    options: MotionOptions,
) -> dict[str, tuple[Reconstruction, float]]:  # fmt: skip
    """Each model adjusted, and its reprojection cost; the freest first, and one that has no hope beside them not to the
    end."""

    def solved(names: list[str], enough: float) -> dict[str, tuple[Reconstruction, float]]:
        def hopeless(iteration: int, cost: float) -> bool:
            return iteration >= options.first_iterations and cost > enough

        found = in_threads(lambda name: _solved(*models[name], part, priors, hopeless), names)
        return dict(zip(names, found, strict=True))

    freest = [name for name in models if name.startswith("free")]
    with one_blas_thread():  # held outside, for solves that overlap would each restore what another set
        found = solved(freest, float("inf"))
        cheapest = min((cost for _, cost in found.values()), default=float("inf"))
        return found | solved([name for name in models if name not in freest], options.hopeless * cheapest)


def _solved(
    model: Reconstruction, settings: BundleAdjustmentOptions, part: Reconstruction, priors: DepthPriors,
    stop: Callable[[int, float], bool],
) -> tuple[Reconstruction, float]:  # fmt: skip
    """A model adjusted, and its reprojection cost; infinite when it puts points behind cameras: then it is none."""
    if model.has_point.sum() < 0.98 * part.has_point.sum():
        return model, float("inf")
    solved, report = adjust(model, priors, settings, stop)
    return solved, report.reprojection_cost


def _price_of_depths(scene: Reconstruction, priors: DepthPriors, name: str, together: float) -> float:
    """What the freedom of a depth for every point costs a moving camera: twice the log of how much narrower the tracks
    make what the weak prior leaves open (the Occam factor, MacKay 1992). A depth that nobody measures costs nothing.
    together: errors of a track that count as one."""
    if not name.startswith("free"):
        return 0.0
    by_tracks = 1 / together / np.square(scene.point_sigma[scene.has_point & np.isfinite(scene.point_sigma)])
    by_prior = FREE_DEPTH_WEIGHT / float(np.nanmedian(priors.sigma)) ** 2
    return float(np.sum(np.log1p(by_tracks / by_prior)))


def _unseen_path(scene: Reconstruction, priors: DepthPriors, settings: BundleAdjustmentOptions) -> float:
    """Two standard deviations of a camera centre, were it free, over the depth of the scene: median of the frames."""
    sigma = Posterior(scene, priors, replace(settings, lens=KNOWN_LENS)).cameras().centers
    depth = float(np.nanmedian(scene.points_in_cam()[:, 2]))
    return 2 * float(np.nanmedian(np.linalg.norm(sigma, axis=1))) / depth


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
    """Without points behind a camera that counts them as inliers, nor inliers of such points."""
    behind = scene.tracks.track[scene.inliers & (scene.points_in_cam()[:, 2] <= 0)]
    points = scene.points.copy()
    points[behind] = np.nan
    lost = np.isin(scene.tracks.track, behind)
    return replace(scene, points=points, inliers=scene.inliers & ~lost)
