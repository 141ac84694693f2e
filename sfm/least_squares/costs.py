"""What a parameter vector costs: robust losses summed over all observations, or by eliminated block."""

import numpy as np

from sfm.least_squares.problem import Problem, knee_of, slices
from sfm.threads import in_threads


def robust_cost(problem: Problem, x: np.ndarray, units: slice = slice(None)) -> float:
    """Half the sum of rho over observations plus half the squared prior residuals; infinite if not finite.

    units: which of `problem.losses` to count; the prior is counted only with all of them.
    """
    blocks, prior = costs_by_block(problem, x, units)
    return float(blocks.sum() + (prior if units == slice(None) else 0.0))


def costs_by_block(problem: Problem, x: np.ndarray, units: slice = slice(None)) -> tuple[np.ndarray, float]:
    """What the observations of each eliminated block add to `robust_cost`, (blocks,), and what the prior does."""
    at = problem.at(x)

    def part(rows: slice) -> np.ndarray:
        residuals, index = at.residuals(rows), problem.eliminated_index[rows]
        costs = (loss((residuals[u] ** 2).sum(0), knee_of(knee, rows))[0] for u, loss, knee in problem.losses[units])
        return np.bincount(index - index[0], sum(costs, np.zeros(len(index))))

    blocks = np.concatenate([np.zeros(0), *in_threads(part, slices(problem))])
    prior = at.prior()[0]
    return 0.5 * np.nan_to_num(blocks, nan=np.inf, posinf=np.inf), 0.5 * float(
        np.nan_to_num(prior @ prior, nan=np.inf, posinf=np.inf)
    )
