"""The reduced system of the kept and the shared parameters: symmetric, its inner part dense or a band, with a border.

Where eliminated blocks touch only kept blocks near each other, as tracks shorter than the shot do, what is far from the
diagonal is zero and stays so in the Cholesky factor (Triggs et al. 2000, section 6.3): memory and time then grow with
the number of kept blocks and not with its square and cube.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import scipy.linalg
from numpy.lib.stride_tricks import as_strided
from scipy.linalg.lapack import dpbtrf, dpbtrs, dpotri, dtbtrs
from scipy.sparse import csr_array, tril

_BAND_PAYS_BELOW = 0.5  # of the size: a wider band is factored faster as a dense matrix
_INVERTED_TOGETHER = 64  # rows of a band, at least


class _Factor(Protocol):
    """As `Factor`, of the inner part alone."""

    def solve(self, right: np.ndarray) -> np.ndarray: ...
    def half_solve(self, right: np.ndarray) -> np.ndarray: ...
    def inverse(self) -> "_Inner": ...


class _Inner(Protocol):
    """A symmetric positive definite matrix over the kept parameters."""

    def copy(self) -> "_Inner": ...
    def diagonal(self) -> np.ndarray: ...
    def add_diagonal(self, values: np.ndarray) -> None: ...
    def add_blocks(self, blocks: np.ndarray, low: int) -> None: ...
    def add_sparse(self, matrix: csr_array) -> None: ...
    def add_product(self, columns: np.ndarray, inner: np.ndarray) -> None: ...
    def subtract(self, window: np.ndarray, low: int) -> None: ...
    def window(self, low: int, high: int) -> np.ndarray: ...
    def blocks(self, k: int) -> np.ndarray: ...
    def factor(self, free: np.ndarray) -> _Factor | None: ...


class _Dense:
    def __init__(self, matrix: np.ndarray):
        self.matrix = matrix

    def copy(self) -> "_Dense":
        return _Dense(self.matrix.copy())

    def diagonal(self) -> np.ndarray:
        return np.diag(self.matrix)

    def add_diagonal(self, values: np.ndarray) -> None:
        self.matrix[np.diag_indices_from(self.matrix)] += values

    def add_blocks(self, blocks: np.ndarray, low: int) -> None:
        k, count = len(blocks), len(self.matrix) // len(blocks)
        at = low // k + np.arange(blocks.shape[2])
        self.matrix.reshape(count, k, count, k)[at, :, at, :] += np.moveaxis(blocks, 2, 0)

    def add_sparse(self, matrix: csr_array) -> None:
        self.matrix += matrix.toarray()

    def add_product(self, columns: np.ndarray, inner: np.ndarray) -> None:
        self.matrix += columns @ inner @ columns.T

    def subtract(self, window: np.ndarray, low: int) -> None:
        high = low + len(window)
        self.matrix[low:high, low:high] -= window

    def window(self, low: int, high: int) -> np.ndarray:
        return self.matrix[low:high, low:high]

    def blocks(self, k: int) -> np.ndarray:
        count = len(self.matrix) // k
        at = np.arange(count)
        return np.moveaxis(self.matrix.reshape(count, k, count, k)[at, :, at, :], 0, 2)

    def factor(self, free: np.ndarray) -> _Factor | None:
        return _factored(self.matrix[np.ix_(free, free)], free)


class _Band:
    """band[j, d] is the element (j + d, j): what LAPACK calls lower band storage, transposed."""

    def __init__(self, band: np.ndarray):
        self.band = band

    def copy(self) -> "_Band":
        return _Band(self.band.copy())

    def diagonal(self) -> np.ndarray:
        return self.band[:, 0]

    def add_diagonal(self, values: np.ndarray) -> None:
        self.band[:, 0] += values

    def add_blocks(self, blocks: np.ndarray, low: int) -> None:
        k, high = len(blocks), low + len(blocks) * blocks.shape[2]
        for a in range(k):
            for c in range(a + 1):
                self.band[low + c : high : k, a - c] += blocks[a, c]

    def add_sparse(self, matrix: csr_array) -> None:
        lower = tril(matrix, format="coo")
        self.band[lower.col, lower.row - lower.col] += lower.data

    def subtract(self, window: np.ndarray, low: int) -> None:
        size = len(window)
        wide = np.zeros((size, 2 * size))
        wide[:, :size] = window
        width = min(size, self.band.shape[1])
        self.band[low : low + size, :width] -= _from_diagonal(wide)[:, :width]

    def add_product(self, columns: np.ndarray, inner: np.ndarray) -> None:
        right = columns @ inner
        for d in range(self.band.shape[1]):
            self.band[: len(columns) - d, d] += np.einsum("na,na->n", right[d:], columns[: len(columns) - d])

    def window(self, low: int, high: int) -> np.ndarray:
        """Zero beyond the band."""
        size = high - low
        wide = np.zeros((size, 2 * size))
        width = min(size, self.band.shape[1])
        _from_diagonal(wide)[:, :width] = self.band[low:high, :width]
        upper = np.triu(wide[:, :size])
        return upper + np.triu(upper, 1).T

    def blocks(self, k: int) -> np.ndarray:
        found = np.empty((k, k, len(self.band) // k))
        for a in range(k):
            for c in range(a + 1):
                found[a, c] = found[c, a] = self.band[c::k, a - c]
        return found

    def factor(self, free: np.ndarray) -> _Factor | None:
        band, width = self.band, self.band.shape[1] - 1
        if free.sum() ** 3 / 3 < len(free) * width**2:
            place = np.flatnonzero(free)
            down = place[:, None] - place
            near = (down >= 0) & (down <= width)
            return _factored(np.where(near, band[place, np.where(near, down, 0)], 0.0), free)
        if not free.all():
            band[~free] = 0.0
            for d in range(1, width + 1):
                band[:-d, d][~free[d:]] = 0.0
            band[~free, 0] = 1.0
        cholesky, info = dpbtrf(band.T, lower=1, overwrite_ab=1)
        return None if info else _BandFactor(cholesky, free)


def _from_diagonal(wide: np.ndarray) -> np.ndarray:
    """A view (n, m) of (n, n + m): every row from its diagonal on."""
    rows, columns = wide.shape
    step = wide.strides[1]
    return as_strided(wide, (rows, columns - rows), ((columns + 1) * step, step))


@dataclass(frozen=True, slots=True, eq=False)
class _BandFactor:
    cholesky: np.ndarray  # as LAPACK stores it; 1 on the diagonal and nothing beside it where not free
    free: np.ndarray

    def solve(self, right: np.ndarray) -> np.ndarray:
        return dpbtrs(self.cholesky, np.where(self.free[:, None], right, 0.0), lower=1)[0]

    def half_solve(self, right: np.ndarray) -> np.ndarray:
        return dtbtrs(self.cholesky, np.where(self.free[:, None], right, 0.0), uplo="L", trans="T")[0]

    def inverse(self) -> _Band:
        """By blocks as wide as the band, from the last one on (Takahashi et al. 1973)."""
        width, size = self.cholesky.shape
        lower, found = _Band(self.cholesky.T), np.zeros((size, width))
        block = max(width, _INVERTED_TOGETHER)
        behind = np.zeros((0, 0))  # of the inverse, the block behind
        for low in reversed(range(0, size, block)):
            high, last = min(low + block, size), min(low + 2 * block, size)
            L = np.tril(lower.window(low, last))
            inverse = scipy.linalg.solve_triangular(L[: high - low, : high - low], np.eye(high - low), lower=True)
            down = L[high - low :, : high - low] @ inverse
            across = -behind @ down
            wide = np.zeros((high - low, max(high - low + width, last - low)))
            wide[:, : high - low] = inverse.T @ inverse - down.T @ across
            wide[:, high - low : last - low] = across.T
            behind = wide[:, : high - low].copy()
            found[low:high] = _from_diagonal(wide)[:, :width]
        found[~self.free, 0] = 0.0
        return _Band(found)


def _factored(lower: np.ndarray, free: np.ndarray) -> "_DenseFactor | None":
    """Of the part that is free alone: of a solve for points that is next to nothing."""
    try:
        return _DenseFactor(scipy.linalg.cholesky(lower, lower=True, overwrite_a=True, check_finite=False), free)
    except scipy.linalg.LinAlgError:
        return None


@dataclass(frozen=True, slots=True, eq=False)
class _DenseFactor:
    cholesky: np.ndarray  # lower, of the free part
    free: np.ndarray

    def solve(self, right: np.ndarray) -> np.ndarray:
        found = np.zeros_like(right)
        found[self.free] = scipy.linalg.cho_solve((self.cholesky, True), right[self.free], check_finite=False)
        return found

    def half_solve(self, right: np.ndarray) -> np.ndarray:
        found = np.zeros_like(right)
        found[self.free] = scipy.linalg.solve_triangular(
            self.cholesky, right[self.free], trans=1, lower=True, check_finite=False
        )
        return found

    def inverse(self) -> _Dense:
        found = np.zeros((len(self.free), len(self.free)))
        if self.free.any():
            inverse = dpotri(self.cholesky, lower=1)[0]
            np.copyto(inverse, inverse.T, where=np.tri(len(inverse), k=-1, dtype=bool).T)
            found[np.ix_(self.free, self.free)] = inverse
        return _Dense(found)


class ReducedSystem:
    """Zero at first; size kept parameters, of which those more than `width` apart never meet, and shared ones."""

    def __init__(self, size: int, shared: int, width: int):
        banded = width < _BAND_PAYS_BELOW * size
        self.inner: _Inner = _Band(np.zeros((size, width + 1))) if banded else _Dense(np.zeros((size, size)))
        self.border, self.corner = np.zeros((size, shared)), np.zeros((shared, shared))

    def copy(self) -> "ReducedSystem":
        """One that may be changed without changing this one."""
        other = object.__new__(ReducedSystem)
        other.inner, other.border, other.corner = self.inner.copy(), self.border.copy(), self.corner.copy()
        return other

    def diagonal(self) -> np.ndarray:
        """Of the whole matrix."""
        return np.r_[self.inner.diagonal(), np.diag(self.corner)]

    def add_diagonal(self, values: np.ndarray) -> None:
        """Add to the diagonal of the whole matrix."""
        size = len(self.border)
        self.inner.add_diagonal(values[:size])
        self.corner[np.diag_indices_from(self.corner)] += values[size:]

    def add_blocks(self, blocks: np.ndarray, border: np.ndarray, corner: np.ndarray, low: int) -> None:
        """Add a block (k, k, blocks) of every kept block from parameter `low` on, border (k, b, blocks) and corner
        (b, b)."""
        self.inner.add_blocks(blocks, low)
        k, b, count = border.shape
        self.border[low : low + k * count] += np.moveaxis(border, 2, 0).reshape(k * count, b)
        self.corner += corner

    def add_sparse(self, matrix: csr_array) -> None:
        """Add a sparse symmetric matrix over all parameters."""
        size = len(self.border)
        if not len(self.corner):
            self.inner.add_sparse(matrix)
            return
        self.inner.add_sparse(csr_array(matrix[:size, :size]))
        self.border += matrix[:size, size:].toarray()
        self.corner += matrix[size:, size:].toarray()

    def subtract(self, product: np.ndarray, low: int) -> None:
        """Subtract a matrix over the kept parameters from `low` on and all shared ones behind them."""
        window = len(product) - len(self.corner)
        self.inner.subtract(product[:window, :window], low)
        self.border[low : low + window] -= product[:window, window:]
        self.corner -= product[window:, window:]

    def add_product(self, columns: np.ndarray, inner: np.ndarray) -> None:
        """Add columns inner columns^T, of a band what lies within it. columns (n, m); inner (m, m) symmetric."""
        kept, shared = columns[: len(self.border)], columns[len(self.border) :]
        self.inner.add_product(kept, inner)
        self.border += kept @ inner @ shared.T
        self.corner += shared @ inner @ shared.T

    def times(self, low: int, columns: np.ndarray) -> np.ndarray:
        """Times columns (n, m) over the kept parameters from `low` on and all shared ones behind them; as if nothing
        were outside these or the band."""
        count = len(columns) - len(self.corner)
        kept, shared, border = columns[:count], columns[count:], self.border[low : low + count]
        inner = self.inner.window(low, low + count) @ kept + border @ shared
        return np.concatenate([inner, border.T @ kept + self.corner @ shared])

    def blocks(self, k: int) -> np.ndarray:
        """The block (k, k, blocks) of each kept block."""
        return self.inner.blocks(k)

    def factor(self, free: np.ndarray) -> "Factor | None":
        """None where the system is not positive definite. It is used up. free (n,) bool: over all parameters."""
        size = len(self.border)
        kept, shared = free[:size], free[size:]
        inner = self.inner.factor(kept)
        if inner is None:
            return None
        border = self.border * kept[:, None] * shared
        across = inner.solve(border)
        corner = _factored((self.corner - border.T @ across)[np.ix_(shared, shared)], shared)
        return None if corner is None else Factor(inner, border, across, corner)


@dataclass(frozen=True, slots=True, eq=False)
class Factor:
    """A reduced system A = L L^T, factored. Right-hand sides are (n, m); what is not free comes out zero."""

    inner: _Factor
    border: np.ndarray  # (size, b)
    across: np.ndarray  # inner^-1 border
    corner: "_DenseFactor"  # of what the inner part leaves of the corner

    def solve(self, right: np.ndarray) -> np.ndarray:
        """A^-1 right."""
        size = len(self.border)
        found = self.inner.solve(right[:size])
        behind = self.corner.solve(right[size:] - self.border.T @ found)
        return np.concatenate([found - self.across @ behind, behind])

    def half_solve(self, right: np.ndarray) -> np.ndarray:
        """L^-T right: of white noise, a draw from a Gaussian of covariance A^-1."""
        size = len(self.border)
        behind = self.corner.half_solve(right[size:])
        return np.concatenate([self.inner.half_solve(right[:size]) - self.across @ behind, behind])

    def inverse(self) -> ReducedSystem:
        """A^-1, of a band as much of it as lies within the band."""
        found = object.__new__(ReducedSystem)
        found.inner, found.corner = self.inner.inverse(), self.corner.inverse().matrix
        found.border = -self.across @ found.corner
        found.inner.add_product(self.across, found.corner)
        return found
