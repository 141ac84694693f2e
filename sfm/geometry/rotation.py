"""Rotations as (*batch, 3, 3) matrices, over `scipy.spatial.transform.Rotation`."""

import numpy as np
from numpy.typing import ArrayLike
from scipy.spatial.transform import Rotation


def skew(v: ArrayLike) -> np.ndarray:
    """Cross-product matrix: `skew(v) @ x == np.cross(v, x)`. v (*batch, 3) -> (*batch, 3, 3).

    >>> skew([1.0, 2.0, 3.0]) @ np.array([0.0, 0.0, 1.0])
    array([ 2., -1.,  0.])
    """
    v = np.asarray(v, dtype=float)
    zero = np.zeros(v.shape[:-1])
    x, y, z = np.moveaxis(v, -1, 0)
    return np.stack([zero, -z, y, z, zero, -x, -y, x, zero], axis=-1).reshape(*v.shape[:-1], 3, 3)


def rotation_from_rotvec(rotvec: ArrayLike) -> np.ndarray:
    """Exponential map. rotvec (*batch, 3) radians -> rotation (*batch, 3, 3)."""
    rotvec = np.asarray(rotvec, dtype=float)
    return Rotation.from_rotvec(rotvec.reshape(-1, 3)).as_matrix().reshape(*rotvec.shape[:-1], 3, 3)


def left_jacobian(rotvec: ArrayLike) -> np.ndarray:
    """Left Jacobian of SO(3), (*batch, 3, 3): exp(w + dw) = exp(J_l(w) dw) exp(w) to first order (Sola et al. 2018,
    eq. 145). rotvec (*batch, 3) radians."""
    rotvec = np.asarray(rotvec, dtype=float)
    angle = np.linalg.norm(rotvec, axis=-1)[..., None, None]
    small = angle < 1e-4
    safe = np.where(small, 1.0, angle)
    first = np.where(small, 0.5 - angle**2 / 24, (1 - np.cos(safe)) / safe**2)
    second = np.where(small, 1 / 6 - angle**2 / 120, (safe - np.sin(safe)) / safe**3)
    K = skew(rotvec)
    return np.eye(3) + first * K + second * K @ K


def rotvec_from_rotation(rotation: ArrayLike) -> np.ndarray:
    """Logarithm map. rotation (*batch, 3, 3) -> rotvec (*batch, 3) radians, length at most pi."""
    rotation = np.asarray(rotation, dtype=float)
    return Rotation.from_matrix(rotation.reshape(-1, 3, 3)).as_rotvec().reshape(*rotation.shape[:-2], 3)


def rotation_angle(rotation: ArrayLike) -> np.ndarray:
    """Angle of rotation, radians in [0, pi]. rotation (*batch, 3, 3) -> (*batch,)."""
    return np.linalg.norm(rotvec_from_rotation(rotation), axis=-1)


def quaternion_from_rotation(rotation: ArrayLike) -> np.ndarray:
    """Unit quaternion, scalar first (w, x, y, z) with w >= 0. rotation (*batch, 3, 3) -> (*batch, 4)."""
    rotation = np.asarray(rotation, dtype=float)
    quaternion = Rotation.from_matrix(rotation.reshape(-1, 3, 3)).as_quat(canonical=True, scalar_first=True)
    return quaternion.reshape(*rotation.shape[:-2], 4)


def rotation_from_quaternion(quaternion: ArrayLike) -> np.ndarray:
    """Inverse of `quaternion_from_rotation`. quaternion (*batch, 4) w, x, y, z -> (*batch, 3, 3)."""
    quaternion = np.asarray(quaternion, dtype=float)
    rotation = Rotation.from_quat(quaternion.reshape(-1, 4), scalar_first=True)
    return rotation.as_matrix().reshape(*quaternion.shape[:-1], 3, 3)
