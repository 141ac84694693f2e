"""What all viewers ask: projected again by hand, and read back from plates with marks on them."""

import dataclasses

import numpy as np
import pytest
from solved import shot_of, solve
from test_view import CAMERA, near_color, three_points

from sfm.bridging import bridge
from sfm.errors import InputError
from sfm.geometry import Camera
from sfm.scene import Support
from sfm.synthetic import make_shot
from sfm.video import Video
from sfm.view import palette
from sfm.view.canvas import Mouse
from sfm.view.inspection import PICK_RADIUS_PX, Inspection, ViewState
from sfm.view.plates import Plates
from sfm.view.window_layers import MARGIN, strip_picture, timeline_frame

OFF_MIDDLE = Camera([900.0, 950.0], [700.0, 330.0], [-0.12, 0.03, 0.001, -0.002], 1280, 720)
ZOOM = CAMERA.with_focal_length([[8000.0 + frame] * 2 for frame in range(12)])


def inspect(**changes) -> Inspection:
    return Inspection(dataclasses.replace(three_points(), **changes), shot_of(CAMERA, 12))


def observer(fov_deg: float, width: int, height: int) -> Camera:
    return Camera.from_focal_px(0.5 * height / np.tan(np.radians(fov_deg) / 2), width, height)


def test_hidden_classes_are_not_shown_and_not_picked(rng):
    scene, shot = solve(make_shot("dolly", rng=rng, num_frames=6), rng)
    inspection, state = Inspection(scene, shot), ViewState()
    counts = inspection.classes()
    assert sum(counts.values()) == len(inspection.shown(state)) == np.count_nonzero(inspection.layout.shown)
    for support, count in counts.items():
        shown = inspection.shown(state.toggling(support))
        assert count > 0 and len(shown) == sum(counts.values()) - count
        assert not (scene.support[shown] == support).any()
    assert state.toggling(Support.PRIOR).toggling(Support.PRIOR) == state
    cam, camera = scene.cams_from_world[0], scene.camera
    track = int(inspection.shown(state)[0])
    xy = camera.img_from_cam(cam.apply(scene.points[track]))
    found = inspection.pick(xy, cam, camera, state)
    assert found is not None
    hidden = state.toggling(Support(scene.support[found]))
    assert inspection.pick(xy, cam, camera, hidden) != found


def test_every_point_is_picked_where_it_is_seen(rng):
    """Of those over each other the one in front; beside them all none."""
    scene, shot = solve(make_shot("orbit", rng=rng, num_frames=6), rng)
    inspection, cam = Inspection(scene, shot), scene.cams_from_world[2]
    tracks = inspection.shown(ViewState())
    in_cam = cam.apply(scene.points[tracks])
    xy = scene.camera.img_from_cam(in_cam)
    away = np.linalg.norm(xy[:, None] - xy[None], axis=-1) + np.where(np.eye(len(xy)), np.inf, 0)
    alone = np.flatnonzero(np.nanmin(away, axis=1) > 8)
    assert len(alone) > 20
    for k in alone[:40]:
        assert inspection.pick(xy[k] + [2.0, -1.5], cam, scene.camera, ViewState()) == tracks[k]
    assert inspection.pick((-500.0, -500.0), cam, scene.camera, ViewState()) is None
    over = three_points()
    points = np.array([[0.0, 0.0, 4.0], [0.001, 0.0, 2.0], [2.0, 0.0, -8.0]])  # the last one is behind the camera
    stacked = Inspection(dataclasses.replace(over, points=points), shot_of(CAMERA, 12))
    assert stacked.pick((640.0, 360.0), over.cams_from_world[0], CAMERA, ViewState()) == 1
    assert stacked.pick((640.0, 361.0 + PICK_RADIUS_PX), over.cams_from_world[0], CAMERA, ViewState()) is None
    assert stacked.pick((320.0, 360.0), over.cams_from_world[0], CAMERA, ViewState()) is None


def test_numbers_of_a_point_are_those_of_its_track(rng):
    scene, shot = solve(make_shot("handheld", rng=rng, num_frames=9), rng, error=0.01, lost=(0,))
    inspection = Inspection(scene, shot)
    track = int(np.flatnonzero(inspection.layout.shown & (scene.tracks.lengths > 3))[5])
    rows = np.flatnonzero(scene.tracks.track == track)
    told = inspection.numbers(track, 4)
    assert (told.first, told.last) == (scene.tracks.frame[rows].min(), scene.tracks.frame[rows].max())
    assert (told.length, told.used) == (len(rows), scene.inliers[rows].sum())
    errors = scene.reprojection_errors(rows[scene.inliers[rows]])
    assert told.rms_px == pytest.approx(np.sqrt(np.mean(errors**2)), rel=1e-9)
    R, t = scene.cams_from_world.rotation[4], scene.cams_from_world.translation[4]
    assert told.depth == pytest.approx((R @ scene.points[track] + t)[2], rel=1e-12)
    assert told.sigma == scene.point_sigma[track]
    words = told.in_words(shot)
    assert f"track {track} " in words and f"frames {1001 + told.first}-{1001 + told.last}" in words
    unknown = dataclasses.replace(told, sigma=np.nan, support=Support.NONE).in_words(shot)
    assert "sigma not known" in unknown and "nan" not in unknown
    # a frame without a camera is looked at from the last one that has one, the first ones from the first
    assert inspection.numbers(track, 0).depth == inspection.numbers(track, 1).depth != told.depth


def test_the_distance_is_that_between_the_two_picked_last():
    inspection, state = inspect(), ViewState()
    assert inspection.distance(state) is inspection.distance(state.picking(0)) is None
    two = state.picking(0).picking(1).picking(2)
    assert two.picked == (1, 2)
    assert inspection.distance(two) == pytest.approx(np.sqrt(2**2 + 4**2))
    assert two.picking(1).picked == (2, 1)
    assert two.picking(None).picked == ()


def test_frames_stay_in_the_shot_and_lost_ones_have_the_last_camera(rng):
    scene, shot = solve(make_shot("dolly", rng=rng, num_frames=8), rng, lost=(0, 4, 7))
    inspection = Inspection(scene, shot)
    assert [inspection.camera_frame(frame) for frame in range(8)] == [1, 1, 2, 3, 3, 5, 6, 6]
    assert inspection.told_frame(4) == "frame 1005   no camera" and inspection.told_frame(3) == "frame 1004"
    assert Inspection(bridge(scene), shot).told_frame(4) == "frame 1005   camera interpolated"
    assert [ViewState().at(frame, 8).frame for frame in (-5, 3, 99)] == [0, 3, 7]
    with pytest.raises(InputError, match="no registered frame"):
        Inspection(solve(make_shot("pan", rng=rng, num_frames=3), rng, lost=(0, 1, 2))[0], shot)


@pytest.mark.parametrize("size", [(1600, 900), (700, 900)])
@pytest.mark.parametrize("camera", [CAMERA, OFF_MIDDLE, ZOOM], ids=["plain", "off", "zoom"])
def test_through_the_camera_the_whole_plate_is_seen_and_no_more(camera, size):
    """Also with the principal point off the middle, pixels that are not square, distortion, a long lens and a zoom."""
    inspection = inspect(camera=camera)
    cam_from_world, fov_deg = inspection.through(7, size[0] / size[1], 1.0)
    np.testing.assert_array_equal(cam_from_world.translation, [-0.14, 0, 0])
    for depth in (0.5, 30.0):
        corners = cam_from_world.apply(inspection.plate_corners(7, depth))
        np.testing.assert_allclose(corners[:, 2], depth)
        ideal = camera.without_distortion().at(7)
        np.testing.assert_allclose(ideal.img_from_cam(corners), [[0, 0], [1280, 0], [1280, 720], [0, 720]], atol=1e-7)
    off = np.abs(observer(fov_deg, *size).img_from_cam(corners) - np.array(size) / 2) / (np.array(size) / 2)
    assert off.max() == pytest.approx(1.0, abs=1e-9)


def test_the_plate_stands_behind_all_points():
    inspection = inspect()
    depth = inspection.backdrop_depth(3)
    assert 8.0 < depth < 9.0
    assert inspection.plate_depth(ViewState(3, through=True)) == depth > inspection.plate_depth(ViewState(3))


def test_a_track_lies_on_the_plate_where_it_was_seen():
    """Of a lens with distortion: where the plate without it shows the point."""
    ideal = three_points()
    bent = OFF_MIDDLE.img_from_cam(ideal.points_in_cam())
    tracks = dataclasses.replace(ideal.tracks, xy=bent)
    inspection = inspect(camera=OFF_MIDDLE, tracks=tracks)
    way = inspection.track_on_plate(0, 5, 3.0)
    in_cam = ideal.cams_from_world[5].apply(way)
    np.testing.assert_allclose(in_cam[:, 2], 3.0)
    rows = ideal.tracks.track == 0
    expected = OFF_MIDDLE.without_distortion().img_from_cam(ideal.points_in_cam(rows))
    np.testing.assert_allclose(OFF_MIDDLE.without_distortion().img_from_cam(in_cam), expected, atol=1e-5)


def test_sigma_colors_run_from_green_to_red_in_logarithms():
    good, middle, bad, worse, unknown, none = palette.sigma_colors(
        np.array([1e-3, np.sqrt(1e-3), 1.0, np.inf, np.nan, 0.0])
    ).astype(int)
    np.testing.assert_array_equal([good, middle, bad], palette.residual_colors(np.array([0.0, 1.0, 2.0])))
    np.testing.assert_array_equal(worse, bad)
    np.testing.assert_array_equal(none, good)
    np.testing.assert_array_equal(unknown, palette.UNKNOWN)
    inspection = inspect(point_sigma=np.array([1e-3, 1.0, np.nan]))
    np.testing.assert_array_equal(inspection.colors("sigma"), [good, bad, unknown])


def test_colors_come_in_turn():
    state, seen = ViewState(), []
    for _ in palette.COLOR_MODES:
        seen.append(state.color_by)
        state = state.recolored()
    assert tuple(seen) == palette.COLOR_MODES and state == ViewState()


def marked(xy, size=(1280, 720), radius=12) -> np.ndarray:
    columns, rows = np.meshgrid(np.arange(size[0]) + 0.5, np.arange(size[1]) + 0.5)
    picture = np.full((size[1], size[0], 3), 60, np.uint8)
    picture[np.hypot(columns - xy[0], rows - xy[1]) < radius] = [255, 0, 0]
    return picture


def test_plates_are_those_of_a_lens_without_distortion(rng):
    """A mark lies where an ideal lens puts what the bent one put there; what no lens saw is black."""
    in_cam = np.array([-0.55, -0.25, 1.0])
    plates = Plates(Video.from_arrays([marked(OFF_MIDDLE.img_from_cam(in_cam)), None]), OFF_MIDDLE, 640)
    plates.wait()
    assert plates[1] is None and list(plates) == [0] and plates.read == 2
    picture = plates[0].astype(int)
    assert picture.shape == (360, 640, 3)
    rows, columns = np.nonzero(near_color(picture, [255, 0, 0], 90))
    expected = OFF_MIDDLE.without_distortion().img_from_cam(in_cam) / 2
    np.testing.assert_allclose([columns.mean() + 0.5, rows.mean() + 0.5], expected, atol=0.5)
    bent = OFF_MIDDLE.img_from_cam(in_cam) / 2
    assert np.linalg.norm(bent - expected) > 8  # so that the test could fail


def test_plates_only_of_the_frames_that_are_asked_for():
    video = Video.from_arrays([np.full((720, 1280, 3), 20 * i, np.uint8) for i in range(6)])
    plates = Plates(video, CAMERA, 5000, [1, 4])
    plates.wait()
    assert list(plates) == [1, 4] and plates.width == 1280
    assert abs(int(plates[4].mean()) - 80) <= 1 and plates[2] is None
    without = Plates(None, CAMERA, 640)
    without.wait()
    without.close()
    assert list(without) == [] and without[0] is None


class Heard(list):
    """Notes what a mouse makes of events; everything below 500 px is the timeline."""

    def drag(self, dx, dy, shifting):
        self.append(("drag", dx, dy, shifting))

    def click(self, x, y):
        self.append(("click", x, y))

    def wheel(self, steps):
        self.append(("wheel", steps))

    def grabs(self, x, y):
        return y > 500

    def scrub(self, x):
        self.append(("scrub", x))


def test_a_mouse_tells_clicks_drags_and_the_timeline_apart():
    heard = Heard()
    mouse = Mouse(heard)
    for x, y, button in ((10, 10, 0), (100, 100, 0), (100, 510, 0)):
        mouse.move(x, y)
        mouse.button(button, 1, 0)
        mouse.move(x + 2, y - 1)  # a hand that shakes
        if (x, y) == (100, 100):
            mouse.move(x + 12, y + 4)
        mouse.button(button, 0, 0)
        mouse.move(x + 50, y)
    assert heard == [("click", 12, 9), ("drag", 10, 5, False), ("scrub", 100), ("scrub", 102)]
    heard.clear()
    mouse.move(200, 200)
    mouse.button(0, 1, 1)  # shift
    mouse.move(220, 200)
    mouse.button(0, 0, 0)
    mouse.button(1, 1, 0)  # the right button does nothing
    mouse.move(240, 200)
    mouse.button(1, 0, 0)
    mouse.wheel(-2.0)
    assert heard == [("drag", 20, 0, True), ("wheel", -2.0)]


def test_the_timeline_shows_frames_without_a_camera_and_where_one_is(rng):
    scene, shot = solve(make_shot("dolly", rng=rng, num_frames=11), rng, lost=(5,))
    inspection = Inspection(scene, shot)
    picture = strip_picture(inspection, ViewState(8), 1000).astype(int)
    row = picture[16]
    at = [round(MARGIN + (1000 - 2 * MARGIN) * frame / 10) for frame in range(11)]
    assert near_color(row[at[5] - 3 : at[5] + 4], [255, 166, 64]).all()
    assert not near_color(row[at[2] - 3 : at[2] + 4], [255, 166, 64]).any()
    assert picture[16 - 6, at[8]].min() > 200 > picture[16 - 6, at[3]].max()
    assert [timeline_frame(x, 1000, 11) for x in (0, *at, 1000)] == [0, *range(11), 10]
