"""A few residuals that tie eliminated blocks to each other, as a measured distance does two points.

The observations alone leave the blocks independent, A; ties J add a matrix of low rank (Woodbury):
(A + J^T J)^-1 g = A^-1 (g - J^T c),   (I + J A^-1 J^T) c = J A^-1 g
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from scipy.sparse import csr_array

from sfm.least_squares.coupling import Coupling


@dataclass(frozen=True, slots=True, eq=False)
class Ties:
    """m residuals that touch t eliminated blocks, and nothing else.

    residuals (m,); blocks (t,) int, rising; J (m, t, e): derivatives by the parameters of each.
    """

    residuals: np.ndarray
    blocks: np.ndarray
    J: np.ndarray

    def sparse(self, first: int, width: int) -> csr_array:
        """The Jacobian (m, width) over all parameters, of which those of the blocks begin at `first`."""
        e = self.J.shape[2]
        columns = (first + self.blocks[:, None] * e + np.arange(e)).ravel()
        rows, flat = np.repeat(np.arange(len(self.J)), len(columns)), self.J.reshape(len(self.J), -1)
        return csr_array((flat.ravel(), (rows, np.tile(columns, len(self.J)))), (len(self.J), width))


def ties_of(evaluation: object) -> Ties | None:
    """The ties of a problem at one parameter vector, where it has any: what its method `ties` says."""
    made = getattr(evaluation, "ties", None)
    return None if made is None else made()


class _Part(Protocol):
    """Of `normal_equations.Part` what is needed here."""

    coupling: Coupling
    W: np.ndarray
    W_shared: np.ndarray
    g: np.ndarray
    L_inv: np.ndarray


class _Reduced(Protocol):
    """A factored reduced system."""

    def solve(self, right: np.ndarray) -> np.ndarray: ...


class TiedSystem:
    """Ties beside the normal equations of the observations, whose right-hand side they are added to."""

    def __init__(self, ties: Ties, parts: Sequence[_Part], size: int, count: int):
        """size: kept parameters, of count kept and shared ones."""
        self.ties, self.parts = ties, parts
        pull = np.einsum("mte,m->et", ties.J, ties.residuals)
        self.places: list[tuple[np.ndarray, np.ndarray]] = []  # for every part: which of the ties' blocks, where in it
        rows, columns, values = [], [], []
        for part in parts:
            of = part.coupling
            mine = np.flatnonzero((ties.blocks >= of.first) & (ties.blocks < of.last))
            at = ties.blocks[mine] - of.first
            self.places.append((mine, at))
            part.g[:, at] -= pull[:, mine]
            place = np.full(of.last - of.first, -1)
            place[at] = mine
            seen = np.flatnonzero(place[of.block] >= 0)
            k, e = part.W.shape[:2]
            rows.append(np.broadcast_to((of.kept[seen] * k + np.arange(k)[:, None])[:, None], (k, e, len(seen))))
            columns.append(np.broadcast_to(place[of.block[seen]] * e + np.arange(e)[:, None], (k, e, len(seen))))
            values.append(part.W[:, :, seen])
            b = len(part.W_shared)
            rows.append(np.broadcast_to((size + np.arange(b))[:, None, None], (b, e, len(mine))))
            columns.append(np.broadcast_to(mine * e + np.arange(e)[:, None], (b, e, len(mine))))
            values.append(part.W_shared[:, :, at])
        flat = [np.concatenate([each.ravel() for each in lists]) for lists in (values, rows, columns)]
        self.W = csr_array((flat[0], (flat[1], flat[2])), (count, ties.J.shape[1] * ties.J.shape[2]))

    def relieved(self, reduced: _Reduced, right: list[np.ndarray], block_steps: list[np.ndarray]) -> list[np.ndarray]:
        """g - J^T c of every part, from its right-hand side g (e, blocks) and the steps (e, blocks) that this gives
        without ties: solved for once more, it gives the step with them."""
        J, (_, t, e) = self.ties.J, self.ties.J.shape
        inverse, alone = np.empty((t, e, e)), np.empty((t, e))
        for part, (mine, at), steps in zip(self.parts, self.places, block_steps, strict=True):
            L = part.L_inv[:, :, at]
            inverse[mine], alone[mine] = np.einsum("bap,bcp->pac", L, L), steps[:, at].T
        held = np.einsum("tac,mtc->tam", inverse, J)
        kept = reduced.solve(-(self.W @ held.reshape(t * e, -1)))
        moved = held - np.einsum("tac,tcm->tam", inverse, (self.W.T @ kept).reshape(t, e, -1))
        c = np.linalg.solve(np.eye(len(J)) + np.einsum("mta,tan->mn", J, moved), np.einsum("mta,ta->m", J, alone))
        pull = np.einsum("mte,m->et", J, c)
        found = [g.copy() for g in right]
        for g, (mine, at) in zip(found, self.places, strict=True):
            g[:, at] -= pull[:, mine]
        return found
