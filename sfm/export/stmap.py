"""STMaps there and back: the undistorted plate is that of an ideal pinhole that sees all of the plate.

It is as large as that takes at the same focal length, more or less than the plate. The plate's border is curved in it,
so that edges are black where the plate showed nothing.

An STMap says of each of its pixels where to read the other picture: R from left to right, G from bottom to top, each as
part of that picture's size, 32-bit float, alpha 1 where that is inside it (Nuke's STMap node, OpenImageIO's st_warp).
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from sfm.errors import UsageError
from sfm.files import replacing
from sfm.geometry.camera import Camera
from sfm.images import write_exr
from sfm.scene import Reconstruction
from sfm.video import Shot

MAX_LARGER = 3.0  # times the plate: beyond, the lens model bends its corners out of all proportion
UNDISTORT, REDISTORT = "undistort", "redistort"
_BORDER = 400  # points along each edge of the plate


def write_stmaps(reconstruction: Reconstruction, shot: Shot, folder: str | Path) -> None:
    """Write `undistort.exr` and `redistort.exr`; of a zoom through a lens that distorts one of each a frame.

    The folder is replaced as a whole. Raises `UsageError` for a lens that cannot be undistorted, `InputError` when the
    folder cannot be written.
    """
    camera, ideal = reconstruction.camera, undistorted_camera(reconstruction.camera)
    with replacing(folder) as temporary:
        temporary.mkdir()
        for frame, ending in map_endings(camera, shot):
            lens, flat = camera.at(frame), ideal.at(frame)
            write_stmap(undistort_map(lens, flat), temporary / f"{UNDISTORT}{ending}")
            write_stmap(redistort_map(lens, flat), temporary / f"{REDISTORT}{ending}")


def map_endings(camera: Camera, shot: Shot) -> Iterator[tuple[int, str]]:
    """The frames that have maps of their own, and how the names of these end: the first one alone but for a zoom."""
    if not has_map_a_frame(camera):
        yield 0, ".exr"
        return
    yield from ((frame, f".{number:04d}.exr") for frame, number in enumerate(shot.frame_numbers.tolist()))


def has_map_a_frame(camera: Camera) -> bool:
    """Whether the maps change: of a zoom through a lens that distorts."""
    return bool(camera.batch) and bool(camera.distortion.any())


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


def _middles(camera: Camera) -> np.ndarray:
    """Of the pixels, (height, width, 2) px."""
    return np.stack(np.meshgrid(np.arange(camera.width) + 0.5, np.arange(camera.height) + 0.5), axis=-1)


def _st(xy: np.ndarray, camera: Camera) -> np.ndarray:
    part = xy / [camera.width, camera.height]
    return np.stack([part[..., 0], 1 - part[..., 1]], axis=-1)
