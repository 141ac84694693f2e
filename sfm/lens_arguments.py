"""The lens as the command line describes it: checked, and put on a plate."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from sfm.errors import UsageError
from sfm.geometry.camera import Camera
from sfm.images import MAX_PIXEL_ASPECT, MIN_PIXEL_ASPECT
from sfm.lens_metadata import focal_length_35mm, fov_deg_of
from sfm.options import Options
from sfm.sensors import sensor_mm
from sfm.video import Shot, Video

MIN_FOV_DEG, MAX_FOV_DEG = 0.5, 170.0  # horizontal; outside is a typing error, not a lens

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class LensWords:
    """The lens as the command line describes it; None where it is silent."""

    camera: str | None = None  # FX,FY,CX,CY
    focal_px: float | None = None
    focal_mm: float | None = None
    sensor_mm: float | None = None  # width
    sensor: str | None = None  # name of a camera
    distortion: str | None = None  # OpenCV's coefficients
    pixel_aspect: float | None = None  # None: as the plate says, else 1


def check_lens(words: LensWords, refine_focal: bool = False, refine_principal_point: bool = False) -> None:
    """Raise `UsageError` unless the lens is given in one way at most, by numbers that can be."""
    ways = {"--camera": words.camera, "--focal-px": words.focal_px, "--focal-mm": words.focal_mm}
    given = [name for name, value in ways.items() if value is not None]
    if len(given) > 1:
        raise UsageError(f"{' and '.join(given)}: give the lens in one way")
    if words.sensor_mm is not None and words.sensor is not None:
        raise UsageError("--sensor-mm and --sensor: give the sensor in one way")
    if (words.focal_mm is None) != (words.sensor_mm is None and words.sensor is None):
        raise UsageError("--focal-mm: goes with the sensor, as --sensor-mm or as --sensor and the camera's name")
    for name, value in (
        ("--focal-px", words.focal_px), ("--focal-mm", words.focal_mm), ("--sensor-mm", words.sensor_mm),
    ):  # fmt: skip
        if value is not None and not 0 < value < 1e6:
            raise UsageError(f"{name} {value:g}: expected a positive number")
    if words.pixel_aspect is not None and not MIN_PIXEL_ASPECT < words.pixel_aspect < MAX_PIXEL_ASPECT:
        raise UsageError(f"--pixel-aspect {words.pixel_aspect:g}: expected width over height of a pixel, 2 for 2x")
    if words.camera is not None:
        _intrinsics(words.camera)
        if words.pixel_aspect not in (None, 1):
            raise UsageError("--camera and --pixel-aspect: FY over FX of --camera is the pixel aspect already")
    if words.sensor is not None:
        sensor_mm(words.sensor)
    if words.distortion is not None:
        _coefficients(words.distortion)
        if not given:
            raise UsageError("--distortion: needs the focal length it belongs to: --camera, --focal-px or --focal-mm")
        if refine_focal or refine_principal_point:
            name = "--refine-focal" if refine_focal else "--refine-principal-point"
            raise UsageError(f"--distortion and {name}: the lens is fixed where distortion is given; drop one")


def pixel_aspect(shot: Shot, words: LensWords) -> float:
    """The one given, else what the plate says of itself, else 1."""
    said, given = shot.pixel_aspect, words.pixel_aspect
    if given is None and words.camera is not None:
        fx, fy, *_ = _intrinsics(words.camera)
        given = float(fy / fx)
    if said is not None and given is not None and abs(said / given - 1) > 0.01:
        logger.warning(f"the plate says a pixel aspect of {said:g}; {given:g} was given, and is taken")
    elif said is not None and given is None and said != 1:
        logger.warning(f"pixel aspect {said:g}, as the plate says; --pixel-aspect overrules")
    return given or said or 1.0


def lens(shot: Shot, words: LensWords) -> Camera | None:
    """The camera that words which passed `check_lens` describe, None without a focal length.

    Of an anamorphic plate the focal length is the vertical one, see `Camera.from_focal_px`; the sensor's width is as it
    is, not desqueezed. Raises `UsageError` where the lens does not fit the plate.
    """
    width, height, aspect = shot.width, shot.height, words.pixel_aspect or 1.0
    if words.camera is not None:
        fx, fy, cx, cy = _intrinsics(words.camera)
        if not (0 < cx < width and 0 < cy < height):
            raise UsageError(f"--camera {words.camera}: its centre is outside the plate of {width} x {height} px")
        found = Camera(np.array([fx, fy]), np.array([cx, cy]), np.zeros(0), width, height)
    elif words.focal_mm is not None:
        focal_px = words.focal_mm / _shown_sensor_mm(shot, words) * width
        found = Camera.from_focal_px(focal_px, width, height, aspect)
    elif words.focal_px is not None:
        found = Camera.from_focal_px(words.focal_px, width, height, aspect)
    else:
        return None
    fov = float(found.horizontal_fov_deg)
    if not MIN_FOV_DEG < fov < MAX_FOV_DEG:
        raise UsageError(
            f"a focal length of {found.focal_length[0]:.4g} px sees {fov:.3g} degrees across this plate of {width} px; "
            f"expected {MIN_FOV_DEG:g} to {MAX_FOV_DEG:g}"
        )
    return found if words.distortion is None else _distorted(found, words.distortion)


def told_sensor_mm(options: Mapping[str, Any]) -> float | None:
    """Width of the sensor that a solve was told of, as its options are kept; None where it was not."""
    name = options.get("sensor")
    return sensor_mm(name)[0] if name else options.get("sensor_mm")


def starting_as_filmed(options: Options, video: Video) -> Options:
    """Options that start an unknown lens from the focal length the first frame's file says, where it says any."""
    file = video.file(0)
    focal = focal_length_35mm(file) if file is not None else None
    if file is None or focal is None:
        return options
    fov = fov_deg_of(focal, video.shot.width, video.shot.height, options.pixel_aspect)
    if not MIN_FOV_DEG < fov < MAX_FOV_DEG:
        return options
    logger.info(f"{file.name} says {focal:g} mm on 35 mm film, {fov:.1f} degrees across: the focal length starts there")
    return replace(options, start_fov_deg=fov)


def check_readout(milliseconds: float) -> None:
    """Raise `UsageError` unless it may be the read-out time of a sensor."""
    if not 0 <= milliseconds < 1e6:
        raise UsageError(f"--readout-ms {milliseconds:g}: expected 0 or a positive number")


def readout(milliseconds: float, fps: float, step: int) -> float:
    """The read-out time in frames of the shot, every `step`-th of the clip's. Raises `UsageError` beyond one frame."""
    frames = milliseconds * fps / 1000
    if frames > 1:
        raise UsageError(f"--readout-ms {milliseconds:g}: longer than a frame, which takes {1000 / fps:.4g} ms")
    return frames / step


def _shown_sensor_mm(shot: Shot, words: LensWords) -> float:
    """Width of the sensor that the plate shows."""
    if words.sensor is None:
        return words.sensor_mm or 0.0
    wide, high = sensor_mm(words.sensor)
    if shot.width / shot.height < 0.97 * wide / high:
        logger.warning(
            f"--sensor {words.sensor}: {wide:g} x {high:g} mm, but the plate of {shot.width} x {shot.height} px is "
            "narrower: were its sides cropped, give the width that is left as --sensor-mm"
        )
    return wide


def _distorted(camera: Camera, distortion: str) -> Camera:
    """The camera with coefficients that bend the plate, but nowhere fold it."""
    found = replace(camera, distortion=_coefficients(distortion))
    corners = np.array([[x, y] for x in (0.0, camera.width) for y in (0.0, camera.height)])
    back = found.img_from_cam(np.column_stack([found.cam_from_img(corners), np.ones(4)]))
    if not np.abs(back - corners).max() < 1.0:
        raise UsageError(
            f"--distortion {distortion}: folds the picture before its corners; expected OpenCV's "
            "k1,k2,p1,p2,k3,k4,k5,k6 for this focal length"
        )
    return found


def _coefficients(distortion: str) -> np.ndarray:
    found = _numbers("--distortion", distortion, (2, 4, 5, 8), "2, 4, 5 or 8 numbers k1,k2,p1,p2,k3,k4,k5,k6")
    return np.pad(found, (0, max(0, 4 - len(found))))


def _intrinsics(camera: str) -> np.ndarray:
    found = _numbers("--camera", camera, (4,), "four numbers FX,FY,CX,CY")
    if not (np.all(found[:2] > 0) and np.all(found[:2] < 1e6)):
        raise UsageError(f"--camera {camera}: expected positive focal lengths and a centre, in px")
    return found


def _numbers(name: str, text: str, counts: tuple[int, ...], expected: str) -> np.ndarray:
    try:
        found = np.array([float(number) for number in text.split(",")])
    except ValueError:
        found = np.zeros(0)
    if len(found) not in counts or not np.isfinite(found).all():
        raise UsageError(f"{name} {text}: expected {expected}")
    return found
