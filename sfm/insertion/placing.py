"""Where an object stands: a point of the set, what is up there, and how large things are."""

import logging
import re
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from sfm.depth.aligned import AlignedDepth, AlignedMap, seen_points
from sfm.errors import InputError, UsageError
from sfm.geometry.transform import Sim3
from sfm.insertion.objects import Mesh, load_mesh
from sfm.insertion.surfaces import NEIGHBOURS, as_held, fitted_plane, ground_in_view, normal_at, tracks_tell_depth
from sfm.scene import Reconstruction, Support
from sfm.video import Video

logger = logging.getLogger(__name__)

SIZE = 0.1  # of the depth where the object stands
CHECKER_SIZE = 0.5
CONE_SIZE = 0.05  # of each point's own depth
CONES = 16
SAME_SURFACE = 0.25  # of log depth between points beside each other in the picture
TURN_DEG = 30.0  # about up, so that a cube shows two of its sides


@dataclass(frozen=True, slots=True)
class Spot:
    """A place that somebody named: a track, or a pixel (px of the plate) of a frame (index); or the ground."""

    track: int | None = None
    pixel: tuple[float, float] | None = None
    frame: int | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Placement:
    """An object in the world.

    mesh: in the world's axes and unit; point (3,): where it stands; normal (3,): unit, what is up there; size: of its
    longest side; frame: index of the frame it was placed in; on_plane: whether points were found to lie on a plane
    there, whose normal that is; grounded: stands on the surface and shadows it.
    """

    mesh: Mesh
    point: np.ndarray
    normal: np.ndarray
    size: float
    frame: int
    on_plane: bool = True
    grounded: bool = True
    tracks: np.ndarray = field(default_factory=lambda: np.zeros(0, int))


def parse_spot(at: str | None, frame: int | None) -> Spot:
    """`track 12`, or `x,y` in px; None for the ground. frame: index, which a pixel is of."""
    if at is None:
        return Spot(frame=frame)
    if found := re.fullmatch(r"\s*(?:track\s*)?(\d+)\s*", at):
        return Spot(track=int(found[1]), frame=frame)
    number = r"(-?\d+(?:\.\d+)?)"
    if found := re.fullmatch(rf"\s*{number}\s*,\s*{number}\s*", at):
        return Spot(pixel=(float(found[1]), float(found[2])), frame=frame)
    raise UsageError(f"--at {at}: expected 'track 12', or a pixel such as 960,540")


def placed(
    mesh: Mesh, reconstruction: Reconstruction, spot: Spot, aligned: AlignedMap | None = None,
    *, size: float | None = None, relative_size: float = SIZE, upright: str = "plane", turn_deg: float = TURN_DEG,
) -> Placement:  # fmt: skip
    """An object put down at a spot.

    aligned: the depth of the spot's frame, which tells a pixel's surface from others beside it; size: of the longest
    side, in the scene's unit, None for `relative_size` of the depth there; upright: `plane`, along the normal of the
    plane through the points around, or `camera`, as the cameras are held, which is also what is left where the tracks
    tell no depths: a prior leans whole planes.
    Raises `InputError` where the spot has no point, or too few around.
    """
    frame = frame_of(reconstruction, spot)
    if upright == "plane" and not tracks_tell_depth(reconstruction):
        tells = "too few tracks tell" if (reconstruction.support == Support.TRIANGULATED).any() else "nothing tells"
        tells = tells if np.isnan(reconstruction.depth_sigma) else "the depth prior alone tells"
        logger.warning(f"{tells} depths here: the object stands as the cameras are held")
        upright = "camera"
    if spot.track is None and spot.pixel is None:
        point, normal = ground_in_view(reconstruction, frame, aligned)
        normal = normal if upright == "plane" else None
    else:
        point = _point(reconstruction, spot, frame, aligned)
        normal = normal_at(reconstruction, frame, point) if upright == "plane" else None
        if normal is None and upright == "plane":
            logger.warning("the points around do not lie on a plane: the object stands as the cameras are held")
    on_plane = normal is not None
    normal = as_held(reconstruction) if normal is None else normal
    depth = float(reconstruction.cams_from_world[frame].apply(point)[2])
    side = relative_size * depth if size is None else size
    world_from_own = Sim3(np.array(side), _axes(reconstruction, frame, point, normal, turn_deg), point)
    return Placement(mesh.transformed(world_from_own), point, normal, side, frame, on_plane)


def placed_in(
    mesh: Mesh, reconstruction: Reconstruction, video: Video, spot: Spot, aligned: AlignedDepth | None, **how: Any
) -> Placement:
    """`placed`, with the aligned map of the spot's frame where there are any. how: what else `placed` takes."""
    frame = frame_of(reconstruction, spot)
    aligned_map = None if aligned is None else next(iter(aligned.maps(video, [frame])))
    return placed(mesh, reconstruction, replace(spot, frame=frame), aligned_map, **how)


def cones_at_points(
    reconstruction: Reconstruction, frame: int, size: float | None = None, count: int = CONES
) -> Placement:
    """Cones that stand on their tips on points spread over the set: the sliding test of matchmovers.

    The best known point of each part of the picture of that frame. size: of a cone, in the scene's unit; None:
    `CONE_SIZE` of each point's depth.
    """
    tracks = _spread_points(reconstruction, frame, count)
    if not len(tracks):
        raise InputError("no frame sees a point: there is nothing to put cones on")
    up = as_held(reconstruction)
    cone, meshes = load_mesh("cone"), []
    depth = reconstruction.cams_from_world[frame].apply(reconstruction.points[tracks])[:, 2]
    for track, z in zip(tracks, depth, strict=True):
        point = reconstruction.points[track]
        rotation = _axes(reconstruction, frame, point, up, 0.0)
        meshes.append(cone.transformed(Sim3(np.array(CONE_SIZE * z if size is None else size), rotation, point)))
    middle = reconstruction.points[tracks].mean(axis=0)
    side = CONE_SIZE * float(np.median(depth)) if size is None else size
    return Placement(_joined(meshes), middle, up, side, frame, on_plane=False, grounded=False, tracks=tracks)


def frame_of(reconstruction: Reconstruction, spot: Spot) -> int:
    """The frame of a spot: the one named, that which first sees the track, for the ground the middle one, for a place
    in the picture the first."""
    if spot.frame is not None:
        if not reconstruction.has_camera[spot.frame]:
            raise InputError("--frame: this frame has no camera; choose another")
        return spot.frame
    registered = np.flatnonzero(reconstruction.registered)
    if not len(registered):
        raise InputError("the solve has no camera: nothing can be put into the shot")
    if spot.track is None and spot.pixel is None:
        return int(registered[len(registered) // 2])
    if spot.track is None or spot.track >= reconstruction.tracks.num_tracks:
        return int(registered[0])
    tracks = reconstruction.tracks
    seen = tracks.frame[reconstruction.inliers & (tracks.track == spot.track)]
    return int(seen.min()) if len(seen) else int(registered[0])


def _point(reconstruction: Reconstruction, spot: Spot, frame: int, aligned: AlignedMap | None) -> np.ndarray:
    if spot.track is not None:
        count = reconstruction.tracks.num_tracks
        if spot.track >= count or not reconstruction.has_point[spot.track]:
            raise InputError(
                f"--at track {spot.track}: has no point; tracks are 0 to {count - 1}, points.ply lists them"
            )
        return reconstruction.points[spot.track]
    assert spot.pixel is not None
    camera = reconstruction.camera.at(frame)
    pixel = np.array(spot.pixel)
    if not ((pixel >= 0) & (pixel <= [camera.width, camera.height])).all():
        raise UsageError(f"--at {pixel[0]:g},{pixel[1]:g}: outside the plate of {camera.width} x {camera.height} px")
    tracks = seen_points(reconstruction, frame)
    in_cam = reconstruction.cams_from_world[frame].apply(reconstruction.points[tracks])
    if len(tracks) < 3:
        raise InputError("--at: this frame sees too few points; choose another with --frame")
    beside = np.argsort(np.linalg.norm(camera.img_from_cam(in_cam) - pixel, axis=1))[:NEIGHBOURS]
    z = in_cam[beside, 2]
    told = _map_at(aligned, pixel / [camera.width, camera.height])
    hint = told if np.isfinite(told) else float(np.median(z[:3]))
    ray = np.append(camera.cam_from_img(pixel), 1.0)
    same = np.abs(np.log(z / hint)) < SAME_SURFACE
    depth = hint
    if same.sum() >= 3:
        normal, middle = fitted_plane(in_cam[beside[same]])
        slope = normal @ ray / np.linalg.norm(ray)
        crossing = float(normal @ middle / (normal @ ray)) if abs(slope) > 0.05 else np.nan
        if np.isfinite(crossing) and crossing > 0 and abs(np.log(crossing / hint)) < SAME_SURFACE:
            depth = crossing
    return reconstruction.cams_from_world[frame].inverse().apply(depth * ray)


def _map_at(aligned: AlignedMap | None, place: np.ndarray) -> float:
    if aligned is None:
        return float("nan")
    height, width = aligned.depth.shape
    column, row = np.clip((place * [width, height]).astype(int), 0, [width - 1, height - 1])
    return float(aligned.depth[row, column])


def _axes(reconstruction: Reconstruction, frame: int, point: np.ndarray, up: np.ndarray, turn_deg: float) -> np.ndarray:
    """Rotation (3, 3) from an object's own axes: up, and facing the camera but for a turn about up."""
    to_camera = reconstruction.centers_in_world[frame] - point
    front = to_camera - (to_camera @ up) * up
    if np.linalg.norm(front) < 1e-6 * np.linalg.norm(to_camera):  # seen from right above
        front = np.cross(reconstruction.cams_from_world.rotation[frame, 0], up)
    front /= np.linalg.norm(front)
    right = np.cross(up, front)
    cos, sin = np.cos(np.radians(turn_deg)), np.sin(np.radians(turn_deg))
    return np.stack([cos * right - sin * front, up, sin * right + cos * front], axis=1)


def _spread_points(reconstruction: Reconstruction, frame: int, count: int) -> np.ndarray:
    """One point for each of about `count` cells of the picture: the one seen longest for what is known of it."""
    tracks = seen_points(reconstruction, frame)
    camera = reconstruction.camera
    xy = camera.at(frame).img_from_cam(reconstruction.cams_from_world[frame].apply(reconstruction.points[tracks]))
    rows = max(int(np.sqrt(count * camera.height / camera.width)), 1)
    columns = max(count // rows, 1)
    inside = ((xy > 0) & (xy < [camera.width, camera.height])).all(axis=1)
    tracks, xy = tracks[inside], xy[inside]
    cell = (xy[:, 1] / camera.height * rows).astype(int) * columns + (xy[:, 0] / camera.width * columns).astype(int)
    length = np.bincount(
        reconstruction.tracks.track[reconstruction.inliers], minlength=reconstruction.tracks.num_tracks
    )
    worth = length[tracks] / (0.01 + np.nan_to_num(reconstruction.point_sigma[tracks], nan=1.0, posinf=1.0))
    order = np.argsort(-worth, kind="stable")
    _, first = np.unique(cell[order], return_index=True)
    return tracks[order[first]]


def _joined(meshes: list[Mesh]) -> Mesh:
    offsets = np.cumsum([0, *(len(mesh.vertices) for mesh in meshes[:-1])])
    return Mesh(
        np.concatenate([mesh.vertices for mesh in meshes]),
        np.concatenate([mesh.triangles + offset for mesh, offset in zip(meshes, offsets, strict=True)]),
        np.concatenate([mesh.colors for mesh in meshes]),
    )
