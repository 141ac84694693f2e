"""Joint adjustment of cameras and points: reprojection error and depth error in one robust cost.

After *Depth-guided sparse structure-from-motion for movies and TV shows* (CVPR 2022), with the depth term in log depth
and a scale per frame as a variable (MP-SfM, Pataki et al. 2025).
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from sfm.bundle_adjustment.options import BundleAdjustmentOptions
from sfm.bundle_adjustment.problem import ShotProblem
from sfm.least_squares import (
    SolverOptions,
    Status,
    costs_by_block,
    levenberg_marquardt,
    robust_cost,
    scipy_least_squares,
)
from sfm.scene import DepthPriors, Reconstruction

logger = logging.getLogger(__name__)


_NEXT_TO_NOTHING = 1e-5  # of the cost, an iteration


@dataclass(frozen=True, slots=True)
class AdjustmentReport:
    """What an adjustment did. status: a sentence; costs are half the robust sums of squares."""

    status: Status
    iterations: int
    initial_cost: float
    cost: float
    reprojection_cost: float  # the reprojection part of `cost`
    rms_px: float  # over the observations used
    observations: int
    last_gain: float = float("nan")  # part of the cost that each of the last five took off; NaN: nobody knows

    @property
    def settled(self) -> bool:
        """Converged, or at the iteration limit where more of them would change next to nothing."""
        return self.status is Status.CONVERGED or (
            self.status is Status.MAX_ITERATIONS and self.last_gain < _NEXT_TO_NOTHING
        )


def adjust(
    reconstruction: Reconstruction,
    priors: DepthPriors | None,
    options: BundleAdjustmentOptions,
    stop: Callable[[int, float], bool] | None = None,
) -> tuple[Reconstruction, AdjustmentReport]:
    """Refine registered cameras and points so that reprojection and depth error together are least.

    Uses the inlier observations of registered frames and existing points. Gauge: the first registered camera stays
    where it is; with a depth term the scale is the prior's (the log scales of the frames have mean zero up to
    `frame_scale_sigma`), without one, where cameras and points are both free, the median depth of the scene is put back
    afterwards. The camera must be free of distortion (`Tracks.undistorted`). Limit: a local minimum near the start.

    priors: at every observation of the tracks, or None. stop: called with each iteration and its cost, ends it where
    true. Raises `NoSolutionError` when nothing is left to adjust.
    """
    problem = ShotProblem(reconstruction, priors, options)
    x = problem.start()
    solver = scipy_least_squares if options.solver == "scipy" else levenberg_marquardt
    x, solved = solver(problem, x, SolverOptions(options.max_iterations, options.cost_tolerance, callback=stop))
    adjusted = problem.finish(x)
    reprojection_cost = robust_cost(problem, x, slice(0, 1))
    report = AdjustmentReport(
        solved.status, solved.iterations, solved.initial_cost, solved.cost, reprojection_cost,
        adjusted.rms_px(problem.use), len(problem.kept_index), _last_gain(solved.costs),
    )  # fmt: skip
    logger.debug("adjusted %d frames, %d points: %s", problem.num_kept, problem.num_eliminated, report)
    return adjusted, report


def reprojection_costs(reconstruction: Reconstruction, options: BundleAdjustmentOptions) -> np.ndarray:
    """What the observations of each track add to the reprojection part of the cost, (tracks,); NaN of one not used."""
    problem = ShotProblem(reconstruction, None, options)
    costs = np.full(reconstruction.tracks.num_tracks, np.nan)
    costs[problem.tracks], _ = costs_by_block(problem, problem.start(), slice(0, 1))
    return costs


def _last_gain(costs: tuple[float, ...]) -> float:
    last = costs[-6:]
    return (last[0] - last[-1]) / max(last[-1] * (len(last) - 1), 1e-300) if len(last) > 1 else float("nan")
