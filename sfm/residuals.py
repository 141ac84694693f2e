"""Residuals beside their Jacobians, written as rows over observations: every array is (rows, ..., n).

Reprojection in px (Hartley and Zisserman 2004, section 4.2), log depth after MP-SfM (Pataki et al. 2025), both by the
point in camera axes; `bundle_adjustment` chains them to poses and points.
"""

import numpy as np

MIN_DEPTH = 1e-6  # depth below which a point counts as touching the camera; the robust loss takes it from there


def reprojection(
    points: np.ndarray, focal: np.ndarray, center: np.ndarray, xy: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Projected minus observed pixels.

    points (3, n) in camera axes; focal, center (2,) or (2, n) px; xy (2, n) px. Returns residuals (2, n) px, their
    derivative by points (2, 3, n) and by the logarithm of a common factor of both focal lengths (2, n).
    """
    inverse = 1 / np.maximum(points[2], MIN_DEPTH)
    offset = points[:2] * inverse * focal.reshape(2, -1)
    by_point = np.zeros((2, 3, points.shape[1]))
    by_point[0, 0], by_point[1, 1] = focal.reshape(2, -1) * inverse
    by_point[:, 2] = np.where(points[2] > MIN_DEPTH, -offset * inverse, 0.0)
    return offset + center.reshape(2, -1) - xy, by_point, offset


def radial_reprojection(
    points: np.ndarray, focal: np.ndarray, center: np.ndarray, xy: np.ndarray, radial: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """`reprojection` through a lens with OpenCV's k1 and k2, radial (2,); and the derivative by them, (2, 2, n)."""
    inverse = 1 / np.maximum(points[2], MIN_DEPTH)
    p, f = points[:2] * inverse, focal.reshape(2, -1)
    r2 = (p**2).sum(0)
    factor = 1 + r2 * (radial[0] + r2 * radial[1])
    offset = f * p * factor
    by_p = f[:, None] * (2 * (radial[0] + 2 * r2 * radial[1])) * p[:, None] * p[None]
    by_p[0, 0] += f[0] * factor
    by_p[1, 1] += f[1] * factor
    by_point = np.empty((2, 3, points.shape[1]))
    by_point[:, :2] = by_p * inverse
    by_point[:, 2] = np.where(points[2] > MIN_DEPTH, -(by_p * p[None]).sum(1) * inverse, 0.0)
    return offset + center.reshape(2, -1) - xy, by_point, offset, (f * p)[:, None] * np.stack([r2, r2 * r2])


def log_depth(points: np.ndarray, log_scale: np.ndarray, log_prior: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """`ln z - ln(s d)`: relative error of the scene's depth against the scaled prior's.

    points (3, n) in camera axes; log_scale (n,) = ln s of the observation's frame; log_prior (n,) = ln d. Returns
    residuals (n,) and their derivative by points' z (n,); the derivative by log_scale is -1.
    """
    z = np.maximum(points[2], MIN_DEPTH)
    return np.log(z) - log_scale - log_prior, np.where(points[2] > MIN_DEPTH, 1 / z, 0.0)
