"""Geometry on arrays: numpy in, numpy out. No frame, file or policy lives here."""

from sfm.geometry.camera import Camera
from sfm.geometry.transform import Rigid3, Sim3

__all__ = ["Camera", "Rigid3", "Sim3"]
