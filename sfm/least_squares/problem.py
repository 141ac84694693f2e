"""What a robust least-squares problem is: residuals in slices, losses, options, how a solve ended."""

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import Literal, Protocol

import numpy as np
from scipy.sparse import csr_array

_SLICE = 8192  # observations worked on together: their Jacobians fit the cache

LossName = Literal["squared", "huber", "soft_l1", "cauchy"]


@dataclass(frozen=True, slots=True)
class Loss:
    """A robust loss: rho(s) = s for small squared norms s, slower beyond the knee (in the unit of sqrt(s))."""

    name: LossName = "squared"

    def __call__(self, s: np.ndarray, knee: np.ndarray | float) -> tuple[np.ndarray, np.ndarray]:
        """rho(s) and its derivative, each shaped like s."""
        c2 = knee**2
        if self.name == "squared":
            return s, np.ones_like(s)
        if self.name == "huber":
            root = np.sqrt(np.maximum(s, c2))
            return np.where(s <= c2, s, 2 * knee * root - c2), knee / root
        if self.name == "soft_l1":
            root = np.sqrt(1 + s / c2)
            return 2 * c2 * (root - 1), 1 / root
        return c2 * np.log1p(s / c2), 1 / (1 + s / c2)


Losses = tuple[tuple[slice, Loss, np.ndarray | float], ...]  # rows that are one robust unit, their loss, its knee


@dataclass(frozen=True, slots=True, eq=False)
class Linearization:
    """Residuals and Jacobians of n observations of `rows` residuals each; arrays row-major, observations last.

    residuals (rows, n); kept (rows, k, n); eliminated (rows, e, n); shared (rows, b, n): derivatives by the
    observation's own kept block, its eliminated block and the shared parameters.
    """

    residuals: np.ndarray
    kept: np.ndarray
    eliminated: np.ndarray
    shared: np.ndarray

    def along(self, kept: np.ndarray, shared: np.ndarray, eliminated: np.ndarray | None) -> np.ndarray:
        """Derivative (rows, n) along a change of each observation's kept block (k, n), the shared parameters (b,) and
        each one's eliminated block (e, n), None where these are held."""
        change = np.einsum("rkn,kn->rn", self.kept, kept) + np.einsum("rbn,b->rn", self.shared, shared)
        return change if eliminated is None else change + np.einsum("ren,en->rn", self.eliminated, eliminated)


class Evaluation(Protocol):
    """A problem at one parameter vector; observations are asked for in slices, so memory stays bounded."""

    def residuals(self, rows: slice) -> np.ndarray:
        """Residuals (rows, n) of a slice of the observations."""
        ...

    def linearize(self, rows: slice) -> Linearization:
        """Residuals and Jacobians of a slice of the observations."""
        ...

    def prior(self) -> tuple[np.ndarray, csr_array]:
        """Residuals (m,) that touch kept and shared parameters only, and their Jacobian (m, kept and shared)."""
        ...


class Problem(Protocol):
    """What the solvers need to know. Parameters are one vector: kept blocks, then shared, then eliminated blocks.

    kept_index, eliminated_index (n,): the blocks each observation touches, eliminated_index sorted;
    free (num_kept * kept_size + num_shared,) bool: parameters that may change (a gauge fixes some);
    losses: rows of the residual that are one robust unit, their loss and its knee, one number or one an observation;
    cuts (m,) int: observations before which a slice ends, where what follows touches kept blocks far from those before.
    """

    num_kept: int
    kept_size: int
    num_shared: int
    num_eliminated: int
    eliminated_size: int
    kept_index: np.ndarray
    eliminated_index: np.ndarray
    free: np.ndarray
    losses: Losses
    cuts: np.ndarray

    def at(self, x: np.ndarray) -> Evaluation:
        """The problem at a parameter vector."""
        ...


class Status(Enum):
    """How a solve ended, in words."""

    CONVERGED = "Converged: another step would lower the cost by less than the tolerance."
    MAX_ITERATIONS = "Stopped at the iteration limit: the result is usable, but raise max_iterations to be sure."
    TIME_LIMIT = "Stopped at the time limit: the result is usable, but not the minimum."
    STOPPED = "Stopped by the caller: the best result so far is returned."
    NO_PROGRESS = "No step lowered the cost: already at the minimum within rounding, or the problem is degenerate."


@dataclass(frozen=True, slots=True)
class SolverOptions:
    """How long to try."""

    max_iterations: int = 50  # accepted or rejected steps
    cost_tolerance: float = 1e-7  # stop when a step lowers the cost by less than this part of it
    initial_damping: float = 1e-4  # relative to the diagonal of the normal equations
    time_limit_s: float = float("inf")
    callback: Callable[[int, float], bool] | None = None  # (iteration, cost) -> True stops


@dataclass(frozen=True, slots=True)
class SolverReport:
    """What a solver did: status, iterations tried, cost before and after (half the sum of robust squares)."""

    status: Status
    iterations: int
    initial_cost: float
    cost: float
    costs: tuple[float, ...] = field(default=(), repr=False)


def knee_of(knee: np.ndarray | float, rows: slice) -> np.ndarray | float:
    """The knee of a slice of the observations: one for all, or one for each."""
    return knee[rows] if isinstance(knee, np.ndarray) else knee


def robust_weights(problem: Problem, residuals: np.ndarray, rows: slice) -> np.ndarray:
    """What the losses leave of each residual of a slice, (rows, n): of its square."""
    weights = np.empty_like(residuals)
    for unit, loss, knee in problem.losses:
        weights[unit] = loss((residuals[unit] ** 2).sum(0), knee_of(knee, rows))[1]
    return weights


def slices(problem: Problem) -> list[slice]:
    """Observations in slices that end where an eliminated block ends and fit the cache."""
    index = problem.eliminated_index
    n = len(index)
    regular = np.searchsorted(index, index[np.arange(_SLICE, n, _SLICE)])
    ends = np.unique(np.r_[regular, problem.cuts, n].astype(int))
    return [slice(int(a), int(b)) for a, b in zip(np.r_[0, ends[:-1]], ends, strict=True) if b > a]
