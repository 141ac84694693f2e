"""The last coordinate of a point's chart, and how well depth is known there."""

import numpy as np

_FAR = 0.15  # of the nearness a point starts with


def nearness(v: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """z0/z of charts' last coordinate (n,) and d log z / dv: 1 - v, but a point at infinity is never passed.

    Beyond seven times its first depth it approaches infinity as an exponential does, so that it may come back.
    """
    u = np.maximum(1 - v, _FAR)
    beyond = np.minimum(1 - v - _FAR, 0.0) / _FAR
    # clipped only so that a wild trial step overflows to a large cost and not to NaN
    return u * np.exp(np.maximum(beyond, -60.0)), 1 / u


def depth_information(V: np.ndarray) -> np.ndarray:
    """Of log depth where charts begin, their other coordinates free to follow, (n,), from their V (n, 3, 3)."""
    across = V[:, 0, 0] + V[:, 1, 1]
    tiny = 1e-12 * np.eye(2) * (across + 1e-30)[:, None, None]
    lateral = np.linalg.solve(V[:, :2, :2] + tiny, V[:, :2, 2:])
    information = V[:, 2, 2] - (V[:, 2:, :2] @ lateral)[:, 0, 0]
    # along the ray of a camera that only turns, rounding is all there is
    return np.where(information > 1e-12 * across, information, 0.0)
