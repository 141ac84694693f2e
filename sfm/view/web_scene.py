"""What the browser's viewer draws of a result, in viser's scene: points, path, frusta with their plates, the plate
looked at and what was picked. The same layers as the window's."""

from typing import Any

import cv2
import numpy as np

from sfm.geometry.rotation import quaternion_from_rotation, rotation_from_quaternion
from sfm.geometry.transform import Rigid3, Sim3
from sfm.view.inspection import Inspection, ViewState
from sfm.view.layout import frustum_edges
from sfm.view.palette import FRUSTUM, PATH
from sfm.view.plates import Plates

DEPTH = 4.0  # of the scene, median, in viser's unit: its clipping planes and orbits are made for such numbers
PATH_WIDTH, FRUSTUM_WIDTH, HERE_WIDTH, PICKED_WIDTH = 3.0, 1.5, 3.0, 2.0  # px
THUMBNAIL_WIDTH = 240  # px
BALL = 0.012  # radius of what marks a point that was picked, of its distance from the camera looked at
PICKED = (255, 255, 255)


class WebScene:
    """The layers in viser's scene, whose world is levelled, y down, and has a unit of its own."""

    def __init__(self, scene: Any, inspection: Inspection, plates: Plates):
        self._scene, self._inspection, self._plates = scene, inspection, plates
        level, scale = inspection.layout.level, DEPTH / inspection.layout.depth
        self._there_from_world = Sim3(np.array(scale), level.rotation, scale * level.translation)
        self._layers: dict[str, Any] = {}
        self._thumbnails: set[int] = set()
        scene.set_up_direction("-y")

    def points(self, state: ViewState, size: float) -> None:
        """Points of the classes that are shown; size: in parts of the median depth."""
        tracks = self._inspection.shown(state)
        self._layers["points"] = self._scene.add_point_cloud(
            "/points",
            self.there(self._inspection.reconstruction.points[tracks]).astype(np.float32),
            self._inspection.colors(state.color_by)[tracks],
            point_size=size * DEPTH, precision="float32", point_shape="circle", point_shading="flat",
        )  # fmt: skip

    def fixed(self) -> None:
        """Path and frusta, which are drawn once."""
        layout = self._inspection.layout
        if len(layout.path):
            self._lines("path", layout.path, PATH, PATH_WIDTH)
        self._lines("frusta", layout.frusta.reshape(-1, 2, 3), FRUSTUM, FRUSTUM_WIDTH)

    def thumbnails(self) -> None:
        """Plates of the frusta, those that have been read since the last call."""
        layout = self._inspection.layout
        size = THUMBNAIL_WIDTH, max(1, round(THUMBNAIL_WIDTH * self._plates.height / self._plates.width))
        for frame in layout.frusta_frames.tolist():
            if frame not in self._thumbnails and (rgb := self._plates[frame]) is not None:
                small = cv2.resize(rgb, size, interpolation=cv2.INTER_AREA)
                self._picture(f"frusta/{frame}", small, self._inspection.plate_corners(frame, layout.frustum_size))
                self._thumbnails.add(frame)

    def here(self, state: ViewState) -> None:
        """The camera of the frame looked at and its plate: in its frustum, or behind all points where one looks through
        it."""
        frame, depth = self._inspection.camera_frame(state.frame), self._inspection.plate_depth(state)
        edges = frustum_edges(self._inspection.reconstruction, np.array([frame]), depth)
        self._lines("here", edges.reshape(-1, 2, 3), np.array(PICKED), HERE_WIDTH)
        self._layers["here"].visible = not state.through
        if (rgb := self._plates[frame]) is not None:
            self._picture("plate", rgb, self._inspection.plate_corners(frame, depth))
        elif "plate" in self._layers:
            self._layers.pop("plate").remove()

    def picked(self, state: ViewState) -> None:
        """Balls on the points that were picked, a line between two, and the ways of their tracks over the plate."""
        if "picked" in self._layers:
            self._layers.pop("picked").remove()
        if not state.picked:
            return
        self._layers["picked"] = self._scene.add_frame("/picked", show_axes=False)
        points = self._inspection.reconstruction.points[list(state.picked)]
        cam = self._inspection.reconstruction.cams_from_world[self._inspection.camera_frame(state.frame)]
        away = np.linalg.norm(cam.apply(points), axis=1) * self._there_from_world.scale
        for number, (point, distance) in enumerate(zip(self.there(points), away, strict=True)):
            self._scene.add_icosphere(
                f"/picked/{number}", radius=BALL * float(distance), color=PICKED, material="toon3", position=point
            )
        segments = [points[None]] if len(points) == 2 else []
        for track in state.picked:
            way = self._inspection.track_on_plate(track, state.frame, 0.995 * self._inspection.plate_depth(state))
            segments += [np.stack([way[:-1], way[1:]], axis=1)]
        self._lines("picked/lines", np.concatenate(segments), np.array(PICKED), PICKED_WIDTH)

    def show(self, name: str, visible: bool) -> None:
        """Show or hide a layer."""
        if name in self._layers:
            self._layers[name].visible = visible

    def there(self, points: np.ndarray) -> np.ndarray:
        """Points (..., 3) of the world in viser's."""
        return self._there_from_world.apply(points)

    def stand(self, camera: Any, cam_from_world: Rigid3, fov_deg: float) -> None:
        """Put a camera of viser's there."""
        camera.position, camera.look_at, camera.up_direction = self.eye(cam_from_world)
        camera.fov = float(np.radians(fov_deg))

    def eye(self, cam_from_world: Rigid3) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Where a camera stands, what it looks at, and what is up to it, in viser's world."""
        center = self.there(cam_from_world.centers_in_world)
        _, down, forward = cam_from_world.rotation @ self._there_from_world.rotation.T
        return center, center + DEPTH * forward, -down

    def observer(self, camera: Any) -> Rigid3:
        """`cam_from_world` of a camera of viser's, but for the scale of its axes."""
        world_from_cam = Rigid3(rotation_from_quaternion(camera.wxyz), np.asarray(camera.position, dtype=float))
        there_from_world = self._there_from_world
        cam_from_there = world_from_cam.inverse()
        return Rigid3(
            cam_from_there.rotation @ there_from_world.rotation,
            cam_from_there.apply(there_from_world.translation) / there_from_world.scale,
        )

    def _lines(self, name: str, segments: np.ndarray, rgb: np.ndarray, width: float) -> None:
        self._layers[name] = self._scene.add_line_segments(
            f"/{name}", self.there(segments).astype(np.float32), rgb, thickness=width, thickness_units="screen"
        )

    def _picture(self, name: str, rgb: np.ndarray, corners: np.ndarray) -> None:
        """A picture on corners (4, 3), clockwise from its top left."""
        corners = self.there(corners)
        right, down = corners[1] - corners[0], corners[3] - corners[0]
        width, height = np.linalg.norm(right), np.linalg.norm(down)
        axes = np.column_stack([right / width, down / height, np.cross(right / width, down / height)])
        self._layers[name] = self._scene.add_image(
            f"/{name}", rgb, float(width), float(height), jpeg_quality=90, format="jpeg",
            wxyz=quaternion_from_rotation(axes), position=corners.mean(axis=0), cast_shadow=False, receive_shadow=False,
        )  # fmt: skip
