"""A rolling shutter on shots whose truth is known: what it does to a solve, what knowing the read-out time mends."""

from dataclasses import replace

import numpy as np
import pytest
from test_pipeline import pose_errors

from sfm.errors import UsageError
from sfm.motion import Motion
from sfm.pipeline import BY_HAND, Options, reconstruct_tracks
from sfm.rolling_shutter import from_motion, from_path
from sfm.scene import Tracks, row_times
from sfm.synthetic import make_shot
from sfm.verdict import Verdict

READOUT = 0.8
ROLLING, GLOBAL = Options(mapping=BY_HAND, readout=READOUT), Options(mapping=BY_HAND)


def rolling(motion, rng, **others):
    return make_shot(motion, rng=rng, num_frames=24, num_tracks=130, readout=READOUT, **others)


def test_a_row_sees_the_camera_of_its_own_time(rng):
    """By hand: a pan of 1 degree a frame, the top row read half the read-out time before the middle one."""
    shot = make_shot("pan", rng=rng, num_frames=13, readout=1.0)
    tracks, width = shot.tracks, shot.camera.width
    angle = np.linalg.norm(shot.cams_from_world[12].as_rotvec()) / 12
    axis = shot.cams_from_world[12].as_rotvec() / (12 * angle)
    for row in np.flatnonzero(tracks.frame == 6)[:20]:
        x, y, z = shot.points[tracks.track[row]]
        turn = angle * (6 + tracks.xy[row, 1] / shot.camera.height - 0.5)
        p, k = np.array([x, y, z]), axis  # Rodrigues' formula
        p = p * np.cos(turn) + np.cross(k, p) * np.sin(turn) + k * (k @ p) * (1 - np.cos(turn))
        f = shot.camera.focal_length[0]
        np.testing.assert_allclose(tracks.xy[row], f * p[:2] / p[2] + [width / 2, shot.camera.height / 2], atol=1e-6)


def test_times_of_rows():
    tracks = Tracks([0, 1, 2], [0, 0, 0], [[5, 0], [5, 50], [5, 100]], 3, 1)
    np.testing.assert_allclose(row_times(tracks, 100, 0.6), [-0.3, 0, 0.3])


def test_tracks_are_moved_along_their_own_motion():
    """A steady motion is undone exactly, also across a frame not seen; what is seen once stays."""
    frame, track = np.array([0, 1, 3, 4, 2]), np.array([0, 0, 0, 0, 1])
    times = np.array([-0.3, -0.1, 0.2, 0.4, 0.3])
    steady = np.column_stack([7 + 3 * (frame + times), 90 - 2 * (frame + times)])
    upright = from_motion(Tracks(frame, track, steady, 5, 2), times)
    np.testing.assert_allclose(upright.xy[:4], np.column_stack([7 + 3 * frame, 90 - 2 * frame])[:4], atol=1e-12)
    np.testing.assert_array_equal(upright.xy[4], steady[4])
    nothing = Tracks(np.zeros(0, int), np.zeros(0, int), np.zeros((0, 2)), 5, 2)
    assert len(from_motion(nothing, np.zeros(0))) == 0


def test_the_true_path_gives_what_a_global_shutter_sees(rng):
    from solved import solve

    shot = rolling("pan", rng)
    scene, _ = solve(shot, rng)
    upright = from_path(scene, shot.tracks, row_times(shot.tracks, shot.camera.height, READOUT))
    errors = replace(scene, tracks=upright).reprojection_errors()
    assert np.nanmax(errors) < 1e-4 < 3 < np.nanmedian(scene.reprojection_errors())
    assert np.nanmax(replace(scene, readout=READOUT).reprojection_errors()) < 1e-4


# exact, and noisy; how much worse it is not to know


def test_exact_tracks_of_a_pan_give_exact_cameras_and_no_path(rng):
    """At constant velocity the model is exact; taken for a global shutter the skew looks like parallax."""
    shot = make_shot("pan", rng=rng, num_frames=12, num_tracks=200, readout=READOUT)
    solved, report = reconstruct_tracks(shot.tracks, shot.priors, shot.camera, ROLLING)
    assert report.motion.motion is Motion.NODAL
    assert pose_errors(solved, shot)[0] < 1e-3 and solved.rms_px() < 0.01
    np.testing.assert_allclose(solved.centers_in_world, 0.0, atol=1e-12)
    _, blind = reconstruct_tracks(shot.tracks, shot.priors, shot.camera, GLOBAL)
    assert blind.motion.motion is not Motion.NODAL


@pytest.mark.parametrize("seed", [0, 1])
def test_a_pan_that_nobody_told_of_its_shutter_is_one_and_told_of(seed):
    shot = make_shot(
        "pan", rng=np.random.default_rng(seed), num_frames=12, num_tracks=200, readout=READOUT, noise_px=0.2
    )
    _, blind = reconstruct_tracks(shot.tracks, shot.priors, shot.camera, GLOBAL)
    assert blind.motion.motion is Motion.NODAL
    assert blind.verdict is not Verdict.PASS and blind.lens.untold_readout == READOUT


def test_a_shutter_that_bends_the_focal_length_is_told_of():
    """Not only of the focal length that the tracks then prefer, which is wrong."""
    shot = make_shot(
        "handheld", rng=np.random.default_rng(2), num_frames=12, num_tracks=200, readout=READOUT, noise_px=0.2,
        depth_error=0.1,
    )  # fmt: skip
    _, blind = reconstruct_tracks(shot.tracks, shot.priors, shot.camera, GLOBAL)
    assert abs(blind.motion.preferred_focal_px / shot.camera.focal_length[0] - 1) > 0.05
    assert blind.lens.untold_readout == READOUT


# not knowing, largest error of a rotation in degrees, RMS error of the path as a part of its extent; typical values of
# knowing are half the upper bounds, and no error at all would mean the noise is lost
@pytest.mark.parametrize(
    ("motion", "noise_px", "max_deg", "max_position", "times_better"),
    [("handheld", 0.0, 0.02, 0.005, 20), ("orbit", 0.0, 0.01, 1e-4, 10), ("handheld", 0.2, 0.04, 0.01, 8)],
)
def test_knowing_the_read_out_time_mends_the_path(rng, motion, noise_px, max_deg, max_position, times_better):
    shot = rolling(motion, rng, noise_px=noise_px, depth_error=0.1)
    solved, report = reconstruct_tracks(shot.tracks, shot.priors, shot.camera, ROLLING)
    blind, _ = reconstruct_tracks(shot.tracks, shot.priors, shot.camera, GLOBAL)
    found, missed = np.array(pose_errors(solved, shot)), np.array(pose_errors(blind, shot))
    assert (found < [max_deg, max_position]).all() and (times_better * found < missed).all(), (found, missed)
    assert solved.registered.all()
    if noise_px:
        assert (found > [1e-3, 1e-4]).all()
        assert 0.2 < solved.rms_px() < 0.4 < 1 < blind.rms_px(), "0.2 px in x and y is 0.28 px of distance"
        assert 0.15 < report.noise.sigma_px < 0.3


def test_the_tracks_stay_the_plates_own_and_errors_are_of_their_rows(rng):
    shot = rolling("handheld", rng, noise_px=0.2, depth_error=0.1)
    lens = replace(shot.camera, distortion=np.array([-0.08, 0.02, 0.0, 0.0]))
    ideal = shot.camera.cam_from_img(shot.tracks.xy)
    tracks = replace(shot.tracks, xy=lens.img_from_cam(np.column_stack([ideal, np.ones(len(ideal))])))
    solved, _ = reconstruct_tracks(tracks, shot.priors, lens, ROLLING)
    np.testing.assert_array_equal(solved.tracks.xy, tracks.xy)
    assert solved.readout == READOUT
    assert solved.rms_px() < 0.4 < 1 < replace(solved, readout=0.0).rms_px()


def test_a_camera_that_stands_sees_the_same_by_rows(rng):
    shot = make_shot("static", rng=rng, num_frames=8, num_tracks=120, readout=READOUT)
    solved, report = reconstruct_tracks(shot.tracks, shot.priors, shot.camera, ROLLING)
    assert report.motion.motion is Motion.STATIC and max(pose_errors(solved, shot)) < 1e-9


@pytest.mark.parametrize("readout", [-0.1, 1.2, float("nan")])
def test_a_read_out_time_that_cannot_be(readout):
    with pytest.raises(UsageError, match="expected 0 to 1 frame"):
        Options(readout=readout)
