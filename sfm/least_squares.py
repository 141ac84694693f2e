"""Robust non-linear least squares with a Schur complement; knows no camera.

The problem has many small *eliminated* blocks (points) and few *kept* blocks (frames), each residual touching one of
either, plus *shared* parameters (a focal length) and a sparse prior on what is kept. Levenberg-Marquardt after Nielsen
1999, points eliminated as in Triggs et al. 2000 section 6.1, robust losses by iterative re-weighting. One step solves

    [ U + D   W     ] [dx_kept      ]   [g_kept      ]         S = U + D - W (V + D)^-1 W^T   (dense, symmetric)
    [ W^T     V + D ] [dx_eliminated] = [g_eliminated]
"""

import logging
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from enum import Enum
from functools import cache
from typing import Literal, Protocol

import numpy as np
import scipy.linalg
import scipy.optimize
from scipy.sparse import block_array, csr_array, hstack
from threadpoolctl import threadpool_limits

logger = logging.getLogger(__name__)

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
    losses: rows of the residual that are one robust unit, their loss and its knee, one number or one an observation.
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


def _knee(knee: np.ndarray | float, rows: slice) -> np.ndarray | float:
    return knee[rows] if isinstance(knee, np.ndarray) else knee


def robust_cost(problem: Problem, x: np.ndarray, units: slice = slice(None)) -> float:
    """Half the sum of rho over observations plus half the squared prior residuals; infinite if not finite.

    units: which of `problem.losses` to count; the prior is counted only with all of them.
    """
    at = problem.at(x)

    def part(rows: slice) -> float:
        residuals = at.residuals(rows)
        costs = (loss((residuals[u] ** 2).sum(0), _knee(knee, rows))[0] for u, loss, knee in problem.losses[units])
        return sum(float(c.sum()) for c in costs)

    prior = at.prior()[0] if units == slice(None) else np.zeros(0)
    total = sum(_in_threads(part, _slices(problem))) + float(prior @ prior)
    return 0.5 * total if np.isfinite(total) else float("inf")


def _slices(problem: Problem) -> list[slice]:
    """Observations in slices that end where an eliminated block ends and fit the cache."""
    index = problem.eliminated_index
    n = len(index)
    ends = np.unique(np.r_[np.searchsorted(index, index[np.arange(_SLICE, n, _SLICE)]), n]) if n else [0]
    return [slice(int(a), int(b)) for a, b in zip(np.r_[0, ends[:-1]], ends, strict=True) if b > a]


@cache
def _pool() -> ThreadPoolExecutor:
    """Threads kept for the life of the program: starting them anew for every step would cost as much as the step."""
    return ThreadPoolExecutor(os.cpu_count())


def _in_threads(function: Callable, items: list) -> list:
    """Map in order; NumPy leaves the interpreter lock while it works, and BLAS is held to one thread meanwhile."""
    return list(_pool().map(function, items))


def levenberg_marquardt(
    problem: Problem, x: np.ndarray, options: SolverOptions = SolverOptions()
) -> tuple[np.ndarray, SolverReport]:
    """Minimise the robust cost from x. Returns the best parameters found and what happened; never raises for a bad fit.

    Limit: the reduced system is dense, so memory grows with the square of `num_kept`.
    """
    with threadpool_limits(1, "blas"):  # our own threads share the work; BLAS threads on top would only wait
        return _levenberg_marquardt(problem, x, options)


def _levenberg_marquardt(problem: Problem, x: np.ndarray, options: SolverOptions) -> tuple[np.ndarray, SolverReport]:
    started = time.perf_counter()
    cost = robust_cost(problem, x)
    costs, damping, growth = [cost], options.initial_damping, 2.0
    system, status, iteration = None, Status.MAX_ITERATIONS, 0
    for iteration in range(1, options.max_iterations + 1):
        system = system or NormalEquations(problem, x)
        step, predicted = system.solve(damping)
        candidate = x + step
        candidate_cost = robust_cost(problem, candidate) if predicted > 0 else float("inf")
        gain = (cost - candidate_cost) / predicted if predicted > 0 else -1.0
        logger.debug("iteration %d: cost %.6f -> %.6f, damping %.1e", iteration, cost, candidate_cost, damping)
        negligible = predicted < options.cost_tolerance * cost
        if gain > 0:
            if negligible and cost - candidate_cost < options.cost_tolerance * cost:
                status = Status.CONVERGED
            x, cost, system = candidate, candidate_cost, None
            damping, growth = max(damping * max(1 / 10, 1 - (2 * gain - 1) ** 3), 1e-12), 2.0
        else:
            damping, growth = damping * growth, growth * 2
            if 0 <= predicted and negligible:
                status = Status.CONVERGED
            elif damping > 1e10:
                status = Status.NO_PROGRESS
        costs.append(cost)
        if status is Status.MAX_ITERATIONS and time.perf_counter() - started > options.time_limit_s:
            status = Status.TIME_LIMIT
        if options.callback is not None and options.callback(iteration, cost):
            status = Status.STOPPED
        if status is not Status.MAX_ITERATIONS:
            break
    return x, SolverReport(status, iteration, costs[0], cost, tuple(costs))


@dataclass(slots=True, eq=False)
class _Part:
    """The normal equations of one slice of observations, whole eliminated blocks `first` .. `last` - 1.

    W (k, e, n) couples each observation's kept block with its eliminated one; W_shared (b, e, blocks); V (e, e, blocks)
    and g (e, blocks) belong to the eliminated blocks; kept (n,) indexes kept blocks, starts (blocks,) observations.
    """

    first: int
    last: int
    kept: np.ndarray
    block: np.ndarray
    starts: np.ndarray
    W: np.ndarray
    W_shared: np.ndarray
    V: np.ndarray
    g: np.ndarray
    L_inv: np.ndarray = field(default_factory=lambda: np.zeros(0))
    damping: np.ndarray = field(default_factory=lambda: np.zeros(0))

    def by_block(self, values: np.ndarray) -> np.ndarray:
        """Sum over the observations of each block, last axis n -> blocks."""
        return np.add.reduceat(values, self.starts, axis=-1)

    def apply_v_inverse(self, v: np.ndarray) -> np.ndarray:
        """(V + D)^-1 v for every block, v (e, blocks)."""
        return np.einsum("bap,bp->ap", self.L_inv, np.einsum("bcp,cp->bp", self.L_inv, v))


class NormalEquations:
    """The normal equations of one linearisation, ready to be solved at any damping."""

    def __init__(self, problem: Problem, x: np.ndarray):
        self.problem = problem
        self.size = problem.num_kept * problem.kept_size
        at = problem.at(x)
        residuals, J = at.prior()
        self.U, self.g = (J.T @ J).toarray(), -(J.T @ residuals)
        self.parts: list[_Part] = []
        for part, U, border, corner, g in _in_threads(lambda rows: self._part(at, rows), _slices(problem)):
            self._add(U, border, corner, g)
            if part is not None:
                self.parts.append(part)

    def _part(self, at: Evaluation, rows: slice):
        """One slice: its `_Part` and sums over it for the kept blocks, the border and the corner of U, and g."""
        problem = self.problem
        lin, kept = at.linearize(rows), problem.kept_index[rows]
        weights = np.empty_like(lin.residuals)
        for unit, loss, knee in problem.losses:
            weights[unit] = np.sqrt(loss((lin.residuals[unit] ** 2).sum(0), _knee(knee, rows))[1])
        r = lin.residuals * weights
        A, B, C = (J * weights[:, None] for J in (lin.kept, lin.eliminated, lin.shared))
        k, b = problem.kept_size, problem.num_shared
        by_frame = lambda v: np.bincount(kept, v, problem.num_kept)  # noqa: E731
        U, g = np.zeros((k, k, problem.num_kept)), np.zeros((k + b, problem.num_kept))
        border = np.zeros((k, b, problem.num_kept))
        for a in range(k):
            g[a] = by_frame((A[:, a] * r).sum(0))
            for c in range(a + 1):
                U[a, c] = U[c, a] = by_frame((A[:, a] * A[:, c]).sum(0))
            for c in range(b):
                border[a, c] = by_frame((A[:, a] * C[:, c]).sum(0))
        for c in range(b):
            g[k + c, 0] = (C[:, c] * r).sum()
        corner = np.einsum("ran,rbn->ab", C, C)
        if not problem.num_eliminated:
            return None, U, border, corner, g
        index = problem.eliminated_index[rows]
        first, last = int(index[0]), int(index[-1]) + 1
        starts = np.searchsorted(index, np.arange(first, last))
        if np.any(np.diff(np.r_[starts, len(index)]) == 0):
            raise ValueError("eliminated_index: got a block without observations, expected at least one each")
        by_block = lambda v: np.add.reduceat(v, starts, axis=-1)  # noqa: E731
        W = np.einsum("ran,rbn->abn", A, B)
        part = _Part(
            first, last, kept, index - first, starts, W, by_block(np.einsum("ran,rbn->abn", C, B)),
            by_block(np.einsum("ran,rbn->abn", B, B)), by_block(-np.einsum("ran,rn->an", B, r)),
        )  # fmt: skip
        return part, U, border, corner, g

    def _add(self, U: np.ndarray, border: np.ndarray, corner: np.ndarray, g: np.ndarray) -> None:
        """Add a slice's sums to U and g."""
        problem, k, size = self.problem, self.problem.kept_size, self.size
        diagonal = self.U[:size, :size].reshape(problem.num_kept, k, problem.num_kept, k)
        frames = np.arange(problem.num_kept)
        diagonal[frames, :, frames, :] += np.moveaxis(U, 2, 0)
        self.g[:size] -= g[:k].T.ravel()
        if problem.num_shared:
            across = np.moveaxis(border, 2, 0).reshape(size, -1)
            self.U[:size, size:] += across
            self.U[size:, :size] += across.T
            self.U[size:, size:] += corner
            self.g[size:] -= g[k:].sum(1)

    def factor(self, damping: float) -> bool:
        """Eliminate and factor at this damping; False when the reduced system is not positive definite."""
        S = self.U.copy()
        self.damping = damping * np.maximum(np.diag(S), 1e-12)
        S[np.diag_indices_from(S)] += self.damping
        for product, span in _in_threads(lambda p: self._eliminate(p, damping), self.parts):
            window = span.stop - span.start
            S[span, span] -= product[:window, :window]
            if self.problem.num_shared:
                S[self.size :, span] -= product[window:, :window]
                S[span, self.size :] -= product[:window, window:]
                S[self.size :, self.size :] -= product[window:, window:]
        free = self.problem.free
        try:
            self.cholesky = scipy.linalg.cho_factor(S[np.ix_(free, free)], lower=True, check_finite=False)
        except scipy.linalg.LinAlgError:
            return False
        return True

    def _eliminate(self, part: _Part, damping: float) -> tuple[np.ndarray, slice]:
        """W V^-1 W^T of a part: W L^-T is scattered into a dense matrix over the frames it touches, BLAS squares it."""
        problem, k, e = self.problem, self.problem.kept_size, self.problem.eliminated_size
        diagonal = np.einsum("aap->ap", part.V)
        # a block whose direction nothing measures must not take steps of any length
        part.damping = damping * np.maximum(diagonal, 1e-6 * diagonal.max(0) + 1e-12)
        part.L_inv = _inverse_cholesky(part.V + np.einsum("ab,ap->abp", np.eye(e), part.damping))
        low, high, count = int(part.kept.min()), int(part.kept.max()) + 1, part.last - part.first
        M = np.zeros(((high - low) * k + problem.num_shared, count * e))
        Y = np.einsum("abn,cbn->nac", part.W, part.L_inv[:, :, part.block])
        M[: (high - low) * k].reshape(high - low, k, count, e)[part.kept - low, :, part.block] = Y
        if problem.num_shared:
            Z = np.einsum("abp,cbp->apc", part.W_shared, part.L_inv)
            M[(high - low) * k :] = Z.reshape(problem.num_shared, -1)
        return M @ M.T, slice(low * k, high * k)

    def solve(self, damping: float) -> tuple[np.ndarray, float]:
        """The damped step over all parameters and the decrease of the cost it predicts (-1 if there is none)."""
        blocks = [part.g for part in self.parts]
        if not (np.isfinite(self.g).all() and all(np.isfinite(g).all() for g in blocks) and self.factor(damping)):
            return np.zeros(len(self.g) + self.problem.num_eliminated * self.problem.eliminated_size), -1.0
        step, block_steps = self.back_substitute(self.g, blocks)
        gain = step @ (self.damping * step + self.g)
        for part, inner in zip(self.parts, block_steps, strict=True):
            gain += np.sum(inner * (part.damping * inner + part.g))
        full = np.concatenate([step, *(inner.T.ravel() for inner in block_steps)])
        return (full, 0.5 * float(gain)) if np.isfinite(full).all() else (full, -1.0)

    def back_substitute(self, g: np.ndarray, blocks: list[np.ndarray]) -> tuple[np.ndarray, list[np.ndarray]]:
        """Solve the factored system for a right-hand side: kept and shared (m,), and (e, blocks) of every part."""
        problem, k, size = self.problem, self.problem.kept_size, self.size
        reduced = g.copy()
        for part, inner in zip(self.parts, blocks, strict=True):
            inner = part.apply_v_inverse(inner)
            coupling = np.einsum("abn,bn->an", part.W, inner[:, part.block])
            for a in range(k):
                reduced[a:size:k] -= np.bincount(part.kept, coupling[a], problem.num_kept)
            reduced[size:] -= np.einsum("abp,bp->a", part.W_shared, inner)
        step = np.zeros(len(g))
        step[problem.free] = scipy.linalg.cho_solve(self.cholesky, reduced[problem.free], check_finite=False)
        frames = step[:size].reshape(-1, k).T
        back = []
        for part, inner in zip(self.parts, blocks, strict=True):
            coupling = part.by_block(np.einsum("abn,an->bn", part.W, frames[:, part.kept]))
            coupling += np.einsum("abp,a->bp", part.W_shared, step[size:])
            back.append(part.apply_v_inverse(inner - coupling))
        return step, back

    def quadratic_form(self, at: Evaluation, unit: int, signs: np.ndarray) -> float:
        """z^T J H^-1 J^T z of the factored system: J the weighted rows of one unit, z (rows, n) signs."""
        problem, k, size = self.problem, self.problem.kept_size, self.size
        rows_of, loss, knee = problem.losses[unit]
        g, blocks = np.zeros(len(self.g)), []
        for rows in _slices(problem):
            lin = at.linearize(rows)
            r = lin.residuals[rows_of]
            z = np.sqrt(loss((r**2).sum(0), _knee(knee, rows))[1]) * signs[:, rows]
            for a in range(k):
                g[a:size:k] += np.bincount(
                    problem.kept_index[rows], (lin.kept[rows_of, a] * z).sum(0), problem.num_kept
                )
            g[size:] += np.einsum("rbn,rn->b", lin.shared[rows_of], z)
            blocks.append(np.einsum("ren,rn->en", lin.eliminated[rows_of], z))
        blocks = [part.by_block(values) for part, values in zip(self.parts, blocks, strict=True)]
        step, inner = self.back_substitute(g, blocks)
        return float(g @ step + sum(np.sum(a * b) for a, b in zip(blocks, inner, strict=True)))


def effective_parameters(problem: Problem, x: np.ndarray, unit: int, probes: int = 4, seed: int = 0) -> float:
    """How many parameters the residuals of one unit of `problem.losses` decide: tr(H^-1 J^T J), J that unit's rows.

    A stochastic trace (Hutchinson 1990) with the same random signs at every call, so differences between similar
    problems are far better known than the number itself.
    """
    with threadpool_limits(1, "blas"):
        system = NormalEquations(problem, x)
        if not system.factor(1e-9):
            return float("nan")
        rng = np.random.default_rng(seed)
        rows = len(problem.at(x).residuals(slice(0, 1))[problem.losses[unit][0]])
        signs = rng.choice([-1.0, 1.0], (probes, rows, len(problem.kept_index)))
        return float(np.mean([system.quadratic_form(problem.at(x), unit, z) for z in signs]))


def _inverse_cholesky(V: np.ndarray) -> np.ndarray:
    """L^-1 with V = L L^T for a stack of small symmetric matrices (e, e, blocks)."""
    L = np.linalg.cholesky(np.moveaxis(V, 2, 0))
    return np.moveaxis(np.linalg.solve(L, np.broadcast_to(np.eye(len(V)), L.shape)), 0, 2)


def scipy_least_squares(
    problem: Problem, x: np.ndarray, options: SolverOptions = SolverOptions()
) -> tuple[np.ndarray, SolverReport]:
    """The same minimum by `scipy.optimize.least_squares`: the reference the fast solver is held to.

    SciPy's own losses act on single numbers, ours on norms of several rows, so each robust unit is scaled by
    sqrt(rho(s) / s): the sum of squares is then the robust cost itself.
    """
    free = np.r_[problem.free, np.ones(problem.num_eliminated * problem.eliminated_size, bool)]
    columns = np.flatnonzero(free)

    def at(free_x: np.ndarray) -> np.ndarray:
        full = x.copy()
        full[columns] = free_x
        return full

    def fun(free_x: np.ndarray) -> np.ndarray:
        evaluation = problem.at(at(free_x))
        return np.r_[_robustify(problem, evaluation.residuals(slice(None)))[0].ravel(), evaluation.prior()[0]]

    def jac(free_x: np.ndarray) -> csr_array:
        return csr_array(sparse_jacobian(problem, at(free_x))[:, columns])

    before = robust_cost(problem, x)
    result = scipy.optimize.least_squares(
        fun, x[columns], jac=jac,  # pyright: ignore[reportArgumentType]
        method="trf", tr_solver="lsmr", x_scale="jac", max_nfev=options.max_iterations * 10,
        ftol=options.cost_tolerance * 1e-3, xtol=1e-14, gtol=1e-14, tr_options={"maxiter": 10 * len(columns)},
    )  # fmt: skip
    status = Status.CONVERGED if result.status > 0 else Status.MAX_ITERATIONS
    return at(result.x), SolverReport(status, int(result.nfev), before, float(result.cost))


def _robustify(problem: Problem, residuals: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scaled residuals, the scale m = sqrt(rho(s) / s) and dm/ds, each (rows, n)."""
    scale, slope = np.ones_like(residuals), np.zeros_like(residuals)
    for rows, loss, knee in problem.losses:
        s = (residuals[rows] ** 2).sum(0)
        curved = s > 1e-12 * np.square(knee)  # nearer to zero every loss is its square
        s = np.where(curved, s, np.square(knee))
        rho, derivative = loss(s, knee)
        m = np.sqrt(rho / s)
        scale[rows] = np.where(curved, m, 1.0)
        slope[rows] = np.where(curved, (derivative * s - rho) / (2 * m * s * s), 0.0)
    return residuals * scale, scale, slope


def sparse_jacobian(problem: Problem, x: np.ndarray) -> csr_array:
    """Jacobian (rows * n + m, parameters) of the robustified residuals, for solvers that want one matrix."""
    evaluation = problem.at(x)
    lin = evaluation.linearize(slice(None))
    _, scale, slope = _robustify(problem, lin.residuals)
    rows, n = lin.residuals.shape
    k, b, e = problem.kept_size, problem.num_shared, problem.eliminated_size if problem.num_eliminated else 0
    dense = np.concatenate([lin.kept, lin.shared, lin.eliminated[:, :e]], axis=1)
    scaled = dense * scale[:, None]
    for unit, _, _ in problem.losses:
        inner = np.einsum("rn,rcn->cn", lin.residuals[unit], dense[unit])
        scaled[unit] += 2 * (slope[unit] * lin.residuals[unit])[:, None] * inner[None]
    size = problem.num_kept * k + b
    columns = np.concatenate(
        [
            problem.kept_index * k + np.arange(k)[:, None],
            np.broadcast_to(problem.num_kept * k + np.arange(b)[:, None], (b, n)),
            size + problem.eliminated_index * e + np.arange(e)[:, None],
        ]
    )
    row_index = np.broadcast_to(np.arange(rows * n).reshape(rows, 1, n), scaled.shape)
    column_index = np.broadcast_to(columns[None], scaled.shape)
    shape = (rows * n, size + problem.num_eliminated * e)
    observed = csr_array((scaled.ravel(), (row_index.ravel(), column_index.ravel())), shape)
    prior = evaluation.prior()[1]
    prior = hstack([prior, csr_array((len(evaluation.prior()[0]), shape[1] - size))])
    return csr_array(block_array([[observed], [prior]]))
