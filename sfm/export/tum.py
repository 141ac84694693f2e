"""Camera path as a TUM trajectory, the format of the RGB-D benchmark (Sturm et al. 2012) that `evo` reads.

`timestamp tx ty tz qx qy qz qw`: camera to world, camera x right, y down, z forward; the time in seconds is the plate
frame number over fps. Its limit: no lens, and only the frames with a camera; a comment lists those interpolated.
"""

from pathlib import Path

import numpy as np

from sfm.files import replacing
from sfm.geometry.rotation import quaternion_from_rotation
from sfm.scene import Reconstruction
from sfm.video import Shot


def write_tum(reconstruction: Reconstruction, shot: Shot, path: str | Path) -> None:
    """Write one line per frame with a camera; the times of bridged ones also stand in a comment at the top.

    Raises `InputError` when `path` cannot be written.
    """
    frames = np.flatnonzero(reconstruction.has_camera)
    world_from_cams = reconstruction.cams_from_world[frames].inverse()
    seconds = np.asarray(shot.frame_numbers)[frames] / shot.fps
    quaternion = np.roll(quaternion_from_rotation(world_from_cams.rotation), -1, axis=1)
    rows = np.column_stack([seconds, world_from_cams.translation, quaternion]) + 0.0  # no zero with a sign
    header = "timestamp tx ty tz qx qy qz qw"
    if reconstruction.bridged.any():
        header += "\ninterpolated: " + " ".join(f"{time:.9f}" for time in seconds[reconstruction.bridged[frames]])
    with replacing(path) as temporary:
        np.savetxt(temporary, rows, fmt=["%.9f"] + ["%.12g"] * 7, header=header)
