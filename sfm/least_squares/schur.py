"""Robust Levenberg-Marquardt: damping by the gain ratio (Nielsen 1999), robust losses by iterative re-weighting, steps
that gain less than they promise bent along the valley (`geodesic`).

Re-weighting leaves out the second derivative of the loss, as it is negative where an outlier is: with it (Triggs et al.
2000, section 4.3) a solve that starts off its minimum takes more iterations.

Given what is kept the eliminated blocks are independent, and one point whose depth nothing tells must not hold up all
others. One that a step makes worse takes as much of its own part as serves it (after the embedded point iterations of
Jeong et al. 2012), and is damped by itself from then on.
"""

import logging
import time
from dataclasses import dataclass

import numpy as np

from sfm.least_squares.costs import costs_by_block
from sfm.least_squares.geodesic import bent
from sfm.least_squares.normal_equations import NormalEquations
from sfm.least_squares.problem import Problem, SolverOptions, SolverReport, Status
from sfm.least_squares.ties import ties_of
from sfm.threads import one_blas_thread

logger = logging.getLogger(__name__)

_POOR = 0.75  # of the gain promised
_IN_A_VALLEY = 0.02  # of the cost: a step that promises more is still on its way, and bent may end in another valley
_PARTS = (1 / 4, 1 / 16, 1 / 64, 0.0)  # of its step, that a block may take instead
_BLOCK_FACTOR, _BLOCK_DAMPING = 4.0, 1e-5  # by how much the damping of such a block changes, and from where


def levenberg_marquardt(
    problem: Problem, x: np.ndarray, options: SolverOptions = SolverOptions()
) -> tuple[np.ndarray, SolverReport]:
    """Minimise the robust cost from x. Returns the best parameters found and what happened; never raises for a bad fit.

    Limit: where eliminated blocks touch kept ones far apart the reduced system is dense, and memory grows with the
    square of `num_kept`.
    """
    with one_blas_thread():  # our own threads share the work; BLAS threads on top would only wait
        return _levenberg_marquardt(problem, x, options)


def _levenberg_marquardt(problem: Problem, x: np.ndarray, options: SolverOptions) -> tuple[np.ndarray, SolverReport]:
    started = time.perf_counter()
    here = _Place.at(problem, x)
    costs, damping, growth = [here.cost], options.initial_damping, 2.0
    of_blocks = np.zeros(problem.num_eliminated)
    system, pattern, status, iteration = None, None, Status.MAX_ITERATIONS, 0
    for iteration in range(1, options.max_iterations + 1):
        system = system or NormalEquations(problem, here.x, pattern)
        pattern = system.pattern
        step, predicted = system.solve(damping, of_blocks)
        negligible = predicted < options.cost_tolerance * here.cost
        in_valley = not negligible and predicted < _IN_A_VALLEY * here.cost
        gain, there = -1.0, None
        if predicted > 0:
            enough = here.cost - _POOR * predicted
            there, parts = _stepped(problem, here, step, enough)
            if there.cost > enough and in_valley and (curved := bent(system, step)) is not None:
                there, parts = min((there, parts), _stepped(problem, here, curved, enough), key=lambda to: to[0].cost)
            raised = _BLOCK_FACTOR * np.maximum(of_blocks, max(damping, _BLOCK_DAMPING))
            of_blocks = np.where(parts < 1, raised, of_blocks / _BLOCK_FACTOR)
            gain = (here.cost - there.cost) / predicted
            logger.debug(
                "iteration %d: cost %.6f -> %.6f, damping %.1e, %d blocks by themselves",
                iteration, here.cost, there.cost, damping, (parts < 1).sum(),
            )  # fmt: skip
        if there is not None and gain > 0:
            if negligible and here.cost - there.cost < options.cost_tolerance * here.cost:
                status = Status.CONVERGED
            here, system = there, None
            damping, growth = max(damping * max(1 / 10, 1 - (2 * gain - 1) ** 3), 1e-12), 2.0
        else:
            damping, growth = damping * growth, growth * 2
            if 0 <= predicted and negligible:
                status = Status.CONVERGED
            elif damping > 1e10:
                status = Status.NO_PROGRESS
        costs.append(here.cost)
        if status is Status.MAX_ITERATIONS and time.perf_counter() - started > options.time_limit_s:
            status = Status.TIME_LIMIT
        if options.callback is not None and options.callback(iteration, here.cost):
            status = Status.STOPPED
        if status is not Status.MAX_ITERATIONS:
            break
    return here.x, SolverReport(status, iteration, costs[0], here.cost, tuple(costs))


@dataclass(frozen=True, slots=True, eq=False)
class _Place:
    """A parameter vector and what it costs: each eliminated block's observations (blocks,), and the prior."""

    x: np.ndarray
    blocks: np.ndarray
    prior: float

    @classmethod
    def at(cls, problem: Problem, x: np.ndarray) -> "_Place":
        return cls(x, *costs_by_block(problem, x))

    @property
    def cost(self) -> float:
        return float(self.blocks.sum() + self.prior)


def _stepped(problem: Problem, here: _Place, step: np.ndarray, enough: float) -> tuple[_Place, np.ndarray]:
    """Where a step leads, and the part of it (blocks,) that each eliminated block took of its own.

    Where it costs more than enough, the blocks that are worse than before, and otherwise those that are so by more than
    the mean block costs, take the part that makes their observations cheapest.
    """
    there = _Place.at(problem, here.x + step)
    parts, costs = np.ones(problem.num_eliminated), there.blocks
    if not len(parts):
        return there, parts
    tolerated = here.blocks + (0.0 if there.cost > enough else here.blocks.mean())
    if (costs > tolerated).any() and (ties := ties_of(problem.at(here.x))) is not None:
        tolerated[ties.blocks] = np.inf  # these are not independent of each other
    own = slice(len(step) - problem.num_eliminated * problem.eliminated_size, None)
    for part in _PARTS:
        worse = costs > tolerated
        if not worse.any():
            break
        there.x[own] = here.x[own] + np.repeat(np.where(worse, part, parts), problem.eliminated_size) * step[own]
        tried, _ = costs_by_block(problem, there.x, asked=worse)
        cheaper = worse & (tried < costs)
        parts, costs = np.where(cheaper, part, parts), np.where(cheaper, tried, costs)
    there.x[own] = here.x[own] + np.repeat(parts, problem.eliminated_size) * step[own]
    return _Place(there.x, costs, there.prior), parts
