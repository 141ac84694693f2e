"""A shot for Nuke: nodes to paste or open (`.nk`), and the camera alone as `.chan`, which Blender and Houdini read too.

Angles in degrees, rotation order ZXY. Not verified in Nuke: the files follow its own examples and what other programs
read of them. A `.chan` holds the vertical field of view and no film back, so no principal point off the middle.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from sfm.export.film_camera import FULL_FRAME_MM, FilmCamera, FilmOptions
from sfm.export.stmap import UNDISTORT, has_map_a_frame, undistorted
from sfm.files import replacing
from sfm.scene import Reconstruction
from sfm.video import Shot

ASSUMED = "the film back is assumed: give --sensor-mm to change it"

Node = tuple[str, dict[str, Any]]  # class and knobs


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
    """Write the plate, a Camera3 with a key a frame, the points known best as spheres, and a picture of all three.

    The plate of a lens that distorts goes through an STMap, which reads `stmap/` beside the script as `write_stmaps`
    leaves it, and the camera is that of the centred picture which comes out. Where no plate is known there is no Read.
    Raises `UsageError` for a lens that cannot be undistorted, `InputError` when `path` cannot be written.
    """
    film, comments = _on_flat_plate(reconstruction, shot, options)
    best = film.best_tracks(reconstruction)
    # a node takes its inputs from the stack of those before it, the last first: ScanlineRender's bg, scene and camera
    nodes = [
        _root(film), _camera(film, comments), *(_sphere(film, i, row) for row, i in enumerate(best.tolist())),
        ("Scene", {"inputs": len(best), "name": "points", "xpos": 300, "ypos": 100}),
        *_plate(film, shot, _map_name(reconstruction, shot)),
        ("ScanlineRender", {"inputs": 3, "name": "lineup", "xpos": 0, "ypos": 200}),
    ]  # fmt: skip
    text = "".join(_node(kind, knobs) if knobs else f"{kind}\n" for kind, knobs in nodes)
    with replacing(path) as temporary:
        temporary.write_text(f"version 13.0\n{text}", encoding="utf-8")


def _on_flat_plate(reconstruction: Reconstruction, shot: Shot, options: FilmOptions) -> tuple[FilmCamera, list[str]]:
    """The camera of the picture that the STMap makes, or of the plate where nothing distorts; what to know of it."""
    if not reconstruction.camera.distortion.any():
        film = FilmCamera.of(reconstruction, shot, options)
        return film, film.comments()
    flat, there = undistorted(reconstruction, shot)
    width_mm = (options.sensor_mm or FULL_FRAME_MM) * there.width / shot.width
    film = FilmCamera.of(flat, there, replace(options, sensor_mm=width_mm))
    comments = [*film.comments(), "goes with the plate after its STMap; sfm export --format stmap writes the maps"]
    return film, comments + ([ASSUMED] if options.sensor_mm is None else [])


def _map_name(reconstruction: Reconstruction, shot: Shot) -> str:
    """Of the maps that undistort the plate; empty where nothing distorts."""
    if not reconstruction.camera.distortion.any():
        return ""
    return f"{UNDISTORT}.####.exr" if has_map_a_frame(reconstruction.camera) else f"{UNDISTORT}.exr"


def _root(film: FilmCamera) -> Node:
    first, last = _range(film.shot)
    return "Root", {
        "first_frame": first, "last_frame": last, "frame": first, "fps": f"{film.shot.fps:.10g}",
        "format": _format(film.shot, film.pixel_aspect, "sfm_plate"), "lock_range": "true",
    }  # fmt: skip


def _camera(film: FilmCamera, comments: list[str]) -> Node:
    window = 2 * film.window_offset + 0.0  # no zero with a sign
    if np.abs(window[:, 1]).max() > 1e-6:
        comments = [*comments, "win_translate y is in half heights, unverified: sfm undistort centres the plate"]
    return "Camera3", {
        "inputs": 0, "rot_order": "ZXY",
        "translate": _curves(film.frame_numbers, film.world_from_cams.translation),
        "rotate": _curves(film.frame_numbers, film.euler_zxy_deg),
        "focal": _curves(film.frame_numbers, film.focal_mm[:, None]),
        "haperture": f"{film.aperture_mm[0]:.10g}", "vaperture": f"{film.aperture_mm[1]:.10g}",
        "win_translate": _curves(film.frame_numbers, window), "near": "0.01", "far": "10000",
        "label": _quoted("\n".join(comments)), "name": "camera", "xpos": 150, "ypos": 200,
    }  # fmt: skip


def _sphere(film: FilmCamera, i: int, row: int) -> Node:
    at = " ".join(f"{value:.10g}" for value in film.points[i])
    return "Sphere", {
        "inputs": 0, "rows": 4, "columns": 6, "radius": f"{film.point_width / 2:.6g}", "translate": f"{{{at}}}",
        "name": f"track_{film.tracks[i]}", "xpos": 300 + 100 * (row % 20), "ypos": -100 - 40 * (row // 20),
    }  # fmt: skip


def _plate(film: FilmCamera, shot: Shot, map_name: str) -> list[Node]:
    """What stands behind the points: the plate of the shot, through its map where there is one, to film's size."""
    if not film.plate:
        return [("push 0", {})]
    first, last = _range(shot)
    before = shot.first_frame - 1  # Nuke counts a movie's frames from 1
    begin = {"frame_mode": _quoted("start at"), "frame": first} if before else {}
    span = {"first": first, "last": last, "origfirst": first, "origlast": last, "on_error": "black"}
    of_file = {name: value - before if isinstance(value, int) else value for name, value in span.items()} | begin
    read = {"inputs": 0, "file": _quoted(film.plate), **of_file, "name": "plate", "xpos": 0, "ypos": -100}
    if not map_name:
        return [("Read", read | {"format": _format(shot, film.pixel_aspect, "sfm_plate")})]
    beside = _quoted(f"[file dirname [value root.name]]/stmap/{map_name}")
    maps = {"inputs": 0, "file": beside, **(span if "#" in map_name else {}), "raw": "true", "name": UNDISTORT}
    return [
        ("Read", maps | {"xpos": 100, "ypos": -100}),
        ("Read", read | {"format": _format(shot, film.pixel_aspect, "sfm_shot")}),
        ("STMap", {"inputs": 2, "uv": "rgb", "name": "flat", "xpos": 0, "ypos": 50}),
        # whichever of its two inputs an STMap takes its size from
        ("Reformat", {"resize": "none", "center": "false", "pbb": "true", "name": "whole", "xpos": 0, "ypos": 100,
                      "format": _format(film.shot, film.pixel_aspect, "sfm_plate")}),
    ]  # fmt: skip


def _range(shot: Shot) -> tuple[int, int]:
    return int(shot.frame_numbers[0]), int(shot.frame_numbers[-1])


def _format(shot: Shot, pixel_aspect: float, name: str) -> str:
    return f'"{shot.width} {shot.height} 0 0 {shot.width} {shot.height} {pixel_aspect:.10g} {name}"'


def _node(kind: str, knobs: dict[str, Any]) -> str:
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
