"""An object seen through the solved camera, ray by ray (Open3D's RaycastingScene, which is Intel's Embree).

Every sample of a pixel looks along the ray that the lens gives it: distortion, zoom, a principal point off the middle
and oblong pixels are exact, without a larger canvas to be redistorted and blurred, or vertices to be bent between which
edges stay straight; of a rolling shutter every row looks from where the camera was then. The limits: matt surfaces
under one soft lamp and an even sky, no motion blur, no grain, no reflections.
"""

from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np

from sfm.errors import require
from sfm.geometry.path import cams_at
from sfm.insertion.placing import Placement
from sfm.scene import Reconstruction

SAMPLES, STEP = 13, 5  # of a pixel, on a lattice that no two share a row or column of: upright edges move smoothly too
AMBIENT, KEY = 0.45, 0.9  # irradiance of the sky and of the lamp, over pi
LAMP_DEG = 5.0  # radius of the lamp as seen from the object: soft edges of its shadow
SHADOW_TEXELS, SHADOW_RAYS = 224, 64  # along each side of the shadow's picture; to the lamp and to the sky each
SHADOW_SIZE = 2.2  # half side of that picture, in sizes of the object
SAME = 0.01  # of white: pixels that look so alike are not sampled further
MAX_RAYS = 1_000_000  # at a time: memory stays below 200 MB


@dataclass(frozen=True, slots=True)
class Light:
    """Where the lamp is, seen from the object by the camera of the frame it was placed in."""

    azimuth_deg: float = -75.0  # 0 behind the camera, 90 at its right
    elevation_deg: float = 45.0  # above the ground


@dataclass(frozen=True, slots=True, eq=False)
class Layer:
    """What of an object a frame sees, on a part of the plate that starts at pixel (left, top).

    color (h, w, 3): linear light, times alpha; alpha (h, w): part of the pixel that it covers; depth (h, w): along z of
    what is seen of it, NaN where nothing; light (h, w): part of its light that the ground keeps in the object's shadow;
    ground (h, w): depth of the ground, NaN where it is not in view.
    """

    left: int
    top: int
    color: np.ndarray
    alpha: np.ndarray
    depth: np.ndarray
    light: np.ndarray
    ground: np.ndarray


class Renderer:
    """Draws a placement in the frames of a reconstruction. Raises `MissingDependencyError` without Open3D."""

    def __init__(self, placement: Placement, reconstruction: Reconstruction, light: Light = Light()):
        require("open3d", "open3d", "view", "an object in the shot")
        import open3d

        self._o3d = open3d
        self._placement, self._reconstruction = placement, reconstruction
        self._axes = _ground_axes(placement, reconstruction)
        self._lamp = _lamp(light, self._axes)
        self._scene = open3d.t.geometry.RaycastingScene()
        # in sizes of the object about where it stands: Embree counts in single precision
        vertices = (placement.mesh.vertices - placement.point) / placement.size
        self._scene.add_triangles(
            open3d.core.Tensor(vertices.astype(np.float32)),  # pyright: ignore[reportCallIssue, reportArgumentType]
            open3d.core.Tensor(placement.mesh.triangles.astype(np.uint32)),  # pyright: ignore[reportCallIssue, reportArgumentType]
        )
        self._corners = vertices

    def layer(self, frame: int) -> Layer | None:
        """What a frame with a camera sees of the object and its shadow; None where it sees neither."""
        box = self._box(frame)
        if box is None:
            return None
        left, top, right, bottom = box
        x, y = np.meshgrid(np.arange(left, right) + 0.5, np.arange(top, bottom) + 0.5)
        centres = np.stack([x, y], axis=-1)
        shape = x.shape
        color, alpha = np.zeros((*shape, 3)), np.zeros(shape)
        depth, light, ground = np.full(shape, np.nan), np.ones(shape), np.full(shape, np.nan)
        lens, flat = self._reconstruction.camera.at(frame), centres.reshape(-1, 2)
        origin, direction = self._rays(frame, lens.cam_from_img(flat), flat[:, 1])
        found = self._cast(origin, direction)
        seen = np.isfinite(found["t"])
        color.reshape(-1, 3)[seen] = self._shaded(
            origin[seen], direction[seen], {k: of[seen] for k, of in found.items()}
        )
        alpha.reshape(-1)[seen] = 1
        depth.reshape(-1)[seen] = found["t"][seen] * self._placement.size
        # where it looks the same all around one sample is as good as many
        edge = _differing(np.dstack([color, alpha])) | self._vertices_in(frame, box)
        if edge.any():
            color[edge], alpha[edge], depth[edge] = self._supersampled(frame, centres[edge])
        if self._placement.grounded:
            ground[:], light[:] = (a.reshape(shape) for a in self._on_ground(origin, direction))
        return Layer(left, top, color, alpha, depth, light, ground)

    def _supersampled(self, frame: int, centres: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Colour, cover and depth of pixels, given their centres (n, 2) px."""
        k = np.arange(SAMPLES)
        offsets = (np.column_stack([k, STEP * k % SAMPLES]) + 0.5) / SAMPLES - 0.5
        lens, parts = self._reconstruction.camera.at(frame), []
        for some in np.array_split(centres, -(-len(centres) * len(offsets) // MAX_RAYS)):
            # within a pixel any lens is linear to 1e-5 px
            middle = lens.cam_from_img(some)
            across, down = (2 * (lens.cam_from_img(some + half) - middle) for half in ([0.5, 0], [0, 0.5]))
            ahead = middle[:, None] + offsets[:, :1] * across[:, None] + offsets[:, 1:] * down[:, None]
            rows = (some[:, 1:] + offsets[:, 1]).ravel()
            origin, direction = self._rays(frame, ahead.reshape(-1, 2), rows)
            found = self._cast(origin, direction)
            seen = np.isfinite(found["t"])
            color = np.zeros((len(seen), 3))
            color[seen] = self._shaded(origin[seen], direction[seen], {key: of[seen] for key, of in found.items()})
            color, seen = color.reshape(len(some), -1, 3), seen.reshape(len(some), -1)
            z = np.where(seen, found["t"].reshape(seen.shape), 0).sum(axis=1)
            count = seen.sum(axis=1)
            depth = np.divide(z, count, out=np.full(len(some), np.nan), where=count > 0) * self._placement.size
            parts.append((color.mean(axis=1), seen.mean(axis=1), depth))
        color, alpha, depth = (np.concatenate(column) for column in zip(*parts, strict=True))
        return color, alpha, depth

    def _shaded(self, origin: np.ndarray, direction: np.ndarray, hit: dict[str, np.ndarray]) -> np.ndarray:
        """Linear light (n, 3) from where rays hit."""
        mesh, normal = self._placement.mesh, hit["normal"]
        if len(mesh.normals):
            u, v = hit["uv"].T
            corner = mesh.normals[hit["triangle"]]
            normal = corner[:, 0] * (1 - u - v)[:, None] + corner[:, 1] * u[:, None] + corner[:, 2] * v[:, None]
            normal = normal / np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-9)
        normal = np.where((normal * direction).sum(axis=1, keepdims=True) > 0, -normal, normal)
        facing = np.maximum(normal @ self._lamp, 0)
        place = origin + hit["t"][:, None] * direction + 1e-3 * normal
        lit = ~self._blocked(place, np.broadcast_to(self._lamp, place.shape))
        sky = AMBIENT * (0.65 + 0.35 * normal @ self._placement.normal)
        return mesh.colors[hit["triangle"]] * (sky + KEY * facing * lit)[:, None]

    def _on_ground(self, origin: np.ndarray, direction: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Depth of the ground along rays, NaN where they miss it, and the part of the light that it keeps there."""
        up = self._placement.normal
        toward = direction @ up
        with np.errstate(divide="ignore", invalid="ignore"):
            t = -(origin @ up) / toward
        t = np.where((toward < -1e-6) & (t > 0), t, np.nan)
        place = origin + np.nan_to_num(t)[:, None] * direction
        texel = (place @ self._axes[:, [0, 2]] / SHADOW_SIZE + 1) / 2 * SHADOW_TEXELS - 0.5
        texel = np.where(np.isfinite(t)[:, None], texel, -10).astype(np.float32).clip(-10, SHADOW_TEXELS + 10)
        return t * self._placement.size, _read_at(self._shadow, texel)

    @cached_property
    def _shadow(self) -> np.ndarray:
        """Part of its light that the ground around the object keeps, (texels, texels): the same in every frame."""
        along = (2 * (np.arange(SHADOW_TEXELS) + 0.5) / SHADOW_TEXELS - 1) * SHADOW_SIZE
        x, z = np.meshgrid(along, along)
        up = self._placement.normal
        place = x.reshape(-1, 1) * self._axes[:, 0] + z.reshape(-1, 1) * self._axes[:, 2] + 1e-3 * up
        lamp, sky = _cone(self._lamp, LAMP_DEG, SHADOW_RAYS), _dome(up, SHADOW_RAYS)
        lit, open_sky = (np.zeros(len(place)) for _ in range(2))
        for directions, total in ((lamp, lit), (sky, open_sky)):
            for direction in directions:
                total += ~self._blocked(place, np.broadcast_to(direction, place.shape))
        key = KEY * max(float(self._lamp @ up), 0)
        kept = (AMBIENT * open_sky + key * lit) / (SHADOW_RAYS * (AMBIENT + key))
        kept = kept.reshape(x.shape).astype(np.float32)
        rim = np.clip(8 * (1 - np.maximum(np.abs(x), np.abs(z)) / SHADOW_SIZE), 0, 1)  # fades to none
        return cv2.GaussianBlur(1 - rim * (1 - kept), (0, 0), 1.0).astype(np.float32)

    def _rays(self, frame: int, ahead: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Origin and direction (n, 3), in sizes of the object, of rays through points (n, 2) one ahead of the camera.

        y (n,): px of the rows that see them. Directions are 1 along the camera's axis, so that lengths are depths.
        """
        scene = self._reconstruction
        in_cam = np.column_stack([ahead, np.ones(len(ahead))])
        if scene.readout and scene.registered[frame]:
            rows, row = np.unique(y, return_inverse=True)
            known = np.flatnonzero(scene.registered)
            times = frame + scene.readout * (rows / scene.camera.height - 0.5)
            pose = cams_at(known, scene.cams_from_world[known], times)
            direction = np.einsum("nji,nj->ni", pose.rotation[row], in_cam)
            center = pose.centers_in_world[row]
        else:
            pose = scene.cams_from_world[frame]
            direction, center = in_cam @ pose.rotation, np.broadcast_to(pose.centers_in_world, in_cam.shape)
        return (center - self._placement.point) / self._placement.size, direction

    def _cast(self, origin: np.ndarray, direction: np.ndarray) -> dict[str, np.ndarray]:
        """Where rays (n, 3) hit first: `t` (n,), infinite without, `normal`, `triangle` and `uv`."""
        rays = self._o3d.core.Tensor(np.hstack([origin, direction]).astype(np.float32))  # pyright: ignore[reportCallIssue, reportArgumentType]
        found = self._scene.cast_rays(rays)
        return {
            "t": found["t_hit"].numpy().astype(float),
            "normal": found["primitive_normals"].numpy().astype(float),
            "triangle": found["primitive_ids"].numpy().astype(np.int64),
            "uv": found["primitive_uvs"].numpy().astype(float),
        }

    def _blocked(self, place: np.ndarray, direction: np.ndarray) -> np.ndarray:
        rays = self._o3d.core.Tensor(np.hstack([place, direction]).astype(np.float32))  # pyright: ignore[reportCallIssue, reportArgumentType]
        return self._scene.test_occlusions(rays).numpy()

    def _pixels(self, frame: int, places: np.ndarray) -> np.ndarray:
        """Pixels (n, 2) of places (n, 3), in sizes of the object; NaN behind the camera."""
        scene, world = self._reconstruction, places * self._placement.size + self._placement.point
        return scene.camera.at(frame).img_from_cam(scene.cams_from_world[frame].apply(world))

    def _box(self, frame: int) -> tuple[int, int, int, int] | None:
        """Part of the plate that the object and its shadow may be in: left, top, right, bottom px."""
        camera = self._reconstruction.camera
        places = self._corners
        if self._placement.grounded:
            square = SHADOW_SIZE * np.array([[x, 0, z] for x in (-1, 0, 1) for z in (-1, 0, 1)])
            places = np.vstack([places, square @ self._axes.T])
        xy = self._pixels(frame, places)
        low, high = np.zeros(2), np.array([camera.width, camera.height], float)
        if np.isfinite(xy).all():  # what reaches behind the camera may be anywhere
            # a rolling shutter's rows see it where it is some pixels on
            margin = 2 + (0.05 * camera.width if self._reconstruction.readout else 0)
            low, high = np.maximum(xy.min(axis=0) - margin, low), np.minimum(xy.max(axis=0) + margin, high)
        left, top = np.floor(low).astype(int)
        right, bottom = np.ceil(high).astype(int)
        return (int(left), int(top), int(right), int(bottom)) if right > left and bottom > top else None

    def _vertices_in(self, frame: int, box: tuple[int, int, int, int]) -> np.ndarray:
        """Pixels of a box that a corner of the mesh is in: what is thinner than a pixel is not missed."""
        left, top, right, bottom = box
        mask = np.zeros((bottom - top, right - left), bool)
        xy = self._pixels(frame, self._corners)
        column, row = (np.nan_to_num(xy, nan=-1) - [left, top]).clip(-1, 1e6).astype(int).T
        inside = (column >= 0) & (row >= 0) & (column < right - left) & (row < bottom - top)
        mask[row[inside], column[inside]] = True
        return mask


def _differing(picture: np.ndarray) -> np.ndarray:
    """Pixels (h, w) beside others that look different in a picture (h, w, k)."""
    square, picture = np.ones((3, 3), np.uint8), picture.astype(np.float32)
    return (cv2.dilate(picture, square) - cv2.erode(picture, square)).max(axis=-1) > SAME


def _ground_axes(placement: Placement, reconstruction: Reconstruction) -> np.ndarray:
    """Rotation (3, 3) whose columns are right, up and towards the camera, on the ground."""
    up = placement.normal
    to_camera = reconstruction.centers_in_world[placement.frame] - placement.point
    front = to_camera - (to_camera @ up) * up
    if np.linalg.norm(front) < 1e-6 * np.linalg.norm(to_camera):
        front = np.cross(reconstruction.cams_from_world.rotation[placement.frame, 0], up)
    front /= np.linalg.norm(front)
    return np.stack([np.cross(up, front), up, front], axis=1)


def _lamp(light: Light, axes: np.ndarray) -> np.ndarray:
    """Direction (3,) to the lamp."""
    azimuth, elevation = np.radians([light.azimuth_deg, light.elevation_deg])
    return axes @ [np.sin(azimuth) * np.cos(elevation), np.sin(elevation), np.cos(azimuth) * np.cos(elevation)]


def _cone(axis: np.ndarray, radius_deg: float, count: int) -> np.ndarray:
    """Directions (count, 3) evenly within a cone."""
    k = np.arange(count) + 0.5
    angle, part = np.pi * (1 + 5**0.5) * k, np.sqrt(k / count) * np.tan(np.radians(radius_deg))
    side = np.cross(axis, np.eye(3)[np.argmin(np.abs(axis))])
    side /= np.linalg.norm(side)
    across = part[:, None] * (np.cos(angle)[:, None] * side + np.sin(angle)[:, None] * np.cross(axis, side))
    return (axis + across) / np.linalg.norm(axis + across, axis=1, keepdims=True)


def _dome(up: np.ndarray, count: int) -> np.ndarray:
    """Directions (count, 3) above the ground, as dense as their cosine."""
    k = np.arange(count) + 0.5
    angle, radius = np.pi * (1 + 5**0.5) * k, np.sqrt(k / count)
    side = np.cross(up, np.eye(3)[np.argmin(np.abs(up))])
    side /= np.linalg.norm(side)
    across = radius[:, None] * (np.cos(angle)[:, None] * side + np.sin(angle)[:, None] * np.cross(up, side))
    return across + np.sqrt(1 - radius**2)[:, None] * up


def _read_at(picture: np.ndarray, at: np.ndarray) -> np.ndarray:
    """The picture read at (n, 2); 1 beyond it."""
    width = 8192  # OpenCV's remap takes no longer rows
    padded = np.pad(at, ((0, -len(at) % width), (0, 0)), constant_values=-10).reshape(-1, width, 2)
    x, y = np.ascontiguousarray(padded[..., 0]), np.ascontiguousarray(padded[..., 1])
    read = cv2.remap(picture, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=1.0)
    return read.reshape(-1)[: len(at)]
