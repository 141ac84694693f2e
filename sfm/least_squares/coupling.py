"""What the observations of a slice tie together, and the product W V^-1 W^T that eliminating their blocks takes.

Blocks that touch most of the kept blocks between their first and their last, as tracks of a shot do, are squared as one
dense matrix by BLAS; where each touches few of many, as in photographs of a town, pair of observations by pair.
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from sfm.least_squares.problem import Problem, slices

_PAIRS_COST = 12  # times a product in a dense matrix, a product of a pair takes


@dataclass(frozen=True, slots=True, eq=False)
class _Pairs:
    """Pairs of observations of one eliminated block, those of the same two kept blocks next to each other.

    i, j (pairs,): observations, shared parameters following as one observation of every eliminated block;
    edges (groups + 1,); row, column (groups,): kept blocks, row >= column.
    """

    i: np.ndarray
    j: np.ndarray
    edges: np.ndarray
    row: np.ndarray
    column: np.ndarray


@dataclass(frozen=True, slots=True, eq=False)
class Coupling:
    """Observations `rows` of whole eliminated blocks `first` .. `last` - 1 that touch kept blocks `low` .. `high` - 1.

    kept (n,): the kept block each touches, of all; block (n,): the eliminated one, from `first` on; starts (blocks,):
    where the observations of each begin. The same at every parameter vector.
    """

    rows: slice
    first: int
    last: int
    low: int
    high: int
    kept: np.ndarray
    block: np.ndarray
    starts: np.ndarray
    pairs: _Pairs | None

    @classmethod
    def of(cls, problem: Problem, rows: slice) -> "Coupling":
        """Of a slice of the observations. Raises ValueError where an eliminated block has none."""
        kept, index = problem.kept_index[rows], problem.eliminated_index[rows]
        low, high, first, last = int(kept.min()), int(kept.max()) + 1, int(index[0]), int(index[-1]) + 1
        starts, count = np.searchsorted(index, np.arange(first, last)), np.bincount(index - first)
        if problem.num_eliminated and not count.all():
            raise ValueError("eliminated_index: got a block without observations, expected at least one each")
        shared, k = problem.num_shared > 0, problem.kept_size
        by_pairs = _PAIRS_COST * float(((count + shared) ** 2).sum()) < (high - low + shared) ** 2 * len(count)
        pairs = _pairs(kept - low, index - first, high - low, shared) if by_pairs and problem.num_shared <= k else None
        return cls(rows, first, last, low, high, kept, index - first, starts, pairs)

    def matrix(self, Y: np.ndarray, shared: np.ndarray) -> np.ndarray:
        """Y (k, e, n) of the observations and shared (b, e, blocks) as one matrix over the kept parameters from `low`
        on and the shared ones behind them, ((high - low) k + b, blocks e)."""
        (k, e, _), b, blocks = Y.shape, len(shared), len(self.starts)
        size = (self.high - self.low) * k
        M = np.zeros((size + b, blocks * e))
        M[:size].reshape(-1, k, blocks, e)[self.kept - self.low, :, self.block] = np.moveaxis(Y, 2, 0)
        M[size:] = np.swapaxes(shared, 1, 2).reshape(b, blocks * e)
        return M

    def squared(self, Y: np.ndarray, shared: np.ndarray) -> np.ndarray:
        """M M^T of the `matrix` M."""
        if self.pairs is None:
            M = self.matrix(Y, shared)
            return M @ M.T
        (k, e, _), (b, _, blocks), of_shared = Y.shape, shared.shape, len(shared) > 0
        each = np.zeros((len(self.kept) + of_shared * blocks, e, k))
        each[: len(self.kept)] = Y.T
        each[len(self.kept) :, :, :b] = shared.T[: of_shared * blocks]
        left, right = (each[of].reshape(-1, k) for of in (self.pairs.i, self.pairs.j))
        count = self.high - self.low + of_shared
        found = np.zeros((count, k, count, k))
        groups = zip(self.pairs.row, self.pairs.column, pairwise((self.pairs.edges * e).tolist()), strict=True)
        for row, column, (begin, end) in groups:
            found[row, :, column] = left[begin:end].T @ right[begin:end]
        square, size = found.reshape(count * k, -1), count * k - of_shared * (k - b)
        return (np.tril(square) + np.tril(square, -1).T)[:size, :size]


def couplings(problem: Problem) -> list[Coupling]:
    """Of every slice."""
    return [Coupling.of(problem, rows) for rows in slices(problem)]


def _pairs(kept: np.ndarray, block: np.ndarray, count: int, shared: bool) -> _Pairs:
    if shared:
        blocks = np.arange(block[-1] + 1)
        kept, block = np.r_[kept, np.full(len(blocks), count)], np.r_[block, blocks]
    order = np.argsort(block, kind="stable")
    seen = np.bincount(block)
    times, start = seen[block[order]], np.repeat(np.cumsum(seen) - seen, seen)
    i = np.repeat(np.arange(len(order)), times)
    j = np.arange(len(i)) - np.repeat(np.cumsum(times) - times - start, times)
    i, j = order[i], order[j]
    below = kept[i] >= kept[j]
    i, j = i[below], j[below]
    group = kept[i] * (count + 1) + kept[j]
    together = np.argsort(group, kind="stable")
    i, j, group = i[together], j[together], group[together]
    edges = np.flatnonzero(np.diff(group, prepend=-1))
    return _Pairs(i, j, np.r_[edges, len(i)], *np.divmod(group[edges], count + 1))
