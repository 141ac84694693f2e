"""Pictures are read back and looked at where something must be."""

import dataclasses
import importlib.util
import os
import subprocess
import sys

import cv2
import numpy as np
import pytest
from solved import shot_of, solve

from sfm.bridging import bridge
from sfm.errors import InputError, MissingDependencyError, UsageError
from sfm.geometry import Camera, Rigid3, Sim3
from sfm.geometry.rotation import rotation_from_rotvec
from sfm.scene import Reconstruction, Support, Tracks
from sfm.synthetic import make_shot
from sfm.view import palette
from sfm.view.explorer import FOV_DEG
from sfm.view.figures import write_top_view
from sfm.view.layout import lay_out, tubes, viewpoint
from sfm.view.overlay import MIN_WIDTH, VECTOR_GAIN, write_overlay
from sfm.view.window import screenshot, show

CAMERA = Camera([1280.0, 1280.0], [640.0, 360.0], [], 1280, 720)
BACKGROUND = palette.BACKGROUND.astype(int)


def read_png(path) -> np.ndarray:
    picture = cv2.imread(str(path))
    assert picture is not None
    return picture[:, :, ::-1].astype(int)


def near_color(picture: np.ndarray, color, within: int = 40) -> np.ndarray:
    """Pixels (h, w) bool close to a colour."""
    return np.abs(picture - np.asarray(color, dtype=int)).max(axis=-1) < within


def three_points(step=(0.02, 0.0, 0.0), frames: int = 12) -> Reconstruction:
    """A camera sliding sideways before a near, a middle and a far point, seen at the plate's left, middle and right."""
    centers = np.arange(frames)[:, None] * np.array(step)
    cams = Rigid3(np.broadcast_to(np.eye(3), (frames, 3, 3)), -centers)
    points = np.array([[-0.5, 0.0, 2.0], [0.0, 0.0, 4.0], [2.0, 0.0, 8.0]])
    frame, track = (a.ravel() for a in np.meshgrid(np.arange(frames), np.arange(3)))
    xy = CAMERA.img_from_cam(cams[frame].apply(points[track]))
    return Reconstruction(
        camera=CAMERA,
        cams_from_world=cams,
        registered=np.ones(frames, dtype=bool),
        points=points,
        inliers=np.ones(len(frame), dtype=bool),
        tracks=Tracks(frame, track, xy, frames, 3, [[255, 0, 0], [0, 255, 0], [0, 0, 255]]),
        depth_scale=np.ones(frames),
        support=np.array([Support.TRIANGULATED, Support.PRIOR, Support.NONE]),
        point_sigma=np.full(3, 0.01),
    )


def test_depth_colors_run_from_red_to_blue_and_grey_is_unknown():
    depth = np.array([2.0, 4.0, 8.0, np.nan, -1.0])
    colors = palette.depth_colors(depth, (2.0, 8.0)).astype(int)
    assert colors[0, 0] > 150 and colors[0, 2] < 60
    assert colors[1, 1] == colors[1].max()
    assert colors[2, 2] > 150 and colors[2, 0] < 100
    np.testing.assert_array_equal(colors[3:], np.tile(palette.UNKNOWN, (2, 1)))


def test_residual_colors_are_green_yellow_red():
    green, yellow, red, worse, unknown = palette.residual_colors(np.array([0, 1, 2, 50, np.nan])).astype(int)
    assert green[1] > 2 * green[0] and red[0] > 2 * red[1] and min(yellow[:2]) > 3 * yellow[2]
    np.testing.assert_array_equal(red, worse)
    np.testing.assert_array_equal(unknown, palette.UNKNOWN)


def test_point_colors_by_mode():
    reconstruction = three_points()
    by_support = palette.point_colors(reconstruction, "support")
    np.testing.assert_array_equal(by_support, [palette.TRIANGULATED, palette.HELD_BY_PRIOR, palette.UNKNOWN])
    np.testing.assert_array_equal(palette.point_colors(reconstruction, "plate"), reconstruction.tracks.colors)
    black = dataclasses.replace(reconstruction.tracks, colors=np.zeros((3, 3)))
    lifted = palette.point_colors(dataclasses.replace(reconstruction, tracks=black), "plate")
    assert lifted.min() > BACKGROUND.max() + 50  # black must show on the dark background
    assert palette.point_colors(reconstruction, "residual")[0, 1] > 180
    assert palette.point_colors(reconstruction, "depth")[0, 0] > 150


def test_far_points_are_not_drawn(rng):
    reconstruction, _ = solve(make_shot("dolly", rng=rng, num_frames=6), rng)
    far = np.flatnonzero(reconstruction.has_point)[:5]
    points = reconstruction.points.copy()
    points[far] *= 1000
    layout = lay_out(dataclasses.replace(reconstruction, points=points))
    assert not layout.shown[far].any()
    assert layout.shown.sum() == reconstruction.has_point.sum() - 5
    assert 3 < layout.depth < 12


def test_frusta_reach_the_corners_of_the_plate(rng):
    reconstruction, _ = solve(make_shot("orbit", rng=rng, num_frames=9), rng)
    layout = lay_out(reconstruction, frustum_every=4)
    assert len(layout.frusta) == 3
    for edges, frame in zip(layout.frusta, (0, 4, 8), strict=True):
        np.testing.assert_allclose(edges[:4, 0], np.tile(reconstruction.centers_in_world[frame], (4, 1)), atol=1e-12)
        xy = reconstruction.camera.img_from_cam(reconstruction.cams_from_world[frame].apply(edges[:4, 1]))
        np.testing.assert_allclose(xy, [[0, 0], [1920, 0], [1920, 1080], [0, 1080]], atol=1e-9)


def test_the_path_has_no_step_across_a_lost_frame(rng):
    reconstruction, _ = solve(make_shot("orbit", rng=rng, num_frames=8), rng, lost=(3,))
    assert len(lay_out(reconstruction).path) == 5
    assert np.isfinite(lay_out(reconstruction).path).all()
    assert len(lay_out(bridge(reconstruction)).path) == 7


@pytest.mark.parametrize(("motion", "most"), [("static", 2), ("pan", 12), ("orbit", 12)])
def test_frusta_are_as_many_as_stand_clear_of_each_other(rng, motion, most):
    reconstruction, _ = solve(make_shot(motion, rng=rng, num_frames=60), rng)
    count = len(lay_out(reconstruction).frusta)
    assert count <= most + 1
    assert (count > 2) == (motion == "orbit") or motion == "pan"


@pytest.mark.parametrize("motion", ["dolly", "orbit", "handheld", "pan"])
@pytest.mark.parametrize("scale", [1.0, 1e-3, 1e4])
def test_the_viewpoint_sees_everything_in_any_unit(rng, motion, scale):
    reconstruction, _ = solve(make_shot(motion, rng=rng, num_frames=12), rng)
    other = Sim3(scale, rotation_from_rotvec([0.5, -1.0, 0.8]), np.array([3.0, 2.0, 1.0]))
    reconstruction = reconstruction.transform(other)
    layout = lay_out(reconstruction)
    observer = Camera.from_fov_deg(2 * np.degrees(np.arctan(16 / 9 * np.tan(np.radians(FOV_DEG / 2)))), 1600, 900)
    cam_from_world = viewpoint(reconstruction, layout, 16 / 9, FOV_DEG)
    edges = observer.img_from_cam(cam_from_world.apply(layout.frusta.reshape(-1, 3)))
    points = observer.img_from_cam(cam_from_world.apply(reconstruction.points[layout.shown]))
    assert ((edges > 0) & (edges < [1600, 900])).all()
    assert ((points > 0) & (points < [1600, 900])).all(axis=1).mean() > 0.9
    fill = np.ptp(np.concatenate([edges, np.quantile(points, [0.01, 0.99], axis=0)]), axis=0) / [1600, 900]
    assert fill.max() > 0.75  # and is as near as that allows


def test_the_horizon_is_levelled_from_how_the_cameras_are_held():
    """A pan of 40 degrees, pitched down 25: down is the axis panned about, not the first camera's y."""
    pitch = rotation_from_rotvec([np.radians(25.0), 0, 0])
    rotation = pitch @ rotation_from_rotvec(np.outer(np.radians(np.linspace(0, 40, 12)), [0, -1, 0]))
    reconstruction = dataclasses.replace(three_points(), cams_from_world=Rigid3(rotation, np.zeros((12, 3))))
    np.testing.assert_allclose(lay_out(reconstruction).level.rotation, np.eye(3), atol=0.03)


def test_tubes_surround_their_segments(rng):
    segments = rng.standard_normal((20, 2, 3))
    vertices, triangles = tubes(segments, 0.01)
    for (start, end), ring in zip(segments, vertices.reshape(20, 12, 3), strict=True):
        along = (end - start) / np.linalg.norm(end - start)
        offset = ring - start
        np.testing.assert_allclose(np.linalg.norm(offset - np.outer(offset @ along, along), axis=1), 0.01, atol=1e-9)
    edges = np.sort(np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]]), axis=1)
    assert np.unique(edges, axis=0).max() == len(vertices) - 1
    assert len(np.unique(edges, axis=0)) == 20 * 24  # two rings of six, six sides and six diagonals each


def test_overlay_by_depth_marks_every_track_where_it_is(tmp_path):
    reconstruction = three_points()
    grey = np.full((720, 1280, 3), 100, np.uint8)
    write_overlay(reconstruction, shot_of(CAMERA, 12), grey, 11, tmp_path / "o.png")
    picture = read_png(tmp_path / "o.png")
    assert picture.shape[1] == 1280 and picture.shape[0] > 720
    here = reconstruction.tracks.in_frame(11)
    expected = palette.depth_colors(np.array([2.0, 4.0, 8.0]), palette.depth_limits(np.array([2.0, 4.0, 8.0])))
    for xy, color in zip(reconstruction.tracks.xy[here], expected, strict=True):
        column, row = xy.astype(int)
        assert near_color(picture[row, column], color, 12)
    # the near point moves 12.8 px a frame to the left, its tail lies to the right of it and fades
    column, row = reconstruction.tracks.xy[here[0]].astype(int)
    assert near_color(picture[row - 1 : row + 2, column + 20], expected[0], 90).any()
    assert near_color(picture[row, column - 20], [72, 72, 72], 3)  # the plate, dimmed
    assert near_color(picture[row, column + 12 * 13], [72, 72, 72], 3)  # ten frames of tail, no more


def test_overlay_by_residual_draws_the_vector_enlarged(tmp_path):
    reconstruction = three_points(step=(0.0, 0.0, 0.0))
    off = reconstruction.tracks.xy.copy()
    off[reconstruction.tracks.track == 1] -= [3.0, 0.0]  # the middle one: seen 3 px left of where it projects
    wrong = dataclasses.replace(reconstruction, tracks=dataclasses.replace(reconstruction.tracks, xy=off))
    grey = np.full((720, 1280, 3), 100, np.uint8)
    write_overlay(wrong, shot_of(CAMERA, 12), grey, 0, tmp_path / "o.png", color_by="residual")
    picture = read_png(tmp_path / "o.png")
    seen = off[wrong.tracks.in_frame(0)].astype(int)
    green, red = palette.residual_colors(np.array([0.0, 3.0]))
    assert near_color(picture[seen[0, 1], seen[0, 0]], green)
    assert near_color(picture[seen[1, 1], seen[1, 0]], red)
    length = 3 * VECTOR_GAIN
    assert near_color(picture[359:362, seen[1, 0] + length // 2], red).any()
    assert near_color(picture[360, seen[1, 0] + length + 6], [72, 72, 72], 3)
    assert near_color(picture[360, seen[1, 0] - 8], [72, 72, 72], 3)


def test_overlay_shows_what_is_not_used_as_rings(tmp_path):
    reconstruction = three_points()
    reconstruction = dataclasses.replace(reconstruction, inliers=reconstruction.tracks.track != 1)
    write_overlay(reconstruction, shot_of(CAMERA, 12), np.zeros((720, 1280, 3), np.uint8), 0, tmp_path / "o.png")
    picture = read_png(tmp_path / "o.png")[:720]
    column, row = reconstruction.tracks.xy[reconstruction.tracks.track == 1][0].astype(int)
    around = picture[row - 4 : row + 5, column - 4 : column + 5]
    assert around.max() > 90 and np.ptp(around, axis=-1).max() < 20  # there, and grey


@pytest.mark.parametrize("width", [320, 3840])
def test_overlay_is_legible_at_any_size(tmp_path, width):
    """A plate smaller or larger than the camera: marks stay in place, and are as large a part of the picture."""
    image = np.zeros((width * 9 // 16, width, 3), np.uint8)
    write_overlay(three_points(), shot_of(CAMERA, 12), image, 0, tmp_path / "o.png")
    picture = read_png(tmp_path / "o.png")
    assert picture.shape[1] == max(width, MIN_WIDTH)
    scale = picture.shape[1] / 1280
    red = near_color(picture[: round(720 * scale)], palette.depth_colors(np.array([2.0]), (2.0, 8.0))[0])
    rows, columns = np.nonzero(red)
    assert (columns.mean() + 0.5) / scale == pytest.approx(320, abs=0.5)
    assert (rows.mean() + 0.5) / scale == pytest.approx(360, abs=0.5)
    assert np.ptp(columns) / scale == pytest.approx(5.5, abs=2)


def test_overlay_without_any_track_still_has_its_legend(tmp_path):
    nothing = dataclasses.replace(three_points(), points=np.full((3, 3), np.nan))
    for color_by in ("depth", "residual"):
        image = np.zeros((720, 1280, 3), np.uint8)
        write_overlay(nothing, shot_of(CAMERA, 12), image, 3, tmp_path / "o.png", color_by=color_by)
        assert read_png(tmp_path / "o.png")[720:].max() > 200


def test_overlay_refuses_what_is_no_picture(tmp_path):
    with pytest.raises(ValueError, match=r"image_rgb: got \(720, 1280\) float64, expected \(height, width, 3\) uint8"):
        write_overlay(three_points(), shot_of(CAMERA, 12), np.zeros((720, 1280)), 0, tmp_path / "o.png")
    with pytest.raises(InputError, match="cannot be written"):
        (tmp_path / "file").touch()
        image = np.zeros((720, 1280, 3), np.uint8)
        write_overlay(three_points(), shot_of(CAMERA, 12), image, 0, tmp_path / "file" / "o.png")


def test_top_view_is_a_plan_to_scale(tmp_path):
    """Depth runs to the right, the camera's right side is down; from the side, up is up."""
    reconstruction = three_points()
    points = reconstruction.points.copy()
    points[0, 1] = -1.0  # the near, left one is also up
    write_top_view(dataclasses.replace(reconstruction, points=points), shot_of(CAMERA, 12), tmp_path / "t.png")
    picture = read_png(tmp_path / "t.png")
    spots = {}
    for name, color in (("left", [255, 0, 0]), ("middle", [0, 255, 0]), ("right", [0, 0, 255])):
        rows, columns = np.nonzero(near_color(picture, color, 60))
        split = rows.mean()  # both views show every point once
        spots[name] = [(columns[side].mean(), rows[side].mean()) for side in (rows < split, rows >= split)]
    from_above = {name: spot[0] for name, spot in spots.items()}
    from_the_side = {name: spot[1] for name, spot in spots.items()}
    scale = (from_above["right"][0] - from_above["left"][0]) / (8 - 2)
    assert (from_above["right"][1] - from_above["left"][1]) / scale == pytest.approx(2.5, rel=0.05)
    assert (from_above["middle"][0] - from_above["left"][0]) / scale == pytest.approx(2, rel=0.05)
    assert (from_the_side["middle"][1] - from_the_side["left"][1]) / scale == pytest.approx(1, rel=0.1)
    assert from_the_side["right"][0] == pytest.approx(from_above["right"][0], abs=1.5)
    assert near_color(picture, palette.FRUSTUM, 60).sum() > 50
    assert (near_color(picture, BACKGROUND, 3)).mean() > 0.8


def test_top_view_without_points_shows_the_cameras(tmp_path):
    bare = dataclasses.replace(three_points(), points=np.full((3, 3), np.nan))
    write_top_view(bare, shot_of(CAMERA, 12), tmp_path / "t.png")
    assert near_color(read_png(tmp_path / "t.png"), palette.FRUSTUM, 60).sum() > 50


def test_nothing_registered_is_one_line(rng, tmp_path):
    lost, shot = solve(make_shot("pan", rng=rng, num_frames=3), rng, lost=(0, 1, 2))
    with pytest.raises(InputError, match="no registered frame"):
        write_top_view(lost, shot, tmp_path / "t.png")
    assert not (tmp_path / "t.png").exists()


def test_show_without_a_display_is_one_line(rng, monkeypatch):
    monkeypatch.setattr(sys, "platform", "linux")
    reconstruction, shot = solve(make_shot("dolly", rng=rng, num_frames=3), rng)
    for display in (None, ":987"):  # none named, and one that does not answer
        for name in ("DISPLAY", "WAYLAND_DISPLAY"):
            monkeypatch.delenv(name, raising=False)
        if display:
            monkeypatch.setenv("DISPLAY", display)
        with pytest.raises(UsageError, match=r"no display to open a window on.*--screenshot"):
            show(reconstruction, shot)


def test_a_screenshot_is_a_png(rng, tmp_path):
    reconstruction, shot = solve(make_shot("dolly", rng=rng, num_frames=3), rng)
    with pytest.raises(InputError, match=r"s\.jpg: a screenshot is a PNG"):
        screenshot(reconstruction, shot, tmp_path / "s.jpg")


def test_without_open3d_it_says_how_to_get_it(rng, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "open3d", None)
    reconstruction, shot = solve(make_shot("dolly", rng=rng, num_frames=3), rng)
    with pytest.raises(MissingDependencyError, match=r"needs open3d, of the extra \[view\]: .* -m pip install open3d"):
        screenshot(reconstruction, shot, tmp_path / "s.png")


SCREENSHOTS = """
import sys
import numpy as np
sys.path.insert(0, sys.argv[2])
from test_view import CAMERA, shot_of, three_points
from sfm.view.explorer import Explorer
from sfm.view.inspection import Inspection
from sfm.view.window import ViewOptions, screenshot
folder = sys.argv[1]
options = ViewOptions(width=480, height=270)
scene, shot = three_points(), shot_of(CAMERA, 12)
screenshot(scene, shot, folder + "/all.png", options)
screenshot(scene, shot, folder + "/support.png", ViewOptions("support", width=480, height=270))
screenshot(scene, shot, folder + "/bare.png", ViewOptions(path=False, frusta=False, width=480, height=270))
window = Explorer(Inspection(scene, shot), options, visible=False)
pictures = [window.picture()]
for act in (lambda: window.toggle("frusta"), lambda: window.toggle("frusta"), window.next_color, window.reset_view):
    act()
    pictures.append(window.picture())
window.close()
np.savez(folder + "/keys.npz", pictures)
"""


@pytest.fixture(scope="module")
def rendered(tmp_path_factory):
    """Pictures from a process of its own without a display, as on a farm."""
    if importlib.util.find_spec("open3d") is None:
        pytest.skip("open3d is not installed")
    folder = tmp_path_factory.mktemp("rendered")
    hidden = ("DISPLAY", "WAYLAND_DISPLAY", "XDG_RUNTIME_DIR")
    environment = {name: value for name, value in os.environ.items() if name not in hidden}
    command = [sys.executable, "-c", SCREENSHOTS, str(folder), os.path.dirname(__file__)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    if "SfmError: Open3D" in done.stderr:
        pytest.skip(done.stderr.splitlines()[-1])
    assert done.returncode == 0, done.stderr
    assert done.stdout == "" and "XDG_RUNTIME_DIR" not in done.stderr
    return folder


def test_screenshot_shows_points_path_and_frusta(rendered):
    picture = read_png(rendered / "all.png")
    assert picture.shape == (270, 480, 3)
    for color in ([255, 0, 0], [0, 255, 0], [0, 0, 255]):
        assert 4 < near_color(picture, color, 60).sum() < 60
    assert near_color(picture, palette.FRUSTUM, 40).sum() > 20
    assert near_color(picture, palette.PATH, 40).sum() > 2
    assert near_color(picture, BACKGROUND, 2).mean() > 0.8


def test_screenshot_obeys_its_options(rendered):
    bare = read_png(rendered / "bare.png")
    assert near_color(bare, palette.FRUSTUM, 40).sum() == near_color(bare, palette.PATH, 40).sum() == 0
    assert near_color(bare, [255, 0, 0], 60).sum() > 4
    by_support = read_png(rendered / "support.png")
    for color in (palette.TRIANGULATED, palette.HELD_BY_PRIOR, palette.UNKNOWN):
        assert near_color(by_support, color, 30).sum() > 4


def test_screenshot_projects_as_the_viewpoint_says(rendered):
    reconstruction = three_points()
    observer = Camera.from_fov_deg(2 * np.degrees(np.arctan(16 / 9 * np.tan(np.radians(FOV_DEG / 2)))), 480, 270)
    cam_from_world = viewpoint(reconstruction, lay_out(reconstruction), 16 / 9, FOV_DEG)
    expected = observer.img_from_cam(cam_from_world.apply(reconstruction.points))
    picture = read_png(rendered / "bare.png")
    for xy, color in zip(expected, reconstruction.tracks.colors, strict=True):
        rows, columns = np.nonzero(near_color(picture, color, 100))
        np.testing.assert_allclose([columns.mean() + 0.5, rows.mean() + 0.5], xy, atol=1)


def test_keys_switch_layers_and_colors(rendered):
    start, without, again, recolored, reset = np.load(rendered / "keys.npz")["arr_0"].astype(int)
    assert near_color(start, palette.FRUSTUM, 20).sum() > 20
    assert near_color(without, palette.FRUSTUM, 20).sum() == 0
    np.testing.assert_array_equal(start, again)
    assert near_color(start, [0, 0, 255], 20).sum() > 4 and near_color(recolored, [0, 0, 255], 20).sum() == 0
    np.testing.assert_array_equal(recolored, reset)
