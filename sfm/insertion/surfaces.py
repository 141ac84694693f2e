"""What the points tell of the surface that something stands on: the plane around a place, the ground in view."""

import logging

import numpy as np
from scipy.spatial import cKDTree

from sfm.depth.aligned import AlignedMap
from sfm.errors import InputError, require
from sfm.ground import BUILT_SIGMA_DEG, Ground, find_ground
from sfm.planes import KNOWN
from sfm.scene import Reconstruction, Support
from sfm.view.layout import lay_out

logger = logging.getLogger(__name__)

NEIGHBOURS = 24  # points around a place that its plane is fitted to
ON_PLANE = 0.01  # of the depth: off the plane by less
MIN_ON_PLANE = 6  # points
AROUND = 0.3  # of the depth: farther points say nothing of the plane here
MIN_SLOPE = 0.05  # height over distance from where a plane is seen: points off along their rays lie on one seen edge-on
LEVEL_DEG = 25.0  # off level, that a surface of a map may be
SAME_HEIGHT = 1.2  # times the height below the camera, within which points of a map may be of one ground
AS_MANY = 0.5  # of the most at any height: so many make a ground
MAP_POINTS = 4000  # of a depth map that planes are looked for in


def normal_at(reconstruction: Reconstruction, frame: int, point: np.ndarray) -> np.ndarray | None:
    """Normal (3,) of the plane that the points around lie on, towards the camera; None where they do not.

    The tracks' points alone are asked: a map that is right to some per cent may lean by tens of degrees. Where up is
    known, a plane that is level or plumb as far as the points tell is so.
    """
    points = _good_points(reconstruction)
    depth = float(reconstruction.cams_from_world[frame].apply(point)[2])
    distance, near = cKDTree(points).query(point, k=min(NEIGHBOURS, len(points)))
    around = points[near[distance < AROUND * depth]]
    on = _on_plane(around, ON_PLANE * depth)
    if on.sum() < max(MIN_ON_PLANE, 0.5 * len(around)):
        return None
    normal, middle = fitted_plane(around[on])
    spread = np.linalg.svd(around[on] - middle, compute_uv=False)
    # points along a line lie on any plane through it
    if spread[1] < 3 * spread[2] or abs(normal @ (point - middle)) > 3 * ON_PLANE * depth:
        return None
    to_camera = reconstruction.centers_in_world[frame] - point
    if abs(normal @ to_camera) < MIN_SLOPE * np.linalg.norm(to_camera):
        return None
    return _as_built(_towards(normal, to_camera), float(spread[2] / spread[1]), find_ground(reconstruction))


def _as_built(normal: np.ndarray, scatter: float, ground: Ground) -> np.ndarray:
    """A plane's normal, made level or plumb if it is so within twice what its points leave open.

    scatter: of the points off the plane over their extent along it, as neighbours are off together.
    """
    if ground.is_guessed_up:
        return normal
    lean = float(normal @ ground.up)
    limit = 2 * np.hypot(np.arctan(scatter), np.radians(np.hypot(ground.up_sigma_deg, BUILT_SIGMA_DEG)))
    if np.arccos(min(abs(lean), 1.0)) < limit:
        return np.sign(lean) * ground.up
    if np.arcsin(min(abs(lean), 1.0)) < limit:
        flat = normal - lean * ground.up
        return flat / np.linalg.norm(flat)
    return normal


def ground_in_view(
    reconstruction: Reconstruction, frame: int, aligned: AlignedMap | None
) -> tuple[np.ndarray, np.ndarray]:
    """A point of the ground in view, and its normal.

    The level plane that the tracks' points tell (`find_ground`); where none stands out the lowest height at which much
    of the map lies, or without a map the lowest that was seen. Raises `InputError` where there is none.
    """
    known, center = tracks_tell_depth(reconstruction), reconstruction.centers_in_world[frame]
    found = find_ground(reconstruction, None if known else as_held(reconstruction))
    points = _good_points(reconstruction)
    on_ground = points[_on_level(points, found, center)]
    told = found.stands_out and known
    if not told or not len(on_ground):
        highest = _lowest_height(_map_points(reconstruction, frame, aligned, found.up), found.up, center)
        if len(highest):
            logger.warning("the tracks show no ground: taken for level, the lowest height the depth map shows much of")
            on_ground = highest
        elif len(on_ground):
            logger.warning("the ground is a guess: the lowest that was seen")
    elif found.is_guess:
        logger.warning("the ground is hardly more than a guess, as sfm orient says; tell it what is level")
    if not len(on_ground):
        raise InputError("no ground is to be found under the camera: say where with --at")
    xy = reconstruction.camera.at(frame).img_from_cam(reconstruction.cams_from_world[frame].apply(on_ground))
    size = np.array([reconstruction.camera.width, reconstruction.camera.height])
    seen = (xy > 0.1 * size).all(axis=1) & (xy < 0.9 * size).all(axis=1)
    on_ground = on_ground[seen] if seen.any() else on_ground
    middle = np.median(on_ground, axis=0)
    return on_ground[np.argmin(np.linalg.norm(on_ground - middle, axis=1))], found.up


def _on_level(points: np.ndarray, ground: Ground, center: np.ndarray) -> np.ndarray:
    """Which points (n, 3) lie on the ground, (n,) bool: none where it is not seen from above."""
    if not len(points):
        return np.zeros(0, bool)
    below = float(center @ ground.up) - ground.height
    distance = np.linalg.norm(points - center, axis=1)
    flat = np.abs(points @ ground.up - ground.height) < ON_PLANE * np.median(distance)
    return flat & (below > MIN_SLOPE * distance)


def _lowest_height(points: np.ndarray, up: np.ndarray, center: np.ndarray) -> np.ndarray:
    """Of points (n, 3) below a camera those around the lowest height that many of them have, (m, 3).

    Tops of tables and boxes may be as large in the picture, but have the ground beneath them. Depths that are wrong by
    a part scatter heights below the camera by that part: near its own height all are alike.
    """
    below = (center - points) @ up
    points, below = points[below > 0], below[below > 0]
    if len(points) < MIN_ON_PLANE:
        return np.zeros((0, 3))
    ordered = np.sort(below)
    count = np.searchsorted(ordered, SAME_HEIGHT * ordered) - np.arange(len(ordered))
    lowest = ordered[count >= AS_MANY * count.max()][-1]
    peak = np.where((ordered >= lowest / SAME_HEIGHT) & (ordered <= lowest), count, 0)
    low = ordered[np.argmax(peak)]
    return points[(below >= low) & (below <= SAME_HEIGHT * low)]


def _map_points(reconstruction: Reconstruction, frame: int, aligned: AlignedMap | None, up: np.ndarray) -> np.ndarray:
    """Points (n, 3) of a frame's map where its surface is about level; none without a map."""
    if aligned is None:
        return np.zeros((0, 3))
    height, width = aligned.depth.shape
    step = max(int(np.sqrt(height * width / MAP_POINTS)), 1)
    row, column = np.mgrid[step // 2 : height : step, step // 2 : width : step]
    camera = reconstruction.camera.at(frame)
    xy = np.stack([(column + 0.5) / width * camera.width, (row + 0.5) / height * camera.height], axis=-1)
    rays = np.concatenate([camera.cam_from_img(xy), np.ones((*row.shape, 1))], axis=-1)
    points = reconstruction.cams_from_world[frame].inverse().apply(rays * aligned.depth[row, column][..., None])
    normal = np.cross(np.gradient(points, axis=1), np.gradient(points, axis=0))
    level = np.abs(normal @ up) > np.cos(np.radians(LEVEL_DEG)) * np.linalg.norm(normal, axis=-1)
    return points[level]


def as_held(reconstruction: Reconstruction) -> np.ndarray:
    """Up (3,), as the cameras are held."""
    return -lay_out(reconstruction).level.rotation[1]


def tracks_tell_depth(reconstruction: Reconstruction) -> bool:
    """Whether enough points are triangulated to tell a plane by."""
    return int((reconstruction.support == Support.TRIANGULATED).sum()) >= 2 * NEIGHBOURS


def _good_points(reconstruction: Reconstruction) -> np.ndarray:
    """Points the tracks know well enough to tell a plane by; all they know, then all, where these are few."""
    known = reconstruction.has_point & (reconstruction.support == Support.TRIANGULATED)
    for some in (known & (reconstruction.point_sigma < KNOWN), known):
        if some.sum() >= 2 * NEIGHBOURS:
            return reconstruction.points[some]
    return reconstruction.points[reconstruction.has_point]


def _on_plane(points: np.ndarray, distance: float) -> np.ndarray:
    """Which points (n, 3) lie on the plane that most of them do, (n,) bool."""
    require("open3d", "open3d", "view", "an object in the shot")
    import open3d

    mask = np.zeros(len(points), bool)
    if len(points) >= 3:
        open3d.utility.random.seed(0)
        cloud = open3d.geometry.PointCloud(open3d.utility.Vector3dVector(points))
        mask[cloud.segment_plane(distance, 3, 1000)[1]] = True
    return mask


def fitted_plane(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Normal and middle of the plane nearest to points (n, 3)."""
    middle = points.mean(axis=0)
    return np.linalg.svd(points - middle, full_matrices=False)[2][-1], middle


def _towards(normal: np.ndarray, direction: np.ndarray) -> np.ndarray:
    return normal if normal @ direction >= 0 else -normal
