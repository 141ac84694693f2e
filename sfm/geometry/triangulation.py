"""Points from rays: many tracks at once, observations grouped by a track index."""

import numpy as np


def _sum_by(index: np.ndarray, values: np.ndarray, count: int) -> np.ndarray:
    """Sum values (n, *rest) into (count, *rest) rows by index (n,)."""
    flat = values.reshape(len(values), -1)
    summed = np.stack([np.bincount(index, column, count) for column in flat.T], axis=1)
    return summed.reshape(count, *values.shape[1:])


def triangulate(
    centers: np.ndarray, rays: np.ndarray, track: np.ndarray, num_tracks: int, weight: np.ndarray | None = None
) -> np.ndarray:
    """The points nearest to all the rays of their track.

    N-view midpoint: minimises `sum w |(I - d d^T)(X - c)|^2`. Its limit: the distance is in scene units, not pixels, so
    far and near cameras count alike; the bundle adjustment has the last word.

    centers (n, 3) camera centres and rays (n, 3) unit directions, both in the world; track (n,) int; weight (n,) or
    None. Returns points (num_tracks, 3), NaN where a track has fewer than two rays or they are parallel.
    """
    weight = np.ones(len(rays)) if weight is None else weight
    normal = weight[:, None, None] * (np.eye(3) - rays[:, :, None] * rays[:, None, :])
    A = _sum_by(track, normal, num_tracks)
    b = _sum_by(track, (normal @ centers[:, :, None])[..., 0], num_tracks)
    seen = np.bincount(track, minlength=num_tracks)
    smallest = np.linalg.eigvalsh(A)[:, 0]
    solvable = (seen >= 2) & (smallest > 1e-12 * np.maximum(seen, 1))
    points = np.full((num_tracks, 3), np.nan)
    points[solvable] = np.linalg.solve(A[solvable], b[solvable][..., None])[..., 0]
    return points


def parallax_angle(rays: np.ndarray, track: np.ndarray, num_tracks: int) -> np.ndarray:
    """Largest angle between the rays of each track, radians.

    Two sweeps (the ray farthest from the first, then the ray farthest from that one): exact when the rays of a track
    spread along a line, and never more than the true diameter.

    rays (n, 3), any length, sorted by track (n,) int. Returns (num_tracks,), NaN where a track has no ray.
    """
    angle = np.full(num_tracks, np.nan)
    if not len(rays):
        return angle
    unit = rays / np.linalg.norm(rays, axis=1, keepdims=True)
    starts = np.flatnonzero(np.r_[True, np.diff(track) > 0])
    group = np.cumsum(np.r_[False, np.diff(track) > 0])
    anchor = unit[starts]
    spread = np.zeros(len(starts))
    for _ in range(2):
        # sine of half the angle from the chord: precise for the tiny angles of a nodal shot, where arccos is not
        chord = np.linalg.norm(unit - anchor[group], axis=1)
        spread = np.maximum.reduceat(chord, starts)
        farthest = np.full(len(starts), len(unit))
        hit = np.flatnonzero(chord == spread[group])
        np.minimum.at(farthest, group[hit], hit)
        anchor = unit[farthest]
    angle[track[starts]] = 2 * np.arcsin(np.clip(0.5 * spread, 0, 1))
    return angle
