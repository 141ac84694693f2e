"""What a picture of a reconstruction shows, and from where: points, frusta, camera path and viewpoint as plain arrays.

Everything is measured against the depth of the scene, so that a shot solved in any unit looks the same.
"""

from dataclasses import dataclass

import numpy as np

from sfm.errors import InputError
from sfm.geometry.rotation import rotation_from_rotvec
from sfm.geometry.transform import Rigid3
from sfm.ground import held_up
from sfm.scene import Reconstruction

FAR_QUANTILE, FAR_FACTOR = 0.95, 2.0  # points farther than this many times this quantile are not drawn
TRIM = 0.01  # of the points on each side need not be in the picture
MAX_FRUSTA = 12  # frusta drawn when nobody says how many
FRUSTUM_GAP = 0.4  # way from one frustum to the next, in lengths of a frustum
VIEW_DOWN_DEG, VIEW_ASIDE_DEG = 16.0, -20.0  # the observer's axes, turned from the first camera's
CLEARANCE = 0.35  # depths of the scene between the observer and the nearest frustum
FILL = 0.92  # of the picture, the rest is margin
PLATE_CORNERS = np.array([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])


@dataclass(frozen=True, slots=True, eq=False)
class Layout:
    """A reconstruction laid out for drawing, in its own world.

    shown (tracks,) bool: points drawn; depth: median distance of them from the first camera; level: where the first
    camera stands, its horizon levelled (x right, y down, z forward); frusta (n, 8, 2, 3): edges of the frusta;
    frusta_frames (n,) int: the frames they are of; frustum_size: how far their plates stand from the cameras; path
    (m, 2, 3): steps of the camera from frame to frame, none across a frame without a camera.
    """

    shown: np.ndarray
    depth: float
    level: Rigid3
    frusta: np.ndarray
    frusta_frames: np.ndarray
    frustum_size: float
    path: np.ndarray


def lay_out(reconstruction: Reconstruction, frustum_every: int | None = None, upright: bool = False) -> Layout:
    """Choose what is drawn; frustum_every in frames, None for about ten frusta over the shot; upright: y is down.

    The far tail of points is left out: a handful of points near infinity would shrink the set to a dot.

    Raises `InputError` when no frame has a camera.
    """
    filmed = np.flatnonzero(reconstruction.has_camera)
    if not len(filmed):
        raise InputError("the reconstruction has no registered frame: there is nothing to draw")
    cams_from_world = reconstruction.cams_from_world[filmed]
    centers = cams_from_world.centers_in_world
    distance = np.linalg.norm(reconstruction.points - centers[0], axis=1)
    has_point = reconstruction.has_point
    extent = float(np.linalg.norm(np.ptp(centers, axis=0)))
    shown = has_point.copy()
    if has_point.any():
        shown[has_point] = distance[has_point] <= FAR_FACTOR * np.quantile(distance[has_point], FAR_QUANTILE)
    depth = float(np.median(distance[shown])) if shown.any() else extent or 1.0

    # at least seen, at most a tenth of the scene, and between the two no longer than the path they stand on
    size = float(np.clip(0.5 * extent, 0.06 * depth, 0.1 * depth))
    every = frustum_every or _spaced(cams_from_world, size)
    frames = np.unique([*filmed[::every], filmed[-1]])
    step = np.flatnonzero(np.diff(filmed) == 1)
    return Layout(
        shown=shown,
        depth=depth,
        level=_levelled(cams_from_world, np.array([0.0, 1.0, 0.0]) if upright else -held_up(cams_from_world)),
        frusta=frustum_edges(reconstruction, frames, size),
        frusta_frames=frames,
        frustum_size=size,
        path=np.stack([centers[step], centers[step + 1]], axis=1),
    )


def viewpoint(reconstruction: Reconstruction, layout: Layout, aspect: float, fov_deg: float) -> Rigid3:
    """`cam_from_world` of an observer behind, above and beside the path, as near as shows what is laid out.

    aspect: width over height of the picture; fov_deg: its vertical field of view.
    """
    down, aside = np.radians([VIEW_DOWN_DEG, VIEW_ASIDE_DEG])
    turn = rotation_from_rotvec([down, 0, 0]) @ rotation_from_rotvec([0, aside, 0])
    rotation = turn @ layout.level.rotation
    points = reconstruction.points[layout.shown] @ rotation.T
    if len(points):
        low = np.quantile(points, TRIM, axis=0, method="lower")
        high = np.quantile(points, 1 - TRIM, axis=0, method="higher")
        points = points[((points >= low) & (points <= high)).all(axis=1)]
    frusta = layout.frusta.reshape(-1, 3) @ rotation.T
    scene = np.concatenate([points, frusta])
    eye = _nearest_eye(scene, np.tan(np.radians(fov_deg) / 2) * np.array([aspect, 1.0]) * FILL)
    eye[2] = min(eye[2], frusta[:, 2].min() - CLEARANCE * layout.depth)
    return Rigid3(rotation, -eye)


def _levelled(cams_from_world: Rigid3, down: np.ndarray) -> Rigid3:
    """The first camera without its tilt and roll."""
    right = np.cross(down, cams_from_world.rotation[0, 2])
    if np.linalg.norm(right) < 0.2:  # it looks straight up or down: there is no forward to level
        return cams_from_world[0]
    right /= np.linalg.norm(right)
    rotation = np.stack([right, down, np.cross(right, down)])
    return Rigid3(rotation, -rotation @ cams_from_world[0].centers_in_world)


def tubes(segments: np.ndarray, radius: float) -> tuple[np.ndarray, np.ndarray]:
    """Hexagonal prisms around segments (n, 2, 3): vertices (12 n, 3) and triangles (12 n, 3) int."""
    along = segments[:, 1] - segments[:, 0]
    length = np.linalg.norm(along, axis=1, keepdims=True)
    along = np.divide(along, length, out=np.tile([0.0, 0.0, 1.0], (len(along), 1)), where=length > 0)
    side = np.cross(along, np.eye(3)[np.argmin(np.abs(along), axis=1)])
    side /= np.linalg.norm(side, axis=1, keepdims=True)
    angle = np.arange(6) * np.pi / 3
    ring = np.cos(angle)[:, None] * side[:, None] + np.sin(angle)[:, None] * np.cross(along, side)[:, None]
    # longer by the radius at both ends, so that tubes which meet leave no notch
    ends = segments + radius * np.stack([-along, along], axis=1)
    vertices = (ends[:, :, None] + radius * ring[:, None]).reshape(-1, 3)
    near, after = np.arange(6), (np.arange(6) + 1) % 6
    quads = np.concatenate([np.column_stack([near, after, near + 6]), np.column_stack([after, after + 6, near + 6])])
    triangles = (quads + 12 * np.arange(len(segments))[:, None, None]).reshape(-1, 3)
    return vertices, triangles


def _spaced(cams_from_world: Rigid3, size: float) -> int:
    """Every how many frames a frustum stands clear of the last, be it moved or turned."""
    ends = cams_from_world.inverse().apply(np.array([0.0, 0.0, size]))
    way = np.linalg.norm(np.diff([cams_from_world.centers_in_world, ends], axis=1), axis=-1).sum(axis=1).max()
    count = np.clip(way / (FRUSTUM_GAP * size), 1, MAX_FRUSTA - 1)
    return max(1, round((len(cams_from_world) - 1) / count))


def _nearest_eye(points: np.ndarray, slope: np.ndarray) -> np.ndarray:
    """The foremost eye (3,) from which all points (n, 3), in the eye's axes, lie within slope (2,) of the axis.

    Each side of the view is a half-space through the eye; the foremost corner of a pair of sides has a closed form, and
    the pair farther back decides.
    """
    left = np.max(points[:, 2:] * -slope + points[:, :2], axis=0)  # eye - slope * eye_z may not be less
    right = np.min(points[:, 2:] * slope + points[:, :2], axis=0)
    eye_z = np.min((right - left) / (2 * slope))
    return np.array([*(left + right) / 2, eye_z])


def frustum_edges(reconstruction: Reconstruction, frames: np.ndarray, size: float) -> np.ndarray:
    """Edges (frames, 8, 2, 3): four from the centre and four around the plate, `size` in front of the camera."""
    ideal = reconstruction.camera.without_distortion()
    corners_px = PLATE_CORNERS * [ideal.width, ideal.height]
    edges = []
    for frame in frames:
        on_plane = ideal.at(frame).cam_from_img(corners_px)
        corners = size * np.column_stack([on_plane, np.ones(4)])
        sides = np.stack([np.zeros((4, 3)), corners], axis=1)
        rim = np.stack([corners, np.roll(corners, -1, axis=0)], axis=1)
        world_from_cam = reconstruction.cams_from_world[frame].inverse()
        edges.append(world_from_cam.apply(np.concatenate([sides, rim])))
    return np.array(edges)
