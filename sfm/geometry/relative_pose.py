"""Pose between two frames from matched points and a depth prior for each.

The two-view start of *Depth-guided sparse structure-from-motion for movies and TV shows* (CVPR 2022): points lifted
from the depth of one frame, pose from the lifted points; an essential matrix competes where there is parallax.
"""

import cv2
import numpy as np

from sfm.geometry.absolute_pose import absolute_pose, refine_absolute_pose
from sfm.geometry.transform import Rigid3
from sfm.geometry.triangulation import triangulate


def lift(cam_points: np.ndarray, depth: np.ndarray) -> np.ndarray:
    """Points (n, 3) in camera axes at cam_points (n, 2) on the plane z = 1 and depth (n,) along z."""
    return np.column_stack([cam_points, np.ones(len(cam_points))]) * depth[:, None]


def relative_pose(
    cam_points1: np.ndarray, cam_points2: np.ndarray, depth1: np.ndarray, max_error: float, seed: int = 0
) -> tuple[Rigid3 | None, np.ndarray]:
    """`cam2_from_cam1` in the unit of depth1, from matches on the plane z = 1.

    Two candidates: PnP of points lifted by depth1, and the essential matrix (MAGSAC) with its length set by depth1;
    the one with the lower robust epipolar error wins, and of near equals the lifted one, for an essential matrix fitted
    to little parallax is noise. cam_points1, cam_points2 (n, 2); depth1 (n,) NaN where unknown; max_error on the plane
    z = 1. Returns None when neither finds a pose, and the inliers (n,) bool of the winner.
    """
    known = np.isfinite(depth1)
    candidates = []
    lifted = lift(cam_points1[known], depth1[known])
    # a 30 % depth error moves a point by 30 % of its parallax: let the lifted pose be that much looser
    pose, _ = absolute_pose(lifted, cam_points2[known], 4 * max_error, Rigid3.identity())
    if pose is not None:
        candidates.append(pose)
    essential = _from_essential(cam_points1, cam_points2, lifted, known, max_error, seed)
    if essential is not None:
        candidates.append(essential)
    if not candidates:
        return None, np.zeros(len(cam_points1), bool)
    errors = [_epipolar_error(cam_points1, cam_points2, c) for c in candidates]
    costs = [np.log1p((e / max_error) ** 2).sum() * (1.0 if k == 0 else 1.1) for k, e in enumerate(errors)]
    best = int(np.argmin(costs))
    return candidates[best], errors[best] <= 2 * max_error


def _from_essential(
    cam_points1: np.ndarray, cam_points2: np.ndarray, lifted: np.ndarray, known: np.ndarray, max_error: float, seed: int
) -> Rigid3 | None:
    """Rotation and direction from an essential matrix, the length of the baseline from the lifted points."""
    if len(cam_points1) < 8:
        return None
    settings = cv2.UsacParams()
    settings.score, settings.loMethod = cv2.SCORE_METHOD_MAGSAC, cv2.LOCAL_OPTIM_SIGMA
    settings.threshold, settings.confidence, settings.randomGeneratorState = max_error, 0.9999, seed
    E, inliers = cv2.findEssentialMat(cam_points1, cam_points2, np.eye(3), np.eye(3), None, None, settings)
    if E is None or E.shape != (3, 3):
        return None
    count, R, t, _ = cv2.recoverPose(E, cam_points1, cam_points2, np.eye(3), mask=inliers)
    if count < 8:
        return None
    unit = Rigid3(R, t.ravel())
    depth = triangulated_depth(cam_points1[known], cam_points2[known], unit)
    ratio = lifted[:, 2] / depth
    ratio = ratio[np.isfinite(ratio) & (ratio > 0)]
    if len(ratio) < 8:
        return None
    pose = Rigid3(R, np.median(ratio) * unit.translation)
    # polish on the points triangulated at that length
    depth = triangulated_depth(cam_points1, cam_points2, pose)
    good = np.isfinite(depth) & (depth > 0)
    return refine_absolute_pose(lift(cam_points1[good], depth[good]), cam_points2[good], pose, max_error, 5)


def triangulated_depth(cam_points1: np.ndarray, cam_points2: np.ndarray, cam2_from_cam1: Rigid3) -> np.ndarray:
    """Depth in camera 1 of each match, (n,); NaN for parallel rays, negative behind."""
    n = len(cam_points1)
    rays1 = lift(cam_points1, np.ones(n))
    rays2 = lift(cam_points2, np.ones(n)) @ cam2_from_cam1.rotation
    rays = np.concatenate([rays1, rays2])
    rays /= np.linalg.norm(rays, axis=1, keepdims=True)
    centers = np.repeat(np.stack([np.zeros(3), cam2_from_cam1.centers_in_world]), n, axis=0)
    return triangulate(centers, rays, np.tile(np.arange(n), 2), n)[:, 2]


def _epipolar_error(cam_points1: np.ndarray, cam_points2: np.ndarray, cam2_from_cam1: Rigid3) -> np.ndarray:
    """Distance of each second point from the line of its first, on the plane z = 1.

    Without translation the line is not defined and the distance is to the rotated point itself.
    """
    ones = np.ones(len(cam_points1))
    infinite = lift(cam_points1, ones) @ cam2_from_cam1.rotation.T
    epipole = cam2_from_cam1.translation
    second = lift(cam_points2, ones)
    if np.linalg.norm(epipole) < 1e-9:
        return np.linalg.norm(infinite[:, :2] / infinite[:, 2:] - cam_points2, axis=1)
    line = np.cross(epipole, infinite)
    return np.abs((line * second).sum(1)) / np.maximum(np.linalg.norm(line[:, :2], axis=1), 1e-12)
