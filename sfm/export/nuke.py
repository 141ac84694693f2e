"""A shot for Nuke: nodes to paste or open (`.nk`), and the camera alone as `.chan`, which Blender and Houdini read too.

Angles in degrees, rotation order ZXY. Not verified in Nuke: the files follow its own examples and what other programs
read of them. A `.chan` holds the vertical field of view and no film back, so no principal point off the middle.
"""

from pathlib import Path

import numpy as np

from sfm.export.film_camera import FilmCamera, FilmOptions
from sfm.files import replacing
from sfm.scene import Reconstruction
from sfm.video import Shot


def write_chan(
    reconstruction: Reconstruction, shot: Shot, path: str | Path, options: FilmOptions = FilmOptions()
) -> None:
    """Write `frame tx ty tz rx ry rz vfov` for every frame with a camera.

    Raises `InputError` when `path` cannot be written.
    """
    film = FilmCamera.of(reconstruction, shot, options)
    columns = [film.frame_numbers, film.world_from_cams.translation, film.euler_zxy_deg, film.vertical_fov_deg]
    comments = [*film.comments(), "rotation order ZXY"]
    if np.abs(film.window_offset).max() > 1e-6:
        comments.append(
            "the principal point is off the middle of the plate, which a .chan cannot hold: use another format"
        )
    with replacing(path) as temporary:
        header = "\n".join([*comments, "frame tx ty tz rx ry rz vfov"])
        np.savetxt(temporary, np.column_stack(columns) + 0.0, fmt=["%d"] + ["%.10g"] * 7, header=header)


def write_nk(
    reconstruction: Reconstruction, shot: Shot, path: str | Path, options: FilmOptions = FilmOptions()
) -> None:
    """Write a Read of the plate, where it is known, and a Camera3 with a key a frame.

    Raises `InputError` when `path` cannot be written.
    """
    film = FilmCamera.of(reconstruction, shot, options)
    first, last = int(shot.frame_numbers[0]), int(shot.frame_numbers[-1])
    plate = f"{shot.width} {shot.height} 0 0 {shot.width} {shot.height} {film.pixel_aspect:.10g} sfm_plate"
    window, comments = 2 * film.window_offset, film.comments()
    if np.abs(window[:, 1]).max() > 1e-6:
        comments.append("win_translate y is in half heights, unverified: sfm undistort centres the plate")
    nodes = [
        ("Root", {"first_frame": first, "last_frame": last, "frame": first, "fps": f"{shot.fps:.10g}",
                  "format": f'"{plate}"', "lock_range": "true"}),
        ("Camera3", {
            "inputs": 0, "rot_order": "ZXY",
            "translate": _curves(film.frame_numbers, film.world_from_cams.translation),
            "rotate": _curves(film.frame_numbers, film.euler_zxy_deg),
            "focal": _curves(film.frame_numbers, film.focal_mm[:, None]),
            "haperture": f"{film.aperture_mm[0]:.10g}", "vaperture": f"{film.aperture_mm[1]:.10g}",
            "win_translate": _curves(film.frame_numbers, window), "near": "0.01", "far": "10000",
            "label": _quoted("\n".join(comments)), "name": "camera",
        }),
    ]  # fmt: skip
    if film.plate:
        before = shot.first_frame - 1  # Nuke counts a movie's frames from 1
        begin = {"frame_mode": _quoted("start at"), "frame": first} if before else {}
        nodes.insert(1, ("Read", {
            "inputs": 0, "file": _quoted(film.plate), "first": first - before, "last": last - before,
            "origfirst": first - before, "origlast": last - before, **begin,
            "format": f'"{plate}"', "on_error": "black", "name": "plate",
        }))  # fmt: skip
    with replacing(path) as temporary:
        temporary.write_text("version 13.0\n" + "".join(_node(kind, knobs) for kind, knobs in nodes), encoding="utf-8")


def _node(kind: str, knobs: dict[str, object]) -> str:
    return f"{kind} {{\n" + "".join(f" {name} {value}\n" for name, value in knobs.items()) + "}\n"


def _curves(frames: np.ndarray, values: np.ndarray) -> str:
    """One brace around a curve for every column; one number where a column never changes."""
    if np.ptp(values, axis=0).max() == 0:
        return (
            "{" + " ".join(f"{value:.10g}" for value in values[0]) + "}"
            if values.shape[1] > 1
            else f"{values[0, 0]:.10g}"
        )
    keys = [
        " ".join(f"x{frame} {value:.10g}" for frame, value in zip(frames, column, strict=True)) for column in values.T
    ]
    return "{" + " ".join(f"{{curve {curve}}}" for curve in keys) + "}"


def _quoted(text: str) -> str:
    """A string as Tcl reads it."""
    for letter in '\\"[]${}':
        text = text.replace(letter, "\\" + letter)
    return '"' + text.replace("\n", "\\n") + '"'
