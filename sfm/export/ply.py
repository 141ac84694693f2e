"""Points as a binary PLY (Turk 1994) that Blender, MeshLab and trimesh read: position, plate colour and what is known.

Axes are the world's, x right, y down, z forward: no reader rotates a PLY, so it lies on the cameras of a COLMAP model.
"""

from pathlib import Path

import numpy as np
from plyfile import PlyData, PlyElement

from sfm.files import replacing
from sfm.scene import Reconstruction
from sfm.video import Shot

VERTEX = np.dtype(
    {
        "names": [
            "x",
            "y",
            "z",
            "red",
            "green",
            "blue",
            "track_id",
            "track_len",
            "rmse_px",
            "sigma",
            "sigma_across",
            "support",
        ],
        "formats": ["<f4", "<f4", "<f4", "u1", "u1", "u1", "<i4", "<i4", "<f4", "<f4", "<f4", "u1"],
    }
)


def write_ply(reconstruction: Reconstruction, shot: Shot, path: str | Path) -> None:
    """Write every track that has a point.

    Beside position and colour: `track_id` index of the track; `track_len` observations the adjustment believes;
    `rmse_px` root mean square of their reprojection errors; `sigma` and `sigma_across` standard deviation of the point
    over its depth, along the ray that saw it first and across it; `support` 1 triangulated, 2 held by the depth prior.
    What is unknown is NaN; a depth that nothing tells has an infinite sigma.

    Raises `InputError` when `path` cannot be written.
    """
    tracks = np.flatnonzero(reconstruction.has_point)
    used = reconstruction.inliers & reconstruction.registered[reconstruction.tracks.frame]
    length = np.bincount(reconstruction.tracks.track[used], minlength=reconstruction.tracks.num_tracks)
    vertex = np.zeros(len(tracks), VERTEX)
    for axis, name in enumerate(("x", "y", "z")):
        vertex[name] = reconstruction.points[tracks, axis]
    for channel, name in enumerate(("red", "green", "blue")):
        vertex[name] = reconstruction.tracks.colors[tracks, channel]
    vertex["track_id"], vertex["track_len"], vertex["rmse_px"] = (
        tracks,
        length[tracks],
        reconstruction.track_rms_px()[tracks],
    )
    vertex["sigma"], vertex["sigma_across"] = (
        reconstruction.point_sigma[tracks],
        reconstruction.point_sigma_across[tracks],
    )
    vertex["support"] = reconstruction.support[tracks]
    with replacing(path) as temporary:
        PlyData([PlyElement.describe(vertex, "vertex")], text=False, byte_order="<").write(temporary)
