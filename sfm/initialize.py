"""The depth-aware start: a reference frame, a partner, their pose from lifted points, and points for both.

After the initialisation of *Depth-guided sparse structure-from-motion for movies and TV shows* (CVPR 2022); per point,
lifting or triangulating by the parallax angle as in MP-SfM (Pataki et al. 2025).
"""

import logging
from dataclasses import dataclass

import numpy as np

from sfm.bundle_adjustment import BundleAdjustmentOptions, adjust
from sfm.errors import NotEnoughTracksError
from sfm.geometry.absolute_pose import MIN_POINTS
from sfm.geometry.camera import Camera
from sfm.geometry.relative_pose import lift, relative_pose, triangulated_depth
from sfm.geometry.transform import Rigid3
from sfm.geometry.triangulation import parallax_angle
from sfm.scene import DepthPriors, Reconstruction, Support, Tracks

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class InitializeOptions:
    """Which frames may start, and what counts as parallax."""

    min_shared_tracks: int = 8  # between the reference frame and its partner
    min_shared_part: float = 0.5  # of the reference frame's tracks
    min_tri_angle_deg: float = 1.5  # above it a point is triangulated, below lifted
    enough_parallax_deg: float = 4.0  # more does not make a better partner
    max_reproj_error_px: float = 2.0
    partners: int = 8  # tried, over the frames that share enough
    seed: int = 0


def initialize(
    tracks: Tracks, priors: DepthPriors, camera: Camera, options: InitializeOptions = InitializeOptions()
) -> Reconstruction:
    """Two frames registered and their common points: the reference frame is the world, its unit the prior's.

    The reference frame is the one most tracks of the shot pass through; its partner, among the frames that share enough
    of them, the one with the most parallax. tracks and camera: free of distortion. Raises `NotEnoughTracksError` when
    no two frames share enough tracks with depth.
    """
    reference, candidates = _frames_to_try(tracks, priors, options)
    best = None
    for partner in candidates:
        attempt = _two_views(tracks, priors, camera, reference, int(partner), options)
        if attempt is not None and (best is None or attempt[0] > best[0]):
            best = attempt
    if best is None:
        raise NotEnoughTracksError(
            f"frames near {reference} (counted from 0) share tracks but no pose explains them: the tracks do not follow"
            " a rigid scene, or the focal length is far off (--focal-px, --focal-mm)"
        )
    parallax, partner, pose, points = best
    logger.info("start: frames %d and %d, %d points, %.2f deg parallax", reference, partner, len(points), parallax)
    seed = two_views(tracks, camera, reference, partner, pose, points)
    # coarse: mapping adjusts it again with every few frames
    settings = BundleAdjustmentOptions(reproj_sigma_px=1.0, max_iterations=15, cost_tolerance=1e-3)
    return adjust(seed, priors, settings)[0]


def _frames_to_try(tracks: Tracks, priors: DepthPriors, options: InitializeOptions) -> tuple[int, np.ndarray]:
    """The reference frame and partners spread over the frames that share enough tracks with it."""
    shared = tracks.shared()
    known = np.bincount(tracks.frame, np.isfinite(priors.depth), tracks.num_frames)
    central = np.where(known >= options.min_shared_tracks, shared.sum(1) * known, -1)
    reference = int(np.argmax(central))
    with_reference = np.where(np.arange(len(shared)) == reference, 0, shared[reference])
    if central[reference] < 0 or with_reference.max() < options.min_shared_tracks:
        known_there, best = int(known[reference]), int(with_reference.max())
        raise NotEnoughTracksError(
            f"no two frames share enough tracks with known depth: the best frame has {known_there} and shares {best};"
            f" {options.min_shared_tracks} are needed: track more points, or give a depth prior that covers them"
        )
    # half of the tracks if any frame shares as many, else what there is
    enough = min(options.min_shared_part * shared[reference, reference], float(with_reference.max()))
    candidates = np.flatnonzero(with_reference >= max(enough, options.min_shared_tracks))
    picks = np.linspace(0, len(candidates) - 1, min(options.partners, len(candidates)))
    return reference, candidates[np.unique(np.rint(picks).astype(int))]


def _two_views(
    tracks: Tracks, priors: DepthPriors, camera: Camera, reference: int, partner: int, options: InitializeOptions
) -> tuple[float, int, Rigid3, dict[int, np.ndarray]] | None:
    """Parallax in degrees (capped), the partner, its pose and the points; None when no pose is found."""
    one, two = tracks.in_both(reference, partner)
    cam_points1 = camera.at(reference).cam_from_img(tracks.xy[one])
    cam_points2 = camera.at(partner).cam_from_img(tracks.xy[two])
    max_error = options.max_reproj_error_px / float(camera.at(reference).focal_length[0])
    depth = priors.depth[one]
    pose, inliers = relative_pose(cam_points1, cam_points2, depth, max_error, options.seed)
    if pose is None or inliers.sum() < MIN_POINTS:
        return None
    chosen, angle = _lift_or_triangulate(cam_points1, cam_points2, depth, pose, options)
    good = inliers & np.isfinite(chosen)
    if good.sum() < MIN_POINTS:
        return None
    points = dict(zip(tracks.track[one[good]], lift(cam_points1[good], chosen[good]), strict=True))
    parallax = min(float(np.median(angle[good])), options.enough_parallax_deg)
    # a partner that explains half of its matches is no better for having a wide baseline
    return parallax * inliers.mean(), partner, pose, points


def _lift_or_triangulate(
    cam_points1: np.ndarray, cam_points2: np.ndarray, depth: np.ndarray, pose: Rigid3, options: InitializeOptions
) -> tuple[np.ndarray, np.ndarray]:
    """Depth of each match in the reference frame and its parallax angle in degrees."""
    triangulated = triangulated_depth(cam_points1, cam_points2, pose)
    guess = np.where(np.isfinite(depth), depth, np.where(triangulated > 0, triangulated, np.nan))
    points = lift(cam_points1, guess)
    rays = np.stack([points, points - pose.centers_in_world], axis=1).reshape(-1, 3)
    angle = np.degrees(parallax_angle(np.nan_to_num(rays, nan=1.0), np.repeat(np.arange(len(points)), 2), len(points)))
    by_parallax = (angle >= options.min_tri_angle_deg) & (triangulated > 0)
    return np.where(by_parallax, triangulated, depth), angle


def two_views(
    tracks: Tracks, camera: Camera, reference: int, partner: int, pose: Rigid3, points: dict[int, np.ndarray]
) -> Reconstruction:
    """The scene of two frames: the reference frame is the world, pose is the partner's, points (3,) are by track."""
    rotation = np.full((tracks.num_frames, 3, 3), np.nan)
    translation = np.full((tracks.num_frames, 3), np.nan)
    rotation[reference], translation[reference] = np.eye(3), 0.0
    rotation[partner], translation[partner] = pose.rotation, pose.translation
    registered = np.zeros(tracks.num_frames, bool)
    registered[[reference, partner]] = True
    all_points = np.full((tracks.num_tracks, 3), np.nan)
    all_points[list(points)] = list(points.values())
    support = np.where(np.isfinite(all_points[:, 0]), Support.PRIOR, Support.NONE)
    cams = Rigid3(rotation, translation)
    in_front = cams[tracks.frame].apply(all_points[tracks.track])[:, 2] > 0
    return Reconstruction(
        camera=camera, cams_from_world=cams, registered=registered, points=all_points, inliers=in_front, tracks=tracks,
        depth_scale=np.where(registered, 1.0, np.nan), support=support, point_sigma=np.full(tracks.num_tracks, np.nan),
    )  # fmt: skip
