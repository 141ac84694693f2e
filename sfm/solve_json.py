"""What `solve.json` says of a shot, for people and farms: plain numbers, strings and lists. See README.md."""

import json
import math
import platform
from collections.abc import Mapping
from dataclasses import asdict, is_dataclass
from enum import Enum
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from sfm import __version__
from sfm.errors import InputError
from sfm.files import replacing
from sfm.geometry.camera import Camera
from sfm.scene import Reconstruction, Support
from sfm.solve import SolveReport
from sfm.video import Shot, Video

FORMAT_VERSION = 1
SOLVE = "solve.json"


def describe(
    reconstruction: Reconstruction, report: SolveReport, video: Video, options: Mapping[str, Any]
) -> dict[str, Any]:
    """Of a solve; unknown numbers are None. options: what it was asked for, to be kept."""
    shot, weight = video.shot, report.prior_weight
    numbers = shot.frame_numbers
    described = {
        "format_version": FORMAT_VERSION,
        "verdict": report.verdict,
        "reasons": report.reasons,
        "motion": report.motion.motion,
        "zoom": report.motion.zoom,
        "rms_px": reconstruction.rms_px(),
        "whitened_rms_px": reconstruction.rms_px(whitened=True),
        "likely_slide_px": report.slide_px,
        "weakest_direction": report.weakest,
        "frames": len(video),
        "registered": reconstruction.registered.sum(),
        "unregistered_frames": numbers[~reconstruction.has_camera],
        "bridged_frames": numbers[reconstruction.bridged],
        "unreadable_frames": numbers[video.unreadable],
        "missing_frames": shot.missing,
        "points": {
            "total": reconstruction.has_point.sum(),
            "triangulated": (reconstruction.support == Support.TRIANGULATED).sum(),
            "held_by_prior": (reconstruction.support == Support.PRIOR).sum(),
        },
        "parallax_deg": report.motion.parallax_deg,
        "motion_bic": report.motion.criterion,
        "unseen_path": report.motion.unseen_path,
        "moving_tracks": report.moving_tracks,
        "masks": _masks(report),
        "depth_sigma": reconstruction.depth_sigma if report.prior_given else None,
        "depth_prior": {"given": True, **asdict(weight)} if report.prior_given else {"given": False},
        "camera": _camera(reconstruction, report),
        "tracking_noise": {"sigma_px": report.noise.sigma_px, "knee_px": report.noise.knee_px},
        "adjustment": report.adjustment,
        "survey": _survey(report),
        "per_frame": _per_frame(reconstruction, report, shot),
        "shot": shot.as_dict() | {"source": _lasting(shot)},
        "seed": options.get("seed"),
        "options": _lasting_options(options),
        "versions": _versions(),
    }
    return _plain(described)


def describe_imported(reconstruction: Reconstruction, shot: Shot, options: Mapping[str, Any]) -> dict[str, Any]:
    """Of a camera that sfm did not solve, without a verdict. options: how it was imported, with its `source`."""
    numbers, camera = shot.frame_numbers, reconstruction.camera
    focal = np.broadcast_to(camera.focal_length[..., 0], len(numbers))
    columns = (numbers, shot.frame_names, reconstruction.registered, reconstruction.bridged, focal)
    keys = ("frame", "name", "registered", "bridged", "focal_px")
    described = {
        "format_version": FORMAT_VERSION,
        "verdict": None,
        "reasons": [f"imported from {options['source']}, not solved by sfm"],
        "frames": len(numbers),
        "registered": reconstruction.registered.sum(),
        "unregistered_frames": numbers[~reconstruction.has_camera],
        "bridged_frames": numbers[reconstruction.bridged],
        "points": {"total": reconstruction.has_point.sum()},
        "camera": _intrinsics(camera),
        "per_frame": [dict(zip(keys, row, strict=True)) for row in zip(*columns, strict=True)],
        "shot": shot.as_dict() | {"source": _lasting(shot)},
        "options": dict(options),
        "versions": _versions(),
    }
    return _plain(described)


def write_solve(folder: Path, solve: Mapping[str, Any]) -> None:
    """Write `solve.json` of a folder. Raises `InputError` where it cannot be written."""
    with replacing(folder / SOLVE) as temporary:
        temporary.write_text(json.dumps(solve, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def read_solve(folder: Path) -> tuple[Shot, dict[str, Any]]:
    """The shot, and what `solve.json` of a folder says. Raises `InputError` when it holds no result."""
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder")
    if not (folder / SOLVE).is_file():
        raise InputError(f"{folder}: holds no result of sfm reconstruct (no {SOLVE} in it)")
    try:
        solve = json.loads((folder / SOLVE).read_text(encoding="utf-8"))
        return Shot.from_dict(solve["shot"]), solve
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{folder / SOLVE}: cannot be read ({error}); solve the shot again") from error


def _lasting(shot: Shot) -> str:
    """Where the frames are, wherever it is read."""
    on_disk = shot.is_movie or "#" in Path(shot.source).name
    return str(Path(shot.source).absolute()) if on_disk else shot.source


def _lasting_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """What was asked for; depth maps and networks on disk as they are found wherever it is read."""
    depth = options.get("depth")
    if not isinstance(depth, str | Path) or str(depth).lower() in ("auto", "none") or not Path(depth).exists():
        return dict(options)
    return {**options, "depth": str(Path(depth).absolute())}


def _camera(reconstruction: Reconstruction, report: SolveReport) -> dict[str, Any]:
    return _intrinsics(reconstruction.camera) | {
        "focal_given": report.focal_given,
        "lens": asdict(report.lens),
        "readout": reconstruction.readout,
    }


def _intrinsics(camera: Camera) -> dict[str, Any]:
    return {
        "width": camera.width,
        "height": camera.height,
        "principal_point_px": camera.principal_point.reshape(-1, 2)[0],
        "pixel_aspect": (camera.focal_length[..., 1] / camera.focal_length[..., 0]).reshape(-1)[0],
        "distortion": camera.distortion,
        "horizontal_fov_deg": float(np.median(camera.horizontal_fov_deg)),
    }


def _masks(report: SolveReport) -> dict[str, Any] | None:
    """How many frames had a mask, and which part of their pictures was not tracked; None where none was asked for."""
    if report.masked is None:
        return None
    parts = list(report.masked.values())
    return {"frames": len(parts), "part": float(np.mean(parts)) if parts else 0.0}


def _survey(report: SolveReport) -> dict[str, Any] | None:
    """How far the scene is from what was measured, in the survey's sigmas."""
    if report.survey is None or report.survey_sigmas is None:
        return None
    points, distances = report.survey_sigmas
    tracks, pairs = report.survey.tracks, report.survey.pairs
    return {
        "points": [{"track": k, "sigmas": off} for k, off in zip(tracks, points, strict=True)],
        "distances": [{"tracks": pair, "sigmas": off} for pair, off in zip(pairs, distances, strict=True)],
    }


def _per_frame(reconstruction: Reconstruction, report: SolveReport, shot: Shot) -> list[dict[str, Any]]:
    count = len(shot.frame_numbers)
    frame, held = reconstruction.tracks.frame, reconstruction.support == Support.PRIOR
    used = reconstruction.inliers
    columns = {
        "frame": shot.frame_numbers,
        "name": shot.frame_names,
        "registered": reconstruction.registered,
        "bridged": reconstruction.bridged,
        "bridge_error_px": reconstruction.bridge_error_px,
        "focal_px": np.broadcast_to(reconstruction.camera.focal_length[..., 0], count),
        "rms_px": reconstruction.frame_rms_px(),
        "whitened_rms_px": reconstruction.frame_rms_px(whitened=True),
        "depth_scale": reconstruction.depth_scale,
        "center_sigma": reconstruction.center_sigma,
        "rotation_sigma_deg": np.degrees(reconstruction.rotation_sigma),
        "zoom_sigma": report.zoom_sigma,
        "tracks": np.bincount(frame[used], minlength=count),
        "held_by_prior": np.bincount(frame[used & held[reconstruction.tracks.track]], minlength=count),
    }
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _versions() -> dict[str, str]:
    versions = {"sfm": __version__, "python": platform.python_version()}
    for package in ("numpy", "scipy", "opencv-python", "opencv-python-headless", "OpenImageIO", "av", "torch"):
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return versions


def _plain(value: Any) -> Any:
    """The same for JSON: arrays as lists, dataclasses as dicts, what is not finite as None."""
    if is_dataclass(value) and not isinstance(value, type):
        return _plain(asdict(value))
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, np.ndarray | np.generic):
        return _plain(value.tolist())
    if isinstance(value, Enum):
        return _plain(value.value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, bool | int | str) else str(value)
