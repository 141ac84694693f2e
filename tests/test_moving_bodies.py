"""A body that moves on its own must not be taken for the set."""

import numpy as np
import pytest

from sfm.geometry import Sim3
from sfm.mapping import MappingOptions
from sfm.moving_bodies import moving_tracks
from sfm.pipeline import Options, reconstruct_tracks
from sfm.scene import DepthPriors
from sfm.synthetic import make_shot

AS_TRACKED = Options(mapping=MappingOptions())


def _shot(motion, seed, part, tracks=250):
    rng = np.random.default_rng(seed)
    shot = make_shot(
        motion, rng=rng, num_frames=24, num_tracks=tracks, noise_px=0.3, outlier_ratio=0.05, moving_part=part
    )
    x, y = (shot.tracks.xy / [1920, 1080] - 0.5).T
    return shot, DepthPriors(shot.priors.depth**0.85 * np.exp(0.4 * x - 0.3 * y), np.full(len(shot.tracks), 0.2))


def _ate_pct(solved, shot) -> float:
    found, true = solved.centers_in_world, shot.cams_from_world.centers_in_world
    error = Sim3.from_points(found, true).apply(found) - true
    return 100 * np.sqrt((error**2).sum(1).mean()) / np.linalg.norm(true[:, None] - true[None], axis=-1).max()


@pytest.mark.parametrize(("motion", "part"), [("handheld", 0.4), ("pan", 0.6), ("dolly", 0.6)])
def test_a_body_is_found_and_nothing_but_the_body(motion, part):
    shot, priors = _shot(motion, 1, part)
    found = moving_tracks(shot.tracks, priors, shot.camera)
    long = shot.tracks.lengths >= 12
    assert (found & shot.moving & long).sum() > 0.7 * (shot.moving & long).sum()
    assert (found & ~shot.moving).sum() <= 0.02 * (~shot.moving).sum()


@pytest.mark.parametrize("motion", ["handheld", "pan", "orbit", "dolly_zoom"])
def test_a_set_alone_has_no_body(motion):
    shot, priors = _shot(motion, 2, 0.0)
    assert not moving_tracks(shot.tracks, priors, shot.camera.at(0)).any()
    bad = DepthPriors(36 / shot.priors.depth, np.full(len(shot.tracks), 0.3))
    assert moving_tracks(shot.tracks, bad, shot.camera.at(0)).mean() < 0.02, "a prior inside out is no body"


@pytest.mark.parametrize("part", [0.4, 0.6])
def test_the_set_is_solved_behind_a_body(part):
    shot, priors = _shot("handheld", 3, part)
    solved, report = reconstruct_tracks(shot.tracks, priors, shot.camera, AS_TRACKED)
    alone = ~shot.moving[shot.tracks.track]
    clean, _ = reconstruct_tracks(shot.tracks.select(alone), priors.select(alone), shot.camera, AS_TRACKED)
    assert report.moving_tracks > 0.4 * shot.moving.sum()
    assert _ate_pct(solved, shot) <= 1.5 * _ate_pct(clean, shot)
    assert (solved.has_point & shot.moving).sum() <= 0.05 * shot.moving.sum()
    assert len(solved.inliers) == len(shot.tracks)
    assert not solved.inliers[shot.moving[shot.tracks.track]].mean() > 0.05
