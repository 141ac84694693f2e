"""The undistorted plates of a shot, the maps there and back, and the solve as it is on these plates."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from sfm.errors import UsageError
from sfm.export import PLACES, FilmOptions, export, named
from sfm.export.stmap import (
    REDISTORT,
    UNDISTORT,
    map_endings,
    redistort_map,
    undistort_map,
    undistorted,
    write_stmap,
)
from sfm.files import replacing
from sfm.footage import frame_ranges
from sfm.geometry.camera import Camera
from sfm.images import read_exr, write_exr
from sfm.scene import Reconstruction
from sfm.video import Shot, Video

PLATES = "plates"


def write_undistorted(
    folder: str | Path, reconstruction: Reconstruction, video: Video, formats: Iterable[str],
    film: FilmOptions = FilmOptions(), progress: Callable[[float], None] | None = None, *, force: bool = False,
) -> dict[str, Path]:  # fmt: skip
    """Write the maps, the undistorted plates and the solve on these in the named formats below `folder`.

    `undistort.exr`, `redistort.exr` (a zoom whose lens distorts: one of each a frame); `plates/NAME.NUMBER.exr` in half
    float of EXR and float TIFF plates, linear as they are, else `.png` of 8 or 16 bits, log as it is. A film back that
    is told grows and shrinks with the plate. Returns where everything went; frames that cannot be read have no plate.

    The folder appears whole. Raises `UsageError` where it holds anything: with force only where that is not all of an
    earlier call; `InputError` where it cannot be written.
    """
    folder, camera, shot = Path(folder), reconstruction.camera, video.shot
    formats = [name for name in named(formats) if name != "stmap"]  # of these plates: nothing to undistort
    _check_replaceable(folder, shot, force)
    there, resized = undistorted(reconstruction, shot)
    endings = dict(map_endings(camera, shot))
    names, st = [], np.zeros(0)
    with replacing(folder.resolve()) as temporary:
        temporary.mkdir()
        for frame, plate in video.plates():
            if frame in endings:
                lens, ideal = camera.at(frame), there.camera.at(frame)
                st = undistort_map(lens, ideal)
                write_stmap(st, temporary / f"{UNDISTORT}{endings[frame]}")
                write_stmap(redistort_map(lens, ideal), temporary / f"{REDISTORT}{endings[frame]}")
            names.append(_write_plate(video, frame, plate, st, temporary / PLATES))
            if progress is not None:
                progress((frame + 1) / len(video))
        first = folder / PLATES / names[0]
        numbers = frame_ranges(shot.frame_numbers).replace(" ", "")
        pattern = first.with_name(f"{shot.name}.{numbers}#{first.suffix}")
        resized = replace(resized, frame_names=tuple(names), source=str(pattern))
        wide = replace(film, sensor_mm=film.sensor_mm and film.sensor_mm * resized.width / shot.width)
        written = export(there, resized, temporary, formats, wide)
    return {"plates": first.parent} | {name: folder / place.relative_to(temporary) for name, place in written.items()}


def nothing_to_undo(camera: Camera) -> bool:
    """Whether the undistorted plates are the plates: no distortion, and the principal point in the middle."""
    middle = np.array([camera.width, camera.height]) / 2
    return not camera.distortion.any() and bool(np.abs(camera.principal_point - middle).max() < 1e-3)


def _check_replaceable(folder: Path, shot: Shot, force: bool) -> None:
    """Complain unless the folder is empty, or holds undistorted plates, nothing else, and may be replaced."""
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder}: is a file; choose a folder for the plates")
    there = sorted(file.name for file in folder.glob("*") if not file.name.startswith("."))
    if not there:
        return
    maps = [name for name in there if name.endswith(".exr") and name.startswith((UNDISTORT, REDISTORT))]
    ours = {PLATES, *maps, *(Path(place).parts[0] for place in PLACES.values())}
    if folder.resolve() in Path(shot.source).resolve().parents:
        raise UsageError(f"{folder}: the shot's own plates are in it; choose another folder")
    if foreign := [name for name in there if name not in ours] or ([] if maps else there):
        raise UsageError(f"{folder}: holds files that sfm undistort did not write ({', '.join(foreign[:3])}); "
                         "choose another folder")  # fmt: skip
    if not force:
        raise UsageError(f"{folder}: holds undistorted plates already; --force replaces them")


def _write_plate(video: Video, frame: int, plate: np.ndarray | None, st: np.ndarray, folder: Path) -> str:
    """One plate through a map; its name. Where the plate cannot be read nothing is written."""
    shot = video.shot
    planes = _float_planes(plate, None if shot.is_movie else video.file(frame))
    path = folder / f"{shot.name}.{int(shot.frame_numbers[frame]):04d}{'.exr' if planes else '.png'}"
    x = (st[..., 0] * shot.width - 0.5).astype(np.float32)
    y = ((1 - st[..., 1]) * shot.height - 0.5).astype(np.float32)

    def seen(picture: np.ndarray) -> np.ndarray:
        return cv2.remap(picture, x, y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_CONSTANT, borderValue=0)

    if planes:
        with replacing(path) as temporary:
            write_exr(
                temporary, {name: seen(plane.astype(np.float32)).astype(np.float16) for name, plane in planes.items()}
            )
    elif plate is not None:
        with replacing(path) as temporary:
            temporary.write_bytes(cv2.imencode(".png", seen(np.ascontiguousarray(plate[..., ::-1])))[1].tobytes())
    return path.name


def _float_planes(plate: np.ndarray | None, file: Path | None) -> dict[str, np.ndarray]:
    """All channels of an EXR, or the colours of another plate of floats; none of other plates."""
    if file is not None and file.suffix.lower() == ".exr":
        return read_exr(file) or {}
    if plate is None or plate.dtype.kind != "f":
        return {}
    return {name: np.ascontiguousarray(plate[..., k]) for k, name in enumerate("RGB")}
