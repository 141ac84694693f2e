"""A digital object in the shot: what it is, where it stands, how it is lit, and what is in front of it."""

from sfm.insertion.compositing import Insertion, InsertOptions, insert
from sfm.insertion.objects import BUILT_IN, Mesh, load_mesh
from sfm.insertion.placing import CHECKER_SIZE, SIZE, Placement, Spot, cones_at_points, parse_spot, placed, placed_in

__all__ = [
    "BUILT_IN",
    "CHECKER_SIZE",
    "SIZE",
    "InsertOptions",
    "Insertion",
    "Mesh",
    "Placement",
    "Spot",
    "cones_at_points",
    "insert",
    "load_mesh",
    "parse_spot",
    "placed",
    "placed_in",
]
