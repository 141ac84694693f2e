"""What the observations of a slice tie together, and the product W V^-1 W^T that eliminating their blocks takes: M^T M.

Blocks that touch most of the kept blocks between their first and their last, as tracks of a shot do, are squared as one
dense matrix by BLAS; where each touches few of many, as in photographs of a town, pair of observations by pair.
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from sfm.least_squares.problem import Problem, slices

_PAIRS_COST = 60  # times a product in a dense matrix, a product of a pair takes, with what groups of them cost
_ROWS = 512  # of a dense matrix: fewer are squared no faster, for what they make is as large
_OF_A_BUNDLE = 0.9  # of a bundle's kept blocks, each coupling may touch at least


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

    def by_block(self, values: np.ndarray) -> np.ndarray:
        """Sum over the observations of each eliminated block, last axis n -> blocks."""
        return np.add.reduceat(values, self.starts, axis=-1)

    def by_kept_block(self, values: np.ndarray) -> np.ndarray:
        """Sum over the observations of each kept block from `low` on, (n,) -> (blocks,)."""
        return np.bincount(self.kept - self.low, values, self.high - self.low)

    def rows_of(self, Y: np.ndarray, shared: np.ndarray, low: int, out: np.ndarray) -> None:
        """Write Y (n, e, k) of the observations and shared (b, e, blocks) into zeros (blocks e, m + b), whose columns
        are the m kept parameters from block `low` on and the shared ones behind them."""
        (_, e, k), blocks, size = Y.shape, len(self.starts), out.shape[1] - len(shared)
        out[:, :size].reshape(blocks, e, -1, k)[self.block, :, self.kept - low] = Y
        out[:, size:] = shared.T.reshape(blocks * e, -1)

    def squared_by_pairs(self, Y: np.ndarray, shared: np.ndarray) -> np.ndarray:
        """M^T M of what `rows_of` writes from `self.low` on, pair of observations by pair."""
        assert self.pairs is not None
        (_, e, k), (b, _, blocks), of_shared = Y.shape, shared.shape, len(shared) > 0
        each = np.zeros((len(self.kept) + of_shared * blocks, e, k))
        each[: len(self.kept)] = Y
        each[len(self.kept) :, :, :b] = shared.T[: of_shared * blocks]
        left, right = (each[of].reshape(-1, k) for of in (self.pairs.i, self.pairs.j))
        count = self.high - self.low + of_shared
        found = np.zeros((count, k, count, k))
        groups = zip(self.pairs.row, self.pairs.column, pairwise((self.pairs.edges * e).tolist()), strict=True)
        for row, column, (begin, end) in groups:
            found[row, :, column] = product = left[begin:end].T @ right[begin:end]
            found[column, :, row] = product.T
        size = count * k - of_shared * (k - b)
        return found.reshape(count * k, -1)[:size, :size]


@dataclass(frozen=True, slots=True, eq=False)
class Bundle:
    """Couplings `first` .. `last` - 1 of all, squared together: kept blocks `low` .. `high` - 1 hold theirs."""

    first: int
    last: int
    low: int
    high: int


def bundles(tied: list[Coupling], eliminated_size: int) -> list[Bundle]:
    """All couplings in bundles: next to each other, of the same kept blocks nearly, until BLAS has work enough.

    A product is as large as the kept blocks make it, however little is summed in it.
    """
    found: list[Bundle] = []
    rows = 0
    for at, one in enumerate(tied):
        more, last = eliminated_size * (one.last - one.first), found[-1] if found else None
        if last is not None and one.pairs is None and tied[last.first].pairs is None and rows + more <= _ROWS:
            low, high = min(last.low, one.low), max(last.high, one.high)
            if (high - low) * _OF_A_BUNDLE <= min(last.high - last.low, one.high - one.low):
                found[-1], rows = Bundle(last.first, at + 1, low, high), rows + more
                continue
        found.append(Bundle(at, at + 1, one.low, one.high))
        rows = more
    return found


def squared(of: list[tuple[Coupling, np.ndarray, np.ndarray]], low: int, high: int) -> np.ndarray:
    """M^T M of `dense`."""
    one, Y, shared = of[0]
    if one.pairs is not None:
        return one.squared_by_pairs(Y, shared)
    M = dense(of, low, high)
    return M.T @ M


def dense(of: list[tuple[Coupling, np.ndarray, np.ndarray]], low: int, high: int) -> np.ndarray:
    """A bundle, couplings with their Y and shared as `Coupling.rows_of` takes them, as one matrix M over the kept
    parameters of blocks `low` .. `high` - 1 and the shared ones behind them: a row for each eliminated parameter."""
    (_, e, k), b = of[0][1].shape, len(of[0][2])
    edges = e * np.cumsum([0, *(one.last - one.first for one, _, _ in of)])
    M = np.zeros((edges[-1], (high - low) * k + b))
    for (one, Y, shared), (begin, end) in zip(of, pairwise(edges.tolist()), strict=True):
        one.rows_of(Y, shared, low, M[begin:end])
    return M


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
