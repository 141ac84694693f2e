"""The best of several starts: the prior's, unless the geometry contradicts it, at the focal length that fits."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from solved import solve

from sfm.bundle_adjustment import LensUnknowns
from sfm.errors import NotEnoughTracksError
from sfm.geometry import Camera, Sim3
from sfm.initialize import InitializeOptions, initialize
from sfm.mapped_shot import map_shot
from sfm.mapping import MappingOptions, map_keyframes
from sfm.outliers import TrackingNoise
from sfm.pipeline import reconstruct, reconstruct_tracks
from sfm.prior_alignment import Agreement
from sfm.scene import DepthPriors, Tracks
from sfm.start import Start, StartOptions, _Attempt, _cheapest, _some_tracks, start
from sfm.synthetic import make_shot
from sfm.verdict import Verdict
from sfm.video import Video

SMALL = {"num_frames": 12, "num_tracks": 100, "noise_px": 0.3}


def _priors(shot, depth) -> DepthPriors:
    return DepthPriors(depth, np.full(len(shot.tracks), 0.3))


def _start(shot, priors):
    return start(shot.tracks, priors, shot.camera, InitializeOptions(), MappingOptions())


def _position_error(solved, shot) -> float:
    found, truth = solved.centers_in_world, shot.cams_from_world.centers_in_world
    error = Sim3.from_points(found, truth).apply(found) - truth
    return float(np.linalg.norm(error, axis=1).max() / np.linalg.norm(truth - truth.mean(0), axis=1).max())


def test_a_prior_turned_inside_out_does_not_start_the_solve():
    """Handheld, near and far exchanged: the mirrored scene is a minimum that an adjustment does not leave."""
    shot = make_shot("handheld", rng=np.random.default_rng(3), num_tracks=200, num_frames=20, noise_px=0.3)
    good = _priors(shot, shot.priors.depth)
    inverted = _priors(shot, 36 / shot.priors.depth)
    assert _start(shot, good).from_prior
    assert not _start(shot, inverted).from_prior
    solved, report = reconstruct_tracks(shot.tracks, inverted, shot.camera)
    right, _ = reconstruct_tracks(shot.tracks, good, shot.camera)
    assert _position_error(solved, shot) < 1.2 * _position_error(right, shot) < 0.02
    assert report.prior_weight.agreement is Agreement.CONTRADICTS
    assert report.prior_weight.weight == 0
    assert report.verdict is Verdict.REVIEW
    assert any("contradicts the geometry" in reason for reason in report.reasons)


def test_where_the_camera_only_turns_the_prior_stays(rng):
    shot = make_shot("pan", rng=rng, **SMALL)
    found = _start(shot, _priors(shot, 36 / shot.priors.depth))
    assert found.from_prior
    assert found.scene.registered.sum() > 2
    assert found.noise.sigma_px < 0.6


def test_nothing_to_start_from(rng):
    shot = make_shot("dolly", rng=rng, **SMALL)
    nothing = _priors(shot, np.full(len(shot.tracks), np.nan))
    with pytest.raises(NotEnoughTracksError, match="known depth"):
        _start(shot, nothing)


class Seer:
    """A depth model that also sees the lens."""

    kind, sigma, name = "depth", 0.3, "seer"

    def __init__(self, field_of_view_deg: float):
        self.field_of_view_deg = field_of_view_deg

    def maps(self, video):
        return iter([np.full((27, 48), 5.0)] * len(video))


@pytest.mark.parametrize(("seen", "found"), [(32.0, 32.0), (float("nan"), 50.0)])
def test_the_lens_the_network_saw_is_where_an_unknown_one_starts(rng, seen, found):
    """A camera that stands still cannot tell its lens: it stays about where it started."""
    shot = make_shot("static", rng=rng, num_frames=4, num_tracks=60, noise_px=0.2)
    video = Video.from_arrays([np.zeros((1080, 1920, 3), np.uint8)] * 4)
    solved, _, _ = reconstruct(video, Seer(seen), tracks=shot.tracks)
    assert float(solved.camera.horizontal_fov_deg) == pytest.approx(found, rel=0.02)


def test_a_lens_that_is_told_is_not_the_one_the_network_saw(rng):
    shot = make_shot("static", rng=rng, num_frames=4, num_tracks=60, noise_px=0.2)
    video = Video.from_arrays([np.zeros((1080, 1920, 3), np.uint8)] * 4)
    given, _, _ = reconstruct(video, Seer(32.0), shot.camera, tracks=shot.tracks)
    assert float(given.camera.horizontal_fov_deg) == pytest.approx(50.0, abs=1e-6)


def test_a_camera_that_only_turns_cannot_bend_its_prior():
    """Noise must not be taken for depth: exact affine disparity keeps its offset, and its sigma is its own claim."""
    for seed in range(3):
        shot = make_shot("pan", rng=np.random.default_rng(seed), num_frames=10, num_tracks=100, noise_px=0.5)
        priors = DepthPriors(shot.priors.depth, np.full(len(shot.tracks), 0.3), free_shift=True)
        solved, report = reconstruct_tracks(shot.tracks, priors, shot.camera)
        assert report.prior_weight.agreement is Agreement.UNCHECKED
        assert report.prior_weight.depth_sigma == pytest.approx(0.3)
        known = solved.has_point
        error = np.log(np.linalg.norm(solved.points[known], axis=1) / np.linalg.norm(shot.points[known], axis=1))
        assert np.std(error) < 0.05


def test_a_lens_that_explains_two_frames_alone_is_not_the_best(rng):
    """The guess and a wrong lens get no further than two frames, the wrong one with small errors."""
    shot = make_shot("orbit", rng=rng, num_frames=8, num_tracks=80, noise_px=0.3)
    noise = TrackingNoise(0.3, 1.5, np.ones(80))

    def attempt(camera, lens):
        far = float(camera.focal_length[0] / shot.camera.focal_length[0])
        error = {1.0: 1.0, 2.0: 3.0, 4.0: 0.2}[far]
        scene, _ = solve(shot, rng, lost=() if far == 1 else tuple(range(2, 8)))
        xy = scene.reprojections() + error * (shot.tracks.xy - scene.reprojections())
        seen = scene.registered[shot.tracks.frame]
        scene = replace(scene, tracks=replace(shot.tracks, xy=np.where(seen[:, None], xy, shot.tracks.xy)))
        return _Attempt(scene, scene, noise)

    cameras = [shot.camera.with_focal_length(shot.camera.focal_length * factor) for factor in (2.0, 4.0, 1.0)]
    tried = [(one, one, False) for one in cameras]
    found = _cheapest(tried, LensUnknowns(), attempt, StartOptions(), lambda part, text: None)
    assert found is not None and found[0][0] is cameras[2]


def test_lenses_are_tried_with_an_even_part_of_the_tracks_but_enough_in_a_frame():
    frame, track = (values.ravel() for values in np.meshgrid(np.arange(10), np.arange(0, 2000, 2), indexing="ij"))
    tracks = Tracks(frame, track, np.zeros((len(frame), 2)), 10, 2000)  # every other one is never seen
    few = _some_tracks(tracks, StartOptions(search_tracks=200, search_tracks_in_frame=100))
    np.testing.assert_array_equal(np.flatnonzero(few), np.arange(8, 2000, 10))
    assert _some_tracks(tracks, StartOptions(search_tracks=200, search_tracks_in_frame=300)).sum() == 333
    assert _some_tracks(tracks, StartOptions(search_tracks=600, search_tracks_in_frame=1)).sum() == 1000


def test_an_unknown_lens_is_found_with_some_of_the_tracks(rng, monkeypatch):
    """And the start itself has them all."""
    shot = make_shot("orbit", rng=rng, num_frames=12, num_tracks=400, noise_px=0.2, fov_deg=25.0)
    known = _priors(shot, shot.priors.depth)
    seen = []

    def told(tracks, prior, *rest):
        seen.append((len(tracks), len(prior.depth)))
        return initialize(tracks, prior, *rest)

    monkeypatch.setattr("sfm.start.initialize", told)
    guess = Camera.from_fov_deg(50.0, 1920, 1080)
    mapping = MappingOptions(lens=LensUnknowns(True, float(guess.focal_length[0]), 0.6))
    options = StartOptions(search_tracks=100, search_tracks_in_frame=30)
    found = start(shot.tracks, known, guess, InitializeOptions(), mapping, options)
    assert abs(np.log(found.scene.camera.focal_length[0] / shot.camera.focal_length[0])) < 0.1
    few, everything = sorted({count for count, _ in seen})
    assert everything == len(shot.tracks)
    assert few < 0.6 * everything
    assert all(count == priors for count, priors in seen)


@cache
def _started_dolly():
    shot = make_shot("dolly", rng=np.random.default_rng(0), **SMALL)
    return shot, _start(shot, _priors(shot, shot.priors.depth))


@cache
def _mapped_dolly(options):
    shot, plain = _started_dolly()
    return map_shot(plain, _priors(shot, shot.priors.depth), options, lambda *what: None)


@pytest.mark.parametrize(
    ("agreement", "explains", "taken"),
    [
        (Agreement.CONTRADICTS, False, "plain"),
        (Agreement.CONTRADICTS, True, "zoom"),
        (Agreement.CONTRADICTS, None, "zoom"),
        (Agreement.AGREES, False, "zoom"),
    ],
)
def test_a_zoom_that_turns_the_prior_inside_out_proves_itself(monkeypatch, agreement, explains, taken):
    """Else the plain solve is taken; and nothing is where the two cannot be compared."""
    shot, plain = _started_dolly()
    mapped = []

    def told(begun, priors, options, tell):
        found = _mapped_dolly(options)
        if begun is plain:
            mapped.append("plain")
            return found
        mapped.append("zoom")
        weight = replace(found.weight, agreement=agreement)
        return replace(found, motion=replace(found.motion, zoom=True), weight=weight)

    monkeypatch.setattr("sfm.solve.start", lambda *args: replace(plain, otherwise=plain))
    monkeypatch.setattr("sfm.solve.map_shot", told)
    monkeypatch.setattr("sfm.mapped_shot.map_shot", told)
    monkeypatch.setattr("sfm.solve.explains_more", lambda *args: explains)
    _, report = reconstruct_tracks(shot.tracks, _priors(shot, shot.priors.depth), shot.camera)
    assert report.motion.zoom == (taken == "zoom")
    assert mapped[0] == "zoom" and ("plain" in mapped) == (agreement is Agreement.CONTRADICTS)


@pytest.mark.parametrize("fails", [False, True])
def test_a_useless_prior_must_not_have_decided_where_the_solve_ended(monkeypatch, fails):
    """The start is made to believe noise: what contradicts in the end is mapped again without it, if that works."""
    rng = np.random.default_rng(3)
    shot = make_shot("handheld", rng=rng, num_tracks=150, num_frames=14, noise_px=0.3)
    noise_prior = _priors(shot, 6 * np.exp(0.5 * rng.standard_normal(len(shot.tracks))))
    compared = []

    def gullible(tracks, priors, camera, initialize_options, mapping, options, progress):
        if priors is None:
            return hopeless() if fails else start(tracks, priors, camera, initialize_options, mapping, options)
        scene, noise = map_keyframes(initialize(tracks, priors, camera, initialize_options), priors, mapping)
        return Start(scene, noise, True, mapping.lens)

    def hopeless():
        raise NotEnoughTracksError("known depth")

    monkeypatch.setattr("sfm.solve.start", gullible)
    monkeypatch.setattr("sfm.mapped_shot.costs_less", lambda *scenes: not compared.append(scenes))
    solved, report = reconstruct_tracks(shot.tracks, noise_prior, shot.camera)
    assert len(compared) == (0 if fails else 1)
    assert _position_error(solved, shot) < 0.05
    assert report.prior_weight.agreement is Agreement.CONTRADICTS
