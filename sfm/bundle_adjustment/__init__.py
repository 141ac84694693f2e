"""Joint adjustment of cameras and points: reprojection error and depth error in one robust cost."""

from sfm.bundle_adjustment.adjustment import AdjustmentReport, adjust
from sfm.bundle_adjustment.options import BundleAdjustmentOptions
from sfm.bundle_adjustment.problem import ShotProblem

__all__ = ["AdjustmentReport", "BundleAdjustmentOptions", "ShotProblem", "adjust"]
