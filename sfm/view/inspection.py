"""What any viewer of a result needs, without a window: which points are shown and in what colour, which is under the
cursor and what is known of it, how far two are apart, and where the shot's camera stands.

The desktop window, the browser's and the page that is saved all ask here, so that they agree.
"""

from dataclasses import dataclass, replace
from functools import cache, cached_property

import numpy as np
from numpy.typing import ArrayLike

from sfm.geometry.camera import Camera
from sfm.geometry.transform import Rigid3
from sfm.scene import Reconstruction, Support, Tracks
from sfm.video import Shot
from sfm.view.layout import PLATE_CORNERS, lay_out
from sfm.view.palette import COLOR_MODES, ColorMode, point_colors

CLASSES = {
    Support.TRIANGULATED: "triangulated",
    Support.PRIOR: "held by the prior",
    Support.NONE: "of no known support",
}
PICK_RADIUS_PX = 10.0
SAME_PLACE_PX = 3.0  # points that near to each other under the cursor: the one in front is meant
BEHIND = 1.05  # the plate stands so many times as deep as the deepest point
HERE_SIZE = 1.5  # of the frustum of the frame looked at, beside the others'
THROUGH_MARGIN = 1.02  # what is seen through the shot's camera beside the plate


@dataclass(frozen=True, slots=True)
class ViewState:
    """What is looked at and how. Every change is a state of its own.

    frame: index; through: by the shot's own camera, the plate behind the points; hidden: classes of points that are not
    shown; picked: tracks, the last two that were clicked on, the latest last.

    >>> ViewState().picking(7).picking(9).picking(4).picked
    (9, 4)
    """

    frame: int = 0
    color_by: ColorMode = "plate"
    through: bool = False
    hidden: frozenset[Support] = frozenset()
    picked: tuple[int, ...] = ()

    def at(self, frame: int, count: int) -> "ViewState":
        """At another frame, the nearest there is of `count`."""
        return replace(self, frame=int(np.clip(frame, 0, count - 1)))

    def recolored(self) -> "ViewState":
        """Points coloured by the next mode."""
        modes = COLOR_MODES
        return replace(self, color_by=modes[(modes.index(self.color_by) + 1) % len(modes)])

    def toggling(self, support: Support) -> "ViewState":
        """A class of points hidden or shown again."""
        return replace(self, hidden=self.hidden ^ {support})

    def picking(self, track: int | None) -> "ViewState":
        """A point clicked on; None, a click beside them all, lets go of what was picked."""
        if track is None:
            return replace(self, picked=())
        return replace(self, picked=(*(t for t in self.picked if t != track), track)[-2:])


@dataclass(frozen=True, slots=True)
class PointNumbers:
    """What is known of a point: its track, the frames (indices) of its first and last sighting, sightings and how many
    of them are used, reprojection error px, depth in the frame looked at, relative sigma of it; NaN where unknown."""

    track: int
    first: int
    last: int
    length: int
    used: int
    rms_px: float
    depth: float
    sigma: float
    support: Support

    def in_words(self, shot: Shot) -> str:
        """One line, frames by their plate numbers."""
        numbers = shot.frame_numbers
        return (
            f"track {self.track}   frames {numbers[self.first]}-{numbers[self.last]}, seen in {self.length}, "
            f"{self.used} used   RMS {short(self.rms_px, 2)} px   depth {short(self.depth)}"
            f"   sigma {short(100 * self.sigma, 2)} %   {CLASSES[self.support]}"
        )


class Inspection:
    """A reconstruction laid out to be looked at. Raises `InputError` where no frame has a camera."""

    def __init__(self, reconstruction: Reconstruction, shot: Shot, frustum_every: int | None = None):
        self.reconstruction, self.shot = reconstruction, shot
        self.layout = lay_out(reconstruction, frustum_every)
        self.filmed = np.flatnonzero(reconstruction.has_camera)
        self._ideal = reconstruction.camera.without_distortion()
        self.colors = cache(lambda mode: point_colors(reconstruction, mode))

    def shown(self, state: ViewState) -> np.ndarray:
        """Tracks whose points are shown, indices (n,)."""
        hidden = np.isin(self.reconstruction.support, list(state.hidden))
        return np.flatnonzero(self.layout.shown & ~hidden)

    def classes(self) -> dict[Support, int]:
        """How many points there are of each class that has any."""
        count = np.bincount(self.reconstruction.support[self.layout.shown], minlength=len(Support))
        return {support: int(count[support]) for support in CLASSES if count[support]}

    def camera_frame(self, frame: int) -> int:
        """The frame itself, else the last one before it that has a camera, else the first that has one."""
        return int(self.filmed[max(np.searchsorted(self.filmed, frame, side="right") - 1, 0)])

    def through(self, frame: int, aspect: float, margin: float = THROUGH_MARGIN) -> tuple[Rigid3, float]:
        """`cam_from_world` of the shot's camera, and the vertical field of view, degrees, of a centred observer there
        who sees the whole plate; aspect: width over height of the observer's picture."""
        frame = self.camera_frame(frame)
        reach = np.abs(self._corners(frame)).max(axis=0)
        half = margin * max(reach[1], reach[0] / aspect)
        return self.reconstruction.cams_from_world[frame], float(2 * np.degrees(np.arctan(half)))

    def plate_depth(self, state: ViewState) -> float:
        """How far in front of the camera looked at its plate stands: in its frustum, or where one looks through it
        behind all points."""
        return self.backdrop_depth(state.frame) if state.through else HERE_SIZE * self.layout.frustum_size

    def backdrop_depth(self, frame: int) -> float:
        """How far in front of a frame's camera its plate stands behind all points that are shown."""
        frame = self.camera_frame(frame)
        cam = self.reconstruction.cams_from_world[frame]
        z = cam.apply(self.reconstruction.points[self.layout.shown])[:, 2]
        return BEHIND * float(max(z.max(initial=0.0), self.layout.depth))

    def plate_corners(self, frame: int, depth: float) -> np.ndarray:
        """Corners (4, 3) in the world of a frame's undistorted plate at some depth: clockwise from its top left."""
        return self._on_plate(frame, PLATE_CORNERS * [self._ideal.width, self._ideal.height], depth)

    def track_on_plate(self, track: int, frame: int, depth: float) -> np.ndarray:
        """Way (n, 3) in the world of a track over the plate of a frame that stands at some depth."""
        tracks = self.ideal_tracks
        return self._on_plate(frame, tracks.xy[tracks.track == track], depth)

    def pick(self, xy: ArrayLike, cam_from_world: Rigid3, observer: Camera, state: ViewState) -> int | None:
        """The track whose point is at xy, px of the observer's picture: the nearest within `PICK_RADIUS_PX`, of such
        that lie over each other the one in front; None where there is none."""
        tracks = self.shown(state)
        in_cam = cam_from_world.apply(self.reconstruction.points[tracks])
        away = np.linalg.norm(observer.img_from_cam(in_cam) - np.asarray(xy, dtype=float), axis=1)
        away = np.where(np.isfinite(away), away, np.inf)
        if not len(away) or away.min() > PICK_RADIUS_PX:
            return None
        there = np.flatnonzero(away <= away.min() + SAME_PLACE_PX)
        return int(tracks[there[np.argmin(in_cam[there, 2])]])

    def numbers(self, track: int, frame: int) -> PointNumbers:
        """What is known of a track's point, its depth in the camera of a frame."""
        scene = self.reconstruction
        depth = scene.cams_from_world[self.camera_frame(frame)].apply(scene.points[track])[2]
        first, last, length, used = (int(values[track]) for values in self.sightings)
        return PointNumbers(
            track=track,
            first=first,
            last=last,
            length=length,
            used=used,
            rms_px=float(self.rms_px[track]),
            depth=float(depth),
            sigma=float(scene.point_sigma[track]),
            support=Support(scene.support[track]),
        )

    def distance(self, state: ViewState) -> float | None:
        """Between the two points that are picked, in the unit of the scene; None with fewer."""
        if len(state.picked) < 2:
            return None
        one, two = self.reconstruction.points[list(state.picked)]
        return float(np.linalg.norm(one - two))

    def told_frame(self, frame: int) -> str:
        """A frame and what camera it has, in words."""
        bridged, has = self.reconstruction.bridged[frame], self.reconstruction.has_camera[frame]
        word = "" if has and not bridged else "   camera interpolated" if bridged else "   no camera"
        return f"frame {self.shot.frame_numbers[frame]}{word}"

    @cached_property
    def sightings(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """First and last frame each track is seen in, how many there are, and how many are used, (tracks,) int each."""
        tracks, used = self.reconstruction.tracks, self.reconstruction.inliers
        first, last = np.zeros(tracks.num_tracks, int), np.zeros(tracks.num_tracks, int)
        last[tracks.track] = tracks.frame  # rising within a track: of several the last one stays
        first[tracks.track[::-1]] = tracks.frame[::-1]
        return first, last, tracks.lengths, np.bincount(tracks.track[used], minlength=tracks.num_tracks)

    @cached_property
    def rms_px(self) -> np.ndarray:
        """Reprojection error of each track, (tracks,) px."""
        return self.reconstruction.track_rms_px()

    @cached_property
    def ideal_tracks(self) -> Tracks:
        """The tracks as a lens without distortion sees them."""
        return self.reconstruction.tracks.undistorted(self.reconstruction.camera)

    def _corners(self, frame: int) -> np.ndarray:
        """Corners of the plate on the plane z = 1 of its camera, (4, 2)."""
        return self._ideal.at(frame).cam_from_img(PLATE_CORNERS * [self._ideal.width, self._ideal.height])

    def _on_plate(self, frame: int, xy: np.ndarray, depth: float) -> np.ndarray:
        frame = self.camera_frame(frame)
        on_plane = self._ideal.at(frame).cam_from_img(xy)
        in_cam = depth * np.column_stack([on_plane, np.ones(len(on_plane))])
        return self.reconstruction.cams_from_world[frame].inverse().apply(in_cam)


def short(value: float, digits: int = 4) -> str:
    """So many digits, and no 5.84e+03."""
    return "not known" if np.isnan(value) else f"{float(f'{value:.{digits}g}'):g}"
