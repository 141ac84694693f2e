"""Camera path as a TUM trajectory, the format of the RGB-D benchmark (Sturm et al. 2012) that `evo` reads.

`timestamp tx ty tz qx qy qz qw`: camera to world, camera x right, y down, z forward; the time in seconds is the plate
frame number over fps. Its limit: no lens, and only the frames with a camera.
"""

from pathlib import Path

import numpy as np

from sfm.files import replacing
from sfm.geometry.rotation import quaternion_from_rotation
from sfm.scene import Reconstruction
from sfm.video import Shot


def write_tum(reconstruction: Reconstruction, shot: Shot, path: str | Path) -> None:
    """Write one line per registered frame.

    Raises `InputError` when `path` cannot be written.
    """
    registered = np.flatnonzero(reconstruction.registered)
    world_from_cams = reconstruction.cams_from_world[registered].inverse()
    seconds = np.asarray(shot.frame_numbers)[registered] / shot.fps
    quaternion = np.roll(quaternion_from_rotation(world_from_cams.rotation), -1, axis=1)
    rows = np.column_stack([seconds, world_from_cams.translation, quaternion])
    with replacing(path) as temporary:
        np.savetxt(temporary, rows, fmt=["%.9f"] + ["%.12g"] * 7, header="timestamp tx ty tz qx qy qz qw")
