"""Observations in an order, and cut into slices, that fill little of the reduced system."""

import numpy as np

from sfm.scene import Tracks

_PART_TRACKS, _PART_FRAMES = 8, 64  # a slice spans so many times the longest of its tracks, or so many frames
_FEW_OBSERVATIONS = 2048  # of a slice that is not worth its own: calling NumPy takes longer than the sums do


def by_span(tracks: Tracks, rows: np.ndarray) -> np.ndarray:
    """Observations, by track as before, tracks that span about as many frames, and the same ones, next to each other.

    What few frames see together fills little of the reduced system, and takes little time to eliminate.
    """
    new = np.diff(tracks.track[rows], prepend=-1) != 0
    starts, block = np.flatnonzero(new), np.cumsum(new) - 1
    first, last = tracks.frame[rows[starts]], tracks.frame[rows[np.r_[starts[1:], len(rows)] - 1]]
    rank = np.empty(len(starts), int)
    rank[np.lexsort((last, first, _length_class(first, last)))] = np.arange(len(starts))
    return rows[np.argsort(rank[block], kind="stable")]


def cuts_of(frame: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Where a slice ends so that it spans not much more than its tracks do, or than `_PART_FRAMES` where these have few
    observations: short tracks, few and spread over a shot, would tie all of it together.

    frame (n,): of the observations, as `by_span` sorts them; starts (tracks,): where each track does.
    """
    first, last = frame[starts], frame[np.r_[starts[1:], len(frame)] - 1]
    length = _length_class(first, last)
    part = first // np.maximum(_PART_TRACKS * 2 ** (length + 1), _PART_FRAMES)
    cuts, kept, start = starts[1:][(np.diff(length) != 0) | (np.diff(part) != 0)], [], 0
    for cut, end in zip(cuts, np.r_[cuts, len(frame)][1:], strict=True):
        if cut - start >= _FEW_OBSERVATIONS or np.ptp(frame[start:end]) >= _PART_FRAMES:
            kept.append(cut)
            start = cut
    return np.array(kept, int)


def _length_class(first: np.ndarray, last: np.ndarray) -> np.ndarray:
    """Of tracks that span about as many frames: 1, 2 to 3, 4 to 7 and so on."""
    return np.log2(last - first + 1).astype(int)
