"""A result to walk about in, with keys and mouse, in an Open3D window.

They change a `ViewState`, and what that asks for is drawn on a `Canvas`. A strip over the lower edge says where one is
and what is known of the points that were clicked on, and is the timeline.
"""

import time
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

from sfm.errors import InputError
from sfm.view.canvas import Canvas, Mouse
from sfm.view.inspection import THROUGH_MARGIN, Inspection, ViewState
from sfm.view.layout import viewpoint
from sfm.view.palette import BACKGROUND, ColorMode
from sfm.view.picture import write_png
from sfm.view.plates import Plates
from sfm.view.window_layers import BAR, STRIP_HEIGHT, Layers, picked_picture, strip_picture, timeline_frame

FOV_DEG = 45.0  # vertical field of view of the observer
PLATE_WIDTH = 1280  # px
KEYS = (
    "drag turn, shift-drag move, wheel zoom, click pick   V through the camera   arrows, page, home, end, space time   "
    "1 2 3 classes   C colour   P T F layers   +/- point size   R view   S save   H strip   Q quit"
)
LAYERS = {"P": "points", "T": "path", "F": "frusta"}
WITH_FRUSTA = ("thumbnails", "here")  # come and go with the frusta
RIGHT, LEFT, PAGE_UP, PAGE_DOWN, HOME, END = 262, 263, 266, 267, 268, 269  # GLFW's numbers
PAGE = 10  # frames
PAUSE_S = 0.01  # between two looks at keys and mouse
PLATES_EVERY_S = 0.5  # plates that have been read meanwhile are shown


@dataclass(frozen=True, slots=True)
class ViewOptions:
    """What is shown at first and how large; the window's keys change the rest."""

    color_by: ColorMode = "plate"  # plate, depth, residual, support or sigma
    points: bool = True
    path: bool = True
    frusta: bool = True
    frustum_every: int | None = None  # frames between frusta; None: where the camera has moved or turned enough
    frame: int = 0  # index of the frame at which to start
    through: bool = False  # through the shot's camera, the plate behind the points
    point_size: float = 5.0  # px
    width: int = 1600  # px
    height: int = 900  # px


class Explorer:
    """A canvas, the state it shows, and what keys and mouse make of it."""

    def __init__(
        self,
        inspection: Inspection,
        options: ViewOptions,
        *,
        plates: Plates | None = None,
        magnify: int = 1,
        visible: bool,
    ):
        self._inspection, self._count = inspection, len(inspection.shot.frame_numbers)
        self._plates = plates or Plates(None, inspection.reconstruction.camera, PLATE_WIDTH)
        self.state = ViewState(color_by=options.color_by).at(options.frame, self._count)
        size = magnify * options.width, magnify * options.height
        self._canvas = Canvas(f"{inspection.shot.name}   |   {KEYS}", *size, visible=visible)
        self._px = magnify * _px(inspection, size[0] / size[1]) / size[1]
        self._layers = Layers(self._canvas, inspection, self._plates, self._px)
        self._shown = {name for name in LAYERS.values() if getattr(options, name)}
        self._strip_shown, self._playing, self._next_at, self._view, self._note = visible, False, 0.0, np.zeros(0), ""
        self._draw("points", "path", "frusta", *WITH_FRUSTA)
        points = inspection.reconstruction.points[inspection.layout.shown]
        extent = np.ptp(np.concatenate([points, inspection.layout.frusta.reshape(-1, 3)]), axis=0).max()
        self._canvas.prepare(BACKGROUND, magnify * options.point_size, inspection.layout.depth, extent)
        self.reset_view()
        if options.through:
            self.look_through()
        self._draw("plate")

    def toggle(self, name: str) -> None:
        """Show a layer that is hidden, hide one that is shown."""
        self._shown ^= {name}
        self._draw(name, *(WITH_FRUSTA if name == "frusta" else ()), "plate")

    def change(self, state: ViewState) -> None:
        """Show another state."""
        old, self.state, self._note = self.state, state, ""
        if (old.color_by, old.hidden) != (state.color_by, state.hidden):
            self._draw("points")
        if (old.frame, old.through) != (state.frame, state.through):
            if state.through:
                self._stand_in_camera()
            self._draw("plate", "here")
        if old.through != state.through:
            self._draw("path", "frusta", "thumbnails")
        self._draw_before_eye()

    def next_color(self) -> None:
        """Colour the points by the next mode."""
        self.change(self.state.recolored())

    def reset_view(self) -> None:
        """Stand where everything is seen."""
        scene, (aspect, room) = self._inspection, self._clear_view()
        fov_deg = 2 * np.degrees(np.arctan(room * np.tan(np.radians(FOV_DEG) / 2)))
        self._canvas.look_from(viewpoint(scene.reconstruction, scene.layout, aspect, fov_deg), FOV_DEG)
        self.change(replace(self.state, through=False))

    def look_through(self) -> None:
        """Look through the shot's camera, or, where one does, step back."""
        if self.state.through:
            self.reset_view()
        else:
            self.change(replace(self.state, through=True))

    def run(self) -> None:
        """Hand over to the person at keys and mouse."""
        self._listen()
        read, look_at = -1, 0.0
        while self._canvas.poll():
            now = time.monotonic()
            if self._playing and now >= self._next_at:
                self._next_at = max(now, self._next_at + 1 / self._inspection.shot.fps)
                self.change(self.state.at((self.state.frame + 1) % self._count, self._count))
            if self._plates.read != read and now >= look_at:
                read, look_at = self._plates.read, now + PLATES_EVERY_S
                self._draw("plate", "thumbnails")
            self._follow_view()
            time.sleep(PAUSE_S)
        self.close()

    def picture(self) -> np.ndarray:
        """What is seen, (height, width, 3) uint8 RGB."""
        return self._canvas.picture()

    def close(self) -> None:
        """Free the window."""
        self._canvas.close()

    def save(self) -> None:
        """Write what is seen, without the strip, to the folder one is in; an older picture stays."""
        shot = self._inspection.shot
        stem = f"{shot.name}_view_{shot.frame_numbers[self.state.frame]}"
        path = next(path for n in count(1) if not (path := Path(f"{stem}_{n}.png")).exists())
        for name in ("strip", "numbers"):
            self._canvas.strip(name, None)
        try:
            write_png(path, self.picture())
            self._note = f"saved {path.resolve()}"
        except InputError as error:
            self._note = str(error)
        self._draw_before_eye()

    def drag(self, dx: float, dy: float, shifting: bool) -> None:
        """The mouse turns the scene, or moves it; whoever looked through the camera steps out of it."""
        self._step_out()
        (self._canvas.shift if shifting else self._canvas.turn)(dx, dy)
        self._canvas.redraw()

    def wheel(self, steps: float) -> None:
        """Nearer or farther."""
        self._step_out()
        self._canvas.zoom(steps)
        self._canvas.redraw()

    def click(self, x: float, y: float) -> None:
        """Pick the point under the mouse."""
        cam_from_world, observer = self._canvas.observer()
        if not self._strip_shown or y < observer.height - STRIP_HEIGHT:
            shown = "points" in self._shown
            track = self._inspection.pick((x, y), cam_from_world, observer, self.state) if shown else None
            self.change(self.state.picking(track))

    def grabs(self, _: float, y: float) -> bool:
        """Whether the timeline is there."""
        return self._strip_shown and 0 <= y - (self._canvas.size[1] - STRIP_HEIGHT) <= 2 * BAR

    def scrub(self, x: float) -> None:
        """To the frame at this place of the timeline."""
        self.change(self.state.at(timeline_frame(x, self._canvas.size[0], self._count), self._count))

    def _listen(self) -> None:
        keys: dict[int, Any] = {ord(key): lambda name=name: self.toggle(name) for key, name in LAYERS.items()}
        for digit in "0123456789":  # Open3D's own would colour the points by their coordinates
            keys[ord(digit)] = lambda: None
        for number, support in enumerate(self._inspection.classes(), 1):
            keys[ord(str(number))] = lambda support=support: self.change(self.state.toggling(support))
        for key, step in ((RIGHT, 1), (LEFT, -1), (PAGE_DOWN, PAGE), (PAGE_UP, -PAGE), (HOME, -(10**9)), (END, 10**9)):
            keys[key] = lambda step=step: self.change(self.state.at(self.state.frame + step, self._count))
        keys |= {
            ord("C"): self.next_color, ord("R"): self.reset_view, ord("V"): self.look_through, ord("S"): self.save,
            ord("H"): self._toggle_strip, ord(" "): self._play,
        }  # fmt: skip
        for key, act in keys.items():
            self._canvas.on_key(key, act)
        self._canvas.on_mouse(Mouse(self))

    def _toggle_strip(self) -> None:
        self._strip_shown = not self._strip_shown
        if self.state.through:
            self._stand_in_camera()
        self._draw_before_eye()

    def _play(self) -> None:
        self._playing, self._next_at = not self._playing, time.monotonic()

    def _step_out(self) -> None:
        if self.state.through:
            self.change(replace(self.state, through=False))

    def _stand_in_camera(self) -> None:
        aspect, room = self._clear_view()
        self._canvas.look_from(*self._inspection.through(self.state.frame, aspect, THROUGH_MARGIN / room))

    def _clear_view(self) -> tuple[float, float]:
        """Of the middle of the window that the strip leaves free: width over height, and height over the window's."""
        width, height = self._canvas.size
        room = max(1 - 2 * STRIP_HEIGHT / height, 0.2) if self._strip_shown else 1.0
        return width / (height * room), room

    def _follow_view(self) -> None:
        """What stays before the observer's eye follows where that has moved, or the window has another size."""
        cam_from_world, observer = self._canvas.observer()
        size = [observer.width, observer.height]
        view = np.array([*cam_from_world.as_matrix().ravel(), *observer.focal_length, *size])
        if np.array_equal(view, self._view):
            return
        if self.state.through and len(self._view) and (view[-2:] != self._view[-2:]).any():
            self._stand_in_camera()
        self._view = view
        self._draw_before_eye()

    def _draw_before_eye(self) -> None:
        """What is as large wherever one stands."""
        self._draw("picked")
        (width, height), shown = self._canvas.size, self._strip_shown
        self._canvas.strip(
            "strip",
            strip_picture(self._inspection, self.state, width, self._note) if shown else None,
            height - STRIP_HEIGHT,
        )
        self._canvas.strip("numbers", picked_picture(self._inspection, self.state, width) if shown else None)

    def _draw(self, *names: str) -> None:
        """Draw layers anew, or take away what is hidden."""
        frusta = "frusta" in self._shown
        hidden = {*LAYERS.values()} - self._shown | (set() if frusta else {*WITH_FRUSTA})
        if not (frusta or self.state.through):
            hidden |= {"plate"}
        for name in names:
            self._canvas.put(name, None if name in hidden else getattr(self._layers, name)(self.state))
        self._canvas.redraw()


def _px(inspection: Inspection, aspect: float) -> float:
    """The height of a picture that shows everything, in the scene, where the cameras are."""
    first = viewpoint(inspection.reconstruction, inspection.layout, aspect, FOV_DEG)
    return 2 * np.tan(np.radians(FOV_DEG) / 2) * float(np.median(first.apply(inspection.layout.frusta)[..., 2]))
