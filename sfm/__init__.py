"""Depth-guided structure from motion for shots whose camera hardly moves."""

from sfm.errors import InputError, MissingDependencyError, NoSolutionError, NotEnoughTracksError, SfmError
from sfm.geometry import Camera, Rigid3, Sim3
from sfm.scene import DepthPriors, Reconstruction, Support, Tracks

__version__ = "0.1.0"

__all__ = [
    "Camera", "DepthPriors", "InputError", "MissingDependencyError", "NoSolutionError", "NotEnoughTracksError",
    "Reconstruction", "Rigid3", "SfmError", "Sim3", "Support", "Tracks",
]
