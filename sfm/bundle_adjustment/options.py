"""What an adjustment minimises and how."""

from dataclasses import dataclass

import numpy as np

from sfm.least_squares import LossName


@dataclass(frozen=True, slots=True)
class BundleAdjustmentOptions:
    """What is minimised and how."""

    reproj_sigma_px: float = 0.5  # standard deviation of a tracked position
    track_weight: np.ndarray | None = None  # (tracks,) factor on the robust cost of each track; None: all alike
    reproj_loss: LossName = "cauchy"
    reproj_knee: float = 3.0  # in sigmas
    depth_weight: float = 1.0  # factor on the information of the depth prior; 0 leaves the depth term out
    depth_loss: LossName = "cauchy"
    depth_knee: float = 2.0  # in sigmas
    frame_scale_sigma: float = 0.1  # how far a frame's log depth scale strays from the shot's
    frame_scale_step: float = 0.1  # and from the frame before
    refine_focal: bool = False  # one factor on the focal length of the whole shot
    focal_sigma: float = 0.3  # of log focal length, around the start
    refine_translation: bool = True  # false: camera centres stay where they are
    zoom: bool = False  # a focal length of its own for every frame
    zoom_sigma: float = 0.5  # of log focal length of a frame, around the start
    refine_cameras: bool = True  # false: points only
    refine_points: bool = True  # false: cameras only
    estimate_sigma: bool = True  # of each point's depth, at the end
    max_iterations: int = 50
    cost_tolerance: float = 1e-7  # relative
    solver: str = "schur"  # or "scipy", the slow reference
