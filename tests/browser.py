"""A headless Chromium that may reach this machine alone, and what it asked for: for the tests of pages."""

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

FLAGS = (
    "--headless=new", "--no-sandbox", "--no-first-run", "--disable-dev-shm-usage", "--disable-quic", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--disable-default-apps", "--mute-audio",
    "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--ignore-gpu-blocklist",
    "--force-device-scale-factor=1", "--hide-scrollbars", "--no-proxy-server",
    "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE localhost",
)  # fmt: skip


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
        """Hosts that the page, and the browser for it, asked anything of since the last call; of files and data none."""
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
    if None in found.values():
        pytest.skip(f"no {' nor '.join(name for name, at in found.items() if at is None)} here: make system installs them")
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
