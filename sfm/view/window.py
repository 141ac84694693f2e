"""The reconstruction in an Open3D window (Zhou et al. 2018), or a picture of it rendered without a display.

Uses Open3D's legacy visualiser: it is the one that renders without a display, graphics driver or Vulkan, and the one
that cannot take the process down. Its limit: points are squares and nothing is transparent.
"""

import ctypes
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from sfm.errors import InputError, MissingDependencyError, SfmError, UsageError
from sfm.scene import Reconstruction
from sfm.video import Shot
from sfm.view.layout import lay_out, tubes, viewpoint
from sfm.view.palette import BACKGROUND, COLOR_MODES, FRUSTUM, PATH, ColorMode, point_colors
from sfm.view.picture import write_png

logger = logging.getLogger(__name__)

FOV_DEG = 45.0  # vertical field of view of the observer
OVERSAMPLING = 2  # screenshots are rendered this many times larger and shrunk: smooth lines and points
PATH_WIDTH, FRUSTUM_WIDTH = 4.0, 2.0  # px as first seen; tubes, as many drivers draw OpenGL's own lines one pixel thin
KEYS = "P points   T path   F frusta   C colour   +/- point size   R reset view   Q quit"
LAYERS = {"P": "points", "T": "path", "F": "frusta"}


@dataclass(frozen=True, slots=True)
class ViewOptions:
    """What is shown at first and how large; the window's keys change the rest."""

    color_by: ColorMode = "plate"  # plate, depth, residual or support
    points: bool = True
    path: bool = True
    frusta: bool = True
    frustum_every: int | None = None  # frames between frusta; None: where the camera has moved or turned enough
    point_size: float = 5.0  # px
    width: int = 1600  # px
    height: int = 900  # px


def show(reconstruction: Reconstruction, shot: Shot, options: ViewOptions = ViewOptions()) -> None:
    """Open a window and return when it is closed; its title lists the keys.

    Raises `UsageError` where there is no display, `InputError` where there is no camera to look from,
    `MissingDependencyError` without Open3D.
    """
    if sys.platform.startswith("linux") and not _display_answers():
        raise UsageError("no display to open a window on; render a picture instead: sfm view OUT --screenshot FILE.png")
    window = _Window(reconstruction, options, f"{shot.name}   |   {KEYS}", visible=True)
    window.run()


def screenshot(
    reconstruction: Reconstruction, shot: Shot, path: str | Path, options: ViewOptions = ViewOptions()
) -> None:
    """Write what `show` shows first as a PNG; needs no display.

    Raises `InputError` where `path` is no PNG or unwritable, or there is no camera to look from,
    `MissingDependencyError` without Open3D, `SfmError` where Open3D cannot render.
    """
    if Path(path).suffix.lower() != ".png":
        raise InputError(f"{path}: a screenshot is a PNG; give it a name that ends in .png")
    window = _Window(reconstruction, options, shot.name, magnify=OVERSAMPLING, visible=False)
    rgb = window.picture()
    window.close()
    write_png(path, cv2.resize(rgb, (options.width, options.height), interpolation=cv2.INTER_AREA))


class _Window:
    """One Open3D window: layers that come and go, a colour mode, a viewpoint to return to."""

    def __init__(
        self, reconstruction: Reconstruction, options: ViewOptions, title: str, magnify: int = 1, *, visible: bool
    ):
        self._o3d = _import_open3d()
        self._reconstruction = reconstruction
        self._layout = lay_out(reconstruction, options.frustum_every)
        self._color_by: ColorMode = options.color_by
        self._visualizer = self._o3d.visualization.VisualizerWithKeyCallback()
        with self._o3d.utility.VerbosityContextManager(self._o3d.utility.VerbosityLevel.Error), _runtime_folder():
            created = self._visualizer.create_window(
                title, magnify * options.width, magnify * options.height, visible=visible
            )
        if not created:
            raise SfmError(
                f"Open3D {self._o3d.__version__} cannot render on this machine: 0.20 renders without a display, older "
                "ones need one (or xvfb-run)"
            )
        self._layers = self._build_layers(options)
        self._shown = set(self._layers)
        for layer in self._layers.values():
            self._visualizer.add_geometry(layer)
        for name in self._layers:
            if not getattr(options, name):
                self.toggle(name)
        self._set_clipping_planes()
        render = self._visualizer.get_render_option()
        render.background_color = BACKGROUND / 255
        render.point_size = magnify * options.point_size
        render.light_on = False
        self.reset_view()

    def toggle(self, name: str) -> None:
        """Show a layer that is hidden, hide one that is shown."""
        if name in self._shown:
            self._visualizer.remove_geometry(self._layers[name], reset_bounding_box=False)
        else:
            self._visualizer.add_geometry(self._layers[name], reset_bounding_box=False)
        self._shown ^= {name}

    def next_color(self) -> None:
        """Colour the points by the next mode."""
        self._color_by = COLOR_MODES[(COLOR_MODES.index(self._color_by) + 1) % len(COLOR_MODES)]
        logger.info(f"points coloured by {self._color_by}")
        self._layers["points"].colors = self._point_colors()
        self._visualizer.update_geometry(self._layers["points"])

    def reset_view(self) -> None:
        """Stand where everything is seen."""
        control = self._visualizer.get_view_control()
        parameters = control.convert_to_pinhole_camera_parameters()
        width, height = parameters.intrinsic.width, parameters.intrinsic.height  # a desktop may have given less
        focal = 0.5 * height / np.tan(np.radians(FOV_DEG) / 2)
        parameters.intrinsic.set_intrinsics(width, height, focal, focal, width / 2 - 0.5, height / 2 - 0.5)
        cam_from_world = viewpoint(self._reconstruction, self._layout, width / height, FOV_DEG)
        parameters.extrinsic = np.vstack([cam_from_world.as_matrix(), [0, 0, 0, 1]])
        control.convert_from_pinhole_camera_parameters(parameters, allow_arbitrary=True)

    def run(self) -> None:
        """Hand over to the person at the keys."""
        for key, name in LAYERS.items():
            self._on(key, lambda name=name: self.toggle(name))
        self._on("C", self.next_color)
        self._on("R", self.reset_view)
        self._visualizer.run()
        self.close()

    def picture(self) -> np.ndarray:
        """What is seen, (height, width, 3) uint8 RGB."""
        rgb = np.asarray(self._visualizer.capture_screen_float_buffer(do_render=True))
        return np.round(255 * rgb).astype(np.uint8)

    def close(self) -> None:
        """Free the window."""
        self._visualizer.destroy_window()

    def _on(self, key: str, act) -> None:
        def pressed(_) -> bool:
            act()
            return True  # redraw

        self._visualizer.register_key_callback(ord(key), pressed)

    def _set_clipping_planes(self) -> None:
        """Wide enough to walk about in; Open3D's own, taken from how near the eye is, cut off what is far."""
        layout, control = self._layout, self._visualizer.get_view_control()
        points = self._reconstruction.points[layout.shown]
        extent = np.ptp(np.concatenate([points, layout.frusta.reshape(-1, 3)]), axis=0).max()
        control.set_constant_z_near(1e-3 * layout.depth)
        control.set_constant_z_far(20 * extent)

    def _build_layers(self, options: ViewOptions) -> dict:
        o3d, layout = self._o3d, self._layout
        points = o3d.geometry.PointCloud(o3d.utility.Vector3dVector(self._reconstruction.points[layout.shown]))
        points.colors = self._point_colors()
        in_view = viewpoint(self._reconstruction, layout, options.width / options.height, FOV_DEG).apply(layout.frusta)
        px = 2 * np.tan(np.radians(FOV_DEG) / 2) * np.median(in_view[..., 2]) / options.height
        return {
            "points": points,
            "path": self._tubes(layout.path, 0.5 * PATH_WIDTH * px, PATH),
            "frusta": self._tubes(layout.frusta, 0.5 * FRUSTUM_WIDTH * px, FRUSTUM),
        }

    def _point_colors(self):
        colors = point_colors(self._reconstruction, self._color_by)[self._layout.shown]
        return self._o3d.utility.Vector3dVector(colors / 255)

    def _tubes(self, segments: np.ndarray, radius: float, color: np.ndarray):
        vertices, triangles = tubes(segments.reshape(-1, 2, 3), radius)
        utility = self._o3d.utility
        mesh = self._o3d.geometry.TriangleMesh(utility.Vector3dVector(vertices), utility.Vector3iVector(triangles))
        return mesh.paint_uniform_color(color / 255)


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


def _display_answers() -> bool:
    """Whether an X or Wayland server can be reached.

    Asked before Open3D is: where none answers, it opens a window nobody sees and waits for its keys for ever.
    """
    for variable, library, connect, disconnect in (
        ("DISPLAY", "libX11.so.6", "XOpenDisplay", "XCloseDisplay"),
        ("WAYLAND_DISPLAY", "libwayland-client.so.0", "wl_display_connect", "wl_display_disconnect"),
    ):
        if not os.environ.get(variable):
            continue
        try:
            client = ctypes.CDLL(library)
        except OSError:
            continue
        getattr(client, connect).restype = ctypes.c_void_p
        connection = getattr(client, connect)(None)
        if connection:
            getattr(client, disconnect)(ctypes.c_void_p(connection))
            return True
    return False


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
