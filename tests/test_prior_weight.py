"""What the prior is worth: its error measured, its independent measurements counted."""

from dataclasses import replace

import numpy as np
import pytest

from sfm.errors import NoSolutionError
from sfm.initialize import initialize
from sfm.mapping import extend
from sfm.prior_weight import PriorWeightOptions, thinned, weigh_prior
from sfm.scene import DepthPriors
from sfm.synthetic import make_shot


def _weighed(rng, depth_error=0.2, smooth=False, options=None, motion="orbit"):
    shot = make_shot(motion, rng=rng, num_frames=10, num_tracks=200, noise_px=0.2, depth_error=depth_error)
    priors = shot.priors
    if smooth:
        x, y = (shot.tracks.xy / [1920, 1080] - 0.5).T
        priors = DepthPriors(priors.depth * np.exp(0.8 * x + 0.8 * y), np.full(len(shot.tracks), 0.2))
    grown, noise = extend(initialize(shot.tracks, priors, shot.camera), priors)
    return grown, *weigh_prior(grown, priors, noise, options or PriorWeightOptions())


@pytest.mark.parametrize("depth_error", [0.1, 0.3])
def test_the_error_of_the_prior_is_measured(rng, depth_error):
    grown, priors, weight = _weighed(rng, depth_error)
    assert weight.depth_sigma == pytest.approx(depth_error, rel=0.35)
    assert np.nanmedian(priors.sigma) == pytest.approx(weight.depth_sigma, rel=0.05)  # frames differ a little
    assert weight.measurements > 0.3 * grown.has_point.sum(), "every point's error is its own"


def test_points_that_are_wrong_together_count_less(rng):
    _, _, alone = _weighed(rng, 0.2)
    grown, _, together = _weighed(rng, 0.02, smooth=True)
    assert together.measurements < 0.4 * alone.measurements
    assert together.weight == pytest.approx(together.measurements / grown.has_point.sum())
    assert 0.8 < together.camera_weight * grown.has_point.sum() < 5, "about one measurement for what all may share"
    assert alone.camera_weight > 10 * together.camera_weight


def test_a_fixed_weight_is_obeyed(rng):
    fixed = _weighed(rng, options=PriorWeightOptions(weight=3.0))[2]
    assert fixed.weight == fixed.camera_weight == 3.0
    zero = _weighed(rng, options=PriorWeightOptions(weight=0.0))[2]
    assert zero.weight == 0
    assert np.isnan(zero.depth_sigma)


def test_where_nothing_is_known_by_parallax_the_claim_stands(rng):
    _, _, weight = _weighed(rng, 0.2, motion="static")
    assert weight.depth_sigma == pytest.approx(0.2)
    assert weight.measurements <= 30


def test_a_thinned_scene_is_a_part(rng):
    grown, _, _ = _weighed(rng)
    part = thinned(grown, 4, 50)
    assert part.registered.sum() == 4
    assert part.has_point.sum() <= 50
    assert not (part.registered & ~grown.registered).any()
    use = part.inliers
    assert part.registered[part.tracks.frame[use]].all()
    assert part.has_point[part.tracks.track[use]].all()
    assert (np.bincount(part.tracks.track[use])[np.unique(part.tracks.track[use])] >= 2).all()


def test_a_scene_of_which_no_two_frames_share_a_point_is_no_solution(rng):
    grown, _, _ = _weighed(rng)
    alone = replace(grown, inliers=grown.inliers & (grown.tracks.frame == 3))
    with pytest.raises(NoSolutionError, match="no point is seen by two frames"):
        thinned(alone, 4, 50)
