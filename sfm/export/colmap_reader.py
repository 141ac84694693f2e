"""A COLMAP model (Schönberger and Frahm 2016), binary or text, as a `Reconstruction`: to measure or draw any solve.

Its limit: the lens must be SIMPLE_PINHOLE, PINHOLE, SIMPLE_RADIAL, RADIAL, OPENCV or FULL_OPENCV, and all frames must
share size and distortion; focal length and principal point may differ, as with a zoom.
"""

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from sfm.errors import InputError
from sfm.geometry.camera import Camera
from sfm.geometry.rotation import rotation_from_quaternion
from sfm.geometry.transform import Rigid3
from sfm.scene import Reconstruction, Support, Tracks

# COLMAP's model id, name, number of parameters, and where fx fy cx cy k1 k2 p1 p2 k3 k4 k5 k6 stand among them
LENSES = (
    (0, "SIMPLE_PINHOLE", 3, (0, 0, 1, 2)),
    (1, "PINHOLE", 4, (0, 1, 2, 3)),
    (2, "SIMPLE_RADIAL", 4, (0, 0, 1, 2, 3)),
    (3, "RADIAL", 5, (0, 0, 1, 2, 3, 4)),
    (4, "OPENCV", 8, tuple(range(8))),
    (6, "FULL_OPENCV", 12, tuple(range(12))),
)
SIGHTING = np.dtype([("xy", "<f8", 2), ("point_id", "<i8")])
POINT = np.dtype([("id", "<i8"), ("xyz", "<f8", 3), ("rgb", "u1", 3)])


@dataclass(frozen=True, slots=True, eq=False)
class _Image:
    """One line of `images`."""

    name: str
    camera_id: int
    pose: np.ndarray  # (7,) quaternion w x y z, translation
    sightings: np.ndarray  # (k,) SIGHTING


def read_colmap(folder: str | Path) -> tuple[Reconstruction, tuple[str, ...]]:
    """The model in `folder` and the names of its images, in the order of its frames: sorted by name.

    A frame is an image with a pose, bridged if others see points and it sees none; a track is a 3D point; every
    observation is an inlier and every point counts as triangulated. Of two observations of a point in one image the
    first is kept.

    Raises `InputError` when there is no such model, or one with a lens `Camera` has no words for.
    """
    folder = Path(folder)
    suffix = next((s for s in (".bin", ".txt") if (folder / f"images{s}").is_file()), None)
    if suffix is None:
        raise InputError(f"{folder}: holds no COLMAP model; expected cameras, images and points3D, .bin or .txt")
    read_cameras, read_images, read_points = _BINARY if suffix == ".bin" else _TEXT
    try:
        cameras = read_cameras(folder / f"cameras{suffix}")
        images = sorted(read_images(folder / f"images{suffix}"), key=lambda image: image.name)
        points = read_points(folder / f"points3D{suffix}")
        return _reconstruction(cameras, images, points, folder), tuple(image.name for image in images)
    except (OSError, ValueError, KeyError, IndexError, struct.error) as error:
        raise InputError(f"{folder}: not a COLMAP model that can be read ({error})") from error


def _reconstruction(
    cameras: dict[int, Camera], images: list[_Image], points: np.ndarray, folder: Path
) -> Reconstruction:
    if not images:
        raise InputError(f"{folder}: the COLMAP model has no image with a pose")
    points = points[np.argsort(points["id"])]
    frame = np.repeat(np.arange(len(images)), [len(image.sightings) for image in images])
    sightings = np.concatenate([image.sightings for image in images])
    track = np.searchsorted(points["id"], sightings["point_id"])
    seen = np.isin(sightings["point_id"], points["id"])
    key = track[seen] * len(images) + frame[seen]
    keep = np.flatnonzero(seen)[np.unique(key, return_index=True)[1]]
    tracks = Tracks(frame[keep], track[keep], sightings["xy"][keep], len(images), len(points), points["rgb"])
    pose = np.array([image.pose for image in images])
    bridged = np.bincount(tracks.frame, minlength=len(images)) == 0
    bridged &= not bridged.all()
    return Reconstruction(
        camera=_one_camera([cameras[image.camera_id] for image in images], folder),
        cams_from_world=Rigid3(rotation_from_quaternion(pose[:, :4]), pose[:, 4:]),
        registered=~bridged,
        bridged=bridged,
        points=points["xyz"],
        inliers=np.ones(len(tracks), dtype=bool),
        tracks=tracks,
        depth_scale=np.full(len(images), np.nan),
        support=np.full(len(points), Support.TRIANGULATED),
        point_sigma=np.full(len(points), np.nan),
    )


def _one_camera(cameras: list[Camera], folder: Path) -> Camera:
    first = cameras[0]
    if all(camera is first for camera in cameras):
        return first
    shape = (first.width, first.height, first.distortion.tolist())
    if any((camera.width, camera.height, camera.distortion.tolist()) != shape for camera in cameras):
        raise InputError(f"{folder}: cameras differ in size or distortion; expected one lens, or a zoom, for a shot")
    focal, center = (np.array([getattr(c, k) for c in cameras]) for k in ("focal_length", "principal_point"))
    return Camera(focal, center, first.distortion, first.width, first.height)


def _camera(model: int | str, width: int, height: int, params: list[float]) -> Camera:
    lens = next((row for row in LENSES if model in row[:2]), None)
    if lens is None:
        raise ValueError(f"camera model {model}, expected one of {', '.join(row[1] for row in LENSES)}")
    values = np.array([params[k] for k in lens[3]])
    distortion = values[4:]
    if 0 < len(distortion) < 4:
        distortion = np.pad(distortion, (0, 4 - len(distortion)))
    return Camera(values[:2], values[2:4], distortion, width, height)


def _unpack(file: BinaryIO, form: str) -> tuple:
    return struct.unpack("<" + form, file.read(struct.calcsize("<" + form)))


def _cameras_bin(path: Path) -> dict[int, Camera]:
    cameras = {}
    with open(path, "rb") as file:
        for _ in range(_unpack(file, "Q")[0]):
            camera_id, model, width, height = _unpack(file, "iiQQ")
            count = next((row[2] for row in LENSES if row[0] == model), 0)
            cameras[camera_id] = _camera(model, width, height, list(_unpack(file, f"{count}d")))
    return cameras


def _images_bin(path: Path) -> list[_Image]:
    images = []
    data = path.read_bytes()
    (count,), at = struct.unpack_from("<Q", data), 8
    for _ in range(count):
        _, *pose, camera_id = struct.unpack_from("<i7di", data, at)
        end = data.index(b"\0", at + 64)
        (length,) = struct.unpack_from("<Q", data, end + 1)
        sightings = np.frombuffer(data, SIGHTING, length, end + 9)
        images.append(_Image(data[at + 64 : end].decode(), camera_id, np.array(pose), sightings))
        at = end + 9 + length * SIGHTING.itemsize
    return images


def _points_bin(path: Path) -> np.ndarray:
    data = path.read_bytes()
    (count,), at = struct.unpack_from("<Q", data), 8
    points = np.empty(count, POINT)
    for k in range(count):
        points[k] = np.frombuffer(data, POINT, 1, at)[0]
        (length,) = struct.unpack_from("<Q", data, at + POINT.itemsize + 8)
        at += POINT.itemsize + 16 + 8 * length
    return points


def _lines(path: Path) -> list[str]:
    return [line for line in path.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]


def _cameras_txt(path: Path) -> dict[int, Camera]:
    rows = [line.split() for line in _lines(path) if line]
    return {int(row[0]): _camera(row[1], int(row[2]), int(row[3]), [float(v) for v in row[4:]]) for row in rows}


def _images_txt(path: Path) -> list[_Image]:
    lines = _lines(path)  # an image nobody sees a point in has an empty second line
    images = []
    for head, body in zip(lines[::2], [*lines[1::2], ""], strict=False):
        row = head.split()
        numbers = np.array(body.split(), dtype=float).reshape(-1, 3)
        sightings = np.empty(len(numbers), SIGHTING)
        sightings["xy"], sightings["point_id"] = numbers[:, :2], numbers[:, 2]
        images.append(_Image(" ".join(row[9:]), int(row[8]), np.array(row[1:8], dtype=float), sightings))
    return images


def _points_txt(path: Path) -> np.ndarray:
    rows = [line.split(maxsplit=7)[:7] for line in _lines(path) if line]
    return np.array([(int(r[0]), tuple(map(float, r[1:4])), tuple(map(int, r[4:7]))) for r in rows], POINT)


_BINARY = (_cameras_bin, _images_bin, _points_bin)
_TEXT = (_cameras_txt, _images_txt, _points_txt)
