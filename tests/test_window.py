"""The window under a virtual display, with real keys and a real mouse; what it shows is what it saves."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from solved import shot_of
from test_view import BACKGROUND, CAMERA, near_color, read_png, three_points

from sfm.geometry import Camera
from sfm.view.canvas import CLICK_PX
from sfm.view.explorer import FOV_DEG
from sfm.view.inspection import THROUGH_MARGIN, Inspection
from sfm.view.window_layers import BAR, MARGIN, STRIP_HEIGHT

WIDTH, HEIGHT, FRAMES = 960, 540, 12
ROOM = 1 - 2 * STRIP_HEIGHT / HEIGHT
PLATE = (90, 70, 50)
COLORS = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255]])
SHOW = """
import sys
import numpy as np
sys.path.insert(0, sys.argv[1])
from test_view import CAMERA, shot_of, three_points
from sfm.video import Video
from sfm.view.window import ViewOptions, show
video = Video.from_arrays([np.full((720, 1280, 3), (90, 70, 50), np.uint8)] * 12, "shot", 24.0)
show(three_points(), shot_of(CAMERA, 12), ViewOptions(frame=2, width=960, height=540), video)
"""


class Desk:
    """A display with the window on it. `saved()` presses S and reads the picture that comes of it."""

    def __init__(self, folder: Path, environment: dict[str, str], window: str):
        self.folder, self._environment, self.window = folder, environment, window

    def do(self, *words: object) -> None:
        """Words of xdotool's."""
        subprocess.run(["xdotool", *map(str, words)], env=self._environment, check=True, timeout=20)

    def press(self, *keys: str) -> None:
        self.do("key", "--delay", 60, *keys)

    def click(self, x: float, y: float) -> None:
        self.do("mousemove", "--window", self.window, round(x), round(y), "click", "1")

    def drag(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        steps = np.linspace(start, end, 5).round().astype(int).tolist()
        words: list[object] = ["mousemove", "--window", self.window, *steps[0], "mousedown", "1"]
        for step in steps[1:]:
            words += ["mousemove", "--window", self.window, *step, "sleep", "0.05"]
        self.do(*words, "mouseup", "1")

    def saved(self) -> tuple[str, np.ndarray]:
        """Name and picture."""
        before = set(self.folder.glob("*.png"))
        self.press("s")
        end = time.monotonic() + 20
        while not (new := set(self.folder.glob("*.png")) - before):
            assert time.monotonic() < end, "nothing was saved"
            time.sleep(0.05)
        (path,) = new
        picture = read_png(path)
        assert picture.shape == (HEIGHT, WIDTH, 3)
        return path.name, picture


@pytest.fixture(scope="module")
def desk(tmp_path_factory):
    pytest.importorskip("open3d")
    if missing := [name for name in ("Xvfb", "xdotool") if shutil.which(name) is None]:
        pytest.skip(f"no {' nor '.join(missing)} here: make system installs them")
    folder = tmp_path_factory.mktemp("desk")
    read, write = os.pipe()
    screen = subprocess.Popen(
        ["Xvfb", "-displayfd", str(write), "-screen", "0", "1280x800x24", "-nolisten", "tcp"],
        pass_fds=[write], stderr=subprocess.DEVNULL,
    )  # fmt: skip
    os.close(write)
    with os.fdopen(read) as told:
        display = told.readline().strip()
    assert display, "Xvfb did not start"
    environment = {k: v for k, v in os.environ.items() if k != "WAYLAND_DISPLAY"} | {"DISPLAY": f":{display}"}
    script = [sys.executable, "-c", SHOW, os.path.dirname(__file__)]
    viewer = subprocess.Popen(script, env=environment, cwd=folder, stderr=subprocess.PIPE, text=True)
    try:
        here = Desk(folder, environment, _window(viewer, environment))
        here.do("windowfocus", here.window)
        yield here
        here.press("q")
        assert viewer.wait(20) == 0, viewer.stderr.read()
    finally:
        viewer.kill()
        viewer.communicate()
        screen.terminate()
        screen.wait()


def _window(viewer: subprocess.Popen, environment: dict[str, str]) -> str:
    """xdotool's number of the window, once it is there."""
    search = ["xdotool", "search", "--onlyvisible", "--name", "through the camera"]
    end = time.monotonic() + 60
    while time.monotonic() < end and viewer.poll() is None:
        found = subprocess.run(search, env=environment, capture_output=True, text=True, timeout=20).stdout.split()
        if found:
            return found[0]
        time.sleep(0.1)
    viewer.kill()
    raise AssertionError(f"no window: {viewer.communicate()[1]}")


@pytest.fixture(scope="module")
def inspection() -> Inspection:
    return Inspection(three_points(), shot_of(CAMERA, FRAMES))


def through(inspection: Inspection, frame: int, points: np.ndarray) -> np.ndarray:
    """Where points (n, 3) must be in the window, px, seen through the shot's camera."""
    cam_from_world, fov_deg = inspection.through(frame, WIDTH / (HEIGHT * ROOM), THROUGH_MARGIN / ROOM)
    focal = 0.5 * HEIGHT / np.tan(np.radians(fov_deg) / 2)
    return Camera.from_focal_px(focal, WIDTH, HEIGHT).img_from_cam(cam_from_world.apply(points))


def points_there(picture: np.ndarray, xy: np.ndarray, colors=COLORS) -> None:
    for at, color in zip(xy, colors, strict=True):
        rows, columns = np.nonzero(near_color(picture, color, 60))
        np.testing.assert_allclose([columns.mean() + 0.5, rows.mean() + 0.5], at, atol=1.2)


def test_it_opens_with_points_path_frusta_and_their_plates(desk):
    end = time.monotonic() + 10
    while near_color(picture := desk.saved()[1], PLATE, 4).sum() < 60:  # plates are read while one looks
        assert time.monotonic() < end, "no plate"
    for color in COLORS:
        assert 4 < near_color(picture, color, 60).sum() < 60
    assert near_color(picture, BACKGROUND, 2).mean() > 0.7
    assert (picture[-STRIP_HEIGHT:] == BACKGROUND).all(axis=-1).mean() > 0.9  # pictures are saved without the strip


def test_through_the_camera_points_lie_on_the_plate_and_move_with_the_frames(desk, inspection):
    desk.press("v")
    name, picture = desk.saved()
    assert name.startswith("plate_view_1003_")
    points = inspection.reconstruction.points
    points_there(picture, through(inspection, 2, points))
    corners = through(inspection, 2, inspection.plate_corners(2, 5.0))
    rows, columns = np.nonzero(near_color(picture, PLATE, 4))
    np.testing.assert_allclose([columns.min(), rows.min()], corners[0], atol=1.5)
    np.testing.assert_allclose([columns.max() + 1, rows.max() + 1], corners[2], atol=1.5)
    for key, frame in (("Right", 3), ("End", 11), ("Left", 10), ("Home", 0), ("Next", 10), ("Prior", 0)):
        desk.press(key)
        name, picture = desk.saved()
        assert name.startswith(f"plate_view_{1001 + frame}_")
        points_there(picture, through(inspection, frame, points))
    assert np.abs(through(inspection, 10, points) - through(inspection, 0, points))[:, 0].min() > 15


def test_the_timeline_is_scrubbed_with_the_mouse(desk, inspection):
    bar = HEIGHT - STRIP_HEIGHT + BAR
    at = [(MARGIN + (WIDTH - 2 * MARGIN) * frame / (FRAMES - 1), bar) for frame in range(FRAMES)]
    desk.drag(at[1], at[7])
    name, picture = desk.saved()
    assert name.startswith("plate_view_1008_")
    points_there(picture, through(inspection, 7, inspection.reconstruction.points))


def test_a_click_marks_a_point_and_two_are_joined(desk, inspection):
    xy = through(inspection, 7, inspection.reconstruction.points)
    desk.click(*xy[0])
    picture = desk.saved()[1]
    assert near_color(picture, [255, 255, 255], 10)[tuple(xy[0].astype(int)[::-1])]
    assert not near_color(picture, [255, 255, 255], 60)[tuple(xy[1].astype(int)[::-1])]
    desk.click(*xy[2])
    white = near_color(desk.saved()[1], [255, 255, 255], 10)
    assert white[tuple(xy[2].astype(int)[::-1])]
    between = np.round(np.linspace(xy[0], xy[2], 21)[1:-1] - 0.5).astype(int)
    assert all(white[y - 1 : y + 2, x].any() for x, y in between)
    desk.click(xy[0][0] + 60, xy[0][1] + 90)
    assert not near_color(desk.saved()[1], [255, 255, 255], 60).any()


def test_keys_hide_classes_and_change_colours(desk, inspection):
    xy = through(inspection, 7, inspection.reconstruction.points)
    desk.press("1")
    picture = desk.saved()[1]
    assert not near_color(picture, COLORS[0], 60).any()
    points_there(picture, xy[1:], COLORS[1:])
    desk.press("1", "c", "c", "c", "c")  # by sigma, which is 1 % for all
    picture = desk.saved()[1]
    color = inspection.colors("sigma")[0]
    assert all((near_color(picture, color, 30)[int(y), int(x)]) for x, y in xy)
    desk.press("c")


def test_a_drag_steps_out_of_the_camera_and_r_shows_everything(desk, inspection):
    xy = through(inspection, 7, inspection.reconstruction.points)
    desk.drag((300, 300), (300 + 0.7 * CLICK_PX, 300))  # a hand that shakes turns nothing
    points_there(desk.saved()[1], xy)
    desk.drag((300, 300), (380, 330))
    picture = desk.saved()[1]
    assert not near_color(picture, COLORS[1], 60)[int(xy[1][1]), int(xy[1][0])]
    desk.press("r")
    picture = desk.saved()[1]
    observer = Camera.from_focal_px(0.5 * HEIGHT / np.tan(np.radians(FOV_DEG) / 2), WIDTH, HEIGHT)
    from sfm.view.layout import viewpoint

    fov_deg = 2 * np.degrees(np.arctan(ROOM * np.tan(np.radians(FOV_DEG) / 2)))
    eye = viewpoint(inspection.reconstruction, inspection.layout, WIDTH / (HEIGHT * ROOM), fov_deg)
    points_there(picture, observer.img_from_cam(eye.apply(inspection.reconstruction.points)))
    desk.press("p")
    assert not any(near_color(desk.saved()[1], color, 60).any() for color in COLORS)
