"""A solve as film programs count it: millimetres of a film back, a world with y up, a camera that looks along its -z.

Such cameras are ideal pinholes: of a lens that distorts they do not go with the plate as it is. The film back's width
is told, or assumed and said to be; its height follows from the plate and its pixel aspect.
"""

import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
from scipy.spatial.transform import Rotation

from sfm.errors import InputError, UsageError
from sfm.footage import frame_ranges
from sfm.geometry.transform import Rigid3
from sfm.scene import Reconstruction
from sfm.video import Shot

FULL_FRAME_MM = 36.0
METERS = {"m": 1.0, "cm": 0.01}
NEAR_M, FAR_M = 0.01, 1e4  # what a camera shows: programs' own near planes cut small sets
MM_PER_INCH = 25.4
MAX_LOCATORS = 300
UNKNOWN = 1.0  # relative standard deviation of a depth, beyond which it is not known
PARTS = 3  # of the picture's width and height, and of the shot, that give points in turn
Z_UP = np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])  # from y up
FLIP = np.array([1.0, -1.0, -1.0])  # y down, z forward to y up, z backward; its own inverse

Unit = Literal["m", "cm"]


@dataclass(frozen=True, slots=True)
class FilmOptions:
    """What a solve does not know."""

    sensor_mm: float | None = None  # width of the film back; None: 36 mm, and files say that it is assumed
    unit: Unit = "m"  # lengths are written in; a unit of the solve counts as a metre

    def __post_init__(self):
        if self.sensor_mm is not None and not 0 < self.sensor_mm < 1e6:
            raise UsageError(f"--sensor-mm {self.sensor_mm:g}: expected a positive number")
        if self.unit not in METERS:
            raise UsageError(f"--units {self.unit}: not one of {', '.join(METERS)}")


def _located(reconstruction: Reconstruction) -> np.ndarray:
    """Tracks with a point, but those whose depth is anything: one of these puts "frame all" out of sight. All, where
    that is all there is."""
    there = reconstruction.has_point
    known = there & ~(reconstruction.point_sigma > UNKNOWN)
    return np.flatnonzero(known if known.any() else there)


@dataclass(frozen=True)
class FilmCamera:
    """The camera and the points of a solve; n frames that have a camera, m tracks that have a point.

    frame_numbers (n,) of the plate; missing: plate numbers without a camera, which get no key; bridged: those whose
    camera is interpolated; world_from_cams (n,); focal_px, principal_point (n, 2) px of the undistorted plate;
    distorted: the plate is not that; tracks (m,) that the points (m, 3) belong to, colors (m, 3) uint8; left_out: how
    many points there are beside, whose depth is anything.

    Lengths but millimetres are in `options.unit`.
    """

    shot: Shot
    options: FilmOptions
    frame_numbers: np.ndarray
    missing: np.ndarray
    world_from_cams: Rigid3
    focal_px: np.ndarray
    principal_point: np.ndarray
    distorted: bool
    bridged: np.ndarray
    tracks: np.ndarray
    points: np.ndarray
    colors: np.ndarray
    left_out: int

    @classmethod
    def of(cls, reconstruction: Reconstruction, shot: Shot, options: FilmOptions = FilmOptions()) -> "FilmCamera":
        """Of a solve, in its own world, turned so that y is up. Raises `InputError` where no frame has a camera."""
        if not reconstruction.has_camera.any():
            raise InputError(f"{shot.name}: no frame has a camera; there is nothing to export")
        frames, tracks = np.flatnonzero(reconstruction.has_camera), _located(reconstruction)
        numbers, scale = np.asarray(shot.frame_numbers), 1 / METERS[options.unit]
        cams = reconstruction.cams_from_world[frames].inverse()
        rotation = FLIP[:, None] * cams.rotation * FLIP
        camera = reconstruction.camera
        return cls(
            shot, options, numbers[frames], numbers[~reconstruction.has_camera],
            Rigid3(rotation, settled(scale * FLIP * cams.translation)),
            np.broadcast_to(camera.focal_length, (len(numbers), 2))[frames],
            np.broadcast_to(camera.principal_point, (len(numbers), 2))[frames],
            bool(camera.distortion.any()), numbers[reconstruction.bridged], tracks,
            settled(scale * FLIP * reconstruction.points[tracks]), reconstruction.tracks.colors[tracks],
            int(reconstruction.has_point.sum()) - len(tracks),
        )  # fmt: skip

    @property
    def size(self) -> np.ndarray:
        """Width and height of the plate, px."""
        return np.array([self.shot.width, self.shot.height])

    @property
    def plate(self) -> str:
        """The movie, or the image sequence with a # for every digit of the frame number; empty where none is known."""
        first = Path(self.first_plate)
        if self.shot.is_movie or not self.first_plate:
            return self.first_plate
        return first.with_name(re.sub(r"\d+(?=\.\w+$)", lambda digits: "#" * len(digits[0]), first.name)).as_posix()

    @property
    def first_plate(self) -> str:
        """The movie, or the first image; empty where none is known, as of a COLMAP model."""
        source = Path(self.shot.source).absolute()
        if self.shot.is_movie:
            return source.as_posix()
        return (source.parent / self.shot.frame_names[0]).as_posix() if "#" in source.name else ""

    @property
    def pixel_aspect(self) -> float:
        """Width over height of what a stored pixel shows."""
        return float(self.focal_px[0, 1] / self.focal_px[0, 0])

    @cached_property
    def aperture_mm(self) -> np.ndarray:
        """Width and height of the film back."""
        width = self.options.sensor_mm or FULL_FRAME_MM
        return np.array([width, width * self.shot.height / self.shot.width / self.pixel_aspect])

    @cached_property
    def focal_mm(self) -> np.ndarray:
        """Focal lengths (n,)."""
        return self.focal_px[:, 0] * self.aperture_mm[0] / self.shot.width

    @cached_property
    def window_offset(self) -> np.ndarray:
        """How far right of and above the principal point the plate's middle lies, over width and height, (n, 2)."""
        return settled(np.array([1, -1]) * (0.5 - self.principal_point / self.size))

    @property
    def matrices(self) -> np.ndarray:
        """World from camera (n, 4, 4), columns to be multiplied."""
        last = np.tile([[[0.0, 0, 0, 1]]], (len(self.focal_px), 1, 1))
        return np.concatenate([settled(self.world_from_cams.as_matrix()), last], 1)

    @property
    def vertical_fov_deg(self) -> np.ndarray:
        """Vertical field of view (n,)."""
        return np.degrees(2 * np.arctan(0.5 * self.shot.height / self.focal_px[:, 1]))

    @property
    def euler_zxy_deg(self) -> np.ndarray:
        """Rotations about x, y, z (n, 3) that Nuke and Maya call ZXY, R = Ry Rx Rz, without jumps of a full turn."""
        y, x, z = Rotation.from_matrix(self.world_from_cams.rotation).as_euler("YXZ").T
        return settled(np.degrees(np.unwrap(np.column_stack([x, y, z]), axis=0)))

    @property
    def point_width(self) -> float:
        """Of a point as it is drawn: a two hundredth of how far the scene is."""
        if not len(self.points):
            return 0.0
        away = np.linalg.norm(self.points - self.world_from_cams.translation[0], axis=1)
        return float(np.median(away)) / 200

    def best_tracks(self, reconstruction: Reconstruction, most: int = MAX_LOCATORS) -> np.ndarray:
        """Indices into `tracks` of at most `most` points: all parts of the picture, in all parts of the shot, give
        their best known one in turn, each of its quarters, near and far."""
        sigma = reconstruction.point_sigma[self.tracks]
        of, part, cell, quarter, far = self._sightings(reconstruction)
        place = np.ravel_multi_index((part, cell), (PARTS, PARTS**2))
        spot = np.ravel_multi_index((place, quarter, far), (PARTS**3, 4, 2))
        turn = _turns(place, np.lexsort([sigma[of], _turns(spot, np.lexsort([sigma[of]]))]))
        order = [*of[np.lexsort([sigma[of], turn])], *np.argsort(sigma, kind="stable")]  # those seen nowhere come last
        return np.array(list(dict.fromkeys(order))[:most], int)

    def _sightings(self, reconstruction: Reconstruction) -> tuple[np.ndarray, ...]:
        """Where each point is first seen in each part of the shot: index into `tracks`, part, cell of the picture's
        grid, quarter of this cell, and whether it is farther than half of the points seen then in that cell."""
        tracks, size = reconstruction.tracks, self.size
        row_of = np.full(tracks.num_tracks, -1)
        row_of[self.tracks] = np.arange(len(self.tracks))
        used = np.flatnonzero(reconstruction.inliers & (row_of[tracks.track] >= 0))
        part = tracks.frame[used] * PARTS // len(reconstruction.registered)
        used = used[np.lexsort([tracks.frame[used], part, tracks.track[used]])]
        part = tracks.frame[used] * PARTS // len(reconstruction.registered)
        first = np.unique(tracks.track[used] * PARTS + part, return_index=True)[1]
        used, part = used[first], part[first]
        fine = (tracks.xy[used] / size * 2 * PARTS).astype(int).clip(0, 2 * PARTS - 1)
        cell, quarter = fine // 2 @ [1, PARTS], fine % 2 @ [1, 2]
        cams = reconstruction.cams_from_world[tracks.frame[used]]
        depth = (cams.rotation[:, 2] * reconstruction.points[tracks.track[used]]).sum(-1) + cams.translation[:, 2]
        far, place = np.zeros(len(used), int), PARTS**2 * part + cell
        for one in np.unique(place):
            there = place == one
            far[there] = depth[there] > np.median(depth[there])
        return row_of[tracks.track[used]], part, cell, quarter, far

    def comments(self) -> list[str]:
        """What a reader of a file should know, a line each."""
        width, height = self.aperture_mm
        told = "" if self.options.sensor_mm else " (assumed: give --sensor-mm to change it)"
        lines = [f"film back {width:.6g} x {height:.6g} mm{told}", f"lengths in {self.options.unit}"]
        if self.distorted:
            lines.append(
                "an ideal pinhole, not for the plate as it is; sfm undistort writes plates and a camera for them"
            )
        if len(self.missing):
            lines.append(f"no camera, and no key: frames {frame_ranges(self.missing)}")
        if len(self.bridged):
            lines.append(f"interpolated, not seen: frames {frame_ranges(self.bridged)}")
        if self.left_out:
            lines.append(
                f"left out: points whose depth nobody knows, {self.left_out:,} of {self.left_out + len(self.points):,}"
            )
        return lines


def settled(values: np.ndarray) -> np.ndarray:
    """Without what is rounding alone: no -6.9e-18, no zero with a sign."""
    return np.round(values, 12) + 0.0


def _turns(groups: np.ndarray, order: np.ndarray) -> np.ndarray:
    """How many of its own group come before each item, (n,), in an order (n,) of indices."""
    by_group = order[np.argsort(groups[order], kind="stable")]
    starts = np.flatnonzero(np.diff(groups[by_group], prepend=-1))
    turn = np.empty(len(order), int)
    turn[by_group] = np.arange(len(order)) - np.repeat(starts, np.diff(starts, append=len(order)))
    return turn
