"""A camera of an OpenUSD stage, and its points: any camera prim, keys in time codes, lens in tenths of a scene unit.

A frame between keys gets the camera USD interpolates there, and is told to be no key. Its limit: one ideal pinhole; how
large the plate is in px a stage does not say.
"""

import logging
from pathlib import Path
from typing import Any

import numpy as np

from sfm.errors import InputError, require
from sfm.export.film_camera import Z_UP
from sfm.export.usd import NEEDS
from sfm.geometry.transform import Rigid3
from sfm.interchange.tracked_camera import Y_UP, ImportOptions, TrackedCamera, check_span

NEAR = 1e-6  # a time code this near a frame is on it
SQUARE = 0.005  # pixel aspects nearer 1 than this are rounding in the film back

logger = logging.getLogger(__name__)


def read_usd(path: Path, size: tuple[int, int], options: ImportOptions) -> TrackedCamera:
    """The camera of a stage with its points, in metres.

    Raises `InputError` when the file is no stage, has no camera or several to choose from, or the camera is none of
    ours; `MissingDependencyError` without usd-core.
    """
    require(*NEEDS)
    from pxr import Tf, Usd, UsdGeom

    try:
        stage = Usd.Stage.Open(str(path))
    except Tf.ErrorException as error:
        raise InputError(f"{path}: not a USD file that can be read") from error
    camera = _camera(stage, path, options.camera)
    if camera.GetProjectionAttr().Get() == UsdGeom.Tokens.orthographic:
        raise InputError(f"{path}: {camera.GetPath()} is orthographic; expected a perspective camera")
    per_code = _frames_per_code(stage)
    pose, lens = (np.array(times) * per_code for times in (_pose_times(camera), _lens_times(camera)))
    first, last = _ends(stage, per_code, pose if len(pose) else lens, f"{path}: {camera.GetPath()}")
    check_span(path, first, last)
    frames, between = _frames(first, last, pose)
    axes = stage_axes(stage)
    rotation, translation = np.empty((len(frames), 3, 3)), np.empty((len(frames), 3))
    focal, center = np.empty((len(frames), 2)), np.empty((len(frames), 2))
    for k, code in enumerate((frames / per_code).tolist()):
        matrix = np.array(UsdGeom.XformCache(code).GetLocalToWorldTransform(camera.GetPrim())).T
        rotation[k], translation[k] = _turned(matrix[:3, :3], path), matrix[:3, 3]
        focal[k], center[k] = _lens(camera, code, np.array(size), options.pixel_aspect)
    if not (np.isfinite(focal).all() and np.isfinite(center).all() and (focal > 0).all()):
        raise InputError(f"{path}: {camera.GetPath()} has no focal length or no aperture")
    unit = UsdGeom.GetStageMetersPerUnit(stage)
    world_from_cams = Rigid3(axes @ rotation * Y_UP, unit * translation @ axes.T)
    points, colors = _points(stage, float(frames[0] / per_code))
    fps = options.fps or float(stage.GetTimeCodesPerSecond()) * per_code
    _tell_aspect(focal, path)
    sensor_mm = 100 * unit * float(camera.GetHorizontalApertureAttr().Get(float(frames[0] / per_code)))
    return TrackedCamera(
        frames, world_from_cams.inverse(), focal, center, size, between=between, fps=fps, points=unit * points @ axes.T,
        colors=colors, sensor_mm=sensor_mm,
    )  # fmt: skip


def stage_axes(stage: Any) -> np.ndarray:
    """Our world's axes from the stage's, (3, 3)."""
    from pxr import UsdGeom

    flip = np.diag(Y_UP)
    return flip @ Z_UP.T if UsdGeom.GetStageUpAxis(stage) == UsdGeom.Tokens.z else flip


def _camera(stage: Any, path: Path, wanted: str | None) -> Any:
    from pxr import Sdf, Usd, UsdGeom

    prims = Usd.PrimRange.Stage(stage, Usd.TraverseInstanceProxies())
    cameras = [UsdGeom.Camera(prim) for prim in prims if prim.IsA(UsdGeom.Camera)]
    names = ", ".join(str(camera.GetPath()) for camera in cameras)
    if not cameras:
        raise InputError(f"{path}: holds no camera")
    if wanted is not None:
        found = [c for c in cameras if Sdf.Path.IsValidPathString(wanted) and c.GetPath() == Sdf.Path(wanted)]
        if not found:
            raise InputError(f"{path}: no camera {wanted}; there are {names}")
        return found[0]
    moving = [camera for camera in cameras if _pose_times(camera)]
    if len(cameras) > 1 and len(moving) != 1:
        raise InputError(f"{path}: {len(cameras)} cameras; choose with --camera: {names}")
    return moving[0] if moving else cameras[0]


def _frames_per_code(stage: Any) -> float:
    told = stage.HasAuthoredMetadata("framesPerSecond") and stage.HasAuthoredMetadata("timeCodesPerSecond")
    return stage.GetFramesPerSecond() / stage.GetTimeCodesPerSecond() if told else 1.0


def _pose_times(camera: Any) -> list[float]:
    """Time codes at which the camera, or what it hangs on, has a key."""
    from pxr import UsdGeom

    prim, times = camera.GetPrim(), set()
    while prim and not prim.IsPseudoRoot():
        hung = UsdGeom.Xformable(prim)
        if hung:
            times |= set(hung.GetTimeSamples())
            if hung.GetResetXformStack():
                break
        prim = prim.GetParent()
    return sorted(times)


def _lens_times(camera: Any) -> list[float]:
    return sorted({time for attribute in _lens_attributes(camera) for time in attribute.GetTimeSamples()})


def _lens_attributes(camera: Any) -> tuple[Any, ...]:
    return (
        camera.GetFocalLengthAttr(), camera.GetHorizontalApertureAttr(), camera.GetVerticalApertureAttr(),
        camera.GetHorizontalApertureOffsetAttr(), camera.GetVerticalApertureOffsetAttr(),
    )  # fmt: skip


def _ends(stage: Any, per_code: float, keys: np.ndarray, what: str) -> tuple[float, float]:
    """First and last whole frame, of the keys, or of the stage where there are none."""
    if not len(keys):
        if not stage.HasAuthoredTimeCodeRange():
            raise InputError(f"{what} has no keys, and the stage no range of frames: there is no shot in it")
        keys = np.array([stage.GetStartTimeCode(), stage.GetEndTimeCode()]) * per_code
    first, last = np.ceil(keys[0] - NEAR), np.floor(keys[-1] + NEAR)
    if last < first:
        raise InputError(f"{what} has keys at no whole frame")
    return float(first) + 0.0, float(last) + 0.0  # no zero with a sign


def _frames(first: float, last: float, pose: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Whole frames (n,) that have a camera, and which of them lie between keys of the pose, (n,) bool."""
    frames = np.arange(first, last + 1)
    if not len(pose):
        return frames.astype(int), np.zeros(len(frames), bool)
    # keys of an open shutter lie around the frame, less than one away
    after = np.searchsorted(pose, frames - NEAR)
    before = np.searchsorted(pose, frames + NEAR, side="right") - 1
    near = (pose[np.minimum(after, len(pose) - 1)] - frames < 1 - NEAR) & (frames - pose[before] < 1 - NEAR)
    return frames.astype(int), ~near


def _turned(matrix: np.ndarray, path: Path) -> np.ndarray:
    """The rotation in a matrix that may scale as well."""
    u, _, vt = np.linalg.svd(matrix)
    if np.linalg.det(matrix) <= 0:
        raise InputError(f"{path}: the camera is mirrored, or has no size; expected a rotation and a scale")
    return u @ vt


def _lens(camera: Any, code: float, size: np.ndarray, pixel_aspect: float | None) -> tuple[np.ndarray, np.ndarray]:
    """Focal length and principal point in px, (2,) each; not finite where the camera has none."""
    focal, wide, high, right, up = (float(attribute.Get(code)) for attribute in _lens_attributes(camera))
    if pixel_aspect is not None:
        high = wide * size[1] / size[0] / pixel_aspect
    back = np.array([wide, high])
    with np.errstate(divide="ignore", invalid="ignore"):
        return focal / back * size, size * (0.5 + np.array([-right, up]) / back)


def _tell_aspect(focal: np.ndarray, path: Path) -> None:
    aspect = float(focal[0, 1] / focal[0, 0])
    if abs(aspect - 1) > SQUARE:
        logger.warning(
            f"{path}: its film back on this plate makes pixels {aspect:.4g} times as wide as high; --pixel-aspect 1 "
            "goes by its width alone"
        )


def _points(stage: Any, code: float) -> tuple[np.ndarray, np.ndarray]:
    """Points (m, 3) of all point prims, in the stage's world and unit, and colours (m, 3) as a plate stores them."""
    from pxr import Usd, UsdGeom

    points, colors, at = [np.zeros((0, 3))], [np.zeros((0, 3), np.uint8)], UsdGeom.XformCache(code)
    for prim in Usd.PrimRange.Stage(stage, Usd.TraverseInstanceProxies()):
        if not prim.IsA(UsdGeom.Points):
            continue
        cloud = UsdGeom.Points(prim)
        own = np.array(cloud.GetPointsAttr().Get(code) or np.zeros((0, 3)), dtype=float).reshape(-1, 3)
        matrix = np.array(at.GetLocalToWorldTransform(prim))
        points.append(own @ matrix[:3, :3] + matrix[3, :3])
        shown = np.array(cloud.GetDisplayColorAttr().Get(code) or np.zeros((0, 3)), dtype=float).reshape(-1, 3)
        shown = shown if len(shown) == len(own) else np.full((len(own), 3), 0.218)
        colors.append(np.rint(255 * np.clip(shown, 0, 1) ** (1 / 2.2)).astype(np.uint8))
    return np.concatenate(points), np.concatenate(colors)
