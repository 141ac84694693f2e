"""Points as a binary PLY (Turk 1994) that Blender, MeshLab and trimesh read: position, plate colour and what is known.

Axes are the world's, x right, y down, z forward: no reader rotates a PLY, so it lies on the cameras of a COLMAP model.
"""

from pathlib import Path

import numpy as np
from plyfile import PlyData, PlyElement

from sfm.export.point_columns import point_columns
from sfm.files import replacing
from sfm.scene import Reconstruction, Support
from sfm.video import Shot

VERTEX = np.dtype(
    [
        *((axis, "<f4") for axis in "xyz"),
        *((channel, "u1") for channel in ("red", "green", "blue")),
        *((name, "<i4") for name in ("track_id", "track_len")),
        *((name, "<f4") for name in ("rmse_px", "sigma", "sigma_across")),
        ("support", "u1"),
    ]
)
COMMENTS = [
    "sigma, sigma_across: standard deviation over the depth of the point, along the ray that saw it first and across",
    f"support: {Support.TRIANGULATED:d} triangulated, {Support.PRIOR:d} held by the depth prior",
]


def write_ply(reconstruction: Reconstruction, shot: Shot, path: str | Path) -> None:
    """Write every track that has a point.

    Beside position and colour: `track_id` index of the track, and what `point_columns` says.

    Raises `InputError` when `path` cannot be written.
    """
    tracks = np.flatnonzero(reconstruction.has_point)
    vertex = np.zeros(len(tracks), VERTEX)
    for axis, name in enumerate(("x", "y", "z")):
        vertex[name] = reconstruction.points[tracks, axis]
    for channel, name in enumerate(("red", "green", "blue")):
        vertex[name] = reconstruction.tracks.colors[tracks, channel]
    vertex["track_id"] = tracks
    for name, values in point_columns(reconstruction, tracks).items():
        vertex[name] = values
    with replacing(path) as temporary:
        points = PlyElement.describe(vertex, "vertex", comments=COMMENTS)
        PlyData([points], text=False, byte_order="<").write(temporary)
