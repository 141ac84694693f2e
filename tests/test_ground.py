"""Up and the ground of sets that are known: exact, noisy, and without a ground."""

from dataclasses import replace

import numpy as np
import pytest
from solved import solve

from sfm.geometry import Camera, Rigid3
from sfm.geometry.rotation import rotation_from_rotvec
from sfm.ground import _lowest_level, find_ground, held_up
from sfm.planes import Cloud, find_planes
from sfm.scene import DepthPriors, Support, Tracks
from sfm.synthetic import SyntheticShot

HEIGHT = 1.6  # of the first camera above the ground, where y is down


def room(rng, noise=0.0, roll_deg=12.0, tilt_deg=-18.0, floor=400, walls=300, turned=True):
    """A floor, a wall and a box, filmed by a camera held askew on a short path; and true up in the world of the solve.

    noise: standard deviation of points over their depth, along their rays.
    """
    ground = np.column_stack([rng.uniform(-4, 4, floor), np.full(floor, HEIGHT), rng.uniform(3, 10, floor)])
    wall = np.column_stack([rng.uniform(-4, 4, walls), rng.uniform(-2, HEIGHT, walls), np.full(walls, 10.0)])
    box = np.column_stack(
        [np.full(walls // 2, 1.0), rng.uniform(0.4, HEIGHT, walls // 2), rng.uniform(5, 7, walls // 2)]
    )
    clutter = rng.uniform([-4, -1, 3], [4, HEIGHT, 10], (150, 3))
    points = np.concatenate([ground, wall, box, clutter])
    held = rotation_from_rotvec([0, 0, np.radians(roll_deg)]) @ rotation_from_rotvec([np.radians(tilt_deg), 0, 0])
    centers = np.column_stack([np.linspace(0, 0.4, 6), np.zeros(6), np.linspace(0, 0.2, 6)])
    cams = Rigid3(np.tile(held, (6, 1, 1)), -centers @ held.T)
    # as a solve has it: the world is the first camera
    first = cams[0]
    cams, points = cams @ first.inverse(), first.apply(points)
    camera = Camera.from_fov_deg(60.0, 1920, 1080)
    xy = np.stack([camera.img_from_cam(cams[i].apply(points)) for i in range(6)])
    tracks = Tracks.from_dense(xy)
    priors = DepthPriors.constant(tracks)
    none = np.zeros(len(tracks), bool)
    scene, shot = solve(SyntheticShot(camera, cams, points, tracks, priors, none, np.zeros(len(points), bool)), rng)
    off = np.exp(noise * rng.standard_normal((len(points), 1)))
    sigma = np.full(len(points), max(noise, 1e-4))
    told = {"support": np.full(len(points), Support.TRIANGULATED, np.int8), "point_sigma": sigma}
    scene = replace(scene, points=off * points, point_sigma_across=np.full(len(points), 1e-4), **told)
    return scene, shot, -first.rotation[:, 1]


def degrees_between(a, b):
    return float(np.degrees(np.arccos(np.clip(a @ b / np.linalg.norm(a) / np.linalg.norm(b), -1, 1))))


@pytest.mark.parametrize("roll_deg", [0.0, 12.0, -25.0])
def test_up_and_ground_of_an_exact_set(rng, roll_deg):
    scene, _, up = room(rng, roll_deg=roll_deg)
    assert degrees_between(held_up(scene.cams_from_world), up) > 15  # the camera alone would not tell
    ground = find_ground(scene)
    assert degrees_between(ground.up, up) < 1
    assert ground.height == pytest.approx(-HEIGHT, abs=0.03) and ground.points >= 400
    assert all(" sure" in words for words in ground.said) and ground.up_sigma_deg < 2


def test_up_and_ground_of_a_noisy_set(rng):
    scene, _, up = room(rng, noise=0.03)
    ground = find_ground(scene)
    assert 1e-3 < degrees_between(ground.up, up) < 3
    assert ground.height == pytest.approx(-HEIGHT, abs=0.1)


def test_walls_alone_tell_up_and_where_they_end(rng):
    scene, _, up = room(rng, floor=0)
    ground = find_ground(scene)
    assert degrees_between(ground.up, up) < 1
    assert ground.height == pytest.approx(-HEIGHT, abs=0.15)
    assert "a guess: the lowest that was seen" in ground.said[1]


def test_without_a_plane_the_camera_tells(rng):
    scene, _, _ = room(rng, floor=0, walls=0)
    ground = find_ground(scene)
    np.testing.assert_allclose(ground.up, [0, -1, 0], atol=1e-9)
    assert not ground.stands_out and "a guess, from how the camera was held: within about 21 degrees" in ground.said[0]
    unknown = replace(room(rng)[0], point_sigma=np.full(len(scene.points) + 850, np.inf))
    assert find_ground(unknown).planes == 0  # nothing is known of depth: a nodal shot
    held = replace(scene, support=np.where(scene.has_point, Support.PRIOR, Support.NONE).astype(np.int8))
    nobody = find_ground(replace(held, depth_sigma=float("nan")))  # a depth that neither tracks nor a prior told
    assert nobody.planes == 0 and nobody.points == 0 and nobody.is_guessed_up


def test_planes_of_the_prior_alone_are_a_guess_however_well_they_agree(rng):
    """Its errors lean them together: of a pan they agreed within 1.3 degrees, 6 degrees off."""
    scene, _, up = room(rng)
    held = replace(scene, support=np.where(scene.has_point, Support.PRIOR, Support.NONE).astype(np.int8))
    ground = find_ground(held)
    assert ground.is_guessed_up and ground.is_guess and degrees_between(ground.up, up) < 1
    assert "hardly more than a guess" in ground.said[0] and "if the depth prior were right" in ground.said[0]
    assert "hardly more than a guess" in ground.said[1]
    assert not find_ground(held, up).is_guessed_up


def test_up_that_is_told_stays_and_the_ground_is_found(rng):
    scene, _, up = room(rng)
    ground = find_ground(scene, 3 * up)
    np.testing.assert_allclose(ground.up, up)
    assert ground.height == pytest.approx(-HEIGHT, abs=0.01) and ground.said[0] == "up is as it was told"


def test_a_table_is_not_the_ground_where_a_floor_shows_beneath(rng):
    scene, _, up = room(rng, floor=120)
    rows = np.r_[: len(scene.points), :80]
    points = scene.points[rows]
    points[-80:] += 0.8 * up
    cloud = Cloud.seen_from(np.zeros(3), points, scene.point_sigma[rows], scene.point_sigma_across[rows])
    height, on, _ = _lowest_level(cloud, up, np.zeros((1, 3)))
    assert height == pytest.approx(-HEIGHT, abs=0.02) and on >= 120


def test_planes_are_found_with_their_points(rng):
    scene, _, _ = room(rng)
    cloud = Cloud.seen_from(np.zeros(3), scene.points, scene.point_sigma, scene.point_sigma_across)
    planes = find_planes(cloud, 3, rng)
    assert [plane.evidence for plane in planes] == sorted((plane.evidence for plane in planes), reverse=True)
    assert planes[0].on[:400].mean() > 0.95 and planes[1].on[400:700].mean() > 0.95
    assert not (planes[0].on & planes[1].on).any()


def test_what_lies_along_a_line_of_the_picture_is_no_ground_however_deep(rng):
    """Points of a shelf seen edge-on with wrong depths: a plane through the camera, with more on it than the floor."""
    scene, _, up = room(rng, floor=120, walls=0)
    first, count = scene.cams_from_world[0], 500
    beside = np.column_stack([rng.uniform(-0.4, 0.4, count), np.full(count, 0.3), np.ones(count)])
    strewn = first.inverse().apply(beside * rng.uniform(4, 20, (count, 1)))
    points = np.concatenate([scene.points, strewn])
    alone = Cloud.seen_from(np.zeros(3), points, np.full(len(points), 1e-3), np.full(len(points), 1e-4))
    plane = find_planes(alone, 1, rng)[0]
    assert plane.on[-count:].mean() > 0.9  # the one with the most evidence
    xy = np.stack([scene.camera.img_from_cam(pose.apply(points)) for pose in scene.cams_from_world])
    tracks = Tracks.from_dense(xy)
    more = replace(
        scene, points=points, tracks=tracks, inliers=np.ones(len(tracks), bool),
        support=np.ones(len(points), int), point_sigma=np.full(len(points), 1e-3),
        point_sigma_across=np.full(len(points), 1e-4),
    )  # fmt: skip
    ground = find_ground(more)
    assert degrees_between(ground.up, up) < 1 and ground.height == pytest.approx(-HEIGHT, abs=0.05)
