"""Standard errors that hold where errors are not independent: what clusters of them say, each on its own.

The sandwich estimator with clusters (Liang and Zeger 1986), of two kinds of them at once (Cameron, Gelbach and Miller
2011).
"""

import numpy as np


def between_clusters(moves: np.ndarray, one: np.ndarray, other: np.ndarray) -> float:
    """Variance of an estimate that each error moved by `moves` (n,), errors of a cluster of either kind in common.

    one, other (n,) int: the clusters of each error.
    """
    first, second = (_variance(np.bincount(label, moves)[np.bincount(label) > 0]) for label in (one, other))
    pair = np.unique(one * (other.max() + 1) + other, return_inverse=True)[1]
    # what both kinds share is counted twice; where there is little else it may not take away all of one
    return max(first + second - _variance(np.bincount(pair, moves)), first, second)


def _variance(sums: np.ndarray) -> float:
    count = len(sums)
    return float((sums**2).sum() * count / max(count - 1, 1))
