"""A shot as nerfstudio's `transforms.json`, which instant-ngp reads too: cameras look along -z, the world has z up.

Lens in px, pixel (0, 0) the top-left corner; distortion as OpenCV's `k1 k2 p1 p2`, so that frames are the plates.
"""

import json
from pathlib import Path

import numpy as np

from sfm.export.film_camera import Z_UP, FilmCamera
from sfm.files import replacing
from sfm.scene import Reconstruction
from sfm.video import Shot

_Z_UP = np.block([[Z_UP, np.zeros((3, 1))], [np.zeros((1, 3)), np.ones((1, 1))]])


def write_nerfstudio(reconstruction: Reconstruction, shot: Shot, path: str | Path) -> None:
    """Write every frame with a camera, a lens each; `file_path` is the plate, of a movie the name its frame would have.

    Raises `InputError` when `path` cannot be written.
    """
    film = FilmCamera.of(reconstruction, shot)
    names = dict(zip(np.asarray(shot.frame_numbers).tolist(), shot.frame_names, strict=True))
    folder = Path(".") if shot.is_movie or not film.first_plate else Path(film.first_plate).parent
    k1, k2, p1, p2, k3 = np.pad(reconstruction.camera.distortion[:5], (0, 5))[:5].tolist()
    lens = {
        "camera_model": "OPENCV",
        "w": shot.width,
        "h": shot.height,
        "k1": k1,
        "k2": k2,
        "k3": k3,
        "p1": p1,
        "p2": p2,
    }
    frames = []
    for i, number in enumerate(film.frame_numbers.tolist()):
        (fx, fy), (cx, cy) = film.focal_px[i].tolist(), film.principal_point[i].tolist()
        frames.append({
            "file_path": (folder / names[number]).as_posix(), "frame": number,
            "fl_x": fx, "fl_y": fy, "cx": cx, "cy": cy, "transform_matrix": (_Z_UP @ film.matrices[i]).tolist(),
        })  # fmt: skip
    # what takes COLMAP's world, y down and z forward, into this one
    applied = (_Z_UP @ np.diag([1.0, -1, -1, 1]))[:3].tolist()
    with replacing(path) as temporary:
        temporary.write_text(json.dumps({**lens, "applied_transform": applied, "frames": frames}, indent=1) + "\n")
