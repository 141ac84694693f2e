"""The output folder of a solve: written whole or not at all, and read back.

reconstruction.npz  everything, for `load_result`     solve.json      verdict and numbers, for people and farms
sparse/0            COLMAP model                      overlay_*.png   plates with their tracks, by depth and residual
points.ply          coloured points                   top_view.png    the set from above and from the side
trajectory.tum      camera path                       sfm.log         what was done
report.html         what was solved, to be looked at  report.json     the numbers of its plots
scene_frame.json    what `sfm orient` made of the world
"""

import json
import logging
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np

from sfm.errors import InputError, UsageError
from sfm.export import ALWAYS, PLACES, FilmOptions, export, read_colmap
from sfm.files import replacing
from sfm.footage import plate_numbers
from sfm.movies import DEFAULT_FPS
from sfm.scene import Reconstruction
from sfm.scene_frame import SCENE_FRAME, SceneFrame, World
from sfm.solve import SolveReport
from sfm.solve_json import SOLVE, describe, describe_imported, read_solve, write_solve
from sfm.threads import in_threads
from sfm.video import Shot, Video, reopen
from sfm.view.figures import write_top_view
from sfm.view.overlay import overlay_name, write_overlay
from sfm.view.report import NUMBERS, PAGE, write_report
from sfm.view.report_numbers import telling_frames

T = TypeVar("T")

logger = logging.getLogger(__name__)

RECONSTRUCTION, LOG, TOP_VIEW = "reconstruction.npz", "sfm.log", "top_view.png"


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
        _export(reconstruction, video.shot, temporary, formats, film, solve)
        plates, world = _plates(reconstruction, video), World.of(solve, None)
        _write_pictures(reconstruction, video.shot, plates, temporary, world)
        (temporary / LOG).write_text(log, encoding="utf-8")
        write_report(temporary, solve, reconstruction, video.shot, world=world)
        solve["files"] = sorted([*(file.name for file in temporary.iterdir()), SOLVE])
        write_solve(temporary, solve)  # last, so that a folder with it is complete
    return solve


def _export(
    reconstruction: Reconstruction, shot: Shot, folder: Path, formats: Sequence[str], film: FilmOptions,
    solve: Mapping[str, Any],
) -> None:  # fmt: skip
    """What every result holds, and more; a format that the lens found does not allow is not worth the solve."""
    try:
        export(reconstruction, shot, folder, [*ALWAYS, *formats], film, solve=solve)
    except UsageError as error:
        logger.warning("not exported: %s: %s", ", ".join(formats), error)
        export(reconstruction, shot, folder)


def write_imported(
    folder: str | Path, reconstruction: Reconstruction, shot: Shot, options: Mapping[str, Any], force: bool = False
) -> dict[str, Any]:
    """Write a camera that sfm did not solve as a result, without verdict and pictures of plates; return `solve.json`.

    options: how it was imported, to be kept, with its `source`. The folder appears whole. Raises as `check_output`.
    """
    folder = Path(folder)
    check_output(folder, force)
    solve = describe_imported(reconstruction, shot, options)
    with replacing(folder.resolve()) as temporary:
        temporary.mkdir()
        reconstruction.save(temporary / RECONSTRUCTION)
        export(reconstruction, shot, temporary, ALWAYS)
        write_top_view(reconstruction, shot, temporary / TOP_VIEW)
        solve["files"] = sorted([*(file.name for file in temporary.iterdir()), SOLVE])
        write_solve(temporary, solve)
    return solve


def load_result(folder: str | Path, oriented: bool = True) -> tuple[Reconstruction, Shot, dict[str, Any]]:
    """What `write_result` wrote: the reconstruction, its shot, and what `solve.json` says.

    oriented: in the frame that `sfm orient` gave it, where it did; else in the world it was solved in. Raises
    `InputError` when the folder holds no result.
    """
    shot, solve = read_solve(Path(folder))
    reconstruction = Reconstruction.load(Path(folder) / RECONSTRUCTION)
    return _in_scene_frame(reconstruction, Path(folder), oriented), shot, solve


def load_model(folder: str | Path, oriented: bool = True) -> tuple[Reconstruction, Shot]:
    """A result, or any COLMAP model: in the folder itself, or in `sparse/0` or `0` below it.

    oriented: as for `load_result`. Frames of a COLMAP model have the numbers their names end with, where these rise,
    and are counted from 1 elsewhere; so have those of a result whose `solve.json` is gone (`incomplete`). Raises
    `InputError` when the folder holds neither.
    """
    folder = Path(folder)
    model = next(
        (place for place in (folder, folder / PLACES["colmap"], folder / "0") if any(place.glob("images.*"))), None
    )
    if (folder / SOLVE).is_file() or model is None:
        return load_result(folder, oriented)[:2]
    reconstruction, names = read_colmap(model)
    if incomplete(folder):
        whole = Reconstruction.load(folder / RECONSTRUCTION)  # says more, and is never in the scene frame
        reconstruction = whole if len(whole.registered) == len(names) else reconstruction
    reconstruction = _in_scene_frame(reconstruction, folder, oriented)
    numbers = plate_numbers(names)
    camera = reconstruction.camera
    return reconstruction, Shot(folder.name, numbers, names, camera.width, camera.height, DEFAULT_FPS, str(folder))


def incomplete(folder: str | Path) -> bool:
    """Whether a result has lost its `solve.json`."""
    return (Path(folder) / RECONSTRUCTION).is_file() and not (Path(folder) / SOLVE).is_file()


def set_scene_frame(folder: str | Path, frame: SceneFrame | None) -> list[str]:
    """Give a result or a COLMAP model a scene frame, or take it away with None.

    The files every result holds are written anew in it, report and pictures too; a COLMAP model of others stays as it
    is. Returns the names of exports in the folder that were written before. Raises `InputError` where something cannot
    be read or written.
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
    if (folder / PAGE).is_file():
        renew_report(folder)
    else:
        write_top_view(scene, shot, folder / TOP_VIEW, world=World.of(solve_of(folder), frame))
    return [place for name, place in PLACES.items() if name not in ALWAYS and (folder / place).exists()]


def _in_scene_frame(reconstruction: Reconstruction, folder: Path, oriented: bool) -> Reconstruction:
    frame = SceneFrame.load(folder) if oriented else None
    return reconstruction if frame is None else reconstruction.transform(frame.scene_from_world)


def add_to_result(folder: str | Path, places: Iterable[Path]) -> None:
    """Note in `solve.json` that these files below a result are ours, so that they are replaced with it."""
    if not (Path(folder) / SOLVE).is_file():
        return
    solve = read_solve(Path(folder))[1]
    names = {place.relative_to(folder).parts[0] for place in places}
    solve["files"] = sorted({*solve["files"], *names})
    write_solve(Path(folder), solve)


def renew_report(folder: str | Path) -> tuple[list[Path], list[str]]:
    """Make the report of a result again, and its pictures; returns its files, and in words what could not be shown.

    They show the world that `sfm orient` made. What is gone, plates or reconstruction, is left out of the page, which
    says so. Raises `InputError` when the folder holds no result, or one of a version that told too little.
    """
    folder, missing = Path(folder), []
    shot, solve = read_solve(folder)
    if solve.get("verdict", "") is None:
        raise InputError(f"{folder}: was imported, not solved by sfm; there is nothing to report")
    world = World.of(solve, SceneFrame.load(folder))
    reconstruction = _if_there(lambda: load_result(folder)[0], missing)
    video = _if_there(lambda: reopen(shot), missing) if reconstruction is not None else None
    plates = _plates(reconstruction, video) if reconstruction is not None and video is not None else {}
    if reconstruction is not None:
        _write_pictures(reconstruction, shot, plates, folder, world)
    notes = write_report(folder, solve, reconstruction, shot, missing=missing, world=world)
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
    return read_solve(Path(folder))[1] if (Path(folder) / SOLVE).is_file() else {}


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


def _write_pictures(
    reconstruction: Reconstruction, shot: Shot, plates: dict[int, np.ndarray], folder: Path, world: World
) -> None:
    """The plan; first, middle, last and worst frame, by depth and by residual."""
    write_top_view(reconstruction, shot, folder / TOP_VIEW, world=world)

    def write(wanted: tuple[Literal["depth", "residual"], tuple[int, np.ndarray]]) -> None:
        color_by, (frame, rgb) = wanted
        name = overlay_name(color_by, int(shot.frame_numbers[frame]))
        write_overlay(reconstruction, shot, rgb, frame, folder / name, color_by, world)

    in_threads(write, product(("depth", "residual"), plates.items()))
