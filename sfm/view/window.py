"""The reconstruction in a window, or a picture of it rendered without a display."""

import ctypes
import os
import sys
from pathlib import Path

import cv2
import numpy as np

from sfm.errors import InputError, UsageError
from sfm.scene import Reconstruction
from sfm.video import Shot, Video
from sfm.view.explorer import PLATE_WIDTH, Explorer, ViewOptions
from sfm.view.inspection import Inspection
from sfm.view.picture import write_png
from sfm.view.plates import Plates

OVERSAMPLING = 2  # screenshots are rendered this many times larger and shrunk: smooth lines and points


def show(
    reconstruction: Reconstruction, shot: Shot, options: ViewOptions = ViewOptions(), video: Video | None = None
) -> None:
    """Open a window and return when it is closed; its title lists the keys. video: the plates, where they are at hand.

    Raises `UsageError` where there is no display, `InputError` where there is no camera to look from,
    `MissingDependencyError` without Open3D.
    """
    if sys.platform.startswith("linux") and not _display_answers():
        raise UsageError(
            "no display to open a window on; in a browser: sfm view OUT --web; as a picture: sfm view OUT --screenshot "
            "FILE.png"
        )
    plates = Plates(video, reconstruction.camera, PLATE_WIDTH)
    try:
        window = Explorer(Inspection(reconstruction, shot, options.frustum_every), options, plates=plates, visible=True)
        window.run()
    finally:
        plates.close()


def screenshot(
    reconstruction: Reconstruction,
    shot: Shot,
    path: str | Path,
    options: ViewOptions = ViewOptions(),
    video: Video | None = None,
) -> None:
    """Write what `show` shows first as a PNG; needs no display.

    Raises `InputError` where `path` is no PNG or unwritable, or there is no camera to look from,
    `MissingDependencyError` without Open3D, `SfmError` where Open3D cannot render.
    """
    if Path(path).suffix.lower() != ".png":
        raise InputError(f"{path}: a screenshot is a PNG; give it a name that ends in .png")
    inspection = Inspection(reconstruction, shot, options.frustum_every)
    needed = np.unique([*inspection.layout.frusta_frames, inspection.camera_frame(options.frame)])
    plates = Plates(video, reconstruction.camera, PLATE_WIDTH, needed.tolist())
    plates.wait()
    window = Explorer(inspection, options, plates=plates, magnify=OVERSAMPLING, visible=False)
    rgb = window.picture()
    window.close()
    write_png(path, cv2.resize(rgb, (options.width, options.height), interpolation=cv2.INTER_AREA))


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
