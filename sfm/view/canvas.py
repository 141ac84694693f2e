"""An Open3D window (Zhou et al. 2018) to draw on: layers by name, pictures in space, an observer, strips of text.

The legacy visualiser: it renders without a display, graphics driver or Vulkan and cannot take the process down, as
Open3D's newer one does where Vulkan or the display is missing. Its limit: points are squares, nothing is transparent,
and it has no text: a strip is a picture that stays before the observer's eye.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from sfm.errors import MissingDependencyError, SfmError
from sfm.geometry.camera import Camera
from sfm.geometry.transform import Rigid3
from sfm.view.layout import tubes

NEAR, FAR = 1e-3, 20.0  # clipping planes, in depths and extents of the scene
STRIP_DEPTH = 2.0  # of the strip, in distances of the near plane
CLICK_PX = 4.0  # a mouse that moved no farther between press and release clicked
SHIFT, CONTROL = 1, 2
LEFT, MIDDLE = 0, 2


class Canvas:
    """One window, or a picture in memory where visible is false. Raises `SfmError` where Open3D cannot render,
    `MissingDependencyError` without it."""

    def __init__(self, title: str, width: int, height: int, *, visible: bool):
        self._o3d = _import_open3d()
        self._visualizer = self._o3d.visualization.VisualizerWithKeyCallback()
        with self._o3d.utility.VerbosityContextManager(self._o3d.utility.VerbosityLevel.Error), _runtime_folder():
            created = self._visualizer.create_window(title, width, height, visible=visible)
        if not created:
            raise SfmError(
                f"Open3D {self._o3d.__version__} cannot render on this machine: 0.20 renders without a display, older "
                "ones need one (or xvfb-run)"
            )
        self._layers: dict[str, Any] = {}
        self._near = NEAR

    def prepare(self, background: np.ndarray, point_size: float, depth: float, extent: float) -> None:
        """Once the first layers are there. Clipping planes wide enough to walk about in; Open3D's own, taken from how
        near the eye is, cut off what is far."""
        render, control = self._visualizer.get_render_option(), self._visualizer.get_view_control()
        render.background_color = background / 255
        render.point_size = point_size
        render.light_on = False
        render.mesh_show_back_face = True
        self._near = NEAR * depth
        control.set_constant_z_near(self._near)
        control.set_constant_z_far(FAR * extent)

    def put(self, name: str, layer: Any) -> None:
        """Show a layer in the place of the one of that name; None takes it away."""
        first = name not in self._layers and not self._layers  # Open3D measures the scene by what it is given first
        if (old := self._layers.pop(name, None)) is not None:
            self._visualizer.remove_geometry(old, reset_bounding_box=False)
        if layer is not None:
            self._layers[name] = layer
            self._visualizer.add_geometry(layer, reset_bounding_box=first)

    def points(self, xyz: np.ndarray, rgb: np.ndarray) -> Any:
        """A layer of points (n, 3) in colours (n, 3) uint8."""
        utility = self._o3d.utility
        cloud = self._o3d.geometry.PointCloud(utility.Vector3dVector(xyz))
        cloud.colors = utility.Vector3dVector(rgb / 255)
        return cloud

    def lines(self, segments: np.ndarray, radius: float, rgb: np.ndarray) -> Any:
        """A layer of tubes around segments (..., 2, 3), as many drivers draw OpenGL's own lines one pixel thin."""
        return self._mesh(*tubes(segments.reshape(-1, 2, 3), radius)).paint_uniform_color(rgb / 255)

    def balls(self, xyz: np.ndarray, radii: np.ndarray, rgb: np.ndarray) -> Any:
        """A layer of balls about xyz (n, 3) of radii (n,), n > 0."""
        ball = self._o3d.geometry.TriangleMesh()
        for center, radius in zip(xyz, radii, strict=True):
            ball += self._o3d.geometry.TriangleMesh.create_sphere(radius, 12).translate(center)  # pyright: ignore[reportOperatorIssue]
        return ball.paint_uniform_color(rgb / 255)

    def pictures(self, corners: np.ndarray, pictures: Sequence[np.ndarray]) -> Any:
        """A layer of pictures (height, width, 3), all of one size, on corners (n, 4, 3): clockwise from top left."""
        count = len(pictures)
        mesh = self._mesh(corners.reshape(-1, 3), (4 * np.arange(count)[:, None, None] + QUAD).reshape(-1, 3))
        left = np.arange(count)[:, None] / count
        across = np.array([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])[QUAD.reshape(-1)]
        places = np.stack([left + across[:, 0] / count, np.broadcast_to(across[:, 1], (count, 6))], axis=-1)
        mesh.triangle_uvs = self._o3d.utility.Vector2dVector(places.reshape(-1, 2))
        mesh.triangle_material_ids = self._o3d.utility.IntVector([0] * (2 * count))
        mesh.textures = [self._o3d.geometry.Image(np.ascontiguousarray(np.hstack(pictures)))]  # pyright: ignore[reportCallIssue, reportArgumentType]
        return mesh

    def strip(self, name: str, rgb: np.ndarray | None, top: int = 0) -> None:
        """A picture before everything, px for px, its upper edge at `top`, until the view changes; None: none."""
        if rgb is None:
            return self.put(name, None)
        cam_from_world, observer = self.observer()
        height, width = rgb.shape[:2]
        on_img = np.array([[0, top], [width, top], [width, top + height], [0, top + height]])
        in_cam = np.column_stack([observer.cam_from_img(on_img), np.ones(4)]) * STRIP_DEPTH * self._near
        self.put(name, self.pictures(cam_from_world.inverse().apply(in_cam)[None], [rgb]))

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the picture, px: a desktop may have given less than was asked for."""
        intrinsic = self._visualizer.get_view_control().convert_to_pinhole_camera_parameters().intrinsic
        return intrinsic.width, intrinsic.height

    def look_from(self, cam_from_world: Rigid3, fov_deg: float) -> None:
        """Stand there and look along z, with that vertical field of view."""
        control = self._visualizer.get_view_control()
        parameters = control.convert_to_pinhole_camera_parameters()
        width, height = parameters.intrinsic.width, parameters.intrinsic.height
        focal = 0.5 * height / np.tan(np.radians(fov_deg) / 2)
        parameters.intrinsic.set_intrinsics(width, height, focal, focal, width / 2 - 0.5, height / 2 - 0.5)
        parameters.extrinsic = np.vstack([cam_from_world.as_matrix(), [0, 0, 0, 1]])
        control.convert_from_pinhole_camera_parameters(parameters, allow_arbitrary=True)

    def observer(self) -> tuple[Rigid3, Camera]:
        """Where one stands, `cam_from_world`, and the pinhole one looks through."""
        parameters = self._visualizer.get_view_control().convert_to_pinhole_camera_parameters()
        width, height = parameters.intrinsic.width, parameters.intrinsic.height
        focal = parameters.intrinsic.get_focal_length()[1]
        return Rigid3.from_matrix(parameters.extrinsic[:3]), Camera.from_focal_px(focal, width, height)

    def turn(self, right: float, down: float) -> None:
        """Round what is looked at, px of the mouse."""
        self._visualizer.get_view_control().rotate(right, down)

    def shift(self, right: float, down: float) -> None:
        """Along with the mouse, px."""
        self._visualizer.get_view_control().translate(right, down)

    def on_key(self, key: int, act: Callable[[], None]) -> None:
        """What a key does: ASCII, or GLFW's number."""
        self._visualizer.register_key_callback(key, lambda _: _quietly(act))

    def on_mouse(self, mouse: "Mouse") -> None:
        """Who hears of the mouse, in the place of Open3D's own, which turns and shifts."""
        visualizer = self._visualizer
        visualizer.register_mouse_button_callback(lambda _, *event: _quietly(lambda: mouse.button(*event)))
        visualizer.register_mouse_move_callback(lambda _, x, y: _quietly(lambda: mouse.move(float(x), float(y))))
        visualizer.register_mouse_scroll_callback(lambda _, x, y: _quietly(lambda: mouse.wheel(float(y))))

    def zoom(self, steps: float) -> None:
        """Nearer or farther, in steps of the wheel."""
        self._visualizer.get_view_control().scale(steps)

    def redraw(self) -> None:
        """At the next `poll`."""
        self._visualizer.update_renderer()

    def poll(self) -> bool:
        """Let what happened at keys and mouse take effect; false once the window is closed."""
        return self._visualizer.poll_events()

    def picture(self) -> np.ndarray:
        """What is seen, (height, width, 3) uint8 RGB."""
        rgb = np.asarray(self._visualizer.capture_screen_float_buffer(do_render=True))
        return np.round(255 * rgb).astype(np.uint8)

    def close(self) -> None:
        """Free the window."""
        self._visualizer.destroy_window()

    def _mesh(self, vertices: np.ndarray, triangles: np.ndarray) -> Any:
        utility = self._o3d.utility
        return self._o3d.geometry.TriangleMesh(utility.Vector3dVector(vertices), utility.Vector3iVector(triangles))


class Mouse:
    """Tells drags, clicks and the wheel from the events of a window.

    `hears` has what becomes of them: `drag(dx, dy, shifting)`, `click(x, y)`, `wheel(steps)`, and `grabs(x, y)`, which
    says whether what was pressed there wants `scrub(x)` until it is released, and no drag.
    """

    def __init__(self, hears: Any):
        self._hears = hears
        self._at, self._pressed_at = (0.0, 0.0), (0.0, 0.0)
        self._button, self._shifting, self._dragging, self._grabbed = -1, False, False, False

    def button(self, button: int, action: int, mods: int) -> None:
        """GLFW's button, 1 for pressed and 0 for released, modifier keys."""
        if action:
            self._button, self._pressed_at, self._dragging = button, self._at, False
            self._shifting = button == MIDDLE or bool(mods & (SHIFT | CONTROL))
            self._grabbed = button == LEFT and self._hears.grabs(*self._at)
            if self._grabbed:
                self._hears.scrub(self._at[0])
            return
        if button == LEFT == self._button and not (self._grabbed or self._dragging):
            self._hears.click(*self._at)
        self._button, self._grabbed = -1, False

    def move(self, x: float, y: float) -> None:
        """To a place in the window."""
        dx, dy = x - self._at[0], y - self._at[1]
        self._at = (x, y)
        if self._grabbed:
            self._hears.scrub(x)
        elif self._button in (LEFT, MIDDLE):
            self._dragging |= max(abs(x - self._pressed_at[0]), abs(y - self._pressed_at[1])) > CLICK_PX
            if self._dragging:
                self._hears.drag(dx, dy, self._shifting)

    def wheel(self, steps: float) -> None:
        """Turned by so many steps."""
        self._hears.wheel(steps)


QUAD = np.array([[0, 1, 2], [0, 2, 3]])


def _quietly(act: Callable[[], None]) -> bool:
    """Do it, and have nothing drawn again but what asked for it: Open3D would send every layer anew."""
    act()
    return False


def _import_open3d():
    try:
        import open3d
    except ImportError as error:
        if error.name == "open3d":
            raise MissingDependencyError("open3d", "view", "the 3D view") from error
        raise SfmError(
            f"Open3D is installed but cannot start ({error}); on Debian or Ubuntu: make system installs what it lacks"
        ) from error
    return open3d


@contextmanager
def _runtime_folder() -> Iterator[None]:
    """Keep the Wayland library from complaining on stderr where no session has set its folder, as on a farm."""
    if "XDG_RUNTIME_DIR" in os.environ:
        yield
        return
    os.environ["XDG_RUNTIME_DIR"] = os.devnull
    try:
        yield
    finally:
        del os.environ["XDG_RUNTIME_DIR"]
