"""A camera as a file of another program has it, and the `Reconstruction` it makes."""

import logging
import re
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from sfm.errors import InputError, UsageError
from sfm.footage import frame_ranges
from sfm.geometry.camera import Camera
from sfm.geometry.transform import Rigid3
from sfm.movies import DEFAULT_FPS
from sfm.scene import Reconstruction, Support, Tracks
from sfm.video import Shot

Y_UP = np.array([1.0, -1.0, -1.0])  # a world with y up, or a camera that looks along its -z, to ours; its own inverse
MAX_SPAN = 100_000  # frames of a shot, an hour and more: beyond, a number is broken

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ImportOptions:
    """What a source does not say of its camera."""

    size: tuple[int, int] | None = None  # of the plate, px; None: as the clip, or as the source says
    pixel_aspect: float | None = None  # width over height of a pixel; None: as the film back says, else 1
    camera: str | None = None  # which prim of a USD stage; None: the only one, or the only one that moves
    frame_offset: int = 0  # added to the source's frame numbers
    fps: float | None = None  # None: as the source says, else 24

    def __post_init__(self):
        if self.size is not None and min(self.size) < 1:
            raise UsageError(f"--size {self.size[0]}x{self.size[1]}: expected positive numbers of px")
        if self.pixel_aspect is not None and not 0.1 < self.pixel_aspect < 10:
            raise UsageError(f"--pixel-aspect {self.pixel_aspect:g}: expected width over height of a pixel, 2 for 2x")


@dataclass(frozen=True, slots=True, eq=False)
class TrackedCamera:
    """n frames with a camera, m points; our axes: world and camera x right, y down, z forward; lengths in metres where
    the source knows them.

    frame_numbers (n,) rising; cams_from_world (n,); focal_length, principal_point (n, 2) px; size: of the plate;
    between (n,) bool: between the source's keys, where it interpolates; fps; points (m, 3), colors (m, 3) uint8; names:
    of the frames, where the source has any; sensor_mm: width of the film back, where it tells.
    """

    frame_numbers: np.ndarray
    cams_from_world: Rigid3
    focal_length: np.ndarray
    principal_point: np.ndarray
    size: tuple[int, int]
    between: np.ndarray
    fps: float = DEFAULT_FPS
    points: np.ndarray | None = None
    colors: np.ndarray | None = None
    names: tuple[str, ...] = ()
    sensor_mm: float | None = None

    def as_scene(self, source: Path) -> tuple[Reconstruction, Shot]:
        """Cameras and points without tracks. Frames from the first to the last; those the source leaves out have no
        camera."""
        known = np.asarray(self.frame_numbers)
        numbers = known if self.names else np.arange(known[0], known[-1] + 1)
        names = self.names or tuple(f"{source.stem}.{number:04d}.png" for number in numbers)
        shot = Shot(source.stem, numbers, names, *self.size, self.fps, str(source))
        points = np.zeros((0, 3)) if self.points is None else self.points
        colors = np.zeros((0, 3)) if self.colors is None else self.colors
        at, count = np.searchsorted(numbers, known), len(numbers)
        rotation, translation = np.full((count, 3, 3), np.nan), np.full((count, 3), np.nan)
        rotation[at], translation[at] = self.cams_from_world.rotation, self.cams_from_world.translation
        registered, bridged = np.zeros(count, bool), np.zeros(count, bool)
        registered[at], bridged[at] = ~self.between, self.between
        scene = Reconstruction(
            camera=_lens(numbers, known, self.focal_length, self.principal_point, self.size),
            cams_from_world=Rigid3(rotation, translation),
            registered=registered,
            bridged=bridged,
            points=points,
            inliers=np.zeros(0, bool),
            tracks=Tracks(np.zeros(0), np.zeros(0), np.zeros((0, 2)), count, len(points), colors),
            depth_scale=np.full(count, np.nan),
            support=np.full(len(points), Support.TRIANGULATED),
            point_sigma=np.full(len(points), np.nan),
        )
        return scene, shot


def check_span(path: Path, first: float, last: float) -> None:
    """Raise `InputError` unless frames from first to last may be those of a shot."""
    if not (last - first < MAX_SPAN and max(abs(first), abs(last)) < 2**31):
        raise InputError(f"{path}: frames {first:.15g} to {last:.15g}; expected a shot, of at most {MAX_SPAN:,} frames")


def placed_on(
    scene: Reconstruction, shot: Shot, clip: Shot | None, frame_offset: int = 0
) -> tuple[Reconstruction, Shot]:
    """The scene on the frames of a clip, by plate number; without a clip, with its frame numbers moved.

    Frames that the clip does not have are left out, with a warning; frames of the clip that the scene does not have get
    no camera. Raises `InputError` where they share no frame, or the plates differ in size.
    """
    numbers = np.asarray(shot.frame_numbers) + frame_offset
    if clip is None:
        return scene, replace(shot, frame_numbers=numbers, frame_names=_renumbered(shot, numbers))
    if (shot.width, shot.height) != (clip.width, clip.height):
        raise InputError(f"{shot.name}: its plate is {shot.width}x{shot.height}, the clip's {clip.width}x{clip.height}")
    inside = np.isin(numbers, clip.frame_numbers)
    if not inside.any():
        raise InputError(
            f"{shot.name}: its frames are {frame_ranges(numbers)}, the clip's {frame_ranges(clip.frame_numbers)}: none "
            "in common; --frame-offset N adds N to its own"
        )
    if not inside.all():
        logger.warning(f"{shot.name}: {np.count_nonzero(~inside)} of its frames are not in the clip and left out")
    at, count = np.searchsorted(clip.frame_numbers, numbers[inside]), len(clip.frame_numbers)
    of_frames = {
        name: _spread(getattr(scene, name)[inside], at, count)
        for name in ("registered", "bridged", "depth_scale", "bridge_error_px", "center_sigma", "rotation_sigma")
    }
    cams, tracks, camera = scene.cams_from_world, scene.tracks, scene.camera
    keep = inside[tracks.frame]
    place = np.zeros(len(numbers), int)
    place[inside] = at
    if camera.batch:
        lens = (camera.focal_length, camera.principal_point)
        zoom = _lens(clip.frame_numbers, numbers, *lens, (camera.width, camera.height))
        camera = replace(zoom, distortion=camera.distortion)
    kept = tracks.select(keep)
    return replace(
        scene,
        camera=camera,
        cams_from_world=Rigid3(_spread(cams.rotation[inside], at, count), _spread(cams.translation[inside], at, count)),
        tracks=replace(kept, frame=place[kept.frame], num_frames=count),
        inliers=scene.inliers[keep],
        **of_frames,
    ), clip


def _spread(values: np.ndarray, at: np.ndarray, count: int) -> np.ndarray:
    """Values of some frames among all, NaN or False elsewhere."""
    empty = np.zeros if values.dtype == bool else lambda shape, dtype: np.full(shape, np.nan, dtype)
    found = empty((count, *values.shape[1:]), values.dtype)
    found[at] = values
    return found


def _lens(
    numbers: np.ndarray, known: np.ndarray, focal: np.ndarray, center: np.ndarray, size: tuple[int, int]
) -> Camera:
    """One lens where it never changes; else one a frame, interpolated where it is not known."""
    if np.ptp(focal, axis=0).max() < 1e-9 * focal.max() and np.ptp(center, axis=0).max() < 1e-6:
        return Camera(focal[0], center[0], np.zeros(0), *size)
    focal, center = (np.column_stack([np.interp(numbers, known, v) for v in values.T]) for values in (focal, center))
    return Camera(focal, center, np.zeros(0), *size)


def _renumbered(shot: Shot, numbers: np.ndarray) -> tuple[str, ...]:
    """Names of frames with other numbers in them, as many digits as before."""
    if np.array_equal(numbers, shot.frame_numbers):
        return shot.frame_names
    names = []
    for name, old, new in zip(shot.frame_names, shot.frame_numbers.tolist(), numbers.tolist(), strict=True):
        stem, dot, suffix = name.rpartition(".")
        same = re.sub(r"\d+$", lambda d, n=new: f"{n:0{len(d[0])}d}", stem)
        names.append(f"{same}{dot}{suffix}" if re.search(rf"0*{old}$", stem) else name)
    return tuple(names)
