"""A zoom told from a dolly in the flow; what becomes of it is in test_shots_as_they_come."""

import numpy as np
import pytest

from sfm.geometry import Camera
from sfm.scene import DepthPriors
from sfm.synthetic import make_shot
from sfm.zoom import zoom_curve

GUESS = Camera.from_fov_deg(45.0, 1920, 1080)


def _shot(motion, rng, noise_px=0.3):
    """A shot and a prior with the errors of a network: squeezed, and wrong together."""
    outliers = 0.05 if noise_px else 0.0
    shot = make_shot(motion, rng=rng, num_frames=20, num_tracks=200, noise_px=noise_px, outlier_ratio=outliers)
    x, y = (shot.tracks.xy / [1920, 1080] - 0.5).T
    return shot, DepthPriors(shot.priors.depth**0.85 * np.exp(0.3 * x - 0.2 * y), np.full(len(shot.tracks), 0.2))


def _true_curve(shot) -> np.ndarray:
    focal = np.log(np.broadcast_to(shot.camera.focal_length[..., 0], shot.tracks.num_frames))
    return focal - focal[0]


@pytest.mark.parametrize("motion", ["zoom", "dolly_zoom"])
def test_exact_flow_and_depth_give_the_curve(motion, rng):
    shot, _ = _shot(motion, rng, noise_px=0.0)
    np.testing.assert_allclose(zoom_curve(shot.tracks, shot.priors, GUESS), _true_curve(shot), atol=0.004)


@pytest.mark.parametrize("motion", ["zoom", "dolly_zoom", "dolly", "handheld", "pan"])
def test_noise_outliers_and_a_poor_prior_leave_the_curve(motion, rng):
    shot, priors = _shot(motion, rng)
    curve = zoom_curve(shot.tracks, priors, GUESS)
    assert 1e-5 < np.abs(curve - _true_curve(shot)).max() < 0.03
    assert np.ptp(_true_curve(shot)) == pytest.approx(np.ptp(curve), abs=0.03)


def test_frames_that_share_too_little_leave_it_flat(rng):
    shot, priors = _shot("zoom", rng)
    few = shot.tracks.track < 8
    assert not zoom_curve(shot.tracks.select(few), priors.select(few), GUESS).any()
    every_other = shot.tracks.frame % 2 == 0
    assert not zoom_curve(shot.tracks.select(every_other), priors.select(every_other), GUESS).any()
