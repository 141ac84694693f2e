"""The report is read back as a browser and as a farm would, and compared with the reconstruction's own numbers."""

import base64
import inspect
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import cv2
import numpy as np
import pytest

from sfm import results
from sfm.bridging import bridge
from sfm.cli import main
from sfm.cli.solving import reconstruct
from sfm.errors import InputError
from sfm.geometry import Rigid3
from sfm.geometry.rotation import rotation_angle
from sfm.pipeline import reconstruct_tracks
from sfm.results import load_result, renew_report, set_scene_frame, write_result
from sfm.scene import Support
from sfm.scene_frame import World, orient
from sfm.synthetic import make_shot
from sfm.video import Video, open_video
from sfm.view.palette import residual_colors
from sfm.view.plots import histogram_plot
from sfm.view.report import DEFAULTS
from sfm.view.report_numbers import telling_frames

FRAMES, LOST, GONE = 12, (4, 5), (10, 11)  # interpolated; at the end, without a camera
SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def plates(tmp_path_factory) -> Video:
    """Frames on disk of nothing but grain: no picture compresses worse."""
    folder, rng = tmp_path_factory.mktemp("plates"), np.random.default_rng(0)
    for number in range(1001, 1001 + FRAMES):
        picture = rng.integers(0, 256, (1080, 1920, 3), dtype=np.uint8)
        cv2.imwrite(str(folder / f"shot.{number}.jpg"), picture, [cv2.IMWRITE_JPEG_QUALITY, 60])
    return open_video(folder)


@pytest.fixture(scope="module")
def written(plates, tmp_path_factory) -> Path:
    """A result with two frames interpolated and two without a camera."""
    truth = make_shot(
        "handheld", rng=np.random.default_rng(2), num_frames=FRAMES, num_tracks=150, noise_px=0.4, depth_error=0.2
    )
    scene, report = reconstruct_tracks(truth.tracks, truth.priors, truth.camera)
    keep = ~np.isin(np.arange(FRAMES), LOST + GONE)
    cams = scene.cams_from_world
    scene = bridge(
        replace(
            scene,
            registered=keep,
            cams_from_world=Rigid3(
                np.where(keep[:, None, None], cams.rotation, np.nan), np.where(keep[:, None], cams.translation, np.nan)
            ),
            inliers=scene.inliers & keep[scene.tracks.frame],
        )
    )
    assert scene.bridged.sum() == len(LOST) and (~scene.has_camera).sum() == len(GONE)
    folder = tmp_path_factory.mktemp("results") / "out"
    write_result(folder, scene, report, plates, {"seed": 3, "clip": "<b>&.mov", "focal_px": None})
    return folder


@pytest.fixture
def copied(written, tmp_path) -> Path:
    """One that may be changed."""
    for file in written.iterdir():
        if file.is_file():
            (tmp_path / file.name).write_bytes(file.read_bytes())
    return tmp_path


class Page(HTMLParser):
    """Text of a page by paragraph, addresses of what it needs, pictures, and plots as XML."""

    def __init__(self, path: Path):
        super().__init__()
        self.source = path.read_text(encoding="utf-8")
        self.words: list[str] = []
        self.needs: list[str] = []
        self.feed(self.source)
        self.text = " ".join(" ".join(self.words).split())
        self.pictures = [address for address in self.needs if address.startswith("data:")]
        svgs = re.findall(r"<svg .*?</svg>", self.source, flags=re.DOTALL)
        self.plots = {svg.attrib["aria-label"]: svg for svg in map(ElementTree.fromstring, svgs)}

    def handle_starttag(self, tag, attrs):
        self.needs += [value for name, value in attrs if name in ("src", "href", "data", "srcset")]

    def handle_data(self, data):
        self.words.append(data)


@pytest.fixture(scope="module")
def page(written) -> Page:
    return Page(written / "report.html")


def numbers_of(folder: Path) -> dict:
    return json.loads((folder / "report.json").read_text(), parse_constant=lambda c: pytest.fail(f"{c} is no JSON"))


def column(folder: Path, name: str) -> np.ndarray:
    return np.array([np.nan if v is None else v for v in numbers_of(folder)["frames"][name]], dtype=float)


def test_the_page_needs_nothing_but_itself_and_is_small(written, page):
    assert all(need.startswith(("data:image/jpeg;base64,", "#")) for need in page.needs), page.needs
    assert "<script" not in page.source and "@import" not in page.source and "url(http" not in page.source
    assert (written / "report.html").stat().st_size < 3e6
    assert set(load_result(written)[2]["files"]) >= {"report.html", "report.json"}


def test_what_is_asked_for_cannot_be_markup(page):
    assert "<b>&.mov" not in page.source and "<b>&.mov" in page.text


def test_numbers_of_frames_are_the_reconstructions_own(written):
    scene, shot, _ = load_result(written)
    to_hd = 1920 / scene.camera.width
    np.testing.assert_array_equal(column(written, "frame"), shot.frame_numbers)
    np.testing.assert_allclose(column(written, "rms_px"), scene.frame_rms_px(), rtol=1e-12)
    np.testing.assert_allclose(column(written, "rms_hd_px"), scene.frame_rms_px(whitened=True) * to_hd, rtol=1e-12)
    held = scene.support == Support.PRIOR
    for frame in range(FRAMES):
        here = scene.tracks.in_frame(frame)
        here = here[scene.inliers[here]]
        assert column(written, "tracks")[frame] == len(here)
        assert column(written, "held_by_prior")[frame] == held[scene.tracks.track[here]].sum()
        if scene.registered[frame]:
            assert column(written, "max_px")[frame] == pytest.approx(scene.reprojection_errors(here).max())
            cells = {
                (min(int(3 * x / scene.camera.width), 2), min(int(3 * y / scene.camera.height), 2))
                for x, y in scene.tracks.xy[here]
            }
            assert column(written, "cells")[frame] == len(cells)
    np.testing.assert_array_equal(column(written, "focal_px"), scene.camera.focal_length[0])
    assert numbers_of(written)["error"]["rms_px"]["px"] == pytest.approx(scene.rms_px())
    assert numbers_of(written)["error"]["rms_px"]["percent_of_width"] == pytest.approx(
        100 * scene.rms_px() / scene.camera.width
    )


def test_the_path_is_the_cameras(written):
    scene, _, _ = load_result(written)
    centers, rotation = scene.centers_in_world, scene.cams_from_world.rotation
    speed, turn = column(written, "speed"), column(written, "turn_deg")
    for frame in range(1, FRAMES):
        assert speed[frame] == pytest.approx(np.linalg.norm(centers[frame] - centers[frame - 1]), nan_ok=True)
    assert turn[3] == pytest.approx(np.degrees(rotation_angle(rotation[3] @ rotation[2].T)))
    assert np.isnan([speed[0], turn[0], *speed[list(GONE)], *turn[list(GONE)]]).all()
    acceleration = np.linalg.norm(centers[6] - 2 * centers[5] + centers[4])
    assert column(written, "acceleration")[5] == pytest.approx(acceleration)
    path = np.array([[np.nan if v is None else v for v in xyz] for xyz in numbers_of(written)["scene"]["path"]])
    np.testing.assert_allclose(path[0], 0, atol=1e-12)  # in the axes of the first camera, levelled
    np.testing.assert_allclose(np.linalg.norm(np.diff(path, axis=0), axis=1), speed[1:], atol=1e-9)


def test_the_jump_is_parallax_at_the_middle_depth(written):
    scene, _, _ = load_result(written)
    depth = np.median(scene.points_in_cam(np.flatnonzero(scene.inliers))[:, 2])
    expected = column(written, "acceleration") / 2 * scene.camera.focal_length[0] / depth * 1920 / scene.camera.width
    np.testing.assert_allclose(column(written, "jump_hd_px"), expected, rtol=1e-9)


@pytest.mark.parametrize("name", ["parallax_deg", "depth_sigma"])
def test_histograms_count_every_point_once(written, name):
    scene, _, _ = load_result(written)
    values = scene.parallax_deg() if name == "parallax_deg" else scene.point_sigma
    told = numbers_of(written)[name]
    edges, known = np.array(told["edges"]), np.array(told["triangulated"]) + told["held_by_prior"]
    assert known.sum() + told["none"] == scene.has_point.sum()
    values = values[scene.has_point & np.isfinite(values) & (values > 0)]
    assert known[9:-1].tolist() == [np.sum((values >= a) & (values < b)) for a, b in pairwise(edges[9:-1])]
    assert told["median"] == pytest.approx(np.median(values))
    assert sum(told["held_by_prior"]) <= (scene.support == Support.PRIOR).sum()


def drawn(plot: ElementTree.Element, group: str) -> np.ndarray:
    """Corners (n, 2) of the line that Matplotlib calls that, in the page's units, y up."""
    found = next(g for g in plot.iter(f"{SVG}g") if g.attrib.get("id", "").endswith(group))
    path = found.find(f"{SVG}path")  # none in those of ticks
    corners = re.findall(r"[ML] (\S+) (\S+)", path.attrib["d"]) if path is not None else []
    return np.array(corners, dtype=float).reshape(-1, 2) * [1, -1]


@pytest.mark.parametrize(
    ("plot", "name"), [("camera turn, degrees a frame", "turn_deg"), ("error of every frame", "rms_hd_px")]
)
def test_a_plot_draws_the_numbers(written, page, plot, name):
    """Read back from the drawing: over plate numbers, straight from the numbers up to the scale of the axes."""
    values, numbers = column(written, name), column(written, "frame")
    known = np.isfinite(values)
    lines = [
        g.attrib["id"] for g in page.plots[plot].iter(f"{SVG}g") if re.search(r"line2d_\d+$", g.attrib.get("id", ""))
    ]
    for line in lines:
        corners = drawn(page.plots[plot], line)
        if len(corners) != known.sum():
            continue
        for axis, told in ((0, numbers[known]), (1, values[known])):
            slope, offset = np.polyfit(told, corners[:, axis], 1)
            assert slope > 0
            np.testing.assert_allclose(corners[:, axis], slope * told + offset, atol=0.01)
        return
    pytest.fail(f"no line of {known.sum()} corners in {plot}")


def test_every_plot_says_what_it_shows_in_which_unit(page):
    units = ("px", "units a frame", "degrees", "tracks used", "%")
    assert len(page.plots) == 7
    for name, plot in page.plots.items():
        text = " ".join("".join(element.itertext()) for element in plot.iter(f"{SVG}text"))
        assert any(unit in text for unit in units), name
        assert "plate number" in text or "points" in text
    assert "units" in page.text and "same scale" in page.text


def test_what_is_the_same_in_every_frame_is_said_and_has_no_plot(copied, page):
    solve, cells = json.loads((copied / "solve.json").read_text()), column(copied, "cells")
    assert set(cells[np.isfinite(cells)]) == {9} and "Every frame has used tracks in 9 of its 9 cells" in page.text
    focal = float(f"{solve['per_frame'][0]['focal_px']:.3g}")
    assert f"The focal length is {focal:g} px" in page.text
    for number, frame in enumerate(solve["per_frame"]):
        frame["focal_px"] += number
    (copied / "solve.json").write_text(json.dumps(solve))
    renew_report(copied)
    again = Page(copied / "report.html")
    assert set(again.plots) - set(page.plots) == {"focal length, px"} and "focal length is" not in again.text


def test_a_camera_that_only_turns_has_no_speed(copied, page):
    path = copied / "reconstruction.npz"
    with np.load(path) as stored:
        arrays = dict(stored)
    arrays["cams_from_world"][..., 3] = 0
    np.savez(path, **arrays)
    renew_report(copied)
    gone = set(page.plots) - set(Page(copied / "report.html").plots)
    assert {name for name in gone if "camera" in name} == {"camera speed, units a frame", "acceleration of the camera"}


@pytest.mark.parametrize(("bins", "labels"), [((30, 32), 2), ((20, 60), 3)])
def test_a_histogram_says_where_its_bars_are(bins, labels):
    """Two numbers at least along its axis, all within the drawing, however few its bars."""
    edges, held = np.geomspace(1e-3, 10, 81), np.zeros(80, int)
    held[slice(*bins)] = 7
    told = {"edges": edges.tolist(), "triangulated": [0] * 80, "held_by_prior": held.tolist()}
    svg = ElementTree.fromstring(histogram_plot(told, "standard deviation of depth, %", 100.0))
    axis = next(g for g in svg.iter(f"{SVG}g") if g.attrib.get("id", "").endswith("matplotlib.axis_1"))
    found = [text for text in axis.iter(f"{SVG}text") if re.fullmatch(r"[\d.]+", text.text or "")]
    assert len(found) >= labels
    width = float(svg.attrib["viewBox"].split()[2])
    for text in found:
        middle = float(re.search(r"([\d.]+)", text.attrib.get("transform", "") or text.attrib["x"])[1])
        assert middle + 3 * len(text.text) < width


def test_it_fits_a_narrow_screen_and_one_plot_is_not_blown_up(copied, browser):
    told = json.loads((copied / "report.json").read_text())
    assert told["parallax_deg"]["median"] is not None
    driver = browser.driver
    driver.get((copied / "report.html").as_uri())
    wide = "return [...document.querySelectorAll('.grid figure')].map(f => f.getBoundingClientRect().width)"
    assert max(driver.execute_script(wide)) < 640
    only = "const all = [...document.querySelectorAll('.grid')].pop(); all.lastElementChild.remove();"
    driver.execute_script(only)
    assert max(driver.execute_script(wide)) < 640
    size = {"width": 390, "height": 800, "deviceScaleFactor": 1, "mobile": False}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    try:
        assert driver.execute_script("return document.documentElement.scrollWidth") <= 390
    finally:
        size = {"width": 1280, "height": 800, "deviceScaleFactor": 1, "mobile": False}
        driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)


def test_only_what_was_asked_for_is_listed(page):
    """What an option is when nobody says anything is the command line's own."""
    defaults = {name: option.default for name, option in inspect.signature(reconstruct).parameters.items()}
    told = {name: value for name, value in defaults.items() if value not in (None, False, 0, inspect.Parameter.empty)}
    assert {name: str(value) for name, value in told.items()} == {
        name: str(value) for name, value in DEFAULTS.items() if value and defaults[name]
    }
    assert all(defaults.get(name) in (None, value) for name, value in DEFAULTS.items())
    assert "asked for clip <b>&.mov depth" not in page.text and "asked for clip <b>&.mov seed 3" in page.text


def test_the_report_follows_the_scene(copied, page):
    """Upright as it was told, longer, and in metres, and as it was when the frame is taken away."""
    scene, before = load_result(copied)[0], numbers_of(copied)
    plan, html = (copied / "top_view.png").read_bytes(), (copied / "report.html").read_bytes()
    assert before["unit"] == "units" and "as it was solved; lengths in a unit that is not known" in page.text
    up = np.array([0.3, -1.0, 0.1])
    set_scene_frame(copied, orient(scene, up=up, scale=2.5))
    after, again = numbers_of(copied), Page(copied / "report.html")
    assert after["unit"] == "m" and "lengths in metres" in again.text and "up is as it was told" in again.text
    assert after["scene"]["path_length"] == pytest.approx(2.5 * before["scene"]["path_length"])
    assert f"The path is {after['scene']['path_length']:.3g} m long" in again.text
    assert "camera speed, m a frame" in again.plots and (copied / "top_view.png").read_bytes() != plan
    heights = [np.array([xyz[1] for xyz in told["scene"]["path"] if xyz[1] is not None]) for told in (before, after)]
    along = -(scene.centers_in_world[scene.has_camera] - scene.centers_in_world[0]) @ (up / np.linalg.norm(up))
    np.testing.assert_allclose(heights[1], 2.5 * along, atol=1e-9)
    assert np.abs(heights[1] - 2.5 * heights[0]).max() > 1e-3, "as the cameras were held"
    set_scene_frame(copied, None)
    assert (copied / "report.html").read_bytes() == html and (copied / "top_view.png").read_bytes() == plan


def test_a_metric_prior_makes_metres(copied):
    solve = json.loads((copied / "solve.json").read_text())
    solve["options"]["depth_model"] = {"name": "maps", "kind": "metric", "revision": ""}
    solve["depth_prior"]["agreement"] = "agrees"
    assert World.of(solve, None).unit == "m"
    assert World.of(solve | {"survey": {"points": []}}, None).unit == "units"
    solve["depth_prior"]["agreement"] = "contradicts"
    assert World.of(solve, None).unit == "units"
    assert (World(unit="m").length(1.0), World().length(1.0), World().length(5839.0)) == ("1 m", "1 unit", "5840 units")


def test_plots_take_the_colours_of_the_page(page):
    """Dark, light or printed: nothing in a plot has a colour of its own."""
    for svg in re.findall(r"<svg .*?</svg>", page.source, flags=re.DOTALL):
        assert not re.findall(r"(?:fill|stroke): ?#(?!none)\w+", svg)
        assert "currentColor" in svg and "var(--blue)" in svg
    assert "prefers-color-scheme: dark" in page.source and "@media print" in page.source
    ids = re.findall(r'\bid="([^"]+)"', page.source)
    assert len(ids) == len(set(ids))


def test_the_page_tells_the_verdict_and_the_numbers(written, page):
    scene, shot, solve = load_result(written)
    for said in (solve["verdict"], *solve["reasons"], *(solve["versions"].values()), "seed 3"):
        assert " ".join(said.split()) in page.text, said
    told = numbers_of(written)
    for error in told["error"].values():
        for value in error.values():
            assert ("not known" if value is None else f"{float(f'{value:.3g}'):g}") in page.text
    assert f"{told['prior']['triangulated']:,} of {told['prior']['points']:,}" in page.text
    assert told["prior"]["held_by_prior"] == (scene.support == Support.PRIOR).sum()
    verdicts, plain = (scene.frame_rms_px(whitened) * 1920 / shot.width for whitened in (True, False))
    for frame in telling_frames(scene):
        assert f"Frame {shot.frame_numbers[frame]}" in page.text
        told = f"verdict's error {verdicts[frame]:.3g} px (HD), in every direction {plain[frame]:.3g} px (HD)"
        assert told in page.text


def test_frames_that_are_shown(written, page):
    scene, _, _ = load_result(written)
    shown = telling_frames(scene)
    worst = int(np.nanargmax(scene.frame_rms_px(whitened=True)))
    registered = np.flatnonzero(scene.registered)
    assert set(shown) == {0, registered[len(registered) // 2], 9, worst} and "worst" in shown[worst]
    assert len(page.pictures) == len(shown) + 1  # and the plan
    for picture in page.pictures:
        data = np.frombuffer(base64.b64decode(picture.split(",")[1]), np.uint8)
        assert cv2.imdecode(data, cv2.IMREAD_COLOR).shape[1] == 1280


def test_frames_without_a_camera_are_marked(page):
    """Hatched and grey spans as wide as their frames, at their place on the axis."""
    plot = page.plots["tracks of every frame"]
    boxes = {}
    tiles = [path for pattern in plot.iter(f"{SVG}pattern") for path in pattern.iter(f"{SVG}path")]
    for path in plot.iter(f"{SVG}path"):
        if path in tiles:
            continue
        corners = np.array(re.findall(r"[ML] (\S+) (\S+)", path.attrib["d"]), dtype=float)
        style = path.attrib.get("style", "")
        if "fill: var(--grid)" in style and len(corners) >= 4:
            boxes["grey"] = np.sort(corners[:, 0])[[0, -1]]
        elif "fill: url" in style:
            boxes["hatched"] = np.sort(corners[:, 0])[[0, -1]]
    px = np.diff(boxes["hatched"])[0] / len(LOST)
    assert np.diff(boxes["grey"])[0] == pytest.approx(px * len(GONE), abs=0.1)
    assert boxes["grey"][0] - boxes["hatched"][0] == pytest.approx(px * (GONE[0] - LOST[0]), abs=0.1)


def test_without_the_plates_it_shows_what_the_solve_left(copied):
    solve = json.loads((copied / "solve.json").read_text())
    solve["shot"]["source"] = str(copied / "gone" / "shot.####.jpg")
    (copied / "solve.json").write_text(json.dumps(solve))
    (copied / "overlay_residual_1001.png").unlink()
    _, notes = renew_report(copied)
    again = Page(copied / "report.html")
    assert len(notes) == 1 and "gone" in notes[0] and notes[0] in again.text
    assert "plate of frame 1001 is gone" in again.text
    assert len(again.pictures) == len(telling_frames(load_result(copied)[0]))
    assert len(again.plots) == 7


def test_without_the_reconstruction_the_rest_is_there(copied):
    (copied / "reconstruction.npz").unlink()
    _, notes = renew_report(copied)
    again = Page(copied / "report.html")
    assert len(notes) == 2 and "reconstruction.npz" in notes[0] and all(note in again.text for note in notes)
    assert set(again.plots) == {"error of every frame", "tracks of every frame"}
    assert again.pictures == []


def test_a_result_of_before_some_number_was_told(copied):
    solve = json.loads((copied / "solve.json").read_text())
    for key in ("likely_slide_px", "whitened_rms_px"):
        del solve[key]
    (copied / "solve.json").write_text(json.dumps(solve))
    _, notes = renew_report(copied)
    assert len(notes) == 1 and "older version" in notes[0]
    assert numbers_of(copied)["error"]["likely_slide_px"]["px"] is None
    del solve["versions"]
    (copied / "solve.json").write_text(json.dumps(solve))
    with pytest.raises(InputError, match=r"solve.json does not tell versions; solve the shot again"):
        renew_report(copied)


def test_the_command_makes_it_again_as_it_was(copied, capsys):
    files = [copied / name for name in ("report.html", "report.json")]
    before = [file.read_bytes() for file in files]
    for file in files:
        file.unlink()
    with pytest.raises(SystemExit) as exit_:
        main(["report", str(copied)])
    told = capsys.readouterr()
    assert exit_.value.code == 0 and told.err == ""
    assert told.out.split() == list(map(str, files)) and [file.read_bytes() for file in files] == before
    with pytest.raises(SystemExit) as exit_:
        main(["report", str(copied.parent / "nothing")])
    assert exit_.value.code == 3 and "no such folder" in capsys.readouterr().err


def test_a_report_that_fails_leaves_the_old_one(copied, monkeypatch):
    before = (copied / "report.html").read_bytes()
    monkeypatch.setattr(results, "write_report", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        renew_report(copied)
    assert (copied / "report.html").read_bytes() == before


# what a colour-blind eye makes of linear RGB, complete loss of one cone (Machado, Oliveira and Fernandes 2009)
BLIND = {
    "protan": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deutan": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritan": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}


def difference(one: np.ndarray, two: np.ndarray, eye: str) -> float:
    """Colour difference in CIE L*a*b* as that eye sees it; 2 is just seen, 20 is seen at a glance."""
    rgb = np.stack([one, two]).astype(float) / 255
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    seen = np.clip(linear @ np.array(BLIND[eye]).T, 0, 1)
    lab = cv2.cvtColor(seen[None].astype(np.float32), cv2.COLOR_LRGB2Lab)[0]
    return float(np.linalg.norm(lab[0] - lab[1]))


@pytest.mark.parametrize("eye", list(BLIND))
def test_colours_can_be_told_apart_by_colour_blind_people(page, eye):
    good, fair, bad = residual_colors(np.array([0.0, 1.0, 2.0]))
    assert min(difference(good, fair, eye), difference(fair, bad, eye), difference(good, bad, eye)) > 25
    for blue, orange in zip(
        *(re.findall(rf"--{name}: #(\w+)", page.source) for name in ("blue", "orange")), strict=True
    ):
        one, two = (np.array([int(text[i : i + 2], 16) for i in (0, 2, 4)]) for text in (blue, orange))
        assert difference(one, two, eye) > 25
