"""A body that moves on its own must not be taken for the set."""

from dataclasses import replace

import numpy as np
import pytest

from sfm import moving_bodies
from sfm.geometry import Sim3
from sfm.mapping import MappingOptions
from sfm.moving_bodies import is_of_the_set, moving_tracks
from sfm.pipeline import Options, reconstruct_tracks
from sfm.scene import DepthPriors
from sfm.synthetic import make_shot

AS_TRACKED = Options(mapping=MappingOptions())


def _shot(motion, seed, part, tracks=160):
    rng = np.random.default_rng(seed)
    shot = make_shot(
        motion, rng=rng, num_frames=16, num_tracks=tracks, noise_px=0.3, outlier_ratio=0.05, moving_part=part
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


def test_the_set_is_solved_behind_a_body():
    shot, priors = _shot("handheld", 3, 0.6)
    solved, report = reconstruct_tracks(shot.tracks, priors, shot.camera, AS_TRACKED)
    alone = ~shot.moving[shot.tracks.track]
    clean, _ = reconstruct_tracks(shot.tracks.select(alone), priors.select(alone), shot.camera, AS_TRACKED)
    assert report.moving_tracks > 0.4 * shot.moving.sum()
    assert _ate_pct(solved, shot) <= 1.5 * _ate_pct(clean, shot)
    assert (solved.has_point & shot.moving).sum() <= 0.05 * shot.moving.sum()
    assert len(solved.inliers) == len(shot.tracks)
    assert not solved.inliers[shot.moving[shot.tracks.track]].mean() > 0.05


@pytest.mark.parametrize("motion", ["handheld", "pan"])
def test_what_the_solved_set_explains_was_no_body(motion):
    shot, priors = _shot(motion, 4, 0.4, tracks=250)
    alone = ~shot.moving[shot.tracks.track]
    solved, _ = reconstruct_tracks(shot.tracks.select(alone), priors.select(alone), shot.camera, AS_TRACKED)
    inliers = np.zeros(len(shot.tracks), bool)
    inliers[alone] = solved.inliers
    solved = replace(solved, tracks=shot.tracks, inliers=inliers)
    assert not is_of_the_set(solved, shot.moving)
    left_out = ~shot.moving & (np.arange(len(shot.moving)) % 3 == 0)
    points = np.where(left_out[:, None], np.nan, solved.points)
    assert is_of_the_set(replace(solved, points=points), left_out)
    assert not is_of_the_set(solved, np.zeros(len(shot.moving), bool))


def test_a_prior_worth_nothing_makes_no_bodies_of_the_set(monkeypatch):
    shot, _ = _shot("handheld", 5, 0.0)
    third = np.arange(shot.tracks.num_tracks) % 3 == 0
    monkeypatch.setattr("sfm.solve.moving_tracks", lambda *what: third)
    flat = DepthPriors(np.ones(len(shot.tracks)), np.full(len(shot.tracks), 0.3))
    solved, report = reconstruct_tracks(shot.tracks, flat, shot.camera, AS_TRACKED)
    assert report.moving_tracks == 0
    assert solved.has_point[third & (shot.tracks.lengths >= 12)].mean() > 0.9


def test_frame_pairs_that_share_no_tracks_are_told_by_themselves(monkeypatch):
    """Each pair says which of its groups is near; no vote of another speaks of its tracks."""
    shot, priors = _shot("handheld", 6, 0.0)

    def pair(first, second, near):
        track = np.r_[first, second]
        depth = np.where(np.isin(track, near), 1.0, 5.0)
        xy = np.tile([[960.0, 540.0]], (len(track), 1))
        matches = moving_bodies._Matches(track, xy, xy, xy, depth, np.ones(len(track)))
        return moving_bodies._TwoMotions(matches, np.isin(track, first), np.isin(track, second))

    groups = [np.arange(k, k + 30) for k in (0, 30, 60, 90)]
    pairs = [pair(groups[0], groups[1], groups[0]), pair(groups[2], groups[3], groups[2])]
    monkeypatch.setattr(moving_bodies, "_pairs", lambda *what: pairs)
    body, rest = moving_bodies._two_groups(shot.tracks, priors, shot.camera, moving_bodies.MovingBodiesOptions())
    assert np.array_equal(np.flatnonzero(body), np.r_[groups[0], groups[2]])
    assert np.array_equal(np.flatnonzero(rest), np.r_[groups[1], groups[3]])
