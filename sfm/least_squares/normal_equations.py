"""One linearisation of a problem, solved at any damping: points eliminated (Triggs et al. 2000, section 6.1).

[ U + D   W     ] [dx_kept      ]   [g_kept      ]         S = U + D - W (V + D)^-1 W^T
[ W^T     V + D ] [dx_eliminated] = [g_eliminated]
"""

from dataclasses import dataclass, field

import numpy as np
from scipy.sparse import csr_array

from sfm.least_squares.coupling import Bundle, Coupling, bundles, couplings, dense, squared
from sfm.least_squares.problem import Problem, robust_weights
from sfm.least_squares.reduced_system import ReducedSystem
from sfm.least_squares.ties import TiedSystem, ties_of
from sfm.threads import each_in_threads, in_threads

_NEXT_TO_NONE = 1e-12  # damping, where covariances are asked for


@dataclass(slots=True, eq=False)
class Part:
    """The normal equations of one slice of observations.

    W (k, e, n) couples each observation's kept block with its eliminated one; W_shared (b, e, blocks); V (e, e, blocks)
    and g (e, blocks) belong to the eliminated blocks.
    """

    coupling: Coupling
    W: np.ndarray
    W_shared: np.ndarray
    V: np.ndarray
    g: np.ndarray
    L_inv: np.ndarray = field(default_factory=lambda: np.zeros(0))
    damping: np.ndarray = field(default_factory=lambda: np.zeros(0))

    def apply_v_inverse(self, v: np.ndarray) -> np.ndarray:
        """(V + D)^-1 v for every block, v (e, blocks)."""
        return np.einsum("bap,bp->ap", self.L_inv, np.einsum("bcp,cp->bp", self.L_inv, v))

    def whitened(self) -> tuple[np.ndarray, np.ndarray]:
        """W L^-T of the observations (n, e, k) and of the shared parameters (b, e, blocks)."""
        by_observation = self.L_inv.take(self.coupling.block, axis=2)
        of_shared = np.einsum("abp,cbp->acp", self.W_shared, self.L_inv)
        return np.einsum("abn,cbn->nca", self.W, by_observation), of_shared


@dataclass(frozen=True, slots=True, eq=False)
class Pattern:
    """What a problem's normal equations have in common: couplings, and of a prior whose Jacobian is `J` its part of
    them (n, n) over kept and shared parameters, and how far apart two kept ones may be that something ties together."""

    tied: list[Coupling]
    J: csr_array
    prior: csr_array
    width: int

    @classmethod
    def of(cls, problem: Problem, J: csr_array, known: "Pattern | None" = None) -> "Pattern":
        """Of a problem with that Jacobian of its prior; known: of the same problem, perhaps with another."""
        if known is not None and known.J is J:
            return known
        prior = csr_array(J.T @ J)
        return cls(couplings(problem) if known is None else known.tied, J, prior, _width(problem, prior))


class NormalEquations:
    """The normal equations of one linearisation, ready to be solved at any damping.

    known: the `pattern` of the same problem's at another parameter vector.
    """

    def __init__(self, problem: Problem, x: np.ndarray, known: Pattern | None = None):
        self.problem, self.x = problem, x
        self.size = problem.num_kept * problem.kept_size
        self.at = at = problem.at(x)
        residuals, J = at.prior()
        self.pattern, self.g = Pattern.of(problem, J, known), -(J.T @ residuals)
        self.U = ReducedSystem(self.size, problem.num_shared, self.pattern.width)
        self.U.add_sparse(self.pattern.prior)
        self.parts: list[Part] = []
        k = problem.kept_size
        tied = self.pattern.tied
        sums = each_in_threads(self._part, tied)
        for coupling, (part, U, border, corner, g) in zip(tied, sums, strict=True):
            low, high = coupling.low * k, coupling.high * k
            self.U.add_blocks(U, border, corner, low)
            self.g[low:high] -= g[:k].T.ravel()
            self.g[self.size :] -= g[k:].sum(1)
            if part is not None:
                self.parts.append(part)
        self._bundles = bundles(tied, problem.eliminated_size) if self.parts else []
        ties = ties_of(at)
        self.tied = None if ties is None else TiedSystem(ties, self.parts, self.size, len(self.g))

    def _part(self, coupling: Coupling):
        """One slice: its `Part` and sums over it for the kept blocks it may touch, the border and the corner of U,
        and g."""
        problem, rows = self.problem, coupling.rows
        lin = self.at.linearize(rows)
        weights = np.sqrt(robust_weights(problem, lin.residuals, rows))
        r = lin.residuals * weights
        A, B, C = (J * weights[:, None] for J in (lin.kept, lin.eliminated, lin.shared))
        k, b = problem.kept_size, problem.num_shared
        count = coupling.high - coupling.low
        by_frame, by_block = coupling.by_kept_block, coupling.by_block
        U, g, border = np.zeros((k, k, count)), np.zeros((k + b, count)), np.zeros((k, b, count))
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
        part = Part(
            coupling, np.einsum("ran,rbn->abn", A, B), by_block(np.einsum("ran,rbn->abn", C, B)),
            by_block(np.einsum("ran,rbn->abn", B, B)), by_block(-np.einsum("ran,rn->an", B, r)),
        )  # fmt: skip
        return part, U, border, corner, g

    def factor(self, damping: float, of_blocks: np.ndarray | None = None) -> bool:
        """Eliminate and factor at this damping; False when the reduced system is not positive definite.

        of_blocks (blocks,): damping of each eliminated block, where it is more.
        """
        S = self.U.copy()
        self.damping = damping * np.maximum(S.diagonal(), 1e-12)
        S.add_diagonal(self.damping)
        own = np.maximum(damping, np.zeros(self.problem.num_eliminated) if of_blocks is None else of_blocks)
        products = each_in_threads(lambda bundle: self._eliminate(bundle, own), self._bundles)
        for bundle, product in zip(self._bundles, products, strict=True):
            S.subtract(product, bundle.low * self.problem.kept_size)
        reduced = S.factor(self.problem.free)
        if reduced is not None:
            self.reduced = reduced
        return reduced is not None

    def _eliminate(self, bundle: Bundle, of_blocks: np.ndarray) -> np.ndarray:
        """W V^-1 W^T of a bundle of parts over the kept parameters that it may touch and the shared ones."""
        parts = self.parts[bundle.first : bundle.last]
        for part in parts:
            self._damp(part, of_blocks[part.coupling.first : part.coupling.last])
        return squared([(part.coupling, *part.whitened()) for part in parts], bundle.low, bundle.high)

    def _damp(self, part: Part, damping: np.ndarray | float) -> None:
        diagonal = np.einsum("aap->ap", part.V)
        # a block whose direction nothing measures must not take steps of any length
        part.damping = damping * np.maximum(diagonal, 1e-6 * diagonal.max(0) + 1e-12)
        V = part.V + np.einsum("ab,ap->abp", np.eye(len(part.V)), part.damping)
        part.L_inv = _inverse_cholesky(V)

    def solve(self, damping: float, of_blocks: np.ndarray | None = None) -> tuple[np.ndarray, float]:
        """The step over all parameters, damped as `factor` says, and the decrease of the cost it predicts (-1 if there
        is none)."""
        blocks = [part.g for part in self.parts]
        finite = np.isfinite(self.g).all() and all(np.isfinite(g).all() for g in blocks)
        if not (finite and self.factor(damping, of_blocks)):
            return np.zeros(len(self.g) + self.problem.num_eliminated * self.problem.eliminated_size), -1.0
        step, block_steps = self.answer(self.g, blocks)
        gain = step @ (self.damping * step + self.g)
        for part, inner in zip(self.parts, block_steps, strict=True):
            gain += np.sum(inner * (part.damping * inner + part.g))
        full = self.joined(step, block_steps)
        return (full, 0.5 * float(gain)) if np.isfinite(full).all() else (full, -1.0)

    def answer(self, g: np.ndarray, blocks: list[np.ndarray]) -> tuple[np.ndarray, list[np.ndarray]]:
        """As `back_substitute`, of a factored system, and with what ties eliminated blocks to each other."""
        step, block_steps = self.back_substitute(g, blocks)
        if self.tied is None:
            return step, block_steps
        return self.back_substitute(g, self.tied.relieved(self.reduced, blocks, block_steps))

    def split(self, step: np.ndarray) -> list[np.ndarray]:
        """Of a step over all parameters that of every part's eliminated blocks, (e, blocks)."""
        blocks = step[len(self.g) :].reshape(-1, self.problem.eliminated_size).T
        return [blocks[:, part.coupling.first : part.coupling.last] for part in self.parts]

    def joined(self, step: np.ndarray, block_steps: list[np.ndarray]) -> np.ndarray:
        """A step over all parameters, from that of the kept and shared ones and what `split` gives."""
        return np.concatenate([step, *(inner.T.ravel() for inner in block_steps)])

    def damped_square(self, step: np.ndarray, block_steps: list[np.ndarray]) -> float:
        """Squared length of a step of the factored system, each parameter by its damping."""
        own = sum(
            float(np.sum(inner * part.damping * inner)) for part, inner in zip(self.parts, block_steps, strict=True)
        )
        return float(step @ (self.damping * step)) + own

    def covariance(self) -> ReducedSystem | None:
        """Covariance of the kept and shared parameters, all others free to follow, of a band what lies within it;
        zero of what is fixed, very large of what nothing measures, None where the system cannot be factored."""
        return self.reduced.inverse() if self.factor(_NEXT_TO_NONE) else None

    def eliminated_covariance(self, covariance: ReducedSystem) -> np.ndarray:
        """Covariances (e, e, blocks) of the eliminated blocks, the kept and shared parameters having this one."""
        e = self.problem.eliminated_size

        def of(part: Part) -> np.ndarray:
            self._damp(part, _NEXT_TO_NONE)
            low, high = part.coupling.low, part.coupling.high
            M = dense([(part.coupling, *part.whitened())], low, high)
            spread = covariance.times(low * self.problem.kept_size, M.T).T
            inner = np.einsum("pam,pbm->abp", *(v.reshape(-1, e, M.shape[1]) for v in (M, spread)))
            inner += np.eye(len(inner))[:, :, None]
            return np.einsum("cap,cdp,dbp->abp", part.L_inv, inner, part.L_inv, optimize=True)

        return np.concatenate([np.zeros((e, e, 0)), *in_threads(of, self.parts)], axis=2)

    def eliminated_information(self) -> np.ndarray:
        """Of the eliminated blocks (e, e, blocks), all others held."""
        e = self.problem.eliminated_size
        return np.concatenate([np.zeros((e, e, 0)), *(part.V for part in self.parts)], axis=2)

    def through_eliminated(self, weights: np.ndarray) -> np.ndarray:
        """What a weighted sum over the eliminated blocks, weights (e, blocks), is of the kept and shared parameters
        (m,) when the blocks follow these. Of a factored system."""
        found = np.zeros(len(self.g))
        for part in self.parts:
            found -= self._pulled(part, part.apply_v_inverse(weights[:, part.coupling.first : part.coupling.last]))
        return found

    def follow(self, step: np.ndarray) -> np.ndarray:
        """The change (e, blocks) of the eliminated blocks that a change (m,) of the others brings. Of a factored
        system."""
        followed = self._follow(step, [np.zeros_like(part.g) for part in self.parts])
        return np.concatenate([np.zeros((self.problem.eliminated_size, 0)), *followed], axis=1)

    def back_substitute(self, g: np.ndarray, blocks: list[np.ndarray]) -> tuple[np.ndarray, list[np.ndarray]]:
        """Solve the factored system for a right-hand side: kept and shared (m,), and (e, blocks) of every part."""
        reduced = g.copy()
        for part, inner in zip(self.parts, blocks, strict=True):
            reduced -= self._pulled(part, part.apply_v_inverse(inner))
        step = self.reduced.solve(reduced[:, None])[:, 0]
        return step, self._follow(step, blocks)

    def _pulled(self, part: Part, blocks: np.ndarray) -> np.ndarray:
        """W blocks, (e, blocks) of a part -> (m,) over the kept and shared parameters."""
        k, found, of = self.problem.kept_size, np.zeros(len(self.g)), part.coupling
        coupling = np.einsum("abn,bn->an", part.W, blocks.take(of.block, axis=1))
        for a in range(k):
            found[of.low * k + a : of.high * k : k] = of.by_kept_block(coupling[a])
        found[self.size :] = np.einsum("abp,bp->a", part.W_shared, blocks)
        return found

    def _follow(self, step: np.ndarray, blocks: list[np.ndarray]) -> list[np.ndarray]:
        """The eliminated blocks (e, blocks) of every part, given the step of the kept and shared parameters."""
        frames, shared = step[: self.size].reshape(-1, self.problem.kept_size).T, step[self.size :]
        back = []
        for part, inner in zip(self.parts, blocks, strict=True):
            coupling = part.coupling.by_block(np.einsum("abn,an->bn", part.W, frames.take(part.coupling.kept, axis=1)))
            coupling += np.einsum("abp,a->bp", part.W_shared, shared)
            back.append(part.apply_v_inverse(inner - coupling))
        return back


def _width(problem: Problem, prior: csr_array) -> int:
    """How far apart two kept parameters may be that an eliminated block or the prior (n, n) ties together."""
    k, coupled = problem.kept_size, prior.tocoo()
    inner = (coupled.row < problem.num_kept * k) & (coupled.col < problem.num_kept * k)
    width = int(np.abs(coupled.row - coupled.col)[inner].max(initial=k - 1))
    if not problem.num_eliminated:
        return width
    new = np.flatnonzero(np.diff(problem.eliminated_index, prepend=-1))
    spans = np.maximum.reduceat(problem.kept_index, new) - np.minimum.reduceat(problem.kept_index, new)
    return max(width, int(spans.max()) * k + k - 1)


def _inverse_cholesky(V: np.ndarray) -> np.ndarray:
    """L^-1 with V = L L^T for a stack of small symmetric matrices (e, e, blocks)."""
    L = np.linalg.cholesky(np.moveaxis(V, 2, 0))
    return np.moveaxis(np.linalg.solve(L, np.broadcast_to(np.eye(len(V)), L.shape)), 0, 2)
