"""Depth maps aligned to a solve: what is wrong with them and can be known is taken out, and no more."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
from solved import solve

from sfm.depth.aligned import _prepared, align_depth
from sfm.depth.correction import MapErrors, Smoothness, corrected
from sfm.depth.reopening import reopened_depth
from sfm.errors import InputError
from sfm.scene import Support
from sfm.synthetic import make_shot
from sfm.video import Video


class Maps:
    """Maps made of the true depth of a slanted wall, spoilt as a network would."""

    name, sigma = "spoilt", 0.3

    def __init__(self, scene, kind, spoil):
        self.kind, self._scene, self._spoil = kind, scene, spoil

    def maps(self, video):
        for number in video.shot.frame_numbers.tolist():
            yield self._spoil(wall(self._scene, number - 1), number)


def wall(scene, frame: int) -> np.ndarray:
    """Depth (45, 80) of the plane z = 6 + x / 2 of the world in a frame."""
    camera, pose = scene.camera, scene.cams_from_world[frame]
    x, y = np.meshgrid((np.arange(80) + 0.5) / 80 * camera.width, (np.arange(45) + 0.5) / 45 * camera.height)
    ray = np.concatenate([camera.cam_from_img(np.stack([x, y], axis=-1)), np.ones((45, 80, 1))], axis=-1)
    normal, center = np.array([-0.5, 0.0, 1.0]), pose.centers_in_world
    return (6 - normal @ center) / (ray @ pose.rotation @ normal)


@pytest.fixture
def scene(rng):
    truth = make_shot(num_frames=8, rng=rng)
    scene, _ = solve(truth, rng)
    first = truth.cams_from_world[0]
    # points of the tracks moved onto the wall, along the rays that see them first
    points = scene.points.copy()
    normal = np.array([-0.5, 0.0, 1.0])
    rays = points - first.centers_in_world
    points = first.centers_in_world + rays * ((6 - normal @ first.centers_in_world) / (rays @ normal))[:, None]
    return replace(scene, points=points, point_sigma=np.full(len(points), 0.005))


@pytest.fixture
def clip(scene):
    size = (scene.camera.height, scene.camera.width, 3)
    return Video.from_arrays([np.zeros(size, np.uint8)] * 8)


def bowl(depth: np.ndarray) -> np.ndarray:
    """An error of 20 % that rises towards the corners."""
    y, x = np.mgrid[-1 : 1 : depth.shape[0] * 1j, -1 : 1 : depth.shape[1] * 1j]
    return np.exp(0.2 * (x**2 + y**2 - 0.7))


@pytest.mark.parametrize(
    ("kind", "spoil"),
    [
        ("metric", lambda depth, k: depth),
        ("depth", lambda depth, k: 0.3 * (1 + 0.1 * (k % 3)) * depth * bowl(depth)),
        ("depth", lambda depth, k: 2 * depth**0.6 * bowl(depth)),
        ("disparity", lambda depth, k: 5 / (depth * bowl(depth))),
        ("affine_disparity", lambda depth, k: 30 / depth - 2),
    ],
)
def test_what_points_know_is_taken_out(scene, clip, kind, spoil):
    model = Maps(scene, kind, spoil)
    aligned = align_depth(scene, clip, model)
    for frame, found in zip((1, 5), aligned.maps(clip, [1, 5]), strict=True):
        true = cv2.resize(wall(scene, frame), found.depth.shape[::-1], interpolation=cv2.INTER_LINEAR)
        middle = np.s_[
            found.depth.shape[0] // 5 : -found.depth.shape[0] // 5,
            found.depth.shape[1] // 5 : -found.depth.shape[1] // 5,
        ]
        error = np.log(found.depth / true)[middle]
        assert np.median(np.abs(error)) < 0.015 and np.abs(error).max() < 0.08
        assert (found.edge[middle] == 0).mean() > 0.99


def test_where_most_points_lie_on_one_wall_the_others_tell_the_offset(rng):
    """A flat map fits the wall best; disparity of what stands before it is worth nothing then."""
    truth = make_shot(num_frames=8, rng=rng)
    scene, _ = solve(truth, rng)
    first = truth.cams_from_world[0]
    in_cam = first.apply(scene.points)
    depth = np.where(np.arange(len(in_cam)) % 4, 8.0, rng.uniform(2, 6, len(in_cam)))
    points = first.inverse().apply(in_cam / in_cam[:, 2:] * depth[:, None])
    scene = replace(scene, points=points, point_sigma=np.full(len(points), 0.005))
    clip = Video.from_arrays([np.zeros((scene.camera.height, scene.camera.width, 3), np.uint8)] * 8)

    def disparity(_, number):
        """A fine map, nearest where points are near, 10 % off."""
        pose, found = scene.cams_from_world[number - 1], np.full((180, 320), 1 / 8.0)
        seen = pose.apply(points)
        xy = scene.camera.img_from_cam(seen) / [scene.camera.width, scene.camera.height]
        inside = ((xy > 0) & (xy < 1)).all(axis=1) & np.isfinite(xy).all(axis=1)
        for (x, y), z in zip(xy[inside], seen[inside, 2], strict=True):
            cv2.circle(found, (int(320 * x), int(180 * y)), 3, 1 / z, -1)
        wrong = np.random.default_rng(0).normal(0, 0.1, (9, 16))
        return 40 * (found * np.exp(cv2.resize(wrong, (320, 180), interpolation=cv2.INTER_CUBIC))) - 4

    aligned = align_depth(scene, clip, Maps(scene, "affine_disparity", disparity))
    assert 2 < aligned.offset < 8


def test_without_parallax_maps_that_flicker_agree_all_the_same(scene, clip):
    """The points are 30 % off, all together: they are the scene, and every frame's map belongs to it."""
    held = replace(
        scene, support=np.where(scene.has_point, Support.PRIOR, Support.NONE),
        point_sigma=np.full(len(scene.points), 0.3),
    )  # fmt: skip
    flicker = np.random.default_rng(4).normal(0, 1, (9, 6))
    tilted = lambda k: np.exp(0.15 * cv2.resize(flicker[k].reshape(2, 3), (80, 45)))  # noqa: E731
    aligned = align_depth(held, clip, Maps(held, "depth", lambda depth, k: depth * tilted(k)))
    middle = np.s_[12:-12, 20:-20]
    for frame, found in zip(range(8), aligned.maps(clip, range(8)), strict=True):
        true = wall(held, frame)
        error = np.log(cv2.resize(found.depth, (80, 45)) / true)[middle]
        assert np.abs(error).max() < 0.05


def test_a_frame_without_camera_or_map_has_none(scene, clip):
    class Some(Maps):
        def maps(self, video):
            for number, found in zip(video.shot.frame_numbers, super().maps(video), strict=True):
                yield None if number == 3 else found

    lost = np.arange(8) == 5
    part = replace(scene, registered=~lost, inliers=scene.inliers & (scene.tracks.frame != 5))
    aligned = align_depth(part, clip, Some(scene, "metric", lambda depth, k: depth))
    assert [found is None for found in aligned.maps(clip, [1, 2, 5, 6])] == [False, True, True, False]


def test_maps_that_fall_with_depth_are_an_error(scene, clip):
    with pytest.raises(InputError, match=r"do not rise with the depth .* --depth-kind"):
        align_depth(scene, clip, Maps(scene, "depth", lambda depth, k: 10 / depth))


def test_blurred_edges_become_sharp_where_they_were_half_way_and_floors_stay():
    step = np.where(np.arange(80) < 40, np.log(2.0), np.log(6.0)) * np.ones((45, 1))
    blurred = cv2.GaussianBlur(step, (0, 0), 1.2)
    found = _prepared(blurred, 320)
    assert set(np.round(np.exp(found.depth[90]), 1)) <= {2.0, 2.1, 5.8, 5.9, 6.0}
    assert np.flatnonzero(np.diff(found.depth[90]) > 0.5).tolist() == [159]
    assert found.edge[90, 150:170].min() > 0.5 and found.edge[90, :100].max() == 0
    floor = np.log(1.6 / (np.arange(45) + 3.0))[:, None] * np.ones((1, 80))  # runs to the horizon
    kept = _prepared(floor, 320)
    assert (kept.edge == 0).mean() > 0.98
    assert np.abs(np.diff(kept.depth, axis=0)).max() < 0.1


def test_holes_of_a_map_stay_and_make_no_edges():
    flat = np.full((45, 80), np.log(3.0))
    flat[10:30, 20:50] = np.nan
    found = _prepared(flat, 320)
    assert np.isnan(found.depth[80, 140]) and 0.12 < np.isnan(found.depth).mean() < 0.22
    known = np.isfinite(found.depth)
    assert np.exp(found.depth[known]) == pytest.approx(3.0, rel=1e-5) and found.edge.max() == 0
    assert np.isfinite(found.across[known]).all()


def test_far_from_points_the_doubt_grows_and_one_wrong_point_is_not_followed(rng):
    place = np.column_stack([rng.uniform(0, 0.4, 80), rng.uniform(0, 0.5, 80), np.zeros(80)])
    error = 0.1 * np.sin(6 * place[:, 0])
    error[7] += 1.0
    smoothness = Smoothness(0.1, 0.01, 0.2, 0.5)
    mean, sigma = corrected(MapErrors(place, error, np.full(80, 0.005)), smoothness, np.zeros((50, 100)))
    x = (np.arange(100) + 0.5) / 100
    known = np.s_[5:45, 2:38]
    assert np.abs(mean - 0.1 * np.sin(6 * x))[known].max() < 0.03
    assert sigma[known].max() < 0.03 and sigma[:, -1].min() > 0.06


def test_maps_of_a_solve_are_found_again(solved_sample, tmp_path):
    _, video, _, aligned = solved_sample
    folder = str(aligned.model.folder)
    told = {"name": folder, "kind": "depth", "revision": ""}
    assert reopened_depth({"depth": folder, "depth_model": told}, video).name == folder
    with pytest.raises(InputError, match="solved without depth maps"):
        reopened_depth({"depth": "none", "depth_model": None}, video)
    with pytest.raises(InputError, match=r"not to be had .*--depth"):
        reopened_depth({"depth": str(tmp_path / "gone"), "depth_model": told}, video)
