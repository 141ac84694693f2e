"""Rows that hold values over the frames of a shot: near zero, in small steps, in steps that change little."""

import numpy as np
from scipy.sparse import csr_array, diags_array


def around_zero(count: int, sigma: float) -> csr_array:
    """Rows that are each value over its sigma."""
    return csr_array(diags_array(np.full(count, 1 / sigma)))


def steps(frames: np.ndarray, sigma: float) -> csr_array:
    """Rows of a random walk: a value changes from frame to frame by sigma, over a gap by its root more."""
    rows = np.arange(len(frames) - 1)
    by_step = 1 / (sigma * np.sqrt(np.diff(frames)))
    return csr_array((np.r_[by_step, -by_step], (np.r_[rows, rows], np.r_[rows + 1, rows])), (len(rows), len(frames)))


def bends(frames: np.ndarray, sigma: float) -> csr_array:
    """Rows of a random walk of the speed: it changes by sigma a frame."""
    gap = np.diff(frames).astype(float)
    if len(gap) < 2:
        return csr_array((0, len(frames)))
    before, after = 1 / gap[:-1], 1 / gap[1:]
    by_bend = 1 / (sigma * np.sqrt(0.5 * (gap[1:] + gap[:-1])))
    rows = np.arange(len(gap) - 1)
    values = np.concatenate([before * by_bend, -(before + after) * by_bend, after * by_bend])
    return csr_array((values, (np.tile(rows, 3), np.concatenate([rows, rows + 1, rows + 2]))), (len(rows), len(frames)))
