"""What a parameter vector costs: robust losses summed over all observations, or by eliminated block; and which of them
moved it where it is."""

import numpy as np

from sfm.least_squares.problem import Problem, knee_of, robust_weights, slices
from sfm.least_squares.ties import ties_of
from sfm.threads import in_threads


def robust_cost(problem: Problem, x: np.ndarray, units: slice = slice(None)) -> float:
    """Half the sum of rho over observations plus half the squared prior residuals; infinite if not finite.

    units: which of `problem.losses` to count; the prior is counted only with all of them.
    """
    blocks, prior = costs_by_block(problem, x, units)
    return float(blocks.sum() + (prior if units == slice(None) else 0.0))


def costs_by_block(
    problem: Problem, x: np.ndarray, units: slice = slice(None), asked: np.ndarray | None = None
) -> tuple[np.ndarray, float]:
    """What the observations of each eliminated block add to `robust_cost`, (blocks,), and what the prior and
    the ties do.

    asked (blocks,) bool: the slices that hold one of these are looked at, blocks in others are NaN.
    """
    # blocks that are held are blocks all the same
    at, found = problem.at(x), np.full(problem.eliminated_index.max(initial=-1) + 1, np.nan)

    def part(rows: slice) -> None:
        residuals, index = at.residuals(rows), problem.eliminated_index[rows]
        costs = (loss((residuals[u] ** 2).sum(0), knee_of(knee, rows))[0] for u, loss, knee in problem.losses[units])
        of_blocks = np.bincount(index - index[0], sum(costs, np.zeros(len(index))))
        found[index[0] : index[-1] + 1] = 0.5 * np.nan_to_num(of_blocks, nan=np.inf, posinf=np.inf)

    def is_asked(rows: slice) -> bool:
        index = problem.eliminated_index
        return asked is None or bool(asked[index[rows.start] : index[rows.stop - 1] + 1].any())

    in_threads(part, filter(is_asked, slices(problem)))
    prior, ties = at.prior()[0], ties_of(at)
    prior = prior if ties is None else np.r_[prior, ties.residuals]
    return found, 0.5 * float(np.nan_to_num(prior @ prior, nan=np.inf, posinf=np.inf))


def influence(problem: Problem, x: np.ndarray, column: np.ndarray) -> np.ndarray:
    """By how much the error of each observation moved the parameter whose covariance with all of them is this column
    (parameters,), (n,). At a minimum they add up to what the prior says against them."""
    at, found = problem.at(x), np.empty(len(problem.eliminated_index))
    size = problem.num_kept * problem.kept_size
    kept = column[:size].reshape(-1, problem.kept_size).T
    shared = column[size : size + problem.num_shared]
    eliminated = column[size + problem.num_shared :].reshape(-1, problem.eliminated_size).T

    def part(rows: slice) -> None:
        lin = at.linearize(rows)
        of_block = eliminated.take(problem.eliminated_index[rows], axis=1) if eliminated.size else None
        change = lin.along(kept.take(problem.kept_index[rows], axis=1), shared, of_block)
        found[rows] = -(robust_weights(problem, lin.residuals, rows) * lin.residuals * change).sum(0)

    in_threads(part, slices(problem))
    return found
