"""The start from two frames and the growth to all of them."""

import dataclasses

import numpy as np
import pytest

from sfm.bundle_adjustment import adjust
from sfm.errors import NotEnoughTracksError
from sfm.geometry import Rigid3, Sim3
from sfm.geometry.rotation import rotation_from_rotvec
from sfm.initialize import InitializeOptions, initialize
from sfm.mapping import MappingOptions, _Mapper, extend
from sfm.outliers import OutlierOptions, TrackingNoise, filter_observations, with_support
from sfm.scene import DepthPriors, Support
from sfm.synthetic import make_shot

SMALL = {"num_frames": 10, "num_tracks": 100}


@pytest.mark.parametrize("motion", ["orbit", "pan"])
def test_the_start_has_two_frames_in_the_unit_of_the_prior(rng, motion):
    shot = make_shot(motion, rng=rng, depth_unit=2.0, **SMALL)
    seed = initialize(shot.tracks, shot.priors, shot.camera)
    assert seed.registered.sum() == 2
    assert np.isnan(seed.cams_from_world.rotation[~seed.registered]).all()
    assert seed.has_point.sum() >= 40
    found = seed.points_in_cam()[:, 2] / shot.priors.depth
    np.testing.assert_allclose(found[np.isfinite(found)], 1.0, rtol=1e-4)
    reference, partner = np.flatnonzero(seed.registered)
    cams = seed.cams_from_world[partner] @ seed.cams_from_world[reference].inverse()
    truth = shot.cams_from_world[partner] @ shot.cams_from_world[reference].inverse()
    np.testing.assert_allclose(cams.rotation, truth.rotation, atol=1e-5)
    np.testing.assert_allclose(cams.translation, truth.translation / 2, atol=1e-4)


def test_the_start_survives_outliers_and_wrong_depths(rng):
    shot = make_shot("orbit", rng=rng, noise_px=0.3, outlier_ratio=0.1, depth_error=0.3, **SMALL)
    seed = initialize(shot.tracks, shot.priors, shot.camera)
    reference, partner = np.flatnonzero(seed.registered)
    cams = seed.cams_from_world[partner] @ seed.cams_from_world[reference].inverse()
    truth = shot.cams_from_world[partner] @ shot.cams_from_world[reference].inverse()
    assert 1e-6 < np.abs(cams.rotation - truth.rotation).max() < 0.01


def test_too_little_is_shared(rng):
    shot = make_shot("handheld", rng=rng, num_frames=6, num_tracks=40, track_length=1)
    with pytest.raises(NotEnoughTracksError, match="no two frames share enough tracks"):
        initialize(shot.tracks, shot.priors, shot.camera, InitializeOptions())


def test_every_frame_is_registered_from_a_start(rng):
    shot = make_shot("handheld", rng=rng, noise_px=0.2, depth_error=0.2, **SMALL)
    told = []
    seed = initialize(shot.tracks, shot.priors, shot.camera)
    grown, noise = extend(seed, shot.priors, progress=lambda scene, rms: told.append(int(scene.registered.sum())))
    assert grown.registered.all()
    assert seed.registered.sum() == 2, "the seed stays as it was"
    assert told == sorted(told)
    # residuals of a fit are smaller than the noise: with few sightings a track by a quarter
    assert 0.14 < noise.sigma_px < 0.22
    centers, truth = grown.centers_in_world, shot.cams_from_world.centers_in_world
    off = np.linalg.norm(Sim3.from_points(centers, truth).apply(centers) - truth, axis=1)
    assert 1e-5 < off.max() < 0.02


def test_a_frame_without_tracks_is_not_invented(rng):
    shot = make_shot("handheld", rng=rng, noise_px=0.2, depth_error=0.1, **SMALL)
    keep = shot.tracks.frame != 6
    tracks, priors = shot.tracks.select(keep), shot.priors.select(keep)
    grown, _ = extend(initialize(tracks, priors, shot.camera), priors)
    assert np.flatnonzero(~grown.registered).tolist() == [6]
    assert np.isnan(grown.cams_from_world.translation[6]).all()
    assert np.isnan(grown.depth_scale[6])


def _grown(rng, motion="orbit", **kwargs):
    shot = make_shot(motion, rng=rng, noise_px=0.3, depth_error=0.1, **kwargs, **SMALL)
    grown, noise = extend(initialize(shot.tracks, shot.priors, shot.camera), shot.priors)
    return shot, grown, noise


def test_support_is_whoever_knows_the_depth_better(rng):
    shot, grown, noise = _grown(rng)
    grown, _ = adjust(grown, shot.priors, noise.adjustment())
    known = grown.has_point
    limit = float(np.median(grown.point_sigma[known]))
    support = with_support(grown, limit).support
    np.testing.assert_array_equal(support[known] == Support.TRIANGULATED, grown.point_sigma[known] < limit)
    assert 0.3 < (support[known] == Support.PRIOR).mean() < 0.7
    assert (support[~known] == Support.NONE).all()


def test_the_noise_is_measured_and_the_worst_told_apart(rng):
    shot, grown, _ = _grown(rng, outlier_ratio=0.1)
    filtered, noise = filter_observations(grown, shot.priors.relief, OutlierOptions())
    assert 0.21 < noise.sigma_px < 0.33
    assert 3 * noise.sigma_px <= noise.knee_px <= 5 * noise.sigma_px
    assert filtered.inliers[shot.outliers].mean() < 0.02
    errors = filtered.reprojection_errors()
    assert errors[filtered.inliers].max() <= 2 * noise.knee_px


def test_a_noisy_track_and_one_at_an_edge_count_less(rng):
    shot, grown, _ = _grown(rng)
    assert TrackingNoise.unknown(grown).track_weight.tolist() == [1.0] * 100
    relief = np.where(shot.tracks.track == 5, OutlierOptions().edge_relief, 0.0)
    plain = TrackingNoise.of(grown, np.zeros(len(shot.tracks)), OutlierOptions(weigh_tracks=False))
    edged = TrackingNoise.of(grown, relief, OutlierOptions(weigh_tracks=False))
    assert (plain.track_weight == 1).all()
    assert edged.track_weight[5] == pytest.approx(0.5)
    weighed = TrackingNoise.of(grown, np.zeros(len(shot.tracks)), OutlierOptions())
    assert weighed.track_weight.min() < 1
    assert weighed.track_weight.max() == 1


def test_unknown_depths_are_filled_by_the_others(rng):
    shot = make_shot("orbit", rng=rng, noise_px=0.1, depth_error=0.1, **SMALL)
    unknown = shot.tracks.track % 3 == 0
    priors = DepthPriors(np.where(unknown, np.nan, shot.priors.depth), shot.priors.sigma)
    grown, _ = extend(initialize(shot.tracks, priors, shot.camera), priors)
    often = shot.tracks.lengths >= 5
    assert grown.has_point[often].mean() > 0.95


def test_a_map_that_is_rough_everywhere_shows_no_edges(rng):
    shot, grown, _ = _grown(rng)
    rough = TrackingNoise.of(grown, np.full(len(shot.tracks), 2.0), OutlierOptions(weigh_tracks=False))
    assert (rough.track_weight == 1).all()


def test_frames_registered_wrongly_are_registered_anew(rng):
    """The last frames somewhere else, with points of their own that bear them out."""
    shot, grown, noise = _grown(rng)
    rotation, translation = grown.cams_from_world.rotation.copy(), grown.cams_from_world.translation.copy()
    rotation[8:] = rotation[8:] @ rotation_from_rotvec([0.0, 0.1, 0.0])
    wrong = dataclasses.replace(grown, cams_from_world=Rigid3(rotation, translation))
    wrong = dataclasses.replace(
        wrong, inliers=np.nan_to_num(wrong.reprojection_errors(), nan=np.inf) < 2 * noise.knee_px
    )
    assert wrong.inlier_part()[8:].max() < 0.3
    mapper = _Mapper(wrong, shot.priors, MappingOptions(), None)
    mapper.noise = noise
    assert mapper.mend(np.ones(10, bool))
    assert mapper.scene.registered.all()
    assert mapper.scene.inlier_part()[8:].min() > 0.9
    assert not mapper.mend(np.ones(10, bool)), "nothing is left to mend"
