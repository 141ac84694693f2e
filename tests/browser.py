"""A headless Chromium that may reach this machine alone, what it asked for, and a scene to look at in it."""

import dataclasses
import json
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlparse

import cv2
import numpy as np
import pytest
from test_view import near_color, three_points

from sfm.geometry import Camera
from sfm.scene import Reconstruction
from sfm.video import Video
from sfm.view.inspection import Inspection

FLAGS = (
    "--headless=new", "--no-sandbox", "--no-first-run", "--disable-dev-shm-usage", "--disable-quic", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--disable-default-apps", "--mute-audio",
    "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--ignore-gpu-blocklist",
    "--force-device-scale-factor=1", "--hide-scrollbars", "--no-proxy-server",
    "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE localhost",
)  # fmt: skip

FRAMES = 12
PLATE = (90, 70, 50)
COLORS = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255]])
LENS = Camera([1280.0, 1280.0], [700.0, 330.0], [], 1280, 720)


class Browser:
    """One page of a browser. size: width and height of the page, px."""

    def __init__(self, driver, size: tuple[int, int]):
        self.driver, self.size = driver, size

    def picture(self) -> np.ndarray:
        """What is seen, (height, width, 3) uint8 RGB."""
        png = np.frombuffer(self.driver.get_screenshot_as_png(), np.uint8)
        return cv2.imdecode(png, cv2.IMREAD_COLOR)[..., ::-1]

    def until(self, seen: Callable[[], object], seconds: float = 20, what: str = "it was not seen") -> None:
        """Wait until seen() is true."""
        end = time.monotonic() + seconds
        while not seen():
            assert time.monotonic() < end, f"{what} in {seconds:g} s"
            time.sleep(0.1)

    def asked(self) -> set[str]:
        """Hosts that the page asked anything of since the last call; files and data have none."""
        hosts = set()
        for entry in self.driver.get_log("performance"):
            message = json.loads(entry["message"])["message"]
            url = message["params"].get("request", {}).get("url") or message["params"].get("url")
            if message["method"] in ("Network.requestWillBeSent", "Network.webSocketCreated") and url:
                parts = urlparse(url)
                if parts.scheme in ("http", "https", "ws", "wss"):
                    hosts.add(parts.hostname)
        return hosts

    def complaints(self) -> list[str]:
        """Errors on the console."""
        return [entry["message"] for entry in self.driver.get_log("browser") if entry["level"] == "SEVERE"]


@contextmanager
def open_browser(folder: Path, size: tuple[int, int] = (1280, 800)) -> Iterator[Browser]:
    """A browser with a profile of its own in folder; the test is skipped where there is none."""
    webdriver = pytest.importorskip("selenium.webdriver")
    from selenium.webdriver.chrome.service import Service

    found = {name: shutil.which(name) for name in ("chromium", "chromedriver")}
    if missing := [name for name, at in found.items() if at is None]:
        pytest.skip(f"no {' nor '.join(missing)} here: make system installs them")
    options = webdriver.ChromeOptions()
    options.binary_location = found["chromium"]
    for flag in (*FLAGS, f"--window-size={size[0]},{size[1]}", f"--user-data-dir={folder / 'profile'}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(found["chromedriver"]))
    try:
        driver.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {"width": size[0], "height": size[1], "deviceScaleFactor": 1, "mobile": False},
        )
        yield Browser(driver, size)
    finally:
        driver.quit()


def sliding_scene() -> Reconstruction:
    """Three points before a camera that slides, its principal point off the middle."""
    plain = three_points(step=(0.05, 0.0, 0.0), frames=FRAMES)
    tracks = dataclasses.replace(plain.tracks, xy=LENS.img_from_cam(plain.points_in_cam()))
    return dataclasses.replace(plain, camera=LENS, tracks=tracks, point_sigma=np.array([1e-3, 0.0316, 1.0]))


def plain_video() -> Video:
    """Its plates, all of one colour."""
    return Video.from_arrays([np.full((720, 1280, 3), PLATE, np.uint8)] * FRAMES, "shot", 24.0)


def canvas_box(browser: Browser) -> tuple[float, float, float, float]:
    box = browser.driver.execute_script(
        "const b = document.querySelector('canvas').getBoundingClientRect(); return [b.left, b.top, b.width, b.height]"
    )
    assert box[2] > 300 and box[3] > 300
    return tuple(box)


def places(browser: Browser, inspection: Inspection, frame: int) -> np.ndarray:
    """Where the points must be in the picture of the page, (3, 2) px, through the shot's camera of a frame."""
    return through(browser, inspection, frame, inspection.reconstruction.points)


def plate_area(browser: Browser, inspection: Inspection, frame: int) -> float:
    """How many px of the picture the plate must fill."""
    corners = through(browser, inspection, frame, inspection.plate_corners(frame, 7.0))
    return float(np.prod(corners[2] - corners[0]))


def through(browser: Browser, inspection: Inspection, frame: int, points: np.ndarray) -> np.ndarray:
    """Points (n, 3) as the shot's camera of a frame sees them in the picture of the page, (n, 2) px."""
    left, top, width, height = canvas_box(browser)
    cam_from_world, fov_deg = inspection.through(frame, width / height)
    focal = 0.5 * height / np.tan(np.radians(fov_deg) / 2)
    xy = focal * (cam := cam_from_world.apply(points))[:, :2] / cam[:, 2:]
    return xy + np.array([left + width / 2, top + height / 2])


def seen_there(browser: Browser, xy: np.ndarray, colors: np.ndarray) -> bool:
    """Whether the points are there in their colours, and nothing like them a dozen pixels off."""
    picture = browser.picture().astype(int)
    for (x, y), color in zip(xy, colors, strict=True):
        around = picture[round(y) - 20 : round(y) + 21, round(x) - 20 : round(x) + 21]
        rows, columns = np.nonzero(near_color(around, color, 70))
        if not len(rows) or np.hypot(rows.mean() - 20, columns.mean() - 20) > 1.5:
            return False
    return True


def click(browser: Browser, xy: np.ndarray) -> None:
    from selenium.webdriver.common.actions.action_builder import ActionBuilder

    actions = ActionBuilder(browser.driver)
    actions.pointer_action.move_to_location(round(xy[0]), round(xy[1])).click()
    actions.perform()


def press(browser: Browser, *keys: str) -> None:
    from selenium.webdriver import ActionChains

    ActionChains(browser.driver).send_keys(*keys).perform()
