"""Joint adjustment of cameras and points: reprojection error and depth error in one robust cost."""

from sfm.bundle_adjustment.adjustment import AdjustmentReport, adjust, reprojection_costs
from sfm.bundle_adjustment.options import KNOWN_LENS, BundleAdjustmentOptions, LensUnknowns
from sfm.bundle_adjustment.problem import ShotProblem
from sfm.bundle_adjustment.uncertainty import CameraSigma, LensSigma, Posterior, WeakestDirection, serial_correlation

__all__ = [
    "KNOWN_LENS",
    "AdjustmentReport",
    "BundleAdjustmentOptions",
    "CameraSigma",
    "LensSigma",
    "LensUnknowns",
    "Posterior",
    "ShotProblem",
    "WeakestDirection",
    "adjust",
    "reprojection_costs",
    "serial_correlation",
]
