"""Robust Levenberg-Marquardt: damping by the gain ratio (Nielsen 1999), robust losses by iterative re-weighting.

Where a step gains less than it promised, every eliminated block takes as much of its own part as serves it: given what
is kept the blocks are independent, and one point whose depth nothing tells must not hold up all others (after the
embedded point iterations of Jeong et al. 2012).
"""

import logging
import time

import numpy as np
from threadpoolctl import threadpool_limits

from sfm.least_squares.costs import costs_by_block, robust_cost
from sfm.least_squares.coupling import couplings
from sfm.least_squares.normal_equations import NormalEquations
from sfm.least_squares.problem import Problem, SolverOptions, SolverReport, Status

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
    tied, system, status, iteration = couplings(problem), None, Status.MAX_ITERATIONS, 0
    for iteration in range(1, options.max_iterations + 1):
        system = system or NormalEquations(problem, x, tied)
        step, predicted = system.solve(damping)
        candidate, candidate_cost = x, float("inf")
        if predicted > 0:
            candidate, candidate_cost = _stepped(problem, x, step, enough=cost - _POOR * predicted)
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


def _stepped(problem: Problem, x: np.ndarray, step: np.ndarray, enough: float) -> tuple[np.ndarray, float]:
    """x + step and what it costs; where that is more than enough, every eliminated block takes that part of its own
    step that makes its observations cheapest."""
    candidate = x + step
    costs, prior = costs_by_block(problem, candidate)
    if costs.sum() + prior <= enough or not problem.num_eliminated:
        return candidate, float(costs.sum() + prior)
    own = slice(problem.num_kept * problem.kept_size + problem.num_shared, None)
    parts = np.ones(problem.num_eliminated)
    for part in _PARTS:
        candidate[own] = x[own] + part * step[own]
        tried, _ = costs_by_block(problem, candidate)
        parts = np.where(tried < costs, part, parts)
        costs = np.minimum(costs, tried)
    candidate[own] = x[own] + np.repeat(parts, problem.eliminated_size) * step[own]
    return candidate, float(costs.sum() + prior)
