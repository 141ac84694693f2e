"""Robust non-linear least squares with a Schur complement; knows no camera.

A problem has many small *eliminated* blocks (points) and few *kept* blocks (frames), each residual touching one of
either, plus *shared* parameters (a focal length) and a sparse prior on what is kept.
"""

from sfm.least_squares.costs import costs_by_block, influence, robust_cost
from sfm.least_squares.normal_equations import NormalEquations
from sfm.least_squares.problem import (
    Evaluation,
    Linearization,
    Loss,
    Losses,
    LossName,
    Problem,
    SolverOptions,
    SolverReport,
    Status,
    robust_weights,
)
from sfm.least_squares.schur import levenberg_marquardt
from sfm.least_squares.scipy_reference import scipy_least_squares, sparse_jacobian
from sfm.least_squares.ties import Ties

__all__ = [
    "Evaluation",
    "Linearization",
    "Loss",
    "LossName",
    "Losses",
    "NormalEquations",
    "Problem",
    "SolverOptions",
    "SolverReport",
    "Status",
    "Ties",
    "costs_by_block",
    "influence",
    "levenberg_marquardt",
    "robust_cost",
    "robust_weights",
    "scipy_least_squares",
    "sparse_jacobian",
]
