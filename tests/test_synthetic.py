"""The truth is true: what a synthetic shot says of itself holds."""

import numpy as np
import pytest

from sfm.geometry.rotation import rotation_angle
from sfm.synthetic import make_shot

MOTIONS = ["dolly", "orbit", "handheld", "pan", "static", "zoom"]


def _error_px(shot) -> np.ndarray:
    frame, track = shot.tracks.frame, shot.tracks.track
    in_cam = shot.cams_from_world[frame].apply(shot.points[track])
    return shot.camera.at(frame).img_from_cam(in_cam) - shot.tracks.xy


@pytest.mark.parametrize("motion", MOTIONS)
def test_exact_tracks_are_projections_and_exact_priors_depths(motion, rng):
    shot = make_shot(motion, rng=rng, num_frames=10, num_tracks=80)
    assert np.abs(_error_px(shot)).max() < 1e-9
    depth = shot.cams_from_world[shot.tracks.frame].apply(shot.points[shot.tracks.track])[:, 2]
    np.testing.assert_allclose(shot.priors.depth, depth)
    np.testing.assert_array_equal(shot.cams_from_world.rotation[0], np.eye(3))
    assert not shot.outliers.any()
    assert (shot.tracks.xy > 0).all()
    assert (shot.tracks.xy < [1920, 1080]).all()
    assert np.bincount(shot.tracks.frame).min() >= 20


def test_noise_is_as_large_as_told(rng):
    shot = make_shot("dolly", rng=rng, noise_px=0.7, outlier_ratio=0.1)
    error = _error_px(shot)
    assert error[~shot.outliers].std() == pytest.approx(0.7, rel=0.05)
    assert np.linalg.norm(error[shot.outliers], axis=1).min() > 6
    assert shot.outliers.mean() == pytest.approx(0.1, abs=0.02)


def test_prior_errors_belong_to_points_and_frames(rng):
    shot = make_shot("pan", rng=rng, depth_error=0.2, depth_flicker=0.05, depth_unit=2.0, num_tracks=500)
    depth = shot.cams_from_world[shot.tracks.frame].apply(shot.points[shot.tracks.track])[:, 2]
    error = np.log(2 * shot.priors.depth / depth)
    assert error.std() == pytest.approx(0.206, rel=0.15)
    in_frame = [error[shot.tracks.in_frame(i)] for i in (0, 1)]
    both = np.intersect1d(*(shot.tracks.track[shot.tracks.in_frame(i)] for i in (0, 1)), return_indices=True)
    np.testing.assert_allclose(np.ptp(in_frame[0][both[1]] - in_frame[1][both[2]]), 0, atol=1e-12)


def test_motions_are_what_they_are_called(rng):
    shots = {m: make_shot(m, rng=rng, num_tracks=20) for m in MOTIONS}
    path = {m: np.ptp(s.cams_from_world.centers_in_world, axis=0).max() for m, s in shots.items()}
    turn = {m: rotation_angle(s.cams_from_world.rotation).max() for m, s in shots.items()}
    assert path["pan"] == path["static"] == path["zoom"] == 0
    assert turn["static"] == turn["zoom"] == 0
    assert np.degrees(turn["pan"]) == pytest.approx(12.05, abs=0.1)
    assert shots["dolly"].cams_from_world.centers_in_world[-1, 2] == pytest.approx(0.3)
    assert path["orbit"] > 1 > path["handheld"] > 0.02
    assert shots["zoom"].camera.focal_length[-1, 0] / shots["zoom"].camera.focal_length[0, 0] == pytest.approx(
        np.e**0.3
    )


def test_track_length_and_repeatability():
    one, two = (make_shot("handheld", rng=np.random.default_rng(4), track_length=6, noise_px=1.0) for _ in range(2))
    assert one.tracks.lengths.max() == 6
    np.testing.assert_array_equal(one.tracks.xy, two.tracks.xy)
