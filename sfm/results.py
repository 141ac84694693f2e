"""The output folder of a solve: written whole or not at all, and read back.

reconstruction.npz  everything, for `load_result`     solve.json      verdict and numbers, for people and farms
sparse/0            COLMAP model                      overlay_*.png   plates with their tracks, by depth and residual
points.ply          coloured points                   top_view.png    the set from above and from the side
trajectory.tum      camera path                       sfm.log         what was done
report.html         what was solved, to be looked at  report.json     the numbers of its plots
scene_frame.json    what `sfm orient` made of the world
"""

import json
import math
import platform
import re
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, is_dataclass
from enum import Enum
from importlib.metadata import PackageNotFoundError, version
from itertools import product
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np

from sfm import __version__
from sfm.errors import InputError, UsageError
from sfm.export import ALWAYS, PLACES, FilmOptions, export, read_colmap
from sfm.files import replacing
from sfm.geometry.camera import Camera
from sfm.movies import DEFAULT_FPS
from sfm.pipeline import SolveReport
from sfm.scene import Reconstruction, Support
from sfm.scene_frame import SCENE_FRAME, SceneFrame
from sfm.threads import in_threads
from sfm.video import Shot, Video, reopen
from sfm.view.figures import write_top_view
from sfm.view.overlay import overlay_name, write_overlay
from sfm.view.report import NUMBERS, PAGE, write_report
from sfm.view.report_numbers import telling_frames

T = TypeVar("T")

FORMAT_VERSION = 1
SOLVE, RECONSTRUCTION, LOG = "solve.json", "reconstruction.npz", "sfm.log"


def check_output(folder: str | Path, force: bool = False) -> None:
    """Find out whether a result may be written to a folder, before the work starts; leaves nothing behind.

    Raises `UsageError` where the folder holds anything: with force only where it holds something sfm did not write.
    Raises `InputError` where it cannot be written.
    """
    folder = Path(folder)
    if folder.is_dir():
        _check_replaceable(folder, force)
    elif folder.exists():
        raise UsageError(f"{folder}: is a file; choose a folder for the result")
    parent = folder.absolute().parent
    while not parent.exists() and parent != parent.parent:
        parent = parent.parent
    try:
        with tempfile.TemporaryDirectory(prefix=".sfm-", dir=parent):
            pass  # permissions alone do not tell: a disk may be full or read-only
    except OSError as error:
        raise InputError(f"{folder}: cannot be written ({error.strerror or error}); choose another place") from error


def write_result(
    folder: str | Path,
    reconstruction: Reconstruction,
    report: SolveReport,
    video: Video,
    options: Mapping[str, Any],
    *,
    log: str = "",
    force: bool = False,
    formats: Sequence[str] = (),
    film: FilmOptions = FilmOptions(),
) -> dict[str, Any]:
    """Write everything known of a solve and return what `solve.json` says.

    options: what the solve was asked for, to be kept in `solve.json`; log: text of `sfm.log`; formats, film: for
    `export`, more than is always written. The folder appears when all of it is written; with force
    it takes the place of an older result. Raises as `check_output` does.
    """
    folder = Path(folder)
    check_output(folder, force)
    with replacing(folder.resolve()) as temporary:  # resolved: a link stays a link, and `.` has a name
        temporary.mkdir()
        reconstruction.save(temporary / RECONSTRUCTION)
        solve = describe(reconstruction, report, video, options)
        export(reconstruction, video.shot, temporary, [*ALWAYS, *formats], film, solve=solve)
        write_top_view(reconstruction, video.shot, temporary / "top_view.png")
        plates = _plates(reconstruction, video)
        _write_overlays(reconstruction, video.shot, plates, temporary)
        (temporary / LOG).write_text(log, encoding="utf-8")
        write_report(temporary, solve, reconstruction, video.shot, plates)
        solve["files"] = sorted([*(file.name for file in temporary.iterdir()), SOLVE])
        # last, so that a folder with it is complete
        (temporary / SOLVE).write_text(json.dumps(solve, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    return solve


def write_imported(
    folder: str | Path, reconstruction: Reconstruction, shot: Shot, options: Mapping[str, Any], force: bool = False
) -> dict[str, Any]:
    """Write a camera that sfm did not solve as a result, without verdict and pictures of plates; return `solve.json`.

    options: how it was imported, to be kept, with its `source`. The folder appears whole. Raises as `check_output`.
    """
    folder = Path(folder)
    check_output(folder, force)
    numbers, camera = shot.frame_numbers, reconstruction.camera
    focal = np.broadcast_to(camera.focal_length[..., 0], len(numbers))
    columns = (numbers, shot.frame_names, reconstruction.registered, reconstruction.bridged, focal)
    keys = ("frame", "name", "registered", "bridged", "focal_px")
    solve = {
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
    with replacing(folder.resolve()) as temporary:
        temporary.mkdir()
        reconstruction.save(temporary / RECONSTRUCTION)
        export(reconstruction, shot, temporary, ALWAYS)
        write_top_view(reconstruction, shot, temporary / "top_view.png")
        solve["files"] = sorted([*(file.name for file in temporary.iterdir()), SOLVE])
        text = json.dumps(_plain(solve), indent=1, allow_nan=False)
        (temporary / SOLVE).write_text(text + "\n", encoding="utf-8")
    return _plain(solve)


def load_result(folder: str | Path, oriented: bool = True) -> tuple[Reconstruction, Shot, dict[str, Any]]:
    """What `write_result` wrote: the reconstruction, its shot, and what `solve.json` says.

    oriented: in the frame that `sfm orient` gave it, where it did; else in the world it was solved in. Raises
    `InputError` when the folder holds no result.
    """
    shot, solve = _read_solve(Path(folder))
    reconstruction = Reconstruction.load(Path(folder) / RECONSTRUCTION)
    return _in_scene_frame(reconstruction, Path(folder), oriented), shot, solve


def _read_solve(folder: Path) -> tuple[Shot, dict[str, Any]]:
    """The shot, and what `solve.json` says; the reconstruction is not read."""
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder")
    if not (folder / SOLVE).is_file():
        raise InputError(f"{folder}: holds no result of sfm reconstruct (no {SOLVE} in it)")
    try:
        solve = json.loads((folder / SOLVE).read_text(encoding="utf-8"))
        return Shot.from_dict(solve["shot"]), solve
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{folder / SOLVE}: cannot be read ({error}); solve the shot again") from error


def load_model(folder: str | Path, oriented: bool = True) -> tuple[Reconstruction, Shot]:
    """A result, or any COLMAP model: in the folder itself, or in `sparse/0` or `0` below it.

    oriented: as for `load_result`. Frames of a COLMAP model have the numbers their names end with, where these rise,
    and are counted from 1 elsewhere. Raises `InputError` when the folder holds neither.
    """
    folder = Path(folder)
    model = next(
        (place for place in (folder, folder / PLACES["colmap"], folder / "0") if any(place.glob("images.*"))), None
    )
    if (folder / SOLVE).is_file() or model is None:
        return load_result(folder, oriented)[:2]
    reconstruction, names = read_colmap(model)
    reconstruction = _in_scene_frame(reconstruction, folder, oriented)
    numbers = plate_numbers(names)
    camera = reconstruction.camera
    return reconstruction, Shot(folder.name, numbers, names, camera.width, camera.height, DEFAULT_FPS, str(folder))


def set_scene_frame(folder: str | Path, frame: SceneFrame | None) -> list[str]:
    """Give a result or a COLMAP model a scene frame, or take it away with None.

    The files every result holds are written anew in it, a COLMAP model of others stays as it is. Returns the names of
    exports in the folder that were written before. Raises `InputError` where something cannot be read or written.
    """
    folder = Path(folder)
    scene, shot = load_model(folder, oriented=False)
    if frame is None:
        (folder / SCENE_FRAME).unlink(missing_ok=True)
    else:
        add_to_result(folder, [frame.save(folder)])
        scene = scene.transform(frame.scene_from_world)
    if not (folder / SOLVE).is_file():
        return []
    export(scene, shot, folder)
    return [place for name, place in PLACES.items() if name not in ALWAYS and (folder / place).exists()]


def _in_scene_frame(reconstruction: Reconstruction, folder: Path, oriented: bool) -> Reconstruction:
    frame = SceneFrame.load(folder) if oriented else None
    return reconstruction if frame is None else reconstruction.transform(frame.scene_from_world)


def plate_numbers(names: Sequence[str]) -> np.ndarray:
    """The numbers that the names of frames end with, (frames,), where these rise; else counted from 1."""
    numbers = np.array([plate_number(name) for name in names])
    return np.arange(1, len(names) + 1) if (np.diff(numbers, prepend=-1) <= 0).any() else numbers


def plate_number(name: str) -> int:
    """The number that the name of a frame ends with, -1 without any."""
    digits = re.findall(r"\d+", Path(name).stem)[-1:]
    return int(digits[0]) if digits else -1


def add_to_result(folder: str | Path, places: Iterable[Path]) -> None:
    """Note in `solve.json` that these files below a result are ours, so that they are replaced with it."""
    if not (Path(folder) / SOLVE).is_file():
        return
    solve = _read_solve(Path(folder))[1]
    names = {place.relative_to(folder).parts[0] for place in places}
    solve["files"] = sorted({*solve["files"], *names})
    with replacing(Path(folder) / SOLVE) as temporary:
        temporary.write_text(json.dumps(solve, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def renew_report(folder: str | Path) -> tuple[list[Path], list[str]]:
    """Make the report of a result again; returns its files, and in words what could not be shown.

    What is gone, plates or reconstruction, is left out of the page, which says so. Raises `InputError` when the folder
    holds no result, or one of a version that told too little.
    """
    folder, missing = Path(folder), []
    shot, solve = _read_solve(folder)
    reconstruction = _if_there(lambda: Reconstruction.load(folder / RECONSTRUCTION), missing)
    video = _if_there(lambda: reopen(shot), missing) if reconstruction is not None else None
    plates = _plates(reconstruction, video) if reconstruction is not None and video is not None else {}
    notes = write_report(folder, solve, reconstruction, shot, plates, missing=missing)
    files = [folder / name for name in (PAGE, NUMBERS)]
    add_to_result(folder, files)
    return files, notes


def _if_there(read: Callable[[], T], missing: list[str]) -> T | None:
    """What is read, or None and why not among `missing`."""
    try:
        return read()
    except InputError as error:
        missing.append(str(error))
        return None


def solve_of(folder: str | Path) -> dict[str, Any]:
    """What `solve.json` says; empty of a COLMAP model."""
    return _read_solve(Path(folder))[1] if (Path(folder) / SOLVE).is_file() else {}


def describe(
    reconstruction: Reconstruction, report: SolveReport, video: Video, options: Mapping[str, Any]
) -> dict[str, Any]:
    """The content of `solve.json`: plain numbers, strings and lists; unknown numbers are None. See README.md."""
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
        "depth_sigma": reconstruction.depth_sigma if report.prior_given else None,
        "depth_prior": {"given": True, **asdict(weight)} if report.prior_given else {"given": False},
        "camera": _camera(reconstruction, report),
        "tracking_noise": {"sigma_px": report.noise.sigma_px, "knee_px": report.noise.knee_px},
        "adjustment": report.adjustment,
        "survey": _survey(report),
        "per_frame": _per_frame(reconstruction, report, shot),
        "shot": shot.as_dict() | {"source": _lasting(shot)},
        "seed": options.get("seed"),
        "options": dict(options),
        "versions": _versions(),
    }
    return _plain(described)


def _lasting(shot: Shot) -> str:
    """Where the frames are, wherever it is read."""
    on_disk = shot.is_movie or "#" in Path(shot.source).name
    return str(Path(shot.source).absolute()) if on_disk else shot.source


def _check_replaceable(folder: Path, force: bool) -> None:
    """Complain unless the folder is empty, or holds a result, nothing else, and may be replaced."""
    there = {file.name for file in folder.iterdir() if not file.name.startswith(".")}
    if not there:
        return
    if SOLVE not in there:
        raise UsageError(f"{folder}: holds files that are no result of sfm; choose another output folder")
    if not force:
        raise UsageError(f"{folder}: holds a result already; --force replaces it")
    try:
        written = set(json.loads((folder / SOLVE).read_text(encoding="utf-8"))["files"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{folder / SOLVE}: not written by sfm; choose another output folder") from error
    if foreign := sorted(there - written):
        raise UsageError(f"{folder}: holds files sfm did not write ({', '.join(foreign[:3])}); move them away first")


def _plates(reconstruction: Reconstruction, video: Video) -> dict[int, np.ndarray]:
    """The frames worth a picture that can be decoded, by index; in one pass, as a movie is slow to seek in."""
    frames = list(telling_frames(reconstruction))
    found = zip(frames, video.only(frames), strict=True) if frames else ()
    return {frame: rgb for frame, (_, rgb) in found if rgb is not None}


def _write_overlays(reconstruction: Reconstruction, shot: Shot, plates: dict[int, np.ndarray], folder: Path) -> None:
    """First, middle, last and worst frame, by depth and by residual."""

    def write(wanted: tuple[Literal["depth", "residual"], tuple[int, np.ndarray]]) -> None:
        color_by, (frame, rgb) = wanted
        name = overlay_name(color_by, int(shot.frame_numbers[frame]))
        write_overlay(reconstruction, shot, rgb, frame, folder / name, color_by)

    in_threads(write, product(("depth", "residual"), plates.items()))


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
