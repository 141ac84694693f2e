"""The undistorted plate: an ideal pinhole that sees all of the plate, and the maps there and back (STMaps).

An STMap says of each of its pixels where to read the other picture: R from left to right, G from bottom to top, each as
part of that picture's size, 32-bit float, alpha 1 where that is inside it (Nuke's STMap node, OpenImageIO's st_warp).
"""

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from sfm.errors import UsageError
from sfm.export import FilmOptions, export, named
from sfm.files import replacing
from sfm.footage import frame_ranges
from sfm.geometry.camera import Camera
from sfm.images import read_exr, write_exr
from sfm.scene import Reconstruction
from sfm.video import Shot, Video

MAX_LARGER = 3.0  # times the plate: beyond, the lens model bends its corners out of all proportion
PLATES = "plates"
_BORDER = 400  # points along each edge of the plate


def undistorted_camera(camera: Camera) -> Camera:
    """The pinhole of the same focal length whose picture is centred and holds all of the plate: both sizes even.

    Raises `UsageError` where the lens bends the plate's edges too far out.
    """
    along, size = np.linspace(0, 1, _BORDER), np.array([camera.width, camera.height])
    edges = [np.column_stack([along, np.full(_BORDER, end)]) for end in (0.0, 1.0)]
    border = size * np.concatenate([*edges, *(edge[:, ::-1] for edge in edges)])
    focal = camera.focal_length.reshape(-1, 2)
    lenses = [camera] if not camera.batch else [camera.at(frame) for frame in range(len(focal))]
    seen = [lens.cam_from_img(border) for lens in lenses]
    # a plate that fits to a thousandth of a pixel does not grow by two
    half = np.ceil(
        np.max([np.abs(p * lens.focal_length).max(0) for p, lens in zip(seen, lenses, strict=True)], 0) - 1e-3
    )
    ends = np.ones((len(border), 1))
    off = [np.abs(lens.img_from_cam(np.hstack([p, ends])) - border).max() for p, lens in zip(seen, lenses, strict=True)]
    if not (max(off) < 0.1 and np.all(2 * half < MAX_LARGER * size)):
        raise UsageError(
            "this lens cannot be undistorted: its distortion folds the plate, or bends its corners far out"
        )
    return Camera(camera.focal_length, half, np.zeros(0), int(2 * half[0]), int(2 * half[1]))


def undistorted(reconstruction: Reconstruction, shot: Shot) -> tuple[Reconstruction, Shot]:
    """The same solve on the undistorted plate: camera, tracks and size of the plate."""
    camera, tracks = reconstruction.camera, reconstruction.tracks
    ideal = undistorted_camera(camera)
    moved = (
        tracks.undistorted(camera).xy + ideal.at(tracks.frame).principal_point - camera.at(tracks.frame).principal_point
    )
    there = replace(reconstruction, camera=ideal, tracks=replace(tracks, xy=moved))
    return there, replace(shot, width=ideal.width, height=ideal.height)


def undistort_map(camera: Camera, ideal: Camera) -> np.ndarray:
    """Where each pixel of the undistorted plate reads the plate, (height, width, 2) S and T; of one lens, no zoom."""
    p = (_middles(ideal) - ideal.principal_point) / ideal.focal_length
    return _st(camera.img_from_cam(np.concatenate([p, np.ones_like(p[..., :1])], axis=-1)), camera)


def redistort_map(camera: Camera, ideal: Camera) -> np.ndarray:
    """Where each pixel of the plate reads the undistorted one, (height, width, 2) S and T; of one lens, no zoom."""
    p = camera.cam_from_img(_middles(camera))
    return _st(p * ideal.focal_length + ideal.principal_point, ideal)


def write_stmap(st: np.ndarray, path: str | Path) -> None:
    """As an EXR of 32-bit floats. Raises `InputError` when `path` cannot be written."""
    inside = ((st >= 0) & (st <= 1)).all(-1)
    planes = {"R": st[..., 0], "G": st[..., 1], "B": np.zeros(st.shape[:2]), "A": inside}
    channels = {name: np.ascontiguousarray(plane, np.float32) for name, plane in planes.items()}
    with replacing(path) as temporary:
        write_exr(temporary, channels)


def write_undistorted(
    folder: str | Path, reconstruction: Reconstruction, video: Video, formats: Iterable[str],
    film: FilmOptions = FilmOptions(), progress: Callable[[float], None] | None = None,
) -> dict[str, Path]:  # fmt: skip
    """Write the maps, the undistorted plates and the solve on these in the named formats below `folder`.

    `undistort.exr`, `redistort.exr` (a zoom whose lens distorts: one of each a frame); `plates/NAME.NUMBER.exr` in half
    float of EXR and float TIFF plates, linear as they are, else `.png` of 8 or 16 bits, log as it is. A film back that
    is told grows with the plate. Returns where everything went; frames that cannot be read have no plate.
    """
    folder, camera, shot, formats = Path(folder), reconstruction.camera, video.shot, named(formats)
    if (folder / PLATES).exists() or (folder / "undistort.exr").exists():
        raise UsageError(f"{folder}: holds plates already, the shot's own perhaps; choose another folder")
    there, larger = undistorted(reconstruction, shot)
    zooms = bool(camera.batch) and bool(camera.distortion.any())
    names, st = [], np.zeros(0)
    for frame, plate in video.plates():
        number = int(shot.frame_numbers[frame])
        if frame == 0 or zooms:
            lens, ideal = camera.at(frame), there.camera.at(frame)
            st, ending = undistort_map(lens, ideal), f".{number:04d}" if zooms else ""
            write_stmap(st, folder / f"undistort{ending}.exr")
            write_stmap(redistort_map(lens, ideal), folder / f"redistort{ending}.exr")
        names.append(_write_plate(video, frame, plate, st, folder / PLATES))
        if progress is not None:
            progress((frame + 1) / len(video))
    first = folder / PLATES / names[0]
    numbers = frame_ranges(shot.frame_numbers).replace(" ", "")
    pattern = first.with_name(f"{shot.name}.{numbers}#{first.suffix}")
    larger = replace(larger, frame_names=tuple(names), source=str(pattern))
    wider = replace(film, sensor_mm=film.sensor_mm and film.sensor_mm * larger.width / shot.width)
    return {"plates": first.parent} | export(there, larger, folder, formats, wider)


def _middles(camera: Camera) -> np.ndarray:
    """Of the pixels, (height, width, 2) px."""
    return np.stack(np.meshgrid(np.arange(camera.width) + 0.5, np.arange(camera.height) + 0.5), axis=-1)


def _st(xy: np.ndarray, camera: Camera) -> np.ndarray:
    part = xy / [camera.width, camera.height]
    return np.stack([part[..., 0], 1 - part[..., 1]], axis=-1)


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
