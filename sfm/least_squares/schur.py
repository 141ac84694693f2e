"""Robust Levenberg-Marquardt: damping by the gain ratio (Nielsen 1999), robust losses by iterative re-weighting.

Where a step gains less than it promised, every eliminated block takes as much of its own part as serves it: given what
is kept the blocks are independent, and one point whose depth nothing tells must not hold up all others (after the
embedded point iterations of Jeong et al. 2012).
"""

import logging
import time

import numpy as np
from threadpoolctl import threadpool_limits

from sfm.least_squares.normal_equations import NormalEquations
from sfm.least_squares.problem import Problem, SolverOptions, SolverReport, Status, block_costs, robust_cost

logger = logging.getLogger(__name__)

_POOR = 0.75  # of the gain promised
_PARTS = (0.25, 0.0)  # of its step, that a block may take instead


def levenberg_marquardt(
    problem: Problem, x: np.ndarray, options: SolverOptions = SolverOptions()
) -> tuple[np.ndarray, SolverReport]:
    """Minimise the robust cost from x. Returns the best parameters found and what happened; never raises for a bad fit.

    Limit: where eliminated blocks touch kept ones far apart the reduced system is dense, and memory grows with the
    square of `num_kept`.
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
        if predicted > 0 and gain < _POOR and problem.num_eliminated:
            candidate = _each_as_far_as_it_serves(problem, x, step)
            candidate_cost = robust_cost(problem, candidate)
            gain = (cost - candidate_cost) / predicted
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


def _each_as_far_as_it_serves(problem: Problem, x: np.ndarray, step: np.ndarray) -> np.ndarray:
    """x + step, where every eliminated block takes that part of its own that makes its observations cheapest."""
    first = problem.num_kept * problem.kept_size + problem.num_shared
    candidate = x + step
    own = step[first:].reshape(problem.num_eliminated, -1)
    costs, parts = block_costs(problem, candidate), np.ones(problem.num_eliminated)
    for part in _PARTS:
        candidate[first:] = x[first:] + part * step[first:]
        tried = block_costs(problem, candidate)
        parts = np.where(tried < costs, part, parts)
        costs = np.minimum(costs, tried)
    candidate[first:] = x[first:] + (parts[:, None] * own).ravel()
    return candidate
