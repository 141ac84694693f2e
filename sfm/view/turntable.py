"""The points and the camera in 3D, seen by an observer who slowly goes round them: a panel of the film.

Drawn as the plan is, dots from far to near by OpenCV: a few thousand of them take milliseconds, in any thread and
without OpenGL, which the 3D window needs.
"""

import numpy as np

from sfm.geometry.rotation import rotation_from_rotvec
from sfm.geometry.transform import Rigid3
from sfm.scene import Reconstruction
from sfm.scene_frame import AS_SOLVED, World
from sfm.view.figures import round_length
from sfm.view.layout import VIEW_ASIDE_DEG, VIEW_DOWN_DEG, frustum_edges, lay_out
from sfm.view.palette import BACKGROUND, FRUSTUM, PATH, depth_colors
from sfm.view.picture import draw_dots, draw_lines

FOV_DEG = 40.0  # of the observer, vertical
TURN_DEG_PER_S = 12.0
FILL = 0.94  # of the panel, at every angle
FAR_PART = 0.04  # of the points on each side of each axis, need not be in the panel
FRUSTUM_SIZE = 0.09  # of the median depth
DIM = 0.55  # points that the frame does not see


class Turntable:
    """Pictures of a reconstruction, one for every frame, as near as shows nearly all of it while the film lasts.

    seconds: of the film. Raises `InputError` where no frame has a camera.
    """

    def __init__(
        self, reconstruction: Reconstruction, width: int, height: int, seconds: float, world: World = AS_SOLVED
    ):
        self._reconstruction, self._size = reconstruction, np.array([width, height])
        layout = lay_out(reconstruction, upright=world.upright)
        self._shown = np.flatnonzero(layout.shown)
        self._points = layout.level.apply(reconstruction.points[self._shown])
        self._level, self._path = layout.level, layout.level.apply(layout.path)
        filmed = np.flatnonzero(reconstruction.has_camera)
        self._steps = filmed[1:][np.diff(filmed) == 1]  # the frame each step of the path leads to
        frusta = layout.level.apply(frustum_edges(reconstruction, filmed, FRUSTUM_SIZE * layout.depth))
        self._frusta = dict(zip(filmed.tolist(), frusta, strict=True))
        corners = self._points if len(self._points) else frusta.reshape(-1, 3)
        low = np.quantile(corners, FAR_PART, axis=0, method="lower")
        high = np.quantile(corners, 1 - FAR_PART, axis=0, method="higher")
        inside = corners[((corners >= low) & (corners <= high)).all(axis=1)]
        ends = np.concatenate([inside if len(inside) else corners, frusta.reshape(-1, 3)])
        self._pivot = (ends.min(axis=0) + ends.max(axis=0)) / 2
        self._focal = 0.5 * height / np.tan(np.radians(FOV_DEG) / 2)
        self._distance = self._far_enough(ends - self._pivot, seconds)

    def picture(self, frame: int, seconds: float, limits: tuple[float, float]) -> np.ndarray:
        """(height, width, 3) uint8: points in the colours of their depth in this frame, those it sees bright and large.

        seconds: since the film began; limits: nearest and farthest depth with a colour of their own. In a frame without
        a camera colours are those of the last one that has one.
        """
        scene, (width, height) = self._reconstruction, self._size
        panel, eye_from_level = np.tile(BACKGROUND, (height, width, 1)), self._eye(seconds)
        unit = width / 1280
        in_eye = eye_from_level.apply(self._points)
        filmed = np.flatnonzero(scene.has_camera)
        camera = filmed[max(np.searchsorted(filmed, frame, side="right") - 1, 0)]
        depth = scene.cams_from_world[camera].apply(scene.points[self._shown])[:, 2]
        here = scene.tracks.in_frame(frame)
        seen = np.isin(self._shown, scene.tracks.track[here[scene.inliers[here]]])
        colors = depth_colors(depth, limits)
        colors = np.where(seen[:, None], colors, DIM * colors + (1 - DIM) * BACKGROUND).astype(np.uint8)
        order = np.argsort(-in_eye[:, 2])
        for chosen, radius in ((order[~seen[order]], 2.0), (order[seen[order]], 3.2)):
            draw_dots(panel, self._place(in_eye[chosen]), colors[chosen], radius * unit)
        faint = np.round(0.5 * PATH + 0.5 * BACKGROUND).astype(np.uint8)
        done = self._steps <= frame
        for steps, color in ((self._path[~done], faint), (self._path[done], PATH)):
            draw_lines(panel, self._place(eye_from_level.apply(steps)), color, 4 * unit)
        if frame in self._frusta:
            draw_lines(panel, self._place(eye_from_level.apply(self._frusta[frame])), FRUSTUM, 2.4 * unit)
        return panel

    def scale_bar(self) -> tuple[float, float]:
        """A round length in the scene's unit, and how many px it is in the middle of the set."""
        px = self._focal / self._distance
        length = round_length(0.25 * self._size[0] / px)
        return length, length * px

    def _eye(self, seconds: float) -> Rigid3:
        """The observer after so many seconds, looking at the pivot; the world is levelled, y down."""
        rotation = _turn(np.array(seconds))
        return Rigid3(rotation, np.array([0, 0, self._distance]) - rotation @ self._pivot)

    def _far_enough(self, ends: np.ndarray, seconds: float) -> float:
        """The distance from which points (n, 3), about the pivot, are in the panel all the time."""
        slope = FILL * self._size / 2 / self._focal
        until = min(seconds, 360 / TURN_DEG_PER_S)
        in_eye = np.einsum("tab,nb->tna", _turn(np.linspace(0, until, 36)), ends)
        needed = np.abs(in_eye[..., :2]) / slope - in_eye[..., 2:]
        return float(max(needed.max(), -1.05 * in_eye[..., 2].min(), np.finfo(float).tiny))

    def _place(self, in_eye: np.ndarray) -> np.ndarray:
        """Points in the observer's axes, in the panel; what is behind the observer far off it."""
        z = in_eye[..., 2:]
        place = self._focal * in_eye[..., :2] / np.where(z > 0, z, 1.0) + self._size / 2
        return np.where(z > 0, place, -1e5)


def _turn(seconds: np.ndarray) -> np.ndarray:
    """The observer's axes after so many seconds (n,), from those of the levelled world: (n, 3, 3)."""
    aside = np.radians(VIEW_ASIDE_DEG + TURN_DEG_PER_S * seconds)
    down = rotation_from_rotvec([np.radians(VIEW_DOWN_DEG), 0, 0])
    return down @ rotation_from_rotvec(aside[..., None] * np.array([0.0, 1.0, 0.0]))
