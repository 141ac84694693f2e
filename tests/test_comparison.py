"""Two tracks beside each other: nothing differs but what was made to differ."""

import dataclasses

import numpy as np
import pytest
from solved import shot_of, solve

from sfm.comparison import compare
from sfm.errors import InputError
from sfm.geometry import Rigid3, Sim3
from sfm.geometry.path import other_from_ours
from sfm.geometry.rotation import rotation_from_rotvec
from sfm.synthetic import make_shot

ELSEWHERE = Sim3(np.array(3.0), rotation_from_rotvec([0.3, -1.2, 0.5]), np.array([10.0, -4.0, 2.0]))


@pytest.mark.parametrize("motion", ["dolly", "orbit", "handheld", "zoom", "pan"])
def test_the_same_track_elsewhere(rng, motion):
    scene, shot = solve(make_shot(motion, rng=rng), rng)
    found = compare(scene, shot, scene.transform(ELSEWHERE), shot)
    assert found.frames == 24 and found.max_rotation_deg < 1e-6 and found.focal_pct < 1e-9
    assert found.worst_px < 1e-3
    if motion in ("pan", "zoom"):
        assert np.isnan(found.path_pct)
    else:
        assert found.path_pct < 1e-6 and found.scale == pytest.approx(3.0)


def test_what_differs_is_measured(rng):
    truth = make_shot("orbit", rng=rng, num_tracks=200)
    scene, shot = solve(truth, rng)
    turn, moved, focal = 0.002, 0.01, 1.03
    rotation = scene.cams_from_world.rotation.copy()
    rotation[7] = rotation_from_rotvec([0.0, turn, 0.0]) @ rotation[7]
    centers = scene.centers_in_world + moved * rng.standard_normal((24, 3))
    lens = scene.camera.with_focal_length(scene.camera.focal_length * focal)
    cams = Rigid3(rotation, -np.einsum("fij,fj->fi", rotation, centers))
    off = dataclasses.replace(scene, cams_from_world=cams).transform(ELSEWHERE)
    found = compare(scene, shot, off, shot)
    assert found.max_rotation_deg == pytest.approx(np.degrees(turn) * 23 / 24, rel=1e-3)
    assert found.rotation_deg == pytest.approx(2 * np.degrees(turn) * 23 / 24**2, rel=1e-2)
    span = np.linalg.norm(scene.centers_in_world[:, None] - scene.centers_in_world, axis=-1).max()
    assert 0.8 < found.path_pct / (100 * np.sqrt(3) * moved / span) < 1.05
    # a turn about y alone moves the picture by the focal length times its angle
    alone = dataclasses.replace(scene, cams_from_world=Rigid3(rotation, scene.cams_from_world.translation))
    fixed = compare(scene, shot, alone, shot)
    assert fixed.worst_frame == 1008
    assert 0.9 < fixed.worst_px / (turn * scene.camera.focal_length[0]) < 1.3
    assert fixed.px < 0.1 * fixed.worst_px
    longer = compare(scene, shot, dataclasses.replace(scene, camera=lens), shot)
    assert longer.focal_pct == pytest.approx(3.0) and longer.rotation_deg < 1e-6 and longer.px > 1


def test_a_straight_path_leaves_no_turn_open(rng):
    """The centres of a dolly lie on a line: the cameras' own rotations say how it is turned about that."""
    scene, _ = solve(make_shot("dolly", rng=rng), rng)
    other = ELSEWHERE.apply_to_cameras(scene.cams_from_world)
    found = other_from_ours(scene.cams_from_world, other)
    np.testing.assert_allclose(found.rotation, ELSEWHERE.rotation, atol=1e-9)
    np.testing.assert_allclose(found.apply(scene.points), ELSEWHERE.apply(scene.points), atol=1e-6)


def test_frames_are_matched_by_number(rng):
    scene, shot = solve(make_shot("orbit", rng=rng), rng, lost=(3,))
    part = scene.crop(5, 20)
    numbers, names = shot.frame_numbers[5:21], shot.frame_names[5:21]
    found = compare(
        scene, shot, part.transform(ELSEWHERE), dataclasses.replace(shot, frame_numbers=numbers, frame_names=names)
    )
    assert found.frames == 16 and found.px < 1e-6
    assert compare(part, dataclasses.replace(shot, frame_numbers=numbers, frame_names=names), scene, shot).frames == 16
    late = dataclasses.replace(shot, frame_numbers=shot.frame_numbers + 500)
    with pytest.raises(InputError, match="for 1501-1503, 1505-1524: no frame in common"):
        compare(scene, shot, scene, late)
    small = shot_of(dataclasses.replace(scene.camera, width=960, height=540), 24)
    with pytest.raises(InputError, match="is 1920x1080, plate 960x540"):
        compare(scene, shot, scene, small)
