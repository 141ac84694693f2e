"""What the prior's maps mean on a shot, and whether they are borne out."""

from dataclasses import replace

import numpy as np
import pytest

from sfm.bundle_adjustment import adjust
from sfm.initialize import initialize
from sfm.mapping import extend
from sfm.prior_alignment import Agreement, _with_offset, align, in_unit_of, worse_frames
from sfm.scene import DepthPriors
from sfm.synthetic import make_shot

SMALL = {"num_frames": 10, "num_tracks": 200}


def _true_depth(shot) -> np.ndarray:
    return shot.cams_from_world[shot.tracks.frame].apply(shot.points[shot.tracks.track])[:, 2]


def _solved(rng, motion="orbit", noise_px=0.2):
    shot = make_shot(motion, rng=rng, noise_px=noise_px, **SMALL)
    flat = DepthPriors.constant(shot.tracks)
    start = shot.priors if motion in ("pan", "static") else flat
    grown, noise = extend(initialize(shot.tracks, start, shot.camera), start)
    return shot, adjust(grown, start, noise.adjustment(depth_weight=0.01))[0]


def _compared(rng, depth: np.ndarray, shot, scene, **kwargs):
    priors = DepthPriors(depth, np.full(len(depth), 0.3), **kwargs)
    return align(in_unit_of(scene, priors), priors)


def test_good_bad_and_empty_priors_are_told_apart(rng):
    shot, scene = _solved(rng)
    depth = _true_depth(shot)
    per_track = rng.standard_normal(shot.tracks.num_tracks)[shot.tracks.track]
    cases = {
        Agreement.AGREES: [depth, depth**0.6, depth * np.exp(0.3 * per_track)],
        Agreement.CONTRADICTS: [1 / depth, np.exp(0.5 * rng.standard_normal(len(depth))), np.exp(0.5 * per_track)],
        Agreement.SAYS_NOTHING: [np.ones(len(depth))],
    }
    for expected, priors in cases.items():
        for prior in priors:
            assert _compared(rng, prior, shot, scene)[1].agreement is expected


@pytest.mark.parametrize("motion", ["static", "pan"])
def test_without_parallax_nothing_is_checked(rng, motion):
    shot, scene = _solved(rng, motion)
    _, found = _compared(rng, 1 / _true_depth(shot), shot, scene)
    assert found.agreement is Agreement.UNCHECKED
    assert found.sigma == pytest.approx(0.3)
    assert found.exponent == 1


@pytest.mark.parametrize(("power", "exponent"), [(0.5, 2.0), (1.0, 1.0), (1.6, 1 / 1.6)])
def test_a_squeezed_prior_is_stretched(rng, power, exponent):
    shot, scene = _solved(rng)
    depth = _true_depth(shot)
    priors, found = _compared(rng, 7 * depth**power, shot, scene)
    assert found.exponent == pytest.approx(exponent, rel=0.05)
    ratio = np.log(priors.depth / depth)
    assert np.std(ratio) < 0.06
    assert found.sigma < 0.1


def test_an_exponent_must_earn_its_place(rng):
    shot, scene = _solved(rng)
    error = 0.3 * rng.standard_normal(shot.tracks.num_tracks)[shot.tracks.track]
    _, found = _compared(rng, _true_depth(shot) ** 0.95 * np.exp(error), shot, scene)
    assert found.exponent == 1


@pytest.mark.parametrize("offset", [-0.05, 0.0, 0.5, 3.0])
def test_the_offset_of_affine_disparity_is_found(rng, offset):
    shot, scene = _solved(rng)
    depth = _true_depth(shot)
    given = 1 / (4 * (1 / depth + offset))
    priors, found = _compared(rng, given, shot, scene, free_shift=True)
    assert np.std(np.log(priors.depth / depth)) < 0.05
    assert found.sigma < 0.05
    if offset > 0.1:
        kept, _ = _compared(rng, given, shot, scene)
        assert np.std(np.log(kept.depth / depth)) > 0.05, "only affine disparity has an offset to find"


def test_the_scene_takes_the_unit_of_the_prior(rng):
    shot, scene = _solved(rng)
    scene = replace(scene, depth_scale=np.full(10, np.nan))
    priors = DepthPriors(100 * _true_depth(shot), np.full(len(shot.tracks), 0.1))
    scaled = in_unit_of(scene, priors)
    ratio = scaled.points_in_cam()[:, 2] / priors.depth
    assert np.nanmedian(ratio) == pytest.approx(1, rel=1e-4)
    np.testing.assert_allclose(scaled.depth_scale, 1, atol=0.02)
    np.testing.assert_allclose(scaled.reprojection_errors(), scene.reprojection_errors(), atol=1e-6)


def test_a_frame_whose_map_failed_is_believed_less(rng):
    shot, scene = _solved(rng)
    error = 0.1 * rng.standard_normal(len(shot.tracks))
    error[shot.tracks.frame == 4] *= 8
    priors, found = _compared(rng, _true_depth(shot) * np.exp(error), shot, scene)
    worse = worse_frames(in_unit_of(scene, priors), priors, found)
    assert 4 < worse[4] < 9
    assert np.delete(worse, 4).max() < 1.4
    flat = DepthPriors.constant(shot.tracks)
    np.testing.assert_array_equal(worse_frames(scene, flat, replace(found, known=np.zeros(0, bool))), 1)


def test_what_an_offset_leaves_nothing_of_is_far():
    """The offset is found at near points; most of the shot may lie beyond it."""
    disparity = np.r_[np.full(70, 0.1), np.linspace(0.4, 1.0, 30)]
    priors = DepthPriors(1 / disparity, np.full(100, 0.2), free_shift=True)
    shifted = _with_offset(priors, -0.3)
    np.testing.assert_allclose(1 / shifted.depth[70:], disparity[70:] - 0.3)
    assert (shifted.depth[:70] > 100).all()
    assert (shifted.sigma[70:] == 0.2).all()


def test_two_sightings_do_not_tell_a_frame(rng):
    shot, scene = _solved(rng)
    depth = _true_depth(shot) * np.exp(0.1 * rng.standard_normal(len(shot.tracks)))
    depth[np.flatnonzero(shot.tracks.frame == 4)[2:]] = np.nan
    priors, found = _compared(rng, depth, shot, scene)
    worse = worse_frames(in_unit_of(scene, priors), priors, found)
    assert worse[4] == pytest.approx(1)
    assert worse.min() > 0.7
