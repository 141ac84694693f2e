"""How well an adjusted shot is known: standard deviations from its reduced normal equations.

Covariance of the least-squares estimate (Hartley and Zisserman 2004, section 5.2.4), points marginalised out.
"""

from dataclasses import dataclass

import numpy as np

from sfm.bundle_adjustment.options import BundleAdjustmentOptions
from sfm.bundle_adjustment.problem import ShotProblem
from sfm.least_squares import NormalEquations
from sfm.scene import DepthPriors, Reconstruction


@dataclass(frozen=True, slots=True, eq=False)
class Uncertainty:
    """Standard deviations of what was free in an adjustment, NaN of what was not.

    focal: of log focal length (of the first frame, of a zoom); principal_point (2,): px; radial (2,): of k1 and k2;
    zoom (frames,): of log focal length beside the first frame's; centers (frames, 3): of the camera centres along the
    axes of each camera, beside the first registered one.
    """

    focal: float
    principal_point: np.ndarray
    radial: np.ndarray
    zoom: np.ndarray
    centers: np.ndarray


def uncertainty(scene: Reconstruction, priors: DepthPriors | None, options: BundleAdjustmentOptions) -> Uncertainty:
    """Of a scene adjusted with these options. Errors of a track that follow each other count as one.

    Limit: cost grows with the cube of the frames: give it a thinned scene of a long shot.
    """
    problem = ShotProblem(scene, priors, options)
    size = problem.num_kept * problem.kept_size
    covariance = NormalEquations(problem, problem.start()).covariance(np.arange(size + problem.num_shared))
    sigma = np.sqrt(serial_correlation(scene) * np.diag(covariance))
    kept, shared = sigma[:size].reshape(problem.num_kept, -1), sigma[size:]
    frames = scene.tracks.num_frames
    zoom, centers = np.full(frames, np.nan), np.full((frames, 3), np.nan)
    centers[problem.frames] = kept[:, 3:6]
    if options.lens.zoom:
        zoom[problem.frames] = kept[:, problem.log_zoom]
    focal = float(shared[0]) if options.lens.focal else float("nan")
    center, radial = (np.r_[shared[at], np.full(2, np.nan)][:2] for at in (problem.center_at, problem.radial_at))
    return Uncertainty(focal, center, radial, zoom, centers)


def drawn_scenes(
    scene: Reconstruction, priors: DepthPriors | None, options: BundleAdjustmentOptions, count: int, seed: int = 0
) -> list[Reconstruction]:
    """The scene with cameras and lenses drawn from what these options leave open of them, points where these see them.

    None where something is wholly open. The first registered camera stays, and the size of the path: one coordinate of
    the camera farthest from it. A prior leaves that size open by per cents, which no picture shows, and which a linear
    step would bend.
    """
    problem = ShotProblem(scene, priors, options)
    start = problem.start()
    first = scene.cams_from_world[problem.frames[0]].centers_in_world
    apart = np.einsum("nij,nj->ni", problem.R0, scene.centers_in_world[problem.frames] - first)
    frame, axis = np.unravel_index(np.argmax(np.abs(apart)), apart.shape)
    problem.free[frame * problem.kept_size + 3 + axis] = False
    changes = NormalEquations(problem, start).draw(np.random.default_rng(seed), count)
    spread = np.sqrt(serial_correlation(scene))
    return [problem.finish(start + spread * change) for change in changes if np.isfinite(change).all()]


def serial_correlation(scene: Reconstruction) -> float:
    """Successive errors of a track that carry the information of one, from their lag-one correlation."""
    tracks = scene.tracks
    use = np.flatnonzero(scene.inliers & scene.registered[tracks.frame])
    error = tracks.whitened(scene.reprojections(use) - tracks.xy[use], use)
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
