"""The camera as a table, a row a frame: for spreadsheets, scripts and whoever reads nothing else.

World y up, camera looking along -z; angles in degrees, Nuke's and Maya's order ZXY.
"""

import csv
from pathlib import Path

import numpy as np

from sfm.export.film_camera import METERS, FilmCamera, FilmOptions
from sfm.files import replacing
from sfm.scene import Reconstruction
from sfm.video import Shot

COLUMNS = (
    "frame", "name", "tx", "ty", "tz", "rx", "ry", "rz", "focal_mm", "focal_x_px", "focal_y_px", "center_x_px",
    "center_y_px", "bridged", "rms_px", "sigma_x", "sigma_y", "sigma_z", "sigma_rx_deg", "sigma_ry_deg", "sigma_rz_deg",
)  # fmt: skip


def write_csv(
    reconstruction: Reconstruction, shot: Shot, path: str | Path, options: FilmOptions = FilmOptions()
) -> None:
    """Write every frame of the shot, standard deviations along and about the camera's own axes.

    The cells of a frame without a camera are empty, as is what is unknown.

    Raises `InputError` when `path` cannot be written.
    """
    film = FilmCamera.of(reconstruction, shot, options)
    there = np.flatnonzero(reconstruction.has_camera)
    numbers = np.column_stack([
        film.world_from_cams.translation, film.euler_zxy_deg, film.focal_mm, film.focal_px, film.principal_point,
        reconstruction.bridged[there], reconstruction.frame_rms_px()[there],
        reconstruction.center_sigma[there] / METERS[options.unit],
        np.degrees(reconstruction.rotation_sigma[there]),
    ])  # fmt: skip
    rows = dict(zip(there.tolist(), numbers.tolist(), strict=True))
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(COLUMNS)
        for i, (number, name) in enumerate(zip(shot.frame_numbers, shot.frame_names, strict=True)):
            cells = rows.get(i, [np.nan] * (len(COLUMNS) - 2))
            table.writerow([number, name, *("" if np.isnan(cell) else f"{cell:.10g}" for cell in cells)])
