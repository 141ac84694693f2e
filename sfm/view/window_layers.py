"""What the window draws of a result: points, path, frusta with their plates, the plate looked at, what was picked, and
the strip of words with the timeline."""

from typing import Any

import cv2
import numpy as np

from sfm.view.canvas import Canvas
from sfm.view.inspection import CLASSES, Inspection, ViewState, short
from sfm.view.layout import frustum_edges
from sfm.view.palette import BACKGROUND, COLOR_WORDS, FRUSTUM, PATH
from sfm.view.picture import FAINT, INK, draw_dots, draw_lines, draw_text
from sfm.view.plates import Plates

PATH_WIDTH, FRUSTUM_WIDTH, HERE_WIDTH, PICKED_WIDTH = 4.0, 2.0, 4.0, 2.5  # px as first seen
BALL_PX = 6.0  # radius of what marks a point that was picked
THUMBNAIL_WIDTH = 240  # px
PICKED = np.array([255, 255, 255], dtype=np.uint8)
STRIP_HEIGHT, LINE_HEIGHT, TEXT, DROP = 60, 28, 17, 8  # px: of the lower strip, a line, its words, their base line
FULL_WIDTH = 1300  # px; in narrower windows words are smaller
BAR, MARGIN = 16, 24  # px from the upper edge to the timeline, and from the sides
WARNING = np.array([255, 166, 64], dtype=np.uint8)


class Layers:
    """The layers of one window on its canvas. px: the size of a pixel in the scene, as first seen."""

    def __init__(self, canvas: Canvas, inspection: Inspection, plates: Plates, px: float):
        self._canvas, self._inspection, self._plates, self._px = canvas, inspection, plates, px

    def points(self, state: ViewState) -> Any:
        """Points of the classes that are shown."""
        tracks = self._inspection.shown(state)
        if not len(tracks):
            return None
        return self._canvas.points(
            self._inspection.reconstruction.points[tracks], self._inspection.colors(state.color_by)[tracks]
        )

    def path(self, state: ViewState) -> Any:
        """The way of the camera; not from inside it."""
        path = self._inspection.layout.path
        return None if state.through or not len(path) else self._canvas.lines(path, self._radius(PATH_WIDTH), PATH)

    def frusta(self, state: ViewState) -> Any:
        """Cameras spread over the shot; not from inside one."""
        if state.through:
            return None
        return self._canvas.lines(self._inspection.layout.frusta, self._radius(FRUSTUM_WIDTH), FRUSTUM)

    def thumbnails(self, state: ViewState) -> Any:
        """Their plates, those that have been read."""
        layout = self._inspection.layout
        plates = {f: plate for f in layout.frusta_frames.tolist() if (plate := self._plates[f]) is not None}
        if state.through or not plates:
            return None
        size = THUMBNAIL_WIDTH, max(1, round(THUMBNAIL_WIDTH * self._plates.height / self._plates.width))
        small = [cv2.resize(plate, size, interpolation=cv2.INTER_AREA) for plate in plates.values()]
        corners = [self._inspection.plate_corners(f, layout.frustum_size) for f in plates]
        return self._canvas.pictures(np.array(corners), small)

    def here(self, state: ViewState) -> Any:
        """The camera of the frame looked at; not from inside it."""
        if state.through:
            return None
        frame = self._inspection.camera_frame(state.frame)
        edges = frustum_edges(self._inspection.reconstruction, np.array([frame]), self._inspection.plate_depth(state))
        return self._canvas.lines(edges, self._radius(HERE_WIDTH), PICKED)

    def plate(self, state: ViewState) -> Any:
        """Its plate: in the frustum, or behind all points where one looks through the camera."""
        rgb = self._plates[self._inspection.camera_frame(state.frame)]
        if rgb is None:
            return None
        corners = self._inspection.plate_corners(state.frame, self._inspection.plate_depth(state))
        return self._canvas.pictures(corners[None], [rgb])

    def picked(self, state: ViewState) -> Any:
        """Balls on the points that were picked, as large as ever where one stands, a line between two, and the ways of
        their tracks over the plate."""
        if not state.picked:
            return None
        cam_from_world, observer = self._canvas.observer()
        points = self._inspection.reconstruction.points[list(state.picked)]
        px = np.abs(cam_from_world.apply(points)[:, 2]) / observer.focal_length[1]
        layer = self._canvas.balls(points, BALL_PX * px, PICKED)
        if len(points) == 2:
            layer += self._canvas.lines(points[None], 0.5 * PICKED_WIDTH * px.mean(), PICKED)
        depth = 0.995 * self._inspection.plate_depth(state)  # before the plate, not in it
        scale = depth / observer.focal_length[1] if state.through else self._px
        for track in state.picked:
            way = self._inspection.track_on_plate(track, state.frame, depth)
            if len(way) > 1:
                layer += self._canvas.lines(np.stack([way[:-1], way[1:]], axis=1), 0.5 * PICKED_WIDTH * scale, PICKED)
        return layer

    def _radius(self, width_px: float) -> float:
        return 0.5 * width_px * self._px


def strip_picture(inspection: Inspection, state: ViewState, width: int, note: str = "") -> np.ndarray:
    """(STRIP_HEIGHT, width, 3) uint8: the timeline, orange where there is no camera, and where one is, or a note."""
    strip = _empty_strip(STRIP_HEIGHT, width)
    _draw_timeline(strip, inspection, state)
    draw_text(strip, (MARGIN, STRIP_HEIGHT - DROP - 4), note or _told(inspection, state), _text_size(width))
    return strip


def picked_picture(inspection: Inspection, state: ViewState, width: int) -> np.ndarray | None:
    """(height, width, 3) uint8: what is known of the points that are picked, a line each; None without any."""
    if not state.picked:
        return None
    strip = _empty_strip(LINE_HEIGHT * len(state.picked) + DROP, width)
    for line, track in enumerate(state.picked, 1):
        words = inspection.numbers(track, state.frame).in_words(inspection.shot)
        draw_text(strip, (MARGIN, LINE_HEIGHT * line - DROP + 4), words, _text_size(width), FAINT)
    return strip


def timeline_frame(x: float, width: int, count: int) -> int:
    """The frame, of `count`, at a place of a strip so wide."""
    return int(np.clip(round((x - MARGIN) / max(width - 2 * MARGIN, 1) * (count - 1)), 0, count - 1))


def _empty_strip(height: int, width: int) -> np.ndarray:
    return np.tile(np.round(0.6 * BACKGROUND).astype(np.uint8), (height, width, 1))


def _text_size(width: int) -> float:
    return TEXT * min(1.0, width / FULL_WIDTH)


def _draw_timeline(strip: np.ndarray, inspection: Inspection, state: ViewState) -> None:
    has_camera = inspection.reconstruction.registered
    count = len(has_camera)
    x = MARGIN + (strip.shape[1] - 2 * MARGIN) * np.arange(count) / max(count - 1, 1)
    ends = np.stack([np.stack([x[:-1], x[1:]], axis=1), np.full((count - 1, 2), float(BAR))], axis=-1)
    colors = np.where((has_camera[:-1] & has_camera[1:])[:, None], np.array(FAINT, np.uint8), WARNING)
    draw_lines(strip, ends, colors, 4)
    draw_dots(strip, np.array([[x[state.frame], BAR]]), np.array(INK), 7)


def _told(inspection: Inspection, state: ViewState) -> str:
    words = [inspection.told_frame(state.frame)]
    words += ["through the camera"] if state.through else []
    words += [f"colour: {COLOR_WORDS[state.color_by]}"]
    for key, (support, number) in enumerate(inspection.classes().items(), 1):
        words.append(f"{key} {CLASSES[support]} {number:,}{' hidden' if support in state.hidden else ''}")
    distance = inspection.distance(state)
    words += [f"distance {short(distance)}"] if distance is not None else []
    return "   ".join(words)
