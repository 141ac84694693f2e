"""How the focal length seems to change, from the flow between frames and the depth prior: a start, not a result.

A dolly moves near points more than far ones, a zoom all alike: with a depth at every track the two are told apart
linearly, frame by frame (the instantaneous model of Longuet-Higgins and Prazdny 1980, with a rate of zoom).
"""

import numpy as np

from sfm.geometry.camera import Camera
from sfm.scene import DepthPriors, Tracks

MIN_TRACKS = 12  # between two frames
MIN_CHANGE = 0.03  # of log focal length over the shot; errors of the prior make smaller ones
_ROUNDS = 10  # of re-weighting


def zoom_curve(tracks: Tracks, priors: DepthPriors, camera: Camera) -> np.ndarray:
    """Log focal length of every frame beside the first, (frames,); flat where two frames share too few tracks.

    camera: the focal length of the first frame, roughly. Limit: where the prior has everything equally deep, a dolly
    looks like a zoom; its smooth errors leak from one into the other.
    """
    curve = np.zeros(tracks.num_frames)
    same = np.flatnonzero((np.diff(tracks.track) == 0) & (np.diff(tracks.frame) == 1))
    same = same[np.isfinite(priors.depth[same])]
    if not len(same):
        return curve
    order = same[np.argsort(tracks.frame[same], kind="stable")]
    frames, starts = np.unique(tracks.frame[order], return_index=True)
    focal, center = camera.at(0).focal_length, camera.at(0).principal_point
    for frame, rows in zip(frames, np.split(order, starts[1:]), strict=True):
        if len(rows) >= MIN_TRACKS:
            scale = focal * np.exp(curve[frame])
            now, then = ((tracks.xy[part] - center) / scale for part in (rows, rows + 1))
            curve[frame + 1 :] += _zoom_rate(now, then - now, np.median(priors.depth[rows]) / priors.depth[rows])
    return curve


def seen_zooming(tracks: Tracks, priors: DepthPriors, camera: Camera) -> Camera | None:
    """The camera with the zoom that the flow shows; None where that is none to speak of, or the zoom is known."""
    curve = zoom_curve(tracks, priors, camera) if not camera.batch else np.zeros(1)
    if np.ptp(curve) <= MIN_CHANGE:
        return None
    return camera.with_focal_length(camera.focal_length * np.exp(curve)[:, None])


def _zoom_rate(points: np.ndarray, flow: np.ndarray, disparity: np.ndarray) -> float:
    """The part of a flow (n, 2) at points (n, 2) on the plane z = 1 that grows with the distance from the centre."""
    x, y = points.T
    zero = np.zeros_like(x)
    across = np.stack([-disparity, zero, x * disparity, x * y, -(1 + x * x), y, x], axis=1)
    down = np.stack([zero, -disparity, y * disparity, 1 + y * y, -x * y, -x, y], axis=1)
    A, b = np.concatenate([across, down]), flow.T.ravel()
    weight = np.ones(len(x))
    solution = np.zeros(7)
    for _ in range(_ROUNDS):
        weighted = A.T * np.tile(weight, 2)
        # of seven unknowns, a tenth of the time that A itself takes; of equal depths not all are told: least norm
        solution = np.linalg.lstsq(weighted @ A, weighted @ b, rcond=None)[0]
        error = np.linalg.norm((b - A @ solution).reshape(2, -1), axis=0)
        weight = 1 / (1 + (error / max(2 * np.median(error), 1e-12)) ** 2)
    return float(solution[6])
