"""What an adjustment minimises and how."""

from dataclasses import dataclass

import numpy as np

from sfm.least_squares import LossName
from sfm.survey import Survey


@dataclass(frozen=True, slots=True)
class LensUnknowns:
    """What of the lens is to be found; but for a zoom the same for the whole shot."""

    focal: bool = False  # one factor on the focal length
    focal_prior_px: float | None = None  # what it is drawn to; None: the start
    focal_sigma: float = 0.3  # how strongly, of log focal length
    principal_point: bool = False  # the same for every frame of a zoom
    principal_prior_px: tuple[float, float] | None = None  # what it is drawn to; None: the start
    principal_sigma: float = 0.03  # how strongly, of the plate's width
    radial: int = 0  # coefficients of radial distortion: k1, or k1 and k2
    radial_sigma: float = 0.2  # of each, around 0
    zoom: bool = False  # a focal length of its own for every frame
    zoom_sigma: float = 1.0  # of log focal length of a frame, around the first one's
    zoom_step: float = 0.05  # of log focal length from a frame to the next
    zoom_bend: float = 0.01  # and of the change of such steps


KNOWN_LENS = LensUnknowns()


@dataclass(frozen=True, slots=True)
class BundleAdjustmentOptions:
    """What is minimised and how."""

    reproj_sigma_px: float = 0.5  # standard deviation of a tracked position
    track_weight: np.ndarray | None = None  # (tracks,) factor on the robust cost of each, 0: not used; None: all alike
    track_knee: np.ndarray | None = None  # (tracks,) factor on the knee of each track's loss; None: all alike
    reproj_loss: LossName = "cauchy"
    reproj_knee: float = 3.0  # in sigmas
    depth_weight: float = 1.0  # factor on the information of the depth prior; 0 leaves the depth term out
    depth_loss: LossName = "cauchy"
    depth_knee: float = 2.0  # in sigmas
    frame_scale_sigma: float = 0.1  # how far a frame's log depth scale strays from the shot's
    frame_scale_step: float = 0.1  # and from the frame before
    lens: LensUnknowns = KNOWN_LENS
    survey: Survey | None = None  # points and distances measured on set; only where points are refined
    refine_translation: bool = True  # false: translations stay, and camera centres at the world's origin, with them
    refine_cameras: bool = True  # false: points only
    refine_points: bool = True  # false: cameras only
    estimate_sigma: bool = True  # of each point's depth, at the end
    max_iterations: int = 50
    cost_tolerance: float = 1e-7  # relative
    solver: str = "schur"  # or "scipy", the slow reference
