"""Transforms obey their axioms, the lens agrees with OpenCV, points and poses come back from exact data."""

import cv2
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from sfm.geometry import Camera, Rigid3, Sim3
from sfm.geometry.absolute_pose import absolute_pose, refine_absolute_pose
from sfm.geometry.path import cams_at
from sfm.geometry.relative_pose import lift, relative_pose, triangulated_depth
from sfm.geometry.rotation import (
    quaternion_from_rotation,
    rotation_angle,
    rotation_from_quaternion,
    rotation_from_rotvec,
    rotvec_from_rotation,
    skew,
)
from sfm.geometry.transform import frozen_array
from sfm.geometry.triangulation import parallax_angle, triangulate

BATCHES = [(), (1,), (4, 2)]
SIZES = [1e-9, 1e-4, 0.3, 2.0, 3.1]  # radians: from nearly nothing to nearly half a turn

FOCAL = 1500.0  # px: turns errors on the plane z = 1 into pixels


def _rigid(rng, batch, size) -> Rigid3:
    axis = rng.standard_normal((*batch, 3))
    return Rigid3.from_rotvec(
        size * axis / np.linalg.norm(axis, axis=-1, keepdims=True), rng.standard_normal((*batch, 3))
    )


def _sim(rng, batch, size) -> Sim3:
    rigid = _rigid(rng, batch, size)
    return Sim3(rng.uniform(0.3, 3.0, batch), rigid.rotation, rigid.translation)


def _same(one, two, tolerance=1e-12):
    np.testing.assert_allclose(one.rotation, two.rotation, atol=tolerance)
    np.testing.assert_allclose(one.translation, two.translation, atol=tolerance)
    if isinstance(one, Sim3):
        np.testing.assert_allclose(one.scale, two.scale, atol=tolerance)


def _degrees_apart(one: Rigid3, two: Rigid3) -> float:
    return float(np.degrees(rotation_angle(one.rotation @ two.rotation.T)))


# transforms


@pytest.mark.parametrize("make", [_rigid, _sim])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("batch", BATCHES)
def test_transforms_are_a_group(rng, batch, size, make):
    a, b, c = (make(rng, batch, size) for _ in range(3))
    x = rng.standard_normal((*batch, 3))
    _same((a @ b) @ c, a @ (b @ c))
    _same(a.inverse().inverse(), a)
    _same((a @ b).inverse(), b.inverse() @ a.inverse())
    np.testing.assert_allclose((a @ b).apply(x), a.apply(b.apply(x)), atol=1e-12)
    np.testing.assert_allclose(a.inverse().apply(a.apply(x)), x, atol=1e-12)
    np.testing.assert_allclose((a @ a.inverse()).apply(x), x, atol=1e-12)
    assert not np.allclose(a.apply(x), a.inverse().apply(x)), "the inverse must not be the transform itself"


@pytest.mark.parametrize("batch", BATCHES)
def test_rigid_identity_is_neutral(rng, batch):
    a = _rigid(rng, batch, 1.0)
    _same(Rigid3.identity(*batch) @ a, a)
    _same(a @ Rigid3.identity(*batch), a)
    assert Rigid3.identity(*batch).batch == batch


def test_sim_identity_is_neutral(rng):
    a = _sim(rng, (), 1.0)
    _same(Sim3.identity() @ a, a)
    _same(a @ Sim3.identity(), a)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("batch", BATCHES)
def test_rigid_forms_come_back(rng, batch, size):
    a = _rigid(rng, batch, size)
    assert a.batch == batch
    _same(Rigid3.from_rotvec(a.as_rotvec(), a.translation), a)
    _same(Rigid3.from_matrix(a.as_matrix()), a)
    np.testing.assert_allclose(a.apply(a.centers_in_world), np.zeros((*batch, 3)), atol=1e-12)
    x = rng.standard_normal((*batch, 3))
    homogeneous = np.concatenate([x, np.ones((*batch, 1))], axis=-1)
    np.testing.assert_allclose((a.as_matrix() @ homogeneous[..., None])[..., 0], a.apply(x), atol=1e-12)


def test_stacks_index_like_arrays(rng):
    a = _rigid(rng, (5,), 1.0)
    assert len(a) == 5
    _same(a[[3, 1]][1], a[1])
    assert a[1:4].batch == (3,)
    with pytest.raises(ValueError, match="read-only"):
        a.rotation[0] = 0


@pytest.mark.parametrize("size", SIZES)
def test_a_similarity_comes_back_from_points(rng, size):
    truth = _sim(rng, (), size)
    x = rng.standard_normal((20, 3))
    _same(Sim3.from_points(x, truth.apply(x)), truth, 1e-10)


def test_from_points_never_mirrors(rng):
    x = rng.standard_normal((20, 3))
    found = Sim3.from_points(x, x * [1, 1, -1])
    assert np.linalg.det(found.rotation) == pytest.approx(1.0)


def test_from_points_of_one_place_only_moves(rng):
    found = Sim3.from_points(np.tile([1.0, 2.0, 3.0], (4, 1)), np.tile([4.0, 4.0, 4.0], (4, 1)))
    np.testing.assert_allclose(found.apply([1.0, 2.0, 3.0]), [4, 4, 4])
    assert found.scale == 1


@pytest.mark.parametrize("size", SIZES)
def test_cameras_move_with_the_points(rng, size):
    """A point at the same place of the picture, its depth in the new unit."""
    sim, cams, x = _sim(rng, (), size), _rigid(rng, (6,), 1.0), rng.standard_normal((6, 3))
    moved = sim.apply_to_cameras(cams)
    np.testing.assert_allclose(moved.apply(sim.apply(x)), sim.scale * cams.apply(x), atol=1e-11)
    np.testing.assert_allclose(moved.centers_in_world, sim.apply(cams.centers_in_world), atol=1e-11)
    np.testing.assert_allclose(
        moved.rotation @ np.swapaxes(moved.rotation, 1, 2), np.tile(np.eye(3), (6, 1, 1)), atol=1e-12
    )


def test_wrong_shapes_are_named():
    with pytest.raises(ValueError, match=r"rotation: got shape \(3, 2\)"):
        Rigid3(np.zeros((3, 2)), np.zeros(3))
    with pytest.raises(ValueError, match="batch axes differ"):
        Rigid3(np.zeros((2, 3, 3)), np.zeros((4, 3)))
    with pytest.raises(ValueError, match="expected"):
        frozen_array("field", np.zeros(3), (4,))


# rotations


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("batch", BATCHES)
def test_rotation_forms_agree_with_scipy(rng, batch, size):
    axis = rng.standard_normal((*batch, 3))
    rotvec = size * axis / np.linalg.norm(axis, axis=-1, keepdims=True)
    R = rotation_from_rotvec(rotvec)
    np.testing.assert_allclose(R.reshape(-1, 3, 3), Rotation.from_rotvec(rotvec.reshape(-1, 3)).as_matrix(), atol=1e-14)
    np.testing.assert_allclose(rotvec_from_rotation(R), rotvec, atol=1e-9)
    np.testing.assert_allclose(rotation_angle(R), np.full(batch, size), rtol=1e-6)
    np.testing.assert_allclose(rotation_from_quaternion(quaternion_from_rotation(R)), R, atol=1e-12)
    assert (quaternion_from_rotation(R)[..., 0] >= 0).all()


@pytest.mark.parametrize("batch", BATCHES)
def test_skew_is_the_cross_product(rng, batch):
    a, b = rng.standard_normal((2, *batch, 3))
    np.testing.assert_allclose((skew(a) @ b[..., None])[..., 0], np.cross(a, b), atol=1e-14)


# the lens

LENSES = {
    0: [],
    4: [-0.12, 0.05, 0.001, -0.002],
    5: [-0.2, 0.08, -0.0015, 0.001, -0.02],
    8: [0.3, 0.1, 0.001, 0.0007, 0.02, 0.45, 0.12, 0.01],
}


@pytest.mark.parametrize("k", LENSES)
def test_projection_is_opencvs(rng, k):
    camera = Camera([1400.0, 1410.0], [955.0, 547.0], LENSES[k], 1920, 1080)
    x = np.column_stack([rng.uniform(-0.65, 0.65, 200), rng.uniform(-0.36, 0.36, 200), np.ones(200)]) * rng.uniform(
        1, 9, (200, 1)
    )
    expected, _ = cv2.projectPoints(x, np.zeros(3), np.zeros(3), camera.matrix(), np.array(LENSES[k] or [0.0] * 4))
    np.testing.assert_allclose(camera.img_from_cam(x), expected[:, 0], atol=1e-8)


@pytest.mark.parametrize("k", LENSES)
def test_distortion_comes_off_again(rng, k):
    camera = Camera([1400.0, 1410.0], [955.0, 547.0], LENSES[k], 1920, 1080)
    xy = rng.uniform(0, 1, (500, 2)) * [1920, 1080]
    cam_points = camera.cam_from_img(xy)
    back = camera.img_from_cam(np.column_stack([cam_points, np.ones(500)]))
    np.testing.assert_allclose(back, xy, atol=1e-8)
    if k:
        assert np.abs(cam_points - camera.without_distortion().cam_from_img(xy)).max() > 1e-3


def test_no_point_behind_the_camera_is_seen():
    camera = Camera.from_focal_px(1000, 1920, 1080)
    assert np.isnan(camera.img_from_cam([[0.1, 0.1, -1.0], [0.1, 0.1, 0.0]])).all()


def test_a_zoom_is_a_stack_of_lenses(rng):
    focal = np.array([[1000.0, 1000.0], [2000.0, 2000.0]])
    zoom = Camera(focal, [960.0, 540.0], [], 1920, 1080)
    assert zoom.batch == (2,)
    np.testing.assert_allclose(zoom.img_from_cam([[0.1, 0.0, 1.0]] * 2), [[1060, 540], [1160, 540]])
    np.testing.assert_allclose(zoom.at(1).img_from_cam([0.1, 0.0, 1.0]), [1160, 540])
    np.testing.assert_allclose(zoom.at(np.array([1, 1, 0])).focal_length[:, 0], [2000, 2000, 1000])
    np.testing.assert_allclose(zoom.matrix()[1], [[2000, 0, 960], [0, 2000, 540], [0, 0, 1]])


def test_field_of_view():
    camera = Camera.from_fov_deg(90.0, 2000, 1000)
    np.testing.assert_allclose(camera.focal_length, [1000, 1000])
    assert camera.horizontal_fov_deg == pytest.approx(90.0)


def test_a_pixel_that_shows_twice_its_height_across():
    """The same view squeezed to half its width: every pixel of the plate moves as stored pixels do."""
    wide = Camera.from_fov_deg(90.0, 2000, 1000)
    squeezed = Camera.from_fov_deg(90.0, 1000, 1000, pixel_aspect=2.0)
    point = [0.3, -0.2, 1.0]
    np.testing.assert_allclose(squeezed.img_from_cam(point) * [2, 1], wide.img_from_cam(point))
    named = Camera.from_focal_px(1000.0, 1000, 1000, pixel_aspect=2.0)
    np.testing.assert_allclose(named.focal_length, squeezed.focal_length)


@pytest.mark.parametrize("bad", [[0.0, 1.0], [-5.0, 5.0], [np.nan, 1.0], [np.inf, 1.0]])
def test_impossible_focal_lengths_are_refused(bad):
    with pytest.raises(ValueError, match="focal_length"):
        Camera(bad, [1.0, 1.0], [], 10, 10)


def test_unknown_distortion_models_are_refused():
    with pytest.raises(ValueError, match="0, 4, 5 or 8"):
        Camera([1.0, 1.0], [1.0, 1.0], [0.1, 0.2], 10, 10)


# points from rays


def _rays(rng, cameras=6, points=40, noise=0.0):
    centers = rng.uniform(-1, 1, (cameras, 3))
    x = rng.uniform(-2, 2, (points, 3)) + np.array([0, 0, 8])
    track = np.repeat(np.arange(points), cameras)
    origin = np.tile(centers, (points, 1))
    rays = x[track] - origin
    rays /= np.linalg.norm(rays, axis=1, keepdims=True)
    rays += noise * rng.standard_normal(rays.shape)
    return origin, rays / np.linalg.norm(rays, axis=1, keepdims=True), track, x


def test_triangulation_is_exact(rng):
    origin, rays, track, x = _rays(rng)
    np.testing.assert_allclose(triangulate(origin, rays, track, 40), x, atol=1e-10)
    np.testing.assert_allclose(triangulate(origin, rays, track, 40, rng.uniform(0.1, 1, len(rays))), x, atol=1e-10)


def test_triangulation_of_noisy_rays_is_near_but_not_exact(rng):
    origin, rays, track, x = _rays(rng, noise=1e-3)
    error = np.linalg.norm(triangulate(origin, rays, track, 40) - x, axis=1)
    assert 1e-3 < np.median(error) < 0.05


def test_triangulation_obeys_the_weights(rng):
    origin, rays, track, x = _rays(rng)
    wrong = np.arange(len(rays)) % 6 == 0
    rays = np.where(wrong[:, None], rays + np.array([0.05, 0, 0]), rays)
    rays /= np.linalg.norm(rays, axis=1, keepdims=True)
    np.testing.assert_allclose(triangulate(origin, rays, track, 40, np.where(wrong, 0.0, 1.0)), x, atol=1e-10)
    assert np.abs(triangulate(origin, rays, track, 40) - x).max() > 0.01


def test_no_point_from_one_ray_or_from_parallel_ones():
    ahead = np.array([0.0, 0.0, 1.0])
    centers = np.array([[0.0, 0, 0], [0, 0, 0], [1, 0, 0]])
    points = triangulate(centers, np.tile(ahead, (3, 1)), np.array([0, 2, 2]), 3)
    assert np.isnan(points).all()


def test_parallax_angle_against_every_pair(rng):
    """Cameras along a path: the two sweeps find the widest pair."""
    path = np.linspace(-1, 1, 9)[:, None] * [1.0, 0.1, 0.05]
    x = rng.uniform(-2, 2, (30, 3)) + np.array([0, 0, 6])
    track = np.repeat(np.arange(30), 9)
    rays = (x[track] - np.tile(path, (30, 1))) * rng.uniform(0.1, 10, (270, 1))
    unit = (rays / np.linalg.norm(rays, axis=1, keepdims=True)).reshape(30, 9, 3)
    brute = np.arccos(np.clip(np.einsum("tik,tjk->tij", unit, unit), -1, 1)).max((1, 2))
    np.testing.assert_allclose(parallax_angle(rays, track, 30), brute, atol=1e-7)


def test_parallax_angle_never_exceeds_the_widest_pair(rng):
    rays = rng.standard_normal((400, 3)) * 0.2 + np.array([0, 0, 1])
    track = np.sort(rng.integers(0, 40, 400))
    unit = rays / np.linalg.norm(rays, axis=1, keepdims=True)
    found = parallax_angle(rays, track, 41)
    for j in np.unique(track):
        own = unit[track == j]
        widest = np.arccos(np.clip(own @ own.T, -1, 1)).max()
        assert 0.8 * widest <= found[j] <= widest + 1e-7
    assert np.isnan(found[40])


def test_tiny_parallax_is_still_measured():
    rays = np.array([[0.0, 0.0, 1.0], [1e-9, 0.0, 1.0]])
    np.testing.assert_allclose(parallax_angle(rays, np.zeros(2, int), 1), [1e-9], rtol=1e-6)


# poses


def _seen_points(rng, count=120, noise_px=0.0, outliers=0.0):
    x = np.column_stack([rng.uniform(-2, 2, (count, 2)), rng.uniform(4, 10, count)])
    pose = Rigid3.from_rotvec([0.1, -0.3, 0.2], [0.4, -0.2, 0.3])
    in_cam = pose.apply(x)
    cam_points = in_cam[:, :2] / in_cam[:, 2:] + noise_px / FOCAL * rng.standard_normal((count, 2))
    wrong = rng.random(count) < outliers
    cam_points[wrong] += rng.uniform(0.03, 0.2, (wrong.sum(), 2)) * rng.choice([-1, 1], (wrong.sum(), 2))
    return x, cam_points, pose, wrong


@pytest.mark.parametrize("started", [False, True])
def test_absolute_pose_is_exact(rng, started):
    x, cam_points, truth, _ = _seen_points(rng)
    start = Rigid3.from_rotvec([0.08, -0.28, 0.21], [0.37, -0.2, 0.33]) if started else None
    pose, inliers = absolute_pose(x, cam_points, 2 / FOCAL, start)
    assert pose is not None
    assert inliers.all()
    _same(pose, truth, 1e-8)


@pytest.mark.parametrize("started", [False, True])
def test_absolute_pose_with_noise_and_outliers(rng, started):
    x, cam_points, truth, wrong = _seen_points(rng, 300, noise_px=0.5, outliers=0.3)
    start = Rigid3.from_rotvec([0.09, -0.29, 0.2], [0.39, -0.2, 0.31]) if started else None
    pose, inliers = absolute_pose(x, cam_points, 2 / FOCAL, start)
    assert pose is not None
    assert not inliers[wrong].any()
    assert inliers[~wrong].mean() > 0.95
    assert 1e-4 < _degrees_apart(pose, truth) < 0.05
    assert 1e-5 < np.linalg.norm(pose.centers_in_world - truth.centers_in_world) < 0.01


def test_absolute_pose_survives_a_start_far_off(rng):
    x, cam_points, truth, _ = _seen_points(rng)
    pose, inliers = absolute_pose(x, cam_points, 2 / FOCAL, Rigid3.from_rotvec([0.0, 2.5, 0.0], [0.0, 0.0, 0.0]))
    assert pose is not None
    assert inliers.all()
    _same(pose, truth, 1e-7)


def test_no_pose_from_too_few_points_or_from_nonsense(rng):
    x, cam_points, _, _ = _seen_points(rng, 5)
    pose, inliers = absolute_pose(x, cam_points, 2 / FOCAL)
    assert pose is None
    assert inliers.shape == (5,)
    x, _, _, _ = _seen_points(rng, 100)
    pose, inliers = absolute_pose(x, rng.uniform(-0.5, 0.5, (100, 2)), 2 / FOCAL)
    assert pose is None
    assert not inliers.any()


def test_refinement_moves_towards_the_truth(rng):
    x, cam_points, truth, _ = _seen_points(rng, noise_px=0.2)
    start = Rigid3.from_rotvec([0.11, -0.32, 0.19], [0.45, -0.25, 0.3])
    refined = refine_absolute_pose(x, cam_points, start, 2 / FOCAL)
    assert _degrees_apart(refined, truth) < 0.05 * _degrees_apart(start, truth)


def _two_views(rng, baseline, noise_px=0.0, depth_error=0.0, count=200):
    depth = rng.uniform(3, 12, count)
    first = rng.uniform(-0.45, 0.45, (count, 2))
    truth = Rigid3.from_rotvec([0.02, -0.05, 0.03], baseline)
    second = truth.apply(lift(first, depth))
    second = second[:, :2] / second[:, 2:] + noise_px / FOCAL * rng.standard_normal((count, 2))
    return first, second, depth * np.exp(depth_error * rng.standard_normal(count)), truth


def test_relative_pose_is_exact_in_the_unit_of_the_depth(rng):
    first, second, depth, truth = _two_views(rng, [0.3, 0.02, -0.1])
    pose, inliers = relative_pose(first, second, depth, 2 / FOCAL)
    assert pose is not None
    assert inliers.all()
    _same(pose, truth, 1e-6)


def test_relative_pose_with_wrong_depths(rng):
    """Depth 20 % wrong per point: the essential matrix gives the direction, the depths only the length."""
    first, second, depth, truth = _two_views(rng, [0.6, 0.05, -0.1], noise_px=0.3, depth_error=0.2)
    pose, inliers = relative_pose(first, second, depth, 2 / FOCAL)
    assert pose is not None
    assert inliers.mean() > 0.95
    assert 1e-5 < _degrees_apart(pose, truth) < 0.2
    assert np.linalg.norm(pose.translation) == pytest.approx(np.linalg.norm(truth.translation), rel=0.1)


def test_relative_pose_of_a_camera_that_only_turns(rng):
    first, second, depth, truth = _two_views(rng, [0.0, 0.0, 0.0], noise_px=0.3, depth_error=0.2)
    pose, _ = relative_pose(first, second, depth, 2 / FOCAL)
    assert pose is not None
    assert _degrees_apart(pose, truth) < 0.2
    assert np.linalg.norm(pose.translation) < 0.05


def test_relative_pose_with_unknown_depths(rng):
    first, second, depth, truth = _two_views(rng, [0.6, 0.05, -0.1])
    depth[::2] = np.nan
    pose, inliers = relative_pose(first, second, depth, 2 / FOCAL)
    assert pose is not None
    assert inliers.all()
    _same(pose, truth, 1e-6)


def test_no_relative_pose_of_nonsense(rng):
    first, depth = rng.uniform(-0.5, 0.5, (60, 2)), rng.uniform(3, 12, 60)
    _, inliers = relative_pose(first, rng.uniform(-0.5, 0.5, (60, 2)), depth, 2 / FOCAL)
    assert inliers.mean() < 0.5


def test_triangulated_depth(rng):
    first, second, depth, truth = _two_views(rng, [0.3, 0.02, -0.1])
    np.testing.assert_allclose(triangulated_depth(first, second, truth), depth, rtol=1e-8)
    backwards = Rigid3(truth.rotation, -truth.translation)
    assert (triangulated_depth(first, second, backwards) < 0).all()


# a path through cameras


def _turning(times) -> Rigid3:
    """A steady walk and a steady turn about a skew axis, by 400 degrees over a hundred frames: past every half turn."""
    times = np.asarray(times, dtype=float)
    rotation = rotation_from_rotvec(np.outer(np.radians(4 * times), [2 / 3, -1 / 3, 2 / 3]))
    centers = np.outer(times, [0.1, 0.0, -0.2]) + np.array([3.0, 1.0, 0.0])
    return Rigid3(rotation, -np.einsum("nij,nj->ni", rotation, centers))


@pytest.mark.parametrize("degree", [1, 3])
def test_a_steady_path_is_found_between_cameras_and_beyond_them(degree):
    known, at = np.array([0, 1, 2, 5, *range(6, 101)]), np.array([-0.4, 0.0, 0.5, 3.3, 50.2, 99.6, 100.4])
    found, true = cams_at(known, _turning(known), at, degree), _turning(at)
    assert rotation_angle(found.rotation @ true.rotation.mT).max() < (1e-5 if degree == 3 else 1e-3)
    np.testing.assert_allclose(found.centers_in_world, true.centers_in_world, atol=1e-12)


def test_a_path_passes_through_its_cameras(rng):
    cams = _rigid(rng, (7,), 3.0)
    times = np.cumsum(rng.uniform(0.5, 3, 7))
    for degree in (1, 3):
        _same(cams_at(times, cams, times, degree), cams, 1e-9)
    _same(cams_at(times[:1], cams[:1], [4.0, 5.0]), cams[[0, 0]])
    assert cams_at(times[:2], cams[:2], [times[0]]).batch == (1,), "two cameras make a straight path"


def test_a_spline_follows_a_curve_to_its_ends():
    """Where constant velocity cuts the corners."""
    times, at = np.arange(12.0), np.array([-0.4, 4.5, 11.4])
    curve = lambda t: np.column_stack([np.sin(0.5 * t), np.cos(0.5 * t), 0 * t])  # noqa: E731
    cams = Rigid3.from_rotvec(0.1 * curve(times), np.zeros((12, 3)))
    off = [
        rotation_angle(cams_at(times, cams, at, degree).rotation @ rotation_from_rotvec(0.1 * curve(at)).mT).max()
        for degree in (1, 3)
    ]
    assert off[1] < 0.3 * off[0]
