"""Video (or files) + Tracks -> DepthPriors: one file per family of depth model, one function that samples them."""

from sfm.depth.callable import CallableModel
from sfm.depth.loading import load
from sfm.depth.maps import MapFolder
from sfm.depth.model import DepthKind, DepthModel
from sfm.depth.sampling import DepthOptions, sample_depth

__all__ = ["CallableModel", "DepthKind", "DepthModel", "DepthOptions", "MapFolder", "load", "sample_depth"]
