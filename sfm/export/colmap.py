"""A COLMAP model (Schönberger and Frahm 2016), binary or text: for COLMAP, Gaussian splats and most other tools.

Cameras PINHOLE without distortion, OPENCV with 4 coefficients, FULL_OPENCV with more; a zoom is one camera per frame.
Image id = frame index + 1, point id = track index + 1, image names are the names of the frames. COLMAP's pixels count
from the top-left corner, as ours do: nothing shifts. Its limit: no depth prior, no rolling shutter, no frames without a
camera; standard deviations go beside it, in two files that COLMAP does not read.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sfm.errors import InputError
from sfm.files import replacing
from sfm.geometry.camera import Camera
from sfm.geometry.rotation import quaternion_from_rotation
from sfm.scene import Reconstruction
from sfm.video import Shot

# coefficients of distortion -> COLMAP's id, name and number of coefficients; ours are in the same order
LENSES = {0: (1, "PINHOLE", 0), 4: (4, "OPENCV", 4), 5: (6, "FULL_OPENCV", 8), 8: (6, "FULL_OPENCV", 8)}


def write_colmap(reconstruction: Reconstruction, shot: Shot, folder: str | Path, text: bool = False) -> None:
    """Write `cameras`, `images` and `points3D`, `.bin` or with `text` `.txt`; the folder is replaced as a whole.

    Images are the frames with a camera. Their 2D points are the observations the adjustment believes, and a bridged
    frame is told by having none; every track with a point is a 3D point, its error the mean over them in px, -1 with
    none. Of a rolling shutter COLMAP knows only the middle rows' cameras, and finds larger errors.

    `images_sigma.txt` and `points3D_sigma.txt` hold standard deviations, of cameras and points in that order, by id.

    Raises `InputError` when the folder cannot be written, or a name holds a blank, which the text form cannot carry.
    """
    blank = next((name for name in shot.frame_names if any(c.isspace() for c in name)), None)
    if text and blank is not None:
        raise InputError(f"{blank!r}: COLMAP's text form cuts names at blanks; write the binary form")
    model = _gather(reconstruction, shot)
    with replacing(folder) as temporary:
        temporary.mkdir()
        write = _write_text if text else _write_binary
        write(model, temporary)
        _write_sigma(reconstruction, model, temporary)


@dataclass(frozen=True, slots=True, eq=False)
class _Model:
    """What both forms write. Observations once by (frame, track), as images want them, once by (track, frame)."""

    cameras: dict[int, Camera]
    lens: tuple[int, str, int]
    frames: np.ndarray  # (images,) frame index
    names: list[str]
    quaternions: np.ndarray  # (images, 4)
    translations: np.ndarray  # (images, 3)
    xy: list[np.ndarray]  # per image (k, 2)
    point_ids: list[np.ndarray]  # per image (k,)
    tracks: np.ndarray  # (points,) track index
    points: np.ndarray  # (points, 3)
    colors: np.ndarray  # (points, 3)
    errors: np.ndarray  # (points,)
    seen_by: list[np.ndarray]  # per point (k, 2): image id, index among the image's 2D points

    def camera_id(self, frame: int) -> int:
        """The camera of a frame: its own with a zoom lens, the only one otherwise."""
        return frame + 1 if len(self.cameras) > 1 else next(iter(self.cameras))


def _gather(reconstruction: Reconstruction, shot: Shot) -> _Model:
    tracks, camera = reconstruction.tracks, reconstruction.camera
    errors = reconstruction.reprojection_errors()
    used = np.flatnonzero(reconstruction.inliers & np.isfinite(errors))
    frame, track = tracks.frame[used], tracks.track[used]
    frames = np.flatnonzero(reconstruction.has_camera)
    has_point = np.flatnonzero(reconstruction.has_point)

    by_frame = np.argsort(frame, kind="stable")
    starts = np.searchsorted(frame[by_frame], frames)
    stops = np.searchsorted(frame[by_frame], frames, side="right")
    rank = np.empty(len(used), dtype=np.int64)  # of each observation among its image's 2D points
    rank[by_frame] = np.arange(len(used)) - np.searchsorted(frame[by_frame], frame[by_frame])
    per_image = [used[by_frame[a:b]] for a, b in zip(starts, stops, strict=True)]

    length = np.bincount(track, minlength=tracks.num_tracks)
    total = np.bincount(track, errors[used], tracks.num_tracks)
    mean = np.divide(total, length, out=np.full(len(length), -1.0), where=length > 0)
    elements = np.column_stack([frame + 1, rank])
    return _Model(
        cameras={int(f) + 1: camera.at(f) for f in frames} if camera.batch else {1: camera},
        lens=LENSES[len(camera.distortion)],
        frames=frames,
        names=[shot.frame_names[f] for f in frames],
        quaternions=quaternion_from_rotation(reconstruction.cams_from_world.rotation[frames]),
        translations=reconstruction.cams_from_world.translation[frames],
        xy=[tracks.xy[k] for k in per_image],
        point_ids=[tracks.track[k] + 1 for k in per_image],
        tracks=has_point,
        points=reconstruction.points[has_point],
        colors=tracks.colors[has_point],
        errors=mean[has_point],
        seen_by=np.split(elements, np.cumsum(length[has_point])[:-1]),
    )


def _params(camera: Camera, coefficients: int) -> list[float]:
    distortion = np.pad(camera.distortion, (0, coefficients - len(camera.distortion)))
    return [*camera.focal_length.tolist(), *camera.principal_point.tolist(), *distortion.tolist()]


def _write_binary(model: _Model, folder: Path) -> None:
    lens_id, _, coefficients = model.lens
    with open(folder / "cameras.bin", "wb") as file:
        file.write(struct.pack("<Q", len(model.cameras)))
        for camera_id, camera in model.cameras.items():
            params = _params(camera, coefficients)
            file.write(struct.pack("<iiQQ", camera_id, lens_id, camera.width, camera.height))
            file.write(struct.pack(f"<{len(params)}d", *params))

    sighting = np.dtype([("xy", "<f8", 2), ("point_id", "<i8")])
    with open(folder / "images.bin", "wb") as file:
        file.write(struct.pack("<Q", len(model.frames)))
        for k, frame in enumerate(model.frames.tolist()):
            pose = (*model.quaternions[k], *model.translations[k])
            file.write(struct.pack("<i7di", frame + 1, *pose, model.camera_id(frame)))
            rows = np.empty(len(model.xy[k]), sighting)
            rows["xy"], rows["point_id"] = model.xy[k], model.point_ids[k]
            file.write(model.names[k].encode() + b"\0" + struct.pack("<Q", len(rows)) + rows.tobytes())

    heads = np.empty(
        len(model.tracks), [("id", "<i8"), ("xyz", "<f8", 3), ("rgb", "u1", 3), ("error", "<f8"), ("length", "<u8")]
    )
    heads["id"], heads["xyz"], heads["rgb"], heads["error"] = model.tracks + 1, model.points, model.colors, model.errors
    heads["length"] = [len(elements) for elements in model.seen_by][: len(heads)]
    with open(folder / "points3D.bin", "wb") as file:
        file.write(struct.pack("<Q", len(heads)))
        for head, elements in zip(heads, model.seen_by, strict=False):
            file.write(head.tobytes() + elements.astype("<i4").tobytes())


def _write_text(model: _Model, folder: Path) -> None:
    for name, header, lines in (
        ("cameras", "CAMERA_ID, MODEL, WIDTH, HEIGHT, PARAMS[]", _camera_lines(model)),
        ("images", "IMAGE_ID, Q[4], T[3], CAMERA_ID, NAME\n# (X, Y, POINT3D_ID)[]", _image_lines(model)),
        ("points3D", "POINT3D_ID, XYZ[3], RGB[3], ERROR, (IMAGE_ID, POINT2D_IDX)[]", _point_lines(model)),
    ):
        text = "\n".join([f"# {header}", *lines, ""])
        (folder / f"{name}.txt").write_text(text, encoding="utf-8", newline="\n")


def _write_sigma(reconstruction: Reconstruction, model: _Model, folder: Path) -> None:
    """Beside the first camera, at one size of the scene; nan where unknown."""
    frames, tracks = model.frames, model.tracks
    cameras = [reconstruction.center_sigma[frames], reconstruction.rotation_sigma[frames]]
    points = [reconstruction.point_sigma[tracks], reconstruction.point_sigma_across[tracks]]
    for name, header, ids, columns in (
        ("images", "IMAGE_ID, CENTER[3] along the camera's axes, in the model's unit, ROTATION[3] about them, radians",
         frames, cameras),
        ("points3D", "POINT3D_ID, ALONG, ACROSS: the ray of the first image that sees it, over its depth",
         tracks, points),
    ):  # fmt: skip
        rows = np.column_stack([ids + 1, *columns])
        formats = ["%d", *["%.6g"] * (rows.shape[1] - 1)]
        np.savetxt(folder / f"{name}_sigma.txt", rows, formats, header=header, encoding="utf-8")


def _camera_lines(model: _Model) -> Iterator[str]:
    _, lens, coefficients = model.lens
    for camera_id, camera in model.cameras.items():
        params = " ".join(map(repr, _params(camera, coefficients)))
        yield f"{camera_id} {lens} {camera.width} {camera.height} {params}"


def _image_lines(model: _Model) -> Iterator[str]:
    for k, frame in enumerate(model.frames.tolist()):
        pose = " ".join(map(repr, [*model.quaternions[k].tolist(), *model.translations[k].tolist()]))
        yield f"{frame + 1} {pose} {model.camera_id(frame)} {model.names[k]}"
        sightings = zip(model.xy[k].tolist(), model.point_ids[k].tolist(), strict=True)
        yield " ".join(f"{x!r} {y!r} {point_id}" for (x, y), point_id in sightings)


def _point_lines(model: _Model) -> Iterator[str]:
    columns = (model.tracks + 1, model.points, model.colors, model.errors)
    rows = zip(*(column.tolist() for column in columns), model.seen_by, strict=False)
    for point_id, (x, y, z), (r, g, b), error, elements in rows:
        track = "".join(f" {image_id} {k}" for image_id, k in elements.tolist())
        yield f"{point_id} {x!r} {y!r} {z!r} {r} {g} {b} {error!r}{track}"
