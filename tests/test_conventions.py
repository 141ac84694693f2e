"""The conventions of the whole library in numbers computed by hand."""

import numpy as np
import pycolmap
import pytest

from sfm.bundle_adjustment import BundleAdjustmentOptions, adjust
from sfm.geometry import Camera, Rigid3, Sim3
from sfm.geometry.rotation import quaternion_from_rotation
from sfm.residuals import log_depth
from sfm.scene import Reconstruction, Support, Tracks
from sfm.synthetic import make_shot

# 200 x 100 px, 100 px focal length: half the width is the tangent of 45 degrees
CAMERA = Camera.from_focal_px(100.0, 200, 100)

# the camera stands at x = 2 and looks along the world's x axis: its own z is the world's x, its own x the world's -z
QUARTER_TURN = Rigid3([[0.0, 0.0, -1.0], [0.0, 1.0, 0.0], [1.0, 0.0, 0.0]], [0.0, 0.0, -2.0])


def test_the_corner_of_the_plate_is_pixel_zero():
    assert CAMERA.img_from_cam([-1.0, -0.5, 1.0]).tolist() == [0.0, 0.0]
    assert CAMERA.img_from_cam([1.0, 0.5, 1.0]).tolist() == [200.0, 100.0]
    assert CAMERA.img_from_cam([0.0, 0.0, 3.0]).tolist() == [100.0, 50.0]


def test_the_first_pixels_centre_is_a_half():
    np.testing.assert_allclose(CAMERA.cam_from_img([0.5, 0.5]), [-0.995, -0.495])


def test_camera_axes_are_right_down_forward():
    x, y = CAMERA.img_from_cam([0.1, 0.2, 2.0])
    assert (x, y) == (105.0, 60.0), "x grows to the right, y downwards, z is in front"
    assert np.isnan(CAMERA.img_from_cam([0.1, 0.2, -2.0])).all()


def test_cam_from_world_takes_world_points_to_camera_axes():
    assert QUARTER_TURN.apply([5.0, 1.0, 0.0]).tolist() == [0.0, 1.0, 3.0]
    assert QUARTER_TURN.apply([5.0, 0.0, 4.0]).tolist() == [-4.0, 0.0, 3.0]
    assert QUARTER_TURN.centers_in_world.tolist() == [2.0, 0.0, 0.0]


def test_composition_reads_from_right_to_left():
    moved = Rigid3(np.eye(3), np.array([1.0, 0.0, 0.0]))
    assert (QUARTER_TURN @ moved).apply([4.0, 1.0, 0.0]).tolist() == [0.0, 1.0, 3.0]


def test_a_positive_turn_about_down_looks_right():
    """Right-handed axes: turning the camera by +a about y moves what is ahead to the left of the picture."""
    cam_from_world = Rigid3.from_rotvec([0.0, -np.pi / 4, 0.0], [0.0, 0.0, 0.0])
    np.testing.assert_allclose(cam_from_world.apply([0.0, 0.0, 1.0]), [-np.sqrt(0.5), 0.0, np.sqrt(0.5)])


def test_depth_is_along_the_axis_not_along_the_ray():
    points, scale = np.array([[3.0], [4.0], [2.0]]), np.array([0.0])
    assert log_depth(points, scale, np.log([2.0]))[0].tolist() == [0.0]
    assert log_depth(points, scale, np.log([np.sqrt(29.0)]))[0][0] < -0.9


def test_depth_scale_takes_prior_depth_to_scene_depth():
    assert log_depth(np.array([[0.0], [0.0], [6.0]]), np.log([3.0]), np.log([2.0]))[0][0] == pytest.approx(0.0)


def test_quaternions_have_the_scalar_first():
    quarter = Rigid3.from_rotvec([0.0, 0.0, np.pi / 2], [0.0, 0.0, 0.0]).rotation
    np.testing.assert_allclose(quarter, [[0, -1, 0], [1, 0, 0], [0, 0, 1]], atol=1e-15)
    np.testing.assert_allclose(quaternion_from_rotation(quarter), [np.sqrt(0.5), 0, 0, np.sqrt(0.5)])


def test_similarities_scale_first_then_turn_then_move():
    quarter = [[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]
    assert Sim3(2.0, quarter, [10.0, 0.0, 0.0]).apply([1.0, 2.0, 3.0]).tolist() == [6.0, 2.0, 6.0]


def test_tracks_are_sorted_by_track_then_frame():
    tracks = Tracks([1, 0, 0], [0, 1, 0], [[1.0, 1.0], [2.0, 2.0], [3.0, 3.0]], 2, 2)
    assert tracks.track.tolist() == [0, 0, 1]
    assert tracks.frame.tolist() == [0, 1, 0]
    assert tracks.xy[:, 0].tolist() == [3.0, 1.0, 2.0]


def _one_point() -> Reconstruction:
    tracks = Tracks([0, 1], [0, 0], [[100.0, 50.0], [103.0, 54.0]], 2, 1)
    cams = Rigid3(np.tile(np.eye(3), (2, 1, 1)), [[0.0, 0.0, 0.0], [1.0, 0.0, 0.0]])
    return Reconstruction(
        CAMERA, cams, [True, True], [[0.0, 0.0, 4.0]], [True, True], tracks, [2.0, 2.0], [Support.TRIANGULATED], [0.1]
    )  # fmt: skip


def test_reprojection_error_parallax_and_centres_of_one_point():
    scene = _one_point()
    # the second camera stands one unit to the left: it sees the point at x = 100 + 100 / 4
    np.testing.assert_allclose(scene.centers_in_world, [[0, 0, 0], [-1, 0, 0]])
    np.testing.assert_allclose(scene.reprojection_errors(), [0.0, np.hypot(22.0, 4.0)])
    np.testing.assert_allclose(scene.rms_px(), np.hypot(22.0, 4.0) / np.sqrt(2))
    np.testing.assert_allclose(scene.parallax_deg(), np.degrees(np.arctan(0.25)))


def test_a_larger_world_has_a_larger_depth_scale():
    scene = _one_point().transform(Sim3(3.0, np.eye(3), np.zeros(3)))
    assert scene.depth_scale.tolist() == [6.0, 6.0]
    assert scene.points.tolist() == [[0.0, 0.0, 12.0]]
    assert scene.centers_in_world.tolist() == [[0.0, 0.0, 0.0], [-3.0, 0.0, 0.0]]
    np.testing.assert_allclose(scene.reprojection_errors(), _one_point().reprojection_errors())


def test_the_adjustment_returns_prior_times_scale_as_depth(rng):
    """Priors in another unit, and every third frame's by half as much again."""
    shot = make_shot("orbit", rng=rng, num_frames=8, num_tracks=60, depth_unit=4.0)
    factor = np.where(np.arange(8) % 3 == 0, 1.05, 1.0)
    priors = type(shot.priors)(shot.priors.depth / factor[shot.tracks.frame], shot.priors.sigma)
    scene = Reconstruction(
        shot.camera, shot.cams_from_world, np.ones(8, bool), shot.points, np.ones(len(shot.tracks), bool), shot.tracks,
        np.full(8, np.nan), np.zeros(60), np.full(60, np.nan),
    )  # fmt: skip
    used = np.zeros(60, bool)
    used[shot.tracks.track] = True
    scene = scene.transform(Sim3(0.25, np.eye(3), np.zeros(3)))
    solved, _ = adjust(scene, priors, BundleAdjustmentOptions(reproj_sigma_px=0.1))
    depth = solved.points_in_cam()[:, 2]
    np.testing.assert_allclose(priors.depth * solved.depth_scale[shot.tracks.frame], depth, rtol=2e-3)
    np.testing.assert_allclose(solved.depth_scale / solved.depth_scale[1], factor, rtol=2e-3)


def test_colmap_pixels_need_no_shift():
    colmap = pycolmap.Camera(model="PINHOLE", width=200, height=100, params=[100.0, 100.0, 100.0, 50.0])
    xy = np.array([[0.0, 0.0], [0.5, 0.5], [37.25, 81.5]])
    np.testing.assert_allclose(colmap.cam_from_img(xy), CAMERA.cam_from_img(xy), atol=1e-12)
