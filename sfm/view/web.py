"""A result in a browser, by viser (Yi et al. 2025; extra `[web]`): what the window shows, with a slider and boxes.

The page comes from this machine and asks nothing of any other; it is served to this machine alone unless another host
is named, for viser knows no password. All who look at it share frame, colours and what is picked; each stands where
they like.
"""

import contextlib
import io
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import cv2
import numpy as np

from sfm.errors import InputError, require
from sfm.geometry.camera import Camera
from sfm.geometry.transform import Rigid3
from sfm.scene import Reconstruction
from sfm.video import Shot, Video
from sfm.view.explorer import FOV_DEG, PLATES_EVERY_S, ViewOptions
from sfm.view.inspection import CLASSES, Inspection, ViewState, short
from sfm.view.layout import viewpoint
from sfm.view.palette import BACKGROUND, COLOR_MODES
from sfm.view.plates import Plates
from sfm.view.web_scene import WebScene

PLATE_WIDTH = 960  # px
SIZE_STEP, MOST = 1e-3, 40  # size of a point, of the median depth, for every step of its slider: about a pixel
IN_CAMERA = 0.6  # of that size where one looks through the camera: they are to show the plate too
FAR = 1e4  # clipping plane, viser's unit
ASPECT = 16 / 9  # of a browser that has not told its own yet
HINT = "Click a point for its numbers, a second one for the distance between them, the background to let go."


class WebViewer:
    """Serves a result until `close`, or the end of a `with` block. video: the plates, where they are at hand.

    host: whose connections are taken, `localhost` for none but this machine's; port: the first to be tried, the one
    that was free is in `url`. Raises `InputError` where there is no camera to look from or no port is free,
    `MissingDependencyError` without viser.
    """

    def __init__(
        self,
        reconstruction: Reconstruction,
        shot: Shot,
        options: ViewOptions = ViewOptions(),
        video: Video | None = None,
        *,
        host: str = "localhost",
        port: int = 8080,
    ):
        require("viser", "viser", "web", "the viewer in a browser")
        self._inspection = Inspection(reconstruction, shot, options.frustum_every)
        self._count, self._numbers = len(shot.frame_numbers), shot.frame_numbers
        gapless = self._numbers[-1] - self._numbers[0] == self._count - 1
        self._first = int(self._numbers[0]) if gapless else 1  # the slider counts in plate numbers where it can
        self._state = ViewState(options.frame, options.color_by, options.through)
        self._lock, self._closed = threading.RLock(), threading.Event()
        self._aspects: dict[int, float] = {}
        self._server = _serve(host, port)
        self.url = f"http://{'localhost' if host in ('0.0.0.0', '') else host}:{self._server.get_port()}"
        self._plates = Plates(video, reconstruction.camera, PLATE_WIDTH)
        self._scene = WebScene(self._server.scene, self._inspection, self._plates)
        self._build_panel(options)
        self._scene.fixed()
        self._draw_points()
        self._scene.here(self._state)
        self._tell()
        self._prepare_camera(self._server.initial_camera)
        self._server.scene.on_click()(self._clicked)
        self._server.on_client_connect(self._connected)
        threading.Thread(target=self._keep_up, daemon=True).start()

    def __enter__(self) -> "WebViewer":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def wait(self) -> None:
        """Until interrupted, or closed by another thread."""
        while not self._closed.wait(1.0):
            pass

    def close(self) -> None:
        """Serve no more."""
        self._closed.set()
        self._plates.close()
        with contextlib.redirect_stdout(io.StringIO()):
            self._server.stop()

    @property
    def state(self) -> ViewState:
        """What is looked at."""
        return self._state

    def change(self, turn: Callable[[ViewState], ViewState]) -> None:
        """Show what `turn` makes of the state there is: of two who change it at a time none undoes the other's."""
        with self._lock, self._server.atomic():
            old, state = self._state, turn(self._state)
            self._state = state
            if (old.color_by, old.hidden, old.through) != (state.color_by, state.hidden, state.through):
                self._draw_points()
            if (old.frame, old.through) != (state.frame, state.through):
                self._scene.here(state)
                self._show_layers()
            if state.through or old.through:
                for client in self._server.get_clients().values():
                    if (old.frame, old.through) != (state.frame, state.through):
                        self._stand(client)
            self._scene.picked(state)
            self._tell()

    def _build_panel(self, options: ViewOptions) -> None:
        gui, state, first = self._server.gui, self._state, self._first
        gui.configure_theme(dark_mode=True, show_logo=False, show_share_button=False)
        gui.main_panel.dock_right()
        gui.set_panel_label(f"sfm view: {self._inspection.shot.name}")
        self._told = gui.add_markdown("")
        self._frame = gui.add_slider("Frame", first, first + max(self._count - 1, 1), 1, first + state.frame)
        self._frame.on_update(lambda _: self.change(lambda now: now.at(int(self._frame.value) - first, self._count)))
        step = gui.add_button_group("Step", ("|<", "<", ">", ">|"))
        step.on_click(lambda event: self._step(event.target.value))
        self._play = gui.add_checkbox("Play", False)
        self._through = gui.add_checkbox("Through the camera", state.through, hint="The plate behind the points.")
        self._through.on_update(lambda _: self.change(lambda now: replace(now, through=self._through.value)))
        colour = gui.add_dropdown("Colour", COLOR_MODES, initial_value=state.color_by)
        colour.on_update(lambda _: self.change(lambda now: replace(now, color_by=colour.value)))
        self._size = gui.add_slider("Point size", 1, MOST, 1, min(max(round(options.point_size), 1), MOST))
        self._size.on_update(lambda _: self._draw_points())
        with gui.add_folder("Show"):
            for support, number in self._inspection.classes().items():
                box = gui.add_checkbox(f"{CLASSES[support]} ({number:,})", True)
                box.on_update(lambda _, support=support: self.change(lambda now: now.toggling(support)))
            self._path, self._frusta = (
                gui.add_checkbox("path", options.path),
                gui.add_checkbox("frusta", options.frusta),
            )
            for box in (self._path, self._frusta):
                box.on_update(lambda _: self._show_layers())
        with gui.add_folder("Picked"):
            self._picked = gui.add_markdown(HINT)
            gui.add_button("Let go").on_click(lambda _: self.change(lambda now: now.picking(None)))
        gui.add_button("Overview").on_click(lambda event: self._step_back(event.client))
        gui.add_button("Save view").on_click(lambda event: self._save(event.client))

    def _step(self, where: str) -> None:
        with self._lock:  # clicks come in threads of their own: the second must step on from where the first led
            frame = {"|<": 0, "<": self._state.frame - 1, ">": self._state.frame + 1, ">|": self._count - 1}[where]
            self._frame.value = self._first + self._state.at(frame, self._count).frame

    def _keep_up(self) -> None:
        """Play, and show the plates that have been read meanwhile."""
        read, look_at = 0, 0.0
        while not self._closed.wait(1 / self._inspection.shot.fps):
            if self._play.value:
                self._step(">" if self._state.frame < self._count - 1 else "|<")
            if self._plates.read != read and time.monotonic() >= look_at:
                read, look_at = self._plates.read, time.monotonic() + PLATES_EVERY_S
                with self._lock:
                    self._scene.thumbnails()
                    self._scene.here(self._state)
                    self._show_layers()

    def _connected(self, client: Any) -> None:
        """A browser came: it stands where the state says, and again when its window changes its shape."""

        def moved(camera: Any) -> None:
            aspect = self._aspects.get(client.client_id)
            if self._state.through and aspect is not None and abs(camera.aspect - aspect) > 1e-3:
                self._stand(client)

        client.camera.on_update(moved)
        self._stand(client)

    def _stand(self, client: Any) -> None:
        self._aspects[client.client_id] = client.camera.aspect
        with self._lock, client.atomic():
            if self._state.through:
                self._scene.stand(client.camera, *self._inspection.through(self._state.frame, client.camera.aspect))
            else:
                self._overlook(client.camera, client.camera.aspect)

    def _overlook(self, camera: Any, aspect: float) -> None:
        self._scene.stand(camera, self._overview(aspect), FOV_DEG)

    def _step_back(self, client: Any) -> None:
        """To where all is seen; out of the camera, for whoever looks through it too."""
        self._through.value = False
        with self._lock, client.atomic():
            self._overlook(client.camera, client.camera.aspect)

    def _overview(self, aspect: float) -> Rigid3:
        return viewpoint(self._inspection.reconstruction, self._inspection.layout, aspect, FOV_DEG)

    def _prepare_camera(self, initial: Any) -> None:
        """Where viser's own button for it goes back to."""
        initial.far, initial.fov = FAR, float(np.radians(FOV_DEG))
        initial.position, initial.look_at, initial.up = self._scene.eye(self._overview(ASPECT))

    def _draw_points(self) -> None:
        with self._lock:
            scale = IN_CAMERA if self._state.through else 1.0
            self._scene.points(self._state, scale * SIZE_STEP * self._size.value)

    def _show_layers(self) -> None:
        with self._lock:
            outside = not self._state.through
            self._scene.show("path", self._path.value and outside)
            self._scene.show("frusta", self._frusta.value and outside)
            self._scene.show("here", self._frusta.value and outside)
            self._scene.show("plate", self._frusta.value or not outside)

    def _clicked(self, event: Any) -> None:
        """Pick the point under the mouse."""
        camera = event.client.camera
        width, height = camera.image_width, camera.image_height
        observer = Camera.from_focal_px(0.5 * height / np.tan(0.5 * camera.fov), width, height)
        place = np.array(event.screen_pos) * [width, height]
        cam_from_world = self._scene.observer(camera)
        self.change(lambda now: now.picking(self._inspection.pick(place, cam_from_world, observer, now)))

    def _tell(self) -> None:
        state, shot = self._state, self._inspection.shot
        self._told.content = f"**{self._inspection.told_frame(state.frame)}**"
        lines = [self._inspection.numbers(track, state.frame).in_words(shot) for track in state.picked]
        distance = self._inspection.distance(state)
        lines += [f"**distance {short(distance)}**"] if distance is not None else []
        self._picked.content = "\n\n".join(lines) or HINT

    def _save(self, client: Any) -> None:
        """Send what is seen as a PNG."""
        camera = client.camera
        rgba = client.get_render(camera.image_height, camera.image_width, transport_format="png", timeout=20)
        alpha = rgba[..., 3:] / 255
        rgb = np.round(alpha * rgba[..., :3] + (1 - alpha) * BACKGROUND).astype(np.uint8)
        name = f"{self._inspection.shot.name}_view_{self._numbers[self._state.frame]}.png"
        client.send_file_download(name, cv2.imencode(".png", rgb[..., ::-1])[1].tobytes(), save_immediately=True)


def _serve(host: str, port: int) -> Any:
    """viser's server, without its words on stdout and without its way to share a scene through another host."""
    import viser

    try:
        with contextlib.redirect_stdout(io.StringIO()):
            server = viser.ViserServer(host=host, port=port, verbose=False)
    except (OSError, RuntimeError) as error:
        raise InputError(f"--host {host}, --port {port}: cannot be served ({error})") from error
    server.request_share_url = lambda verbose=True: None
    return server
