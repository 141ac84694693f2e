"""Pose of a camera that sees known points: RANSAC by OpenCV, refined robustly here.

OpenCV is the one exception to "numpy and scipy only" in this folder: its minimal solvers are better kept than ours
would be.
"""

import cv2
import numpy as np

from sfm.geometry.rotation import rotation_from_rotvec
from sfm.geometry.transform import Rigid3

MIN_POINTS = 6  # a pose from fewer points is one nobody should trust
MAX_REFINED = 400  # more do not make a start better: the adjustment follows


def absolute_pose(
    points: np.ndarray, cam_points: np.ndarray, max_error: float, start: Rigid3 | None = None
) -> tuple[Rigid3 | None, np.ndarray]:
    """The pose from which points (n, 3) are seen at cam_points (n, 2) on the plane z = 1.

    From `start` (in a shot: the neighbour's pose) if refining it makes half the points inliers, else RANSAC (OpenCV's
    SQPnP, Terzakis and Lourakis 2020; OpenCV seeds it, so it repeats). max_error: on the plane z = 1, i.e. px / focal
    length. Returns cam_from_world and inliers (n,) bool, or None and no inlier when no pose explains a quarter of them.
    """
    nobody = np.zeros(len(points), bool)
    if len(points) < MIN_POINTS:
        return None, nobody
    candidates = []
    some = slice(None, None, max(len(points) // MAX_REFINED, 1))
    if start is not None:
        candidates.append(refine_absolute_pose(points[some], cam_points[some], start, max_error))
    if not candidates or _inliers(points, cam_points, candidates[0], max_error).mean() < 0.5:
        unit = max(float(np.median(np.abs(points))), 1e-300)  # SQPnP gives up on points a millionth of a unit away
        found, rotvec, translation, _ = cv2.solvePnPRansac(
            points / unit, cam_points, np.eye(3), None, reprojectionError=max_error, iterationsCount=500,
            confidence=0.9999, flags=cv2.SOLVEPNP_SQPNP,
        )  # fmt: skip
        if found:
            ransac = Rigid3.from_rotvec(rotvec.ravel(), unit * translation.ravel())
            candidates.append(refine_absolute_pose(points[some], cam_points[some], ransac, max_error))
    scored = [(_inliers(points, cam_points, c, max_error), c) for c in candidates]
    best = max(scored, key=lambda pair: pair[0].sum(), default=(nobody, None))
    if best[0].sum() < max(MIN_POINTS, 0.25 * len(points)):
        return None, nobody
    return best[1], best[0]


def refine_absolute_pose(
    points: np.ndarray, cam_points: np.ndarray, start: Rigid3, scale: float, iterations: int = 30
) -> Rigid3:
    """Levenberg-Marquardt on the Cauchy cost with its knee at `scale` (plane z = 1), from start.

    The knee starts 16 times wider and tightens by halves, so a start some pixels off still pulls every point.
    """
    pose, damping = start, 1e-4
    knee = 16 * scale
    residual, J = _residuals(points, cam_points, pose)
    for _ in range(iterations):
        weighted = (J / (1 + (residual**2).sum(0) / knee**2)).reshape(6, -1)
        H, g = weighted @ J.reshape(6, -1).T, -weighted @ residual.ravel()
        step = np.linalg.solve(H + damping * np.diag(np.diag(H) + 1e-12), g)
        moved = Rigid3(rotation_from_rotvec(step[:3]) @ pose.rotation, pose.translation + step[3:])
        trial, trial_J = _residuals(points, cam_points, moved)
        if _cauchy(trial, knee) < _cauchy(residual, knee):
            pose, residual, J, damping = moved, trial, trial_J, damping / 5
        else:
            damping *= 10
        if np.abs(step).max() < 1e-6 or damping > 1e3:
            if knee <= scale:
                break
            damping = 1e-4
        knee = max(0.5 * knee, scale)
    return pose


def _cauchy(residual: np.ndarray, knee: float) -> float:
    return float(np.log1p((residual**2).sum(0) / knee**2).sum())


def _residuals(points: np.ndarray, cam_points: np.ndarray, pose: Rigid3) -> tuple[np.ndarray, np.ndarray]:
    """Errors (2, n) on the plane z = 1 and their derivative by (rotvec, translation), (6, 2, n)."""
    X, Y, Z = rotated = pose.rotation @ points.T
    x, y, z = rotated + pose.translation[:, None]
    inverse = 1 / np.maximum(z, 1e-6)
    u, v, zero = x * inverse, y * inverse, np.zeros_like(z)
    by_z = -np.stack([u, v]) * inverse
    # d(exp(w) R X)/dw = -[R X]x
    by_w = [
        [Y * by_z[0], Y * by_z[1] - Z * inverse],
        [Z * inverse - X * by_z[0], -X * by_z[1]],
        [-Y * inverse, X * inverse],
    ]
    J = np.array([*by_w, [inverse, zero], [zero, inverse], by_z])
    return np.stack([u, v]) - cam_points.T, J


def _inliers(points: np.ndarray, cam_points: np.ndarray, pose: Rigid3, max_error: float) -> np.ndarray:
    in_cam = pose.apply(points)
    z = np.maximum(in_cam[:, 2:], 1e-9)
    error = np.linalg.norm(in_cam[:, :2] / z - cam_points, axis=1)
    return (in_cam[:, 2] > 0) & (error <= max_error)
