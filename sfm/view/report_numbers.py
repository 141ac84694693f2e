"""The numbers behind every picture of the report, as `report.json` has them: plain lists, unknown is None.

What `solve.json` tells is taken from there, the rest from the `Reconstruction`; nothing is worked out twice.
"""

from typing import Any

import numpy as np

from sfm.errors import InputError
from sfm.geometry.rotation import rotation_angle
from sfm.scene import Reconstruction, Support
from sfm.scene_frame import AS_SOLVED, World
from sfm.verdict import coverage, jumps_px
from sfm.view.layout import lay_out

FORMAT_VERSION = 1
HD_WIDTH = 1920  # px; errors are told as on a plate so wide, to compare plates of different sizes
PARALLAX_BINS_DEG = np.geomspace(1e-2, 100, 41)  # ten to a factor of ten; what lies outside counts at the ends
SIGMA_BINS = np.geomspace(1e-5, 10, 49)  # relative; eight to a factor of ten
_OF_FRAMES = ("frame", "name", "registered", "bridged", "rms_px", "whitened_rms_px", "focal_px", "tracks")


def report_numbers(
    solve: dict[str, Any], reconstruction: Reconstruction | None, world: World = AS_SOLVED
) -> dict[str, Any]:
    """What the report draws, of a `solve.json` and, where there is one, its reconstruction.

    unit: of lengths, m or units; world: that of the reconstruction as it is given.
    frames: a list per column, as long as the shot: `rms_px`, `whitened_rms_px`, `rms_hd_px` (whitened, as the verdict
    takes it), `tracks` (used ones) and `held_by_prior` of these, `focal_px`; from the reconstruction `max_px`, `cells`
    (of the frame's nine that hold a used track), `speed` (units a frame) and `turn_deg` since the frame before,
    `acceleration` (units a frame²), `jump_hd_px` (the same as the verdict takes it).
    scene: `path` is that of the camera in the axes of the first one, levelled: x right, y down, z forward.
    """
    to_hd = HD_WIDTH / solve["camera"]["width"]
    frames = {name: [frame.get(name) for frame in solve["per_frame"]] for name in (*_OF_FRAMES, "held_by_prior")}
    frames["rms_hd_px"] = [None if rms is None else rms * to_hd for rms in frames["whitened_rms_px"]]
    numbers = {
        "format_version": FORMAT_VERSION,
        "verdict": solve["verdict"],
        "hd_px_per_px": to_hd,
        "unit": world.unit,
        "error": _error(solve, to_hd),
        "prior": _prior(solve),
        "frames": frames,
    }
    if reconstruction is None:
        return numbers
    frames |= {name: _plain(values) for name, values in _of_cameras(reconstruction, to_hd).items()}
    return numbers | {
        "worst": _plain(worst_frames(reconstruction)),
        "scene": _scene(reconstruction, world),
        "parallax_deg": _histogram(reconstruction, reconstruction.parallax_deg(), PARALLAX_BINS_DEG),
        "depth_sigma": _histogram(reconstruction, reconstruction.point_sigma, SIGMA_BINS),
    }


def telling_frames(reconstruction: Reconstruction) -> dict[int, str]:
    """Registered frames worth a picture, by index, and why: first, middle, last, and the one with the largest error."""
    registered = np.flatnonzero(reconstruction.registered)
    if not len(registered):
        return {}
    why: dict[int, list[str]] = {}
    chosen = registered[[0, len(registered) // 2, -1]].tolist() + worst_frames(reconstruction)[:1].tolist()
    for name, index in zip(("first", "middle", "last", "worst"), chosen, strict=False):
        why.setdefault(index, []).append(name)
    return {index: " and ".join(why[index]) for index in sorted(why)}


def worst_frames(reconstruction: Reconstruction, most: int = 5) -> np.ndarray:
    """Indices of the frames with the largest whitened error, worst first."""
    rms = reconstruction.frame_rms_px(whitened=True)
    return np.argsort(-np.nan_to_num(rms, nan=-1.0), kind="stable")[: min(most, np.count_nonzero(np.isfinite(rms)))]


def _error(solve: dict[str, Any], to_hd: float) -> dict[str, Any]:
    """Of the shot, in px of the plate, in px of an HD plate, in per cent of the width."""
    width = solve["camera"]["width"]
    told = {}
    for name in ("rms_px", "whitened_rms_px", "likely_slide_px"):
        value = solve.get(name)
        in_all = (None, None, None) if value is None else (value, value * to_hd, 100 * value / width)
        told[name] = dict(zip(("px", "hd_px", "percent_of_width"), in_all, strict=True))
    return told


def _prior(solve: dict[str, Any]) -> dict[str, Any]:
    """What it held, and what it was found to be worth."""
    prior, points = solve["depth_prior"], solve["points"]
    names = ("given", "weight", "camera_weight", "measurements", "agreement", "exponent", "frame_sigma")
    return {name: prior.get(name) for name in names} | {
        "sigma": solve.get("depth_sigma"),
        "points": points["total"],
        "triangulated": points["triangulated"],
        "held_by_prior": points["held_by_prior"],
    }


def _of_cameras(reconstruction: Reconstruction, to_hd: float) -> dict[str, np.ndarray]:
    count, rows = len(reconstruction.registered), np.flatnonzero(reconstruction.inliers)
    worst = np.full(count, np.nan)
    np.fmax.at(worst, reconstruction.tracks.frame[rows], reconstruction.reprojection_errors(rows))
    centers, rotation = reconstruction.centers_in_world, reconstruction.cams_from_world.rotation
    speed, turn, acceleration = np.full((3, count), np.nan)
    speed[1:] = np.linalg.norm(np.diff(centers, axis=0), axis=1)
    known = reconstruction.has_camera
    steps = np.flatnonzero(known[1:] & known[:-1])
    turn[steps + 1] = np.degrees(rotation_angle(rotation[steps + 1] @ np.swapaxes(rotation[steps], 1, 2)))
    acceleration[1:-1] = np.linalg.norm(centers[2:] - 2 * centers[1:-1] + centers[:-2], axis=1)
    cells = coverage(reconstruction)[1]
    return {
        "max_px": worst,
        "cells": np.where(np.isfinite(cells), cells, np.nan),
        "speed": speed,
        "turn_deg": turn,
        "acceleration": acceleration,
        "jump_hd_px": jumps_px(reconstruction) * to_hd if len(rows) else np.full(count, np.nan),
    }


def _scene(reconstruction: Reconstruction, world: World) -> dict[str, Any]:
    """The plan in numbers."""
    try:
        layout = lay_out(reconstruction, upright=world.upright)
    except InputError:  # no frame has a camera
        return {"path": [], "path_length": None, "median_depth": None, "points_drawn": 0}
    return {
        "path": _plain(layout.level.apply(reconstruction.centers_in_world)),
        "path_length": float(np.linalg.norm(layout.path[:, 1] - layout.path[:, 0], axis=1).sum()),
        "median_depth": layout.depth,
        "points_drawn": int(np.count_nonzero(layout.shown)),
    }


def _histogram(reconstruction: Reconstruction, values: np.ndarray, edges: np.ndarray) -> dict[str, Any]:
    """Points by a value, those held by the prior apart; `none`: zero, infinite or not known."""
    known = reconstruction.has_point & np.isfinite(values) & (values > 0)
    told = np.clip(values, edges[0], edges[-1])
    counts = {
        name: np.histogram(told[known & (reconstruction.support == support)], edges)[0].tolist()
        for name, support in (("triangulated", Support.TRIANGULATED), ("held_by_prior", Support.PRIOR))
    }
    median = float(np.median(values[known])) if known.any() else None
    none = int(np.count_nonzero(reconstruction.has_point & ~known))
    return {"edges": edges.tolist(), **counts, "none": none, "median": median}


def _plain(values: np.ndarray) -> list:
    """For JSON: what is not finite as None."""
    if values.dtype.kind != "f":
        return values.tolist()
    told = values.astype(object)
    told[~np.isfinite(values)] = None
    return told.tolist()
