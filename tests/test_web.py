"""The page that is served is opened in a headless Chromium and looked at where something must be."""

import socket
import sys
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from browser import (
    COLORS,
    FRAMES,
    LENS,
    PLATE,
    Browser,
    click,
    places,
    plain_video,
    plate_area,
    seen_there,
    sliding_scene,
)
from solved import shot_of
from test_view import near_color

from sfm.errors import MissingDependencyError
from sfm.scene import Support
from sfm.view.explorer import ViewOptions
from sfm.view.inspection import Inspection
from sfm.view.web import WebViewer


@pytest.fixture(scope="module")
def viewer(browser):
    pytest.importorskip("viser")
    with WebViewer(
        sliding_scene(), shot_of(LENS, FRAMES), ViewOptions(frame=2, point_size=12), plain_video(), port=free_port()
    ) as viewer:
        browser.driver.get(viewer.url)
        browser.until(lambda: browser.driver.find_elements("xpath", "//*[text()='Through the camera']"), 60)
        yield viewer


@pytest.fixture(scope="module")
def inspection():
    return Inspection(sliding_scene(), shot_of(LENS, FRAMES))


def test_all_is_seen_from_outside(viewer, browser):
    def seen():
        picture = browser.picture().astype(int)
        return all(near_color(picture, color, 70).sum() > 8 for color in [*COLORS, PLATE, (255, 196, 77)])

    browser.until(seen, 60, "points, plates and frusta")


def test_points_lie_on_the_plate_through_the_camera_and_move_with_the_frames(viewer, browser, inspection):
    browser.driver.execute_script("arguments[0].click()", box(browser, "Through the camera"))
    browser.until(lambda: viewer.state.through)
    browser.until(lambda: seen_there(browser, places(browser, inspection, 2), COLORS), 60, "points in frame 3")
    area = near_color(browser.picture().astype(int), PLATE, 12).sum()
    assert area == pytest.approx(plate_area(browser, inspection, 2), rel=0.1)  # a note of viser's hides a part
    click_on(browser, button(browser, ">"), 3)
    browser.until(lambda: viewer.state.frame == 5)
    browser.until(lambda: seen_there(browser, places(browser, inspection, 5), COLORS), 30, "points in frame 6")
    button(browser, ">|").click()
    browser.until(lambda: seen_there(browser, places(browser, inspection, 11), COLORS), 30, "points in frame 12")
    assert browser.driver.find_elements("xpath", "//strong[text()='frame 1012']")


def test_a_click_tells_what_is_known_and_two_how_far_apart(viewer, browser, inspection):
    xy = places(browser, inspection, 11)
    click(browser, xy[1])
    browser.until(lambda: viewer.state.picked == (1,), what=f"{viewer.state}")
    click(browser, xy[2])
    browser.until(lambda: viewer.state.picked == (1, 2))
    words = " ".join(inspection.numbers(2, 11).in_words(inspection.shot).split())
    body = browser.driver.find_element("tag name", "body")
    browser.until(lambda: words in " ".join(body.text.split()), what=words)
    assert f"distance {np.sqrt(20):.4g}" in body.text
    button(browser, "Let go").click()
    browser.until(lambda: viewer.state.picked == ())


def test_a_box_hides_a_class(viewer, browser, inspection):
    xy = places(browser, inspection, 11)
    browser.driver.execute_script("arguments[0].click()", box(browser, "held by the prior (1)"))
    browser.until(lambda: viewer.state.hidden == {Support.PRIOR})
    browser.until(lambda: not seen_there(browser, xy, COLORS) and seen_there(browser, xy[[0, 2]], COLORS[[0, 2]]))


def test_back_to_the_overview(viewer, browser, inspection):
    button(browser, "Overview").click()
    browser.until(lambda: not viewer.state.through)
    browser.until(lambda: near_color(browser.picture().astype(int), (255, 196, 77), 40).sum() > 30, what="frusta")


def test_nothing_was_asked_of_anybody_else(viewer, browser):
    assert browser.asked() == {"localhost"}
    assert browser.complaints() == []


def test_who_changes_what_is_seen_at_the_same_time_undoes_nothing():
    """viser answers every click in a thread of its own."""
    pytest.importorskip("viser")

    def slow_step(now):
        time.sleep(0.01)
        return now.at(now.frame + 1, FRAMES)

    with WebViewer(sliding_scene(), shot_of(LENS, FRAMES), port=free_port()) as viewer:
        with ThreadPoolExecutor(6) as clicks:
            list(clicks.map(viewer.change, [slow_step] * 6))
        assert viewer.state.frame == 6


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux answers at every address of its own loop")
def test_this_machine_alone_is_served(viewer):
    """A server for everybody would answer at 127.0.0.2 too."""
    port = int(viewer.url.rpartition(":")[2])
    assert urllib.request.urlopen(viewer.url, timeout=5).status == 200
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.2", port), timeout=5).close()


def test_without_viser_it_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "viser", None)
    with pytest.raises(MissingDependencyError, match=r"needs viser, of the extra \[web\]"):
        WebViewer(sliding_scene(), shot_of(LENS, FRAMES))


def box(browser: Browser, label: str):
    path = f"//label[normalize-space()='{label}']/following::input[@type='checkbox'][1]"
    return browser.driver.find_element("xpath", path)


def button(browser: Browser, text: str):
    return browser.driver.find_element("xpath", f"//button[normalize-space()='{text}']")


def click_on(browser: Browser, element, times: int) -> None:
    """Click that often, and no faster than viser's page tells of: it sends the last of what was done in 50 ms."""
    script = "const [at, n, end] = arguments; const go = i => i < n ? (at.click(), setTimeout(go, 60, i + 1)) : end();"
    browser.driver.execute_async_script(f"{script} go(0)", element, times)


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("localhost", 0))
        return found.getsockname()[1]
