"""The camera frame by frame, as a table and as JSON, and a table of the points: for spreadsheets, scripts and people.

World y up, camera looking along -z; angles in degrees, Nuke's and Maya's order ZXY.
"""

import csv
import json
from pathlib import Path

import numpy as np

from sfm.export.film_camera import METERS, FilmCamera, FilmOptions, settled
from sfm.export.point_columns import point_columns
from sfm.files import replacing
from sfm.scene import Reconstruction
from sfm.video import Shot

COLUMNS = (
    "frame", "name", "tx", "ty", "tz", "rx", "ry", "rz", "focal_mm", "focal_x_px", "focal_y_px", "center_x_px",
    "center_y_px", "bridged", "rms_px", "sigma_x", "sigma_y", "sigma_z", "sigma_rx_deg", "sigma_ry_deg", "sigma_rz_deg",
)  # fmt: skip

POINT_COLUMNS = ("track", "x", "y", "z", "first_frame", "first_x_px", "first_y_px", "last_frame")


def write_csv(
    reconstruction: Reconstruction, shot: Shot, path: str | Path, options: FilmOptions = FilmOptions()
) -> None:
    """Write every frame of the shot, standard deviations along and about the camera's own axes.

    The cells of a frame without a camera are empty, as is what is unknown.

    Raises `InputError` when `path` cannot be written.
    """
    rows = _rows(FilmCamera.of(reconstruction, shot, options), reconstruction)
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(COLUMNS)
        for i, (number, name) in enumerate(zip(shot.frame_numbers, shot.frame_names, strict=True)):
            cells = rows.get(i, [np.nan] * (len(COLUMNS) - 2))
            table.writerow([number, name, *("" if np.isnan(cell) else f"{cell:.10g}" for cell in cells)])


def write_json(
    reconstruction: Reconstruction, shot: Shot, path: str | Path, options: FilmOptions = FilmOptions()
) -> None:
    """Write the columns of `write_csv` and `world_from_camera`, a 4 x 4 matrix for columns, of every frame.

    Above them what holds of all: size, rate, film back, distortion in OpenCV's order, and remarks. What is unknown is
    null; a frame without a camera has its number and name alone.

    Raises `InputError` when `path` cannot be written.
    """
    film = FilmCamera.of(reconstruction, shot, options)
    rows = _rows(film, reconstruction)
    matrices = dict(zip(rows, film.matrices.tolist(), strict=True))
    frames = []
    for i, (number, name) in enumerate(zip(shot.frame_numbers.tolist(), shot.frame_names, strict=True)):
        cells = [None if np.isnan(cell) else cell for cell in rows.get(i, [])]
        row = {"frame": number, "name": name, **dict(zip(COLUMNS[2:], cells, strict=False))}
        if i in rows:
            row |= {"bridged": bool(row["bridged"]), "world_from_camera": matrices[i]}
        frames.append(row)
    told = {
        "name": shot.name, "width": shot.width, "height": shot.height, "fps": shot.fps, "unit": options.unit,
        "pixel_aspect": film.pixel_aspect, "film_back_mm": film.aperture_mm.tolist(),
        "distortion": reconstruction.camera.distortion.tolist(), "remarks": film.comments(), "frames": frames,
    }  # fmt: skip
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(told, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def write_points_csv(
    reconstruction: Reconstruction, shot: Shot, path: str | Path, options: FilmOptions = FilmOptions()
) -> None:
    """Write a row for every track that has a point: its place, the plate numbers of the first and the last frame that
    it is believed in, where it is seen in the first, px, and what `point_columns` tells. What is unknown is empty.

    Raises `InputError` when `path` cannot be written.
    """
    film, tracks = FilmCamera.of(reconstruction, shot, options), reconstruction.tracks
    used = np.flatnonzero(reconstruction.inliers)
    used = used[np.lexsort([tracks.frame[used], tracks.track[used]])]
    first, last = (dict(zip(tracks.track[rows].tolist(), rows.tolist(), strict=True)) for rows in (used[::-1], used))
    known = point_columns(reconstruction, film.tracks)
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow([*POINT_COLUMNS, *known])
        for k, (track, place) in enumerate(zip(film.tracks.tolist(), film.points, strict=True)):
            seen: list[int | str] = [""] * 4
            if track in first:
                start, end = shot.frame_numbers[tracks.frame[[first[track], last[track]]]].tolist()
                x, y = tracks.xy[first[track]]
                seen = [start, f"{x:.2f}", f"{y:.2f}", end]
            cells = [float(column[k]) for column in known.values()]
            told = ["" if np.isnan(cell) else f"{cell:.6g}" for cell in cells]
            table.writerow([track, *(f"{value + 0.0:.7g}" for value in place), *seen, *told])


def _rows(film: FilmCamera, reconstruction: Reconstruction) -> dict[int, list[float]]:
    """The columns after the name, by index of the frames that have a camera."""
    there = np.flatnonzero(reconstruction.has_camera)
    numbers = np.column_stack([
        film.world_from_cams.translation, film.euler_zxy_deg, film.focal_mm, film.focal_px, film.principal_point,
        reconstruction.bridged[there], reconstruction.frame_rms_px()[there],
        reconstruction.center_sigma[there] / METERS[film.options.unit],
        np.degrees(reconstruction.rotation_sigma[there]),
    ])  # fmt: skip
    return dict(zip(there.tolist(), settled(numbers).tolist(), strict=True))
