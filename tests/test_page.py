"""The page that is saved is opened in a headless Chromium and looked at where something must be."""

import dataclasses
import html

import numpy as np
import pytest
from browser import (
    COLORS,
    FRAMES,
    LENS,
    PLATE,
    click,
    places,
    plain_video,
    plate_area,
    press,
    seen_there,
    sliding_scene,
)
from solved import shot_of
from test_view import BACKGROUND, near_color

from sfm.errors import InputError
from sfm.view.explorer import ViewOptions
from sfm.view.inspection import Inspection, ViewState
from sfm.view.page import write_page
from sfm.view.palette import TRIANGULATED, sigma_colors


@pytest.fixture(scope="module")
def inspection(browser, tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "view.html"
    scene, shot = sliding_scene(), shot_of(LENS, FRAMES)
    write_page(scene, shot, path, ViewOptions(frame=2), plain_video())
    browser.driver.get(path.as_uri())
    return Inspection(scene, shot)


def test_all_is_seen_from_outside(browser, inspection):
    browser.until(lambda: near_color(browser.picture().astype(int), PLATE, 8).sum() > 60, what="a plate")
    picture = browser.picture().astype(int)
    for color in COLORS:
        assert 8 < near_color(picture, color, 70).sum() < 120
    assert near_color(picture, [255, 196, 77], 30).sum() > 60  # frusta
    assert near_color(picture, [255, 110, 64], 30).sum() > 10  # path
    assert near_color(picture, BACKGROUND, 3).mean() > 0.4


def test_points_lie_on_the_plate_through_the_camera_and_move_with_the_frames(browser, inspection):
    press(browser, "v")
    browser.until(lambda: seen_there(browser, places(browser, inspection, 2), COLORS), what="points in frame 3")
    picture = browser.picture().astype(int)
    assert near_color(picture, PLATE, 8).sum() == pytest.approx(plate_area(browser, inspection, 2), rel=0.01)
    for key, frame in (("\ue014", 3), ("\ue010", 11), ("\ue012", 10), ("\ue011", 0), ("\ue00f", 10)):
        press(browser, key)  # right, end, left, home, page down
        xy = places(browser, inspection, frame)
        browser.until(lambda xy=xy: seen_there(browser, xy, COLORS), what=f"frame {frame}")
        assert browser.driver.find_element("id", "told").text == f"frame {1001 + frame}"
    moved = places(browser, inspection, 10) - places(browser, inspection, 0)
    assert np.linalg.norm(moved, axis=1).min() > 20


def test_a_click_tells_what_is_known_and_two_how_far_apart(browser, inspection):
    def texts():
        return [p.get_property("textContent") for p in browser.driver.find_elements("css selector", "#picked p")]

    xy = places(browser, inspection, 10)
    click(browser, xy[0])
    shot = inspection.shot
    browser.until(lambda: texts() == [inspection.numbers(0, 10).in_words(shot)], what=f"numbers, but {texts()}")
    click(browser, xy[2])
    browser.until(lambda: len(texts()) == 3)
    assert texts()[1] == inspection.numbers(2, 10).in_words(shot)
    apart = inspection.distance(ViewState().picking(0).picking(2))
    assert float(texts()[2].removeprefix("distance ")) == pytest.approx(apart, rel=1e-3)
    middle = round((xy[0] + xy[2])[0] / 2), round((xy[0] + xy[2])[1] / 2)
    assert browser.picture()[middle[1], middle[0]].min() > 200  # the line between them
    click(browser, (xy[0] + xy[1]) / 2 + [0, 90])
    browser.until(lambda: texts() == ["nothing"])


def test_keys_hide_classes_and_change_colours(browser, inspection):
    xy = places(browser, inspection, 10)
    assert [key.name for key in inspection.classes()] == ["TRIANGULATED", "PRIOR", "NONE"]
    press(browser, "2")
    browser.until(lambda: not seen_there(browser, xy, COLORS) and seen_there(browser, xy[[0, 2]], COLORS[[0, 2]]))
    press(browser, "2", "c", "c", "c")
    browser.until(lambda: seen_there(browser, xy[:1], TRIANGULATED[None].astype(int)), what="support")
    press(browser, "c")
    browser.until(lambda: seen_there(browser, xy, sigma_colors(np.array([1e-3, 0.0316, 1.0]))), what="sigma")
    press(browser, "c")
    browser.until(lambda: seen_there(browser, xy, COLORS))


def test_a_drag_steps_out_of_the_camera_and_turns(browser, inspection):
    from selenium.webdriver.common.actions.action_builder import ActionBuilder

    xy = places(browser, inspection, 10)
    actions = ActionBuilder(browser.driver)
    actions.pointer_action.move_to_location(300, 650).pointer_down().move_to_location(340, 655)
    actions.pointer_action.move_to_location(380, 660).pointer_up()
    actions.perform()
    browser.until(lambda: not browser.driver.find_element("id", "through").is_selected())
    assert not seen_there(browser, xy, COLORS)


def test_nothing_was_asked_of_anybody(browser, inspection):
    assert browser.asked() == set()
    assert browser.complaints() == []


def test_another_host_would_be_noticed(browser, tmp_path):
    """The tests below would fail if a page asked for something."""
    (tmp_path / "p.html").write_text(
        "<img src='http://elsewhere.example/x.png'><script>new WebSocket('ws://x.example')</script>"
    )
    browser.driver.get((tmp_path / "p.html").as_uri())
    asked = set()
    browser.until(lambda: asked.update(browser.asked()) or asked == {"elsewhere.example", "x.example"})
    browser.complaints()


def test_a_page_is_html_and_names_are_text(tmp_path):
    with pytest.raises(InputError, match=r"v\.png: the page is HTML"):
        write_page(sliding_scene(), shot_of(LENS, FRAMES), tmp_path / "v.png")
    nasty = "</script><b>&"
    shot = dataclasses.replace(shot_of(LENS, FRAMES), name=nasty)
    write_page(sliding_scene(), shot, tmp_path / "v.html")  # and without plates
    page = (tmp_path / "v.html").read_text()
    assert nasty not in page and html.escape(nasty) in page and page.count("</script>") == 2
    assert "http:" not in page and "https:" not in page
